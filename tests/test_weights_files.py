"""Files of weights: in half precision, and what is said of those that cannot be read or fit another model."""

import numpy as np
import pytest
import torch
from untrained_detector import CONFIG, detector, inference, one_line, pictures, state, weights, weights_files

from claran_plugin.errors import InputError

__all__ = ['detector', 'inference', 'state', 'weights', 'weights_files']  # fixtures
pytestmark = pytest.mark.usefixtures('require_detector')


def test_weights_in_half_precision(inference, weights_files, state, tmp_path, detector):
    checkpoint, small = tmp_path / 'iter_1.pth', tmp_path / 'small.pth'
    torch.save(dict(state_dict=state, meta=dict(iter=1), optimizer=dict(state={})), checkpoint)
    weights_files.save_weights(checkpoint, small)
    assert small.stat().st_size < 0.6 * checkpoint.stat().st_size
    torch.load(small, weights_only=True)
    read = weights_files.read_weights(small).state
    for name, value in state.items():
        assert read[name].dtype == value.dtype, name
        torch.testing.assert_close(read[name], value, rtol=1e-3, atol=1e-4)
    found, expected = (d(pictures(1))[0] for d in (inference.Detector(CONFIG, small, 'cpu', 'full'), detector))
    if len(found.scores) == len(expected.scores):
        np.testing.assert_allclose(found.scores.mean(axis=0), expected.scores.mean(axis=0), atol=0.02)


def write(path, content):
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    return path


@pytest.mark.parametrize(
    'content',
    [b'', b'no weights at all', b'PK\x03\x04broken', [1, 2], dict(a=1), dict(state_dict=dict(a='b')), torch.zeros(2)],
    ids=['empty', 'text', 'broken', 'list', 'numbers', 'texts', 'tensor'],
)
def test_unreadable_weights(inference, tmp_path, content):
    path = write(tmp_path / 'bad.pth', content)
    with pytest.raises(InputError) as caught:
        inference.Detector(CONFIG, path, 'cpu')
    one_line(caught, str(path), ';')


def test_weights_that_hold_code(weights_files, tmp_path):
    class Trap:
        def __reduce__(self):
            return (print, ('sprung',))

    path = write(tmp_path / 'trap.pth', dict(state_dict=Trap()))
    with pytest.raises(InputError) as caught:
        weights_files.read_weights(path)
    one_line(caught, 'trap.pth: not a readable weights file (it holds more than tensors', '"claran weights"')
    assert str(caught.value).isprintable()


def test_truncated_weights(weights_files, weights, tmp_path):
    path = tmp_path / 'half.pth'
    path.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    with pytest.raises(InputError) as caught:
        weights_files.read_weights(path)
    one_line(caught, 'half.pth: not a readable weights file')


def test_no_weights_file(weights_files, tmp_path):
    for path in (tmp_path / 'none.pth', tmp_path):
        with pytest.raises(InputError) as caught:
            weights_files.read_weights(path)
        one_line(caught, 'no such weights file', '--weights')


def test_weights_of_another_model(inference, state, tmp_path):
    foreign = {name: value for name, value in state.items() if 'fc_cls' not in name}
    foreign['backbone.more'] = torch.zeros(3)
    foreign['roi_head.bbox_head.fc_reg.weight'] = torch.zeros(8, 256)
    path = write(tmp_path / 'foreign.pth', dict(state_dict=foreign))
    with pytest.raises(InputError) as caught:
        inference.Detector(CONFIG, path, 'cpu')
    one_line(
        caught,
        'foreign.pth: weights of another model: 2 missing (roi_head.bbox_head.fc_cls.bias, ...)',
        '1 unknown (backbone.more, ...)',
        '1 of another shape (roi_head.bbox_head.fc_reg.weight, ...)',
        '--model',
    )


def test_weights_of_nothing(inference, tmp_path):
    path = write(tmp_path / 'nothing.pth', {})
    with pytest.raises(InputError) as caught:
        inference.Detector(CONFIG, path, 'cpu')
    one_line(caught, 'nothing.pth')
