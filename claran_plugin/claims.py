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
from scipy.spatial import cKDTree

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
MOST_WRONG = 20
"""Differences in number beyond which it does not matter any more."""
FITTING_IOU = 0.8
"""A set whose box overlaps the detector's as much as this fits as well as can be told."""
IOU_POWER = 1.5
"""How fast a set gets unlikely as its box overlaps the detector's less."""
FAINT_MEMBER = 0.1
"""How likely a source has an island that is too faint to be counted as a component."""
STRANGER = 0.4
"""Unrelated islands in a box, as a fraction of those at the image's mean density; at most one, at least 0.01."""
UNRESOLVED_MEMBER = 0.3
"""How likely a source that is much larger than the beam has an island that is not."""


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

    Attributes
    ----------
    members : frozenset of int
    evidence : float
        Log odds that they are one source.
    probabilities : (6,) array
        Class probabilities, the mean over the fields of view that show the set.
    box : (4,) array or None
        That of the detection nearest to the middle of its field, pixels of the image; None where there is none.
    probability : float
        That they are one source, the mean over the fields of view that show the set.
    certainty : float
        What the evidence loses where a box cuts these components or others, or divides an island.
    n_shown, n_found : int
        Views of fields that show the set, and those in which it was found.
    scale : int
        Beam of the sky on which it was found, in beams of the image: 1, 2, 4, ...
    """

    members: frozenset[int]
    evidence: float
    probabilities: NDArray
    box: NDArray | None
    probability: float = 0.0
    certainty: float = 0.0
    n_shown: int = 0
    n_found: int = 0
    scale: int = 1


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
    resolved : frozenset of int, optional
        Islands larger than the beam, where that tells parts of a source from strangers: on a coarser sky.
    """

    components: Mapping[int, Mapping[int, NDArray]]
    outlines: Mapping[int, NDArray]
    area: float
    resolved: frozenset[int] | None = None


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
    middles = cKDTree(centres)
    near = cKDTree(components.xy).query_ball_point(centres, step * field_pixels / 2 * 1.1, p=np.inf)
    for number, indices in members_of(field).items():
        if not near[number]:
            continue
        local = np.array(sorted(near[number]))
        for index, claimed in zip(indices, _claimed(components, local, boxes[indices], islands), strict=True):
            sets = claimed.divided(boxes[index], probabilities[index], islands, surroundings)
            sets += claimed.piecemeal(float(probabilities[index].sum()))
            for members, probability, certainty in sets:
                known = found[members].get(number)
                if known is None or probability > known[1]:
                    found[members][number] = int(index), probability, certainty
    hypotheses = []
    for members, views in found.items():
        xy = components.xy[list(members)]
        middle = (xy.min(axis=0) + xy.max(axis=0)) / 2
        reach = step * field_pixels / 2 * 0.95 - (xy.max(axis=0) - middle)
        around = middles.query_ball_point(middle, max(reach.max(), 0), p=np.inf)
        shown = [f for f in around if np.all(np.abs(centres[f] - middle) < reach)]
        seen = sorted(set(shown) | set(views))
        offset = dict(zip(seen, np.abs(centres[seen] - middle).max(axis=1) / step, strict=True))
        weight = np.exp(-((np.array([*offset.values()]) / VIEW_PIX) ** 2)) + 1e-6
        background = np.full(len(CLASSES), UNSEEN_PROBABILITY / len(CLASSES))
        values = np.array([probabilities[views[f][0]] if f in views else background for f in seen])
        mean = np.average(values, axis=0, weights=weight)
        likely = float(np.average([views[f][1] if f in views else UNSEEN_PROBABILITY for f in seen], weights=weight))
        certainty = max(sure for _, _, sure in views.values())
        box = boxes[views[min(views, key=lambda f: offset[f])][0]]
        hypotheses.append(
            Hypothesis(members, log_odds(likely) + certainty, mean, box, likely, certainty, len(seen), len(views))
        )
    return hypotheses


def members_of(island: NDArray) -> dict[int, NDArray]:
    """Give the components (indices, ascending) of each island, from the island (n,) of each component."""
    order = np.argsort(island, kind='stable')
    numbers, first = np.unique(island[order], return_index=True)
    return {} if not len(order) else dict(zip(numbers.tolist(), np.split(order, first[1:]), strict=True))


class _Claimed(NamedTuple):
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

    def piecemeal(self, total: float) -> list[tuple[frozenset[int], float, float]]:
        """Give the set of components, taken one by one, that a box claims; it pays for every island that it divides."""
        if not self.n_broken:
            return []
        return [(self.single, total, self.single_certainty - SPLIT_PENALTY * self.n_broken)]


