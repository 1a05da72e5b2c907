"""The six morphology classes, the counting of components and peaks, and ClaRAN's box rule.

A source of morphology iC_jP has i *components*, discrete islands of emission, and j *peaks*, local maxima of the
brightness inside them (Wu et al. 2019, Section 3.1). Radio Galaxy Zoo traces contours at 3 sigma x sqrt(3)^k, where
sigma is 1.4826 times the median absolute deviation, and takes k = 1, 2, ...: what the paper calls its 4-sigma
threshold lies at 3 sqrt(3) = 5.2 such sigma (checked on the contours that were shown to the volunteers: 5.20 +- 0.05).
A component is a lowest contour, a peak is a contour that holds no further one.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

CLASSES = ('1C_1P', '1C_2P', '1C_3P', '2C_2P', '2C_3P', '3C_3P')
LEVEL_RATIO = 3**0.5
"""Brightness of a contour over that of the next lower one."""
COMPONENT_SIGMA = 3 * LEVEL_RATIO
"""Brightness of the lowest contour, in units of the noise (1.4826 x median absolute deviation)."""
MIN_COMPONENT_BEAMS = 0.1
"""Smallest area of a component, in beam areas; smaller specks are noise."""
MOST_COMPARED = 64
"""Components up to which the largest separation is exact; beyond, to 0.2 %."""
EIGHT_CONNECTED = np.ones((3, 3), bool)


class Counts(NamedTuple):
    """Components and peaks counted on an image."""

    components: int
    peaks: int


class ManyCounts(NamedTuple):
    """Components and peaks counted in several ways, or of several sources: arrays (..., K)."""

    components: NDArray
    peaks: NDArray


def class_name(components: int, peaks: int) -> str | None:
    """Name the class of a source, or None where it is none of the six."""
    name = f'{components}C_{peaks}P'
    return name if name in CLASSES else None


def components_of(name: str) -> int:
    """Give the number of components of a class name such as ``2C_3P``."""
    return int(name[0])


def least_component_area(beam_pix: float) -> float:
    """Give the least area of what is counted, square pixels, from the beam's FWHM in pixels."""
    return max(MIN_COMPONENT_BEAMS * 1.133 * beam_pix**2, 1)


def component_labels(snr: NDArray, beam_pix: float, *, sigma: float = COMPONENT_SIGMA) -> tuple[NDArray, int]:
    """Label the discrete islands of emission of an image.

    Parameters
    ----------
    snr : (ny, nx) array
        Brightness in units of the noise; NaN where blank.
    beam_pix : float
        FWHM of the beam, pixels.
    sigma : float
        Threshold in units of the noise.

    Returns
    -------
    labels : (ny, nx) int array, 0 outside components
    n : int, their number; labels run from 1 to n
    """
    labels, n = ndimage.label(snr > sigma, EIGHT_CONNECTED)  # blank is not above
    if not n:
        return labels, 0
    area = np.bincount(labels.ravel(), minlength=n + 1)
    keep = area >= least_component_area(beam_pix)
    keep[0] = False
    renumbered = np.zeros(n + 1, labels.dtype)
    renumbered[keep] = np.arange(1, keep.sum() + 1)
    return renumbered[labels], int(keep.sum())


def peak_positions(snr: NDArray, footprint: NDArray) -> NDArray:
    """Find the peaks of a source: the brightest pixels of those contours that hold no further contour.

    Parameters
    ----------
    snr : (ny, nx) array
        Brightness in units of the noise.
    footprint : (ny, nx) bool array
        Where to look.

    Returns
    -------
    (n, 2) int array of (x, y) pixels, brightest first
    """
    inside = footprint & (snr > COMPONENT_SIGMA)
    if not inside.any():
        return np.empty((0, 2), int)
    ys, xs = ndimage.find_objects(inside.astype(np.int8))[0]
    brightness = np.where(inside[ys, xs], np.nan_to_num(snr[ys, xs]), 0)
    maxima = local_maxima(brightness)
    if len(maxima) == 1:  # every contour holds it
        return maxima + np.array([xs.start, ys.start])
    n_levels = 1 + int(np.log(brightness.max() / COMPONENT_SIGMA) / np.log(LEVEL_RATIO))
    levels = COMPONENT_SIGMA * LEVEL_RATIO ** np.arange(n_levels + 1)
    # Whether a maximum is a peak is decided by the highest contour around it: no other level need be looked at.
    highest = np.unique(np.searchsorted(levels, brightness[maxima[:, 1], maxima[:, 0]]) - 1)
    rising = np.argsort(brightness, axis=None, kind='stable')
    found: NDArray = np.empty(0, int)  # places in the flattened array
    for level in levels[highest[::-1]]:
        regions, n = ndimage.label(brightness > level, EIGHT_CONNECTED)
        regions = regions.ravel()
        brightest = np.zeros(n + 1, int)
        brightest[regions[rising]] = rising  # the last one stays
        is_new = np.ones(n + 1, bool)
        is_new[0] = False
        is_new[regions[found]] = False
        found = np.concatenate([found, brightest[is_new]])
    found = found[np.argsort(-brightness.ravel()[found], kind='stable')]
    y, x = np.unravel_index(found, brightness.shape)
    return np.stack([x + xs.start, y + ys.start], axis=-1)


