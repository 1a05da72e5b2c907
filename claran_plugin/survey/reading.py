"""Reading the images' tables back, so that those of all images fit together: no masks, positions in ICRS."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.io import fits
from astropy.table import Column, Table

from claran_plugin.catalogue import own_name
from claran_plugin.catalogue_columns import unit_of
from claran_plugin.catalogue_positions import position_columns, sky_positions
from claran_plugin.catalogue_reading import table_hdu
from claran_plugin.catalogue_writing import FRAME_CARD
from claran_plugin.celestial import turn_of_north, turned_errors
from claran_plugin.standard_components import assumed_units

PYBDSF_POSITIONS = (('RA_max', 'DEC_max'),)
PYBDSF_ANGLES = ('PA', 'DC_PA')
PYBDSF_ERRORS = (('E_RA', 'E_DEC'), ('E_RA_max', 'E_DEC_max'))
"""Columns beside the position in which PyBDSF uses the image's own frame."""
IMAGE = 'Image'
"""The column that the merged tables have in addition."""


def read_table(path: Path) -> Table:
    """Read a table without masks: what is missing in a column of integers makes it one of floats with NaN.

    Units that astropy does not recognise, such as ``degrees`` and ``mJy/bm``, are understood as in catalogues.
    """
    with fits.open(path) as hdus:
        number = table_hdu(hdus, path)
    table = Table.read(path, hdu=number, mask_invalid=False)
    table.convert_bytestring_to_unicode()
    for name in table.colnames:
        column = table[name]
        if hasattr(column, 'mask'):
            as_float = column.dtype.kind in 'biu' and column.mask.any()
            plain = column.astype(float).filled(np.nan) if as_float else np.asarray(column)
            table[name] = Column(plain, unit=column.unit, description=column.description, meta=column.meta)
        if isinstance(column.unit, u.UnrecognizedUnit):
            table[name].unit = unit_of(column)
    if IMAGE in table.colnames:  # of the user's catalogue
        table.rename_column(IMAGE, own_name(IMAGE))
    return table


def read_components(path: Path) -> Table:
    """Read a component table, with its positions and position angles in ICRS, and the units that were assumed."""
    table = read_table(path)
    for column, unit in assumed_units(table).values():
        table[column].unit = unit
    if len(table) and any(table[column].dtype.kind in 'US' for column in position_columns(table)):
        at = sky_positions(table, path)
        for column, angle in zip(position_columns(table), (at.ra, at.dec), strict=True):
            table[column] = Column(angle.deg, unit='deg', description=table[column].description)
    name, _, equinox = str(table.meta.get(FRAME_CARD, ICRS.name)).partition(' ')
    if name == ICRS.name or not len(table):
        return table
    own = sky_positions(table, path)
    at = _in_frame(own.ra, own.dec, name, equinox)
    turn = turn_of_north(at)
    new = dict(zip(position_columns(table), (at.icrs.ra, at.icrs.dec), strict=True))
    there = set(table.colnames)
    for pair in PYBDSF_POSITIONS:
        if there >= set(pair):
            lon, lat = _angles(table, pair)
            moved = _in_frame(lon, lat, name, equinox).icrs
            new |= dict(zip(pair, (moved.ra, moved.dec), strict=True))
    for pair in PYBDSF_ERRORS:
        if there >= set(pair):
            east, north = _angles(table, pair)
            new |= dict(zip(pair, turned_errors(east, north, turn), strict=True))
    for column in there & set(PYBDSF_ANGLES):
        new[column] = (_angles(table, [column])[0] + turn) % (180 * u.deg)
    for column, angle in new.items():
        table[column] = Column(angle.to_value(u.deg), unit='deg', description=table[column].description)
    table.meta[FRAME_CARD] = ICRS.name
    return table


def _angles(table: Table, columns: Sequence[str]) -> list[u.Quantity]:
    """Give columns as angles; PyBDSF's csv has no units."""
    return [u.Quantity(np.asarray(table[column], float), table[column].unit or u.deg) for column in columns]


def _in_frame(lon: u.Quantity, lat: u.Quantity, name: str, equinox: str) -> SkyCoord:
    return SkyCoord(lon, lat, frame=name, **({'equinox': equinox} if equinox else {}))


READERS = {'components': read_components, 'sources': read_table}
