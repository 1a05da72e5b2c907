"""Detections and components -> an exact partition of the components into physical sources.

The partition chosen is the one of greatest total evidence: the sum of the log odds of its hypotheses (`claims`), where
a source finder's island as a whole has zero at least, claimed or not, unless it is a part of a set that is likelier
than not (`_defaults`, `_limited`).
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.claimed import SPLIT_PENALTY, Components, members_of
from claran_plugin.claims import CERTAIN, Detections, Hypothesis, claims
from claran_plugin.division import Surroundings
from claran_plugin.exact_partition import SetPartition
from claran_plugin.morphology import CLASSES

SHOWN_TOGETHER = 2.0
"""The evidence of a part and that of a whole that the same fields of view show add up to this at most."""
LEAST_EVIDENCE = -3.0
"""Of an island as a whole that is surely a part of something."""


class Partition(NamedTuple):
    """The solution.

    Attributes
    ----------
    labels : (n,) int array
        Source of each component, 0 ... S-1, in order of first appearance.
    hypotheses : list of S Hypothesis
    margin : (S,) array
        By how much the total evidence exceeds that of the best partition without this source.
    considered : sequence of Hypothesis
        All that were weighed, with the evidence that they were weighed with.
    """

    labels: NDArray
    hypotheses: list[Hypothesis]
    margin: NDArray
    considered: Sequence[Hypothesis] = ()


def associate(
    components: Components,
    detections: Detections,
    centres: NDArray,
    step: float,
    field_pixels: int,
    surroundings: Surroundings | None = None,
    larger: Sequence[Hypothesis] = (),
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
    surroundings : Surroundings, optional
        What the image tells of the islands. Without, a box claims all islands that it holds.
    larger : sequence of Hypothesis
        Sets that are too large for these fields of view (`scales`).

    Returns
    -------
    Partition
    """
    found = claims(components, detections, centres, step, field_pixels, surroundings)
    return partition(components, found, larger)


def partition(components: Components, found: Sequence[Hypothesis], larger: Sequence[Hypothesis] = ()) -> Partition:
    """Divide components into sources, as `associate` does, from hypotheses (`claims`)."""
    n = len(components.xy)
    if not n:
        return Partition(np.zeros(0, int), [], np.zeros(0))
    best = {hypothesis.members: hypothesis for hypothesis in _defaults(components.island, [*found, *larger])}
    for hypothesis in found:
        known = best.get(hypothesis.members)
        if known is not None:  # it needs no detection to exist, so a poor one does not tell against it
            hypothesis = hypothesis._replace(evidence=max(hypothesis.evidence, known.evidence))
        best[hypothesis.members] = hypothesis
    for hypothesis in larger:
        known = best.get(hypothesis.members)
        if known is None or hypothesis.evidence > known.evidence:
            best[hypothesis.members] = hypothesis
    considered = _limited(list(best.values()), larger)
    evidence = np.array([hypothesis.evidence for hypothesis in considered])
    solved = SetPartition([hypothesis.members for hypothesis in considered], evidence, components.island)
    chosen = [considered[index] for index in solved.chosen]
    margins = np.minimum(solved.margin, CERTAIN)
    labels = np.full(n, -1)
    order = np.argsort([min(h.members) for h in chosen])
    for label, index in enumerate(order):
        labels[list(chosen[index].members)] = label
    return Partition(labels, [chosen[i] for i in order], margins[order], considered)


def _defaults(island: NDArray, seen: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Give the hypotheses that need no detection: each island as it is, and each component by itself.

    An island is as likely as the likeliest set that has components of it (and is not itself) is unlikely.
    """
    nothing = np.zeros(len(CLASSES))
    islands = {name: frozenset(members.tolist()) for name, members in members_of(island).items()}
    most: dict[int, float] = defaultdict(float)
    for hypothesis in seen:
        if hypothesis.evidence > 0:
            for name in set(island[list(hypothesis.members)].tolist()):
                if hypothesis.members != islands[name]:
                    most[name] = max(most[name], hypothesis.evidence)
    defaults = []
    for name, members in islands.items():
        defaults.append(Hypothesis(members, max(-most[name], LEAST_EVIDENCE), nothing, None))
        if len(members) > 1:
            defaults += [Hypothesis(frozenset([m]), -SPLIT_PENALTY, nothing, None) for m in sorted(members)]
    return defaults


def _limited(hypotheses: list[Hypothesis], larger: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Limit what speaks for a part of a set by what speaks for the whole.

    A field of view in which a lobe fills the middle cannot know of another lobe beyond its edge; the larger field can.
    One that shows both may propose the whole and the parts with confidence, though only one can be true.
    """
    wholes: dict[int, list[tuple[Hypothesis, float]]] = defaultdict(list)
    shown = [h for h in hypotheses if h.box is not None and len(h.members) > 1 and h.evidence > 0]
    for limit, group in ((0.0, larger), (SHOWN_TOGETHER, shown)):
        for whole in group:
            for member in whole.members:
                wholes[member].append((whole, limit - whole.evidence))
    limited = []
    for hypothesis in hypotheses:
        holding = wholes.get(next(iter(hypothesis.members)), [])
        most = min((limit for whole, limit in holding if hypothesis.members < whole.members), default=np.inf)
        limited.append(hypothesis._replace(evidence=min(hypothesis.evidence, most)))
    return limited
