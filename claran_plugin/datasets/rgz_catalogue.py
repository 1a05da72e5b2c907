"""Radio Galaxy Zoo subjects from a catalogue: which are used, and which of them for training (Sections 3.2 and 3.3)."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord, search_around_sky
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.datasets.rgz_labels import LabelledSource, read_rgz_catalogue, subject_position
from claran_plugin.errors import InputError
from claran_plugin.morphology import class_name

MIN_CONSENSUS = 0.6
MOST_COMPONENTS = 3
MOST_PEAKS = 3
PUBLISHED_TEST_SHARE = 4603 / 10744
"""Share of the subjects that the paper tests with (Table 2)."""
OVERLAP = 4.5 * u.arcmin
"""Fields of 3' whose middles are farther apart have no pixel in common."""
_COLUMNS = 'first_id, num_cpnts, num_peaks, cpnts_ras, cpnts_decs, ang_extent and cl'


class RGZSubject(NamedTuple):
    """A field that volunteers looked at, and the sources that they found in it.

    Attributes
    ----------
    name : str
        The catalogue's ``first_id``, which is the name of the FIRST source in the middle of the field.
    sources : list of LabelledSource
    """

    name: str
    sources: list[LabelledSource]

    @property
    def position(self) -> SkyCoord:
        """Middle of the field."""
        return subject_position(self.name)


class Split(NamedTuple):
    """Subjects for training and for testing, and how they were told apart: 'published' or a seed."""

    training: list[RGZSubject]
    testing: list[RGZSubject]
    by: str | int

    @property
    def all(self) -> list[RGZSubject]:
        """The subjects of both sets."""
        return self.training + self.testing


def read_subjects(path: str | Path) -> list[RGZSubject]:
    """Read a catalogue; sources with the same ``first_id`` are in one subject.

    Parameters
    ----------
    path : path
        CSV in the form of ClaRAN's release of the RGZ DR1 catalogue.

    Raises
    ------
    InputError
        Where the file is missing, has not the columns, or an entry of it cannot be understood.
    """
    if not Path(path).is_file():
        raise InputError(f'{path}: no such catalogue: check the path')
    try:
        subjects = [RGZSubject(name, sources) for name, sources in read_rgz_catalogue(path).items()]
        for subject in subjects:
            subject_position(subject.name)
    except (KeyError, ValueError, TypeError) as err:
        fault = ' '.join(str(err).split())
        raise InputError(
            f'{path}: not a Radio Galaxy Zoo catalogue ({type(err).__name__}: {fault}): correct it; '
            f'it needs the columns {_COLUMNS}'
        ) from err
    if not subjects:
        raise InputError(f'{path}: has no sources: give a catalogue with rows')
    if any(np.isnan(source.consensus) for subject in subjects for source in subject.sources):
        raise InputError(f'{path}: sources without a consensus level: needs the column cl, filled in every row')
    return subjects


def select(
    subjects: Sequence[RGZSubject],
    *,
    min_consensus: float = MIN_CONSENSUS,
    most_components: int = MOST_COMPONENTS,
    most_peaks: int = MOST_PEAKS,
) -> list[RGZSubject]:
    """Keep the subjects all of whose sources are agreed on, simple enough, and of one of the six classes (Section 3.2).

    Parameters
    ----------
    subjects : sequence of RGZSubject
    min_consensus : float
        Least consensus level.
    most_components, most_peaks : int
        Largest numbers.
    """
    return [
        subject
        for subject in subjects
        if all(
            source.consensus >= min_consensus
            and source.n_components <= most_components
            and source.n_peaks <= most_peaks
            and class_name(source.n_components, source.n_peaks)
            for source in subject.sources
        )
    ]


def published_split(subjects: Sequence[RGZSubject]) -> Split:
    """Split as the catalogue's column ``training`` says.

    Raises
    ------
    InputError
        Where it does not say so of every source, or says different things of one subject's sources.
    """
    sets: tuple[list[RGZSubject], list[RGZSubject]] = ([], [])
    for subject in subjects:
        flags = {source.training for source in subject.sources}
        if len(flags) > 1 or None in flags:
            raise InputError(
                f'{subject.name}: the catalogue does not say whether it is for training (column training, 1 or 0, the '
                'same for all sources of a subject): use --split random'
            )
        sets[0 if flags.pop() else 1].append(subject)
    return Split(*sets, by='published')


def random_split(subjects: Sequence[RGZSubject], seed: int, test_share: float = PUBLISHED_TEST_SHARE) -> Split:
    """Split at random; the order of the catalogue plays no part.

    Subjects whose fields may overlap go together, so that no source is in both sets.

    Parameters
    ----------
    subjects : sequence of RGZSubject
    seed : int
    test_share : float
        Share of the subjects for testing, between 0 and 1.
    """
    ordered = sorted(subjects, key=lambda subject: subject.name)
    positions = SkyCoord([subject.position for subject in ordered])
    first, second, _, _ = search_around_sky(positions, positions, OVERLAP)
    linked = coo_array((np.ones(len(first)), (first, second)), shape=(len(ordered),) * 2)
    number, group = connected_components(linked, directed=False)
    sizes = np.bincount(group, minlength=number)
    shuffled = np.random.default_rng(seed).permutation(number)
    chosen, room = np.zeros(number, bool), round(test_share * len(ordered))
    for place in shuffled.tolist():
        if sizes[place] <= room:
            chosen[place] = True
            room -= sizes[place]
    testing = set(np.flatnonzero(chosen[group]).tolist())
    return Split(
        [subject for i, subject in enumerate(ordered) if i not in testing],
        [subject for i, subject in enumerate(ordered) if i in testing],
        by=seed,
    )
