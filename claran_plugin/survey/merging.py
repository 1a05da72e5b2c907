"""The images' tables -> one catalogue: two folders of Parquet, a part for each image, with the same columns in all.

Sources that several images show are listed once (`overlaps`). One image's tables at a time are in memory, and where
the components of so many images as have `COMPONENTS_IN_MEMORY` together lie.
"""

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, Table
from numpy.typing import NDArray

from claran_plugin.catalogue_writing import output_paths
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.explanation import PER_IMAGE
from claran_plugin.standard_components import standardise
from claran_plugin.survey.overlaps import Shown, repeated_sources
from claran_plugin.survey.reading import IMAGE, READERS
from claran_plugin.survey.work import Row

TABLES = ('components', 'sources')
COMPONENTS_IN_MEMORY = 2_000_000
"""Some 200 bytes each."""


class Merged(NamedTuple):
    """What came of it: rows of the merged tables, sources left out because another image has them or because they lie
    off their own, and images whose tables could not be read, with the reason.
    """

    components: int
    sources: int
    left_out: int
    off_image: int
    unreadable: dict[str, str]


def merge(folder: str | Path, rows: Sequence[Row]) -> Merged:
    """Write ``components.parquet`` and ``sources.parquet``, folders with a part for each image.

    A column that only some catalogues have is NaN, or empty, in the parts of the others; integers become floats there.
    Positions are in ICRS, whatever frame a catalogue has, and a column has the unit of the first catalogue that has it.
    Sources that lie off their image, as where one catalogue is given for several images, are left out.

    Parameters
    ----------
    folder : path
        Of the survey; the images' tables are in its folder `PER_IMAGE`.
    rows : sequence of dict
        Rows of the manifest of the images that are done, in the order in which their parts are wanted.

    Returns
    -------
    Merged

    Raises
    ------
    InputError
        Where the tables cannot be written; those of an earlier run then stay as they were.
    """
    folder = Path(folder)
    images = _Images(folder)
    kinds, units, unreadable = _read_all(images, rows)
    rows = images.rows
    repeated = repeated_sources(rows, images.shown)
    numbers = dict.fromkeys(TABLES, 0)
    n_beside = 0
    with _new_folders(folder) as temporary:
        for number, row in enumerate(rows):
            tables = images.tables(row)
            beside = _off_image(tables[0])
            n_beside += len(beside)
            lost = np.array(sorted(repeated.get(number, set()) | beside), int)
            for table, part in zip(TABLES, tables, strict=True):
                part = part[~np.isin(np.asarray(part['Assoc_id']), lost)]
                part = _uniform(part, kinds[table], units[table])
                part[IMAGE] = np.full(len(part), row['name'], f'U{len(row["name"])}')
                part[IMAGE].description = 'image of the survey that the row is from'
                part.write(temporary[table] / f'part-{number:05d}.parquet', format='parquet')
                numbers[table] += len(part)
    n_repeated = sum(len(lost) for lost in repeated.values())
    return Merged(numbers['components'], numbers['sources'], n_repeated, n_beside, unreadable)


@contextmanager
def _new_folders(folder: Path) -> Iterator[dict[str, Path]]:
    """Give a new folder for each table, which on success takes the place of the old one."""
    temporary = {table: folder / f'.{table}.parquet' for table in TABLES}
    try:
        for path in temporary.values():
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
        yield temporary
        for table, path in temporary.items():
            final = folder / f'{table}.parquet'
            shutil.rmtree(final, ignore_errors=True)
            path.rename(final)
    except OSError as err:
        raise InputError(f'{folder}: the merged tables cannot be written ({err}); make room, then --resume') from err
    finally:
        for path in temporary.values():
            shutil.rmtree(path, ignore_errors=True)


def _off_image(components: Table) -> set[int]:
    """Give the sources (`Assoc_id`) of which the image shows no component."""
    owner = np.asarray(components['Assoc_id'])
    return set(owner.tolist()) - set(owner[np.isfinite(components['Assoc_Prob'])].tolist())


