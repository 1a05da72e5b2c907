"""Islands of emission on an image of any size, measured tile by tile and joined across the seams."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.morphology import EIGHT_CONNECTED
from claran_plugin.pixels import Window, tiles
from claran_plugin.subjects import Sky, without_blank


class Emission(NamedTuple):
    """Islands of emission, numbered from 0 in the order of their first pixels, row by row.

    Attributes
    ----------
    bounds : (L, 4) array
        Bounding boxes, xyxy.
    area : (L,) int array
        Square pixels.
    peak : (L,) array
        Brightest pixel, in units of the noise.
    brightest : (L,) array
        Brightest pixel, Jy/beam.
    total : (L,) array
        Sum of the pixels, Jy/beam.
    mean : (L, 2) array
        Position (x, y), weighted by brightness.
    covariance : (L, 2, 2) array
        Of x and y, likewise.
    near : list of n sets of int
        Islands near each of the positions asked for.
    """

    bounds: NDArray
    area: NDArray
    peak: NDArray
    brightest: NDArray
    total: NDArray
    mean: NDArray
    covariance: NDArray
    near: list[set[int]]


class _Measured(NamedTuple):
    """Sums over the parts of islands that lie on one tile, see `Emission`; `first` numbers their first pixels."""

    bounds: NDArray
    area: NDArray
    peak: NDArray
    brightest: NDArray
    sums: NDArray
    first: NDArray


def find_emission(
    sky: Sky, sigma: float, *, least_area: float = 1, xy: NDArray | None = None, reach: float = 0
) -> Emission:
    """Find islands of 8-connected pixels.

    Parameters
    ----------
    sky : Sky
    sigma : float
        Pixels above this many times the noise belong to islands.
    least_area : float
        Smaller islands are left out, square pixels.
    xy : (n, 2) array, optional
        Positions, pixels (x, y), near which islands are wanted.
    reach : float
        Islands within so many pixels of a position, along each axis, are near it.

    Returns
    -------
    Emission
    """
    ny, nx = sky.radio.shape
    places = np.rint(np.clip(np.empty((0, 2)) if xy is None else xy, -1e6, 1e6)).astype(int)
    pixels = int(reach)
    near: list[set[int]] = [set() for _ in places]
    parts: list[_Measured] = []
    seams: list[NDArray] = []
    above: NDArray = np.full(nx, -1)
    below: NDArray = above.copy()
    left: NDArray = np.empty(0, int)
    number = 0
    for ys, xs in tiles((ny, nx)):
        if xs.start == 0:
            above, below = below, np.full(nx, -1)
            left = np.full(ys.stop - ys.start, -1)
        snr = sky.snr(ys, xs)
        labels, n = ndimage.label(snr > sigma, EIGHT_CONNECTED)
        if n:
            parts.append(_measure(sky, snr, labels, n, (ys, xs)))
            _gather(near, labels, places, pixels, (ys, xs), number)
        labels = np.where(labels > 0, labels + (number - 1), -1)
        seams.append(_touching(left, labels[:, 0]))
        high, low = min(xs.stop + 1, nx), max(xs.start - 1, 0)
        seams.append(_touching(above[low:high], labels[0], xs.start - low))
        left, below[xs] = labels[:, -1], labels[-1]
        number += n
    return _joined(parts, np.concatenate(seams), near, least_area)


def measure_islands(sky: Sky, labels: NDArray) -> Emission:
    """Measure given islands: `labels` (ny, nx) numbers them from 1 without gaps, and their order is kept."""
    n = int(labels.max(initial=0))
    window = slice(0, labels.shape[0]), slice(0, labels.shape[1])
    measured = _measure(sky, sky.snr(*window), labels, n, window)._replace(first=np.arange(n))
    return _joined([measured], np.empty((0, 2), int), [], 1)


def _measure(sky: Sky, snr: NDArray, labels: NDArray, n: int, window: Window) -> _Measured:
    ys, xs = window
    y, x = np.nonzero(labels)
    own = labels[y, x] - 1
    data = without_blank(sky.radio.data[ys, xs][y, x]).astype(float)
    slices = ndimage.find_objects(labels)
    bounds = np.array([[s[1].start, s[0].start, s[1].stop, s[0].stop] for s in slices], float) - 0.5
    bounds += np.tile([xs.start, ys.start], 2)
    peak, brightest = np.full(n, -np.inf), np.full(n, -np.inf)
    np.maximum.at(peak, own, snr[y, x])
    np.maximum.at(brightest, own, data)
    x, y = x + xs.start, y + ys.start
    first = np.full(n, np.iinfo(np.int64).max)
    np.minimum.at(first, own, y * sky.radio.shape[1] + x)
    moments = (np.ones(len(x)), x, y, x.astype(float) ** 2, x.astype(float) * y, y.astype(float) ** 2)
    sums = np.stack([np.bincount(own, data * moment, n) for moment in moments], axis=-1)
    return _Measured(bounds, np.bincount(own, minlength=n), peak, brightest, sums, first)


def _gather(near: list[set[int]], labels: NDArray, places: NDArray, reach: int, window: Window, number: int) -> None:
    """Note which labels of a tile are near the places, by their numbers on the whole image."""
    low = places - reach - (window[1].start, window[0].start)
    high = low + 2 * reach + 1
    ny, nx = labels.shape
    for index in np.flatnonzero(np.all((high > 0) & (low < (nx, ny)), axis=1)).tolist():
        (x0, y0), (x1, y1) = np.maximum(low[index], 0), high[index]
        found = set(labels[y0:y1, x0:x1].ravel().tolist())
        near[index].update(label + (number - 1) for label in found if label)


def _touching(before: NDArray, after: NDArray, shift: int = 0) -> NDArray:
    """Give pairs (k, 2) of labels of two lines of pixels side by side that touch, corners included.

    Pixel i of `after` lies beside pixel i + `shift` of `before`; labels are -1 where there is nothing.
    """
    pairs = []
    place = np.flatnonzero(after >= 0)
    for step in (-1, 0, 1):
        beside = place + shift + step
        inside = (beside >= 0) & (beside < len(before))
        pair = np.stack([before[beside[inside]], after[place[inside]]], axis=-1)
        pairs.append(pair[pair[:, 0] >= 0])
    return np.concatenate(pairs)


def _joined(parts: list[_Measured], seams: NDArray, near: list[set[int]], least_area: float) -> Emission:
    """Join the parts that touch, leave out small islands, and number the rest."""
    if not parts:
        nothing = np.empty(0)
        return Emission(
            np.empty((0, 4)), nothing.astype(int), nothing, nothing, nothing, np.empty((0, 2)), np.empty((0, 2, 2)),
            [set() for _ in near],
        )  # fmt: skip
    whole = _Measured(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    n_parts = len(whole.area)
    graph = coo_array((np.ones(len(seams), np.int8), tuple(seams.T)), shape=(n_parts, n_parts))
    n, own = connected_components(graph, directed=False)

    def reduced(ufunc: np.ufunc, values: NDArray, start: float) -> NDArray:
        out = np.full((n, *values.shape[1:]), start, values.dtype)
        ufunc.at(out, own, values)
        return out

    area = reduced(np.add, whole.area, 0)
    first = reduced(np.minimum, whole.first, np.iinfo(np.int64).max)
    sums = reduced(np.add, whole.sums, 0)
    corners = (
        reduced(np.minimum, whole.bounds[:, :2], np.inf),
        reduced(np.maximum, whole.bounds[:, 2:], -np.inf),
    )
    kept = np.flatnonzero(area >= least_area)
    kept = kept[np.argsort(first[kept])]
    renumbered = np.full(n, -1)
    renumbered[kept] = np.arange(len(kept))
    final = renumbered[own]
    total = sums[kept, 0]
    with np.errstate(invalid='ignore', divide='ignore'):
        mean = sums[kept, 1:3] / total[:, None]
        square = sums[kept][:, [[3, 4], [4, 5]]] / total[:, None, None]
        covariance = square - mean[:, :, None] * mean[:, None, :]
    return Emission(
        np.concatenate(corners, axis=1)[kept],
        area[kept],
        reduced(np.maximum, whole.peak, -np.inf)[kept],
        reduced(np.maximum, whole.brightest, -np.inf)[kept],
        total,
        mean,
        covariance,
        [{int(final[label]) for label in labels} - {-1} for labels in near],
    )