def local_maxima(brightness: NDArray) -> NDArray:
    """Find the pixels above 0 that none of their eight neighbours is brighter than: (n, 2) ints, (x, y)."""
    width = brightness.shape[1] + 2
    padded = np.pad(brightness, 1).ravel()
    place = np.flatnonzero(padded > 0)
    around = [dy * width + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
    place = place[padded[place] >= padded[place + np.array(around)[:, None]].max(axis=0)]
    y, x = np.divmod(place, width)
    return np.stack([x - 1, y - 1], axis=-1)


def count(snr: NDArray, footprint: NDArray, beam_pix: float) -> Counts:
    """Count components and peaks of one source as RGZ DR1 does.

    Parameters
    ----------
    snr : (ny, nx) array
        Brightness in units of the noise.
    footprint : (ny, nx) bool array
        Pixels that belong to the source.
    beam_pix : float
        FWHM of the beam, pixels.
    """
    labels, n = component_labels(np.where(footprint, snr, 0), beam_pix)
    return Counts(n, len(peak_positions(snr, labels > 0)) if n else 0)


def extent_factor(n_components: int, n_peaks: int) -> float:
    """Give the side of ClaRAN's box over the catalogue's angular extent."""
    return 1.0 if n_components == 1 else 1.2 if (n_components, n_peaks) == (2, 2) else 1.3


def source_box(labels: NDArray, members: ArrayLike, n_peaks: int) -> NDArray:
    """Give the square box that ClaRAN's training set draws around a source.

    The catalogue's angular extent is the diagonal of the bounding box for a source of one component (exactly: 1.00 +-
    0.01 on 86 real sources), and goes with the largest distance between the centres of the components' bounding boxes
    for others (1.13 times it for two components, 1.05 for three, in the median). The side of the box is that extent
    times 1.0 for 1C, 1.2 for 2C_2P and 1.3 for the rest; its centre is that of the bounding box.

    Parameters
    ----------
    labels : (ny, nx) int array
        Labelled components.
    members : sequence of int
        Labels of the source's components.
    n_peaks : int
        Number of peaks of the source.

    Returns
    -------
    (4,) array, xyxy in pixels
    """
    slices = ndimage.find_objects(labels)
    bounds = [
        [s[1].start - 0.5, s[0].start - 0.5, s[1].stop - 0.5, s[0].stop - 0.5]
        for s in (slices[member - 1] for member in np.atleast_1d(members))
    ]
    return box_around(np.array(bounds, float), n_peaks)


def box_around(bounds: NDArray, n_peaks: int) -> NDArray:
    """Give the box of `source_box` from the bounding boxes (k, 4) of a source's components."""
    return boxes_around_sets(bounds, np.ones((1, len(bounds)), bool), n_peaks)[0]


def boxes_around_sets(bounds: NDArray, has: NDArray, n_peaks: int) -> NDArray:
    """Give the boxes of `source_box`, (m, 4), of m sets of k components.

    Parameters
    ----------
    bounds : (k, 4) array
        Bounding boxes of the components.
    has : (m, k) bool array
        Which of them each set has, one at least.
    n_peaks : int
        Of each set.
    """
    low = np.where(has[..., None], bounds[:, :2], np.inf).min(axis=1)
    high = np.where(has[..., None], bounds[:, 2:], -np.inf).max(axis=1)
    centres = (bounds[:, :2] + bounds[:, 2:]) / 2
    if len(centres) <= MOST_COMPARED:
        separation = np.linalg.norm(centres[:, None] - centres, axis=-1)
        widest = np.where(has[:, :, None] & has[:, None], separation, 0).max(axis=(1, 2))
    else:
        widest = np.array([_widest(centres[row]) for row in has])
    sides = [1.13 * extent_factor(2, n_peaks), 1.05 * extent_factor(3, n_peaks)]
    number = has.sum(axis=1)
    side = np.where(number == 1, np.hypot(*(high - low).T), widest * np.take(sides, number > 2))
    middle = (low + high) / 2
    return np.concatenate([middle - side[:, None] / 2, middle + side[:, None] / 2], axis=1)


def _widest(points: NDArray) -> float:
    """Give the largest distance between any two points (k, 2); of many, between the outermost in some directions."""
    if len(points) > MOST_COMPARED:
        angles = np.linspace(0, 2 * np.pi, MOST_COMPARED, endpoint=False)
        points = points[np.unique(np.argmax(points @ np.stack([np.cos(angles), np.sin(angles)]), axis=0))]
    return float(np.linalg.norm(points[:, None] - points, axis=-1).max())
