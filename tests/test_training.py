"""Training with mmdet's own tool, from a packed set to weights that the detector loads."""

import numpy as np
import pytest
from training_runs import run_tool, scalars

from claran_plugin.datasets.packed_subjects import pack
from claran_plugin.datasets.training_data import simulated
from claran_plugin.errors import InputError
from claran_plugin.models import config_folder

pytestmark = pytest.mark.usefixtures('require_detector')

CHILD = """
_base_ = [{base!r}]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(weights=dict(_delete_=True, simulated=1.0)),
    dataset=dict(data_root={data!r}),
)
val_dataloader = dict(batch_size=3, dataset=dict(data_root={data!r}, origins=['simulated']))
test_dataloader = val_dataloader
train_cfg = dict(max_iters=3, val_interval=3)
default_hooks = dict(checkpoint=dict(interval=3), logger=dict(interval=1))
"""


@pytest.fixture(scope='module')
def child(tmp_path_factory):
    folder = tmp_path_factory.mktemp('training')
    pack(simulated(6, np.random.default_rng(0)), folder / 'packed')
    path = folder / 'child.py'
    path.write_text(CHILD.format(base=str(config_folder() / 'claran_compact.py'), data=str(folder / 'packed')))
    return path


@pytest.fixture(scope='module')
def trained(require_detector, child):
    """Train for three iterations."""
    folder = child.parent / 'work'
    run_tool('train.py', child, '--work-dir', folder, cwd=child.parent)
    return folder


def test_training_writes_what_the_detector_loads(trained, child):
    import torch

    from claran_plugin.cli import main
    from claran_plugin.detection.inference import Detector
    from claran_plugin.detection.weights_files import read_weights
    from claran_plugin.models import config_folder

    checkpoint, small = trained / 'iter_3.pth', trained / 'small.pth'
    with pytest.raises(InputError, match='"claran weights" makes of a checkpoint'):
        read_weights(checkpoint)
    assert main(['weights', str(checkpoint), '-o', str(small)]) == 0
    assert small.stat().st_size < 7e6
    state = read_weights(small).state
    full = torch.load(checkpoint, map_location='cpu', weights_only=False)['state_dict']
    assert set(state) == set(full)
    for name, value in full.items():
        torch.testing.assert_close(state[name], value, rtol=1e-3, atol=1e-4)
    detector = Detector(child, small, 'cpu')
    assert detector.method == 'S'
    (found,) = detector(np.random.default_rng(0).integers(0, 256, (1, 132, 132, 3), dtype=np.uint8))
    assert np.isfinite(found.scores).all()
    assert read_weights(small).fusion == 'S'
    infrared = config_folder() / 'claran_compact_infrared.py'
    with pytest.raises(InputError, match=r'small\.pth: was trained on pictures S, and .* looks at pictures SI'):
        Detector(infrared, small, 'cpu')


