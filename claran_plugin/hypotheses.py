"""Sets of components that may be one source, and what speaks for each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from claran_plugin.morphology import CLASSES

FAR_COARSER = 4
"""From a sky of so many times the image's beam on, only 'nothing' speaks against the sets of a detection: other sets of
the same islands say, too, that there is such a source, of which no finer field shows most. So margins and probabilities
mean something else there, and are calibrated apart."""


class Hypothesis(NamedTuple):
    """A set of components that may be one source.

    Attributes
    ----------
    members : frozenset of int
    evidence : float
        Log odds that they are one source; on far coarser skies, against there being none (`FAR_COARSER`).
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


@dataclass(frozen=True, eq=False)
class Hypotheses(Sequence[Hypothesis]):
    """Any number m of `Hypothesis`, in arrays, which take a tenth of the memory.

    It gives one of them by its number, and those of some numbers, or of a mask, as another `Hypotheses`.

    Attributes
    ----------
    member : int array
        Those of the first, ascending, then those of the second, ...
    n_members : (m,) int array
    evidence, probability, certainty : (m,) arrays
    probabilities : (m, 6) array
    box : (m, 4) array
        NaN where there is none.
    n_shown, n_found, scale : (m,) int arrays
    """

    member: NDArray
    n_members: NDArray
    evidence: NDArray
    probabilities: NDArray
    box: NDArray
    probability: NDArray
    certainty: NDArray
    n_shown: NDArray
    n_found: NDArray
    scale: NDArray

    @classmethod
    def of(cls, hypotheses: Iterable[Hypothesis]) -> 'Hypotheses':
        """Put some into arrays."""
        rows = list(hypotheses)
        columns = zip(*rows, strict=True) if rows else [()] * len(Hypothesis._fields)
        sets, evidence, probabilities, box, probability, certainty, *counts = columns
        nowhere = np.full(4, np.nan)
        return cls(
            np.array([member for members in sets for member in sorted(members)], np.int32),
            np.array([len(members) for members in sets], np.int32),
            np.array(evidence, float),
            np.array(probabilities, float).reshape(-1, len(CLASSES)),
            np.array([nowhere if one is None else one for one in box], float).reshape(-1, 4),
            np.array(probability, float),
            np.array(certainty, float),
            *(np.array(values, np.int32) for values in counts),
        )

    @classmethod
    def joined(cls, parts: Iterable['Hypotheses']) -> 'Hypotheses':
        """Put those of several one after the other."""
        listed = [*parts] or [cls.of([])]
        return cls(*(np.concatenate([getattr(part, field.name) for part in listed]) for field in fields(cls)))

    def __len__(self) -> int:
        return len(self.evidence)

    @overload
    def __getitem__(self, index: int) -> Hypothesis: ...

    @overload
    def __getitem__(self, index: slice | NDArray) -> 'Hypotheses': ...

    def __getitem__(self, index: int | slice | NDArray) -> 'Hypothesis | Hypotheses':
        if not isinstance(index, int | np.integer):
            return self._some(np.arange(len(self))[index])
        number = range(len(self))[index]
        last = int(self.n_members[: number + 1].sum())
        return self._one(number, self.member[last - self.n_members[number] : last].tolist())

    def __iter__(self) -> Iterator[Hypothesis]:
        first = 0
        for number, size in enumerate(self.n_members.tolist()):
            yield self._one(number, self.member[first : first + size].tolist())
            first += size

    def _one(self, number: int, members: list[int]) -> Hypothesis:
        box = self.box[number]
        return Hypothesis(
            frozenset(members),
            float(self.evidence[number]),
            self.probabilities[number],
            None if np.isnan(box[0]) else box,
            float(self.probability[number]),
            float(self.certainty[number]),
            int(self.n_shown[number]),
            int(self.n_found[number]),
            int(self.scale[number]),
        )

    def _some(self, numbers: NDArray) -> 'Hypotheses':
        size = self.n_members[numbers]
        start = np.cumsum(self.n_members) - self.n_members
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        others = {field.name: getattr(self, field.name)[numbers] for field in fields(self) if field.name != 'member'}
        return Hypotheses(member=self.member[np.repeat(start[numbers], size) + within], **others)

    @property
    def is_far_coarser(self) -> NDArray:
        """Which of them were found on far coarser skies, (m,) bool."""
        return self.scale >= FAR_COARSER

    def sets(self) -> list[frozenset[int]]:
        """Give the members of each."""
        last = np.cumsum(self.n_members)[:-1]
        return [frozenset(part.tolist()) for part in np.split(self.member, last)] if len(self) else []

    def of_rows(self, rows: NDArray) -> 'Hypotheses':
        """Give the same where component k is number `rows[k]`; `rows` ascends."""
        return replace(self, member=rows[self.member].astype(self.member.dtype))

    def with_evidence(self, evidence: NDArray) -> 'Hypotheses':
        """Give the same with other evidence (m,)."""
        return replace(self, evidence=evidence)
