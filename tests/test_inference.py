"""A detector that looks at pictures: in batches, in threads, in any precision."""

from pathlib import Path

import numpy as np
import pytest
import torch
from untrained_detector import CONFIG, detector, inference, one_line, pictures, state, weights

from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS
from claran_plugin.models import DEFAULT, DEFAULT_INFRARED, find_model
from claran_plugin.simulation import simulate_subject
from claran_plugin.synthetic_infrared import draw_infrared

__all__ = ['detector', 'inference', 'state', 'weights']  # fixtures
pytestmark = pytest.mark.usefixtures('require_detector')


# ---- looking


def test_shapes_and_probabilities(detector):
    results = detector(pictures(3))
    assert len(results) == 3
    for found in results:
        proposals = len(found.scores)
        assert 0 < proposals <= 30
        assert found.bboxes.shape == (proposals, 6, 4)
        assert found.scores.shape == (proposals, 6)
        assert found.bboxes.dtype == found.scores.dtype == np.float32
        assert (found.scores >= 0).all()
        assert (found.scores.sum(axis=1) <= 1 + 1e-6).all()
        assert (found.bboxes[..., 2:] >= found.bboxes[..., :2]).all()
        assert found.bboxes.min() >= -0.5 - 1e-3
        assert found.bboxes.max() <= 131.5 + 1e-3


def test_two_detectors_see_the_same(detector, inference, weights):
    again = inference.Detector(CONFIG, weights, 'cpu', 'full')
    for a, b in zip(detector(pictures(2)), again(pictures(2)), strict=True):
        np.testing.assert_array_equal(a.bboxes, b.bboxes)
        np.testing.assert_array_equal(a.scores, b.scores)


def test_a_batch_is_as_one_picture_at_a_time(detector):
    batch = pictures(4)
    for together, picture in zip(detector(batch), batch, strict=True):
        (alone,) = detector(picture[None])
        assert len(alone.scores) == len(together.scores)
        np.testing.assert_allclose(alone.scores, together.scores, atol=1e-5)
        np.testing.assert_allclose(alone.bboxes, together.bboxes, atol=1e-2)


@pytest.mark.parametrize('number', [0, 1, 4, 5])
def test_pictures_as_they_come(detector, number):
    batch = pictures(number)
    found = list(detector.in_batches(iter(batch), batch_size=2))
    assert len(found) == number
    for one, picture in zip(found, batch, strict=True):
        (alone,) = detector(picture[None])
        np.testing.assert_allclose(one.scores, alone.scores, atol=1e-5)


def test_pictures_are_taken_only_when_needed(detector):
    taken = []

    def come():
        for picture in pictures(24):
            taken.append(picture)
            yield picture

    results = detector.in_batches(come(), batch_size=2)
    next(results)
    assert len(taken) <= 2 * (torch.get_num_threads() + 1)  # one batch for each thread, and the next


@pytest.mark.parametrize('threads', [1, 3])
def test_threads_see_what_one_sees(detector, threads, monkeypatch):
    monkeypatch.setattr(torch, 'get_num_threads', lambda: threads)
    batch = pictures(11, seed=2)
    expected = [found for first in range(0, 11, 2) for found in detector(batch[first : first + 2])]
    for found, one in zip(detector.in_batches(iter(batch), batch_size=2), expected, strict=True):
        np.testing.assert_allclose(found.scores, one.scores, atol=1e-5)
        np.testing.assert_allclose(found.bboxes, one.bboxes, atol=1e-2)


def test_a_detector_is_made_on_one_thread(inference, weights, tmp_path, monkeypatch):
    before, seen, build = torch.get_num_threads(), [], inference._build

    def told(*given):
        seen.append(torch.get_num_threads())
        return build(*given)

    monkeypatch.setattr(inference, '_build', told)
    torch.set_num_threads(3)
    try:
        inference.Detector(CONFIG, weights, 'cpu', 'full')
        assert (seen, torch.get_num_threads()) == ([1], 3)
        with pytest.raises(InputError, match='no such config'):
            inference.Detector(tmp_path / 'none.py', weights, 'cpu', 'full')
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_a_fault_in_a_picture_is_not_lost(detector):
    def come():
        yield from pictures(3)
        raise InputError('no more pictures')

    with pytest.raises(InputError, match='no more pictures'):
        list(detector.in_batches(come(), batch_size=2))
    with pytest.raises((IndexError, RuntimeError)):
        list(detector.in_batches(iter([np.zeros(3)]), batch_size=2))


