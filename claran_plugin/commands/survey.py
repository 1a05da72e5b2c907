"""``claran survey``."""

import argparse
import fcntl
import shlex
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from claran_plugin.calibration import read_calibration
from claran_plugin.catalogue_writing import check_outputs, remove_leftovers
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.explanation import PER_IMAGE
from claran_plugin.models import DETECTOR
from claran_plugin.progress import Log
from claran_plugin.results import result_paths
from claran_plugin.survey.cluster import process_all
from claran_plugin.survey.listing import Pointing, read_list
from claran_plugin.survey.manifest import Manifest
from claran_plugin.survey.merging import TABLES, merge
from claran_plugin.survey.work import DONE, FAILED, KEPT, WARNINGS_APART, Settings

LOCK = '.survey.lock'

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
    settings = _settings(args)
    for infrared in {bool(pointing.infrared) for pointing in pointings}:
        found = settings.find_model(infrared=infrared)
        if found.calibration is not None:
            read_calibration(found.calibration)
    (folder / PER_IMAGE).mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _work(args, pointings, settings, manifest, log)


def _work(
    args: argparse.Namespace, pointings: list[Pointing], settings: Settings, manifest: Manifest, log: Log
) -> None:
    """Associate the images, merge their tables, and sum up."""
    folder = manifest.path.parent
    manifest.begin()
    rows = process_all(
        pointings, settings, dict(manifest.rows), workers=args.workers, scheduler=args.scheduler, log=log
    )
    kept = 0
    unseen: list[str] = []
    told: set[str] = set()
    for row in log.track(rows, len(pointings), 'images'):
        known = manifest.rows.get(row['name'], {})
        if row.pop(KEPT, False):
            kept += 1
        elif row['state'] == FAILED and not row.get('key') and known.get('state') == DONE:
            unseen.append(row['error'])  # nothing is known against what was done earlier
        else:
            manifest.add(row)
        for text in filter(None, row.get('warnings', '').split(WARNINGS_APART)):
            if text not in told:
                told.add(text)
                warnings.warn(text, InputWarning, stacklevel=2)
    names = [pointing.name for pointing in pointings]
    manifest.finish(names)
    done = [manifest.rows[name] for name in names if manifest.rows[name]['state'] == DONE]
    # Workers may have died while they wrote.
    remove_leftovers(path for name in names for path in result_paths(settings.output, name))
    if not done and any((folder / f'{table}.parquet').exists() for table in TABLES):
        raise _failure(manifest, names, [])
    merged = merge(folder, done)
    for name, error in merged.unreadable.items():
        manifest.add(manifest.rows[name] | dict(state=FAILED, error=error))
    manifest.finish(names)
    if not args.quiet:
        print(f'images done             {len(done) - len(merged.unreadable):6d}, {kept} of them earlier')
        print(f'components              {merged.components:6d}')
        beside = f', {merged.off_image} off their images' if merged.off_image else ''
        print(f'sources                 {merged.sources:6d}, {merged.left_out} more in overlaps{beside}')
        log.files([manifest.path, *(folder / f'{table}.parquet' for table in TABLES)])
    failed = any(manifest.rows[name]['state'] == FAILED for name in names)
    if failed or unseen:
        raise _failure(manifest, names, unseen)


def _failure(manifest: Manifest, names: list[str], unseen: list[str]) -> InputError:
    """Tell which images failed, and of which that are done nothing could be seen now."""
    errors = [manifest.rows[name]['error'] for name in names if manifest.rows[name]['state'] == FAILED]
    if not errors:
        return InputError(
            f'{manifest.path}: {len(unseen)} of {len(names)} images could not be looked at again, the first because: '
            f'{unseen[0]}; what was done of them earlier stays'
        )
    others = '; the others are done' if len(errors) < len(names) else ''
    return InputError(
        f'{manifest.path}: {len(errors)} of {len(names)} images failed, the first because: {errors[0]}{others}; '
        '--resume tries these again'
    )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other surveys out of a folder; the lock ends with the process, however that ends."""
    with (folder / LOCK).open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise InputError(
                f'{folder}: another claran survey is at work there; wait for its end, or give another folder with -o'
            ) from err
        except OSError:  # a file system without locks
            pass
        yield


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
        **{name: getattr(args, name) for name in DETECTOR},
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
