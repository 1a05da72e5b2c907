"""Options of ``claran evaluate``."""

import argparse
from typing import Any

from claran_plugin.commands.options import add_command, add_outputs, positive

FILTERS = ('none', 'probable', 'likeliest')


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number') from None
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def add_evaluate(commands: Any) -> None:
    """Add ``claran evaluate``."""
    parser = add_command(
        commands,
        'evaluate',
        "judge a detector's predictions with the paper's tables and figures (Sections 5 and 6)",
        'evaluation.evaluate',
    )
    parser.add_argument('predictions', metavar='PREDICTIONS', help='COCO results (PREFIX.bbox.json)')
    parser.add_argument('truth', metavar='TRUTH', help="test.json of 'claran dataset rgz'")
    group = parser.add_argument_group('which detections count')
    group.add_argument(
        '--min-probability', type=fraction, default=0.0, metavar='P', help='leave out those below (default: 0)'
    )
    group.add_argument('--min-iou', type=fraction, default=0.5, metavar='IOU', help='overlap to exceed (default: 0.5)')
    group.add_argument(
        '--filter',
        choices=FILTERS,
        default='none',
        help="the simple filter of Section 6.1.1 before Section 5's tables: 'probable' rejects what is below "
        "--filter-probability unless the field's highest is, 'likeliest' keeps one source per field (default: none; "
        'Tables 9 to 11 and Figure 16 always use it)',
    )
    group.add_argument(
        '--filter-probability', type=fraction, default=0.8, metavar='P', help='of the simple filter (default: 0.8)'
    )
    group.add_argument(
        '--consensus',
        type=fraction,
        default=0.0,
        metavar='CL',
        help='only fields whose sources all have this consensus level (default: 0)',
    )
    group = parser.add_argument_group('cross-match of Section 5.8')
    group.add_argument('--crossmatch', metavar='CATALOGUE', help='table with positions')
    group.add_argument(
        '--crossmatch-class',
        nargs='+',
        default=['2C_2P', '2C_3P'],
        metavar='CLASS',
        help='classes to match, such as 2C_3P, or 2C for all of two components (default: 2C_2P 2C_3P)',
    )
    group.add_argument(
        '--radius', type=positive, default=20.0, metavar='ARCSEC', help='largest separation (default: 20)'
    )
    add_outputs(parser, None)
