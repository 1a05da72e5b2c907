"""How a detection is divided among the sets of islands that it may be.

ClaRAN's boxes are square, so unrelated neighbours lie inside some. What decides among the subsets of the islands in a
box is how well the box and the number of components that the detector sees fit those of the subset, how many unrelated
neighbours such a box holds on average in this image, whether what is left out lies between what is not, and how much
of the flux the set has. How much each of these counts for was fitted (`benchmarks/division.py`).
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou
from claran_plugin.division_model import COARSE, FITTED, DivisionModel
from claran_plugin.morphology import CLASSES, boxes_around_sets, components_of

MOST_DIVIDED = 6
"""Of a box's islands, only so many, the brightest, are left out one by one; the others go with the whole."""
MOST_WRONG = 20
"""Differences in number beyond which it does not matter any more."""
FITTING_IOU, LEAST_FIT = 0.8, 0.05
"""A set whose box overlaps the detector's as much as the first fits as well as can be told; one less than the second
times that, as badly."""
LEAST_STRANGERS = 0.002
"""The image's mean density may be too low for where an island lies."""
BETWEEN = 0.15
"""How much longer the way between two islands may be that leads over a third one between them, as a fraction."""
LEAST_KEPT = 0.02
"""A set with less than this of the flux in a box is as unlikely as one with this; an island with less than this of the
extent of the largest one, as one with this."""
NUCLEUS_NEAR = 0.1
"""How far from the middle of a source's box its nucleus is (standard deviation), in sides of the box."""
SEEN = np.array([components_of(name) for name in CLASSES])
"""Components that each class has."""
MOST_SEEN = SEEN.max()
"""On a coarser sky this stands for any larger number, too."""


class Surroundings(NamedTuple):
    """What the image tells of the source finder's islands.

    Attributes
    ----------
    components : mapping of int to mapping of int to (4,) array
        For each island the bounding boxes (xyxy, pixels) of the components that are counted on it, by their numbers
        on the image; none where it is too faint.
    outlines : mapping of int to (4,) array
        Bounding box of each island.
    flux : mapping of int to float
        Of each island.
    area : float
        Of the image, square pixels, without what is blank.
    resolved : frozenset of int, optional
        Islands larger than the beam, where that tells parts of a source from strangers: on a coarser sky.
    bare : frozenset of int
        Islands whose components are no larger than the beam and lie in no extended emission (`embedding`); wanted where
        there is `resolved`.
    n_islands : int, optional
        How many of the islands lie on the image, at least in part; by default all do.
    emitted : mapping of int to float, optional
        Flux of each counted component on the image, by its number, sum of its pixels in Jy/beam; wanted where there is
        `resolved`.
    """

    components: Mapping[int, Mapping[int, NDArray]]
    outlines: Mapping[int, NDArray]
    flux: Mapping[int, float]
    area: float
    resolved: frozenset[int] | None = None
    bare: frozenset[int] = frozenset()
    n_islands: int | None = None
    emitted: Mapping[int, float] | None = None


class Sets(NamedTuple):
    """The m sets among which a detection that holds some islands is divided, whatever its box and classes are.

    The islands of a set are those of `ranked` that `patterns` tells. `boxes` (m, 4) are ClaRAN's boxes around its
    counted components, `number` (m,) how many these are. `left_out` (m, 2) counts the islands that are held but not in
    the set, large and small ones, of `held` (2,). `known` has what else of a set some parameter of `DivisionModel`
    weighs, (m,) each, by that parameter's name. `variants` groups the sets that differ in small islands only, where
    that matters: their numbers, group by group; where each group begins among these; the group of each set.
    """

    ranked: tuple[int, ...]
    patterns: Sequence[tuple[int, ...]]
    boxes: NDArray
    number: NDArray
    left_out: NDArray
    held: NDArray
    known: dict[str, NDArray]
    variants: tuple[NDArray, NDArray, NDArray] | None

    def choice(self, number: int) -> tuple[int, ...]:
        """Give the islands of a set."""
        return tuple(self.ranked[place] for place in self.patterns[number])


