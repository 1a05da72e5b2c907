"""The mmengine hooks: what a training leaves behind to look at."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from claran_plugin.cli import main
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.evaluation import learning_curves
from claran_plugin.evaluation.learning_curves import read_losses

PARTS = ('loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')


@pytest.fixture
def loss_parts(require_detector):
    from claran_plugin.hooks.loss_parts import LossParts

    return LossParts


def train(hook, folder, first, last):
    """Do what mmengine's loop does with the hook; the loss of iteration i is made of i, 2 i, 3 i and 4 i."""
    import torch

    hook.before_train(SimpleNamespace(work_dir=str(folder), iter=first))
    for number in range(first, last):
        values = {name: torch.tensor(float(k * (number + 1)), requires_grad=True) for k, name in enumerate(PARTS, 1)}
        outputs = dict(values, loss=sum(values.values()), acc=torch.tensor(99.0))
        hook.after_train_iter(SimpleNamespace(work_dir=str(folder), iter=number), number, outputs=outputs)
    hook.after_train(SimpleNamespace(work_dir=str(folder), iter=last))


def test_the_parts_of_the_loss_are_kept(loss_parts, tmp_path):
    train(loss_parts(interval=10), tmp_path, 0, 35)
    samples = read_losses(tmp_path)
    assert samples.colnames == ['iteration', *PARTS]
    assert list(samples['iteration']) == [10, 20, 30]
    assert list(samples['loss_cls']) == [30, 60, 90]
    assert learning_curves.training_error(samples).tolist() == [100, 200, 300]
    assert (tmp_path / 'losses.png').read_bytes().startswith(b'\x89PNG')


def test_a_resumed_training_continues_the_samples(loss_parts, tmp_path):
    train(loss_parts(interval=10), tmp_path, 0, 35)
    before = (tmp_path / 'losses.csv').read_text().splitlines()
    train(loss_parts(interval=10), tmp_path, 20, 50)  # from the checkpoint of iteration 20
    lines = (tmp_path / 'losses.csv').read_text().splitlines()
    assert lines[:3] == before[:3]
    assert list(read_losses(tmp_path)['iteration']) == [10, 20, 30, 40, 50]


def test_another_training_in_the_same_folder_starts_anew(loss_parts, tmp_path):
    train(loss_parts(interval=10), tmp_path, 0, 40)
    train(loss_parts(interval=10), tmp_path, 0, 10)
    assert list(read_losses(tmp_path)['iteration']) == [10]


def test_a_training_shorter_than_an_interval_leaves_nothing(loss_parts, tmp_path):
    train(loss_parts(interval=10), tmp_path, 0, 5)
    assert list(tmp_path.iterdir()) == []


# ---- learning curves


def run_folder(folder, name='run', n=400):
    rng = np.random.default_rng(0)
    iterations = 10 * np.arange(1, n + 1)
    decay = np.exp(-iterations / 1000)
    lines = [','.join(('iteration', *PARTS))]
    for k, i in enumerate(iterations):
        noise = rng.uniform(0.9, 1.1)
        values = (0.1 * decay[k], 0.05, 0.6 * decay[k] * noise, 0.3 * noise)
        lines.append(','.join(map(str, (i, *values))))
    (folder / name).mkdir()
    (folder / name / 'losses.csv').write_text('\n'.join(lines) + '\n')
    return folder / name


def test_shares_and_correlations(tmp_path):
    samples = read_losses(run_folder(tmp_path))
    shares = learning_curves.shares(samples)
    assert sum(first for first, _ in shares.values()) == pytest.approx(1)
    assert sum(last for _, last in shares.values()) == pytest.approx(1)
    assert shares['loss_cls'][0] > 0.5 > shares['loss_cls'][1]
    assert shares['loss_bbox'][1] == pytest.approx(0.3 / (0.35 + 0.7 * np.exp(-3.9)), abs=0.03)
    table = learning_curves.correlations(samples)
    matrix = np.array([table[name] for name in table['part']])
    expected = np.corrcoef([samples[name] for name in PARTS if name != 'loss_rpn_bbox'])
    chosen = [k for k, name in enumerate(table['part']) if name != 'loss_rpn_bbox']
    np.testing.assert_allclose(matrix[np.ix_(chosen, chosen)], expected, atol=1e-12)


def test_the_stack_adds_up(tmp_path):
    from matplotlib.figure import Figure

    samples = read_losses(run_folder(tmp_path))
    axis = Figure().subplots()
    learning_curves.draw_stack(axis, samples)
    top = axis.collections[-1].get_paths()[0].vertices[:, 1].max()
    assert top == pytest.approx(learning_curves.training_error(samples).max())


def test_the_command_writes_figures_8_and_9(tmp_path, capsys):
    runs = [str(run_folder(tmp_path, name)) for name in ('frozen', 'unfrozen')]
    assert main(['losses', *runs, '-o', str(tmp_path / 'out')]) == 0
    for name in ('learning_curves.png', 'loss_parts.png'):
        assert (tmp_path / 'out' / name).read_bytes().startswith(b'\x89PNG')
    text = (tmp_path / 'out' / 'loss_parts.md').read_text()
    assert '## frozen' in text
    assert '## unfrozen' in text
    assert '400 samples up to iteration 4000' in text
    assert main(['losses', *runs, '-o', str(tmp_path / 'out')]) == 1
    assert '--overwrite' in capsys.readouterr().err


