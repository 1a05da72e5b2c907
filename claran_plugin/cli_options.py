"""Commands and options of ``claran``. Imports nothing heavy, so that help and wrong usage are answered at once."""

import argparse
import ast
from typing import Any

from claran_plugin import __version__

FORMATS = ('fits', 'votable', 'csv', 'ascii.ecsv')
"""Keys of `catalogue_writing.FORMATS`, whose import takes too long here."""
SURVEYS = ('first', 'nvss', 'vlass', 'lotss', 'emu', 'racs')
"""Keys of `images.SURVEYS`, likewise."""


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line; each command sets `command`, the name of a function in `claran_plugin.commands`."""
    parser = argparse.ArgumentParser(
        prog='claran',
        description='Group the components of a radio source finder into physical sources and classify their '
        'morphology. "claran COMMAND --help" lists the options of a command.',
    )
    parser.add_argument('--version', action='version', version=f'claran_plugin {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND')
    _add_run(commands)
    _add_associate(commands)
    _add_detect(commands)
    _add_simulate(commands)
    _add_dataset(commands)
    _add_demo(commands)
    return parser


def _add_command(commands: Any, name: str, text: str, function: str | None = None) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
    parser.set_defaults(command=function or name, usage_error=parser.error)
    return parser


def _add_run(commands: Any) -> None:
    parser = _add_command(commands, 'run', 'find components with PyBDSF, then associate them: image to source table')
    parser.add_argument('image', metavar='IMAGE', help='radio image (FITS)')
    parser.add_argument(
        '--kind', choices=('srl', 'gaul'), default='srl', help="which of PyBDSF's lists to associate (default: srl)"
    )
    parser.add_argument(
        '--pybdsf',
        action='append',
        type=pybdsf_option,
        default=[],
        metavar='KEY=VALUE',
        help='option of bdsf.process_image, such as thresh_pix=4.5; repeat for more',
    )
    _add_common(parser)


def _add_associate(commands: Any) -> None:
    parser = _add_command(commands, 'associate', 'associate the components of a catalogue, as PyBDSF wrote it')
    parser.add_argument('image', metavar='IMAGE', help='radio image (FITS)')
    parser.add_argument('catalogue', metavar='CATALOGUE', help='srl or gaul list, or another table of components')
    parser.add_argument('--overwrite-columns', action='store_true', help='replace the columns of an earlier run')
    _add_common(parser)


def _add_detect(commands: Any) -> None:
    parser = _add_command(commands, 'detect', 'find sources and their morphology without a catalogue')
    parser.add_argument('image', metavar='IMAGE', help='radio image (FITS)')
    _add_common(parser)


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add what run, associate and detect share."""
    inputs = parser.add_argument_group('about the image')
    inputs.add_argument('--infrared', metavar='IMAGE', help='infrared image (FITS) of the field, on any grid')
    inputs.add_argument(
        '--beam',
        nargs=3,
        type=float,
        metavar=('MAJ', 'MIN', 'PA'),
        help='full widths and angle, deg (overrides header)',
    )
    inputs.add_argument('--frequency', type=float, metavar='HZ', help='overrides the header')
    inputs.add_argument(
        '--survey', choices=SURVEYS, metavar='NAME', help=f'preset for what it lacks: {_listed(SURVEYS)}'
    )
    detector = parser.add_argument_group('detector')
    detector.add_argument('--model', default='compact', metavar='NAME', help='bundled model or mmdet config file')
    detector.add_argument('--weights', metavar='FILE', help='trained weights (default: those of the bundled model)')
    detector.add_argument('--device', default='auto', help='auto, cpu or cuda:N (default: auto)')
    detector.add_argument(
        '--fov', type=_positive, metavar='ARCSEC', help='side of the fields of view (default: 33 beams)'
    )
    detector.add_argument(
        '--all', action='store_true', help='look at isolated, unresolved components too (detect always does)'
    )
    outputs = parser.add_argument_group('output')
    _add_folder(outputs, '.')
    outputs.add_argument('--format', choices=FORMATS, default='fits', help='of the tables (default: fits)')
    outputs.add_argument('--no-picture', action='store_true', help='write no overlay picture')
    outputs.add_argument('--overwrite', action='store_true', help='replace output files that exist')
    outputs.add_argument('--quiet', action='store_true', help='no progress and no summary')


