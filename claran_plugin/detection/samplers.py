"""Samplers without end, whose sequence and augmentation a resumed training continues exactly."""

import random
from abc import abstractmethod
from collections.abc import Iterator, Sized
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import torch
from mmdet.registry import DATA_SAMPLERS
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler


class Draw(int):
    """The number of a subject in its dataset, with `seed`, a tuple of ints that is another one for every draw."""

    seed: tuple[int, ...]

    def __new__(cls, index: int, seed: tuple[int, ...] = ()) -> 'Draw':
        """Number a draw; the seed has a default because unpickling, in a worker process, sets it afterwards."""
        draw = super().__new__(cls, index)
        draw.seed = seed
        return draw


@contextmanager
def seeded(*seed: int) -> Iterator[None]:
    """Seed the generators that transforms use (random, numpy, torch on the CPU), and put them back afterwards."""
    states = random.getstate(), np.random.get_state()
    words = [int(word) for word in np.random.SeedSequence(seed).generate_state(3)]
    with torch.random.fork_rng(devices=[]):
        random.seed(words[0])
        np.random.seed(words[1])
        torch.default_generator.manual_seed(words[2])
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class SeededDraws:
    """Mixed into a dataset, makes its augmentation depend on the draw only.

    Otherwise it depends on all that the same worker process has drawn before, which a resumed training cannot repeat.
    """

    def __getitem__(self, idx: int) -> Any:
        """Give one subject; random numbers are drawn from its own seed where it has one."""
        if not isinstance(idx, Draw):
            return super().__getitem__(idx)
        with seeded(*idx.seed):
            return super().__getitem__(int(idx))


class EndlessSampler(Sampler):
    """Give the draws of one endless sequence, in turn to each process.

    Parameters
    ----------
    dataset : Sized
    seed : int, optional
        Of the sequence; without, one that all processes share.
    """

    def __init__(self, dataset: Sized, *, seed: int | None = None) -> None:
        self.rank, self.world_size = get_dist_info()
        self.seed = sync_random_seed() if seed is None else seed
        self.size = len(dataset)
        self.skipped = 0

    @abstractmethod
    def sequence(self) -> Iterator[int]:
        """Give numbers of subjects without end, the same in all processes and each time."""

    def skip(self, num_samples: int) -> None:
        """Begin after this process's first `num_samples` draws, as mmengine asks for when it resumes.

        Older versions of mmengine load that many subjects instead and throw them away.
        """
        self.skipped = num_samples

    def __iter__(self) -> Iterator[Draw]:
        """Give this process's draws."""
        first = self.rank + self.skipped * self.world_size
        for position, index in islice(enumerate(self.sequence()), first, None, self.world_size):
            yield Draw(index, (self.seed, position))

    def __len__(self) -> int:
        return self.size

    def set_epoch(self, epoch: int) -> None:
        """Do nothing: the sequence has no epochs."""


@DATA_SAMPLERS.register_module()
class ShuffledSampler(EndlessSampler):
    """Draw every subject once, in random order, and then again in another, for ever."""

    def sequence(self) -> Iterator[int]:
        """Give permutations."""
        rng = np.random.default_rng(self.seed)
        while True:
            yield from rng.permutation(self.size).tolist()


@DATA_SAMPLERS.register_module()
class MixtureSampler(EndlessSampler):
    """Draw subjects for ever, with a given share from each origin.

    Within an origin, subjects of rare classes are drawn more often: a subject's weight is the mean over its sources of
    the class's frequency to the power `-balance`. Sources that are flagged to be ignored have no part in this.

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

    def __init__(self, dataset: Any, weights: dict[str, float], balance: float = 0.5, seed: int | None = None) -> None:
        super().__init__(dataset, seed=seed)
        infos = [dataset.get_data_info(i) for i in range(self.size)]
        origins = np.array([info['origin'] for info in infos])
        missing = {origin for origin in weights if weights[origin] > 0} - set(origins.tolist())
        if missing:
            left_out = list(getattr(dataset, 'without_folds', ()))
            beside = f' outside of the folds {left_out}, which are left out' if left_out else ''
            raise ValueError(
                f'no subject of origin {sorted(missing)} among {sorted(set(origins.tolist()))}{beside}: pack some, or '
                'give the mixture that there is (sampler.weights; claran_compact_simulated is for simulated ones alone)'
            )
        weights = {origin: share for origin, share in weights.items() if share > 0}
        labels = [_labels(info) for info in infos]
        self.probabilities = np.zeros(self.size)
        for origin, share in weights.items():
            members = np.flatnonzero(origins == origin)
            frequency = np.bincount(np.concatenate([labels[i] for i in members]), minlength=6)
            rarity = np.maximum(frequency, 1.0) ** -balance
            weight = np.array([rarity[labels[i]].mean() if labels[i].size else rarity.min() for i in members])
            self.probabilities[members] = share * weight / weight.sum()
        self.probabilities /= self.probabilities.sum()

    def sequence(self) -> Iterator[int]:
        """Give numbers of subjects."""
        rng = np.random.default_rng(self.seed)
        while True:
            yield from rng.choice(self.size, 1024, p=self.probabilities).tolist()


def _labels(info: dict[str, Any]) -> np.ndarray:
    """Give the class numbers of a subject's sources that are not ignored, (n,) int."""
    ignored = info.get('ignore', [False] * len(info['labels']))
    return np.array([label for label, flag in zip(info['labels'], ignored, strict=True) if not flag], int)
