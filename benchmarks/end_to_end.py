"""Train the compact detector with and without gradients to the proposals' coordinates, and compare.

    python benchmarks/end_to_end.py --data DIR [--iterations 1000] [--seeds 1 2 3] [-o DIR]

DIR is a packed training set (``claran dataset pack``). Its subjects are split: every tenth is kept for the evaluation,
and both trainings see the others in the same order, from the same first weights. Wu et al. 2019 (Section 4.4)
train with the gradients; mmdet, and the authors' own code, without. One seed says little: differences are to be read
against the scatter between seeds.
"""

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import RUNNERS, init_default_scope

from claran_plugin.models import config_folder

LOSSES = ('loss', 'loss_rpn_cls', 'loss_rpn_bbox', 'loss_cls', 'loss_bbox')
METRICS = ('claran/mAP6', 'claran/mAP3')
HELD_OUT = 10
"""Every tenth subject is evaluated on."""


def main(argv: Sequence[str] | None = None) -> None:
    """Train, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, required=True, help='a packed training set')
    parser.add_argument('--iterations', type=int, default=1000)
    parser.add_argument('--seeds', type=int, nargs='+', default=[1])
    parser.add_argument(
        '-o', '--output', type=Path, help='keep logs and checkpoints here; a temporary folder by default'
    )
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.output or Path(temporary)
        train_set, test_set = split(arguments.data, folder)
        results = {
            (seed, detach): train(
                train_set, test_set, folder / f'seed{seed}_{name}', arguments.iterations, seed, detach
            )
            for seed in arguments.seeds
            for name, detach in (('end_to_end', False), ('detached', True))
        }
    report(results, arguments.seeds)


def split(data: Path, folder: Path) -> tuple[Path, Path]:
    """Make two packed sets of one."""
    listing = json.loads((data / 'subjects.json').read_text())
    cutouts = np.load(data / 'snr.npy', mmap_mode='r')
    numbers = np.arange(len(cutouts))
    held_out = numbers % HELD_OUT == 0
    made = []
    for name, chosen in (('train', numbers[~held_out]), ('test', numbers[held_out])):
        part = folder / 'data' / name
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        np.save(part / 'snr.npy', cutouts[chosen])
        subjects = [listing['subjects'][number] for number in chosen]
        (part / 'subjects.json').write_text(json.dumps(dict(listing, subjects=subjects)))
        made.append(part)
    return made[0], made[1]


def train(train_set: Path, test_set: Path, folder: Path, iterations: int, seed: int, detach: bool) -> list[dict]:
    """Train once; give what was logged, line by line."""
    config = Config.fromfile(config_folder() / 'claran_compact.py')
    subjects = json.loads((train_set / 'subjects.json').read_text())['subjects']
    shares = {origin: 1.0 for origin in sorted({subject['origin'] for subject in subjects})}
    config.model.rpn_head.detach_proposals = detach
    config.train_dataloader.dataset.data_root = str(train_set)
    config.train_dataloader.sampler.weights = shares
    for loader in (config.val_dataloader, config.test_dataloader):
        loader.dataset.update(data_root=str(test_set), origins=None)
    config.train_cfg.update(max_iters=iterations, val_interval=iterations)
    warm_up, cosine = config.param_scheduler
    warm_up.end = cosine.begin = min(warm_up.end, iterations // 5)
    cosine.update(end=iterations, T_max=iterations - cosine.begin)
    config.default_hooks.logger.interval = max(iterations // 10, 1)
    config.default_hooks.checkpoint.interval = iterations
    config.log_processor.window_size = max(iterations // 10, 1)
    config.randomness.seed = seed
    config.work_dir = str(folder)
    # mmengine keeps these by name as long as the process lives
    config.experiment_name = config.visualizer.name = folder.name
    config.log_level = 'WARNING'
    shutil.rmtree(folder, ignore_errors=True)
    init_default_scope('mmdet')
    RUNNERS.build(config).train()
    (log,) = folder.glob('*/vis_data/scalars.json')
    return [json.loads(line) for line in log.read_text().splitlines()]


def report(results: dict[tuple[int, bool], list[dict]], seeds: Sequence[int]) -> None:
    """Print losses and average precision, with gradients to the coordinates and without, beside each other."""
    final = {detach: [last(results[seed, detach]) for seed in seeds] for detach in (False, True)}
    for seed in seeds:
        print(f'\nseed {seed}: losses, means since the line before, end to end | detached')
        print('iteration  ' + '  '.join(f'{name:>17s}' for name in LOSSES))
        for ours, theirs in zip(results[seed, False], results[seed, True], strict=True):
            if 'loss' in ours:
                pairs = (f'{ours[name]:8.4f}|{theirs[name]:8.4f}' for name in LOSSES)
                print(f'{ours["step"]:9d}  ' + '  '.join(pairs))
    print(f'\nafter the last iteration; mean of {len(seeds)} seeds, and the scatter of the difference between them')
    print(f'{"":14s}  end to end  detached  difference')
    for name in METRICS + LOSSES:
        ours, theirs = (np.array([line[name] for line in final[detach]]) for detach in (False, True))
        scatter = f' +- {np.std(ours - theirs, ddof=1):.4f}' if len(seeds) > 1 else ''
        print(f'{name:14s}  {ours.mean():10.4f}  {theirs.mean():8.4f}  {(ours - theirs).mean():+10.4f}{scatter}')


def last(lines: list[dict]) -> dict:
    """Give the last losses and metrics that were logged."""
    return {name: value for line in lines for name, value in line.items()}


if __name__ == '__main__':
    main()