@pytest.mark.parametrize('content', [None, '', 'iteration,loss_cls\n', 'a,b\n1,2\n'])
def test_folders_without_samples(tmp_path, content):
    if content is not None:
        (tmp_path / 'losses.csv').write_text(content)
    with pytest.raises(InputError, match=r'losses\.csv: .*; give'):
        read_losses(tmp_path)


# ---- pictures


def subject(require_detector, side=66):
    from claran_plugin.hooks.prediction_pictures import Subject

    picture = np.zeros((side, side, 3), np.uint8)
    picture[50:60, 20:30] = 255  # in the north, as row 0 is the southernmost
    box = np.array([[20.0, 50.0, 30.0, 60.0]])
    return Subject('FIRSTJ1', picture, box, np.array([0]), box, np.array([5]), np.array([0.9]))


def test_pictures_are_north_up(require_detector):
    from claran_plugin.hooks.prediction_pictures import draw_subjects

    drawn = draw_subjects([subject(require_detector)] * 2, ['1C_1P'] * 5 + ['3C_3P'])
    assert drawn.dtype == np.uint8
    assert drawn.ndim == 3
    top = drawn[: drawn.shape[0] // 2, : drawn.shape[1] // 2].astype(int)  # the truth of the first subject
    dark = top.sum(axis=2) == 0  # the picture's empty sky, and the letters of the title
    y1, y2 = np.flatnonzero(dark.mean(axis=1) > 0.5)[[0, -1]]
    x1, x2 = np.flatnonzero(dark.mean(axis=0) > 0.5)[[0, -1]]
    inner = top[y1 : y2 + 1, x1 : x2 + 1]
    y, x = np.argwhere((inner == 255).all(axis=2)).mean(axis=0) / inner.shape[:2]
    assert y == pytest.approx(1 - 55 / 66, abs=0.05)
    assert x == pytest.approx(25 / 66, abs=0.05)


def test_chosen_subjects_are_spread_over_the_validation_set(require_detector):
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.structures import InstanceData

    from claran_plugin.hooks.prediction_pictures import PredictionPictures

    shown = []
    loader = SimpleNamespace(
        sampler=range(10), batch_size=4, dataset=SimpleNamespace(metainfo=dict(classes=['1C_1P'] * 6))
    )
    visualizer = SimpleNamespace(add_image=lambda name, picture, step: shown.append((name, picture.shape, step)))
    runner = SimpleNamespace(val_dataloader=loader, visualizer=visualizer, iter=7)
    hook = PredictionPictures(number=3, min_probability=0.5)
    hook.before_val_epoch(runner)
    for batch in range(3):
        numbers = range(4 * batch, min(4 * batch + 4, 10))
        outputs = []
        for number in numbers:
            sample = DetDataSample(metainfo=dict(img_path=f'{number}.fits', scale_factor=(2.0, 2.0)))
            sample.gt_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
            sample.pred_instances = InstanceData(
                bboxes=torch.tensor([[1.0, 2.0, 3.0, 4.0]] * 2),
                labels=torch.tensor([0, 1]),
                scores=torch.tensor([0.9, 0.1]),
            )
            outputs.append(sample)
        inputs = [torch.zeros(3, 20, 20, dtype=torch.uint8) for _ in numbers]
        hook.after_val_iter(runner, batch, dict(inputs=inputs), outputs)
    assert [own.name for own in hook.subjects] == ['0', '4', '9']
    assert all(own.found_boxes.tolist() == [[2, 4, 6, 8]] for own in hook.subjects)
    hook.after_val_epoch(runner)
    ((name, shape, step),) = shown
    assert (name, shape[2], step) == ('predictions', 3, 7)


# ---- seeds


def test_an_iteration_draws_the_same_whatever_came_before(require_detector):
    import torch

    from claran_plugin.hooks.seed_iterations import SeedIterations

    hook = SeedIterations()

    def draws(iteration, seed=1):
        hook.before_train_iter(SimpleNamespace(seed=seed, iter=iteration), 0)
        return float(torch.rand(())), float(np.random.rand())

    first, second = draws(1), draws(2)
    assert draws(2) == second
    assert draws(1) == first
    assert first != second
    assert draws(1, seed=2) != first


def test_pybdsf_s_users_do_not_load_the_training_hooks():
    code = "import sys, claran_plugin.hooks; print(sorted({'torch', 'mmengine'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True, cwd=Path.home())
    assert done.stdout.strip() == '[]'


def test_losses_that_are_not_finite_are_left_out(tmp_path):
    run = run_folder(tmp_path)
    path = run / learning_curves.FILE
    lines = path.read_text().splitlines()
    whole = read_losses(run)
    lines[2] = ','.join([lines[2].split(',')[0], *['inf'] * (len(lines[2].split(',')) - 1)])
    path.write_text('\n'.join(lines) + '\n')
    with pytest.warns(InputWarning, match='1 losses are not finite and left out'):
        samples = read_losses(run)
    assert len(samples) == len(whole) - 1
    learning_curves.draw_learning_curves({'run': samples}, tmp_path / 'curves.png')
    learning_curves.draw_parts({'run': samples}, tmp_path / 'parts.png')
