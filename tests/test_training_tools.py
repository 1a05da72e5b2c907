"""Training as users start it: mmdet's tools and the shortcuts to them, resumed, in two processes, in bfloat16."""

import importlib.util
import json
import os
import re
import runpy
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from training_runs import (
    CONFIGS,
    losses,
    mmdet_tool,
    narrow,
    pack_all_origins,
    put_data,
    run,
    run_claran,
    run_tool,
    scalars,
    shorten,
    write_rgz,
)

from claran_plugin.cli import main
from claran_plugin.commands import training
from claran_plugin.morphology import CLASSES

pytestmark = pytest.mark.usefixtures('require_detector')

NAMES = sorted(path.stem for path in CONFIGS.glob('claran_*.py'))


@pytest.fixture(scope='module')
def data(tmp_path_factory, require_detector):
    """Write a tiny data set of each kind."""
    folder = tmp_path_factory.mktemp('data')
    (folder / 'rgz').mkdir()
    return pack_all_origins(folder / 'packed'), write_rgz(folder / 'rgz')


@pytest.fixture
def short(tmp_path, data):
    """Give a function that writes a short training of a narrow model."""
    return lambda name, iterations, change=None, **options: write_short(
        tmp_path / f'short_{len(list(tmp_path.glob("*.py")))}.py', data, name, iterations, change, **options
    )


def write_short(path, data, name, iterations, change=None, *, narrowed=True, **options):
    from mmengine.config import Config

    import claran_plugin.detection  # noqa: F401

    config = Config.fromfile(CONFIGS / f'{name}.py')
    if narrowed:
        narrow(config)
    shorten(config, iterations, **options)
    put_data(config, *data)
    if change is not None:
        config.merge_from_dict(change)
    config.dump(path)
    return path


# ---- every config


@pytest.mark.parametrize('name', NAMES)
def test_mmdet_s_tool_trains_every_config(name, data, tmp_path, monkeypatch):
    # in this process, as starting one takes longer than training; the visualizer is kept by its name
    wide = name == 'claran_d1_packed' or 'vgg16' in name
    config = write_short(tmp_path / f'{name}.py', data, name, 2, {'visualizer.name': name}, narrowed=wide)
    monkeypatch.setenv('LOCAL_RANK', '0')
    monkeypatch.setattr(sys, 'argv', ['train.py', str(config), '--work-dir', str(tmp_path / 'work')])
    runpy.run_path(str(mmdet_tool('train.py')), run_name='__main__')
    found = losses(tmp_path / 'work')
    assert list(found) == [1, 2]
    assert np.isfinite(list(found.values())).all()
    assert found[1] != found[2]
    (scored,) = [line for line in scalars(tmp_path / 'work') if 'claran/mAP6' in line]
    assert sum(scored[f'claran/n_{name}'] for name in CLASSES) >= 2


# ---- interrupted and resumed