class Division:
    """Divides detections among sets of islands.

    Parameters
    ----------
    surroundings : Surroundings
    n_islands : int
        Islands on the image.
    """

    def __init__(self, surroundings: Surroundings, n_islands: int) -> None:
        self.surroundings = surroundings
        self.is_coarse = surroundings.resolved is not None
        self.model = COARSE if self.is_coarse else FITTED
        n_large = n_islands if surroundings.resolved is None else len(surroundings.resolved)
        self.number = np.array([n_large, n_islands - n_large])
        self._sets: dict[frozenset[int], Sets] = {}

    def shares(self, held: frozenset[int], boxes: NDArray, probabilities: NDArray) -> tuple[Sets, NDArray]:
        """Divide detections whose boxes claim the same islands.

        Parameters
        ----------
        held : frozenset of int
            The islands.
        boxes : (d, 4) array
            xyxy, pixels of the image.
        probabilities : (d, 6) array
            Of the classes.

        Returns
        -------
        sets : Sets
            m sets of islands.
        shares : (d, m) array
            They add up to 1, but for variants of one set.
        """
        sets = self.sets(held)
        result = self.utilities(sets, boxes, probabilities, self.model)
        result = np.exp(result - result.max(axis=1, keepdims=True))
        shares = result / result.sum(axis=1, keepdims=True)
        if sets.variants is not None:
            # The likeliest variant stands for all: whether a small island more belongs to a large source is another
            # question than whether there is such a source.
            ordered, first, place = sets.variants
            most = np.maximum.reduceat(shares[:, ordered], first, axis=1)
            whole = np.add.reduceat(shares[:, ordered], first, axis=1)
            shares *= np.divide(whole, most, out=np.ones_like(most), where=most > 0)[:, place]
        return sets, shares

    def utilities(self, sets: Sets, boxes: NDArray, probabilities: NDArray, model: DivisionModel) -> NDArray:
        """Give the logarithm (d, m) of how likely each set is for each detection, but for a constant of its own."""
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
        density = np.maximum(self.number - sets.held, 0.5) / np.maximum(self.surroundings.area - area, area)
        strangers = model.stranger + model.density * np.log(density * area)  # in the boxes beside the source's own
        strangers = np.clip(strangers, np.log(LEAST_STRANGERS), 0)
        number = np.minimum(sets.number, MOST_SEEN) if self.is_coarse else sets.number
        wrong = np.clip(number[:, None] - SEEN, -MOST_WRONG, MOST_WRONG)
        wrong = np.exp(-np.where(wrong > 0, model.more, -model.fewer) * wrong)
        fitting = np.log(probabilities @ wrong.T) - np.log(probabilities.sum(axis=1, keepdims=True))
        overlap = np.clip(box_iou(boxes, sets.boxes) / FITTING_IOU, LEAST_FIT, 1)
        prior = sum(getattr(model, name) * values for name, values in sets.known.items())
        return fitting + strangers @ sets.left_out.T + prior + model.overlap * np.log(overlap)

    def sets(self, held: frozenset[int]) -> Sets:
        """List the sets; where the islands are many, only the largest ones are left out by themselves."""
        known = self._sets.get(held)
        if known is None:
            known = self._sets[held] = self._list(held)
        return known

    def _list(self, held: frozenset[int]) -> Sets:
        resolved, counted = self.surroundings.resolved, self.surroundings.components
        bare = self.surroundings.bare
        outlines = self.surroundings.outlines
        large = held if resolved is None else held & resolved

        def rank(island: int) -> tuple[bool, int, float, int]:
            x0, y0, x1, y1 = outlines[island].tolist()
            is_small = resolved is not None and island not in resolved
            return is_small, -len(counted[island]), -(x1 - x0) * (y1 - y0), island

        ranked = sorted(held, key=rank)
        n_first = min(len(ranked), MOST_DIVIDED)
        patterns, inside = _patterns(n_first)
        if n_first < len(ranked):
            wholes = [tuple(range(len(ranked)))]
            without_bare = tuple(k for k in wholes[0] if k < n_first or ranked[k] not in bare)
            if n_first < len(without_bare) < len(ranked):
                wholes.insert(0, without_bare)
            inside = np.pad(inside, ((0, len(wholes)), (0, len(ranked) - n_first)))
            for row, whole in zip(inside[len(patterns) :], wholes, strict=True):
                row[list(whole)] = True
            patterns = [*patterns, *wholes]
        shapes = {name: bounds for island in ranked for name, bounds in counted[island].items()}
        place = {name: k for k, name in enumerate(shapes)}
        owned = np.zeros((len(ranked), len(shapes)), np.float32)
        for row, island in zip(owned, ranked, strict=True):
            row[[place[name] for name in counted[island]]] = 1
        has = inside.astype(np.float32) @ owned > 0
        number = has.sum(axis=1)
        around = np.array([outlines[island] for island in ranked])
        boxes = np.empty((len(patterns), 4))
        for parts, members, rows in (
            (np.array(list(shapes.values())), has, number > 0),
            (around, inside, number == 0),  # nothing is counted on these
        ):
            if rows.any():
                boxes[rows] = boxes_around_sets(parts, members[rows], n_peaks=3)
        is_faint = np.array([not counted[island] for island in ranked])
        is_large = np.array([island in large for island in ranked])
        flux = np.array([self.surroundings.flux[island] for island in ranked]).clip(0) + 1e-30
        known = dict(
            faint_stranger=(~inside & is_faint).sum(axis=1),
            between=_between(around, inside, n_first),
            kept=np.log(np.maximum(inside @ flux / flux.sum(), LEAST_KEPT)),
            member=inside.sum(axis=1) - 1,
            faint_member=np.maximum((inside & is_faint).sum(axis=1) - (number == 0), 0),
            small_member=(inside & ~is_large).sum(axis=1),
        )
        if resolved is not None:
            known |= self._known_of_bare(ranked, around, inside, boxes)
            known |= self._known_of_coarse(ranked, shapes, inside, has, owned, is_large)
        return Sets(
            tuple(ranked),
            patterns,
            boxes,
            np.maximum(number, 1),
            np.stack([(~inside & is_large).sum(axis=1), (~inside & ~is_large).sum(axis=1)], axis=-1),
            np.array([is_large.sum(), (~is_large).sum()]),
            known,
            None if resolved is None else _grouped(inside & is_large),
        )

    def _known_of_bare(
        self, ranked: Sequence[int], around: NDArray, inside: NDArray, boxes: NDArray
    ) -> dict[str, NDArray]:
        """Give what is weighed of islands that lie in no extended emission.

        The islands are `ranked`, with their outlines (n, 4) and the sets (m, n) that they are in; these have `boxes`.
        """
        bare = np.array([island in self.surroundings.bare for island in ranked])
        middle, centre = ((each[:, :2] + each[:, 2:]) / 2 for each in (around[bare], boxes))
        side = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, keepdims=True), 1)
        away = np.linalg.norm(middle - centre[:, None], axis=-1) / side  # (m, bare ones)
        near = np.exp(-((away / NUCLEUS_NEAR) ** 2) / 2)
        return dict(bare_member=inside[:, bare].sum(axis=1), nucleus=(inside[:, bare] * near).sum(axis=1))

    def _known_of_coarse(
        self,
        ranked: Sequence[int],
        shapes: Mapping[int, NDArray],
        inside: NDArray,
        has: NDArray,
        owned: NDArray,
        is_large: NDArray,
    ) -> dict[str, NDArray]:
        """Give what is weighed on a coarser sky only, see `Sets.known`.

        Parameters
        ----------
        ranked : sequence of n ints
            Islands.
        shapes : mapping of int to (4,) array
            The c components that are counted on them.
        inside, has : (m, n) and (m, c) bool arrays
            Which islands, and which components, are in which set.
        owned : (n, c) array
            1 where a component is counted on an island.
        is_large : (n,) bool array
        """
        counted, outlines = self.surroundings.components, self.surroundings.outlines
        emitted = self.surroundings.emitted or {}
        light = np.array([max(emitted.get(name, 0.0), 0.0) for name in shapes]) + 1e-30
        shared = ~inside & (has.astype(owned.dtype) @ owned.T > 0)
        bounds = [np.array([shapes[name] for name in counted[island]] or [outlines[island]]) for island in ranked]
        extent = np.array([(each[:, 2:] - each[:, :2]).max() for each in bounds])
        return dict(
            shared=(shared & is_large).sum(axis=1),
            small_shared=(shared & ~is_large).sum(axis=1),
            lit=np.log(np.maximum(has @ light / max(light.sum(), 1e-30), LEAST_KEPT)),
            extent=inside @ np.log(np.maximum(extent / max(extent.max(), 1e-6), LEAST_KEPT)),
        )


