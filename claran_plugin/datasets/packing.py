"""The command ``claran dataset pack``: several collections of images into one packed training set."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import numpy as np
from astropy.coordinates import SkyCoord

from claran_plugin.catalogue_writing import atomic_outputs, check_outputs
from claran_plugin.datasets.coarse_subjects import coarse_simulated
from claran_plugin.datasets.own_labels import own_subjects
from claran_plugin.datasets.packed_subjects import PackedSubject, pack
from claran_plugin.datasets.rgz_labels import subject_position
from claran_plugin.datasets.training_data import fr_galaxies, labelled_first, radio_galaxy_net, simulated
from claran_plugin.errors import InputError
from claran_plugin.labelled import LabelledImage
from claran_plugin.morphology import CLASSES
from claran_plugin.progress import Log

FILES = ('snr.npy', 'subjects.json')
"""What `packed_subjects.pack` writes."""
INFRARED_FILE = 'infrared.npy'
"""What it writes besides where there is infrared."""


def pack_dataset(
    folder: str | Path,
    *,
    first: str | None = None,
    rgz: str | None = None,
    fr: str | None = None,
    radiogalaxynet: str | None = None,
    labelled: Iterable[LabelledImage] = (),
    n_simulated: int = 0,
    n_coarse: int = 0,
    infrared: bool = False,
    seed: int = 1,
    overwrite: bool = False,
    log: Log,
) -> str:
    """Pack what is given, in the order of the parameters, whole or not at all.

    Parameters
    ----------
    folder : path
        Where to write `FILES`.
    first, rgz : paths, optional
        Folder of FIRST images and the RGZ DR1 catalogue that labels them.
    fr : path, optional
        Folder of FIRST images around FR galaxies.
    radiogalaxynet : path, optional
        Folder with ``annotations.json``.
    labelled : iterable of LabelledImage
    n_simulated, n_coarse : int
        Number of simulated subjects, and of those at coarser beams.
    infrared : bool
        Pack an infrared image with every subject: RadioGalaxyNET's and the labelled images' own, drawn ones for the
        others.
    seed : int
        Of all that is drawn.
    overwrite : bool
    log : Log

    Returns
    -------
    str, a table of the sources of each origin and class

    Raises
    ------
    InputError
        Where an input is missing or holds nothing of its kind, or the output exists.
    """
    names = (*FILES, INFRARED_FILE) if infrared else FILES
    paths = check_outputs([Path(folder) / name for name in names], overwrite=overwrite)
    for option, given, pattern in (('--first', first, 'FIRSTJ*.fits*'), ('--fr', fr, '[1-4]??_*.fits*')):
        if given is not None:
            _check_folder(option, Path(given), pattern)
    if rgz is not None and not Path(rgz).is_file():
        raise InputError(f'{rgz}: no such catalogue; give the RGZ DR1 subset of ClaRAN with --rgz')
    subjects = _subjects(first, rgz, fr, radiogalaxynet, labelled, n_simulated, n_coarse, seed, infrared=infrared)
    with (
        atomic_outputs(paths, overwrite=overwrite) as temporary,
        tempfile.TemporaryDirectory(dir=paths[0].parent, prefix='.packing-') as scratch,
    ):
        counts = pack(subjects, Path(scratch), progress=lambda items: log.track(items, None, 'subjects packed'))
        for name, target in zip(names, temporary, strict=True):
            os.replace(Path(scratch) / name, target)
    if not infrared:
        (Path(folder) / INFRARED_FILE).unlink(missing_ok=True)  # of an earlier set
    return _table(counts)


def _subjects(
    first: str | None,
    rgz: str | None,
    fr: str | None,
    radiogalaxynet: str | None,
    labelled: Iterable[LabelledImage],
    n_simulated: int,
    n_coarse: int,
    seed: int,
    *,
    infrared: bool,
) -> Iterator[PackedSubject]:
    # Generators of their own: the radio images are the same with and without infrared, but for RadioGalaxyNET's, of
    # which more are left as crowded as they are.
    of_first, of_fr, of_simulated, of_coarse, of_own = (
        np.random.default_rng([seed, k]) if infrared else None for k in (1, 2, 3, 4, 5)
    )
    parts: list[Iterable[PackedSubject]] = []
    # Read at once: images of FR galaxies that overlap a labelled subject have to share its fold.
    of_rgz = _labelled(first, rgz, of_first) if first and rgz else []
    parts.append(of_rgz)
    if fr:
        held_out = SkyCoord([subject_position(subject.name) for subject in of_rgz]) if of_rgz else _nowhere()
        folds = np.array([subject.fold for subject in of_rgz], int)
        parts.append(fr_galaxies(Path(fr), held_out, folds, infrared_rng=of_fr))
    if radiogalaxynet:
        parts.append(radio_galaxy_net(Path(radiogalaxynet), np.random.default_rng(seed), infrared=infrared))
    parts.append(own_subjects(labelled, infrared_rng=of_own))
    parts.append(simulated(n_simulated, np.random.default_rng(seed), infrared_rng=of_simulated))
    parts.append(coarse_simulated(n_coarse, seed, infrared_rng=of_coarse))
    return chain.from_iterable(parts)


def _labelled(first: str, rgz: str, infrared_rng: np.random.Generator | None) -> list[PackedSubject]:
    try:
        return list(labelled_first(Path(first), Path(rgz), infrared_rng=infrared_rng))
    except InputError:
        raise
    except (KeyError, ValueError) as err:
        raise InputError(
            f'{rgz}: cannot label the images in {first} ({type(err).__name__}: {err}); expected the columns first_id, '
            f'num_cpnts, num_peaks, cpnts_ras, cpnts_decs and ang_extent, and rows for some of the images'
        ) from err


def _nowhere() -> SkyCoord:
    return SkyCoord([], [], unit='deg')


def _check_folder(option: str, folder: Path, pattern: str) -> None:
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; give an existing one with {option}')
    if not any(folder.glob(pattern)):
        raise InputError(f'{folder}: no images called {pattern} in it; give the folder that holds them with {option}')


def _table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Tabulate how many sources of each class come from each origin."""
    lines = [f'{"origin":16}' + ''.join(f'{name:>8}' for name in CLASSES) + f'{"sum":>8}']
    for origin, row in counts.items():
        lines.append(f'{origin:16}' + ''.join(f'{row[name]:8d}' for name in CLASSES) + f'{sum(row.values()):8d}')
    total = [sum(row[name] for row in counts.values()) for name in CLASSES]
    lines.append(f'{"sum":16}' + ''.join(f'{number:8d}' for number in total) + f'{sum(total):8d}')
    return '\n'.join(lines)
