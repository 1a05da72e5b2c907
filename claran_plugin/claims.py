"""Detections -> hypotheses: which components may be one source, and what speaks for it.

A box claims the islands of which it holds more than half (`claimed`); a detection is divided among their subsets
(`division`). Detections from overlapping fields of view that claim the same set are one hypothesis, whose
probability is the mean over all fields that could see it.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from claran_plugin.claimed import MIN_PROBABILITY, Claimed, Claiming, Components, Divided, members_of
from claran_plugin.division import Division, Surroundings
from claran_plugin.hypotheses import FAR_COARSER, Hypotheses, Hypothesis
from claran_plugin.morphology import CLASSES

UNSEEN_PROBABILITY = 0.02
"""Probability of a hypothesis in a field of view that shows its components but did not find it."""
VIEW_PIX = 33.0
"""How fast a field of view loses weight with the distance of a source from its middle, field pixels."""
NEAR = 0.55
"""How far from its middle, in sides of a field of view, components are asked whether a box in it holds them."""
TILE = 40
"""Side, in sides of a field of view, of the parts of an image whose detections are worked on at once: what is kept of
each on the way is then bounded."""
CERTAIN = 8.0
"""Log odds beyond which nothing is added."""
MOST_SURE = 0.98
"""Probability beyond which a detection is no surer there that it is something."""
Wanted = Callable[[Sequence[int]], bool]
"""Tells of a set of islands whether to make it a hypothesis."""


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


def claims(
    components: Components,
    detections: Detections,
    centres: NDArray,
    step: float,
    field_pixels: int,
    surroundings: Surroundings | None = None,
    wanted: Wanted | None = None,
    scale: int = 1,
) -> Hypotheses:
    """Turn detections into hypotheses, one per set of components.

    Parameters
    ----------
    components, detections, centres, step, field_pixels
        See `association.associate`.
    surroundings : Surroundings, optional
        Without, a box claims all islands that it holds.
    wanted : callable, optional
        Tells of a set of islands whether to make it a hypothesis. With it, no island is divided.
    scale : int
        Beam of this sky, in beams of the image.
    """
    keep = detections.probabilities.sum(axis=1) > MIN_PROBABILITY
    if not keep.all():
        detections = Detections(*(part[keep] for part in detections))
    seen = Seen(components, detections, centres, step, field_pixels, surroundings, wanted, scale)
    return Hypotheses.joined(
        Hypotheses.of(seen.hypotheses(low, high)) for low, high in _tiles(centres, TILE * seen.side)
    )


def _tiles(centres: NDArray, side: float) -> Iterator[tuple[NDArray, NDArray]]:
    """Divide the plane into squares around some points (m, 2), those at the margin without end: their corners."""
    if not len(centres):
        return
    origin = centres.min(axis=0)
    last = np.floor((centres.max(axis=0) - origin) / side)
    for number in np.ndindex(*(int(n) + 1 for n in last)):
        low, high = origin + np.array(number) * side, origin + (np.array(number) + 1) * side
        yield np.where(np.array(number) == 0, -np.inf, low), np.where(number == last, np.inf, high)


class Seen:
    """What was seen, and in which fields of view; parameters as of `claims`, `side` is that of a field."""

    def __init__(
        self,
        components: Components,
        detections: Detections,
        centres: NDArray,
        step: float,
        field_pixels: int,
        surroundings: Surroundings | None,
        wanted: Wanted | None = None,
        scale: int = 1,
    ) -> None:
        self.components, self.detections, self.surroundings = components, detections, surroundings
        self.wanted = wanted
        self.is_far_coarser = scale >= FAR_COARSER
        self.centres, self.step, self.side = centres, step, step * field_pixels
        self.claiming = Claiming(components)
        self.islands = self.claiming.islands
        self.of_field = members_of(detections.field)
        self.middles, self.places = cKDTree(centres), cKDTree(components.xy)
        # A set's middle is no farther from its field: of an island that a box claims, parts may lie outside.
        widths = [float(np.ptp(components.xy[members], axis=0).max()) for members in self.islands.values()]
        self.margin = NEAR * self.side + max(widths, default=0.0)

    def hypotheses(self, low: NDArray, high: NDArray) -> list[Hypothesis]:
        """Give those of sets whose middle (x, y) is in a rectangle."""
        near = np.all((self.centres >= low - self.margin) & (self.centres < high + self.margin), axis=1)
        hypotheses = []
        for members, views in self._found(np.flatnonzero(near)).items():
            xy = self.components.xy[list(members)]
            first, last = xy.min(axis=0), xy.max(axis=0)
            middle = (first + last) / 2
            if np.all((low <= middle) & (middle < high)):
                hypotheses.append(self._hypothesis(members, views, middle, last - middle))
        return hypotheses

    def _found(self, fields: NDArray) -> '_Found':
        """Give the sets that are claimed in some fields (numbers)."""
        _, probabilities, field = self.detections
        division = None
        if self.surroundings is not None:
            n_islands = self.surroundings.n_islands
            division = Division(self.surroundings, len(self.islands) if n_islands is None else n_islands)
        claimed_by = self.claimed(fields)
        divided = self._divided(claimed_by, division)
        found: _Found = defaultdict(dict)
        for index, claimed in claimed_by.items():
            number, whole = int(field[index]), float(probabilities[index].sum())
            sets = claimed.wholes(divided[index], whole, self.islands) if claimed.held else []
            if self.wanted is None:
                sets += claimed.piecemeal(whole)
            for members, probability, certainty in sets:
                known = found[members].get(number)
                if known is None or probability > known[1]:
                    found[members][number] = index, probability, certainty
        return found

    def claimed(self, fields: NDArray) -> 'dict[int, Claimed]':
        """Give what the detections (numbers) in some fields (numbers) claim."""
        claimed_by: dict[int, Claimed] = {}
        numbers = [number for number in fields.tolist() if number in self.of_field]
        around = self.places.query_ball_point(self.centres[numbers], NEAR * self.side, p=np.inf) if numbers else []
        for number, local in zip(numbers, around, strict=True):
            if local:
                indices = self.of_field[number]
                all_claimed = self.claiming.claimed(np.array(sorted(local)), self.detections.boxes[indices])
                claimed_by.update(zip(indices.tolist(), all_claimed, strict=True))
        return claimed_by

    def _divided(self, claimed_by: Mapping[int, Claimed], division: Division | None) -> dict[int, Divided]:
        """Divide detections among sets of the islands that they claim, those of the same islands together."""
        boxes, probabilities, _ = self.detections
        alike: dict[frozenset[int], list[int]] = defaultdict(list)
        for index, claimed in claimed_by.items():
            if claimed.held:
                alike[frozenset(claimed.held)].append(index)
        divided: dict[int, Divided] = {}
        for held, indices in alike.items():
            if division is None or len(held) == 1:
                choices: list[tuple[int, ...]] = [tuple(held)]
                shares: NDArray = np.ones((len(indices), 1))
            else:
                sets, shares = division.shares(held, boxes[indices], probabilities[indices])
                total = probabilities[indices].sum(axis=1, keepdims=True)
                likely = np.flatnonzero((shares * total > MIN_PROBABILITY).any(axis=0))
                choices, shares = [sets.choice(number) for number in likely.tolist()], shares[:, likely]
            if self.wanted is not None:
                kept = [number for number, chosen in enumerate(choices) if self.wanted(chosen)]
                choices, shares = [choices[number] for number in kept], shares[:, kept]
            divided.update(zip(indices, ((choices, portions) for portions in shares.tolist()), strict=True))
        return divided

    def _hypothesis(
        self, members: frozenset[int], views: dict[int, tuple[int, float, float]], middle: NDArray, half: NDArray
    ) -> Hypothesis:
        """Take the mean over the fields that show a set (half as wide as `half`) around a point."""
        reach = self.side / 2 * 0.95 - half
        around = self.middles.query_ball_point(middle, max(reach.max(), 0), p=np.inf)
        shows = np.all(np.abs(self.centres[around] - middle) < reach, axis=1)
        seen = sorted({field for field, is_shown in zip(around, shows.tolist(), strict=True) if is_shown} | set(views))
        offset = np.abs(self.centres[seen] - middle).max(axis=1) / self.step
        weight = np.exp(-((offset / VIEW_PIX) ** 2)) + 1e-6
        weight /= weight.sum()
        values = np.full((len(seen), len(CLASSES)), UNSEEN_PROBABILITY / len(CLASSES))
        likely = np.full(len(seen), UNSEEN_PROBABILITY)
        found = [row for row, field in enumerate(seen) if field in views]
        values[found] = self.detections.probabilities[[views[seen[row]][0] for row in found]]
        likely[found] = [views[seen[row]][1] for row in found]
        probability = float(weight @ likely)
        against = 1 - probability
        if self.is_far_coarser:
            total = np.full(len(seen), UNSEEN_PROBABILITY)
            total[found] = np.minimum(values[found].sum(axis=1), MOST_SURE)
            against = float(weight @ (1 - np.maximum(total, likely)))
        certainty = max(sure for _, _, sure in views.values())
        nearest = seen[min(found, key=lambda row: offset[row])]
        box = self.detections.boxes[views[nearest][0]]
        evidence = log_odds(probability / (probability + against)) + certainty
        return Hypothesis(members, evidence, weight @ values, box, probability, certainty, len(seen), len(views))


_Found = dict[frozenset[int], dict[int, tuple[int, float, float]]]
"""set -> field of view -> its likeliest detection, how likely that is the set, logarithm of how surely it holds it"""


def log_odds(probability: float) -> float:
    """Give ln(p / (1 - p)), bounded."""
    p = min(max(probability, 1e-4), 1 - 1e-4)
    return min(max(math.log(p / (1 - p)), -CERTAIN), CERTAIN)
