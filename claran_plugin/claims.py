"""Detections -> hypotheses: which components may be one source, and what speaks for it.

Every component is a set of sample points drawn from its fitted Gaussian; the share of them inside a box is the share
of its flux that the box holds. A box claims the islands of which it holds more than half. As ClaRAN's boxes are square,
unrelated neighbours lie inside some, so a detection is divided among the subsets of its islands: by how well the box
and the number of components that the detector sees fit those of the subset, by how many unrelated neighbours such a box
holds on average in this image, and by how seldom a source has islands too faint to be counted. Detections from
overlapping fields of view that claim the same set are one hypothesis, whose probability is the mean over all fields
that could see it.
"""

import itertools
from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou
from claran_plugin.morphology import CLASSES, box_around, components_of

MIN_SHARE = 0.5
"""A box claims a component of whose flux it holds more than this."""
MIN_PROBABILITY = 0.03
"""Detections below are noise."""
SPLIT_PENALTY = 2.0
"""Evidence that a hypothesis loses for each of the source finder's islands that it divides."""
UNSEEN_PROBABILITY = 0.02
"""Probability of a hypothesis in a field of view that shows its components but did not find it."""
VIEW_PIX = 33.0
"""How fast a field of view loses weight with the distance of a source from its middle, field pixels."""
CERTAIN = 8.0
"""Log odds beyond which nothing is added."""
MOST_DIVIDED = 6
"""Of a box's islands, only so many, the brightest, are left out one by one; the others go with the whole."""
WRONG_NUMBER = 0.2
"""By which factor a set is less likely for each component more or fewer than the detector sees."""
FITTING_IOU = 0.8
"""A set whose box overlaps the detector's as much as this fits as well as can be told."""
IOU_POWER = 1.5
"""How fast a set gets unlikely as its box overlaps the detector's less."""
FAINT_MEMBER = 0.1
"""How likely a source has an island that is too faint to be counted as a component."""
STRANGER = 0.4
"""Unrelated islands in a box, as a fraction of those at the image's mean density; at most one, at least 0.01."""


class Detections(NamedTuple):
    """What the detector found, on the image.

    Attributes
    ----------
    boxes : (d, 4) array
        xyxy, pixels of the image.
    probabilities : (d, 6) array
        Class probabilities; the rest to 1 is background.
    field : (d,) int array
        Number of the field of view.
    """

    boxes: NDArray
    probabilities: NDArray
    field: NDArray


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


class Hypothesis(NamedTuple):
    """A set of components that may be one source.

    `box` is None where no detection stands behind it.
    """

    members: frozenset[int]
    evidence: float
    probabilities: NDArray
    box: NDArray | None


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
        Of the image, square pixels.
    """

    components: Mapping[int, Mapping[int, NDArray]]
    outlines: Mapping[int, NDArray]
    area: float


def unit_disc_points(number: int = 37) -> NDArray:
    """Give points (number, 2) that represent a two-dimensional Gaussian of unit variance, evenly and symmetrically."""
    k = np.arange(number)
    radius = np.sqrt(-2 * np.log(1 - (k + 0.5) / number))
    angle = k * np.pi * (3 - 5**0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)


def flux_shares(components: Components, boxes: NDArray) -> NDArray:
    """Give the share of each component's flux in each box, (n, d) from n components and boxes (d, 4)."""
    roots = np.linalg.cholesky(components.covariance)
    points = components.xy[:, None] + np.einsum('nij,pj->npi', roots, unit_disc_points())
    inside = np.ones((len(points), len(boxes), points.shape[1]), bool)
    for axis in (0, 1):
        coordinate = points[:, None, :, axis]
        inside &= (coordinate > boxes[None, :, None, axis]) & (coordinate < boxes[None, :, None, axis + 2])
    return inside.mean(axis=-1)


