"""Probabilities that mean what they say: how the detector's numbers are turned into the catalogue's.

A calibration is fitted on sources that the detector was not trained on, and lies beside the weights as JSON.
"""

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claran_plugin.errors import InputError
from claran_plugin.morphology import CLASSES, Counts, ManyCounts


class Calibration(NamedTuple):
    """Parameters of the calibration.

    Attributes
    ----------
    sharpness : float
        Power that class probabilities are raised to before they are normalised; below 1 they get less extreme.
    peak_missed, peak_added, component_missed, component_wrong : float
        By which factor the counts on the image are less likely for each peak of the class that was not counted, for
        each peak that was counted beyond it (with a component of its own or not), for each component that was missed
        with its peak, and for each further component more or fewer. 1 says nothing.
    existence : (a, b)
        Probability that a detection is a source: logistic of a x log odds + b.
    membership : (a, b)
        Probability that a component belongs to its source: logistic of a x margin + b.
    large_existence, large_membership : (a, b)
        The same for what was found on far coarser skies (`hypotheses.FAR_COARSER`). By default as fitted to simulated
        sources of 2 to 8 fields of view: a component belongs to its source where that has nine tenths of its flux in
        common with the true one.
    large_counts : float
        Power that the likelihood of counts is raised to there: lobes of many beams are not counted as surely as small
        ones. By default as fitted to 30 such sources.
    unseen : float
        Probability of the counted class for a source that was looked at but not detected.
    isolated : float
        Probability of the counted class for an isolated, unresolved component that was not looked at.
    """

    sharpness: float = 1.0
    peak_missed: float = 0.35
    peak_added: float = 0.05
    component_missed: float = 0.15
    component_wrong: float = 0.05
    existence: tuple[float, float] = (1.0, 0.0)
    membership: tuple[float, float] = (1.0, 0.0)
    large_existence: tuple[float, float] = (0.14, 0.27)
    large_membership: tuple[float, float] = (0.19, 0.02)
    large_counts: float = 0.3
    unseen: float = 0.3
    isolated: float = 0.95


WEIGHTS = 'weights'
"""In a file with a calibration, the hash of the weights that it was fitted to, where that is known."""


def fitted_to_others(path: str | Path, weights_hash: str) -> bool:
    """Tell whether a file that `read_calibration` reads says that it was fitted to other weights."""
    return json.loads(Path(path).read_text()).get(WEIGHTS, weights_hash) != weights_hash


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration.

    Raises
    ------
    InputError
        Where the file is not one.
    """
    try:
        given = json.loads(Path(path).read_text())
        if not isinstance(given, dict):
            raise TypeError(f'it holds a {type(given).__name__}, expected the parameters by their names')
        given.pop(WEIGHTS, None)
        values: dict[str, Any] = {
            name: tuple(map(float, value)) if isinstance(value, list) else float(value) for name, value in given.items()
        }
        calibration = Calibration(**values)
        for name, default in Calibration()._asdict().items():
            if np.shape(getattr(calibration, name)) != np.shape(default):
                raise ValueError(f'{name} is {given[name]}, expected such as {default}')
        for name in ('peak_missed', 'peak_added', 'component_missed', 'component_wrong'):
            if not 0 < getattr(calibration, name) <= 1:
                raise ValueError(f'{name} is {getattr(calibration, name):g}, expected above 0 and not above 1')
        return calibration
    except (OSError, ValueError, TypeError, AttributeError) as err:
        raise InputError(
            f'{path}: not a readable calibration ({err}); restore the file beside the weights, or give '
            'one that claran calibrate wrote'
        ) from err


def calibration_hash(calibration: Calibration) -> str:
    """Give the first 12 hexadecimal digits of the parameters' SHA-256; 'none' of the defaults, which fit nothing."""
    if calibration == Calibration():
        return 'none'
    return hashlib.sha256(json.dumps(calibration._asdict(), sort_keys=True).encode()).hexdigest()[:12]


