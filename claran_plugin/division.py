"""How a detection is divided among the sets of islands that it may be.

ClaRAN's boxes are square, so unrelated neighbours lie inside some. What decides among the subsets of the islands in a
box is how well the box and the number of components that the detector sees fit those of the subset, how many unrelated
neighbours such a box holds on average in this image, and how seldom a source has islands too faint to be counted.
"""

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou
from claran_plugin.morphology import CLASSES, box_around, components_of

MOST_DIVIDED = 6
"""Of a box's islands, only so many, the brightest, are left out one by one; the others go with the whole."""
WRONG_NUMBER = 0.2
"""By which factor a set is less likely for each component more or fewer than the detector sees."""
MOST_WRONG = 20
"""Differences in number beyond which it does not matter any more."""
FITTING_IOU = 0.8
"""A set whose box overlaps the detector's as much as this fits as well as can be told."""
IOU_POWER = 1.5
"""How fast a set gets unlikely as its box overlaps the detector's less."""
COARSE_IOU_POWER = 4.0
"""The same on a coarser sky."""
FAINT_MEMBER = 0.1
"""How likely a source has an island that is too faint to be counted as a component."""
STRANGER = 0.4
"""Unrelated islands in a box, as a fraction of those at the image's mean density; at most one, at least 0.01."""
UNRESOLVED_MEMBER = 0.3
"""How likely a source that is much larger than the beam has an island that is not."""
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
    area : float
        Of the image, square pixels, without what is blank.
    resolved : frozenset of int, optional
        Islands larger than the beam, where that tells parts of a source from strangers: on a coarser sky.
    """

    components: Mapping[int, Mapping[int, NDArray]]
    outlines: Mapping[int, NDArray]
    area: float
    resolved: frozenset[int] | None = None


class _Sets(NamedTuple):
    """The m sets among which a detection that holds some islands is divided, whatever its box and classes are.

    `boxes` (m, 4) are ClaRAN's boxes around their counted components, `number` (m,) how many these are. `prior` (m,) is
    the logarithm of how seldom a source has such members; `left_out` (m, 2) counts the islands that are held but not in
    the set, large and small ones, of `held` (2,). `variants` groups the sets that differ in small islands only, where
    that matters: their numbers, group by group; where each group begins among these; the group of each set.
    """

    choices: list[tuple[int, ...]]
    boxes: NDArray
    number: NDArray
    prior: NDArray
    left_out: NDArray
    held: NDArray
    variants: tuple[NDArray, NDArray, NDArray] | None


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
        n_large = n_islands if surroundings.resolved is None else len(surroundings.resolved)
        self.number = np.array([n_large, n_islands - n_large])
        self._sets: dict[frozenset[int], _Sets] = {}

    def shares(
        self, held: frozenset[int], boxes: NDArray, probabilities: NDArray
    ) -> tuple[list[tuple[int, ...]], NDArray]:
        """Divide detections whose boxes claim the same islands.

        Parameters
        ----------
        held : frozenset of int
            The islands.
        boxes : (d, 4) array
            xyxy, pixels of the image.
        probabilities : (d, 6) array
            Of the classes; they add up to 1.

        Returns
        -------
        choices : list of m tuples of int
            Sets of islands.
        shares : (d, m) array
            They add up to 1, but for variants of one set.
        """
        sets = self._sets.get(held)
        if sets is None:
            sets = self._sets[held] = self._list(held)
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)[:, None]
        density = np.maximum(self.number - sets.held, 0.5) / np.maximum(self.surroundings.area - area, area)
        strangers = np.clip(STRANGER * density * area, 0.01, 1)  # expected in the boxes beside the source's own
        number = sets.number if self.surroundings.resolved is None else np.minimum(sets.number, MOST_SEEN)
        wrong = np.minimum(np.abs(number[:, None] - SEEN), MOST_WRONG)
        fitting = np.log(probabilities @ (WRONG_NUMBER**wrong).T)
        overlap = box_iou(boxes, sets.boxes)
        result = fitting + np.log(strangers) @ sets.left_out.T + sets.prior
        power = IOU_POWER if self.surroundings.resolved is None else COARSE_IOU_POWER
        result += power * np.log(np.clip(overlap / FITTING_IOU, 0.05, 1))
        result = np.exp(result - result.max(axis=1, keepdims=True))
        shares = result / result.sum(axis=1, keepdims=True)
        if sets.variants is not None:
            # The likeliest variant stands for all: whether a small island more belongs to a large source is another
            # question than whether there is such a source.
            ordered, first, place = sets.variants
            most = np.maximum.reduceat(shares[:, ordered], first, axis=1)
            whole = np.add.reduceat(shares[:, ordered], first, axis=1)
            shares *= np.divide(whole, most, out=np.ones_like(most), where=most > 0)[:, place]
        return sets.choices, shares

    def _list(self, held: frozenset[int]) -> _Sets:
        """List the sets; where the islands are many, only the largest ones are left out by themselves."""
        resolved, counted = self.surroundings.resolved, self.surroundings.components
        outlines = self.surroundings.outlines
        large = held if resolved is None else held & resolved

        def rank(island: int) -> tuple[bool, int, float, int]:
            low, high = np.split(outlines[island], 2)
            is_small = resolved is not None and island not in resolved
            return is_small, -len(counted[island]), -float(np.prod(high - low)), island

        ranked = sorted(held, key=rank)
        first = ranked[:MOST_DIVIDED]
        choices = [chosen for n in range(1, len(first) + 1) for chosen in itertools.combinations(first, n)]
        if len(first) < len(ranked):
            choices.append(tuple(ranked))
        boxes, number, prior, left_out = [], [], [], []
        alike: list[frozenset[int]] = []
        for index, chosen in enumerate(choices):
            components = {name: bounds for island in chosen for name, bounds in counted[island].items()}
            shapes = list(components.values()) or [outlines[island] for island in chosen]
            boxes.append(box_around(np.array(shapes), n_peaks=3))
            number.append(max(len(components), 1))
            faint = max(sum(not counted[island] for island in chosen) - (not components), 0)
            n_large = len(large.intersection(chosen))
            n_small = len(chosen) - n_large
            prior.append(faint * np.log(FAINT_MEMBER) + n_small * np.log(UNRESOLVED_MEMBER))
            left_out.append((len(large) - n_large, len(held) - len(large) - n_small))
            alike.append(large.intersection(chosen) if n_large else frozenset([-1 - index]))
        return _Sets(
            choices,
            np.array(boxes),
            np.array(number),
            np.array(prior),
            np.array(left_out),
            np.array([len(large), len(held) - len(large)]),
            None if resolved is None else _grouped(alike),
        )


def _grouped(names: list[frozenset[int]]) -> tuple[NDArray, NDArray, NDArray]:
    """Group equal names: their numbers, group by group; where each group begins among these; the group of each."""
    numbers = {name: k for k, name in enumerate(dict.fromkeys(names))}
    place = np.array([numbers[name] for name in names])
    ordered = np.argsort(place, kind='stable')
    return ordered, np.searchsorted(place[ordered], np.arange(len(numbers))), place
