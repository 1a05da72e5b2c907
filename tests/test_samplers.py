"""Drawing subjects in given shares, repeatably, in several processes."""

from collections import Counter

import numpy as np
import pytest
from packed_subjects import detection, packed

from claran_plugin.datasets.packed_subjects import WIDE, PackedSubject, pack

__all__ = ['detection', 'packed']  # fixtures


@pytest.fixture
def sampled(detection, packed):
    return detection.dataset.PackedSubjects(str(packed[0]), pipeline=[]), detection.samplers


def draw(sampler, number):
    return [index for index, _ in zip(iter(sampler), range(number), strict=False)]


def test_sampler_draws_the_given_shares(sampled):
    dataset, module = sampled
    sampler = module.MixtureSampler(dataset, dict(simulated=0.3, first=0.9), seed=1)
    origins = Counter(dataset.get_data_info(i)['origin'] for i in draw(sampler, 8000))
    assert origins['first'] / 8000 == pytest.approx(0.75, abs=0.02)
    only = module.MixtureSampler(dataset, dict(first=1.0), seed=1)
    assert {dataset.get_data_info(i)['origin'] for i in draw(only, 500)} == {'first'}


def test_sampler_is_deterministic(sampled):
    dataset, module = sampled
    runs = [draw(module.MixtureSampler(dataset, dict(simulated=1.0), seed=seed), 3000) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


def test_processes_share_one_sequence(sampled, monkeypatch):
    dataset, module = sampled
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(draw(module.MixtureSampler(dataset, dict(simulated=1.0), seed=3), 1500))
    monkeypatch.setattr(module, 'get_dist_info', lambda: (0, 1))
    whole = draw(module.MixtureSampler(dataset, dict(simulated=1.0), seed=3), 3000)
    assert np.column_stack(parts).ravel().tolist() == whole


def test_sampler_prefers_rare_classes(tmp_path, detection):
    snr = np.zeros((WIDE, WIDE))
    box = np.array([[90.0, 90, 110, 110]])
    subjects = [PackedSubject(str(k), 'x', snr, box, [0 if k < 27 else 5], [False]) for k in range(30)]
    pack(subjects, tmp_path)
    dataset = detection.dataset.PackedSubjects(str(tmp_path), pipeline=[])
    for balance, expected in ((0.0, 3 / 30), (0.5, 3**0.5 / (3**0.5 + 27**0.5)), (1.0, 0.5)):
        sampler = detection.samplers.MixtureSampler(dataset, dict(x=1.0), balance=balance, seed=0)
        share = np.mean(np.array(draw(sampler, 6000)) >= 27)
        assert share == pytest.approx(expected, abs=0.025), balance


def test_sampler_names_what_is_missing(sampled):
    dataset, module = sampled
    with pytest.raises(ValueError, match=r"no subject of origin \['emu'\] among"):
        module.MixtureSampler(dataset, dict(emu=1.0), seed=0)


def test_sampler_tells_that_folds_are_left_out(tmp_path, detection):
    snr, box = np.zeros((WIDE, WIDE)), np.array([[90.0, 90, 110, 110]])
    pack([PackedSubject(name, name, snr, box, [0], [False], fold) for name, fold in (('x', 0), ('y', -1))], tmp_path)
    dataset = detection.dataset.PackedSubjects(str(tmp_path), without_folds=[0], pipeline=[])
    with pytest.raises(ValueError, match=r"'x'\] among \['y'\] outside of the folds \[0\], which are left out"):
        detection.samplers.MixtureSampler(dataset, dict(x=0.5, y=0.5), seed=0)
