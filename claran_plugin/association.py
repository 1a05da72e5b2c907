"""Detections and components -> an exact partition of the components into physical sources.

The partition chosen is the one of greatest total evidence: the sum of the log odds of its hypotheses (`claims`), where
a source finder's island as a whole has zero at least, claimed or not, unless it is a part of a set that is likelier
than not (`_defaults`, `_limited`).
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.claimed import SPLIT_PENALTY, Components, members_of
from claran_plugin.claims import CERTAIN, Detections, claims
from claran_plugin.division import Surroundings
from claran_plugin.exact_partition import SetPartition
from claran_plugin.hypotheses import Hypotheses, Hypothesis
from claran_plugin.morphology import CLASSES

SHOWN_TOGETHER = 2.0
"""The evidence of a part and that of a whole that the same fields of view show add up to this at most."""
LEAST_EVIDENCE = -3.0
"""Of an island as a whole that is surely a part of something."""
NONE = Hypotheses.of([])
"""No hypotheses."""


class Partition(NamedTuple):
    """The solution.

    Attributes
    ----------
    labels : (n,) int array
        Source of each component, 0 ... S-1, in order of first appearance.
    chosen : (S,) int array
        The sources' numbers among `considered`.
    margin : (S,) array
        By how much the total evidence exceeds that of the best partition without this source.
    considered : Hypotheses
        All that were weighed, with the evidence that they were weighed with.
    """

    labels: NDArray
    chosen: NDArray
    margin: NDArray
    considered: Hypotheses

    @property
    def hypotheses(self) -> Hypotheses:
        """The S that are sources."""
        return self.considered[self.chosen]


def associate(
    components: Components,
    detections: Detections,
    centres: NDArray,
    step: float,
    field_pixels: int,
    surroundings: Surroundings | None = None,
    larger: Hypotheses = NONE,
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
    larger : Hypotheses
        Sets that are too large for these fields of view (`scales`).

    Returns
    -------
    Partition
    """
    found = claims(components, detections, centres, step, field_pixels, surroundings)
    return partition(components, found, larger)


def partition(components: Components, found: Hypotheses, larger: Hypotheses = NONE) -> Partition:
    """Divide components into sources, as `associate` does, from hypotheses (`claims`)."""
    n = len(components.xy)
    if not n:
        return Partition(np.zeros(0, int), np.zeros(0, int), np.zeros(0), NONE)
    offered = _offered(components.island, found, larger)
    sets = offered.sets()
    evidence = _limited(sets, offered, larger)
    solved = SetPartition(sets, evidence, components.island)
    order = np.argsort([min(sets[number]) for number in solved.chosen])
    chosen = np.array(solved.chosen)[order]
    labels = np.full(n, -1)
    for label, number in enumerate(chosen.tolist()):
        labels[list(sets[number])] = label
    margin = np.minimum(solved.margin, CERTAIN)[order]
    return Partition(labels, chosen, margin, offered.with_evidence(evidence))


def _offered(island: NDArray, found: Hypotheses, larger: Hypotheses) -> Hypotheses:
    """Put all that may become a source together, each set once."""
    defaults = _defaults(island, found, larger)
    offered = Hypotheses.joined([defaults, found, larger])
    evidence = offered.evidence.copy()
    place: dict[frozenset[int], int] = {}
    for number, members in enumerate(offered.sets()):
        known = place.get(members)
        if known is None:
            place[members] = number
        elif number < len(defaults) + len(found):
            # it needs no detection to exist, so a poor one does not tell against it
            evidence[number] = max(evidence[number], evidence[known])
            place[members] = number
        elif evidence[number] > evidence[known]:
            place[members] = number
    return offered.with_evidence(evidence)[np.array([*place.values()])]


def _defaults(island: NDArray, *seen: Hypotheses) -> Hypotheses:
    """Give the hypotheses that need no detection: each island as it is, and each component by itself.

    An island is as likely as the likeliest set that has components of it (and is not itself) is unlikely.
    """
    nothing = np.zeros(len(CLASSES))
    islands = {name: frozenset(members.tolist()) for name, members in members_of(island).items()}
    most: dict[int, float] = defaultdict(float)
    for hypothesis in chain.from_iterable(found[found.evidence > 0] for found in seen):
        for name in set(island[list(hypothesis.members)].tolist()):
            if hypothesis.members != islands[name]:
                most[name] = max(most[name], hypothesis.evidence)

    def listed() -> Iterator[Hypothesis]:
        for name, members in islands.items():
            yield Hypothesis(members, max(-most[name], LEAST_EVIDENCE), nothing, None)
            if len(members) > 1:
                yield from (Hypothesis(frozenset([m]), -SPLIT_PENALTY, nothing, None) for m in sorted(members))

    return Hypotheses.of(listed())


def _limited(sets: Sequence[frozenset[int]], offered: Hypotheses, larger: Hypotheses) -> NDArray:
    """Limit what speaks for a part of a set by what speaks for the whole; give the evidence (m,) of all m offered.

    A field of view in which a lobe fills the middle cannot know of another lobe beyond its edge; the larger field can.
    One that shows both may propose the whole and the parts with confidence, though only one can be true.
    """
    wholes: dict[int, list[tuple[frozenset[int], float]]] = defaultdict(list)
    for whole, evidence in zip(larger.sets(), larger.evidence.tolist(), strict=True):
        for member in whole:
            wholes[member].append((whole, -evidence))
    shown = np.isfinite(offered.box[:, 0]) & (offered.n_members > 1) & (offered.evidence > 0)
    for number in np.flatnonzero(shown).tolist():
        for member in sets[number]:
            wholes[member].append((sets[number], SHOWN_TOGETHER - float(offered.evidence[number])))
    limited = offered.evidence.copy()
    for number, members in enumerate(sets):
        holding = wholes.get(next(iter(members)), [])
        most = min((limit for whole, limit in holding if members < whole), default=np.inf)
        limited[number] = min(limited[number], most)
    return limited
