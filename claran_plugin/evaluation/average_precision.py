"""Average precision as the paper defines it (Wu et al. 2019, Eq. 12-14)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from claran_plugin.boxes import box_iou

MIN_IOU = 0.5
"""Intersection over union above which a detection is a true source's (Section 5.2)."""


class Evaluated(NamedTuple):
    """What the detections of one subject are compared with.

    Boxes are (n, 4) xyxy, classes (n,) int, probabilities (n,).
    """

    boxes: NDArray
    classes: NDArray
    probabilities: NDArray
    true_boxes: NDArray
    true_classes: NDArray

    def select(self, chosen: NDArray) -> 'Evaluated':
        """Keep some of the detections (a mask or indices) and the whole truth."""
        return self._replace(
            boxes=self.boxes[chosen], classes=self.classes[chosen], probabilities=self.probabilities[chosen]
        )


class Ranking(NamedTuple):
    """One class's detections, the most probable first.

    Attributes
    ----------
    probabilities : (n,) array
    hits : (n,) bool array
        True positives.
    n_true : int
        True sources of the class.
    """

    probabilities: NDArray
    hits: NDArray
    n_true: int

    @property
    def precision(self) -> NDArray:
        """Reliability of the detections up to each (Eq. 13)."""
        return np.cumsum(self.hits) / np.arange(1, len(self.hits) + 1)

    @property
    def recall(self) -> NDArray:
        """Completeness that they reach; NaN where the class has no true source."""
        return np.cumsum(self.hits) / (self.n_true or np.nan)


class AveragePrecision(NamedTuple):
    """Result for one class: AP by Eq. 12, the area under the precision envelope, and counts."""

    ap: float
    envelope: float
    n_true: int
    n_detected: int


def matched_sources(subject: Evaluated, *, min_iou: float = MIN_IOU) -> NDArray:
    """Find the true source that each detection of a subject stands for.

    A detection is a true positive where its IoU with a true source of its class exceeds `min_iou` (Section 5.2). The
    more probable one chooses first, and takes the source it overlaps most; a second detection of a source is false.

    Returns
    -------
    (n,) int array, index of the true source, -1 for a false positive
    """
    found = np.full(len(subject.boxes), -1)
    for class_number in np.unique(subject.classes):
        chosen = np.flatnonzero(subject.classes == class_number)
        chosen = chosen[np.argsort(-subject.probabilities[chosen], kind='stable')]
        truth = np.flatnonzero(subject.true_classes == class_number)
        free = np.ones(len(truth), bool)
        for detection, row in zip(chosen, box_iou(subject.boxes[chosen], subject.true_boxes[truth]), strict=True):
            best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
            if best >= 0 and row[best] > min_iou:
                free[best] = False
                found[detection] = truth[best]
    return found


def rank(subjects: Sequence[Evaluated], class_number: int, *, min_iou: float = MIN_IOU) -> Ranking:
    """Rank one class's detections of all subjects by probability."""
    probabilities: list[NDArray] = [np.empty(0)]
    hits: list[NDArray] = [np.empty(0, bool)]
    for subject in subjects:
        one = subject.select(subject.classes == class_number)
        probabilities.append(one.probabilities)
        hits.append(matched_sources(one, min_iou=min_iou) >= 0)
    n_true = sum(int(np.sum(subject.true_classes == class_number)) for subject in subjects)
    order = np.argsort(-np.concatenate(probabilities), kind='stable')
    return Ranking(np.concatenate(probabilities)[order], np.concatenate(hits)[order], n_true)


def average_precision(
    subjects: Sequence[Evaluated], class_number: int, *, min_iou: float = MIN_IOU
) -> AveragePrecision:
    """Average the precision of one class's ranked detections over its true sources (Eq. 12).

    Parameters
    ----------
    subjects : sequence of Evaluated
    class_number : int
        Index of the class.
    min_iou : float
        Needed overlap.

    Returns
    -------
    AveragePrecision; `ap` is NaN where the class has no true source
    """
    ranking = rank(subjects, class_number, min_iou=min_iou)
    n_true, n_detected = ranking.n_true, len(ranking.hits)
    if not n_true:
        return AveragePrecision(np.nan, np.nan, 0, n_detected)
    precision = ranking.precision[ranking.hits]
    envelope = np.maximum.accumulate(precision[::-1])[::-1]  # precision is greatest at hits
    return AveragePrecision(float(precision.sum() / n_true), float(envelope.sum() / n_true), n_true, n_detected)


def mean_average_precision(results: Sequence[AveragePrecision], *, envelope: bool = False) -> float:
    """Average over the classes that have true sources (Eq. 14), by Eq. 12 or by the envelope."""
    values = [r.envelope if envelope else r.ap for r in results if r.n_true]
    return float(np.mean(values)) if values else float('nan')


def by_components(subjects: Sequence[Evaluated], components: Sequence[int]) -> list[Evaluated]:
    """Merge classes of the same number of components, as the paper's Table 6 does.

    Parameters
    ----------
    subjects : sequence of Evaluated
    components : sequence of int
        Number of components of each class; the merged classes are 0, 1, 2 for 1C, 2C, 3C.
    """
    number = np.asarray(components) - 1
    return [s._replace(classes=number[s.classes], true_classes=number[s.true_classes]) for s in subjects]
