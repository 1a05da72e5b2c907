"""The paper's mean average precision as an mmengine metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmdet.registry import METRICS
from mmengine.evaluator import BaseMetric

from claran_plugin.evaluation.average_precision import (
    Evaluated,
    average_precision,
    by_components,
    mean_average_precision,
)
from claran_plugin.morphology import CLASSES, components_of


@METRICS.register_module()
class MorphologyAP(BaseMetric):
    """Average precision of the six classes (Eq. 12-14) and of the three component counts (Table 6)."""

    default_prefix = 'claran'

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the detections and the truth of a batch."""
        for sample in data_samples:
            found, true = sample['pred_instances'], sample['gt_instances']
            scale = np.tile(np.asarray(sample.get('scale_factor', (1.0, 1.0)), float), 2)
            self.results.append(
                Evaluated(
                    found['bboxes'].cpu().numpy().astype(float),
                    found['labels'].cpu().numpy(),
                    found['scores'].cpu().numpy().astype(float),
                    np.asarray(true['bboxes'].cpu() if hasattr(true['bboxes'], 'cpu') else true['bboxes']) / scale,
                    true['labels'].cpu().numpy(),
                )
            )

    def compute_metrics(self, results: list) -> dict[str, float]:
        """Give AP and number of true sources of each class, and both means."""
        results = [Evaluated(*result) for result in results]  # mmengine turns named tuples into plain ones
        six = [average_precision(results, k) for k in range(len(CLASSES))]
        merged = by_components(results, [components_of(name) for name in CLASSES])
        three = [average_precision(merged, k) for k in range(3)]
        values = {'mAP6': mean_average_precision(six), 'mAP3': mean_average_precision(three)}
        for name, result in zip(CLASSES, six, strict=True):
            values[f'AP_{name}'] = result.ap
            values[f'n_{name}'] = result.n_true
        return values
