"""Options of ``claran train``, ``claran test``, ``claran losses`` and ``claran weights``."""

from typing import Any

from claran_plugin.commands.options import add_command, add_outputs, count

LAUNCHERS = ('none', 'pytorch', 'slurm', 'mpi')
"""mmdet's choices."""


def add_train(commands: Any) -> None:
    """Add ``claran train``."""
    parser = add_command(commands, 'train', "train a detector with mmdet's tools/train.py", 'training.train')
    _add_config(parser)
    parser.add_argument('--work-dir', metavar='DIR', help='folder for logs and weights (default: work_dirs/CONFIG)')
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from a checkpoint (default: the latest one in the work folder)',
    )
    parser.add_argument('--amp', action='store_true', help='mixed precision: float16 on a GPU, bfloat16 on a CPU')
    parser.add_argument('--auto-scale-lr', action='store_true', help='scale the learning rate with the batch size')
    _add_shared(parser)


def add_test(commands: Any) -> None:
    """Add ``claran test``."""
    parser = add_command(commands, 'test', "score a trained detector with mmdet's tools/test.py", 'training.test')
    _add_config(parser)
    parser.add_argument('checkpoint', help='trained weights')
    parser.add_argument('--work-dir', metavar='DIR', help='folder for the scores (default: work_dirs/CONFIG)')
    parser.add_argument('--out', metavar='FILE', help='write the predictions to a pickle')
    parser.add_argument('--show-dir', metavar='DIR', help='draw the predictions into this folder')
    parser.add_argument(
        '--tta', action='store_true', help="put together what is seen in the views of the config's tta_pipeline"
    )
    _add_shared(parser)


def add_losses(commands: Any) -> None:
    """Add ``claran losses``."""
    parser = add_command(
        commands,
        'losses',
        'draw the learning curves of trainings and the parts of their losses (Figures 8 and 9 of the paper)',
        'training.losses',
    )
    parser.add_argument('runs', nargs='+', metavar='DIR', help='work folders of trainings')
    add_outputs(parser)


def add_weights(commands: Any) -> None:
    """Add ``claran weights``."""
    parser = add_command(
        commands,
        'weights',
        "strip a training's checkpoint to its weights in half precision, for --weights of run, associate, detect, "
        'survey, calibrate and demo',
        'training.weights',
    )
    parser.add_argument('checkpoint', help='what "claran train" has written; load only files that you trust')
    parser.add_argument('-o', '--output', required=True, metavar='FILE', help='such as mine.pth')
    parser.add_argument('--overwrite', action='store_true', help='replace the output file if it exists')
    parser.add_argument('--quiet', action='store_true', help='print nothing')


def add_ranges(commands: Any) -> None:
    """Add ``claran ranges``."""
    parser = add_command(
        commands,
        'ranges',
        'measure on simulated fields what weights need to run in eight bits on CPUs; it goes into a file beside them',
        'training.ranges',
    )
    parser.add_argument('weights', help='such as mine.pth, which gets mine.ranges.json beside it')
    parser.add_argument('--model', default='compact', metavar='NAME', help='whose they are (default: compact)')
    parser.add_argument('--overwrite', action='store_true', help='replace the output file if it exists')
    parser.add_argument('--quiet', action='store_true', help='print nothing')


def _add_config(parser: Any) -> None:
    parser.add_argument('config', help='mmdet config file, or the name of a bundled one, such as compact')


def _add_shared(parser: Any) -> None:
    parser.add_argument(
        '--cfg-options', nargs='+', default=[], metavar='KEY=VALUE', help='replace settings of the config'
    )
    parser.add_argument('--launcher', choices=LAUNCHERS, default='none', help='of processes started elsewhere')
    parser.add_argument(
        '--processes', '--gpus', type=count, default=1, metavar='N', help='start N processes, one per GPU (default: 1)'
    )
