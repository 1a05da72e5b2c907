"""Simulated subjects of coarser skies: what their labels say of the models that were drawn."""

import json
from itertools import islice

import numpy as np
import pytest

from claran_plugin.cli import main
from claran_plugin.datasets import coarse_subjects
from claran_plugin.datasets.coarse_subjects import coarse_simulated, coarse_subject
from claran_plugin.datasets.packed_subjects import WIDE
from claran_plugin.morphology import CLASSES, component_labels
from claran_plugin.subjects import PIXELS_PER_BEAM


def widest(subject):
    sides = subject.boxes[:, 2] - subject.boxes[:, 0]
    return sides.max(initial=0) / PIXELS_PER_BEAM


@pytest.fixture
def clear(monkeypatch):
    """No strangers, and bright large sources of 0.7 to 0.75 fields."""
    monkeypatch.setattr(coarse_subjects, 'PER_BEAM_SQUARED', (1e-9, 1.1e-9))
    monkeypatch.setattr(coarse_subjects, 'LARGE_SHARE', 1.0)
    monkeypatch.setattr(coarse_subjects, 'TOO_LARGE', 0.0)
    monkeypatch.setattr(coarse_subjects, 'SIDE', (0.7, 0.75))
    monkeypatch.setattr(coarse_subjects, 'LN_PEAK', (6.0, 0.1))


@pytest.mark.parametrize('level', [1, 2, 3])
def test_a_bright_large_source_is_one_box_of_its_size_at_each_beam(clear, level):
    sides = []
    for seed in range(4):
        subject = coarse_subject(np.random.default_rng(seed), level)
        islands, _ = component_labels(subject.snr, PIXELS_PER_BEAM)
        assert subject.snr.shape == (WIDE, WIDE)
        assert len(subject.boxes) == 1, 'artefacts are no sources'
        sides.append(widest(subject))
        x0, y0, x1, y1 = subject.boxes[0]
        ys, xs = np.nonzero(islands == np.bincount(islands[islands > 0]).argmax())
        assert x0 - 1 <= xs.mean() <= x1 + 1
        assert y0 - 1 <= ys.mean() <= y1 + 1
    # 0.72 fields are 24 coarser beams; ClaRAN's boxes of several components are a third wider
    assert 15 < np.median(sides) < 40


def test_without_a_large_source_the_boxes_are_small(monkeypatch):
    monkeypatch.setattr(coarse_subjects, 'LARGE_SHARE', 0.0)
    found = [coarse_subject(np.random.default_rng(seed), 2) for seed in range(6)]
    assert sum(len(s.boxes) for s in found) > 30
    assert np.median([widest(s) for s in found]) < 14
    assert all(0 <= label < len(CLASSES) for s in found for label in s.labels)


def test_subjects_depend_on_the_seed_and_their_number_only():
    one, *_ = coarse_simulated(1, 7)
    again = next(islice(coarse_simulated(3, 7), 1))
    other = next(coarse_simulated(1, 8))
    np.testing.assert_array_equal(one.snr, again.snr)
    np.testing.assert_array_equal(one.boxes, again.boxes)
    assert not np.array_equal(one.snr, other.snr)
    (with_infrared,) = coarse_simulated(1, 7, infrared_rng=np.random.default_rng(0))
    np.testing.assert_array_equal(with_infrared.snr, one.snr)
    assert with_infrared.infrared.shape == (WIDE, WIDE)


def test_packing_them(tmp_path, capfd):
    assert main(['dataset', 'pack', '--simulate', '1', '--simulate-coarse', '2', '-o', str(tmp_path / 'p')]) == 0
    listing = json.loads((tmp_path / 'p' / 'subjects.json').read_text())
    assert [subject['origin'] for subject in listing['subjects']] == ['simulated', 'coarse', 'coarse']
    assert np.load(tmp_path / 'p' / 'snr.npy').shape == (3, WIDE, WIDE)
    assert 'coarse' in capfd.readouterr().out
