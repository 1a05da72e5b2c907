"""Options of ``claran run``, ``associate``, ``detect`` and ``explain``."""

import argparse
from typing import Any

from claran_plugin.commands.options import (
    FORMATS,
    SURVEYS,
    add_command,
    add_detector,
    add_outputs,
    add_views,
    listed,
    positive,
    pybdsf_option,
)


def add_run(commands: Any) -> None:
    """Add ``claran run``."""
    parser = add_command(
        commands, 'run', 'find components with PyBDSF, then associate them: image to source table', 'association.run'
    )
    parser.add_argument('image', metavar='IMAGE', help='radio image (FITS)')
    add_pybdsf(parser)
    _add_common(parser)


def add_associate(commands: Any) -> None:
    """Add ``claran associate``."""
    parser = add_command(
        commands, 'associate', 'associate the components of a catalogue, as PyBDSF wrote it', 'association.associate'
    )
    parser.add_argument('image', metavar='IMAGE', help='radio image (FITS)')
    parser.add_argument('catalogue', metavar='CATALOGUE', help='srl or gaul list, or another table of components')
    parser.add_argument('--overwrite-columns', action='store_true', help='replace the columns of an earlier run')
    _add_common(parser)


def add_explain(commands: Any) -> None:
    """Add ``claran explain``."""
    parser = add_command(
        commands, 'explain', 'tell why the rows of a source were joined, and what was weighed', 'association.explain'
    )
    parser.add_argument('folder', metavar='DIR', help='output of claran run, associate or survey')
    parser.add_argument('source', metavar='SOURCE_NAME', help="as in the source table; its end, 'J...', will do")
    parser.add_argument('--image', metavar='NAME', help='its image, where several show it')


def add_detect(commands: Any) -> None:
    """Add ``claran detect``."""
    parser = add_command(
        commands, 'detect', 'find sources and their morphology without a catalogue', 'association.detect'
    )
    parser.add_argument('image', metavar='IMAGE', help='radio image (FITS)')
    _add_common(parser)


def add_pybdsf(parser: argparse.ArgumentParser) -> None:
    """Add what PyBDSF is to do."""
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


def add_about_image(parser: argparse.ArgumentParser, title: str = 'about the image') -> Any:
    """Add what images may lack; give the group."""
    inputs = parser.add_argument_group(title)
    inputs.add_argument(
        '--beam',
        nargs=3,
        type=float,
        metavar=('MAJ', 'MIN', 'PA'),
        help='full widths and angle, deg (overrides header)',
    )
    inputs.add_argument('--frequency', type=float, metavar='HZ', help='overrides the header')
    inputs.add_argument(
        '--survey', choices=SURVEYS, metavar='NAME', help=f'preset for what it lacks: {listed(SURVEYS)}'
    )
    return inputs


def add_looking(parser: argparse.ArgumentParser) -> None:
    """Add the detector and what it is to look at."""
    detector = parser.add_argument_group('detector')
    add_detector(detector)
    add_views(detector)
    detector.add_argument(
        '--fov', type=positive, metavar='ARCSEC', help='side of the fields of view (default: 33 beams)'
    )
    detector.add_argument(
        '--all', action='store_true', help='look at isolated, unresolved components too (detect always does)'
    )


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Add what run, associate and detect share."""
    inputs = add_about_image(parser)
    inputs.add_argument('--infrared', metavar='IMAGE', help='infrared image (FITS) of the field, on any grid')
    add_looking(parser)
    outputs = parser.add_argument_group('output')
    outputs.add_argument('--format', choices=FORMATS, default='fits', help='of the tables (default: fits)')
    outputs.add_argument('--no-picture', action='store_true', help='write no overlay picture')
    add_outputs(outputs)
