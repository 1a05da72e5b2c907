"""Which components a box claims.

Every component is a set of sample points drawn from its fitted Gaussian; the share of them inside a box is the share
of its flux that the box holds. A box claims the islands of which it holds more than half.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_SHARE = 0.5
"""A box claims a component of whose flux it holds more than this."""
MIN_PROBABILITY = 0.03
"""Detections below are noise."""
SPLIT_PENALTY = 2.0
"""Evidence that a hypothesis loses for each of the source finder's islands that it divides."""
Divided = tuple[Sequence[tuple[int, ...]], Sequence[float]]
"""Sets of islands, and the shares of a detection that they have."""


class Components(NamedTuple):
    """What is to be associated, on the image.

    Attributes
    ----------
    xy : (n, 2) array
        Pixels.
    covariance : (n, 2, 2) array
        Of the fitted Gaussians, pixels squared, in (x, y).
    flux : (n,) array
        Weights.
    island : (n,) int array
        The source finder's islands; equal for components of one island.
    """

    xy: NDArray
    covariance: NDArray
    flux: NDArray
    island: NDArray


def unit_disc_points(number: int = 37) -> NDArray:
    """Give points (number, 2) that represent a two-dimensional Gaussian of unit variance, evenly and symmetrically."""
    k = np.arange(number)
    radius = np.sqrt(-2 * np.log(1 - (k + 0.5) / number))
    angle = k * np.pi * (3 - 5**0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


UNIT_DISC = unit_disc_points()
FARTHEST = 1.001 * float(np.linalg.norm(UNIT_DISC, axis=1).max())


def flux_shares(xy: NDArray, roots: NDArray, boxes: NDArray) -> NDArray:
    """Give the share of each component's flux in each box, (n, d).

    From the components' positions (n, 2), the Cholesky factors (n, 2, 2) of their covariances, and boxes (d, 4).
    """
    reach = FARTHEST * np.linalg.norm(roots, axis=2)  # no point is farther from the middle, along each axis
    low, high = (xy - reach)[:, None], (xy + reach)[:, None]
    shares = np.all((low > boxes[:, :2]) & (high < boxes[:, 2:]), axis=-1).astype(float)
    component, box = np.nonzero(np.all((high > boxes[:, :2]) & (low < boxes[:, 2:]), axis=-1) & (shares == 0))
    points = (xy[:, None] + UNIT_DISC @ roots.swapaxes(1, 2))[component]
    inside = (points > boxes[box, None, :2]) & (points < boxes[box, None, 2:])
    shares[component, box] = inside.all(axis=-1).mean(axis=-1)
    return shares


def members_of(island: NDArray) -> dict[int, NDArray]:
    """Give the components (indices, ascending) of each island, from the island (n,) of each component."""
    order = np.argsort(island, kind='stable')
    numbers, first = np.unique(island[order], return_index=True)
    return {} if not len(order) else dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


class Claimed(NamedTuple):
    """What a box claims.

    `held` are the islands that it claims as wholes, with the share that it holds of each, and `certainty` the logarithm
    of how surely it holds no other one. Taken one by one it holds the components `single`, which divide `n_broken`
    islands, with the logarithm of certainty `single_certainty`.
    """

    held: dict[int, float]
    certainty: float
    single: frozenset[int]
    n_broken: int
    single_certainty: float

    def wholes(
        self, divided: Divided, total: float, islands: Mapping[int, NDArray]
    ) -> list[tuple[frozenset[int], float, float]]:
        """Give the sets of whole islands that a box may stand for: components, probability, log certainty.

        `divided` are sets of islands and their shares in the detection's probability `total`.
        """
        return [
            (
                frozenset(member for island in chosen for member in islands[island].tolist()),
                total * portion,
                self.certainty + sum(math.log(self.held[island]) for island in chosen),
            )
            for chosen, portion in zip(*divided, strict=True)
            if portion * total > MIN_PROBABILITY
        ]

    def piecemeal(self, total: float) -> list[tuple[frozenset[int], float, float]]:
        """Give the set of components, taken one by one, that a box claims; it pays for every island that it divides."""
        if not self.n_broken:
            return []
        return [(self.single, total, self.single_certainty - SPLIT_PENALTY * self.n_broken)]


class Claiming:
    """Tells what boxes claim of the components of an image.

    Attributes
    ----------
    components : Components
    islands : dict of int to int array
        The components of each island.
    """

    def __init__(self, components: Components) -> None:
        self.components = components
        self.islands = members_of(components.island)
        self._roots = np.linalg.cholesky(components.covariance)
        self._weight = np.maximum(np.nan_to_num(components.flux), 1e-12)
        self._names, self._own = np.unique(components.island, return_inverse=True)
        self._size = np.bincount(self._own)
        self._whole = np.bincount(self._own, self._weight)

    def claimed(self, local: NDArray, boxes: NDArray) -> list[Claimed]:
        """Find what each of some boxes (d, 4) claims of the components `local` (indices)."""
        share = flux_shares(self.components.xy[local], self._roots[local], boxes).T
        numbers, own = np.unique(self._own[local], return_inverse=True)
        order = np.argsort(own, kind='stable')
        first = np.searchsorted(own[order], np.arange(len(numbers)))

        def per_island(values: NDArray) -> NDArray:
            return np.add.reduceat(values[:, order], first, axis=1)

        inside = per_island(share * self._weight[local]) / self._whole[numbers]
        claims_whole = inside > MIN_SHARE
        partly = ~claims_whole & (inside > 0.05)
        certainty = np.where(partly, np.log1p(-np.where(partly, inside, 0)), 0).sum(axis=1)
        alone = share > MIN_SHARE
        number = per_island(alone.astype(int))
        n_broken = ((number > 0) & (number < self._size[numbers])).sum(axis=1)
        single_certainty = np.log(np.maximum(share, 1 - share)).sum(axis=1)
        names = self._names[numbers].tolist()
        return [
            Claimed(
                {names[k]: float(inside[d, k]) for k in np.flatnonzero(claims_whole[d]).tolist()},
                float(certainty[d]),
                frozenset(local[alone[d]].tolist()) if n_broken[d] else frozenset(),
                int(n_broken[d]),
                float(single_certainty[d]),
            )
            for d in range(len(boxes))
        ]
