"""The exact partition of greatest evidence: weighted set partitioning.

A set that its islands, taken one by one, outdo is in no best partition and only links what has nothing to do with each
other. Without these, the problem falls apart into clusters, most of a few components, whose best partitions follow from
dynamic programming over what is still to be covered. Clusters that are too intricate for that go to HiGHS's
mixed-integer solver, enormous ones are solved greedily.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components

MOST_ELEMENTS = 64
"""Components of a cluster that dynamic programming is tried on."""
MOST_STATES = 4000
"""Different remainders that it may meet; beyond, the cluster goes to the mixed-integer solver."""
MOST_SETS = 20000
"""Clusters of more sets than this are solved greedily."""
MOST_MARGINS, MOST_MARGIN_SETS = 100, 3000
"""Where more chosen sets than this hang together, or so many of all, margins follow from exchanging single sets."""


class SetPartition:
    """A problem: sets of components, what speaks for each, and its solution.

    Parameters
    ----------
    sets : sequence of m frozensets of int
        Each component is in its island's set and in one by itself at least.
    evidence : (m,) array
    island : (n,) int array
        Equal for components of one island.

    Attributes
    ----------
    chosen : list of int
        Sets that have every component exactly once, of greatest total evidence.
    margin : list of float
        By how much the total exceeds that of the best partition without each chosen set; infinite where there is none.
    """

    def __init__(self, sets: Sequence[frozenset[int]], evidence: NDArray, island: NDArray) -> None:
        self.sets, self.evidence = sets, [float(value) for value in evidence]
        number = {members: index for index, members in enumerate(sets)}
        together: dict[int, list[int]] = defaultdict(list)
        for component, name in enumerate(island.tolist()):
            together[name].append(component)
        # for each component the sets of its island and of itself
        self.whole = [0] * len(island)
        for members in together.values():
            index = number[frozenset(members)]
            for member in members:
                self.whole[member] = index
        self.single = [number[frozenset([component])] for component in range(len(island))]
        self.outdone: dict[int, list[int]] = defaultdict(list)
        # for each component the sets that hold it and the chosen one, where these are wanted
        self._holding: dict[int, list[int]] = defaultdict(list)
        self._chosen_for: dict[int, int] = {}
        self._costs: dict[int, float] = {}
        self._touched: dict[int, frozenset[int]] = {}
        kept = [index for index in range(len(sets)) if not self._is_outdone(index)]
        self.cluster_of, self.clusters = _clusters(kept, sets, len(island))
        self.chosen: list[int] = []
        self.margin: list[float] = []
        for cluster in self.clusters:
            selected = self._best(cluster)
            if selected is None:  # the islands, or else their components, are always one
                raise RuntimeError(f'no exact partition found among {len(cluster)} sets')
            self.chosen += selected
        self.total = [0.0] * len(self.clusters)
        for index in self.chosen:
            self.total[self.cluster_of[index]] += self.evidence[index]
        self.size = np.bincount([self.cluster_of[index] for index in self.chosen], minlength=len(self.clusters))
        self.margin = [self._margin(index) for index in self.chosen]

    def _is_outdone(self, index: int) -> bool:
        """Tell whether a set is no better than its islands, and list it with these."""
        members = self.sets[index]
        islands = {self.whole[member] for member in members}
        if islands == {index} or sum(len(self.sets[island]) for island in islands) > len(members):
            return False
        if sum(self.evidence[island] for island in islands) < self.evidence[index]:
            return False
        for island in islands:
            self.outdone[island].append(index)
        return True

    def _best(self, among: Sequence[int], without: int = -1) -> list[int] | None:
        """Choose the sets of greatest total evidence that hold every component of `among` exactly once."""
        if len(among) == 1:
            return None if among[0] == without else [among[0]]
        # sets of one cluster are next to each other, so that the remainders of several do not multiply
        order: dict[int, int] = {}
        for index in among:
            for member in self.sets[index]:
                order.setdefault(member, len(order))
        if len(order) <= MOST_ELEMENTS:
            try:
                return self._by_remainders(among, order, without)
            except OverflowError:
                pass
        if len(among) > MOST_SETS:
            return self._greedy(among, without)
        return self._by_integers(among, order, without)

    def _by_remainders(self, among: Sequence[int], order: dict[int, int], without: int) -> list[int] | None:
        """Solve by dynamic programming; the state is what is still to be covered, as bits."""
        starting: dict[int, list[tuple[int, int]]] = defaultdict(list)
        for index in among:
            if index != without:
                bits = sum(1 << order[member] for member in self.sets[index])
                starting[bits & -bits].append((bits, index))
        known: dict[int, tuple[float, int, int]] = {0: (0.0, -1, 0)}

        def best(left: int) -> float:
            if left not in known:
                if len(known) > MOST_STATES:
                    raise OverflowError
                most, first, rest = -np.inf, -1, 0
                for bits, index in starting[left & -left]:
                    if bits & left == bits:
                        total = self.evidence[index] + best(left ^ bits)
                        if total > most:
                            most, first, rest = total, index, left ^ bits
                known[left] = most, first, rest
            return known[left][0]

        left = (1 << len(order)) - 1
        if best(left) == -np.inf:
            return None
        chosen = []
        while left:
            _, index, left = known[left]
            chosen.append(index)
        return chosen

    def _by_integers(self, among: Sequence[int], order: dict[int, int], without: int) -> list[int] | None:
        """Solve with HiGHS, which would by itself stop within 0.01 % of the best."""
        rows = np.concatenate([[order[member] for member in self.sets[index]] for index in among])
        columns = np.repeat(np.arange(len(among)), [len(self.sets[index]) for index in among])
        matrix = csc_array((np.ones(len(rows)), (rows, columns)), shape=(len(order), len(among)))
        result = milp(
            -np.array([self.evidence[index] for index in among]),
            constraints=LinearConstraint(matrix, 1, 1),
            bounds=Bounds(0, [float(index != without) for index in among]),
            integrality=np.ones(len(among)),
            options=dict(mip_rel_gap=0),
        )
        return [among[place] for place in np.flatnonzero(result.x > 0.5)] if result.success else None

    def _greedy(self, among: Sequence[int], without: int) -> list[int] | None:
        """Take the set of greatest evidence per component first, and so on."""
        taken: set[int] = set()
        chosen = []
        wholes = [index for index in among if self._holds_whole_islands(index)]
        rest = sorted(among, key=lambda index: len(self.sets[index]) > 1)  # what is left are components by themselves
        ranked = sorted(wholes, key=lambda index: -self.evidence[index] / len(self.sets[index]))
        for index in [*ranked, *rest]:
            if index != without and taken.isdisjoint(self.sets[index]):
                chosen.append(index)
                taken |= self.sets[index]
        return chosen if len(taken) == len(set().union(*(self.sets[index] for index in among))) else None

    def _holds_whole_islands(self, index: int) -> bool:
        members = self.sets[index]
        return sum(len(self.sets[island]) for island in {self.whole[member] for member in members}) == len(members)

    def _margin(self, index: int) -> float:
        """Solve again without a chosen set; what its island outdoes may then be better than what is left."""
        own = self.cluster_of[index]
        touched = {own}
        extra = self.outdone.get(index, [])
        for other in extra:
            touched |= self._clusters_of(other)
            if len(touched) > MOST_MARGINS:
                break
        numbers = [own, *sorted(touched - {own})]
        number_of_sets = len(extra) + sum(len(self.clusters[number]) for number in numbers)
        if self.size[numbers].sum() > MOST_MARGINS or number_of_sets > MOST_MARGIN_SETS:
            return self._exchange_margin(index)
        among = [*self.clusters[own], *extra, *(one for number in numbers[1:] for one in self.clusters[number])]
        found = self._best(among, without=index)
        if found is None:
            return np.inf
        return sum(self.total[number] for number in numbers) - sum(self.evidence[one] for one in found)

    def _clusters_of(self, index: int) -> frozenset[int]:
        """Give the clusters that a set has components of."""
        if index not in self._touched:
            self._touched[index] = frozenset(self.cluster_of[self.whole[member]] for member in self.sets[index])
        return self._touched[index]

    def _exchange_margin(self, index: int) -> float:
        """Give what it costs to have one other set instead of a chosen one, and islands where that leaves gaps."""
        if not self._holding:
            for other, members in enumerate(self.sets):
                for member in members:
                    self._holding[member].append(other)
            self._chosen_for.update((member, one) for one in self.chosen for member in self.sets[one])
        others = {other for member in self.sets[index] for other in self._holding[member]} - {index}
        return min(map(self._cost, others), default=np.inf)

    def _cost(self, index: int) -> float:
        """Give what the total loses where a set takes its components from the chosen ones, whose rest are islands."""
        if index in self._costs:
            return self._costs[index]
        members = self.sets[index]
        replaced = {self._chosen_for[member] for member in members}
        cost = -self.evidence[index]
        for one in replaced:
            cost += self.evidence[one]
            left = set(self.sets[one] - members)
            while left:
                member = left.pop()
                island = self.whole[member]
                fits = self.sets[island] - {member} <= left and island not in replaced
                filling = island if fits else self.single[member]
                cost -= self.evidence[filling]
                left -= self.sets[filling]
        self._costs[index] = cost
        return cost


def _clusters(kept: Sequence[int], sets: Sequence[frozenset[int]], n: int) -> tuple[dict[int, int], list[list[int]]]:
    """Divide sets into clusters that share no component."""
    rows = np.repeat(np.arange(len(kept)), [len(sets[index]) for index in kept])
    columns = np.array([member for index in kept for member in sets[index]], int)
    size = len(kept) + n
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns + len(kept))), shape=(size, size))
    _, part = connected_components(graph, directed=False)
    names: dict[int, int] = {}
    clusters: list[list[int]] = []
    for index, name in zip(kept, part.tolist(), strict=False):
        if name not in names:
            names[name] = len(clusters)
            clusters.append([])
        clusters[names[name]].append(index)
    return {index: number for number, cluster in enumerate(clusters) for index in cluster}, clusters
