"""Convolutions in eight bits: the arithmetic, and the ranges that it needs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from claran_plugin.cli import main
from claran_plugin.errors import InputError
from claran_plugin.models import DEFAULT, DEFAULT_INFRARED, PACKAGE, config_folder, find_model

pytestmark = pytest.mark.usefixtures('require_detector')


@pytest.fixture(scope='module')
def eight_bits(require_detector):
    from claran_plugin.detection import eight_bits

    if not eight_bits.is_fast_on_cpu():
        pytest.skip('this CPU loses digits in eight bits')
    return eight_bits


@pytest.fixture(scope='module')
def inference(require_detector):
    from claran_plugin.detection import inference

    return inference


@pytest.fixture
def own_weights(tmp_path):
    """A copy of the bundled weights, without ranges."""
    path = tmp_path / 'mine.pth'
    path.write_bytes(find_model().weights.read_bytes())
    return path


@pytest.mark.parametrize('side', [12, 13])
def test_results_are_those_of_float32_to_the_steps(eight_bits, side):
    torch.manual_seed(1)
    first, second = nn.Conv2d(8, 16, 3, padding=1), nn.Conv2d(16, 8, 3, padding=1)
    maps = torch.rand(2, 8, side, side) * 3 - 1
    pooled = nn.functional.max_pool2d(maps, 2)
    inside = first(pooled).relu().detach()
    expected = second(inside).relu().detach()
    ranges = {'a': (0.0, float(inside.max())), 'b': (0.0, float(expected.max()))}
    layers = [('pool', nn.MaxPool2d(2)), ('a', first), ('b', second)]
    with torch.inference_mode():
        made = eight_bits.EightBits(layers, (-1.0, 2.0), ranges, outgoing=True)(maps)
        steps = eight_bits.EightBits(layers, (-1.0, 2.0), ranges, outgoing=False)(maps)
    assert made.dtype == torch.float32
    assert steps.dtype == torch.uint8
    assert made.shape == expected.shape
    error = (made - expected).abs()
    assert float(error.mean()) < 0.01 * float(expected.max())
    assert float(error.max()) < 0.05 * float(expected.max())
    size = ranges['b'][1] / 255
    assert float((steps * size - made.clamp(max=ranges['b'][1])).abs().max()) <= size


def test_results_above_the_range_are_cut(eight_bits):
    layer = nn.Conv2d(1, 1, 1, bias=False)
    nn.init.ones_(layer.weight)
    work = eight_bits.EightBits([('a', layer)], (0.0, 10.0), {'a': (0.0, 5.0)}, outgoing=False)
    with torch.inference_mode():
        made = work(torch.tensor([0.0, 2.5, 5.0, 9.0]).reshape(1, 1, 2, 2))
    np.testing.assert_allclose(made.ravel().numpy(), [0, 127.5, 255, 255], atol=3)


@pytest.mark.parametrize('name', [DEFAULT, DEFAULT_INFRARED])
def test_pictures_go_in_as_they_are(eight_bits, inference, name):
    found = find_model(name)
    detector = inference.Detector(found.config, found.weights, 'cpu')
    assert eight_bits.takes_pictures(detector.model)
    assert detector._takes_pictures
    pictures = np.random.default_rng(0).integers(0, 256, (3, 132, 132, 3), dtype=np.uint8)
    made = detector(pictures)
    detector._takes_pictures = False  # through mmdet's preprocessor
    for one, other in zip(made, detector(pictures), strict=True):
        np.testing.assert_array_equal(one.bboxes, other.bboxes)
        np.testing.assert_array_equal(one.scores, other.scores)
    detector.model.data_preprocessor.mean += 1
    assert not eight_bits.takes_pictures(detector.model)


def test_the_bundled_models_run_in_eight_bits(eight_bits, inference):
    found = find_model()
    detector = inference.Detector(found.config, found.weights, 'cpu')
    pictures = np.random.default_rng(0).integers(0, 256, (3, 132, 132, 3), dtype=np.uint8)
    together = detector(pictures)
    alone = [detector(picture[None])[0] for picture in pictures]
    assert detector.precision == 'int8'
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
        np.testing.assert_array_equal(a.bboxes, b.bboxes)


@pytest.mark.parametrize('name', ['claran_compact', 'claran_compact_infrared'])
def test_the_bundled_ranges_belong_to_the_bundled_weights(inference, name):
    from claran_plugin.detection.eight_bits import read_ranges
    from claran_plugin.detection.weights_files import read_weights

    digest = read_weights(PACKAGE / 'weights' / f'{name}.pth').digest
    model = inference.Detector(config_folder() / f'{name}.py', PACKAGE / 'weights' / f'{name}.pth', 'cpu', 'full').model
    ranges = read_ranges(PACKAGE / 'weights' / f'{name}.ranges.json', digest, model)
    assert ranges is not None
    assert len(ranges) == 16


def test_ranges_are_measured_by_a_command(eight_bits, inference, own_weights, capsys):
    found = find_model()
    assert inference.Detector(found.config, own_weights, 'cpu').precision != 'int8'
    assert main(['ranges', str(own_weights)]) == 0
    path = own_weights.with_suffix('.ranges.json')
    assert 'mine.ranges.json' in capsys.readouterr().out
    assert json.loads(path.read_text()) == json.loads(found.ranges.read_text()), 'measured from a fixed seed'
    assert inference.Detector(found.config, own_weights, 'cpu').precision == 'int8'
    assert inference.Detector(found.config, own_weights, 'cpu', 'half').precision != 'int8'
    assert main(['ranges', str(own_weights)]) == 1
    assert 'exists' in capsys.readouterr().err


def test_ranges_of_other_weights_are_not_used(inference, own_weights):
    found = find_model()
    content = json.loads(found.ranges.read_text())
    own_weights.with_suffix('.ranges.json').write_text(json.dumps({**content, 'weights': '0123456789ab'}))
    assert inference.Detector(found.config, own_weights, 'cpu').precision != 'int8'


def without(name):
    return lambda content: content['ranges'].pop(name)


@pytest.mark.parametrize(
    'spoil',
    [
        lambda content: content.clear(),
        lambda content: content['ranges'].update(picture=[1]),
        without('picture'),
        without('neck.mix.0'),
        lambda content: content['ranges'].update({'neck.mix.0': [0.0, 0.0]}),
        lambda content: content['ranges'].update({'neck.mix.0': [0.0, float('nan')]}),
    ],
    ids=['nothing', 'one limit', 'no picture', 'a layer less', 'no width', 'no number'],
)
def test_unreadable_ranges(eight_bits, inference, own_weights, spoil):
    path = own_weights.with_suffix('.ranges.json')
    content = json.loads(find_model().ranges.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r'mine.ranges.json: no readable ranges .* "claran ranges"'):
        inference.Detector(find_model().config, own_weights, 'cpu')
    assert main(['ranges', str(own_weights), '--overwrite']) == 0, 'the remedy works'
    assert inference.Detector(find_model().config, own_weights, 'cpu').precision == 'int8'


def test_an_old_torch_does_not_tell(inference, own_weights, monkeypatch):
    own_weights.with_suffix('.ranges.json').write_text(find_model().ranges.read_text())
    monkeypatch.delattr(torch.cpu, 'get_capabilities', raising=False)
    assert inference.Detector(find_model().config, own_weights, 'cpu').precision != 'int8'


def test_a_model_of_other_parts_has_no_ranges(require_detector):
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from claran_plugin.detection.activation_ranges import measure_ranges

    init_default_scope('mmdet')
    model = MODELS.build(Config.fromfile(config_folder() / 'claran_compact.py').model)
    # its batch normalisation is not folded in
    with pytest.raises(InputError, match=r'odd\.py: this model cannot run in eight bits'):
        measure_ranges(SimpleNamespace(model=model, config=SimpleNamespace(filename='odd.py')))
