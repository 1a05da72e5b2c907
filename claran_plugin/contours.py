"""Noise of an image, contour lines and the hull around them."""

import contourpy
import numpy as np
import shapely
from numpy.typing import NDArray
from scipy import ndimage

MAD_TO_SIGMA = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""
NOISE_BOX_BEAMS = 25.0
"""Side of the boxes in which the local noise is measured, in beams (FWHM)."""
SAMPLES_PER_BEAM = 2.0
"""Pixels used per beam and axis for the local noise; closer ones are correlated and tell little more."""
CLIP_SIGMA = 3.0
"""Pixels this far above a box's median are emission, not noise."""
CLIP_ROUNDS = 5
MIN_FILLED = 0.25
"""Share of a box that must not be blank for its noise to count."""
LOWER_SIGMA_QUANTILE = 0.158655
"""Share of a Gaussian below minus one standard deviation."""


def noise(data: NDArray, mask: NDArray | None = None) -> float:
    """Measure the noise of an image from the median absolute deviation.

    Parameters
    ----------
    data : array of any shape
        Brightness; non-finite values are left out.
    mask : bool array of the same shape, optional
        True where pixels are to be left out.

    Returns
    -------
    float, in the unit of `data`; 0.0 where nothing finite is left or more than half of the pixels are equal
    """
    good = np.isfinite(data)
    if mask is not None:
        good &= ~np.asarray(mask, bool)
    values = np.asarray(data)[good]
    if not values.size:
        return 0.0
    return float(MAD_TO_SIGMA * np.median(np.abs(values - np.median(values))))


