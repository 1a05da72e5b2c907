"""Loading a detector and looking at pictures; what is wrong with weights, configs and devices is said in one line."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS
from claran_plugin.models import DEFAULT, DEFAULT_INFRARED, config_folder, default_model, find_config, find_model
from claran_plugin.simulation import simulate_subject
from claran_plugin.synthetic_infrared import draw_infrared

pytestmark = pytest.mark.usefixtures('require_detector')

CONFIG = config_folder() / 'claran_compact.py'


@pytest.fixture(scope='module')
def inference(require_detector):
    from claran_plugin.detection import inference

    return inference


@pytest.fixture(scope='module')
def weights_files(require_detector):
    from claran_plugin.detection import weights_files

    return weights_files


@pytest.fixture(scope='module')
def state(require_detector):
    """Weights of an untrained model."""
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(CONFIG).model)
    model.init_weights()
    return model.state_dict()


@pytest.fixture(scope='module')
def weights(state, tmp_path_factory):
    path = tmp_path_factory.mktemp('weights') / 'untrained.pth'
    torch.save(state, path)
    return path


@pytest.fixture(scope='module')
def detector(inference, weights):
    return inference.Detector(CONFIG, weights, 'cpu', 'full')


def pictures(number, seed=0, side=132):
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), dtype=np.uint8)


def one_line(caught, *words):
    text = str(caught.value)
    assert '\n' not in text
    assert len(text) < 400
    for word in words:
        assert word in text


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


# ---- weights


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


# ---- devices and configs


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


# ---- finding models


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


# ---- an incomplete installation


@pytest.mark.parametrize(
    ('missing', 'said'),
    [
        ('torch', 'PyTorch is not installed'),
        ('mmcv._ext', 'built without its compiled operators'),
        ('mmdet.models', 'mmdet cannot be imported'),
    ],
)
def test_an_incomplete_stack_is_named(missing, said):
    code = f"""
import sys
sys.modules[{missing!r}] = None
try:
    import claran_plugin.detection
except ImportError as err:
    print(err)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.strip().splitlines()
    assert said in line
    assert 'make venv' in line


def test_what_only_training_needs_is_not_imported(weights, tmp_path):
    code = f"""
import sys
from claran_plugin.detection.inference import Detector
print(Detector({str(CONFIG)!r}, {str(weights)!r}, 'cpu', 'full').method, 'mmdet.datasets' in sys.modules)
"""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split()[-2:] == ['S', 'False'], done.stderr


@pytest.mark.parametrize('imports', ["'own_parts'", "['claran_plugin.detection', 'own_parts']"])
def test_what_a_config_of_ones_own_imports_is_imported(inference, weights, tmp_path, monkeypatch, imports):
    (tmp_path / 'own_parts.py').write_text('seen = True')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'own_parts', raising=False)
    own = tmp_path / 'own.py'
    own.write_text(f'_base_ = {str(CONFIG)!r}\ncustom_imports = dict(_delete_=True, imports={imports})\n')
    assert inference.Detector(own, weights, 'cpu', 'full').method == 'S'
    assert sys.modules['own_parts'].seen