def claims(
    components: Components,
    detections: Detections,
    centres: NDArray,
    step: float,
    field_pixels: int,
    surroundings: Surroundings | None = None,
) -> list[Hypothesis]:
    """Turn detections into hypotheses, one per set of components.

    Parameters
    ----------
    components, detections, centres, step, field_pixels
        See `association.associate`.
    surroundings : Surroundings, optional
        Without, a box claims all islands that it holds.
    """
    total = detections.probabilities.sum(axis=1)
    keep = total > MIN_PROBABILITY
    boxes, probabilities, field = (part[keep] for part in detections)
    # set -> field of view -> its likeliest detection, how likely that is the set, logarithm of how surely it holds it
    found: dict[frozenset[int], dict[int, tuple[int, float, float]]] = defaultdict(dict)
    islands = members_of(components.island)
    near = _fields_of(components.xy, centres, step * field_pixels / 2)
    for number in np.unique(field):
        local, indices = near[number], np.flatnonzero(field == number)
        if not len(local):
            continue
        shares = np.zeros((len(indices), len(components.xy)))
        shares[:, local] = flux_shares(Components(*(part[local] for part in components)), boxes[indices]).T
        for index, share in zip(indices, shares, strict=True):
            claimed = _Claimed.of(components, share, local, islands)
            sets = claimed.divided(boxes[index], probabilities[index], islands, surroundings)
            sets += claimed.piecemeal(components, share, local, islands, float(probabilities[index].sum()))
            for members, probability, certainty in sets:
                known = found[members].get(int(number))
                if known is None or probability > known[1]:
                    found[members][int(number)] = int(index), probability, certainty
    hypotheses = []
    for members, views in found.items():
        xy = components.xy[list(members)]
        middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
        offset = np.abs(centres - middle).max(axis=1) / step
        reach = step * field_pixels / 2 * 0.95
        shown = np.flatnonzero(np.all(np.abs(centres[:, None] - xy[None]) < reach, axis=(1, 2)))
        seen = sorted(set(shown.tolist()) | set(views))
        weight = np.exp(-((offset[seen] / VIEW_PIX) ** 2)) + 1e-6
        background = np.full(len(CLASSES), UNSEEN_PROBABILITY / len(CLASSES))
        values = np.array([probabilities[views[f][0]] if f in views else background for f in seen])
        mean = np.average(values, axis=0, weights=weight)
        likely = np.average([views[f][1] if f in views else UNSEEN_PROBABILITY for f in seen], weights=weight)
        best_view = views[min(views, key=lambda f: offset[f])][0]
        evidence = _log_odds(likely) + max(certainty for _, _, certainty in views.values())
        hypotheses.append(Hypothesis(members, evidence, mean, boxes[best_view]))
    return hypotheses


def _fields_of(xy: NDArray, centres: NDArray, half: float) -> list[NDArray]:
    return [np.flatnonzero(np.all(np.abs(xy - centre) < half * 1.1, axis=1)) for centre in centres]


def members_of(island: NDArray) -> dict[int, NDArray]:
    """Give the components (indices, ascending) of each island, from the island (n,) of each component."""
    order = np.argsort(island, kind='stable')
    numbers, first = np.unique(island[order], return_index=True)
    return {} if not len(order) else dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


