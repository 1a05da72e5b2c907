"""mmdet's data sets in COCO form, whose augmentation a resumed training continues exactly."""

from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS

from claran_plugin.detection.samplers import SeededDraws


@DATASETS.register_module()
class SeededCoco(SeededDraws, CocoDataset):
    """mmdet's `CocoDataset`, whose augmentation depends on the draw only; see `SeededDraws`."""
