"""``claran simulate`` and ``demo``."""

import argparse
from pathlib import Path

import numpy as np

from claran_plugin.catalogue_writing import (
    atomic_outputs,
    check_outputs,
)
from claran_plugin.errors import InputError
from claran_plugin.models import DETECTOR
from claran_plugin.progress import Log
from claran_plugin.simulation import simulate_field, simulate_infrared, write_field

SMALLEST_FIELD_ARCMIN = 2.0
"""Below, a simulated field is narrower than 20 beams."""
LARGEST_FIELD_ARCMIN = 600.0
"""20,000 pixels wide, which takes about 30 GB of memory."""


def simulate(args: argparse.Namespace) -> None:
    """Simulate fields; each has a seed of its own, so that it can be made again alone."""
    log = Log(args.quiet)
    if args.size < SMALLEST_FIELD_ARCMIN:
        raise InputError(f'--size {args.size:g}: too small for a field; give at least {SMALLEST_FIELD_ARCMIN:g} arcmin')
    if args.size > LARGEST_FIELD_ARCMIN:
        raise InputError(f'--size {args.size:g}: too large for a field; give at most {LARGEST_FIELD_ARCMIN:g} arcmin')
    kinds = ['fits', 'truth.fits', *(['infrared.fits'] if args.infrared else [])]
    seeds = range(args.seed, args.seed + args.number)
    outputs = {seed: [Path(args.output) / f'field_{seed:04d}.{kind}' for kind in kinds] for seed in seeds}
    check_outputs([path for paths in outputs.values() for path in paths], overwrite=args.overwrite)
    for seed, paths in log.track(
        outputs.items(), len(outputs), 'field simulated' if args.number == 1 else 'fields simulated'
    ):
        field = simulate_field(np.random.default_rng(seed), size_arcmin=args.size)
        with atomic_outputs(paths, overwrite=args.overwrite) as temporary:
            write_field(field, temporary[0])
            if args.infrared:  # from a generator of its own: the radio image is the same with and without
                infrared = simulate_infrared(np.random.default_rng([seed, 1]), field)
                infrared.write(temporary[2], hdu_mask=None)
    if not args.quiet:
        log.files([path for paths in outputs.values() for path in paths])


def demo(args: argparse.Namespace) -> None:
    """Run the demonstration."""
    from claran_plugin.demo import run_demo

    log = Log(args.quiet)
    options = {name: getattr(args, name) for name in DETECTOR if hasattr(args, name)}
    report, paths = run_demo(
        Path(args.output), overwrite=args.overwrite, command_line=args.command_line, log=log, **options
    )
    print(report)
    log.files(paths)