@pytest.mark.parametrize('name', ['claran_compact', 'claran_d4_vgg16'])
def test_a_resumed_training_goes_on_exactly(name, short, tmp_path):
    # with augmentation in worker processes, dropout (vgg16), sampling of anchors and regions, momentum or AdamW
    workers = {'train_dataloader.num_workers': 2, 'train_dataloader.persistent_workers': True}
    whole = short(name, 12)
    run_tool('train.py', whole, '--work-dir', tmp_path / 'whole', cwd=tmp_path)
    expected = losses(tmp_path / 'whole')
    assert len(set(map(tuple, expected.values()))) == 12

    long = short(name, 12, workers | {'custom_hooks': [*hooks(whole), dict(type='training_runs.Pause')]}, checkpoint=4)
    process = subprocess.Popen(
        [sys.executable, str(mmdet_tool('train.py')), str(long), '--work-dir', str(tmp_path / 'cut')],
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=os.path.dirname(__file__), OMP_NUM_THREADS='1', PYTHONWARNINGS='ignore'),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_for(tmp_path / 'cut' / 'paused', process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = losses(tmp_path / 'cut')
    assert (tmp_path / 'cut' / 'last_checkpoint').read_text().endswith('iter_4.pth')
    assert before == {k: expected[k] for k in range(1, 7)}

    rest = short(name, 12, workers)
    run_tool('train.py', rest, '--work-dir', tmp_path / 'cut', '--resume', cwd=tmp_path)
    resumed = [line['step'] for line in scalars(tmp_path / 'cut') if 'loss' in line]
    assert resumed == [1, 2, 3, 4, 5, 6, *range(5, 13)]
    assert losses(tmp_path / 'cut') == expected


def hooks(config):
    from mmengine.config import Config

    return Config.fromfile(config).custom_hooks


def wait_for(path, process, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None, 'the training ended by itself'
        assert time.monotonic() < end, f'no {path} after {seconds} s'
        time.sleep(0.05)


# ---- several processes


def distributed_checks(short, folder, start):
    """Train in two processes and in one, and compare what the processes saw."""
    note = {'custom_hooks': [dict(type='training_runs.NoteSubjects')]}
    config = short('claran_compact', 3, note)
    start(config)
    seen = [np.loadtxt(folder / 'two' / f'subjects_{rank}.txt', int).reshape(3, 2) for rank in (0, 1)]
    weights = [(folder / 'two' / f'weights_{rank}.txt').read_text() for rank in (0, 1)]
    assert weights[0] == weights[1]
    assert seen[0].tolist() != seen[1].tolist()
    single = short('claran_compact', 6, note)
    run_tool('train.py', single, '--work-dir', folder / 'one', cwd=folder)
    sequence = np.loadtxt(folder / 'one' / 'subjects_0.txt', int)
    assert np.stack(seen, axis=-1).ravel().tolist() == sequence.tolist()
    found = scalars(folder / 'two')
    assert np.isfinite([line['loss'] for line in found if 'loss' in line]).all()
    (scored,) = [line for line in found if 'claran/mAP6' in line]
    (alone,) = [line for line in scalars(folder / 'one') if 'claran/mAP6' in line]
    assert [scored[f'claran/n_{name}'] for name in CLASSES] == [alone[f'claran/n_{name}'] for name in CLASSES]


def test_two_processes_see_different_subjects(short, tmp_path):
    distributed_checks(
        short,
        tmp_path,
        lambda config: run_claran('train', config, '--work-dir', 'two', '--processes', 2, cwd=tmp_path),
    )


@pytest.mark.slow
def test_mmdet_s_script_for_several_processes(short, tmp_path):
    distributed_checks(
        short,
        tmp_path,
        lambda config: run(['bash', mmdet_tool('dist_train.sh'), config, 2, '--work-dir', 'two'], cwd=tmp_path),
    )


@pytest.mark.parametrize('launcher', ['mpi', 'slurm'])
def test_one_of_a_launcher_s_processes(launcher, short, tmp_path, monkeypatch):
    import torch

    if torch.cuda.is_available():
        pytest.skip('there is a GPU, on which mmengine starts the processes')
    config = short('claran_compact', 2)
    done = run_claran('train', config, '--work-dir', 'w', '--launcher', launcher, cwd=tmp_path, check=False)
    assert f'--launcher {launcher}: ' in done.stderr
    assert 'is not set; start the processes with' in done.stderr
    names = dict(
        mpi=dict(RANK=0, SIZE=1, LOCAL_RANK=0, LOCAL_SIZE=1), slurm=dict(PROCID=0, NTASKS=1, LOCALID=0, NODELIST='here')
    )[launcher]
    for name, value in names.items():
        monkeypatch.setenv(dict(mpi='OMPI_COMM_WORLD_', slurm='SLURM_')[launcher] + name, str(value))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        monkeypatch.setenv('MASTER_PORT', str(free.getsockname()[1]))
    if launcher == 'slurm':
        monkeypatch.setenv('MASTER_ADDR', '127.0.0.1')
    run_claran('train', config, '--work-dir', 'w', '--launcher', launcher, cwd=tmp_path)
    assert list(losses(tmp_path / 'w')) == [1, 2]


# ---- mixed precision


def test_mixed_precision_on_a_cpu(short, tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip('there is a GPU, on which --amp is mmengine in float16')
    plain = {'model.backbone.train_in_bfloat16': False}
    config = short('claran_compact', 30, plain, narrowed=False)
    run_tool('train.py', config, '--work-dir', tmp_path / 'mixed', '--amp', cwd=tmp_path)
    run_tool('train.py', config, '--work-dir', tmp_path / 'plain', cwd=tmp_path)
    mixed, full = (np.array(list(losses(tmp_path / name).values())) for name in ('mixed', 'plain'))
    assert (mixed != full).all(axis=0).any()
    np.testing.assert_allclose(mixed[0, :3], full[0, :3], rtol=0.02, atol=1e-3)
    # the last one, the regions' boxes, hangs on which few of them are drawn: 0.054 against 0.087 with OpenMMLab's own
    np.testing.assert_allclose(mixed[0, 3], full[0, 3], rtol=0.5, atol=1e-3)
    end = mixed[-5:].sum(axis=1).mean()
    assert end < 0.8 * mixed[:5].sum(axis=1).mean()
    assert end == pytest.approx(full[-5:].sum(axis=1).mean(), rel=0.1)
    state = torch.load(tmp_path / 'mixed' / 'iter_30.pth', map_location='cpu', weights_only=False)['state_dict']
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float32}
    # and it goes on
    more = short('claran_compact', 32, plain, narrowed=False)
    run_tool('train.py', more, '--work-dir', tmp_path / 'mixed', '--amp', '--resume', cwd=tmp_path)
    assert max(losses(tmp_path / 'mixed')) == 32


@pytest.mark.parametrize('name', ['claran_compact', 'claran_d1_vgg16', 'claran_d1_vgg16_rotation'])
def test_only_layers_are_in_bfloat16(name, short):
    import torch
    from mmdet.registry import DATASETS, MODELS
    from mmengine.config import Config
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import init_default_scope

    from claran_plugin.detection.mixed_precision import BFloat16OptimWrapper

    if torch.cuda.is_available():
        pytest.skip('the model is on the CPU, autocast on the GPU')
    init_default_scope('mmdet')
    config = Config.fromfile(short(name, 1))
    if name == 'claran_compact':
        config.model.backbone.train_in_bfloat16 = False
    model = MODELS.build(config.model)
    model.init_weights()
    model.train()
    dtypes = {}
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d | torch.nn.Linear)}
    for part, layer in layers.items():
        layer.register_forward_hook(lambda _layer, _inputs, out, part=part: dtypes.update({part: out.dtype}))
    wrapper = BFloat16OptimWrapper(torch.optim.SGD(model.parameters(), 1e-3))
    batch = pseudo_collate([DATASETS.build(config.train_dataloader.dataset)[0]])
    with wrapper.optim_context(model):
        data = model.data_preprocessor(batch, True)
        found = model(**data, mode='loss')
    inside = {part for part in layers if 'localisation' not in part and 'extractor' not in part}
    assert {dtypes[part] for part in inside & set(dtypes)} == {torch.bfloat16}
    assert len(inside & set(dtypes)) >= 18
    for loss in found.values():
        for value in loss if isinstance(loss, list) else [loss]:
            assert value.dtype == torch.float32
            assert torch.isfinite(value).all()
    # outside, nothing is left of it
    model(**data, mode='loss')
    assert {dtypes[part] for part in inside & set(dtypes)} == {torch.float32}


