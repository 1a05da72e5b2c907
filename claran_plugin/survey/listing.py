"""The list of images of a survey."""

import shlex
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from astropy.table import Table

from claran_plugin.errors import InputError
from claran_plugin.images import image_stem

COLUMNS = ('image', 'catalogue', 'infrared', 'name')
NONE = '-'
PLAIN = ('.txt', '.lis', '.list', '')
"""Endings of lists that are no tables."""


class Pointing(NamedTuple):
    """One image of a survey; `catalogue` and `infrared` are '' where there is none."""

    name: str
    image: str
    catalogue: str
    infrared: str


def read_list(path: str | Path) -> list[Pointing]:
    """Read a list of images.

    A text file has an image on each line, with its catalogue and its infrared image after it where there are any;
    ``-`` stands for none, names with spaces stand in quotes, and what follows a ``#`` is a comment. A table that
    astropy reads (CSV, ECSV, FITS, VOTable) has the columns ``image`` and, where wanted, ``catalogue``, ``infrared``
    and ``name``. Relative paths begin at the list's own folder. Names, which output files get, are by default those of
    the images, with the name of their folder before them where that alone would not tell them apart.

    Raises
    ------
    InputError
        Where the list cannot be read, is empty, or has two images of one name.
    """
    path = Path(path)
    if not path.is_file():
        what = 'is a folder' if path.is_dir() else 'no such file'
        raise InputError(f'{path}: {what}; give a list of images')
    rows = _lines(path) if path.suffix.lower() in PLAIN else _table(path)
    if not rows:
        raise InputError(f'{path}: lists no image')
    for number, row in enumerate(rows, 1):
        if not row['image']:
            raise InputError(f'{path}: entry {number} has no image')
        for key in COLUMNS[:3]:
            row[key] = str((path.parent / row[key]).absolute()) if row[key] else ''
    own = [row['name'] or image_stem(row['image']) for row in rows]
    repeated = {name for name, number in Counter(own).items() if number > 1}
    names = [
        f'{Path(row["image"]).absolute().parent.name}_{name}' if name in repeated and not row['name'] else name
        for name, row in zip(own, rows, strict=True)
    ]
    for name in names:
        if '/' in name or name in ('.', '..'):
            raise InputError(f'{path}: the name {name!r} cannot begin the names of files; give another one')
    name, number = Counter(names).most_common(1)[0]
    if number > 1:
        raise InputError(f'{path}: {number} images have the name {name}; give a table with a column "name"')
    return [
        Pointing(name, row['image'], row['catalogue'], row['infrared']) for name, row in zip(names, rows, strict=True)
    ]


def _lines(path: Path) -> list[dict[str, str]]:
    rows = []
    try:
        lines = path.read_text(encoding='utf-8-sig').splitlines()
    except UnicodeDecodeError as err:
        raise InputError(
            f'{path}: not a text file; give a list of images, or a table as CSV, ECSV, FITS or VOTable'
        ) from err
    for number, line in enumerate(lines, 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as err:
            raise InputError(f'{path}: line {number}: {err}; put names with spaces in quotes') from err
        if len(words) > 3:
            raise InputError(f'{path}: line {number} has {len(words)} words; expected IMAGE [CATALOGUE [INFRARED]]')
        if words:
            rows.append(dict.fromkeys(COLUMNS, '') | dict(zip(COLUMNS, map(_given, words), strict=False)))
    return rows


def _given(word: str) -> str:
    return '' if word == NONE else word


def _table(path: Path) -> list[dict[str, str]]:
    try:
        is_csv = path.suffix.lower() == '.csv'
        # Excel begins with a mark
        table = Table.read(path, converters={'*': [str]}, encoding='utf-8-sig') if is_csv else Table.read(path)
    except Exception as err:
        raise InputError(
            f'{path}: not a table that astropy reads ({type(err).__name__}); give a table of images as CSV, ECSV, '
            f'FITS or VOTable, or a text file ({", ".join(sorted(p for p in PLAIN if p))}) with an image on each line'
        ) from err
    table.rename_columns(table.colnames, [name.lower() for name in table.colnames])
    if 'image' not in table.colnames:
        raise InputError(f'{path}: no column "image"; it has {", ".join(table.colnames)}')

    def text(value: Any) -> str:
        return '' if np.ma.is_masked(value) else _given(str(value).strip())

    return [{key: text(row[key]) if key in table.colnames else '' for key in COLUMNS} for row in table]
