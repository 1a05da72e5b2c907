"""Writing the two output tables: whole or not at all, and with the user's columns and header cards as they were."""

import contextlib
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.io.votable import from_table
from astropy.io.votable.tree import Info
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.table.column import BaseColumn

from claran_plugin.catalogue import (
    COMPONENT_COLUMNS,
    FLAG_MEANINGS,
    HOST_COLUMNS,
    SOURCE_COLUMNS,
    ColumnSpec,
    clashing_columns,
    own_name,
)
from claran_plugin.catalogue_reading import table_hdu
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.fits_tables import extend_table, is_fits, write_extended

FORMATS = {'fits': '.fits', 'votable': '.vot', 'csv': '.csv', 'ascii.ecsv': '.ecsv'}
"""Formats of the output and the endings of their files."""
HISTORY_LENGTH = 72
"""Characters of a HISTORY card."""
FRAME_CARD = 'CLFRAME'
"""Of component tables only; all others are in ICRS."""
KEY_CARD = 'CLKEY'
"""Of a survey's tables."""
PROVENANCE = {
    'CLVERS': 'version of claran_plugin',
    'CLMODEL': 'model of the detector',
    'CLWHASH': 'SHA-256 of its weights',
    'CLCHASH': 'SHA-256 of those for larger sources, if others',
    'CLCALIB': 'SHA-256 of the calibration, none: uncalibrated',
    'CLPREC': 'precision of its convolutions',
    'CLIMAGE': 'radio image',
    'CLINFRA': 'infrared image',
    KEY_CARD: 'hash of contents and parameters',
    FRAME_CARD: 'frame of the positions in its own columns',
    'CLCMD': 'command',
}
"""Header cards that tell where a table comes from."""


def output_paths(folder: str | Path, name: str, format: str = 'fits') -> tuple[Path, Path]:
    """Name the component table and the source table of an image.

    Raises
    ------
    InputError
        Where the format is unknown.
    """
    if format not in FORMATS:
        raise InputError(f'--format {format}: unknown; choose one of {", ".join(FORMATS)}')
    return tuple(Path(folder) / f'{name}.{kind}{FORMATS[format]}' for kind in ('components', 'sources'))  # type: ignore


def check_outputs(paths: Sequence[str | Path], *, overwrite: bool = False) -> list[Path]:
    """Check that output files may be written, before the long work that they are the result of.

    Raises
    ------
    InputError
        Where an output exists and may not be overwritten, or its folder cannot be written to.
    """
    targets = [Path(path) for path in paths]
    try:
        _check_targets(targets, overwrite)
    except OSError as err:  # a folder that may not be searched, a name that is too long
        raise InputError(f'{err.filename}: cannot be written ({err.strerror}); choose another folder with -o') from err
    return targets


def _check_targets(targets: Sequence[Path], overwrite: bool) -> None:
    for target in targets:
        if target.is_dir():
            raise InputError(f'{target}: is a folder, but a file of this name is to be written; remove or rename it')
        if target.exists() and not overwrite:
            raise InputError(f'{target}: exists already; choose another folder with -o, or give --overwrite')
    for folder in {target.parent for target in targets}:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not there.is_dir():
            raise InputError(f'{there}: is not a folder; choose another one with -o')
        if not os.access(there, os.W_OK | os.X_OK):
            raise InputError(f'{there}: may not be written to; choose another folder with -o')


@contextlib.contextmanager
def atomic_outputs(paths: Sequence[str | Path], *, overwrite: bool = False) -> Iterator[list[Path]]:
    """Give temporary names beside the output files; on success all take their places, on failure none.

    The temporary names have the endings of the real ones. A folder that is missing is made, and taken away on failure.

    Raises
    ------
    InputError
        Where an output exists and may not be overwritten, or cannot be written.
    """
    targets = check_outputs(paths, overwrite=overwrite)
    temporary = [target.with_name(f'.{os.getpid()}-{target.name}') for target in targets]  # see `remove_leftovers`
    made: list[Path] = []
    try:
        for folder in {target.parent for target in targets}:
            made += _make_folder(folder)
        yield temporary
        _replace_all(temporary, targets)
    except BaseException as err:
        for path in temporary:
            path.unlink(missing_ok=True)
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        if isinstance(err, OSError):
            raise InputError(f'{targets[0].parent}: cannot write there ({err}); choose another folder with -o') from err
        raise


def _lasting_name(path: str | Path) -> str:
    """Give the name that a file of `atomic_outputs` is going to have."""
    return re.sub(r'^\.\d+-', '', Path(path).name)


def remove_leftovers(paths: Iterable[str | Path]) -> None:
    """Remove what `atomic_outputs` left beside output files when it was killed; nobody may be writing them now."""
    names = {(Path(path).parent, Path(path).name) for path in paths}
    for folder in {parent for parent, _ in names}:
        for left in folder.glob('.*'):
            parts = re.fullmatch(r'\.\d+-(.+?)(\.old)?', left.name)
            if parts and (folder, parts[1]) in names:
                left.unlink(missing_ok=True)