class _Claimed(NamedTuple):
    """Islands that a box claims as wholes: the share it holds of each, and how surely it holds no other one."""

    held: dict[int, float]
    certainty: float

    @classmethod
    def of(cls, components: Components, share: NDArray, local: NDArray, islands: Mapping[int, NDArray]) -> '_Claimed':
        held: dict[int, float] = {}
        certainty = 0.0
        for island in np.unique(components.island[local]).tolist():
            members = islands[island]
            weight = np.maximum(np.nan_to_num(components.flux[members]), 1e-12)
            inside = float(np.average(share[members], weights=weight))
            if inside > MIN_SHARE:
                held[island] = inside
            elif inside > 0.05:
                certainty += float(np.log(1 - inside))
        return cls(held, certainty)

    def divided(
        self,
        box: NDArray,
        probabilities: NDArray,
        islands: Mapping[int, NDArray],
        surroundings: Surroundings | None,
    ) -> list[tuple[frozenset[int], float, float]]:
        """Divide a detection among the sets of islands that it may be; give components, probability, log certainty."""
        if not self.held:
            return []
        total = float(probabilities.sum())
        choices = [tuple(self.held)]
        shares: NDArray = np.ones(1)
        if surroundings is not None and len(self.held) > 1:
            choices = _choices(self.held, surroundings)
            shares = _fit(choices, box, probabilities / total, surroundings, len(islands))
        return [
            (
                frozenset(int(member) for island in chosen for member in islands[island]),
                total * float(portion),
                self.certainty + float(sum(np.log(self.held[island]) for island in chosen)),
            )
            for chosen, portion in zip(choices, shares, strict=True)
            if portion * total > MIN_PROBABILITY or len(choices) == 1
        ]

    def piecemeal(
        self, components: Components, share: NDArray, local: NDArray, islands: Mapping[int, NDArray], total: float
    ) -> list[tuple[frozenset[int], float, float]]:
        """Give the set of components, taken one by one, that a box claims; it pays for every island that it divides."""
        single = frozenset(local[share[local] > MIN_SHARE].tolist())
        touched = np.unique(components.island[list(single)]).tolist() if single else []
        broken = [island for island in touched if not set(islands[island].tolist()) <= single]
        if not broken:
            return []
        certainty = float(np.sum(np.log(np.maximum(share[local], 1 - share[local]))))
        return [(single, total, certainty - SPLIT_PENALTY * len(broken))]


def _choices(held: Mapping[int, float], surroundings: Surroundings) -> list[tuple[int, ...]]:
    """List the subsets of some islands; where they are many, only the largest ones are left out by themselves."""

    def size(island: int) -> float:
        box = surroundings.outlines[island]
        return float(np.prod(box[2:] - box[:2]))

    ranked = sorted(held, key=lambda island: (-len(surroundings.components[island]), -size(island), island))
    first = ranked[:MOST_DIVIDED]
    subsets = [chosen for n in range(1, len(first) + 1) for chosen in itertools.combinations(first, n)]
    return subsets if len(first) == len(ranked) else [*subsets, tuple(ranked)]


def _fit(
    choices: list[tuple[int, ...]], box: NDArray, probabilities: NDArray, surroundings: Surroundings, n_islands: int
) -> NDArray:
    """Tell how a detection is divided among sets of islands; the shares add up to 1."""
    n_held = max(map(len, choices))
    area = float(np.prod(box[2:] - box[:2]))
    density = max(n_islands - n_held, 0.5) / max(surroundings.area - area, area)
    stranger = float(np.clip(STRANGER * density * area, 0.01, 1))
    seen = np.array([components_of(name) for name in CLASSES])
    boxes, weight = [], []
    for chosen in choices:
        counted = {number: bounds for island in chosen for number, bounds in surroundings.components[island].items()}
        faint = sum(not surroundings.components[island] for island in chosen)
        shapes = list(counted.values()) or [surroundings.outlines[island] for island in chosen]
        boxes.append(box_around(np.array(shapes), n_peaks=3))
        number = max(len(counted), 1)
        fitting = float(probabilities @ WRONG_NUMBER ** np.abs(number - seen))
        strangers = n_held - len(chosen)
        weight.append(fitting * stranger**strangers * FAINT_MEMBER ** max(faint - (not counted), 0))
    overlap = box_iou(box[None], np.array(boxes))[0]
    result = np.array(weight) * np.clip(overlap / FITTING_IOU, 0.05, 1) ** IOU_POWER
    return result / result.sum()


def _log_odds(probability: float) -> float:
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return float(np.clip(np.log(p / (1 - p)), -CERTAIN, CERTAIN))
