"""Fitting a calibration: what a detector says of images whose sources are known, and what makes it true."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from claran_plugin.associator import Associator, choose_fields
from claran_plugin.calibration import WEIGHTS, Calibration, class_probabilities
from claran_plugin.claimed import Components
from claran_plugin.counting_window import NOISE_TRIED
from claran_plugin.evaluation.association_scores import exact_recovery
from claran_plugin.evaluation.reliability import LIGHT, fit_line
from claran_plugin.footprints import on_sight
from claran_plugin.labelled import UNKNOWN
from claran_plugin.measuring import Measuring
from claran_plugin.morphology import CLASSES, ManyCounts
from claran_plugin.sources import box_of
from claran_plugin.subjects import Sky
from claran_plugin.truth import MeasuredTruth, Truth


class Samples(NamedTuple):
    """Detected sources, n of them.

    Attributes
    ----------
    detected : (n, 6) array
        The detector's class probabilities.
    counts : (n, 2, K) int array
        Components and peaks that were counted, with each noise level (`measuring.NOISE_TRIED`).
    label : (n,) int array
        True class number, `NO_SOURCE` where there is none.
    middle : (n, 2) array
        Of their boxes, (x, y) in pixels.
    is_large : (n,) bool array
        Which were found on far coarser skies.
    """

    detected: NDArray
    counts: NDArray
    label: NDArray
    middle: NDArray
    is_large: NDArray

    def where(self, keep: NDArray) -> 'Samples':
        """Keep some of them, (n,) bool."""
        return Samples(*(column[keep] for column in self))

    def probabilities(self, calibration: Calibration) -> NDArray:
        """Give what a calibration makes of them, (n, 6)."""
        return class_probabilities(self.detected, ManyCounts(*self.counts.swapaxes(0, 1)), calibration, self.is_large)


def joined(parts: Sequence[Samples]) -> Samples:
    """Put samples of several images together."""
    return Samples(*(np.concatenate(column) for column in zip(*parts, strict=True)))


class Membership(NamedTuple):
    """Components of true sources of one image: margin of the sources they were put in, and whether these are right.

    All arrays are (m,); `is_large` tells which of these sources were found on far coarser skies; `row` is the
    component's in the table.
    """

    margin: NDArray
    is_large: NDArray
    right: NDArray
    row: NDArray


class Seen(NamedTuple):
    """What a detector makes of an image with known sources.

    `labels` (n,) is the group of each component, `margin` (S,) that of each group; `is_large` (S,) tells which groups
    were found on far coarser skies.
    """

    samples: Samples
    membership: Membership
    labels: NDArray
    margin: NDArray
    is_large: NDArray


def look(
    sky: Sky,
    components: Components,
    truth: Truth | MeasuredTruth,
    associator: Associator,
    *,
    within: NDArray | None = None,
    told: NDArray | None = None,
) -> Seen:
    """Look at one image and compare what comes out with the truth.

    Parameters
    ----------
    sky : Sky
    components : Components
        n of them, on it.
    truth : Truth or MeasuredTruth
    associator : Associator
    within : (4,) array, optional
        Where the truth is known, xyxy in pixels; what is detected elsewhere is no sample.
    told : (n,) bool array, optional
        Components whose source is known; what is made of others alone is no sample.
    """
    centres = choose_fields(sky, components, on_sight(components, sky))
    looked = associator.partition(sky, components, centres)
    partition = looked.partition
    measuring = Measuring(looked.skies, components, partition.labels, partition.hypotheses.box)
    class_of = truth.classes_on(looked.skies)
    is_large = partition.hypotheses.is_far_coarser
    rows: list[tuple] = []
    for label, hypothesis in enumerate(partition.hypotheses):
        members = np.array(sorted(hypothesis.members))
        if hypothesis.box is None or (told is not None and not told[members].any()):
            continue
        measured = measuring.source(label, hypothesis.box, hypothesis.scale)
        box = box_of(hypothesis, measured)
        middle = (box[:2] + box[2:]) / 2
        if within is not None and not np.all((middle > within[:2]) & (middle < within[2:])):
            continue
        true = class_of(hypothesis, box)
        if true != UNKNOWN:
            rows.append((hypothesis.probabilities, measured.tried, true, middle, is_large[label]))
    recovered = exact_recovery(truth.members, partition.labels)
    told_rows = np.array([row for members in truth.members for row in members], int)
    right = np.repeat(recovered, [len(members) for members in truth.members])
    found = partition.labels[told_rows]
    membership = Membership(partition.margin[found], is_large[found], right, told_rows)
    return Seen(_samples(rows), membership, partition.labels, partition.margin, is_large)


def _samples(rows: list[tuple]) -> Samples:
    detected, counts, label, middle, is_large = zip(*rows, strict=True) if rows else [()] * 5
    return Samples(
        np.array(detected, float).reshape(-1, len(CLASSES)),
        np.array(counts, int).reshape(-1, 2, len(NOISE_TRIED)),
        np.array(label, int),
        np.array(middle, float).reshape(-1, 2),
        np.array(is_large, bool),
    )


def fit(
    samples: Samples,
    margin: NDArray,
    right: NDArray,
    start: Calibration | None = None,
    *,
    hold: float = LIGHT,
    hold_membership: float | None = None,
) -> Calibration:
    """Choose the parameters of greatest likelihood.

    Parameters
    ----------
    samples : Samples
        Those that were found on far coarser skies are left out: for these the parameters stay those of `start`.
    margin, right : (m,) arrays
        Of components of true sources, see `Membership`, without those of such sources.
    start : Calibration, optional
        Where the fit begins; by default at neutral values.
    hold : float
        Weight of the squared distance from there beside the mean negative log likelihood: the fewer there are to fit
        to, the more it should be.
    hold_membership : float, optional
        The same for the line of the components, whose number is another one; by default `hold`.
    """
    start = start or NEUTRAL
    samples = samples.where(~samples.is_large)
    beginning = _unbounded(start)
    result = minimize(
        lambda x: loss(samples, _bounded(x, start)) + hold * np.sum((x - beginning) ** 2), beginning, method='Powell',
        options=dict(maxiter=4000),
    )  # fmt: skip
    line = fit_line(margin, right, start.membership, hold=hold if hold_membership is None else hold_membership)
    return _bounded(result.x, start)._replace(membership=line)


def _bounded(x: NDArray, other: Calibration) -> Calibration:
    """Make a calibration of numbers without bounds; what they do not tell is that of another one."""
    missed, added, component_missed, component_wrong = (float(share) for share in 1 / (1 + np.exp(-x[1:5])))
    return other._replace(
        sharpness=float(np.exp(x[0])),
        peak_missed=missed,
        peak_added=added,
        component_missed=component_missed,
        component_wrong=component_wrong,
        existence=(float(np.exp(x[5])), float(x[6])),
    )


def _unbounded(calibration: Calibration) -> NDArray:
    """Undo `_bounded`."""
    counting = np.clip([getattr(calibration, name) for name in COUNTING], 1e-3, 1 - 1e-3)
    slope, offset = calibration.existence
    return np.array([np.log(calibration.sharpness), *np.log(counting / (1 - counting)), np.log(slope), offset])


COUNTING = ('peak_missed', 'peak_added', 'component_missed', 'component_wrong')
NEUTRAL = _bounded(np.array([0.0, -1.0, -3.0, -2.0, -2.0, 0.0, 0.0]), Calibration())
"""Where the bundled calibrations were fitted from."""


def loss(samples: Samples, calibration: Calibration) -> float:
    """Give the mean negative log likelihood of the true classes; no source is the seventh."""
    probabilities = samples.probabilities(calibration)
    each = np.column_stack([probabilities, 1 - probabilities.sum(axis=1)])
    likelihood = np.take_along_axis(each, samples.label[:, None], axis=1)
    return float(-np.log(np.maximum(likelihood, 1e-6)).mean()) if len(likelihood) else 0.0


def stated(samples: Samples, calibration: Calibration) -> tuple[NDArray, NDArray]:
    """Give what a calibration says of each sample's likeliest class (`Morph_Prob`), and whether it is the true one."""
    probabilities = samples.probabilities(calibration)
    return probabilities.max(axis=1), probabilities.argmax(axis=1) == samples.label


def write_calibration(calibration: Calibration, path: str | Path, weights_hash: str | None = None) -> None:
    """Write a calibration as JSON, with the hash of the weights that it was fitted to where that is given."""
    values: dict[str, Any] = {key: _rounded(value) for key, value in calibration._asdict().items()}
    if weights_hash is not None:
        values[WEIGHTS] = weights_hash
    Path(path).write_text(json.dumps(values, indent=1) + '\n')


def _rounded(value: float | tuple[float, ...]) -> float | list[float]:
    """Round to four digits that count: a probability near zero must not become zero."""
    return [float(f'{each:.4g}') for each in value] if isinstance(value, tuple) else float(f'{value:.4g}')
