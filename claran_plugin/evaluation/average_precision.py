"""Average precision as the paper defines it (Wu et al. 2019, Eq. 12-14)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Evaluated(NamedTuple):
    """What the detections of one subject are compared with.

    Boxes are (n, 4) xyxy, classes (n,) int, probabilities (n,).
    """

    boxes: NDArray
    classes: NDArray
    probabilities: NDArray
    true_boxes: NDArray
    true_classes: NDArray


class AveragePrecision(NamedTuple):
    """Result for one class: AP by Eq. 12, the area under the precision envelope, and counts."""

    ap: float
    envelope: float
    n_true: int
    n_detected: int


def box_iou(a: NDArray, b: NDArray) -> NDArray:
    """Give intersection over union of boxes (n, 4) and (m, 4), xyxy, as (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    area_a, area_b = (np.prod(x[:, 2:] - x[:, :2], axis=1) for x in (a, b))
    union = area_a[:, None] + area_b[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def average_precision(subjects: Sequence[Evaluated], class_number: int, *, min_iou: float = 0.5) -> AveragePrecision:
    """Rank one class's detections of all subjects by probability and average the precision over the true sources.

    A detection is a true positive where its IoU with a true source of its class exceeds `min_iou`; a second
    detection of the same source is a false one.

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
    probabilities, hits, n_true = [], [], 0
    for subject in subjects:
        truth = subject.true_boxes[subject.true_classes == class_number]
        chosen = subject.classes == class_number
        order = np.argsort(-subject.probabilities[chosen], kind='stable')
        iou = box_iou(subject.boxes[chosen][order], truth)
        free = np.ones(len(truth), bool)
        n_true += len(truth)
        for row in iou:
            best = int(np.argmax(np.where(free, row, -1))) if free.any() else -1
            hit = best >= 0 and row[best] > min_iou
            if hit:
                free[best] = False
            hits.append(hit)
        probabilities.append(subject.probabilities[chosen][order])
    ranked = np.array(hits, bool)[np.argsort(-np.concatenate([*probabilities, np.empty(0)]), kind='stable')]
    if not n_true:
        return AveragePrecision(np.nan, np.nan, 0, len(ranked))
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return AveragePrecision(
        float(np.sum(precision[ranked]) / n_true), float(np.sum(envelope[ranked]) / n_true), n_true, len(ranked)
    )


def mean_average_precision(results: Sequence[AveragePrecision]) -> float:
    """Average over the classes that have true sources (Eq. 14)."""
    values = [r.ap for r in results if r.n_true]
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
