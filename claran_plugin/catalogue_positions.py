"""Positions in component catalogues: degrees, or sexagesimal text."""

import re
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.table import Column, Table
from numpy.typing import NDArray

from claran_plugin.catalogue_columns import find_column, listed, text_values, unit_of, values_in
from claran_plugin.errors import InputError

_SEXAGESIMAL = re.compile(r'\d[:hd°\s]', re.IGNORECASE)


def has_positions(table: Table) -> bool:
    """Tell whether a table has columns of right ascension and declination, by one of their names."""
    return len(position_columns(table)) == 2


def position_columns(table: Table) -> list[str]:
    """Give the names of the columns of right ascension and declination, where there are such."""
    return [name for standard in ('RA', 'DEC') if (name := find_column(table.colnames, standard))]


def sky_positions(table: Table, path: str | Path = 'catalogue') -> SkyCoord:
    """Give the positions in a catalogue, whatever its columns are called.

    Raises
    ------
    InputError
        Where there are none, or one is blank or no number.
    """
    if not has_positions(table):
        raise InputError(f'{path}: no columns RA and DEC, found {listed(table.colnames)}; rename the columns')
    ra, dec = (table[name] for name in position_columns(table))
    return SkyCoord(positions_deg(ra, dec, path), unit=u.deg)


def positions_deg(ra: Any, dec: Any, path: str | Path) -> NDArray:
    """Give positions in deg, (n, 2); sexagesimal text is hours and degrees, text of plain numbers is as numbers are."""
    if np.asarray(ra).dtype.kind in 'US' and any(map(_SEXAGESIMAL.search, text_values(ra).tolist())):
        deg = _sexagesimal_positions(text_values(ra), text_values(dec), path)
    else:
        if np.asarray(ra).dtype.kind in 'US':
            ra, dec = _numbers_of_text(ra, dec, path)
        deg = np.transpose([values_in(column, u.deg, u.deg, path, quiet=True) for column in (ra, dec)])
    bad = np.flatnonzero(~np.isfinite(deg).all(axis=1) | (np.abs(deg[:, 1]) > 90))
    if bad.size:
        rows = ', '.join(map(str, bad[:5])) + (', ...' if bad.size > 5 else '')
        raise InputError(
            f'{path}: no valid position in {bad.size} rows (row {rows}, counted from 0); remove or repair them'
        )
    return deg


def _sexagesimal_positions(ra: NDArray, dec: NDArray, path: str | Path) -> NDArray:
    """Give positions in deg, (n, 2); NaN where they are blank."""
    deg = np.full((len(ra), 2), np.nan)
    known = (ra != '') & (dec != '')
    for row in np.flatnonzero(known).tolist():
        if not _SEXAGESIMAL.search(ra[row]):
            raise InputError(
                f'{path}: positions are text, some of them hh:mm:ss dd:mm:ss, but not "{ra[row]}, {dec[row]}" in row '
                f'{row}, counted from 0; give all in degrees'
            )
    try:
        sky = SkyCoord(ra[known].tolist(), dec[known].tolist(), unit=(u.hourangle, u.deg))
    except ValueError as err:
        raise InputError(f'{path}: positions are text but not hh:mm:ss dd:mm:ss; give them in degrees') from err
    deg[known] = np.transpose([sky.ra.deg, sky.dec.deg])
    return deg


def _numbers_of_text(ra: Any, dec: Any, path: str | Path) -> list[Column]:
    """Give text of plain numbers as columns of numbers with the same units; NaN where one of a row is blank."""
    texts = [text_values(column) for column in (ra, dec)]
    numbers = np.full((2, len(ra)), np.nan)
    for row in np.flatnonzero(np.all([text != '' for text in texts], axis=0)).tolist():
        try:
            numbers[:, row] = [float(text[row]) for text in texts]
        except ValueError as err:
            raise InputError(
                f'{path}: positions are text but neither degrees nor hh:mm:ss dd:mm:ss '
                f'("{", ".join(text[row] for text in texts)}" in row {row}, counted from 0); give them in degrees'
            ) from err
    columns = zip(numbers, (ra, dec), strict=True)
    return [Column(values, name=column.info.name, unit=unit_of(column)) for values, column in columns]
