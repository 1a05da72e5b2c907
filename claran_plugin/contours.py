"""Noise of an image, contour lines and the hull around them."""

from collections.abc import Sequence

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
MOST_SAMPLES = 4_000_000
"""Pixels that the noise of a whole image is taken from at most."""
MIN_FILLED = 0.25
"""Share of a box that must not be blank for its noise to count."""
LEVEL_PIX = 1e-9
"""An edge of a hull that rises by less is level."""
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


class NoiseMap:
    """The noise of an image as a function of the pixel, interpolated between the middles of boxes where it is wanted.

    Takes part in slicing, ``noise_map[ys, xs]``, and `numpy.asarray`; both give float32 arrays.

    Parameters
    ----------
    grid : (my, mx) array
        Noise of the boxes.
    sides : (y, x)
        Sides of a box, pixels.
    shape : (ny, nx)
        Of the image.
    filled : float
        Share of the image that is not blank.
    """

    ndim = 2

    def __init__(self, grid: NDArray, sides: Sequence[int], shape: Sequence[int], filled: float = 1.0) -> None:
        self.grid, self.sides, self.shape = np.asarray(grid, np.float32), tuple(sides), tuple(shape)
        self.filled = filled

    @classmethod
    def constant(cls, value: float, shape: Sequence[int], filled: float = 1.0) -> 'NoiseMap':
        """Make a map that is the same everywhere."""
        return cls(np.full((1, 1), value), shape, shape, filled)

    @property
    def median(self) -> float:
        """Median over the boxes."""
        return float(np.median(self.grid))

    def __getitem__(self, window: tuple[slice, slice]) -> NDArray:
        """Interpolate linearly between the middles of boxes; constant beyond the outer ones."""
        low, weight = [], []
        for n_boxes, size, n, part in zip(self.grid.shape, self.sides, self.shape, window, strict=True):
            place = np.clip((np.arange(*part.indices(n)) + 0.5) / size - 0.5, 0, n_boxes - 1)
            low.append(np.minimum(place.astype(int), max(n_boxes - 2, 0)))
            weight.append((place - low[-1]).astype(np.float32))
        (y, x), (wy, wx) = low, weight
        if self.grid.size == 1:
            return np.full((len(y), len(x)), self.grid[0, 0])
        right = np.minimum(x + 1, self.grid.shape[1] - 1)
        rows = (self.grid[:, x] * (1 - wx) + self.grid[:, right] * wx).astype(np.float32)
        steps = np.diff(rows, axis=0, append=rows[-1:])
        return steps[y] * wy[:, None] + rows[y]

    def at(self, xy: NDArray) -> NDArray:
        """Give the noise (n,) at positions (n, 2), pixels (x, y), likewise."""
        place = (np.asarray(xy, float)[:, ::-1] + 0.5) / self.sides - 0.5
        return ndimage.map_coordinates(self.grid, place.T, order=1, mode='nearest')

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> NDArray:
        """Give the whole map."""
        return self[:, :].astype(dtype or np.float32, copy=False)


def noise_map(data: NDArray, beam_pix: float, *, box_beams: float = NOISE_BOX_BEAMS) -> NoiseMap:
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
    NoiseMap of shape (ny, nx), in the unit of `data`, finite everywhere; where no box can be measured, the noise of
    the whole image (of every so many pixels where it is large)
    """
    shape = np.shape(data)
    stride = max(int(beam_pix / SAMPLES_PER_BEAM), 1)
    n_samples = [-(-n // stride) for n in shape]
    side = max(box_beams * beam_pix / stride, 8.0)
    n_boxes = [max(round(n / side), 1) for n in n_samples]
    sides = [-(-n // boxes) for n, boxes in zip(n_samples, n_boxes, strict=True)]
    n_boxes = [-(-n // size) for n, size in zip(n_samples, sides, strict=True)]
    width = n_boxes[1] * sides[1]
    rms = np.empty(n_boxes, np.float32)
    n_filled = 0
    for row in range(n_boxes[0]):
        first = row * sides[0] * stride
        samples = np.asarray(data[first : first + sides[0] * stride : stride, ::stride], np.float32)
        padded = np.full((sides[0], width), np.nan, np.float32)
        finite = np.isfinite(samples)
        n_filled += int(finite.sum())
        padded[: len(samples), : n_samples[1]] = np.where(finite, samples, np.nan)
        rms[row] = _lower_sigma(padded.reshape(sides[0], n_boxes[1], sides[1]).swapaxes(0, 1).reshape(n_boxes[1], -1))
    known = rms > 0
    filled = n_filled / (n_samples[0] * n_samples[1])
    if not known.any():
        few = max(int(np.sqrt(shape[0] * shape[1] / MOST_SAMPLES)), 1)
        return NoiseMap.constant(noise(data[::few, ::few]), shape, filled)
    nearest = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    rms = ndimage.median_filter(rms[tuple(nearest)], 3, mode='nearest')
    return NoiseMap(rms, [size * stride for size in sides], shape, filled)


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
    level = np.abs(rise) < LEVEL_PIX
    part = (rows - start[:, 1]) / np.where(level, 1, rise)
    crosses = np.where(level, rows == start[:, 1], (part >= 0) & (part <= 1))
    x = start[:, 0] + np.where(level, 0, part) * (end[:, 0] - start[:, 0])
    first = np.where(crosses, x, np.inf).min(1)
    last = np.where(crosses, x, -np.inf).max(1)
    columns = np.arange(shape[1])
    tolerance = 1e-9
    return (columns >= first[:, None] - tolerance) & (columns <= last[:, None] + tolerance)