class _Images:
    """What images show, read again where there are too many to keep it; `rows` are theirs."""

    def __init__(self, folder: Path) -> None:
        self.rows: list[Row] = []
        self._folder = folder
        self._kept: dict[int, Shown] = {}
        self._n_kept = 0

    def paths(self, row: Row) -> tuple[Path, Path]:
        """Give the files of an image's tables, in the order of `TABLES`."""
        return output_paths(self._folder / PER_IMAGE, row['name'])

    def tables(self, row: Row) -> list[Table]:
        """Read the tables of an image, in the order of `TABLES`."""
        read = []
        for table, path in zip(TABLES, self.paths(row), strict=True):
            try:
                read.append(READERS[table](path))
            except Exception as err:
                said = ' '.join(f'{type(err).__name__}: {err}'.split())
                raise InputError(f'{path}: not readable ({said}); --resume makes it anew') from err
        return read

    def read(self, row: Row) -> list[Table]:
        """Read the tables of one image more, and take it up."""
        tables = self.tables(row)
        shown = self._shown(row, *tables)
        self.rows.append(row)
        self._keep(len(self.rows) - 1, shown)
        return tables

    def shown(self, number: int) -> Shown:
        """Give what an image shows."""
        shown = self._kept.pop(number, None)
        if shown is not None:
            self._n_kept -= len(shown.owner)
        else:
            row = self.rows[number]
            shown = self._shown(row, *self.tables(row))
        self._keep(number, shown)
        return shown

    def _keep(self, number: int, shown: Shown) -> None:
        """Put it behind what was asked for before, of which what is too much goes."""
        self._kept[number] = shown
        self._n_kept += len(shown.owner)
        while self._n_kept > COMPONENTS_IN_MEMORY and len(self._kept) > 1:
            self._n_kept -= len(self._kept.pop(next(iter(self._kept))).owner)

    def _shown(self, row: Row, table: Table, sources: Table) -> Shown:
        table = table[np.isfinite(table['Assoc_Prob'])]  # what lies on the image
        components = standardise(table, str(self.paths(row)[0]))
        middle = SkyCoord(float(row['ra']), float(row['dec']), unit='deg')
        distance = SkyCoord(sources['RA'], sources['DEC'], unit='deg').separation(middle).deg
        coords = SkyCoord(components['RA'], components['DEC'])
        shape = np.transpose([components[name].to_value(u.deg) for name in ('Maj', 'Min', 'PA')])
        return Shown(coords, shape, np.asarray(table['Assoc_id']), distance, np.asarray(sources['Morph_Flag']))


def _read_all(
    images: _Images, rows: Sequence[Row]
) -> tuple[dict[str, dict[str, np.dtype]], dict[str, dict[str, u.UnitBase]], dict[str, str]]:
    """Read all tables; give the columns of all together, their units, and what is unreadable."""
    kinds: dict[str, dict[str, np.dtype]] = {table: {} for table in TABLES}
    units: dict[str, dict[str, u.UnitBase]] = {table: {} for table in TABLES}
    unreadable = {}
    numbers: dict[tuple[str, str], int] = {}
    odd: set[str] = set()
    foreign: set[tuple[str, str]] = set()
    for row in rows:
        try:
            tables = images.read(row)
        except InputError as err:
            unreadable[row['name']] = str(err)
            continue
        for name, table in zip(TABLES, tables, strict=True):
            for column in table.itercols():
                if column.ndim != 1 or column.dtype.kind not in 'biufU':
                    odd.add(column.name)
                    continue
                known = kinds[name].get(column.name, column.dtype)
                mixed = 'U' in (known.kind, column.dtype.kind) and known.kind != column.dtype.kind
                kinds[name][column.name] = np.dtype('U') if mixed else np.result_type(known, column.dtype)
                numbers[name, column.name] = numbers.get((name, column.name), 0) + 1
                if column.unit is not None:
                    unit = units[name].setdefault(column.name, column.unit)
                    if not column.unit.is_equivalent(unit):
                        foreign.add((name, column.name))
                    elif column.unit != unit:
                        kinds[name][column.name] = np.result_type(kinds[name][column.name], np.float32)
    for (name, column_name), number in numbers.items():
        if number < len(images.rows) and kinds[name][column_name].kind in 'biu':
            kinds[name][column_name] = np.dtype(float)
    for name, column_name in sorted(foreign):
        del kinds[name][column_name]
        warnings.warn(
            f'{column_name}: in units of different kinds in the catalogues; not in the merged tables',
            InputWarning,
            stacklevel=3,
        )
    if odd:
        warnings.warn(
            f'{", ".join(sorted(odd))}: several values in each row; not in the merged tables',
            InputWarning,
            stacklevel=3,
        )
    return kinds, units, unreadable


def _uniform(table: Table, kinds: Mapping[str, np.dtype], units: Mapping[str, u.UnitBase]) -> Table:
    """Give a table the columns, types and units of all."""
    uniform = Table(meta=table.meta)
    for name, kind in kinds.items():
        if name not in table.colnames:
            empty: NDArray = np.full(len(table), '', 'U1') if kind.kind == 'U' else np.full(len(table), np.nan, kind)
            uniform[name] = Column(empty)
            continue
        column = table[name]
        values, unit = np.asarray(column).astype(str if kind.kind == 'U' else kind), column.unit
        if unit is not None and unit != units[name] and kind.kind == 'f':
            values, unit = (unit.to(units[name], values)).astype(kind), units[name]
        uniform[name] = Column(values, unit=unit, description=column.description, meta=column.meta)
    return uniform
