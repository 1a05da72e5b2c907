"""Packed training subjects: wide cut-outs in one array and their sources in one JSON file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmdet.registry import DATA_SAMPLERS, DATASETS
from mmengine.dataset import BaseDataset
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from claran_plugin.morphology import CLASSES


@DATASETS.register_module()
class PackedSubjects(BaseDataset):
    """Subjects as `claran_plugin.training_data` packs them.

    ``DIR/snr.npy`` holds (N, S, S) float16 cut-outs in units of the noise; ``DIR/subjects.json`` lists for each its
    origin, its fold, and its sources' boxes and classes.

    Parameters
    ----------
    data_root : str
        The folder.
    origins : sequence of str, optional
        Use only subjects of these origins.
    folds, without_folds : sequences of int, optional
        Use only, or leave out, these folds of the subjects that have one.
    """

    METAINFO = dict(classes=CLASSES)

    def __init__(
        self,
        data_root: str,
        *,
        origins: Sequence[str] | None = None,
        folds: Sequence[int] | None = None,
        without_folds: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        self.origins, self.folds, self.without_folds = origins, folds, tuple(without_folds)
        self._wide: np.ndarray | None = None
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
        data_list = []
        for index, subject in enumerate(listing['subjects']):
            fold = subject.get('fold', -1)
            if self.origins is not None and subject['origin'] not in self.origins:
                continue
            if (self.folds is not None and fold not in self.folds) or fold in self.without_folds:
                continue
            data_list.append(dict(subject, img_id=index, index=index))
        return data_list

    def prepare_data(self, idx: int) -> Any:
        """Give one subject to the pipeline; pixels come from the memory-mapped array."""
        if self._wide is None:
            self._wide = np.load(Path(self.data_root) / 'snr.npy', mmap_mode='r')
        info = self.get_data_info(idx)
        n = len(info['boxes'])
        results = dict(
            img_id=info['img_id'],
            img_path=info['name'],
            wide_snr=self._wide[info['index']],
            gt_bboxes=np.array(info['boxes'], np.float32).reshape(-1, 4),
            gt_bboxes_labels=np.array(info['labels'], np.int64),
            gt_ignore_flags=np.array(info.get('ignore', [False] * n), bool),
        )
        return self.pipeline(results)


@DATA_SAMPLERS.register_module()
class MixtureSampler(Sampler):
    """Draw subjects for ever, with a given share from each origin.

    Within an origin, subjects of rare classes are drawn more often: a subject's weight is the mean over its sources of
    the class's frequency to the power `-balance`.

    Parameters
    ----------
    dataset : PackedSubjects
    weights : dict
        Share of each origin, for example ``dict(simulated=0.4, first=0.6)``.
    balance : float
        0 draws classes as they come, 1 draws them equally often.
    seed : int, optional
        Of the sequence; without, one that all processes share.
    """

    def __init__(
        self, dataset: PackedSubjects, weights: dict[str, float], balance: float = 0.5, seed: int | None = None
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        infos = [dataset.get_data_info(i) for i in range(len(dataset))]
        origins = np.array([info['origin'] for info in infos])
        missing = set(weights) - set(origins)
        if missing:
            raise ValueError(f'no subject of origin {sorted(missing)} among {sorted(set(origins))}')
        self.probabilities = np.zeros(len(infos))
        for origin, share in weights.items():
            members = np.flatnonzero(origins == origin)
            frequency = np.bincount(np.concatenate([infos[i]['labels'] for i in members]).astype(int), minlength=6)
            rarity = np.maximum(frequency, 1.0) ** -balance
            weight = np.array(
                [rarity[infos[i]['labels']].mean() if infos[i]['labels'] else rarity.min() for i in members]
            )
            self.probabilities[members] = share * weight / weight.sum()
        self.probabilities /= self.probabilities.sum()
        self.size = len(infos)

    def __iter__(self) -> Iterator[int]:
        """Give numbers of subjects without end."""
        rng = np.random.default_rng(self.seed)
        while True:
            block = rng.choice(self.size, 1024 * self.world_size, p=self.probabilities)
            yield from block[self.rank :: self.world_size].tolist()

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the sequence has no epochs."""
