"""Subjects of a Radio Galaxy Zoo data set: FITS files, fused into pictures while training runs."""

import json
import os.path
from collections import Counter
from collections.abc import Mapping
from typing import Any

from mmcv.transforms import BaseTransform
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS, TRANSFORMS
from mmengine.logging import print_log

from claran_plugin.datasets.fused_cache import fused_picture
from claran_plugin.datasets.radio_fields import fusion_keywords
from claran_plugin.detection.samplers import SeededDraws
from claran_plugin.fusion import FUSIONS, NEEDS_INFRARED
from claran_plugin.morphology import CLASSES

COLOURS = ((31, 119, 180), (44, 160, 44), (214, 39, 40), (148, 103, 189), (224, 123, 0), (10, 163, 163))


@DATASETS.register_module()
class RGZSubjects(SeededDraws, CocoDataset):
    """Subjects as ``claran dataset rgz`` writes them; see docs/datasets.md for the files.

    Parameters
    ----------
    fusion : str
        Key of `claran_plugin.fusion.FUSIONS`. With D2, D3 and D4, subjects without an infrared image are left out, and
        the log says how many.
    fusion_options : dict, optional
        Keyword arguments of the fusion's function, for example ``dict(sigma=4.0)``.
    cache : str, optional
        Folder in which fused pictures are kept, relative to `data_root` unless absolute.
    **kwargs
        Of mmdet's `CocoDataset`.
    """

    METAINFO = dict(classes=CLASSES, palette=list(COLOURS))  # of a tuple mmdet makes one colour for all

    def __init__(
        self,
        *args: Any,
        fusion: str = 'D1',
        fusion_options: Mapping[str, Any] | None = None,
        cache: str | None = None,
        data_root: str = '',
        data_prefix: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        if fusion not in FUSIONS:
            raise ValueError(f'fusion {fusion!r}: unknown; choose one of {", ".join(FUSIONS)}')
        self.fusion, self.fusion_options = fusion, dict(fusion_options or {})
        self.cache = None if cache is None else os.path.join(data_root or '', cache)
        super().__init__(*args, data_root=data_root, data_prefix=dict(data_prefix or dict(img='')), **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list of subjects."""
        if not os.path.isfile(self.ann_file):
            folder = os.path.dirname(self.ann_file)
            raise FileNotFoundError(
                f'{self.ann_file}: no such data set; make one with: '
                f'claran dataset rgz CATALOGUE --images FOLDER -o {folder}'
            )
        self._numbers = _class_numbers(self.ann_file)
        subjects = super().load_data_list()
        if not subjects:
            raise ValueError(
                f'{self.ann_file}: has no subjects, as none of this half of the split had an image; '
                'split those that have one with: claran dataset rgz --split random'
            )
        if self.fusion not in NEEDS_INFRARED:
            return subjects
        usable = [subject for subject in subjects if subject['infrared'] is not None]
        if not usable:
            raise ValueError(
                f'{self.ann_file}: no subject has an infrared image, which fusion {self.fusion} needs; '
                'make the data set with --infrared, or use F, D1 or S'
            )
        if len(usable) < len(subjects):
            print_log(
                f'{self.ann_file}: {len(subjects) - len(usable)} of {len(subjects)} subjects have no infrared image, '
                f'which fusion {self.fusion} needs, and are left out',
                logger='current',
            )
        return usable

    def parse_data_info(self, raw_data_info: dict[str, Any]) -> dict[str, Any]:
        """Add to mmdet's what `LoadSubject` needs."""
        raw = raw_data_info['raw_img_info']
        self.cat2label = self._numbers  # mmdet's own follows the order in the file
        infrared = raw.get('infrared')
        means = self.coco.dataset.get('info', {}).get('means', {})
        return dict(
            super().parse_data_info(raw_data_info),
            fusion=self.fusion,
            fusion_keywords=fusion_keywords(self.fusion, means, self.fusion_options),
            means=means,
            infrared=None if infrared is None else os.path.join(self.data_prefix['img'], infrared),
            centre=(raw['ra'], raw['dec']),
            cache=self.cache,
            first_id=raw['first_id'],
        )


def _class_numbers(path: str) -> dict[int, int]:
    """Check a COCO file; give the number of each category's class."""
    with open(path, encoding='utf-8') as opened:
        listing = json.load(opened)
    names = {category['id']: category['name'] for category in listing.get('categories', [])}
    if sorted(names.values()) != sorted(CLASSES):
        raise ValueError(f'{path}: has the categories {sorted(names.values())}, expected {list(CLASSES)}, in any order')
    images = listing.get('images', [])
    repeated = [number for number, n in Counter(image['id'] for image in images).items() if n > 1]
    if repeated:
        raise ValueError(f'{path}: several images have the id {repeated[0]}; number them apart')
    for image in images:
        lacking = [key for key in ('ra', 'dec', 'first_id') if key not in image]
        if lacking:
            raise ValueError(f'{path}: image {image["id"]} has no {", ".join(lacking)}, see docs/datasets.md')
    return {number: CLASSES.index(name) for number, name in names.items()}


@TRANSFORMS.register_module()
class LoadSubject(BaseTransform):
    """Read a subject's FITS files and fuse them into the picture ``img``, (132, 132, 3) uint8, red, green, blue.

    Row 0 is the southernmost, as in the files. What to do stands in the subject's entry, see `RGZSubjects`: the keys
    ``img_path``, ``infrared``, ``centre`` (RA, Dec in degrees), ``fusion``, ``fusion_keywords`` and ``cache``. With
    ``first_id``, ``img_path`` becomes the name of a picture, as mmdet's tools write one under it.
    """

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read and fuse one subject."""
        picture = fused_picture(
            results['img_path'],
            results['centre'],
            results['fusion'],
            infrared=results.get('infrared'),
            keywords=results.get('fusion_keywords'),
            folder=results.get('cache'),
        )
        results['img'] = picture
        results['img_shape'] = results['ori_shape'] = picture.shape[:2]
        if 'first_id' in results:
            results['img_path'] = f'{results["first_id"]}.png'  # as mmdet's browse_dataset.py calls its picture
        return results
