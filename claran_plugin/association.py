"""Detections and components -> an exact partition of the components into physical sources.

Every component is a set of sample points drawn from its fitted Gaussian; the share of them inside a box is the share
of its flux that the box holds. A detection claims the components of which it holds more than half. Detections from
overlapping fields of view that claim the same set are one hypothesis, whose probability is their mean over all fields
that could see it. The partition chosen is the one of greatest total evidence: the sum of the log odds of its
hypotheses, where a source finder's island as a whole has zero at least, claimed or not.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components

from claran_plugin.morphology import CLASSES

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


class Partition(NamedTuple):
    """The solution.

    Attributes
    ----------
    labels : (n,) int array
        Source of each component, 0 ... S-1, in order of first appearance.
    hypotheses : list of S Hypothesis
    margin : (S,) array
        By how much the total evidence exceeds that of the best partition without this source.
    """

    labels: NDArray
    hypotheses: list[Hypothesis]
    margin: NDArray


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


def associate(
    components: Components, detections: Detections, centres: NDArray, step: float, field_pixels: int
) -> Partition:
    """Divide components into sources.

    Parameters
    ----------
    components : Components
    detections : Detections
    centres : (f, 2) array
        Middles of the fields of view, pixels of the image.
    step : float
        Pixels of the image per pixel of a field of view.
    field_pixels : int
        Side of a field of view in its own pixels.

    Returns
    -------
    Partition
    """
    n = len(components.xy)
    if not n:
        return Partition(np.zeros(0, int), [], np.zeros(0))
    best = {hypothesis.members: hypothesis for hypothesis in _defaults(components.island)}
    for hypothesis in _claims(components, detections, centres, step, field_pixels):
        known = best.get(hypothesis.members)
        if known is not None:  # it needs no detection to exist, so a poor one does not tell against it
            hypothesis = hypothesis._replace(evidence=max(hypothesis.evidence, known.evidence))
        best[hypothesis.members] = hypothesis
    chosen, margins = [], []
    for cluster in _clusters(list(best.values()), n):
        selected, margin = _solve(cluster)
        chosen += selected
        margins += margin
    labels = np.full(n, -1)
    order = np.argsort([min(h.members) for h in chosen])
    for label, index in enumerate(order):
        labels[list(chosen[index].members)] = label
    return Partition(labels, [chosen[i] for i in order], np.array(margins)[order])


def _claims(
    components: Components, detections: Detections, centres: NDArray, step: float, field_pixels: int
) -> list[Hypothesis]:
    """Turn detections into hypotheses, one per set of components."""
    total = detections.probabilities.sum(axis=1)
    keep = total > MIN_PROBABILITY
    boxes, probabilities, field = (part[keep] for part in detections)
    # set -> field of view -> its likeliest detection and the logarithm of how surely that one holds the set
    found: dict[frozenset[int], dict[int, tuple[int, float]]] = defaultdict(dict)
    islands = {int(i): np.flatnonzero(components.island == i) for i in np.unique(components.island)}
    near = _fields_of(components.xy, centres, step * field_pixels / 2)
    for number in np.unique(field):
        local, indices = near[number], np.flatnonzero(field == number)
        if not len(local):
            continue
        shares = np.zeros((len(indices), len(components.xy)))
        shares[:, local] = flux_shares(Components(*(part[local] for part in components)), boxes[indices]).T
        for index, share in zip(indices, shares, strict=True):
            for members, certainty in _member_sets(components, share, local, islands):
                known = found[members].get(int(number))
                if known is None or probabilities[index].sum() > probabilities[known[0]].sum():
                    found[members][int(number)] = int(index), certainty
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
        best_view, _ = views[min(views, key=lambda f: offset[f])]
        evidence = _log_odds(mean.sum()) + max(certainty for _, certainty in views.values())
        hypotheses.append(Hypothesis(members, evidence, mean, boxes[best_view]))
    return hypotheses


def _fields_of(xy: NDArray, centres: NDArray, half: float) -> list[NDArray]:
    return [np.flatnonzero(np.all(np.abs(xy - centre) < half * 1.1, axis=1)) for centre in centres]


def _member_sets(
    components: Components, share: NDArray, local: NDArray, islands: Mapping[int, NDArray]
) -> list[tuple[frozenset[int], float]]:
    """Give the sets of components that a box claims, with the logarithm of how surely it does.

    One set takes islands as wholes, by the share of their flux; the other takes components one by one and pays for
    every island that it divides.
    """
    sets = []
    whole: set[int] = set()
    whole_certainty = 0.0
    for island in np.unique(components.island[local]):
        members = islands[int(island)]
        weight = np.maximum(np.nan_to_num(components.flux[members]), 1e-12)
        held = float(np.average(share[members], weights=weight))
        if held > MIN_SHARE:
            whole |= set(members.tolist())
        if held > 0.05:
            whole_certainty += np.log(max(held, 1 - held))
    if whole:
        sets.append((frozenset(whole), whole_certainty))
    single = frozenset(local[share[local] > MIN_SHARE].tolist())
    if single and single != frozenset(whole):
        touched = np.unique(components.island[list(single)])
        divided = [i for i in touched if not set(islands[int(i)].tolist()) <= single]
        certainty = float(np.sum(np.log(np.maximum(share[local], 1 - share[local]))))
        sets.append((single, certainty - SPLIT_PENALTY * len(divided)))
    return sets


def _defaults(island: NDArray) -> list[Hypothesis]:
    """Give the hypotheses that need no detection: each island as it is, and each component by itself."""
    nothing = np.zeros(len(CLASSES))
    defaults = []
    for number in np.unique(island):
        members = np.flatnonzero(island == number).tolist()
        defaults.append(Hypothesis(frozenset(members), 0.0, nothing, None))
        if len(members) > 1:
            defaults += [Hypothesis(frozenset([m]), -SPLIT_PENALTY, nothing, None) for m in members]
    return defaults


def _log_odds(probability: float) -> float:
    p = np.clip(probability, 1e-4, 1 - 1e-4)
    return float(np.clip(np.log(p / (1 - p)), -CERTAIN, CERTAIN))


def _clusters(hypotheses: list[Hypothesis], n: int) -> list[list[Hypothesis]]:
    """Divide hypotheses into clusters that share no component."""
    rows = np.concatenate([np.full(len(h.members), i) for i, h in enumerate(hypotheses)])
    columns = np.concatenate([list(h.members) for h in hypotheses])
    size = len(hypotheses) + n
    graph = coo_array((np.ones(len(rows)), (rows, columns + len(hypotheses))), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    clusters: dict[int, list[Hypothesis]] = defaultdict(list)
    for hypothesis, number in zip(hypotheses, part, strict=False):
        clusters[int(number)].append(hypothesis)
    return list(clusters.values())


def _solve(cluster: list[Hypothesis]) -> tuple[list[Hypothesis], list[float]]:
    """Find the exact partition of greatest evidence of one cluster, and each chosen set's margin."""
    if len(cluster) == 1:
        return cluster, [CERTAIN]
    evidence = np.array([h.evidence for h in cluster])
    elements = sorted(set().union(*(h.members for h in cluster)))
    place = {element: i for i, element in enumerate(elements)}
    rows = np.concatenate([[place[m] for m in h.members] for h in cluster])
    columns = np.concatenate([np.full(len(h.members), i) for i, h in enumerate(cluster)])
    exactly_once = LinearConstraint(csc_array((np.ones(len(rows)), (rows, columns))), 1, 1)
    chosen = _best_choice(evidence, exactly_once, np.ones(len(cluster)))
    if chosen is None:  # the islands, or else their components, are always one
        raise RuntimeError(f'no exact partition of {len(elements)} components found among {len(cluster)} sets')
    total = evidence[chosen].sum()
    margins = []
    for index in chosen:
        allowed = np.ones(len(cluster))
        allowed[index] = 0
        without = _best_choice(evidence, exactly_once, allowed)
        margins.append(CERTAIN if without is None else min(total - evidence[without].sum(), CERTAIN))
    return [cluster[i] for i in chosen], margins


def _best_choice(evidence: NDArray, exactly_once: LinearConstraint, allowed: NDArray) -> NDArray | None:
    # HiGHS would stop within 0.01 % of the best
    result = milp(
        -evidence,
        constraints=exactly_once,
        bounds=Bounds(0, allowed),
        integrality=np.ones(len(evidence)),
        options=dict(mip_rel_gap=0),
    )
    return np.flatnonzero(result.x > 0.5) if result.success else None