def noise_map(data: NDArray, beam_pix: float, *, box_beams: float = NOISE_BOX_BEAMS) -> NDArray:
    """Map the local noise of an image.

    The image is divided into boxes. In each, the noise is the distance from the median down to the 15.9 % quantile,
    which emission does not touch, after repeated clipping from above. A median over 3 x 3 boxes removes those that a
    bright extended source fills; boxes that are blank or constant take the value of the nearest one that is not.
    Values in between are interpolated linearly.

    Parameters
    ----------
    data : (ny, nx) array
        Brightness, NaN where blank.
    beam_pix : float
        FWHM of the beam, pixels.
    box_beams : float
        Side of a box in beams.

    Returns
    -------
    (ny, nx) float32 array, in the unit of `data`, finite everywhere; where no box can be measured, the noise of the
    whole image
    """
    stride = max(int(beam_pix / SAMPLES_PER_BEAM), 1)
    samples = np.asarray(data, np.float32)[::stride, ::stride]
    side = max(box_beams * beam_pix / stride, 8.0)
    n_boxes = [max(round(n / side), 1) for n in samples.shape]
    sides = [-(-n // boxes) for n, boxes in zip(samples.shape, n_boxes, strict=True)]
    n_boxes = [-(-n // size) for n, size in zip(samples.shape, sides, strict=True)]
    padding = [(0, boxes * size - n) for n, boxes, size in zip(samples.shape, n_boxes, sides, strict=True)]
    padded = np.pad(np.where(np.isfinite(samples), samples, np.nan), padding, constant_values=np.nan)
    boxes = padded.reshape(n_boxes[0], sides[0], n_boxes[1], sides[1]).swapaxes(1, 2).reshape(-1, sides[0] * sides[1])

    rms = _lower_sigma(boxes).reshape(n_boxes)
    known = rms > 0
    if not known.any():
        return np.full(np.shape(data), noise(data), np.float32)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    rms = ndimage.median_filter(rms[tuple(nearest)], 3, mode='nearest')
    return _interpolate(rms, [size * stride for size in sides], np.shape(data))


def _lower_sigma(boxes: NDArray) -> NDArray:
    """Measure the noise of each row of pixels from its lower half; 0 where too few are finite."""
    ordered = np.sort(boxes, axis=1)  # NaN last
    row = np.arange(len(ordered))
    kept = np.isfinite(ordered).sum(1)
    filled = kept >= max(MIN_FILLED * boxes.shape[1], 1)
    sigma = np.zeros(len(ordered), np.float32)
    for _ in range(CLIP_ROUNDS):
        last = np.maximum(kept - 1, 0)
        median = ordered[row, last // 2]
        sigma = median - ordered[row, (LOWER_SIGMA_QUANTILE * last).astype(int)]
        below = (ordered <= (median + CLIP_SIGMA * sigma)[:, None]).sum(1)
        if np.array_equal(below, kept):
            break
        kept = below
    return np.where(filled, sigma, 0)


def _interpolate(grid: NDArray, sides: list[int], shape: tuple[int, ...]) -> NDArray:
    """Interpolate linearly between the centres of boxes of `sides` (y, x) pixels; constant beyond the outer ones."""
    low, weight = [], []
    for n_boxes, size, n in zip(grid.shape, sides, shape, strict=True):
        place = np.clip((np.arange(n) + 0.5) / size - 0.5, 0, n_boxes - 1)
        low.append(np.minimum(place.astype(int), max(n_boxes - 2, 0)))
        weight.append((place - low[-1]).astype(np.float32))
    (y, x), (wy, wx) = low, weight
    right = np.minimum(x + 1, grid.shape[1] - 1)
    rows = (grid[:, x] * (1 - wx) + grid[:, right] * wx).astype(np.float32)
    steps = np.diff(rows, axis=0, append=rows[-1:])
    out = np.empty(shape, np.float32)
    for i in range(shape[0]):  # row by row: no temporary of the size of the image
        np.multiply(steps[y[i]], wy[i], out=out[i])
        out[i] += rows[y[i]]
    return out


def contour_lines(data: NDArray, level: float) -> list[NDArray]:
    """Trace the lines along which an image has a given brightness.

    Parameters
    ----------
    data : (ny, nx) array
        Lines end at non-finite pixels.
    level : float
        In the unit of `data`.

    Returns
    -------
    list of (n, 2) float arrays of x, y in pixels (0-based, integral centres), one per line; a closed line ends where
    it starts
    """
    if min(np.shape(data)) < 2:
        return []
    lines = contourpy.contour_generator(z=data, line_type=contourpy.LineType.Separate).lines(level)
    return [np.asarray(line) for line in lines]


def hull_mask(lines: list[NDArray], shape: tuple[int, ...], *, margin: float = 0.0) -> NDArray:
    """Find the pixels inside the convex hull of all points of some lines.

    Parameters
    ----------
    lines : sequence of (n, 2) arrays
        Points x, y in pixels.
    shape : (ny, nx)
        Shape of the image.
    margin : float
        Width by which the hull is enlarged, pixels; a round corner is drawn as four straight edges per quarter turn.

    Returns
    -------
    (ny, nx) bool array, True where the centre of a pixel is inside the hull or on its edge
    """
    inside = np.zeros(shape, bool)
    if not sum(map(len, lines)):
        return inside
    hull = shapely.convex_hull(shapely.multipoints(np.concatenate(lines)))
    if margin > 0:
        hull = hull.buffer(margin, quad_segs=4)
    corners = shapely.get_coordinates(hull)
    start, end = corners, np.roll(corners, -1, axis=0)

    # A convex shape covers one run of pixels per row: from its edges' first to their last crossing of that row.
    rows = np.arange(shape[0])[:, None]
    rise = end[:, 1] - start[:, 1]
    level = rise == 0
    part = (rows - start[:, 1]) / np.where(level, 1, rise)
    crosses = np.where(level, rows == start[:, 1], (part >= 0) & (part <= 1))
    x = start[:, 0] + np.where(level, 0, part) * (end[:, 0] - start[:, 0])
    first = np.where(crosses, x, np.inf).min(1)
    last = np.where(crosses, x, -np.inf).max(1)
    columns = np.arange(shape[1])
    tolerance = 1e-9
    return (columns >= first[:, None] - tolerance) & (columns <= last[:, None] + tolerance)
