"""Images that are looked at window by window: pixels that are read, or computed, where they are wanted.

Whatever works on an image takes slices of it, ``data[ys, xs]``, so that it may be an array in memory as well as one of
these, which never is in memory as a whole.
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from threading import Lock

import numpy as np
from astropy.nddata import block_reduce
from astropy.wcs import WCS
from numpy.typing import NDArray

from claran_plugin.grids import coarser_wcs

BLOCK = 512
"""Side of the squares that are read and kept, pixels."""
KEPT_BYTES = 128 * 2**20
"""Size of what is kept of one image."""
TILE = 2048
"""Side of the squares in which work that needs every pixel goes over an image."""

_BLOCK_PIX = 1024
Window = tuple[slice, slice]


class WindowedPixels:
    """A (ny, nx) float32 array of which only parts are in memory.

    Takes part in slicing and `numpy.asarray`; the latter reads all of it.

    Parameters
    ----------
    shape : (ny, nx)
    read : callable
        Gives the float32 pixels of a window, ``read(ys, xs)`` with slices inside the image. Called by one thread at a
        time, as open files are not shared well.
    """

    dtype = np.dtype(np.float32)
    ndim = 2

    def __init__(self, shape: tuple[int, ...], read: Callable[[slice, slice], NDArray]) -> None:
        self.shape = tuple(shape)
        self.side = side = BLOCK
        ny, nx = self.shape
        lock = Lock()

        def locked(ys: slice, xs: slice) -> NDArray:
            with lock:
                return read(ys, xs)

        def block(row: int, column: int) -> NDArray:
            ys = slice(row * side, min((row + 1) * side, ny))
            xs = slice(column * side, min((column + 1) * side, nx))
            pixels = np.asarray(locked(ys, xs), np.float32)
            pixels.flags.writeable = False
            return pixels

        self._read = locked
        self._block = lru_cache(KEPT_BYTES // (4 * side**2))(block)

    @property
    def size(self) -> int:
        """Number of pixels."""
        return self.shape[0] * self.shape[1]

    def __getitem__(self, window: Window) -> NDArray:
        """Give the pixels of a window, a new array."""
        y, x = (range(*part.indices(n)) for part, n in zip(window, self.shape, strict=True))
        if y.step < 1 or x.step < 1:
            raise IndexError(f'{window}: windows go upwards')
        out = np.empty((len(y), len(x)), np.float32)
        for row, to_y, from_y in _pieces(y, self.side):
            for column, to_x, from_x in _pieces(x, self.side):
                out[to_y, to_x] = self._block(row, column)[from_y, from_x]
        return out

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> NDArray:
        """Read all of it, tile by tile."""
        filled = np.empty(self.shape, np.float32)
        for ys, xs in tiles(self.shape):
            filled[ys, xs] = self._read(ys, xs)
        return filled.astype(dtype or self.dtype, copy=False)


def _pieces(wanted: range, side: int) -> Iterator[tuple[int, slice, slice]]:
    """Divide a range of pixels among blocks: number of the block, part of the range, part of the block."""
    if not len(wanted):
        return
    for number in range(wanted[0] // side, wanted[-1] // side + 1):
        first = max(-(-(number * side - wanted.start) // wanted.step), 0)
        last = min(-(-((number + 1) * side - wanted.start) // wanted.step), len(wanted))
        if first < last:
            start = wanted[first] - number * side
            yield number, slice(first, last), slice(start, start + (last - first - 1) * wanted.step + 1, wanted.step)


def tiles(shape: tuple[int, ...], side: int | None = None) -> Iterator[Window]:
    """Divide an image of a shape (ny, nx) into squares, `TILE` pixels wide by default, row by row from the first."""
    ny, nx = shape
    side = side or TILE
    for y in range(0, ny, side):
        for x in range(0, nx, side):
            yield slice(y, min(y + side, ny)), slice(x, min(x + side, nx))


def average_pixels(data: NDArray, wcs: WCS, factor: int) -> tuple[NDArray, WCS]:
    """Average squares of `factor` pixels, where that is 2 or more, and give the WCS that fits the result."""
    if factor < 2 or min(data.shape) < factor:
        return data, wcs
    mean = np.full([n // factor for n in data.shape], np.nan, np.float32)
    band = max(_BLOCK_PIX // factor, 1)
    for first in range(0, len(mean), band):  # bounds the memory
        rows = mean[first : first + band]
        part = data[first * factor : (first + len(rows)) * factor, :]
        known = np.isfinite(part)
        if known.all():
            rows[:] = block_reduce(part, factor) / factor**2
            continue
        total = block_reduce(np.where(known, part, 0), factor)
        filled = block_reduce(known.astype(np.float32), factor)
        np.divide(total, filled, out=rows, where=filled > 0)
    return mean, coarser_wcs(wcs, factor)


def in_blocks(xy: NDArray) -> NDArray:
    """Sort positions (n, 2) by the blocks that they lie in, so that each is read once."""
    column, row = np.floor(np.asarray(xy).T / BLOCK)
    return xy[np.lexsort((column, row))]


def values_at(data: 'NDArray | WindowedPixels', xy: NDArray) -> NDArray:
    """Give the values (n,) of the pixels at integral positions (n, 2) inside an image."""
    x, y = np.asarray(xy, int).T
    if isinstance(data, np.ndarray):
        return data[y, x]
    values = np.empty(len(x), np.float32)
    block = y // data.side * (data.shape[1] // data.side + 1) + x // data.side
    order = np.argsort(block, kind='stable')
    for part in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
        if len(part):
            x0, y0 = x[part].min(), y[part].min()
            values[part] = data[y0 : y[part].max() + 1, x0 : x[part].max() + 1][y[part] - y0, x[part] - x0]
    return values
