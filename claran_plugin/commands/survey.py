"""``claran survey``."""

import argparse
import shlex
from pathlib import Path

from claran_plugin.catalogue_writing import check_outputs, remove_leftovers
from claran_plugin.errors import InputError
from claran_plugin.explanation import PER_IMAGE
from claran_plugin.progress import Log
from claran_plugin.results import result_paths
from claran_plugin.survey.cluster import process_all
from claran_plugin.survey.listing import read_list
from claran_plugin.survey.manifest import Manifest
from claran_plugin.survey.merging import TABLES, merge
from claran_plugin.survey.work import DONE, FAILED, Settings

NOT_OF_THE_RESULT = {
    '-o': 1,
    '--output': 1,
    '--workers': 1,
    '--scheduler': 1,
    '--resume': 0,
    '--overwrite': 0,
    '--quiet': 0,
}
"""Options, and how many words follow each, that the tables do not depend on."""


def survey(args: argparse.Namespace) -> None:
    """Associate many images and merge their tables."""
    if args.resume and args.overwrite:
        args.usage_error('--resume and --overwrite exclude each other')
    log = Log(args.quiet)
    folder = Path(args.output)
    pointings = read_list(args.list)
    manifest = Manifest(folder)
    if args.resume and manifest.path.is_file():
        manifest.read()
    elif not args.overwrite:
        for path in (manifest.path, *(folder / f'{table}.parquet' for table in TABLES)):
            if path.exists():
                raise InputError(
                    f'{path}: exists already; give --resume to go on with it, --overwrite, or another folder'
                )
    check_outputs([manifest.path], overwrite=True)  # that it can be written
    (folder / PER_IMAGE).mkdir(parents=True, exist_ok=True)
    manifest.begin()
    settings = _settings(args)
    rows = process_all(
        pointings, settings, dict(manifest.rows), workers=args.workers, scheduler=args.scheduler, log=log
    )
    kept = 0
    for row in log.track(rows, len(pointings), 'images'):
        if row is not None and row == manifest.rows.get(row['name']):
            kept += 1
            continue
        manifest.add(row)
    names = [pointing.name for pointing in pointings]
    manifest.finish(names)
    done = [manifest.rows[name] for name in names if manifest.rows[name]['state'] == DONE]
    # Workers may have died while they wrote.
    remove_leftovers(path for name in names for path in result_paths(settings.output, name))
    merged = merge(folder, done)
    for name, error in merged.unreadable.items():
        manifest.add(manifest.rows[name] | dict(state=FAILED, error=error))
    manifest.finish(names)
    failed = [manifest.rows[name] for name in names if manifest.rows[name]['state'] == FAILED]
    if not args.quiet:
        print(f'images done             {len(done) - len(merged.unreadable):6d}, {kept} of them earlier')
        print(f'components              {merged.components:6d}')
        print(f'sources                 {merged.sources:6d}, {merged.left_out} more in overlaps')
        log.files([manifest.path, *(folder / f'{table}.parquet' for table in TABLES)])
    if failed:
        raise InputError(
            f'{manifest.path}: {len(failed)} of {len(pointings)} images failed, the first because: '
            f'{failed[0]["error"]}; the others are done; --resume tries these again'
        )


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        output=str((Path(args.output) / PER_IMAGE).absolute()),
        command=_command(args.command_line),
        beam=tuple(args.beam) if args.beam else None,
        frequency=args.frequency,
        survey=args.survey,
        fov=args.fov,
        look_at_all=args.all,
        overwrite_columns=args.overwrite_columns,
        model=args.model,
        weights=args.weights,
        device=args.device,
        views=args.views,
        precision=args.precision,
        kind=args.kind,
        pybdsf=tuple(args.pybdsf),
        picture=args.pictures,
    )


def _command(line: str) -> str:
    """Leave out of the command what the tables do not depend on, so that they are the same on any cluster."""
    words, kept = iter(shlex.split(line)), []
    for word in words:
        name = word.split('=')[0]
        if name not in NOT_OF_THE_RESULT:
            kept.append(word)
        elif '=' not in word:
            for _ in range(NOT_OF_THE_RESULT[name]):
                next(words, None)
    return shlex.join(kept)
