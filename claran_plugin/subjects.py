"""Fields of view: where to look, cutting them out, and the way between their pixels and the image's."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

PIXELS_PER_BEAM = 4.0
"""Sampling of a field of view."""
FIELD_PIXELS = 132
"""Side of a field of view, pixels; 33 beams, which is 3' for FIRST."""


def resample(data: NDArray, centre: NDArray, step: float, size: int, *, order: int = 1) -> NDArray:
    """Sample a square of an image on another pixel scale.

    Parameters
    ----------
    data : (ny, nx) array
    centre : (2,) array
        Pixel (x, y) of the image in the middle of the square.
    step : float
        Pixels of the image per pixel of the square.
    size : int
        Side of the square, pixels.
    order : int
        Of the interpolation: 0 nearest, 1 linear.

    Returns
    -------
    (size, size) array, 0 outside the image
    """
    offset = np.asarray(centre, float)[::-1] - step * (size - 1) / 2
    low = np.maximum(np.floor(offset).astype(int) - 1, 0)
    high = np.maximum(np.ceil(offset + step * (size - 1)).astype(int) + 2, low + 1)
    part = np.asarray(data[low[0] : high[0], low[1] : high[1]], float)
    if not part.size:
        return np.zeros((size, size))
    return ndimage.affine_transform(part, [step, step], offset - low, (size, size), order=order, mode='constant')