# ---- learning


@pytest.mark.slow
def test_the_compact_detector_overfits_eight_subjects(tmp_path, data_dir, require_detector):
    from mmengine.config import Config

    from claran_plugin.datasets.packing import pack_dataset
    from claran_plugin.progress import Log

    first = data_dir / 'first' / 'rgz_train'
    if not first.is_dir():
        pytest.skip(f'needs labelled FIRST images: there is no {first}')
    packed = tmp_path / 'packed'
    pack_dataset(packed, first=str(first), rgz=str(data_dir / 'rgz' / 'catalogue.csv'), log=Log(quiet=True))
    labels = [subject['labels'] for subject in json.loads((packed / 'subjects.json').read_text())['subjects']]
    # one subject with each class, and the two with most sources
    chosen = [next(k for k, own in enumerate(labels) if number in own) for number in range(6)]
    chosen += sorted((k for k in range(len(labels)) if k not in chosen), key=lambda k: -len(labels[k]))[:2]
    assert len(set(chosen)) == 8

    config = Config.fromfile(CONFIGS / 'claran_compact.py')
    shorten(config, 120, batch_size=8)
    put_data(config, packed, None)
    config.train_dataloader.sampler = dict(type='ShuffledSampler')
    config.train_dataloader.dataset.pipeline = [
        dict(type='CutSubject', size=132),
        dict(type='FuseSubject', method='S'),
        dict(type='RandomFlip', prob=0.5),
        dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
    ]
    for loader in (config.train_dataloader, config.val_dataloader):
        loader.dataset.indices = chosen
    config.optim_wrapper.optimizer.update(lr=1e-3, weight_decay=0.0)
    config.param_scheduler = [
        dict(type='LinearLR', start_factor=0.05, by_epoch=False, begin=0, end=20),
        dict(type='CosineAnnealingLR', by_epoch=False, begin=20, end=120, T_max=100, eta_min=1e-5),
    ]
    config.dump(tmp_path / 'overfit.py')
    run_tool('train.py', tmp_path / 'overfit.py', '--work-dir', tmp_path / 'work', cwd=tmp_path)
    (scored,) = [line for line in scalars(tmp_path / 'work') if 'claran/mAP6' in line]
    assert all(scored[f'claran/n_{name}'] >= 1 for name in CLASSES)
    assert scored['claran/mAP6'] >= 0.95


