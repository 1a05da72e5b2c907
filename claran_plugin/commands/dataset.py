"""``claran dataset``."""

import argparse
from pathlib import Path

from claran_plugin.catalogue_writing import check_outputs
from claran_plugin.datasets.cutout_fetching import fetch_cutouts, read_positions
from claran_plugin.datasets.packing import pack_dataset
from claran_plugin.datasets.radiogalaxynet_pictures import make_pictures
from claran_plugin.datasets.rgz_catalogue import published_split, random_split, read_subjects, select
from claran_plugin.datasets.rgz_dataset import make_dataset, table_paths, tabulate
from claran_plugin.errors import InputError
from claran_plugin.labelled import read_labelled
from claran_plugin.progress import Log
from claran_plugin.survey.listing import read_list

IMAGED = '_images'
"""Ends the names of tables and figures of what has images."""


def pack(args: argparse.Namespace) -> None:
    """Pack labelled and simulated images into a training set."""
    if bool(args.first) != bool(args.rgz):
        args.usage_error('--first and --rgz go together')
    if not (args.first or args.fr or args.radiogalaxynet or args.labelled or args.simulate or args.simulate_coarse):
        args.usage_error(
            'nothing to pack: give at least one of --first, --fr, --radiogalaxynet, --labelled, --simulate and '
            '--simulate-coarse'
        )
    log = Log(args.quiet)
    pointings = read_list(args.labelled) if args.labelled else []
    about = dict(beam=args.beam, frequency=args.frequency, survey=args.survey)
    labelled = (read_labelled(pointing, args.truth, args.classes, **about) for pointing in pointings)
    counts = pack_dataset(
        args.output,
        first=args.first,
        rgz=args.rgz,
        fr=args.fr,
        radiogalaxynet=args.radiogalaxynet,
        labelled=log.track(labelled, len(pointings), 'labelled images read') if pointings else (),
        n_simulated=args.simulate,
        n_coarse=args.simulate_coarse,
        infrared=args.infrared,
        seed=args.seed,
        overwrite=args.overwrite,
        log=log,
    )
    if not args.quiet:
        print(counts)
        print(f'{args.output}  {log.seconds():.1f} s')


def rgz(args: argparse.Namespace) -> None:
    """Make a COCO data set of Radio Galaxy Zoo subjects, and the tables and figures that describe it."""
    if args.infrared and not args.images:
        args.usage_error('--infrared needs --images')
    log = Log(args.quiet)
    folder, overwrite = args.output, args.overwrite
    check_outputs([*table_paths(folder), *(table_paths(folder, IMAGED) if args.images else [])], overwrite=overwrite)
    subjects = read_subjects(args.catalogue)
    selection = dict(min_consensus=args.min_consensus, most_components=args.max_components, most_peaks=args.max_peaks)
    chosen = select(subjects, **selection)
    if not chosen:
        raise InputError(f'{args.catalogue}: no subject meets the criteria: lower --min-consensus')
    split = published_split(chosen) if args.split == 'published' else random_split(chosen, args.seed, args.test_share)
    log.line(f'{len(chosen)} of {len(subjects)} subjects selected')
    tables = dict(folder=folder, min_consensus=args.min_consensus, overwrite=overwrite)
    more = ''
    if args.images:
        imaged, measured = make_dataset(
            split,
            folder,
            args.images,
            args.infrared,
            selection=selection,
            command=args.command_line,
            overwrite=overwrite,
            log=log,
        )
        more = f'\nWith images:\n\n{tabulate(imaged.all, imaged, suffix=IMAGED, **tables)}'
        log.line(
            f'{len(imaged.training)} training and {len(imaged.testing)} testing subjects, '
            f'{measured.n_taken_over} taken over from an earlier run; {len(measured.rejected)} lines in rejected.csv'
        )
    text = tabulate(subjects, split, **tables) + more  # last, as files that are there need --overwrite
    if not args.quiet:
        print(f'\n{text}')
        print(f'{folder}  {log.seconds():.1f} s')


def radiogalaxynet(args: argparse.Namespace) -> None:
    """Make a COCO data set of pictures from RadioGalaxyNET."""
    log = Log(args.quiet)
    numbers = make_pictures(
        Path(args.folder), Path(args.output), args.fusion, args.seed, overwrite=args.overwrite, log=log
    )
    if not args.quiet:
        print(', '.join(f'{name}: {number} pictures' for name, number in numbers.items()))
        print(f'{args.output}  {log.seconds():.1f} s')


def fetch(args: argparse.Namespace) -> None:
    """Download cut-outs; those that could not be had are listed, and make the command fail."""
    log = Log(args.quiet)
    positions = read_positions(args.positions)
    report = fetch_cutouts(
        positions,
        args.output,
        surveys=args.survey,
        size_arcmin=args.size,
        pause_s=args.pause,
        urls=dict(first=args.first_url, wise=args.wise_url),
        log=log,
    )
    log.line(f'{report.n_fetched} cut-outs fetched, {report.n_kept} were there already')
    if report.failures:
        raise InputError(
            f'{report.listing}: {len(report.failures)} of {report.n_wanted} cut-outs could not be fetched, the first '
            f'because: {report.failures[0].reason}; run the same command again to try them once more'
        )
