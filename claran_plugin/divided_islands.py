"""Islands of several lists that were put together, each with its own numbers from 0 on, told apart."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.claimed import members_of

WIDEST_GAPS = 20.0
"""To each side of a component, in gaps: what is wider is none, or beyond where a projection means anything."""


def divide_islands(
    xy: NDArray, boxes: NDArray, island: NDArray, gap: float, emission_of: Callable[[NDArray], NDArray]
) -> tuple[NDArray, int]:
    """Number islands anew where components of one are farther apart than any island's.

    What lies on one island of the image's emission stays one, however far apart its components are.

    Parameters
    ----------
    xy : (n, 2) array
        Components, pixels.
    boxes : (n, 4) array
        Their bounding boxes, xyxy in pixels.
    island : (n,) int array
    gap : float
        Pixels between boxes that are of one island in any case; those twice as far apart are not.
    emission_of : callable
        Gives the island of emission on the image, -1 for none, of some components (k,), by their rows. It is asked
        once, for those in doubt.

    Returns
    -------
    island : (n,) int array
    n_divided : int
    """
    half = WIDEST_GAPS * gap
    boxes = np.concatenate([np.fmax(boxes[:, :2], xy - half), np.fmin(boxes[:, 2:], xy + half)], axis=1)
    wide = {
        number: np.asarray(members)
        for number, members in members_of(island).items()
        if np.any(boxes[members, :2].max(axis=0) - boxes[members, 2:].min(axis=0) > gap)
    }
    parts = {number: _clusters(boxes[members], gap) for number, members in wide.items()}
    doubted = [number for number, part in parts.items() if part.any()]
    island = island.copy()
    if not doubted:
        return island, 0
    rows = np.concatenate([wide[number] for number in doubted])
    emission = dict(zip(rows.tolist(), emission_of(rows).tolist(), strict=True))
    unused, n_divided = int(island.max(initial=0)) + 1, 0
    for number in doubted:
        members = wide[number]
        lying_on = np.array([emission[member] for member in members.tolist()])
        apart = _united(parts[number], lying_on)
        island[members[apart > 0]] = unused + apart[apart > 0] - 1
        unused += int(apart.max())
        n_divided += bool(apart.any())
    return island, n_divided


def _clusters(boxes: NDArray, gap: float) -> NDArray:
    """Number clusters (n,) of boxes (n, 4): those closer than `gap` are of one, those twice as far are not."""
    # Boxes that are wider by half the gap all round share a cell of the plane where they overlap.
    first = np.floor((boxes[:, :2] - gap / 2) / gap).astype(int)
    last = np.floor((boxes[:, 2:] + gap / 2) / gap).astype(int)
    cells: dict[tuple[int, int], int] = {}
    pairs = [
        (row, cells.setdefault((x, y), len(cells)))
        for row, (low, high) in enumerate(zip(first.tolist(), last.tolist(), strict=True))
        for x in range(low[0], high[0] + 1)
        for y in range(low[1], high[1] + 1)
    ]
    return _joined_by(pairs, len(boxes), len(cells))


def _united(part: NDArray, lying_on: NDArray) -> NDArray:
    """Number parts (n,) anew, those with members on one island of emission (n,; -1 for none) as one."""
    n = int(part.max()) + 1
    on = lying_on >= 0
    pairs = set(zip(part[on].tolist(), lying_on[on].tolist(), strict=True))
    return _joined_by(sorted(pairs), n, int(lying_on.max(initial=0)) + 1)[part]


def _joined_by(pairs: Sequence[tuple[int, int]], n: int, n_places: int) -> NDArray:
    """Number n things so that those that share a place, of which pairs (thing, place) tell, have one number."""
    thing, place = np.array(pairs, int).reshape(-1, 2).T
    size = n + n_places
    graph = coo_array((np.ones(len(thing)), (thing, n + place)), shape=(size, size))
    number = connected_components(graph, directed=False)[1][:n]
    return np.unique(number, return_inverse=True)[1]