# ---- the shortcuts


@pytest.fixture
def started(monkeypatch):
    """Note the commands that would be run."""
    commands = []

    def start(command):
        commands.append(command)
        return 0

    monkeypatch.setattr(training, '_exit_code_of', start)
    return commands


def test_train_hands_its_options_on(started):
    options = ['--work-dir', 'w', '--resume', 'w/iter_5.pth', '--amp', '--auto-scale-lr']
    assert main(['train', 'compact', *options, '--launcher', 'slurm', '--cfg-options', 'a=1', 'b.c=[2,3]']) == 0
    (command,) = started
    assert command[0] == sys.executable
    assert os.path.samefile(command[1], mmdet_tool('train.py'))
    assert os.path.samefile(command[2], CONFIGS / 'claran_compact.py')
    assert command[3:] == [*options, '--launcher', 'slurm', '--cfg-options', 'a=1', 'b.c=[2,3]']


def test_test_hands_its_options_on(started, tmp_path):
    checkpoint = tmp_path / 'iter_5.pth'
    checkpoint.touch()
    options = ['--work-dir', 'w', '--out', 'o.pkl', '--show-dir', 's', '--tta']
    assert main(['test', str(CONFIGS / 'radiogalaxynet_compact.py'), str(checkpoint), *options]) == 0
    (command,) = started
    assert os.path.samefile(command[1], mmdet_tool('test.py'))
    assert command[3:] == [str(checkpoint), *options, '--launcher', 'none']


def test_views_have_to_be_known(started, tmp_path, capsys):
    (tmp_path / 'a.pth').touch()
    assert main(['test', 'compact', str(tmp_path / 'a.pth'), '--tta']) == 1
    assert 'compact: does not say of which views --tta' in capsys.readouterr().err
    assert not started


def test_with_nothing_to_resume_a_training_begins(started, tmp_path, capsys):
    assert main(['train', 'compact', '--work-dir', str(tmp_path), '--resume']) == 0
    assert f'{tmp_path}: nothing to resume, so the training begins' in capsys.readouterr().out
    assert '--resume' not in started[0]
    (tmp_path / 'last_checkpoint').write_text('iter_5.pth')
    assert main(['train', 'compact', '--work-dir', str(tmp_path), '--resume']) == 0
    assert '--resume' in started[1]


def test_what_there_is_to_resume_is_where_mmdet_looks(started, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    base = f'_base_ = {str(CONFIGS / "claran_compact.py")!r}\n'
    (tmp_path / 'own.py').write_text(f"{base}work_dir = 'theirs'\n")
    cases = (
        ('work_dirs/claran_compact', ['compact']),
        ('theirs', ['own.py']),
        ('given', ['compact', '--cfg-options', 'work_dir=given']),
    )
    for number, (folder, arguments) in enumerate(cases):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / 'last_checkpoint').write_text('iter_5.pth')
        assert main(['train', arguments[0], '--resume', *arguments[1:]]) == 0
        assert '--resume' in started[number], folder


