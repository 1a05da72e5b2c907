"""What the options of several commands share. Imports nothing heavy: help and wrong usage are answered at once."""

import argparse
import ast
from typing import Any

from claran_plugin.models import PRECISIONS

FORMATS = ('fits', 'votable', 'csv', 'ascii.ecsv')
"""Keys of `catalogue_writing.FORMATS`, whose import takes too long here."""
SURVEYS = ('first', 'nvss', 'vlass', 'lotss', 'emu', 'racs')
"""Keys of `images.SURVEYS`, likewise."""


def add_command(commands: Any, name: str, text: str, function: str) -> argparse.ArgumentParser:
    """Add a command.

    Parameters
    ----------
    commands : the result of `ArgumentParser.add_subparsers`
    name, text : str
        What is typed, and what it does.
    function : str
        Module and function of `claran_plugin.commands` that does it, as ``association.run``.
    """
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
    parser.set_defaults(command=function, usage_error=parser.error)
    return parser


def add_outputs(parser: Any, folder: str | None = '.', *, quiet: str = 'no progress and no summary') -> None:
    """Add where to write, which must be given if there is no default, whether to replace, and whether to be silent."""
    where = 'folder for the output' + (f' (default: {folder})' if folder else '')
    parser.add_argument('-o', '--output', default=folder, required=folder is None, metavar='DIR', help=where)
    parser.add_argument('--overwrite', action='store_true', help='replace output files that exist')
    parser.add_argument('--quiet', action='store_true', help=quiet)


def add_detector(parser: Any) -> None:
    """Add which detector to use, and where."""
    parser.add_argument(
        '--model',
        metavar='NAME',
        help='bundled model or mmdet config file (default: compact; compact_infrared with an infrared image, where no '
        '--weights are given)',
    )
    parser.add_argument('--weights', metavar='FILE', help='trained weights (default: those of the bundled model)')
    parser.add_argument(
        '--calibration',
        metavar='FILE',
        help='what turns its numbers into probabilities: a file of claran calibrate, or emu for that of the bundled '
        'model on EMU without infrared (default: the one beside the weights)',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N (default: auto)')
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='auto',
        help='auto: eight bits on a CPU, half precision on a GPU, where they are faster in it; half: half precision '
        'where the device is faster in it; full: single (default: auto)',
    )


def add_views(parser: Any) -> None:
    """Add in how many orientations fields are looked at."""
    parser.add_argument(
        '--views',
        type=int,
        default=1,
        choices=(1, 2, 4, 8),
        help='look at each field so often, turned and mirrored, and average (default: 1); as many times slower',
    )


def add_labels(parser: Any) -> None:
    """Add which columns of labelled catalogues tell the truth."""
    parser.add_argument(
        '--truth',
        default='Source_Name',
        metavar='COLUMN',
        help='rows that are one source have the same value there; blank or below 0: not known (default: Source_Name)',
    )
    parser.add_argument(
        '--classes',
        metavar='COLUMN',
        help="the source's class, such as 1C_2P; other values: none of the six (default: counted on the image)",
    )


OF_CUBES = 'one plane is looked at here; measure cubes with bdsf.process_image and claran_plugin.hooks.OpClaran'
NOT_PYBDSF_S: dict[str, str] = {
    'filename': 'the image is given by itself',
    'beam': 'give it with --beam, as PyBDSF is not alone in needing it',
    'frequency': 'give it with --frequency',
    'stop_at': 'PyBDSF has to run to its end',
    **dict.fromkeys(('spectralindex_do', 'polarisation_do', 'collapse_mode', 'collapse_ch0', 'collapse_av'), OF_CUBES),
}
"""Options of PyBDSF that are not to be given, and why."""


def pybdsf_option(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; the value is a Python literal, or else text."""
    key, sign, value = text.partition('=')
    if not key or not sign:
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE')
    if key in NOT_PYBDSF_S:
        raise argparse.ArgumentTypeError(f'{key} is no option here: {NOT_PYBDSF_S[key]}')
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def positive(text: str) -> float:
    """Read a number above zero."""
    value = _parsed(float, text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not above 0')
    return value


def whole(text: str) -> int:
    """Read a whole number of at least zero."""
    value = int(_parsed(int, text))
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is below 0')
    return value


def count(text: str) -> int:
    """Read a whole number of at least one."""
    value = int(_parsed(int, text))
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return value


def _parsed(kind: type, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number') from None


def listed(names: tuple[str, ...]) -> str:
    """Join names for a help text."""
    return ', '.join(names)
