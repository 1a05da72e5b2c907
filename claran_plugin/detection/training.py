"""What detectors are trained and tested with, in OpenMMLab's registries.

It is imported where a config asks for it, but not to run a trained detector: mmdet's datasets take a second to import.
"""

from claran_plugin.detection import (
    bundled_weights,
    dataset,
    metric,
    mixed_precision,
    rgz_subjects,
    runner,
    samplers,
    seeded_coco,
    transforms,
)

__all__ = [
    'bundled_weights',
    'dataset',
    'metric',
    'mixed_precision',
    'rgz_subjects',
    'runner',
    'samplers',
    'seeded_coco',
    'transforms',
]