def _make_folder(folder: Path) -> list[Path]:
    missing = [path for path in (folder, *folder.parents) if not path.exists()][::-1]
    folder.mkdir(parents=True, exist_ok=True)
    return missing


def _replace_all(temporary: Sequence[Path], targets: Sequence[Path]) -> None:
    """Move files to their places; where one fails, put everything back as it was."""
    backups: dict[Path, Path] = {}
    begun: list[Path] = []
    placed: list[Path] = []
    try:
        for source, target in zip(temporary, targets, strict=True):
            if target.exists():
                backup = target.with_name(f'{source.name}.old')
                begun.append(backup)
                _duplicate(target, backup)
                backups[target] = backup
            placed.append(target)
            os.replace(source, target)
    except BaseException:  # an interruption, too
        for target in placed:
            if target not in backups:
                target.unlink(missing_ok=True)
        for target, backup in backups.items():
            os.replace(backup, target)
        for backup in begun:
            backup.unlink(missing_ok=True)
        raise
    for backup in backups.values():
        backup.unlink()


def _duplicate(path: Path, copy: Path) -> None:
    try:
        os.link(path, copy)
    except OSError:  # a file system without hard links
        shutil.copy2(path, copy)


def write_component_table(
    table: Table,
    path: str | Path,
    *,
    original: str | Path | None = None,
    format: str = 'fits',
    provenance: Mapping[str, str] | None = None,
) -> None:
    """Write the component table to a path as it stands.

    Parameters
    ----------
    table : Table
        From `build_component_table`.
    path : path
    original : path, optional
        The user's catalogue. Where it and the output are FITS, its bytes and header cards are carried over.
    format : {'fits', 'votable', 'csv', 'ascii.ecsv'}
    provenance : mapping, optional
        Values of `PROVENANCE`.
    """
    if format != 'fits':
        _write_with_astropy(table, path, format, provenance)
    elif original is not None and is_fits(original) and (place := _binary_table(original)) is not None:
        columns = [_fits_column(spec, table[spec.name]) for spec in COMPONENT_COLUMNS]
        with fits.open(original) as hdus:
            clashes = clashing_columns(hdus[place].columns.names)
        renamed = {name: own_name(name) for name in clashes if own_name(name) in table.colnames}
        before, header, after = extend_table(original, place, columns, renamed)
        _describe(header, COMPONENT_COLUMNS, provenance)
        write_extended(path, before, header, after)
    else:
        hdu = _plain_table_hdu(_in_ascii(_undescribed(table), path))
        _describe(hdu.header, COMPONENT_COLUMNS, provenance)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)


def _plain_table_hdu(table: Table) -> fits.BinTableHDU:
    """Make a binary table of one that was not FITS; a unit that FITS does not know stands there as its text."""
    units: dict[int, str] = {}
    for place, name in enumerate(table.colnames, start=1):
        unit = getattr(table[name], 'unit', None)
        if unit is not None and not _is_fits_unit(unit):
            units[place] = str(unit)
            table[name].unit = None
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', fits.verify.VerifyWarning)  # long keys of a text file's meta
        try:
            hdu = fits.table_to_hdu(table)
        except (AssertionError, TypeError, ValueError) as err:  # such as positions in one column, a name of 80 letters
            fault = ' '.join(str(err).split())
            raise InputError(
                f'the catalogue cannot be written as fits ({fault}); choose --format ascii.ecsv, or change that column'
            ) from err
    for place, text in units.items():
        hdu.header.insert(f'TFORM{place}', (f'TUNIT{place}', _escaped(text)), after=True)
    return hdu


def _is_fits_unit(unit: u.UnitBase) -> bool:
    """Tell whether FITS can hold a unit, not so hour angles, AB magnitudes and multiples such as half a mJy."""
    try:
        return unit.to_string('fits').isascii()
    except ValueError:
        return False


def _binary_table(path: str | Path) -> int | None:
    """Find the catalogue in a FITS file, unless it is a table of text, which columns are not appended to."""
    with fits.open(path) as hdus:
        place = table_hdu(hdus, path)
        return place if isinstance(hdus[place], fits.BinTableHDU) else None


def _in_ascii(table: Table, path: Path | str) -> Table:
    """Put escapes for letters that FITS cannot hold."""
    texts = {name: table[name] for name in table.colnames if getattr(table[name], 'dtype', np.dtype(int)).kind == 'U'}
    odd = [name for name, column in texts.items() if not all(map(str.isascii, np.asarray(column).ravel().tolist()))]
    for name in odd:
        escaped = np.char.encode(np.asarray(texts[name]), 'ascii', 'backslashreplace').astype(str)
        mask = getattr(texts[name], 'mask', None)
        table[name] = Column(escaped) if mask is None else MaskedColumn(escaped, mask=mask)
    for name in [name for name in table.colnames if not name.isascii()]:
        table.rename_column(name, _escaped(name))
        odd = sorted({*odd, name})
    if odd:
        warnings.warn(
            f'{_lasting_name(path)}: FITS holds ASCII only: escapes stand for other letters in {", ".join(odd)}; '
            'choose another --format to keep them',
            InputWarning,
            stacklevel=3,
        )
    return table