def test_what_is_no_checkpoint_gives_no_weights(require_detector, tmp_path, capsys):
    from claran_plugin.cli import main

    (tmp_path / 'text.pth').write_text('nothing')
    for name, fault in (('none.pth', 'no such checkpoint'), ('text.pth', 'not a checkpoint of a training')):
        assert main(['weights', str(tmp_path / name), '-o', str(tmp_path / 'made.pth')]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert name in line
        assert fault in line
    assert not (tmp_path / 'made.pth').exists()


def test_training_has_all_four_losses_and_the_metric(trained):
    lines = scalars(trained)
    losses = [line for line in lines if 'loss' in line]
    assert len(losses) == 3
    for line in losses:
        parts = [line[name] for name in ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')]
        assert all(np.isfinite(part) and part >= 0 for part in parts)
        assert line['loss'] == pytest.approx(sum(parts), rel=1e-3)
    (scored,) = [line for line in lines if 'claran/mAP6' in line]
    assert sum(scored[f'claran/n_{name}'] for name in ('1C_1P', '1C_2P', '1C_3P', '2C_2P', '2C_3P', '3C_3P')) > 0


def test_training_changes_the_weights(trained, child):
    import torch
    from mmdet.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    state = torch.load(trained / 'iter_3.pth', map_location='cpu', weights_only=False)['state_dict']
    model = MODELS.build(Config.fromfile(child).model)
    model.init_weights()
    start = model.state_dict()
    assert set(start) == set(state)
    # running averages start at zero; they move only where pictures went through
    moved = [name for name in state if name.endswith('running_mean') and bool(state[name].abs().max() > 0)]
    assert len(moved) == 14


@pytest.mark.slow
def test_training_is_repeatable(trained, child):
    import torch

    again = child.parent / 'again'
    run_tool('train.py', child, '--work-dir', again, cwd=child.parent)
    first, second = (
        torch.load(folder / 'iter_3.pth', map_location='cpu', weights_only=False)['state_dict']
        for folder in (trained, again)
    )
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.slow
def test_mmdet_s_test_tool_scores_a_checkpoint(trained, child):
    output = run_tool('test.py', child, trained / 'iter_3.pth', '--work-dir', child.parent / 'test', cwd=child.parent)
    assert 'claran/mAP6' in output


def test_gradients_reach_every_trained_weight(require_detector, child):
    """One step in this process: nothing that should be trained is cut off."""
    import torch
    from mmdet.registry import DATASETS, MODELS
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    config = Config.fromfile(child)
    torch.manual_seed(0)
    np.random.seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    dataset = DATASETS.build(dict(config.train_dataloader.dataset))
    batch = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    losses = model.loss(batch['inputs'], batch['data_samples'])
    total = sum(sum(part) if isinstance(part, list) else part for name, part in losses.items() if 'loss' in name)
    total.backward()
    without = [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_bundled_weights_by_name(bundled_weights):
    from mmengine.runner import CheckpointLoader

    import claran_plugin.detection.training  # noqa: F401
    from claran_plugin.detection.weights_files import read_weights
    from claran_plugin.errors import InputError

    loaded = CheckpointLoader.load_checkpoint('claran://compact')['state_dict']
    state = read_weights(bundled_weights).state
    assert loaded.keys() == state.keys()
    assert all((loaded[name] == value).all() for name, value in state.items())
    with pytest.raises(InputError, match='nothing: no such model'):
        CheckpointLoader.load_checkpoint('claran://nothing')


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('kept', [0, 1, 400, -400])
def test_a_damaged_checkpoint_is_named(tmp_path, kept, zipped):
    import torch

    path = tmp_path / 'iter_2.pth'
    torch.save(dict(state_dict=dict(weight=torch.zeros(1000))), path, _use_new_zipfile_serialization=zipped)
    path.write_bytes(path.read_bytes()[:kept])
    assert_named(path)


@pytest.mark.parametrize('content', [b'no checkpoint', b'hello', b'RA,DEC\n1,2\n', bytes(5000)], ids=repr)
def test_what_is_no_checkpoint_is_named(tmp_path, content):
    path = tmp_path / 'iter_2.pth'
    path.write_bytes(content)
    assert_named(path)


def assert_named(path):
    from claran_plugin.detection.runner import ClaranRunner

    with pytest.raises(InputError, match=r'iter_2\.pth: not a checkpoint, or cut off while it was written'):
        ClaranRunner.__new__(ClaranRunner).load_checkpoint(str(path))


def test_a_checkpoint_that_cannot_be_fetched_is_not_called_damaged():
    from claran_plugin.detection.runner import ClaranRunner

    with pytest.raises(InputError, match=r'127\.0\.0\.1:9/iter_2\.pth: cannot be fetched \(URLError'):
        ClaranRunner.__new__(ClaranRunner).load_checkpoint('http://127.0.0.1:9/iter_2.pth')


def test_faults_of_a_sound_checkpoint_are_no_damage(tmp_path):
    import torch

    from claran_plugin.detection.runner import ClaranRunner

    torch.save(dict(state_dict={}), tmp_path / 'iter_2.pth')
    with pytest.raises(AttributeError, match='_hooks'):
        ClaranRunner.__new__(ClaranRunner).load_checkpoint(str(tmp_path / 'iter_2.pth'))
