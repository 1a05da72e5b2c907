"""``claran run``, ``associate`` and ``detect``."""

import argparse
import warnings
from collections.abc import Sequence
from pathlib import Path

from astropy import units as u
from astropy.table import QTable

from claran_plugin import pipeline
from claran_plugin.catalogue import MorphFlag
from claran_plugin.catalogue_writing import FORMATS, atomic_outputs, check_outputs, write_source_table
from claran_plugin.errors import InputWarning
from claran_plugin.explanation import explain as tell
from claran_plugin.images import image_stem, read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.models import DETECTOR
from claran_plugin.pipeline import Association, Associator
from claran_plugin.progress import Log
from claran_plugin.results import draw, result_paths, write_result


def run(args: argparse.Namespace) -> None:
    """Run PyBDSF on an image and associate what it finds; the component table is PyBDSF's own, with more columns."""
    log = Log(args.quiet)
    paths = _table_paths(args)
    radio = read_image(args.image, beam=args.beam, frequency=args.frequency, survey=args.survey)
    infrared = read_infrared(args.infrared, radio) if args.infrared else None
    detector = {name: getattr(args, name) for name in DETECTOR}
    associator = Associator(infrared=infrared is not None, **detector)
    associator.load()  # its faults are told before PyBDSF's time is spent
    log.line(f'{args.image}: PyBDSF looks for components')
    listed = pipeline.pybdsf_list(radio, image_stem(args.image), args.kind, dict(args.pybdsf))
    with listed as (radio, catalogue):
        result = pipeline.associate(
            radio,
            catalogue,
            infrared,
            fov=args.fov,
            look_at_all=args.all,
            own_frame=True,
            associator=associator,
            progress=log.fields,
            name=pipeline.pybdsf_name(args.image),
        )
        _write(result, paths, args, original=catalogue)
    _finish(result, result.sources, paths, args, log)


def associate(args: argparse.Namespace) -> None:
    """Associate the components of a catalogue on disk."""
    log = Log(args.quiet)
    paths = _table_paths(args)
    result = pipeline.associate(
        args.image,
        args.catalogue,
        args.infrared,
        look_at_all=args.all,
        overwrite_columns=args.overwrite_columns,
        progress=log.fields,
        **_common_options(args),
    )
    _write(result, paths, args, original=args.catalogue)
    _finish(result, result.sources, paths, args, log)


def detect(args: argparse.Namespace) -> None:
    """Find sources without a catalogue; those that the detector did not find are left out."""
    log = Log(args.quiet)
    paths = [Path(args.output) / f'{image_stem(args.image)}.detections{FORMATS[args.format]}', *_picture_path(args)]
    check_outputs(paths, overwrite=args.overwrite)
    result = pipeline.detect(args.image, args.infrared, progress=log.fields, **_common_options(args))
    detected = result.sources[(result.sources['Morph_Flag'] & MorphFlag.NO_DETECTION) == 0]
    with atomic_outputs(paths, overwrite=args.overwrite) as temporary:
        write_source_table(detected, temporary[0], format=args.format, provenance=_provenance(result, args))
        draw(result, temporary[1:], image_stem(args.image))
    _finish(result, detected, paths, args, log)


def explain(args: argparse.Namespace) -> None:
    """Print why the rows of a source were joined."""
    print(tell(args.folder, args.source, args.image))


def _table_paths(args: argparse.Namespace) -> list[Path]:
    paths = result_paths(args.output, image_stem(args.image), args.format, picture=not args.no_picture)
    return check_outputs(paths, overwrite=args.overwrite)


def _picture_path(args: argparse.Namespace) -> list[Path]:
    return [] if args.no_picture else [Path(args.output) / f'{image_stem(args.image)}.png']


def _common_options(args: argparse.Namespace) -> dict:
    names = ('beam', 'frequency', 'survey', *DETECTOR, 'fov')
    return {name: getattr(args, name) for name in names}


def _provenance(result: Association, args: argparse.Namespace) -> dict[str, str]:
    return {**result.provenance, 'CLCMD': args.command_line}


def _write(result: Association, paths: Sequence[Path], args: argparse.Namespace, *, original: str | Path) -> None:
    write_result(
        result,
        paths,
        name=image_stem(args.image),
        original=original,
        format=args.format,
        overwrite=args.overwrite,
        provenance=_provenance(result, args),
    )


def _finish(result: Association, sources: QTable, paths: Sequence[Path], args: argparse.Namespace, log: Log) -> None:
    """Warn where nothing was found, and sum up."""
    if not len(sources):
        what = 'components' if not len(result.components) else 'detections'
        warnings.warn(f'{args.image}: no {what}, so the output has no rows', InputWarning, stacklevel=2)
    if args.quiet:
        return
    print(f'components              {len(result.components):6d}')
    print(f'sources                 {len(sources):6d}')
    print(f'of several components   {int((sources["Assoc"] > 1).sum()):6d}')
    if left_out := len(result.sources) - len(sources):
        brightest = result.sources['Total_flux'][(result.sources['Morph_Flag'] & MorphFlag.NO_DETECTION) > 0].max()
        print(f'not detected, left out  {left_out:6d}')
        print(f'the brightest of these  {brightest.to_value(u.mJy):10.3g} mJy')
    log.files(paths)
