"""Configs of detectors: what they say of pictures, what they import, and what is said of faulty ones."""

import hashlib
import sys

import pytest
from untrained_detector import CONFIG, detector, inference, one_line, state, weights

from claran_plugin.errors import InputError
from claran_plugin.models import config_folder, find_config

__all__ = ['detector', 'inference', 'state', 'weights']  # fixtures
pytestmark = pytest.mark.usefixtures('require_detector')


def test_what_the_config_says(detector, weights):
    assert detector.method == 'S'
    assert detector.input_size == 132
    assert detector.weights_hash == hashlib.sha256(weights.read_bytes()).hexdigest()[:12]


@pytest.mark.parametrize(
    ('name', 'method', 'options', 'size'),
    [
        ('claran_compact', 'S', {}, 132),
        ('claran_compact_rgz', 'S', {}, 132),
        ('claran_f_vgg16', 'F', {}, 600),
        ('claran_d3_vgg16', 'D3', {}, 600),
        ('claran_d4_vgg16_4sigma', 'D4', {'sigma': 4.0}, 600),
    ],
)
def test_pictures_are_fused_as_in_training(require_detector, name, method, options, size):
    from mmengine.config import Config

    from claran_plugin.detection import config_facts

    config = Config.fromfile(config_folder() / f'{name}.py')
    assert config_facts.fusion_of(config) == (method, options)
    assert config_facts.input_size_of(config) == size


@pytest.mark.parametrize(
    'text', ['model = dict(', 'x = 1', "_base_ = './none.py'", 'raise ValueError("two\\nlines")'],
    ids=['syntax', 'no model', 'no base', 'error'],
)  # fmt: skip
def test_a_bad_config(inference, weights, tmp_path, text):
    path = tmp_path / 'bad.py'
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        inference.Detector(path, weights, 'cpu')
    one_line(caught, 'bad.py')


def test_a_config_that_builds_nothing(inference, weights, tmp_path):
    path = tmp_path / 'odd.py'
    path.write_text("model = dict(type='NoSuchDetector')")
    with pytest.raises(InputError) as caught:
        inference.Detector(path, weights, 'cpu')
    one_line(caught, 'odd.py')


@pytest.mark.parametrize(
    'text',
    [
        "_base_ = 'COMPACT'\nmodel = dict(roi_head=dict(bbox_head=dict(reg_class_agnostic=True)))",
        "_base_ = 'COMPACT'\nmodel = dict(roi_head=dict(bbox_head=dict(num_classes=4)))",
        "_base_ = 'mmdet::_base_/models/retinanet_r50_fpn.py'",
        "_base_ = 'mmdet::_base_/models/cascade-rcnn_r50_fpn.py'",
    ],
    ids=['one box for all classes', 'four classes', 'one stage', 'many stages'],
)
def test_a_detector_that_cannot_associate(inference, weights, tmp_path, text):
    path = tmp_path / 'other.py'
    path.write_text(text.replace('COMPACT', str(find_config('compact'))))
    with pytest.raises(InputError) as caught:
        inference.Detector(path, weights, 'cpu')
    one_line(caught, 'other.py: has no second stage', 'reg_class_agnostic')


def test_no_config(inference, weights, tmp_path):
    with pytest.raises(InputError) as caught:
        inference.Detector(tmp_path / 'none.py', weights, 'cpu')
    one_line(caught, 'none.py: no such config')


@pytest.mark.parametrize('imports', ["'own_parts'", "['claran_plugin.detection', 'own_parts']"])
def test_what_a_config_of_ones_own_imports_is_imported(inference, weights, tmp_path, monkeypatch, imports):
    (tmp_path / 'own_parts.py').write_text('seen = True')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'own_parts', raising=False)
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = {str(CONFIG)!r}\ncustom_imports = dict(_delete_=True, imports={imports})\n')
    assert inference.Detector(own, weights, 'cpu', 'full').method == 'S'
    assert sys.modules['own_parts'].seen
