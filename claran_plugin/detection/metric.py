"""The paper's mean average precision as an mmengine metric."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from claran_plugin.boxes import box_iou
from claran_plugin.errors import InputError
from claran_plugin.evaluation.average_precision import (
    MIN_IOU,
    Evaluated,
    average_precision,
    by_components,
    mean_average_precision,
)
from claran_plugin.morphology import CLASSES, components_of

TRUTH = 'claran_truth'
"""What the true sources are called in predictions that are written for mmdet's ``eval_metric.py``."""
MOST_IGNORED = 0.5
"""Share of a detection's area, see `MorphologyAP`."""


@METRICS.register_module()
class MorphologyAP(BaseMetric):
    """Average precision of the six classes (Eq. 12-14) and of the three component counts (Table 6).

    A detection that is no true source counts for nothing where more than half of it is an ignored one, of which nobody
    knows what it is; as in training.

    Parameters
    ----------
    outfile_prefix : str, optional
        Write the detections to ``PREFIX.bbox.json`` in the form of COCO's results, as mmdet's `CocoMetric` does: a list
        of image_id, category_id (1 ... 6 in the order of `CLASSES`), bbox (x, y, width, height in pixels of the field
        of view, whose corners are (0, 0) and (132, 132)) and score.
    **kwargs
        Of mmengine's `BaseMetric`.
    """

    default_prefix = 'claran'

    def __init__(self, outfile_prefix: str | None = None, **kwargs: Any) -> None:
        self.outfile_prefix = outfile_prefix
        super().__init__(**kwargs)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the detections and the truth of a batch.

        Raises
        ------
        InputError
            Where predictions that were written come without the truth.
        """
        for sample in data_samples:
            found = sample['pred_instances']
            if 'gt_instances' in sample:
                # mmdet's tools/test.py leaves these out of what it writes with --out, but not others' entries
                sample[TRUTH] = _truth(sample)
            elif TRUTH not in sample:
                raise InputError("predictions without the truth: write them anew with the test's option --out")
            boxes = found['bboxes'].cpu().numpy().astype(float)
            true = dict(sample[TRUTH])
            counts = _counts(boxes, true['true_boxes'], true.pop('ignored_boxes'))
            evaluated = Evaluated(
                boxes[counts],
                found['labels'].cpu().numpy()[counts],
                found['scores'].cpu().numpy().astype(float)[counts],
                **true,
            )
            self.results.append((sample.get('img_id'), evaluated))

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Give both means and each class's AP by Eq. 12 and under the envelope (VOC), and its number of sources."""
        numbers = [number for number, _ in results]
        results = [Evaluated(*result) for _, result in results]  # mmengine turns named tuples into plain ones
        if self.outfile_prefix is not None:
            path = Path(f'{self.outfile_prefix}.bbox.json')
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(coco_results(numbers, results)))
        six = [average_precision(results, k) for k in range(len(CLASSES))]
        merged = by_components(results, [components_of(name) for name in CLASSES])
        three = [average_precision(merged, k) for k in range(3)]
        values = {}
        for name, merged_or_not in (('mAP6', six), ('mAP3', three)):
            values[name] = mean_average_precision(merged_or_not)
            values[f'{name}_envelope'] = mean_average_precision(merged_or_not, envelope=True)
        for name, result in zip(CLASSES, six, strict=True):
            values[f'AP_{name}'] = result.ap
            values[f'AP_{name}_envelope'] = result.envelope
            values[f'n_{name}'] = result.n_true
        return values


def _truth(sample: dict) -> dict[str, np.ndarray]:
    """Give a subject's true sources and ignored ones, with boxes in pixels of the field of view."""
    scale = np.tile(np.asarray(sample.get('scale_factor', (1.0, 1.0)), float), 2)

    def boxes_of(instances: Any) -> np.ndarray:
        boxes = instances['bboxes']
        return np.asarray(boxes.cpu() if hasattr(boxes, 'cpu') else boxes).reshape(-1, 4) / scale

    ignored = sample.get('ignored_instances')
    return dict(
        true_boxes=boxes_of(sample['gt_instances']),
        true_classes=sample['gt_instances']['labels'].cpu().numpy(),
        ignored_boxes=boxes_of(ignored) if ignored is not None and 'bboxes' in ignored else np.empty((0, 4)),
    )


def _counts(boxes: np.ndarray, true: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Tell which detections (n, 4) count: those of a true source, and those that are not mostly an ignored one."""
    sides = np.minimum(boxes[:, None, 2:], ignored[:, 2:]) - np.maximum(boxes[:, None, :2], ignored[:, :2])
    inside = np.prod(np.maximum(sides, 0), axis=-1).max(axis=1, initial=0)
    area = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1)
    return (inside <= MOST_IGNORED * area) | (box_iou(boxes, true).max(axis=1, initial=0) > MIN_IOU)


def coco_results(image_ids: Sequence[int], subjects: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """Turn detections into the form of COCO's results; classes count from 1."""
    listing = []
    for image_id, subject in zip(image_ids, subjects, strict=True):
        corners_and_sides = np.column_stack([subject.boxes[:, :2], subject.boxes[:, 2:] - subject.boxes[:, :2]])
        for box, kind, score in zip(corners_and_sides, subject.classes, subject.probabilities, strict=True):
            listing.append(
                dict(image_id=image_id, category_id=int(kind) + 1, bbox=box.round(3).tolist(), score=float(score))
            )
    return listing