def test_the_same_as_mmdet_s_own_test_step(detector, inference, weights):
    # mmdet's way from a picture to class-wise boxes, without suppression, gives the same numbers
    from mmdet.structures import DetDataSample

    model = inference.Detector(CONFIG, weights, 'cpu', 'full').model
    model.roi_head.test_cfg = None
    picture = pictures(1)[0]
    size = picture.shape[:2]
    sample = DetDataSample(
        metainfo=dict(img_shape=size, ori_shape=size, pad_shape=size, batch_input_shape=size, scale_factor=(1.0, 1.0))
    )
    data = dict(inputs=[torch.from_numpy(picture).permute(2, 0, 1)], data_samples=[sample])
    with torch.inference_mode():
        (expected,) = model.test_step(data)
    (found,) = detector(picture[None])
    np.testing.assert_allclose(found.scores, expected.pred_instances.scores[:, :6].numpy(), atol=1e-6)
    boxes = expected.pred_instances.bboxes.numpy().reshape(-1, 6, 4)
    # mmdet's pixel 0 is 0 ... 1, here it is -0.5 ... 0.5
    np.testing.assert_allclose(found.bboxes, boxes - 0.5, atol=1e-4)


def test_pictures_of_another_size_are_brought_to_the_network_s(detector):
    small = pictures(1, side=66)
    (found,) = detector(small)
    large = np.repeat(np.repeat(small, 2, axis=1), 2, axis=2)
    assert found.bboxes.max() <= 65.5 + 1e-3
    assert found.bboxes.max() > 40
    assert len(detector(large)) == 1


def test_a_constant_picture(detector):
    (found,) = detector(np.zeros((1, 132, 132, 3), np.uint8))
    assert np.isfinite(found.bboxes).all()
    assert np.isfinite(found.scores).all()


# ---- devices and precision


@pytest.mark.parametrize('device', ['cuda:77', 'nonsense', 'cpu:x', '', 'meta', 'cuda:-1'])
def test_a_device_that_is_not_there(inference, weights, device):
    with pytest.raises(InputError) as caught:
        inference.Detector(CONFIG, weights, device)
    one_line(caught, '--device')


def test_auto_is_a_device(inference, weights):
    detector = inference.Detector(CONFIG, weights, 'auto')
    assert detector.device.type == ('cuda' if torch.cuda.is_available() else 'cpu')


def test_precision_follows_the_device(inference, weights, monkeypatch):
    assert inference.Detector(CONFIG, weights, 'cpu', 'full').precision == 'float32'
    for is_fast, name in ((True, 'bfloat16'), (False, 'float32')):
        monkeypatch.setattr(inference.mixed_precision, 'is_fast_on_cpu', lambda is_fast=is_fast: is_fast)
        for given in ('auto', 'half'):  # there are no ranges for eight bits
            assert inference.Detector(CONFIG, weights, 'cpu', given).precision == name
    with pytest.raises(InputError, match='double: not a precision; give one of auto, half, full with --precision'):
        inference.Detector(CONFIG, weights, 'cpu', 'double')


@pytest.mark.parametrize(
    ('given', 'precision', 'most'),
    [('half', 'bfloat16', 0.03), ('auto', 'int8', 0.08)],
    ids=['half', 'eight bits'],
)
@pytest.mark.parametrize('name', [DEFAULT, DEFAULT_INFRARED])
def test_lower_precision_sees_the_same_sources(inference, monkeypatch, name, given, precision, most):
    if precision == 'int8' and not inference.eight_bits.is_fast_on_cpu():
        pytest.skip('this CPU loses digits in eight bits')
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / 'benchmarks'))
    from throughput import twins

    monkeypatch.setattr(inference.mixed_precision, 'is_fast_on_cpu', lambda: True)  # slow ones can do it, too
    found = find_model(name)
    rng = np.random.default_rng(1)
    views = [draw_subject(rng, name) for _ in range(60)]
    low, full = (inference.Detector(found.config, found.weights, 'cpu', each) for each in (given, 'full'))
    assert low.precision == precision
    same, differences = [], []
    for a, b in zip(low(np.stack(views)), full(np.stack(views)), strict=True):
        assert a.scores.dtype == a.bboxes.dtype == np.float32
        for one, other in twins(a, b):
            same.append(one.argmax() == other.argmax())
            differences.append(abs(one - other).max())
    assert len(same) > 150
    assert np.mean(same) >= (0.99 if name == DEFAULT else 0.985)
    assert np.median(differences) < 0.005
    assert np.quantile(differences, 0.98) < most
    above = np.mean(np.array(differences) > 0.25)
    assert above == 0 if name == DEFAULT else above <= 0.02


def draw_subject(rng, name):
    subject = simulate_subject(rng, 132)
    if name == DEFAULT:
        return FUSIONS['S'](subject.snr, rms=1.0)
    return FUSIONS['SI'](subject.snr, draw_infrared(rng, (132, 132), subject.hosts, 1.35), rms=1.0)
