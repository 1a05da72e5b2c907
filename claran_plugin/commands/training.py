"""``claran train``, ``claran test``, ``claran losses``, ``claran weights`` and ``claran ranges``."""

import argparse
import contextlib
import importlib.util
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from claran_plugin.catalogue_writing import atomic_outputs
from claran_plugin.errors import InputError
from claran_plugin.models import find_config, find_model, known_configs, ranges_beside
from claran_plugin.outcome import Terminated
from claran_plugin.progress import Log

PATIENCE = 40.0
"""Seconds that a training has to end in; torch's launcher waits 30 for its processes before it kills them."""


def train(args: argparse.Namespace) -> None:
    """Run mmdet's tools/train.py."""
    options = _given(args, 'work_dir', 'resume')
    if args.resume == 'auto' and (folder := _work_folder(args)) and not (folder / 'last_checkpoint').is_file():
        # mmdet would begin anew, and without the weights that the config or --cfg-options load.
        print(f'claran: {folder}: nothing to resume, so the training begins', flush=True)
        options = _given(args, 'work_dir')
    _run_tool('train.py', args, [], options + _switched_on(args, 'amp', 'auto_scale_lr'))


def test(args: argparse.Namespace) -> None:
    """Run mmdet's tools/test.py."""
    if not Path(args.checkpoint).is_file():
        raise InputError(f'{args.checkpoint}: no such checkpoint; give one that "claran train" has written')
    if args.tta:
        _check_views(args.config)
    options = _given(args, 'work_dir', 'out', 'show_dir') + _switched_on(args, 'tta')
    _run_tool('test.py', args, [args.checkpoint], options)


def _work_folder(args: argparse.Namespace) -> Path | None:
    """Give the folder that mmdet's tools/train.py works in; None where there is no such config."""
    path = find_config(args.config)
    if path is None:
        return None
    given = dict(option.split('=', 1) for option in args.cfg_options or () if '=' in option)
    own = given.get('work_dir') or _read_config(path).get('work_dir')
    return Path(args.work_dir or own or f'work_dirs/{path.stem}')


def _check_views(name: str) -> None:
    """Raise InputError where a config does not say which views there are; mmdet's own do not fit every data set."""
    path = find_config(name)
    if path is not None and 'tta_model' not in _read_config(path):
        raise InputError(
            f'{name}: does not say of which views --tta is to take the mean (tta_model, tta_pipeline); leave it out'
        )


def _read_config(path: Path) -> Any:
    from mmengine.config import Config

    try:
        return Config.fromfile(path, import_custom_modules=False)
    except Exception as err:
        said = ' '.join(str(err).split())[:120]
        raise InputError(f'{path}: not a readable mmdet config ({type(err).__name__}: {said}); correct it') from err


def losses(args: argparse.Namespace) -> None:
    """Draw Figures 8 and 9, and write the numbers of Section 5.1."""
    from claran_plugin.evaluation import learning_curves

    log = Log(args.quiet)
    runs = {Path(run).resolve().name: learning_curves.read_losses(run) for run in args.runs}
    if len(runs) < len(args.runs):
        raise InputError(f'{", ".join(args.runs)}: folders of the same name cannot be told apart; rename one')
    folder = Path(args.output)
    paths = [folder / name for name in ('learning_curves.png', 'loss_parts.png', 'loss_parts.md')]
    with atomic_outputs(paths, overwrite=args.overwrite) as (curves, parts, text):
        learning_curves.draw_learning_curves(runs, curves)
        learning_curves.draw_parts(runs, parts)
        text.write_text(learning_curves.report(runs))
    if not args.quiet:
        log.files(paths)


def weights(args: argparse.Namespace) -> None:
    """Strip a checkpoint to its weights."""
    from claran_plugin.detection.weights_files import save_weights

    log, path = Log(args.quiet), Path(args.output)
    with atomic_outputs([path], overwrite=args.overwrite) as (made,):
        save_weights(args.checkpoint, made)
    if not args.quiet:
        log.files([path])


def ranges(args: argparse.Namespace) -> None:
    """Measure what some weights need to run in eight bits, and write it beside them."""
    from claran_plugin.detection.activation_ranges import measure_ranges, write_ranges
    from claran_plugin.detection.inference import Detector

    log = Log(args.quiet)
    found = find_model(args.model, args.weights)
    path = ranges_beside(args.weights)
    with atomic_outputs([path], overwrite=args.overwrite) as (made,):
        detector = Detector(found.config, found.weights, 'cpu', 'full')
        write_ranges(measure_ranges(detector), detector.weights_hash, made)
    if not args.quiet:
        log.files([path])


def find_tool(name: str) -> Path:
    """Find one of mmdet's own tools, without importing mmdet.

    Raises
    ------
    InputError
        Where mmdet or its tools are not there.
    """
    remedy = "install the detector with 'make venv', or follow 'Installation' in the README"
    found = importlib.util.find_spec('mmdet')
    if found is None or found.origin is None:
        raise InputError(f'mmdet is not installed, whose tools/{name} does the work; {remedy}')
    package = Path(found.origin).parent
    # installed packages carry the tools in .mim; in a source tree they stand beside the package
    tool = next(
        (path for path in (package / '.mim/tools' / name, package.parent / 'tools' / name) if path.is_file()), None
    )
    if tool is None:
        raise InputError(f'{package}: this mmdet comes without tools/{name}; {remedy}')
    return tool


def _given(args: argparse.Namespace, *names: str) -> list[str]:
    """Give the options that have a value, as they are typed."""
    pairs = [(f'--{name.replace("_", "-")}', getattr(args, name)) for name in names]
    return [word for pair in pairs if pair[1] is not None for word in pair]


def _switched_on(args: argparse.Namespace, *names: str) -> list[str]:
    """Give those of some switches that are on, as they are typed."""
    return [f'--{name.replace("_", "-")}' for name in names if getattr(args, name)]


def _run_tool(name: str, args: argparse.Namespace, positional: list[str], options: list[str]) -> None:
    config = find_config(args.config)
    if config is None:
        raise InputError(
            f'{args.config}: no such config; give one of {known_configs()}, or the path of an mmdet config'
        )
    command = [sys.executable]
    launcher = args.launcher
    if args.processes > 1:
        if launcher != 'none':
            args.usage_error('--processes starts the processes itself: leave out --launcher')
        command += ['-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={args.processes}']
        launcher = 'pytorch'
    command += [str(find_tool(name)), str(config), *positional, *options, '--launcher', launcher]
    if args.cfg_options:
        command += ['--cfg-options', *args.cfg_options]
    code = _exit_code_of(command)
    if code:
        raise InputError(f"{args.config}: mmdet's tools/{name} stopped with exit code {code}; see its messages above")


def _exit_code_of(command: list[str]) -> int:
    """Run a command; where this one is to end, so is that, with the processes that it has started."""
    process = subprocess.Popen(command, env=_environment())
    try:
        return process.wait()
    except BaseException as err:
        if not isinstance(err, Terminated):  # Ctrl-C in a terminal has reached it, too
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE)
        process.terminate()  # killed at once, it would leave its own processes running
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        process.kill()
        raise


def _environment() -> dict[str, str]:
    """Let OpenMMLab's original mmengine load the checkpoints that it has written, which torch refuses since 2.6."""
    try:
        metadata.version('mmengine')
    except metadata.PackageNotFoundError:  # the maintained fork, under another name
        return dict(os.environ)
    return {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1', **os.environ}
