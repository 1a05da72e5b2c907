"""Packed training subjects: wide cut-outs in one array and their sources in one JSON file."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import DATASETS
from mmengine.dataset import BaseDataset

from claran_plugin.detection.samplers import SeededDraws
from claran_plugin.morphology import CLASSES


@DATASETS.register_module()
class PackedSubjects(SeededDraws, BaseDataset):
    """Subjects as `claran_plugin.datasets.packed_subjects` has them.

    ``DIR/snr.npy`` holds (N, S, S) float16 cut-outs in units of the noise; ``DIR/subjects.json`` lists for each its
    origin, its fold, and its sources' boxes and classes; ``DIR/infrared.npy``, where it was packed, holds infrared
    images on the same pixels.

    Parameters
    ----------
    data_root : str
        The folder.
    origins : sequence of str, optional
        Use only subjects of these origins.
    folds, without_folds : sequences of int, optional
        Use only, or leave out, these folds of the subjects that have one; with a fold, subjects of others that show a
        part of it are left out.
    shares : mapping of str to float, optional
        Use only this share of the subjects of an origin, its first ones (for learning curves).
    tenths : bool, optional
        Use only every tenth of them (True), or all others (False), to train and to validate where there are no folds.
    """

    METAINFO = dict(classes=CLASSES)

    def __init__(
        self,
        data_root: str,
        *,
        origins: Sequence[str] | None = None,
        folds: Sequence[int] | None = None,
        without_folds: Sequence[int] = (),
        shares: Mapping[str, float] | None = None,
        tenths: bool | None = None,
        **kwargs: Any,
    ) -> None:
        self.origins, self.folds, self.without_folds = origins, folds, tuple(without_folds)
        self.shares = dict(shares or {})
        self.tenths = tenths
        self._wide: np.ndarray | None = None
        self._infrared: np.ndarray | None = None
        super().__init__(data_root=data_root, serialize_data=False, **kwargs)

    def load_data_list(self) -> list[dict[str, Any]]:
        """Read the list of subjects."""
        path = Path(self.data_root) / 'subjects.json'
        if not path.is_file():
            raise FileNotFoundError(
                f'{path}: no packed training set here; make one with: claran dataset pack -o {path.parent}'
            )
        listing = json.loads(path.read_text())
        if tuple(listing['classes']) != CLASSES:
            raise ValueError(f'{path}: has the classes {listing["classes"]}, expected {list(CLASSES)}')
        present = Counter(subject['origin'] for subject in listing['subjects'])
        if unknown := sorted(set(self.shares) - set(present)):
            raise ValueError(f'{path}: has no subjects of {unknown}, which `shares` names; it has {sorted(present)}')
        most = {origin: self.shares.get(origin, 1) * number for origin, number in present.items()}
        data_list: list[dict[str, Any]] = []
        met: Counter[str] = Counter()
        for index, subject in enumerate(listing['subjects']):
            met[subject['origin']] += 1
            if met[subject['origin']] > most[subject['origin']]:
                continue
            fold = subject.get('fold', -1)
            if self.origins is not None and subject['origin'] not in self.origins:
                continue
            if self.folds is not None and fold not in self.folds:
                continue
            if {fold, *subject.get('near', ())} & set(self.without_folds):
                continue
            data_list.append(dict(subject, img_id=index, index=index))
        if self.tenths is not None:
            data_list = [one for number, one in enumerate(data_list) if (number % 10 == 9) == self.tenths]
        if not data_list:
            raise ValueError(
                f'{path}: no subject is left of origins {list(self.origins or present)}, folds '
                f'{"all" if self.folds is None else list(self.folds)} without {list(self.without_folds)}; it has '
                f'{dict(present)}'
            )
        return data_list

    def prepare_data(self, idx: int) -> Any:
        """Give one subject to the pipeline; pixels come from the memory-mapped array."""
        if self._wide is None:
            folder = Path(self.data_root)
            self._wide = np.load(folder / 'snr.npy', mmap_mode='r')
            if (folder / 'infrared.npy').is_file():
                self._infrared = np.load(folder / 'infrared.npy', mmap_mode='r')
                if self._infrared.shape != self._wide.shape:
                    raise ValueError(
                        f'{folder}: infrared.npy has shape {self._infrared.shape}, snr.npy {self._wide.shape}; '
                        'pack the set again'
                    )
        info = self.get_data_info(idx)
        n = len(info['boxes'])
        results = dict(
            img_id=info['img_id'],
            img_path=f'{info["name"]}.png',  # as mmdet's browse_dataset.py calls its picture
            wide_snr=self._wide[info['index']],
            wide_infrared=None if self._infrared is None else self._infrared[info['index']],
            gt_bboxes=np.array(info['boxes'], np.float32).reshape(-1, 4),
            gt_bboxes_labels=np.array(info['labels'], np.int64),
            gt_ignore_flags=np.array(info.get('ignore', [False] * n), bool),
        )
        return self.pipeline(results)
