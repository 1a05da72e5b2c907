"""Finding models and their weights, by name or path."""

import pytest
import torch
from untrained_detector import CONFIG, inference, one_line, pictures, state, weights

from claran_plugin.errors import InputError
from claran_plugin.models import DEFAULT, DEFAULT_INFRARED, default_model, find_model

__all__ = ['inference', 'state', 'weights']  # fixtures
pytestmark = pytest.mark.usefixtures('require_detector')


@pytest.mark.parametrize('name', [DEFAULT, DEFAULT_INFRARED])
def test_the_bundled_models_are_there(inference, name):
    found = find_model(name)
    assert found.name == f'claran_{name}'
    assert found.config.read_bytes() == (CONFIG.parent / f'claran_{name}.py').read_bytes()
    assert found.calibration
    assert found.weights.stat().st_size <= 15e6
    torch.load(found.weights, weights_only=True)
    assert len(inference.Detector(found.config, found.weights, 'cpu')(pictures(1))) == 1


def test_the_model_follows_from_what_there_is():
    assert default_model(None, infrared=False) == default_model('mine.pth', infrared=True) == DEFAULT
    assert default_model(None, infrared=True) == DEFAULT_INFRARED


def test_a_model_by_name_or_path(weights):
    by_name, by_stem = find_model('compact', weights), find_model('claran_compact', weights)
    by_path = find_model(str(CONFIG), weights)
    assert by_name == by_stem
    assert by_path.config.samefile(by_name.config)
    assert by_name.weights == weights
    assert by_name.calibration is None


def test_calibration_lies_beside_the_weights(tmp_path):
    path = tmp_path / 'mine.pth'
    path.touch()
    (tmp_path / 'mine.json').write_text('{}')
    assert find_model('compact', path).calibration == tmp_path / 'mine.json'


def test_unknown_models(tmp_path):
    with pytest.raises(InputError) as caught:
        find_model('huge')
    one_line(caught, 'huge: no such model; give one of compact', '--model')
    with pytest.raises(InputError) as caught:
        find_model('compact', tmp_path / 'none.pth')
    one_line(caught, 'none.pth: no such weights file', '--weights')