@pytest.mark.parametrize('name', ['d1_vgg16', 'claran_d1_vgg16'])
def test_configs_are_found_by_name_and_processes_started_by_torchrun(started, name):
    assert main(['train', name, '--resume', 'w/iter_5.pth', '--gpus', '4']) == 0
    (command,) = started
    launcher = command[1 : command.index(str(mmdet_tool('train.py')))]
    assert launcher == ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node=4']
    assert command[command.index('--resume') :] == ['--resume', 'w/iter_5.pth', '--launcher', 'pytorch']
    assert any(word.endswith('claran_d1_vgg16.py') for word in command)


@pytest.mark.parametrize('original', [True, False])
def test_checkpoints_of_the_original_mmengine_are_loaded(monkeypatch, original):
    from importlib import metadata

    from claran_plugin.commands.training import _environment

    def version(name):
        if not original:
            raise metadata.PackageNotFoundError(name)
        return '0.10.7'

    monkeypatch.setattr(metadata, 'version', version)
    monkeypatch.delenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', raising=False)
    assert _environment().get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD') == ('1' if original else None)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '0')
    assert _environment()['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '0'


def test_unknown_config(capsys, started):
    assert main(['train', 'd9']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('claran: d9: no such config; give one of compact, ')
    assert ', radiogalaxynet_compact, ' in line and '__init__' not in line
    assert not started


@pytest.mark.parametrize('text', ['x = (', "_base_ = 'none.py'"], ids=['syntax', 'no base'])
def test_a_bad_config(capsys, started, tmp_path, text):
    config, weights = tmp_path / 'bad.py', tmp_path / 'w.pth'
    config.write_text(text)
    weights.touch()
    for command in (['train', str(config), '--resume'], ['test', str(config), str(weights), '--tta']):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert 'bad.py: not a readable mmdet config' in line
    assert not started


def test_missing_checkpoint(capsys, started):
    assert main(['test', 'compact', 'none.pth']) == 1
    assert capsys.readouterr().err == (
        'claran: none.pth: no such checkpoint; give one that "claran train" has written\n'
    )
    assert not started


def test_missing_mmdet(capsys, started, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'mmdet' else find(name))
    assert main(['train', 'compact']) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert 'mmdet is not installed' in line
    assert 'make venv' in line
    assert not started


def test_processes_exclude_a_launcher(capsys, started):
    with pytest.raises(SystemExit) as stopped:
        main(['train', 'compact', '--processes', '2', '--launcher', 'mpi'])
    assert stopped.value.code == 2
    assert not started


def test_a_failed_training_ends_with_1(tmp_path):
    done = run_claran('train', 'compact', '--work-dir', 'w', cwd=tmp_path, check=False)  # there is no data/packed
    assert done.returncode == 1
    assert 'make one with: claran dataset pack' in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "claran: compact: mmdet's tools/train.py stopped with exit code 1; see its messages above"
    )


def test_train_and_test(short, tmp_path):
    config = short('claran_compact', 2)
    run_claran('train', config, '--work-dir', 'w', '--cfg-options', 'train_cfg.max_iters=1', cwd=tmp_path)
    assert list(losses(tmp_path / 'w')) == [1]
    options = ['--work-dir', 't', '--out', 'found.pkl', '--show-dir', 'pictures']
    done = run_claran('test', config, 'w/iter_1.pth', *options, cwd=tmp_path)
    assert 'claran/mAP6' in done.stdout
    again = run_tool('analysis_tools/eval_metric.py', config, 'found.pkl', cwd=tmp_path)
    for name in ('mAP6', *(f'n_{kind}' for kind in CLASSES)):
        scored, anew = (
            float(re.findall(rf"claran/{name}'?: ([\d.e-]+|nan)", text)[-1]) for text in (done.stdout, again)
        )
        assert anew == pytest.approx(scored, abs=1e-4, nan_ok=True)
    pictures = list(tmp_path.glob('t/*/pictures/*.png'))
    assert pictures
    assert all(picture.stat().st_size > 5000 for picture in pictures)
    run_tool('analysis_tools/browse_dataset.py', config, '--not-show', '--output-dir', 'seen', cwd=tmp_path)
    assert (tmp_path / 'seen' / 'simulated_000000.png').stat().st_size > 5000
    import torch

    state = torch.load(tmp_path / 'w/iter_1.pth', weights_only=False)['state_dict']
    state.pop(next(iter(state)))
    torch.save(state, tmp_path / 'other.pth')
    done = run_claran('test', config, 'other.pth', '--work-dir', 't', cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert 'other.pth: weights of another model' in done.stderr