def _add_simulate(commands: Any) -> None:
    parser = _add_command(commands, 'simulate', 'simulate radio images and their truth')
    parser.add_argument('--size', type=_positive, default=15.0, metavar='ARCMIN', help='width and height (default: 15)')
    parser.add_argument('--number', type=_count, default=1, metavar='K', help='how many fields (default: 1)')
    parser.add_argument(
        '--seed', type=_whole, default=1, metavar='N', help='of the first field; the next has N + 1 (default: 1)'
    )
    parser.add_argument('--infrared', action='store_true', help='an infrared image of each field, too')
    _add_folder(parser, '.')
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    parser.add_argument('--quiet', action='store_true', help='no progress and no summary')


def _add_dataset(commands: Any) -> None:
    dataset = commands.add_parser('dataset', help='make training sets', description='Make training sets.')
    parser = _add_command(
        dataset.add_subparsers(required=True, metavar='COMMAND'),
        'pack',
        'pack labelled images into the training set of the compact detector, in the order of the options below',
        'dataset_pack',
    )
    parser.add_argument('--first', metavar='DIR', help='FIRST images of Radio Galaxy Zoo subjects; needs --rgz')
    parser.add_argument('--rgz', metavar='CSV', help="ClaRAN's subset of the RGZ DR1 catalogue")
    parser.add_argument('--fr', metavar='DIR', help='FIRST images around catalogued FR galaxies')
    parser.add_argument('--radiogalaxynet', metavar='DIR', help='RadioGalaxyNET: annotations.json and radio/')
    parser.add_argument('--simulate', type=_whole, default=0, metavar='N', help='number of simulated subjects')
    parser.add_argument('--seed', type=_whole, default=1, metavar='N', help='of what is drawn (default: 1)')
    _add_folder(parser, None)
    parser.add_argument('--overwrite', action='store_true', help='replace a packed set that exists')
    parser.add_argument('--quiet', action='store_true', help='no progress and no summary')


def _add_demo(commands: Any) -> None:
    parser = _add_command(commands, 'demo', 'simulate a field, run PyBDSF and the association on it, and score them')
    _add_folder(parser, 'demo_output')
    parser.add_argument('--model', default='compact', metavar='NAME', help='bundled model or mmdet config file')
    parser.add_argument('--weights', metavar='FILE', help='trained weights (default: those of the bundled model)')
    parser.add_argument('--device', default='auto', help='auto, cpu or cuda:N (default: auto)')
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    parser.add_argument('--quiet', action='store_true', help='no progress')


def _add_folder(parser: Any, default: str | None) -> None:
    text = 'folder for the output' + (f' (default: {default})' if default else '')
    parser.add_argument('-o', '--output', default=default, required=default is None, metavar='DIR', help=text)


def pybdsf_option(text: str) -> tuple[str, Any]:
    """Read ``KEY=VALUE``; the value is a Python literal, or else text."""
    key, sign, value = text.partition('=')
    if not key or not sign:
        raise argparse.ArgumentTypeError(f'{text!r} is not KEY=VALUE')
    try:
        return key, ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return key, value


def _positive(text: str) -> float:
    value = _parsed(float, text)
    if not 0 < value < float('inf'):
        raise argparse.ArgumentTypeError(f'{text} is not above 0')
    return value


def _whole(text: str) -> int:
    value = int(_parsed(int, text))
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is below 0')
    return value


def _count(text: str) -> int:
    value = int(_parsed(int, text))
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is below 1')
    return value


def _parsed(kind: type, text: str) -> float:
    try:
        return kind(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number') from None


def _listed(names: tuple[str, ...]) -> str:
    return ', '.join(names)