@cache
def _pairs(n: int) -> tuple[NDArray, NDArray]:
    return np.triu_indices(n, 1)


@cache
def _patterns(n: int) -> tuple[list[tuple[int, ...]], NDArray]:
    """List the combinations of some of n things, small ones first; also as (2^n - 1, n) bools."""
    patterns = [pattern for k in range(1, n + 1) for pattern in itertools.combinations(range(n), k)]
    has = np.array([[k in pattern for k in range(n)] for pattern in patterns])
    has.flags.writeable = False  # it is given again and again
    return patterns, has


def _between(outlines: NDArray, inside: NDArray, n_first: int) -> NDArray:
    """Tell how many islands that are not in a set lie between two of it, (m,).

    Parameters
    ----------
    outlines : (n, 4) array
        Bounding boxes of the islands.
    inside : (m, n) bool array
        Which islands are in which set; all or none of those beyond the first `n_first` are.
    """
    middle = (outlines[:, :2] + outlines[:, 2:]) / 2
    a, b = _pairs(n_first)
    if not len(a) or len(outlines) < 3:
        return np.zeros(len(inside))
    way = np.linalg.norm(middle[:, None] - middle[:n_first], axis=-1)  # (n, n_first)
    direct = np.maximum(way[a, b], 1e-6)
    detour = (way[:, a] + way[:, b]) / direct - 1  # (n, pairs)
    lies = np.exp(-detour / BETWEEN)
    has = inside[:, a] & inside[:, b]  # (m, pairs)
    parts = np.array_split(lies, len(lies) // 64 + 1)  # bounds the memory
    most = np.concatenate([np.where(has[:, None], part, 0).max(axis=2) for part in parts], axis=1)
    return np.where(inside, 0, most).sum(axis=1)


def _grouped(large: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Group sets of the same large islands (m, n): their numbers, group by group; where each begins; the group of each.

    A set without large islands is a group of its own.
    """
    names = [row.tobytes() if row.any() else number for number, row in enumerate(large)]
    numbers = {name: k for k, name in enumerate(dict.fromkeys(names))}
    place = np.array([numbers[name] for name in names])
    ordered = np.argsort(place, kind='stable')
    return ordered, np.searchsorted(place[ordered], np.arange(len(numbers))), place
