"""The host galaxy of a radio source: which object of the infrared image it may be.

Every object near a source is a candidate, and that none of them is the host is a possibility, too. What speaks for a
candidate is how near it lies to the middle of the source, measured in four ways, to its peaks, and how bright it is; a
conditional logit (McFadden 1974) makes probabilities of that. Its parameters were fitted to the hosts that people
identified in RadioGalaxyNET's training images (`benchmarks/hosts.py`).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import softmax

from claran_plugin.infrared_objects import Objects

MARGIN_BEAMS = 2.0
"""Candidates lie within a square around a source's emission, widened by this on each side."""
NEAR_PEAK = 0.35
"""An object this far from a peak, in beams, coincides with it."""


class RadioShape(NamedTuple):
    """What a radio source shows of where its host may be, pixels of the radio image.

    Attributes
    ----------
    centroid : (2,) array
        Mean position, weighted by brightness.
    box : (4,) array
        xyxy around its emission.
    peaks : (n, 2) array
        Brightest first.
    """

    centroid: NDArray
    box: NDArray
    peaks: NDArray


class HostModel(NamedTuple):
    """Parameters of the conditional logit; distances are in beams.

    Attributes
    ----------
    width, width_per_side : float
        The scale of distances is the root of the sum of the squares of `width` and of `width_per_side` times the side
        of the box.
    bias : float
        Log odds of a candidate in the middle against none.
    brightness : float
        Per unit of the natural logarithm of the candidate's signal-to-noise ratio.
    centroid, box, lobes : float
        Weights of ln(1 + (distance / scale)^2), for the distances from the centroid, from the middle of the box, and
        from the mean of the two brightest peaks.
    single, peak, core : float
        What is added where the candidate coincides with the only peak, with any of several, and with the one of three
        or more that is nearest to the middle of the box.
    """

    width: float = 0.207
    width_per_side: float = 0.008
    bias: float = 1.941
    brightness: float = 0.346
    centroid: float = 0.498
    box: float = 0.754
    lobes: float = 0.414
    single: float = -0.58
    peak: float = 1.47
    core: float = -0.663


FITTED = HostModel()


def candidates(shape: RadioShape, objects: Objects, tree: cKDTree, beam_pix: float) -> NDArray:
    """Give the numbers (n,) of the objects that may be the host of a source.

    Parameters
    ----------
    shape : RadioShape
    objects : Objects
    tree : cKDTree
        Of their positions.
    beam_pix : float
        FWHM of the beam, pixels.
    """
    half = np.max(shape.box[2:] - shape.box[:2]) / 2 + MARGIN_BEAMS * beam_pix
    return np.array(sorted(tree.query_ball_point((shape.box[:2] + shape.box[2:]) / 2, half, p=np.inf)), int)


def features(shape: RadioShape, objects: Objects, beam_pix: float) -> dict[str, NDArray]:
    """Give what the conditional logit knows of each candidate: distances in beams, and brightness.

    Parameters
    ----------
    shape : RadioShape
    objects : Objects
        The candidates, n of them.
    beam_pix : float

    Returns
    -------
    dict of (n,) arrays `centroid, box, lobes, single, peak, core` (distances), `brightness`; `side`, a number
    """
    middle = (shape.box[:2] + shape.box[2:]) / 2
    peaks = shape.peaks if len(shape.peaks) else shape.centroid[None]
    nowhere = np.full(len(objects.xy), np.inf)
    core = peaks[np.argmin(((peaks - middle) ** 2).sum(axis=1))]

    def distance(point: NDArray) -> NDArray:
        return np.linalg.norm(objects.xy - point, axis=1) / beam_pix

    return dict(
        centroid=distance(shape.centroid),
        box=distance(middle),
        lobes=distance(peaks[:2].mean(axis=0)),
        single=distance(peaks[0]) if len(peaks) == 1 else nowhere,
        peak=np.min([distance(point) for point in peaks], axis=0) if len(peaks) > 1 else nowhere,
        core=distance(core) if len(peaks) > 2 else nowhere,
        brightness=np.log(np.maximum(objects.snr, 1)),
        side=np.max(shape.box[2:] - shape.box[:2]) / beam_pix,
    )


def host_probabilities(known: Mapping[str, NDArray], model: HostModel) -> NDArray:
    """Give the probability (n,) that each candidate is the host; the rest to 1 is that none is.

    Parameters
    ----------
    known : mapping
        See `features`.
    model : HostModel
    """
    scale = np.hypot(model.width, model.width_per_side * known['side'])
    utility = model.bias + model.brightness * known['brightness']
    for name in ('centroid', 'box', 'lobes'):
        utility = utility - getattr(model, name) * np.log1p((known[name] / scale) ** 2)
    for name in ('single', 'peak', 'core'):
        utility = utility + getattr(model, name) * np.exp(-((known[name] / NEAR_PEAK) ** 2))
    return softmax(np.append(utility, 0.0))[:-1]


def choose_host(
    shape: RadioShape, objects: Objects, tree: cKDTree, beam_pix: float, model: HostModel = FITTED
) -> tuple[NDArray, float]:
    """Choose the likeliest host of a source.

    Parameters
    ----------
    shape, objects, tree, beam_pix
        See `candidates`.
    model : HostModel

    Returns
    -------
    xy : (2,) array, pixels of the radio image, NaN where there is no candidate
    probability : float, that it is the host; 0 where there is no candidate
    """
    numbers = candidates(shape, objects, tree, beam_pix)
    if not len(numbers):
        return np.full(2, np.nan), 0.0
    probability = host_probabilities(features(shape, Objects(*(part[numbers] for part in objects)), beam_pix), model)
    best = int(np.argmax(probability))
    return objects.xy[numbers[best]], float(probability[best])