def class_probabilities(
    detected: NDArray, counts: Counts | ManyCounts, calibration: Calibration, is_large: ArrayLike = False
) -> NDArray:
    """Join the detector's view of a source with what was counted on the image.

    Parameters
    ----------
    detected : (..., 6) array
        The detector's class probabilities; the rest to 1 is background.
    counts : Counts or ManyCounts
        Of the source on the image; where they are many, (..., K), counted with K levels of the noise, none of which is
        known to be the right one. The mean of their log likelihoods counts.

    calibration : Calibration
    is_large : (...) bool array
        Whether it was found on a far coarser sky.

    Returns
    -------
    (..., 6) array, calibrated; its sum is the probability that the source exists as detected
    """
    total = np.clip(detected.sum(axis=-1, keepdims=True), 1e-4, 1 - 1e-4)
    shape = np.maximum(detected / total, 1e-4) ** calibration.sharpness
    each = count_likelihood(ManyCounts(np.atleast_1d(counts.components), np.atleast_1d(counts.peaks)), calibration)
    is_large = np.expand_dims(is_large, -1)
    shape = shape * np.exp(np.log(each).mean(axis=-2) * np.where(is_large, calibration.large_counts, 1.0))
    lines = calibration.existence, calibration.large_existence
    exists = _by_size(np.log(total / (1 - total)), is_large, *lines)
    return exists * shape / shape.sum(axis=-1, keepdims=True)


def membership_probability(margin: ArrayLike, is_large: ArrayLike, calibration: Calibration) -> NDArray:
    """Give the probability that a component belongs to its source (`Assoc_Prob`).

    Parameters
    ----------
    margin : (...) array
        Of the source (`association.Partition`).
    is_large : (...) bool array
        Whether it was found on a far coarser sky.
    calibration : Calibration
    """
    return _by_size(margin, is_large, calibration.membership, calibration.large_membership)


def _by_size(value: ArrayLike, is_large: ArrayLike, line: tuple[float, float], large: tuple[float, float]) -> NDArray:
    return np.where(is_large, logistic(value, large), logistic(value, line))


def count_likelihood(counts: Counts | ManyCounts, calibration: Calibration) -> NDArray:
    """Give the likelihood (..., 6) of the counts for each class, in units of that of the class they name.

    Peaks are easily missed and hardly ever added, as a faint one needs a contour of its own. Components are seldom
    wrong, but a faint one may be missed, and then its peak with it. What is counted beyond the most that a class has
    speaks for the classes that have the most.
    """
    n_components, n_peaks = np.array([(int(name[0]), int(name[3])) for name in CLASSES]).T
    # That were missed:
    components = n_components - np.expand_dims(np.minimum(counts.components, n_components.max()), -1)
    peaks = n_peaks - np.expand_dims(np.minimum(counts.peaks, n_peaks.max()), -1)
    both_missed = np.clip(np.minimum(components, peaks), 0, None)
    both_added = np.clip(np.minimum(-components, -peaks), 0, None)
    components, peaks = components - both_missed + both_added, peaks - both_missed + both_added
    return (
        calibration.component_missed**both_missed
        * calibration.peak_added ** (both_added + np.maximum(-peaks, 0))
        * calibration.peak_missed ** np.maximum(peaks, 0)
        * calibration.component_wrong ** np.abs(components)
    )


def nearest_class(counts: Counts) -> int:
    """Give the number of the class nearest to some counts."""
    distance = [3 * abs(int(n[0]) - counts.components) + abs(int(n[3]) - counts.peaks) for n in CLASSES]
    return int(np.argmin(distance))


def logistic(value: ArrayLike, line: tuple[float, float]) -> NDArray:
    """Give 1 / (1 + exp(-(a x + b)))."""
    return 1 / (1 + np.exp(-(line[0] * np.asarray(value, float) + line[1])))
