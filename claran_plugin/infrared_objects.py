"""Objects of an infrared image: stars and galaxies, one of which may be a radio source's host."""

import warnings
from typing import NamedTuple

import numpy as np
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.contours import NoiseMap, noise
from claran_plugin.pixels import tiles

SMOOTHING_PIX = 1.0
"""Standard deviation of the Gaussian that the infrared image is smoothed with, pixels of the radio image."""
LEAST_SNR = 2.0
"""Objects fainter than this, in units of the smoothed image's noise, are none."""
OBJECT_BOX_PIX = 5
"""An object is the brightest pixel of a square of this side."""
FLAT = 1e-3
"""Peaks joined by pixels that are all this near to the brightest around them, relatively, are one saturated star."""
MOST_HOLE_PIX, LEAST_RIM_SNR = 400, 10.0
"""Blank pixels in a star's middle are as many at most, and their neighbours that bright, in units of the noise."""
BACKGROUND_PIX, LEAST_KNOWN = 128, 0.25
"""Side of the boxes whose medians are the background, pixels, and how much of one has not to be blank."""
MARGIN_PIX = 16
"""How much of its surroundings each part of an infrared image is looked at with."""


class Objects(NamedTuple):
    """Objects of an infrared image.

    Attributes
    ----------
    xy : (n, 2) array
        Positions, pixels of the radio image.
    snr : (n,) array
        Peak brightness above the background, in units of the noise.
    """

    xy: NDArray
    snr: NDArray


NO_OBJECTS = Objects(np.empty((0, 2)), np.empty(0))


def find_objects(infrared: CCDData) -> Objects:
    """Find the objects of an infrared image that was brought onto the radio image's grid.

    Parameters
    ----------
    infrared : CCDData
        (ny, nx), any unit, NaN where blank; see `images.read_infrared`.

    Returns
    -------
    Objects
    """
    found = [_objects_in(infrared, ys, xs) for ys, xs in tiles(infrared.shape)]
    return Objects(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def _objects_in(infrared: CCDData, ys: slice, xs: slice) -> Objects:
    """Find the objects of a part of an image; the noise is that of the part."""
    low = [max(part.start - MARGIN_PIX, 0) for part in (ys, xs)]
    data = np.asarray(infrared.data[low[0] : ys.stop + MARGIN_PIX, low[1] : xs.stop + MARGIN_PIX], float)
    blank = ~np.isfinite(data)
    if blank.all():
        return NO_OBJECTS
    data -= _background(data)
    data[blank] = 0
    blank &= ~_fill_saturated(data, blank)
    smooth = ndimage.gaussian_filter(data, SMOOTHING_PIX)
    sigma = noise(smooth, blank) or float(smooth.std())
    if not sigma > 0:
        return NO_OBJECTS
    from photutils.centroids import centroid_quadratic  # slow to import, and not always needed
    from photutils.detection import find_peaks

    with warnings.catch_warnings():
        warnings.simplefilter('ignore', AstropyUserWarning)  # no peaks; no parabola fits, which gives NaN
        found = find_peaks(
            smooth, LEAST_SNR * sigma, box_size=OBJECT_BOX_PIX, mask=blank, centroid_func=centroid_quadratic
        )
    if found is None:
        return NO_OBJECTS
    whole = np.stack([found['x_peak'], found['y_peak']], axis=-1)
    refined = np.stack([found['x_centroid'], found['y_centroid']], axis=-1).astype(float)
    near = np.all(np.abs(refined - whole) <= 1, axis=1)
    xy, peak = _one_of_each_flat_top(
        np.where(near[:, None], refined, whole), np.asarray(found['peak_value'], float), whole, smooth
    )
    xy += low[::-1]
    pixel = np.clip(np.rint(xy), 0, np.array(infrared.shape[::-1]) - 1)
    own = np.all((pixel >= (xs.start, ys.start)) & (pixel < (xs.stop, ys.stop)), axis=1)
    return Objects(xy[own], peak[own] / sigma)


def _background(data: NDArray) -> NDArray:
    """Map the background of an image (ny, nx), NaN where blank: medians of boxes, interpolated."""
    n_boxes = [max(round(n / BACKGROUND_PIX), 1) for n in data.shape]
    sides = [-(-n // boxes) for n, boxes in zip(data.shape, n_boxes, strict=True)]
    grid = np.full(n_boxes, np.nan)
    for row, column in np.ndindex(*n_boxes):
        part = data[row * sides[0] : (row + 1) * sides[0], column * sides[1] : (column + 1) * sides[1]]
        part = part[np.isfinite(part)]
        if part.size >= LEAST_KNOWN * sides[0] * sides[1]:
            grid[row, column] = np.median(part)
    known = np.isfinite(grid)
    if not known.any():
        return np.full(data.shape, np.nanmedian(data))
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    grid = ndimage.median_filter(grid[tuple(nearest)], 3, mode='nearest')
    grid = np.pad(grid, 1, mode='reflect', reflect_type='odd')  # goes on beyond the outer boxes' middles
    middle = float(np.median(grid))  # what is interpolated is small, or exactly zero
    (ny, nx), (high, wide) = data.shape, sides
    wider = NoiseMap(grid - middle, sides, (ny + 2 * high, nx + 2 * wide))
    return middle + wider[high : high + ny, wide : wide + nx].astype(float)


def _fill_saturated(data: NDArray, blank: NDArray) -> NDArray:
    """Fill the blank middles of stars with the brightest beside them, in place, and give where that is."""
    holes, n = ndimage.label(blank)
    filled = np.zeros(n + 1, bool)
    if not n:
        return filled[holes]
    sizes = np.bincount(holes.ravel())
    numbers = np.flatnonzero(sizes <= MOST_HOLE_PIX)
    if not len(numbers):
        return filled[holes]
    known = ndimage.uniform_filter((~blank).astype(float), 3)
    mean = ndimage.uniform_filter(data, 3)  # blank pixels are at the background, 0
    rim = np.where(blank & (known > 0.05), holes, -1)
    level = ndimage.sum_labels(mean, rim, numbers) / np.maximum(ndimage.sum_labels(known, rim, numbers), 1e-30)
    numbers = numbers[(level > LEAST_RIM_SNR * noise(data, blank)) & (numbers > 0)]
    filled[numbers] = True
    brightest = np.zeros(n + 1)
    brightest[numbers] = ndimage.maximum(ndimage.maximum_filter(data, 3), holes, numbers) if len(numbers) else 0
    where = filled[holes]
    data[where] = brightest[holes[where]]
    return where


def _one_of_each_flat_top(xy: NDArray, peak: NDArray, whole: NDArray, smooth: NDArray) -> tuple[NDArray, NDArray]:
    """Join the peaks of each saturated star to one in their middle; give positions (n, 2) and values (n,)."""
    lowest = peak.min()
    flat = (smooth >= (1 - FLAT) * ndimage.maximum_filter(smooth, OBJECT_BOX_PIX)) & (smooth >= lowest)
    labels, _ = ndimage.label(flat, np.ones((3, 3)))
    _, first, number, count = np.unique(
        labels[whole[:, 1], whole[:, 0]], return_index=True, return_inverse=True, return_counts=True
    )
    middle = np.stack([np.bincount(number, xy[:, axis]) for axis in (0, 1)], axis=-1) / count[:, None]
    order = np.argsort(first)
    return middle[order], peak[first[order]]
