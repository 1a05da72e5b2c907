"""Images that are filled up with zeros where nothing was observed: which those are, and blank pixels in their place."""

import warnings

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.errors import InputWarning
from claran_plugin.pixels import BLOCK, WindowedPixels

ZERO_SIDE = 9
"""Side of the squares of zeros that are no image, pixels."""
LEAST_MARGIN, MOST_ZEROS = 0.01, 0.002
"""Share of such squares from which on they are taken so, and of zeros beside them up to which."""
LEAST_TAIL = 1.5
"""Depth of the lowest 2.3 % below the median over that of the lowest 15.9 %: 2 for noise, 1.3 without a tail."""
MOST_BLOCKS, MOST_SAMPLES = 100, 1_000_000
"""Blocks of a large image that are looked at for that, and pixels, about."""


def without_zero_margins(
    data: NDArray | WindowedPixels, name: str, *, with_background: bool = False
) -> NDArray | WindowedPixels:
    """Set zeros to NaN, in place where they are in memory, where an image is filled up with them.

    That is so where there are whole squares of them, while the rest has hardly any and is noise for the most part;
    noise around any value, with `with_background`.

    Warns
    -----
    InputWarning
    """
    ny, nx = data.shape
    side, every = max(ny, nx), max(ny, nx)
    if not isinstance(data, WindowedPixels):
        if data.size - np.count_nonzero(data) < LEAST_MARGIN * data.size:
            return data  # at once, as nearly all images
    else:
        side, every = BLOCK, BLOCK * max(int(np.ceil(np.sqrt(data.size / MOST_BLOCKS) / BLOCK)), 1)
    corners = [(y, x) for y in range(0, ny, every) for x in range(0, nx, every)]
    n_pixels = n_margin = n_zero = 0
    rest = []
    for y, x in corners:
        part, around = _with_zeros_around(data, slice(y, min(y + side, ny)), slice(x, min(x + side, nx)))
        others = part[~around & np.isfinite(part)]
        n_pixels += part.size
        n_margin += int((around & (part == 0)).sum())
        n_zero += int((others == 0).sum())
        rest.append(others[:: max(others.size * len(corners) // MOST_SAMPLES, 1)])
    values = np.concatenate(rest)
    is_noise = _is_noise(values) or (with_background and _is_sky(values))
    if n_margin < LEAST_MARGIN * n_pixels or n_zero > MOST_ZEROS * n_pixels or not is_noise:
        return data
    warnings.warn(
        f'{name}: {n_margin / n_pixels:.0%} of its pixels are squares of zeros: they are taken to be blank',
        InputWarning,
        stacklevel=3,
    )
    if not isinstance(data, WindowedPixels):
        data[_around_squares_of_zeros(data) & (data == 0)] = np.nan
        return data
    pixels = data

    def read(ys: slice, xs: slice) -> NDArray:
        part, around = _with_zeros_around(pixels, ys, xs)
        part[around & (part == 0)] = np.nan
        return part

    return WindowedPixels(pixels.shape, read)


def _with_zeros_around(pixels: NDArray | WindowedPixels, ys: slice, xs: slice) -> tuple[NDArray, NDArray]:
    """Give a window of an image, and where in it there are squares of zeros, also ones that it cuts."""
    halo = 2 * ZERO_SIDE
    low_y, low_x = max(ys.start - halo, 0), max(xs.start - halo, 0)
    wide = pixels[low_y : ys.stop + halo, low_x : xs.stop + halo]
    own = slice(ys.start - low_y, ys.stop - low_y), slice(xs.start - low_x, xs.stop - low_x)
    return wide[own], _around_squares_of_zeros(wide)[own]


def _around_squares_of_zeros(pixels: NDArray) -> NDArray:
    """Find the pixels (ny, nx) in a square of zeros or up to its side beyond one; off the image, all are zero."""
    zero = pixels == 0
    if not zero.any():
        return zero
    found = zero.astype(np.uint8)
    for axis in (0, 1):
        found = ndimage.minimum_filter1d(found, ZERO_SIDE, axis=axis, mode='constant', cval=1)
    for axis in (0, 1):
        found = ndimage.maximum_filter1d(found, 3 * ZERO_SIDE, axis=axis, mode='constant', cval=0)
    return found > 0


def _is_noise(values: NDArray) -> bool:
    """Tell whether most of some values are Gaussian noise: as many below zero as above, and a quarter close to it."""
    if not values.size:
        return False
    below, size = float((values < 0).mean()), np.abs(values)
    close = float((size < np.median(size) / 2).mean())  # 0.264 of a Gaussian
    return 0.25 < below < 0.75 and 0.18 < close < 0.36


def _is_sky(values: NDArray) -> bool:
    """Tell whether some values are noise around a background, with sources above it: the lower side has a tail."""
    if not values.size:
        return False
    lowest, low, middle = np.percentile(values, [2.3, 15.9, 50])
    return bool(middle > low and middle - lowest > LEAST_TAIL * (middle - low))
