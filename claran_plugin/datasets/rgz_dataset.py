"""The command ``claran dataset rgz``: a Radio Galaxy Zoo catalogue and FITS images -> a COCO data set (Section 3).

docs/datasets.md describes the files.
"""

import csv
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import astropy
import numpy as np

from claran_plugin import __version__
from claran_plugin.catalogue_writing import atomic_outputs, check_outputs
from claran_plugin.datasets.image_index import find_images
from claran_plugin.datasets.radio_fields import FIELD_ARCSEC, PIXEL_ARCSEC
from claran_plugin.datasets.rgz_catalogue import RGZSubject, Split
from claran_plugin.datasets.rgz_measuring import Images, Measured, Rejection, channel_means, measure_all
from claran_plugin.datasets.rgz_tables import (
    class_counts,
    draw_box_sides,
    draw_consensus,
    markdown,
    morphology_counts,
    set_properties,
)
from claran_plugin.errors import InputError
from claran_plugin.morphology import CLASSES, class_name
from claran_plugin.progress import Log
from claran_plugin.subjects import FIELD_PIXELS

MEASURED = 'measured.jsonl'
TITLES = {
    'table1': 'Table 1: sources of each morphology',
    'table2': 'Table 2: training and testing set',
    'table3': 'Table 3: sources of each class',
}


def tabulate(
    subjects: Sequence[RGZSubject],
    split: Split,
    folder: str | Path,
    *,
    min_consensus: float,
    suffix: str = '',
    overwrite: bool = False,
) -> str:
    """Write Tables 1 to 3 as Markdown and CSV, and draw Figures 2 and 3.

    Parameters
    ----------
    subjects : sequence of RGZSubject
        Before the selection, for Table 1.
    split : Split
    folder : path
    min_consensus : float
        For Table 1.
    suffix : str
        Of the files' names.
    overwrite : bool

    Returns
    -------
    str, the tables as Markdown
    """
    tables = dict(
        table1=morphology_counts(subjects, min_consensus), table2=set_properties(split), table3=class_counts(split)
    )
    paths = table_paths(folder, suffix)
    with atomic_outputs(paths, overwrite=overwrite) as temporary:
        files = dict(zip(paths, temporary, strict=True))
        for name, table in tables.items():
            files[Path(folder) / f'{name}{suffix}.md'].write_text(markdown(table))
            table.write(files[Path(folder) / f'{name}{suffix}.csv'], format='ascii.csv', overwrite=True)
        draw_consensus(split.all, files[Path(folder) / f'figure2{suffix}.png'])
        draw_box_sides(split.training, files[Path(folder) / f'figure3{suffix}.png'])
    return '\n'.join(f'{TITLES[name]}\n\n{markdown(table)}' for name, table in tables.items())


def table_paths(folder: str | Path, suffix: str = '') -> list[Path]:
    """Name the files that `tabulate` writes."""
    names = [f'{table}{suffix}.{ending}' for table in TITLES for ending in ('md', 'csv')]
    return [Path(folder) / name for name in (*names, f'figure2{suffix}.png', f'figure3{suffix}.png')]


def make_dataset(
    split: Split,
    folder: str | Path,
    radio: str | Path,
    infrared: str | Path | None = None,
    *,
    selection: Mapping[str, Any],
    command: str = '',
    overwrite: bool = False,
    log: Log,
) -> tuple[Split, Measured]:
    """Make the data set of those subjects that have images.

    Parameters
    ----------
    split : Split
        The subjects.
    folder : path
        Where to write ``train.json``, ``test.json``, ``rejected.csv`` and `MEASURED`.
    radio, infrared : paths
        Folders of FITS images.
    selection : mapping
        How the subjects were chosen, for the record.
    command : str
        Likewise.
    overwrite : bool
        Replace a data set; results that still hold are taken over from `MEASURED` in any case.
    log : Log

    Returns
    -------
    imaged : Split
        The subjects that are in the data set.
    measured : Measured

    Raises
    ------
    InputError
        Where a folder has no images, no subject has one, or the output exists.
    """
    folder = Path(folder)
    paths = check_outputs([folder / name for name in ('train.json', 'test.json', 'rejected.csv')], overwrite=overwrite)
    check_outputs([folder / MEASURED], overwrite=True)
    images, rejected = _images(split, radio, infrared, log)
    if not images:
        raise InputError(f'{radio}: no image of any of the {len(split.all)} selected subjects: give their FITS images')
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as err:
        raise InputError(f'{folder}: cannot write there ({err}); choose another folder with -o') from err
    measured = measure_all(split.all, images, folder / MEASURED, log)
    rejected += measured.rejected
    if not measured.results:
        why = '; '.join(sorted({line.reason for line in measured.rejected})[:3])
        raise InputError(f'{radio}: none of the {len(images)} images can be used ({why}): give others')
    imaged = Split(
        [subject for subject in split.training if subject.name in measured.results],
        [subject for subject in split.testing if subject.name in measured.results],
        split.by,
    )
    info = dict(
        description='Radio Galaxy Zoo subjects with their sources, made by claran_plugin',
        versions=dict(claran_plugin=__version__, astropy=astropy.__version__, numpy=np.__version__),
        command=command,
        selection=dict(selection),
        pixel_arcsec=PIXEL_ARCSEC,
        field_arcsec=FIELD_ARCSEC,
        split=split.by,
        means=channel_means(measured.results[subject.name] for subject in imaged.training),
    )
    numbers = _numbers(split)
    with atomic_outputs(paths, overwrite=overwrite) as (train, test, listing):
        for path, part in ((train, imaged.training), (test, imaged.testing)):
            coco, outside = _coco(part, measured, images, folder, numbers)
            path.write_text(json.dumps(dict(info=info, **coco), allow_nan=False))
            rejected += outside
        # names of files may be of bytes that are no text
        with open(listing, 'w', newline='', encoding='utf-8', errors='backslashreplace') as file:
            writer = csv.writer(file)
            writer.writerow(Rejection._fields)
            writer.writerows(rejected)
    return imaged, measured._replace(rejected=rejected)


