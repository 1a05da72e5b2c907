"""``claran dataset``."""

import argparse

from claran_plugin.packing import pack_dataset
from claran_plugin.progress import Log


def pack(args: argparse.Namespace) -> None:
    """Pack labelled and simulated images into a training set."""
    if bool(args.first) != bool(args.rgz):
        args.usage_error('--first and --rgz go together')
    if not (args.first or args.fr or args.radiogalaxynet or args.simulate):
        args.usage_error('nothing to pack: give at least one of --first, --fr, --radiogalaxynet and --simulate')
    log = Log(args.quiet)
    counts = pack_dataset(
        args.output,
        first=args.first,
        rgz=args.rgz,
        fr=args.fr,
        radiogalaxynet=args.radiogalaxynet,
        n_simulated=args.simulate,
        seed=args.seed,
        overwrite=args.overwrite,
        log=log,
    )
    if not args.quiet:
        print(counts)
        print(f'{args.output}  {log.seconds():.1f} s')
