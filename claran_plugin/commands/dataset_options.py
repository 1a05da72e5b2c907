"""Options of ``claran dataset``."""

import argparse
from typing import Any

from claran_plugin.commands.association_options import add_about_image
from claran_plugin.commands.options import add_command, add_labels, add_outputs, listed, positive, whole

SURVEYS = ('first', 'wise')
"""Keys of `cutout_services.SERVICES`, whose import takes too long here."""


def add_dataset(commands: Any) -> None:
    """Add ``claran dataset`` and its commands."""
    dataset = commands.add_parser('dataset', help='make training sets', description='Make training sets.')
    kinds = dataset.add_subparsers(required=True, metavar='COMMAND')
    _add_pack(kinds)
    _add_rgz(kinds)
    _add_radiogalaxynet(kinds)
    _add_fetch(kinds)


def _add_pack(kinds: Any) -> None:
    parser = add_command(
        kinds,
        'pack',
        'pack labelled images into the training set of the compact detector, in the order of the options below',
        'dataset.pack',
    )
    parser.add_argument('--first', metavar='DIR', help='FIRST images of Radio Galaxy Zoo subjects; needs --rgz')
    parser.add_argument('--rgz', metavar='CSV', help="ClaRAN's subset of the RGZ DR1 catalogue")
    parser.add_argument('--fr', metavar='DIR', help='FIRST images around catalogued FR galaxies')
    parser.add_argument('--radiogalaxynet', metavar='DIR', help='RadioGalaxyNET: annotations.json and radio/')
    parser.add_argument(
        '--labelled',
        metavar='LIST',
        help='images of your own: IMAGE CATALOGUE [INFRARED] on each line, or a table with these columns',
    )
    parser.add_argument('--simulate', type=whole, default=0, metavar='N', help='number of simulated subjects')
    parser.add_argument(
        '--simulate-coarse',
        type=whole,
        default=0,
        metavar='N',
        help='number of simulated subjects at coarser beams, with sources larger than a field of view',
    )
    parser.add_argument(
        '--infrared',
        action='store_true',
        help="an infrared image with every subject: RadioGalaxyNET's (infrared/) and the list's own, drawn "
        'ones for the others',
    )
    parser.add_argument('--seed', type=whole, default=1, metavar='N', help='of what is drawn (default: 1)')
    add_labels(parser.add_argument_group('about the catalogues of --labelled'))
    add_about_image(parser, 'about the images of --labelled')
    add_outputs(parser, None)


def _add_rgz(kinds: Any) -> None:
    parser = add_command(
        kinds,
        'rgz',
        'make a COCO data set of Radio Galaxy Zoo subjects from their catalogue and FITS images, and the tables and '
        'figures that describe it; without images, only these',
        'dataset.rgz',
    )
    parser.add_argument('catalogue', metavar='CATALOGUE', help="ClaRAN's subset of the RGZ DR1 catalogue (CSV)")
    parser.add_argument('--images', metavar='DIR', help='FIRST images of the subjects, found by name or position')
    parser.add_argument('--infrared', metavar='DIR', help='WISE images of the subjects, likewise (for D2, D3 and D4)')
    parser.add_argument(
        '--min-consensus', type=share, default=0.6, metavar='LEVEL', help='of every source (default: 0.6)'
    )
    for name in ('components', 'peaks'):
        parser.add_argument(
            f'--max-{name}', type=int, choices=(1, 2, 3), default=3, help=f'{name} of every source (default: 3)'
        )
    parser.add_argument(
        '--split',
        choices=('published', 'random'),
        default='published',
        help="the catalogue's column training, or by --seed and --test-share (default: published)",
    )
    parser.add_argument('--seed', type=whole, default=1, metavar='N', help='of the random split (default: 1)')
    parser.add_argument(
        '--test-share', type=share, default=0.4284, metavar='SHARE', help='of the random split (default: 0.4284)'
    )
    add_outputs(parser, None)


def _add_radiogalaxynet(kinds: Any) -> None:
    parser = add_command(
        kinds,
        'radiogalaxynet',
        'make a COCO data set of fused pictures from RadioGalaxyNET, with its own four classes and boxes',
        'dataset.radiogalaxynet',
    )
    parser.add_argument('folder', metavar='DIR', help='RadioGalaxyNET: train/ and val/ with their annotations.json')
    parser.add_argument(
        '--fusion', choices=('S', 'SI'), default='SI', help='of radio alone, or with infrared (default: SI)'
    )
    parser.add_argument('--seed', type=whole, default=1, metavar='N', help='of the noise (default: 1)')
    add_outputs(parser, None)


def _add_fetch(kinds: Any) -> None:
    parser = add_command(
        kinds,
        'fetch',
        'download FIRST and WISE W1 cut-outs into DIR/first and DIR/wise; needs pip install claran_plugin[fetch]',
        'dataset.fetch',
    )
    parser.add_argument(
        'positions', metavar='POSITIONS', help='table with RA and DEC (deg), or with first_id as the RGZ catalogue has'
    )
    parser.add_argument('-o', '--output', required=True, metavar='DIR', help='folder for the cut-outs')
    parser.add_argument(
        '--survey',
        type=surveys,
        default=SURVEYS,
        metavar='LIST',
        help=f'any of {listed(SURVEYS)} (default: first,wise)',
    )
    parser.add_argument(
        '--size', type=positive, default=5.0, metavar='ARCMIN', help='side of the cut-outs (default: 5)'
    )
    parser.add_argument(
        '--pause', type=positive, default=0.5, metavar='SECONDS', help='between two requests (default: 0.5)'
    )
    for survey, kind in (('first', 'FIRST cut-out server'), ('wise', 'SIA2 service with AllWISE')):
        parser.add_argument(f'--{survey}-url', metavar='URL', help=f"another {kind} than astroquery's")
    parser.add_argument('--quiet', action='store_true', help='no progress and no summary')


def share(text: str) -> float:
    """Read a number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to 1')
    return value


def surveys(text: str) -> tuple[str, ...]:
    """Read names of surveys with commas between them."""
    names = tuple(name.strip().lower() for name in text.split(','))
    unknown = [name for name in names if name not in SURVEYS]
    if unknown:
        raise argparse.ArgumentTypeError(f'{unknown[0]!r} is unknown: choose from {listed(SURVEYS)}')
    return names