def _relative(path: Path, folder: Path) -> str:
    """Give a file's path as seen from a folder, where both folders may be behind links."""
    return os.path.relpath(Path(os.path.realpath(path.parent)) / path.name, os.path.realpath(folder))


def _images(
    split: Split, radio: str | Path, infrared: str | Path | None, log: Log
) -> tuple[dict[str, Images], list[Rejection]]:
    """Find the images of the subjects, and list what is missing or unreadable."""
    if infrared is not None and os.path.realpath(infrared) == os.path.realpath(radio):
        raise InputError(f'{infrared}: both radio and infrared images; give them in two folders')
    positions = {subject.name: subject.position for subject in split.all}
    found = find_images(radio, positions, track=log.track)
    rejected = [Rejection('', str(path), reason) for path, reason in found.unreadable.items()]
    rejected += [Rejection(name, '', f'no image in {radio}') for name in positions if name not in found.by_subject]
    others: dict[str, Path] = {}
    if infrared is not None:
        wanted = {name: positions[name] for name in found.by_subject}
        second = find_images(infrared, wanted, track=log.track)
        others = second.by_subject
        rejected += [Rejection('', str(path), reason) for path, reason in second.unreadable.items()]
        rejected += [Rejection(name, '', f'no infrared image in {infrared}') for name in wanted if name not in others]
    return {name: Images(path, others.get(name)) for name, path in found.by_subject.items()}, rejected


def _numbers(split: Split) -> dict[str, tuple[int, int]]:
    """Number subjects and their first sources, whether they have images or not, so that numbers stay when some come."""
    numbers, first = {}, 1
    for number, subject in enumerate(sorted(split.all, key=lambda subject: subject.name), 1):
        numbers[subject.name] = (number, first)
        first += len(subject.sources)
    return numbers


def _coco(
    subjects: Sequence[RGZSubject],
    measured: Measured,
    images: Mapping[str, Images],
    folder: Path,
    numbers: Mapping[str, tuple[int, int]],
) -> tuple[dict[str, Any], list[Rejection]]:
    """Put subjects into COCO form."""
    listing, annotations, rejected = [], [], []
    for subject in subjects:
        result, files = measured.results[subject.name], images[subject.name]
        number, first = numbers[subject.name]
        listing.append(
            dict(
                id=number,
                file_name=_relative(files.radio, folder),
                infrared=_relative(files.infrared, folder) if files.infrared and 'D3' in result['sums'] else None,
                width=FIELD_PIXELS,
                height=FIELD_PIXELS,
                ra=result['ra'],
                dec=result['dec'],
                first_id=subject.name,
            )
        )
        for k, (source, box) in enumerate(zip(subject.sources, result['sources'], strict=True)):
            kind = str(class_name(source.n_components, source.n_peaks))
            if box is None:
                rejected.append(Rejection(subject.name, str(files.radio), f'source {k + 1}, {kind}: outside the field'))
                continue
            annotations.append(
                dict(
                    id=first + k,
                    image_id=number,
                    category_id=1 + CLASSES.index(kind),
                    area=round(box['bbox'][2] * box['bbox'][3], 3),
                    iscrowd=0,
                    ang_extent=source.extent_arcsec,
                    consensus=source.consensus,
                    n_components=source.n_components,
                    n_peaks=source.n_peaks,
                    **box,
                )
            )
    categories = [dict(id=number, name=name, supercategory=name[:2]) for number, name in enumerate(CLASSES, 1)]
    return dict(categories=categories, images=listing, annotations=annotations), rejected