def _claimed(components: Components, local: NDArray, boxes: NDArray, islands: Mapping[int, NDArray]) -> list[_Claimed]:
    """Find what each of some boxes (d, 4) claims of the components `local` (indices)."""
    share = flux_shares(Components(*(part[local] for part in components)), boxes).T
    names, own = np.unique(components.island[local], return_inverse=True)
    weight = np.maximum(np.nan_to_num(components.flux), 1e-12)
    whole = np.array([weight[islands[name]].sum() for name in names.tolist()])
    order = np.argsort(own, kind='stable')
    first = np.searchsorted(own[order], np.arange(len(names)))

    def per_island(values: NDArray) -> NDArray:
        return np.add.reduceat(values[:, order], first, axis=1)

    inside = per_island(share * weight[local]) / whole
    claims_whole = inside > MIN_SHARE
    partly = ~claims_whole & (inside > 0.05)
    certainty = np.where(partly, np.log1p(-np.where(partly, inside, 0)), 0).sum(axis=1)
    alone = share > MIN_SHARE
    number = per_island(alone.astype(int))
    size = np.array([len(islands[name]) for name in names.tolist()])
    n_broken = ((number > 0) & (number < size)).sum(axis=1)
    single_certainty = np.log(np.maximum(share, 1 - share)).sum(axis=1)
    return [
        _Claimed(
            {int(names[k]): float(inside[d, k]) for k in np.flatnonzero(claims_whole[d])},
            float(certainty[d]),
            frozenset(local[alone[d]].tolist()) if n_broken[d] else frozenset(),
            int(n_broken[d]),
            float(single_certainty[d]),
        )
        for d in range(len(boxes))
    ]


def _choices(held: Mapping[int, float], surroundings: Surroundings) -> list[tuple[int, ...]]:
    """List the subsets of some islands; where they are many, only the largest ones are left out by themselves."""

    def size(island: int) -> float:
        box = surroundings.outlines[island]
        return float(np.prod(box[2:] - box[:2]))

    resolved = surroundings.resolved or frozenset()
    ranked = sorted(
        held, key=lambda island: (island not in resolved, -len(surroundings.components[island]), -size(island), island)
    )
    first = ranked[:MOST_DIVIDED]
    subsets = [chosen for n in range(1, len(first) + 1) for chosen in itertools.combinations(first, n)]
    return subsets if len(first) == len(ranked) else [*subsets, tuple(ranked)]


def _fit(
    choices: list[tuple[int, ...]], box: NDArray, probabilities: NDArray, surroundings: Surroundings, n_islands: int
) -> NDArray:
    """Tell how a detection is divided among sets of islands; the shares add up to 1, but for variants of one."""
    area = float(np.prod(box[2:] - box[:2]))
    held = set(itertools.chain.from_iterable(choices))
    resolved = surroundings.resolved

    def stranger(number: int, among_held: int) -> float:
        """Give how many of `number` islands of one kind are expected in the box beside the source's own."""
        density = max(number - among_held, 0.5) / max(surroundings.area - area, area)
        return float(np.clip(STRANGER * density * area, 0.01, 1))

    if resolved is None:
        expected = dict.fromkeys(held, stranger(n_islands, len(held)))
    else:
        large = held & resolved
        of_large = stranger(len(resolved), len(large))
        of_small = stranger(n_islands - len(resolved), len(held - large))
        expected = {island: of_large if island in resolved else of_small for island in held}
    seen = np.array([components_of(name) for name in CLASSES])
    boxes, weight = [], []
    for chosen in choices:
        counted = {number: bounds for island in chosen for number, bounds in surroundings.components[island].items()}
        faint = sum(not surroundings.components[island] for island in chosen)
        shapes = list(counted.values()) or [surroundings.outlines[island] for island in chosen]
        boxes.append(box_around(np.array(shapes), n_peaks=3))
        number = max(len(counted), 1)
        fitting = float(probabilities @ WRONG_NUMBER ** np.minimum(np.abs(number - seen), MOST_WRONG))
        left_out = sum(np.log(expected[island]) for island in held - set(chosen))
        small = 0 if resolved is None else len(set(chosen) - resolved)
        likely = max(faint - (not counted), 0) * np.log(FAINT_MEMBER) + small * np.log(UNRESOLVED_MEMBER)
        weight.append(np.log(fitting) + left_out + likely)
    overlap = box_iou(box[None], np.array(boxes))[0]
    result = np.array(weight) + IOU_POWER * np.log(np.clip(overlap / FITTING_IOU, 0.05, 1))
    result = np.exp(result - result.max())
    return _with_variants(result / result.sum(), choices, surroundings.resolved)


def _with_variants(shares: NDArray, choices: list[tuple[int, ...]], resolved: frozenset[int] | None) -> NDArray:
    """Let the likeliest of the sets that have the same resolved islands stand for all of them.

    Whether a small island more belongs to a large source is another question than whether there is such a source.
    """
    if resolved is None:
        return shares
    variants: dict[frozenset[int], list[int]] = defaultdict(list)
    for number, chosen in enumerate(choices):
        variants[resolved & frozenset(chosen)].append(number)
    shares = shares.copy()
    for core, numbers in variants.items():
        if core and shares[numbers].max() > 0:
            shares[numbers] *= shares[numbers].sum() / shares[numbers].max()
    return shares


def log_odds(probability: float) -> float:
    """Give ln(p / (1 - p)), bounded."""
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return float(np.clip(np.log(p / (1 - p)), -CERTAIN, CERTAIN))