def _escaped(text: str) -> str:
    return text.encode('ascii', 'backslashreplace').decode()


def write_source_table(
    table: QTable, path: str | Path, *, format: str = 'fits', provenance: Mapping[str, str] | None = None
) -> None:
    """Write the source table, from `build_source_table`, to a path as it stands; see `write_component_table`."""
    if format != 'fits':
        _write_with_astropy(table, path, format, _without_frame(provenance))
        return
    specs = [spec for spec in SOURCE_COLUMNS + HOST_COLUMNS if spec.name in table.colnames]
    fits.HDUList([fits.PrimaryHDU(), to_hdu(table, specs, 'SOURCES', provenance)]).writeto(path)


def to_hdu(
    table: Table, specs: Sequence[ColumnSpec], name: str, provenance: Mapping[str, str] | None
) -> fits.BinTableHDU:
    """Make a binary table of columns with units, UCDs and descriptions, and the provenance in its header."""
    hdu = fits.BinTableHDU.from_columns([_fits_column(spec, table[spec.name]) for spec in specs], nrows=len(table))
    hdu.header['EXTNAME'] = name
    hdu.header['RADESYS'] = 'ICRS'
    _describe(hdu.header, specs, _without_frame(provenance))
    return hdu


def _without_frame(provenance: Mapping[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (provenance or {}).items() if key != FRAME_CARD}


def _fits_column(spec: ColumnSpec, data: Column) -> fits.Column:
    formats = {'f8': 'D', 'f4': 'E', 'i4': 'J'}
    values = np.asarray(getattr(data, 'value', data))
    form = formats.get(spec.dtype) or f'{spec.dtype[1:]}A'
    return fits.Column(spec.name, form, unit=spec.unit, array=values)


def _describe(header: fits.Header, specs: Sequence[ColumnSpec], provenance: Mapping[str, str] | None) -> None:
    """Write UCDs, descriptions, the meaning of the flags and the provenance into a table's header."""
    places = {header[f'TTYPE{i}']: i for i in range(1, header['TFIELDS'] + 1)}
    for spec in specs:
        header[f'TUCD{places[spec.name]}'] = spec.ucd
        header[f'TCOMM{places[spec.name]}'] = spec.description
    written = list(header.get('COMMENT', []))
    flags = FLAG_MEANINGS.items() if any(spec.name == 'Morph_Flag' for spec in specs) else ()
    for flag, meaning in flags:
        text = f'Morph_Flag {flag.value}: {meaning}'
        if text[:72] not in written:
            header.add_comment(text)
    for key, comment in PROVENANCE.items():
        value = (provenance or {}).get(key)
        if value is None:
            continue
        value = _escaped(str(value))
        if key != 'CLCMD' and len(value) + len(comment) < 60:
            header[key] = (value, comment)
        elif key != 'CLCMD' and len(value) < 66:
            header[key] = value
        else:
            for part in _cards(f'{key} {value}'):
                header.add_history(part)


def _cards(text: str) -> list[str]:
    """Divide a text among cards so that it can be put together again: spaces at the end of a card would be lost."""
    cards = []
    while text:
        length = len(text[:HISTORY_LENGTH].rstrip()) or HISTORY_LENGTH
        cards.append(text[:length])
        text = text[length:]
    return cards


def _undescribed(table: Table) -> Table:
    """Copy a table without the descriptions of the new columns, which astropy would pack into COMMENT cards."""
    plain = Table(table, copy=False)
    for spec in COMPONENT_COLUMNS:
        plain[spec.name] = np.asarray(table[spec.name])
    return plain


def _write_votable(table: Table, path: str | Path, notes: Mapping[str, str]) -> None:
    """Write a table with notes as INFO, which astropy leaves out."""
    mixed = table.columns.not_isinstance((BaseColumn, u.Quantity))
    if mixed:
        raise ValueError(f'{", ".join(column.info.name for column in mixed)}: no plain columns')
    document = from_table(table)
    document.resources[0].infos.extend(Info(name=name, value=str(value)) for name, value in notes.items())
    document.to_xml(str(path))


def _write_with_astropy(table: Table, path: str | Path, format: str, provenance: Mapping[str, str] | None) -> None:
    plain = Table(table, copy=False)
    flags = {f'Morph_Flag {flag.value}': meaning for flag, meaning in FLAG_MEANINGS.items()}
    notes = {'RADESYS': 'ICRS', **(provenance or {}), **flags}
    if FRAME_CARD in notes:  # the user's own columns
        del notes['RADESYS']
    plain.meta = {**plain.meta, **notes}
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # units that VOTable does not know are written as they are
        try:
            if format == 'votable':
                _write_votable(plain, path, notes)
            else:
                plain.write(path, format=format, overwrite=True)
        except (TypeError, ValueError) as err:  # such as arrays in csv, unsigned integers in VOTable
            text = ' '.join(str(err).split())
            raise InputError(f'the catalogue cannot be written as {format} ({text}); choose --format fits') from err
