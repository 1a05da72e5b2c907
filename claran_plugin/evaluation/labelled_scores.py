"""How right a detector is on labelled images, and its calibration, fitted to some and judged on others."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from claran_plugin.associator import Associator
from claran_plugin.calibration import Calibration, membership_probability
from claran_plugin.errors import InputError
from claran_plugin.evaluation.association_scores import exact_recovery, linked_islands
from claran_plugin.evaluation.calibrating import (
    Samples,
    Seen,
    fit,
    joined,
    look,
    loss,
    stated,
)
from claran_plugin.evaluation.reliability import reliability_table
from claran_plugin.evaluation.wrong_sources import Wrong, wrong_sources
from claran_plugin.footprints import on_sight
from claran_plugin.images import pixel_scale
from claran_plugin.labelled import N_FOLDS, LabelledImage, folds_on_sky
from claran_plugin.truth import NO_SOURCE, MeasuredTruth

LEAST_SOURCES = 20
"""Fewer true sources tell too little."""
HOLD_OF_ONE = 0.6
"""Weight of where a fit begins, beside the sum of the negative log likelihoods: `reliability.LIGHT` for 300."""
LINKING_BEAMS = np.arange(1.0, 24.1, 1.0)
"""Linking lengths that are tried for friends-of-friends."""
ALONE, PLUGIN = 'each island alone', 'claran_plugin'


class Memberships(NamedTuple):
    """Components of true sources, (m,) arrays: what `calibrating.Membership` tells, and the fold of each."""

    margin: NDArray
    is_large: NDArray
    right: NDArray
    fold: NDArray


class Findings(NamedTuple):
    """What a detector makes of labelled images.

    Attributes
    ----------
    n_images, n_components : int
    several : (t,) bool array
        Which true sources have several islands.
    recovered : dict of str to (t,) bool array
        By way of grouping, which true sources it recovers exactly.
    samples : Samples
    sample_fold : (n,) int array
    memberships : Memberships
    wrong : sequence of Wrong
    """

    n_images: int
    n_components: int
    several: NDArray
    recovered: dict[str, NDArray]
    samples: Samples
    sample_fold: NDArray
    memberships: Memberships
    wrong: Sequence[Wrong] = ()

    def fitted(self, start: Calibration, without: int | None = None) -> Calibration:
        """Fit a calibration, from another one, to all folds but one."""
        own, members = self.sample_fold != without, self.memberships.fold != without
        members &= ~self.memberships.is_large
        return fit(
            self.samples.where(own),
            self.memberships.margin[members],
            self.memberships.right[members],
            start,
            hold=HOLD_OF_ONE / max(int(own.sum()), 1),
            hold_membership=HOLD_OF_ONE / max(int(members.sum()), 1),
        )


class Examination:
    """Looks at labelled images, one after another.

    Parameters
    ----------
    associator : Associator
    """

    def __init__(self, associator: Associator) -> None:
        self.associator = associator
        self._seen: list[Seen] = []
        self._at: list[list[NDArray]] = []
        self._beams: list[float] = []
        self._several: list[bool] = []
        self._recovered: dict[str, list[bool]] = defaultdict(list)
        self._n_components = 0
        self._wrong: list[Wrong] = []

    def add(self, image: LabelledImage) -> None:
        """Look at the next image."""
        truth = MeasuredTruth(image)
        components = image.components
        seen = look(image.sky, components, truth, self.associator, told=image.source >= 0)
        places = seen.samples.middle, components.xy[seen.membership.row]
        self._at.append([image.deg_of(xy) for xy in places])
        self._beams.append(image.sky.beam_pix * pixel_scale(image.sky.radio))
        groupings = {ALONE: components.island, PLUGIN: seen.labels}
        for beams in LINKING_BEAMS.tolist():
            length = beams * image.sky.beam_pix
            name = f'friends-of-friends, {beams:g} beams'
            groupings[name] = linked_islands(components.xy, components.flux, components.island, length)
        for name, labels in groupings.items():
            self._recovered[name] += exact_recovery(truth.members, labels).tolist()
        self._several += [len(np.unique(components.island[rows])) > 1 for rows in truth.members]
        self._n_components += int(on_sight(components, image.sky).sum())
        self._seen.append(seen)
        self._wrong += wrong_sources(image, seen)

    def findings(self) -> Findings:
        """Put together what has been seen.

        Raises
        ------
        InputError
            Where there are fewer than `LEAST_SOURCES` true sources.
        """
        if len(self._several) < LEAST_SOURCES:
            raise InputError(
                f'{len(self._several)} labelled sources in {len(self._seen)} images are too few to calibrate with: '
                f'label {LEAST_SOURCES} or more'
            )
        memberships = [seen.membership for seen in self._seen]
        samples = joined([seen.samples for seen in self._seen])
        at = np.concatenate([deg for kind in zip(*self._at, strict=True) for deg in kind])
        folds = folds_on_sky(SkyCoord(at, unit='deg'), float(np.median(self._beams)))
        return Findings(
            len(self._seen),
            self._n_components,
            np.array(self._several),
            {name: np.array(flags) for name, flags in self._recovered.items()},
            samples,
            folds[: len(samples.label)],
            Memberships(
                np.concatenate([one.margin for one in memberships]),
                np.concatenate([one.is_large for one in memberships]),
                np.concatenate([one.right for one in memberships]),
                folds[len(samples.label) :],
            ),
            self._wrong,
        )


Panels = dict[str, tuple[NDArray, NDArray]]
"""By column, what is stated of each row, and whether it is right."""


def as_stated(findings: Findings, calibration: Calibration) -> Panels:
    """Give what a calibration states, and what is right."""
    members = findings.memberships
    return {
        'Morph_Prob': stated(findings.samples, calibration),
        'Assoc_Prob': (membership_probability(members.margin, members.is_large, calibration), members.right),
    }


def cross_validated(findings: Findings, start: Calibration) -> Panels:
    """Give what calibrations state that were fitted to the other folds."""
    samples, members = findings.samples, findings.memberships
    morphology = np.zeros((2, len(samples.label)))
    association = np.zeros(len(members.margin))
    for fold in range(N_FOLDS):
        own, own_members = findings.sample_fold == fold, members.fold == fold
        if not (own.any() or own_members.any()):
            continue
        calibration = findings.fitted(start, without=fold)
        morphology[:, own] = stated(samples.where(own), calibration)
        margin, is_large = members.margin[own_members], members.is_large[own_members]
        association[own_members] = membership_probability(margin, is_large, calibration)
    return {'Morph_Prob': (morphology[0], morphology[1] > 0), 'Assoc_Prob': (association, members.right)}


def report(findings: Findings, before: Calibration, after: Calibration, panels: Panels) -> str:
    """Tell how right the grouping is, beside others, and how reliable both probabilities are.

    Parameters
    ----------
    findings : Findings
    before, after : Calibration
        The one that the detector had, and the fitted one.
    panels : dict
        Of `cross_validated`.
    """
    several = findings.several
    friends = (name for name in findings.recovered if name not in (ALONE, PLUGIN))
    best = max(friends, key=lambda name: findings.recovered[name].sum())
    samples = findings.samples
    lines = [
        f'{findings.n_images} images, {findings.n_components} components, {len(several)} true sources: '
        f'{several.sum()} of several islands',
        '',
        f'{"sources that come back exactly":42}{"all":>8}{"one":>9}{"several":>9}',
    ]
    for name in (ALONE, best, PLUGIN):
        right = findings.recovered[name]
        shares = ''.join(f'{share(right[chosen]):>9}' for chosen in (~several, several))
        lines.append(f'{name + (" (best here)" if name == best else ""):42}{share(right):>8}{shares}')
    lines += [
        '',
        f'{len(samples.label)} detections, {(samples.label != NO_SOURCE).sum()} of true sources of the six classes; '
        f'negative log likelihood of each {loss(samples, before):.3f}, fitted to them {loss(samples, after):.3f}',
    ]
    parts = np.union1d(findings.sample_fold, findings.memberships.fold)
    for title, (probability, right) in as_stated(findings, before).items():
        lines += ['', reliability_table(f'{title} as it was', probability, right)]
        if len(parts) > 1:
            lines += [reliability_table(f'{title}, fitted to the other four fifths', *panels[title])]
        else:
            lines += [
                f'{title}, fitted: all lie in one small part of the sky, and there is no other one to judge it by'
            ]
    return '\n'.join(lines)


def share(right: NDArray) -> str:
    """Write a share of flags, '-' of none."""
    return f'{right.mean():.3f}' if len(right) else '-'
