"""For pipelines: PyBDSF, then the association, then PyBDSF's own catalogues of the physical sources.

``python -m claran_plugin.hooks.claran_after_pybdsf field.fits --catalogue-out out/field --formats fits bbs`` writes
``out/field.srl.fits`` and ``out/field.gaul.bbs``.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from claran_plugin.associator import Associator
from claran_plugin.catalogue_writing import atomic_outputs
from claran_plugin.commands.association_options import add_about_image
from claran_plugin.commands.options import add_detector, add_views, pybdsf_option
from claran_plugin.components import Kind, run_pybdsf, write_pybdsf_catalogue
from claran_plugin.hooks.op_claran import OpClaran
from claran_plugin.images import read_image
from claran_plugin.models import DETECTOR
from claran_plugin.outcome import exit_code

FORMATS: dict[str, tuple[Kind, ...]] = {
    'fits': ('srl', 'gaul'),
    'csv': ('srl', 'gaul'),
    'ascii': ('srl', 'gaul'),
    'ds9': ('srl', 'gaul'),
    'bbs': ('gaul',),
    'star': ('gaul',),
    'kvis': ('gaul',),
    'sagecal': ('gaul',),
}
"""PyBDSF's formats and the lists that it writes in them."""


def make_parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    parser = argparse.ArgumentParser(prog='claran_after_pybdsf', description=__doc__.splitlines()[0])
    parser.add_argument('image', help='radio image (FITS)')
    parser.add_argument(
        '-o', '--catalogue-out', required=True, metavar='STEM', help='files are called STEM.LIST.FORMAT'
    )
    parser.add_argument(
        '--formats', nargs='+', default=['fits'], choices=FORMATS, metavar='FORMAT', help=', '.join(FORMATS)
    )
    parser.add_argument(
        '--lists', nargs='+', default=['srl'], choices=('srl', 'gaul'), help='sources, Gaussians or both'
    )
    parser.add_argument('--infrared', help='infrared image (FITS)')
    add_about_image(parser)
    detector = parser.add_argument_group('detector')
    add_detector(detector)
    add_views(detector)
    parser.add_argument(
        '--pybdsf',
        nargs='+',
        default=[],
        type=pybdsf_option,
        metavar='OPTION=VALUE',
        help='options of bdsf.process_image',
    )
    parser.add_argument('--overwrite', action='store_true', help='replace files that exist')
    return parser


def main(arguments: Sequence[str] | None = None, *, associate: Callable[..., Any] | None = None) -> int:
    """Run the script.

    `associate` is handed to `OpClaran`.

    Returns
    -------
    int, the exit code, see `outcome`
    """
    args = make_parser().parse_args(arguments)
    return exit_code('claran_after_pybdsf', lambda: run(args, associate))


def run(args: argparse.Namespace, associate: Callable[..., Any] | None) -> None:
    """Run PyBDSF and the association, and list the files that PyBDSF has written."""
    wanted: list[tuple[Kind, str]] = [
        (kind, form) for form in args.formats for kind in FORMATS[form] if kind in args.lists or len(FORMATS[form]) == 1
    ]
    options = {name: getattr(args, name) for name in ('infrared', *DETECTOR)}
    paths = [Path(f'{args.catalogue_out}.{kind}.{form}') for kind, form in wanted]
    with atomic_outputs(paths, overwrite=args.overwrite) as temporary:
        if associate is None:  # its faults are told before PyBDSF's time is spent
            Associator(infrared=args.infrared is not None, **{name: options[name] for name in DETECTOR})
        image = read_image(args.image, beam=args.beam, frequency=args.frequency, survey=args.survey)
        img = run_pybdsf(image, **dict(args.pybdsf))
        OpClaran(associate=associate, **options)(img)
        for (kind, form), path in zip(wanted, temporary, strict=True):
            write_pybdsf_catalogue(img, path, kind, form)
    for path in paths:
        print(path)


if __name__ == '__main__':
    sys.exit(main())
