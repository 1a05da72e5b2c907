"""Component catalogues on disk: the user's table as it is, and the standard component table made from it."""

import gzip
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from numpy.typing import ArrayLike, NDArray

from claran_plugin.errors import InputError, InputWarning

SYNONYMS: dict[str, str] = {
    'RA': 'RA RAJ2000 RA_ICRS RAdeg RA_deg_cont ra_cen ALPHA_J2000',
    'DEC': 'DEC DEJ2000 DECJ2000 DE_ICRS DEdeg DECdeg Dec_deg_cont DE dec_cen DELTA_J2000',
    'Total_flux': 'Total_flux Total_flux_Gaussian Total_flux_source Int_flux flux_int Integrated_flux Fint Sint Stotal '
    'SpeakTot S1.4 Flux',
    'E_Total_flux': 'E_Total_flux E_Total_flux_Gaussian E_Total_flux_source err_Int_flux e_Int_flux flux_int_err '
    'int_flux_err e_Fint e_Sint e_SpeakTot e_S1.4 E_Flux',
    'Peak_flux': 'Peak_flux flux_peak Fpeak Speak',
    'E_Peak_flux': 'E_Peak_flux err_Peak_flux e_Peak_flux flux_peak_err peak_flux_err e_Fpeak e_Speak',
    'Maj': 'Fitted_major fMaj Maj Major MajAxis maj_axis a',
    'Min': 'Fitted_minor fMin Min Minor MinAxis min_axis b',
    'PA': 'Fitted_PosAng Fitted_PA fPA PA PosAng pos_ang',
    'E_RA': 'E_RA e_RAJ2000 e_RA_ICRS e_RAdeg err_RA ra_err',
    'E_DEC': 'E_DEC e_DEJ2000 e_DE_ICRS e_DEdeg err_DEC dec_err',
    'Isl_id': 'Isl_id Island_id Island Island_name',
    'S_Code': 'S_Code',
}
"""Names under which the standard columns are known elsewhere; case and underscores do not count.

Sizes as they were fitted go before those without the beam; a Gaussian's own flux density before that of its source.
"""
PYBDSF_MARKS = {'E_RA', 'Isl_id', 'S_Code'}
"""Columns by which PyBDSF's own tables are known; their units are deg and Jy."""
ASSUMED = 'Assumed units'
"""In the standard table's ``meta``: of each column whose unit is not stated, its name in the catalogue and the unit."""
_SEXAGESIMAL = re.compile(r'\d[:hd°\s]', re.IGNORECASE)
EXPECTED = 'expected RA, DEC and Total_flux or Peak_flux, as in a PyBDSF srl or gaul table'


def component_table(
    sky_deg: ArrayLike,
    total_jy: ArrayLike,
    e_total_jy: ArrayLike,
    peak_jy: ArrayLike,
    shape_deg: ArrayLike,
    isl_id: ArrayLike,
    s_code: ArrayLike,
    e_sky_deg: ArrayLike | None = None,
    e_peak_jy: ArrayLike | None = None,
) -> QTable:
    """Assemble the standard component table.

    Parameters
    ----------
    sky_deg : (n, 2) array
        Right ascension and declination, deg.
    total_jy, e_total_jy, peak_jy : (n,) arrays
        Total flux density and its error, Jy; peak, Jy/beam.
    shape_deg : (n, 3) array
        FWHM of the major and minor axes, position angle (north through east), deg.
    isl_id : (n,) int array
        Island, -1 where unknown.
    s_code : (n,) str array
        PyBDSF's code S, C or M, '' where unknown.
    e_sky_deg : (n, 2) array, optional
        Errors of the position on the sky along right ascension and declination, deg; by default unknown.
    e_peak_jy : (n,) array, optional
        Error of the peak, Jy/beam; by default unknown.
    """
    ra, dec = np.asarray(sky_deg, float).reshape(-1, 2).T
    major, minor, angle = np.asarray(shape_deg, float).reshape(-1, 3).T
    table = QTable()
    table['Component_id'] = np.arange(len(ra))
    table['RA'], table['DEC'] = ra * u.deg, dec * u.deg
    table['Total_flux'] = np.asarray(total_jy, float) * u.Jy
    table['E_Total_flux'] = np.asarray(e_total_jy, float) * u.Jy
    table['Peak_flux'] = np.asarray(peak_jy, float) * (u.Jy / u.beam)
    table['Maj'], table['Min'] = (major * u.deg).to(u.arcsec), (minor * u.deg).to(u.arcsec)
    table['PA'] = angle * u.deg
    table['Isl_id'] = np.asarray(isl_id, int)
    table['S_Code'] = np.asarray(s_code, dtype='U1')
    e_sky = np.full((len(ra), 2), np.nan) if e_sky_deg is None else np.asarray(e_sky_deg, float).reshape(-1, 2)
    table['E_RA'], table['E_DEC'] = e_sky.T * u.deg
    e_peak = np.full(len(ra), np.nan) if e_peak_jy is None else np.asarray(e_peak_jy, float)
    table['E_Peak_flux'] = e_peak * (u.Jy / u.beam)
    return table


def read_catalogue(path: str | Path) -> Table:
    """Read a component catalogue as it is: FITS, VOTable, ECSV, PyBDSF's csv and ascii, or plain csv.

    Parameters
    ----------
    path : path
        In a FITS file the first table that has positions is taken, or the first table.

    Raises
    ------
    InputError
        Where the file is missing or is no table.
    """
    path = Path(path)
    try:
        with path.open('rb') as file:
            start = file.read(4096)
        if start[:2] == b'\x1f\x8b':
            with gzip.open(path) as zipped:
                start = zipped.read(4096)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', u.UnitsWarning)  # units such as 'pix/beam' stay as they are in the file
            warnings.filterwarnings('ignore', 'File may have been truncated')  # it fails when it is read
            return _read(path, start)
    except FileNotFoundError as err:
        raise InputError(f'{path}: no such catalogue; check the path') from err
    except InputError:
        raise
    except (OSError, EOFError, ValueError, TypeError, IndexError) as err:
        text = ' '.join(str(err).split())[:150]
        raise InputError(
            f'{path}: not a readable catalogue ({text}); give a FITS table, VOTable, or PyBDSF csv or ascii list'
        ) from err


def _read(path: Path, start: bytes) -> Table:
    if start.startswith(b'SIMPLE'):
        with fits.open(path) as hdus:
            return Table.read(hdus[table_hdu(hdus, path)], mask_invalid=False)
    if start.lstrip().startswith((b'<?xml', b'<VOTABLE')):
        return Table.read(path, format='votable')
    if start.startswith(b'# %ECSV'):
        return Table.read(path, format='ascii.ecsv')
    if b'Generated by PyBDSF' in start:
        names = [line for line in start.decode('latin-1').splitlines() if line.startswith(('# Source_id', '# Gaus_id'))]
        if not names:  # PyBDSF found nothing
            return Table()
        # Not 'ascii.commented_header': with header_start its fast reader stumbles over the comments before the names.
        delimiter = ',' if ',' in names[0] else ' '
        columns = names[0].lstrip('# ').replace(',', ' ').split()
        return Table.read(path, format='ascii.no_header', names=columns, delimiter=delimiter, comment='#', guess=False)
    if b'\x00' in start:
        raise InputError(f'{path}: neither FITS nor text; give a FITS table, VOTable, or PyBDSF csv or ascii list')
    return Table.read(path, format='ascii.csv', comment='#', encoding='utf-8-sig')  # Excel begins with a mark


def table_hdu(hdus: fits.HDUList, path: str | Path) -> int:
    """Find the catalogue in a FITS file: the first table with positions, or else the first table.

    Raises
    ------
    InputError
        Where the file has no table.
    """
    tables = [i for i, hdu in enumerate(hdus) if isinstance(hdu, fits.BinTableHDU | fits.TableHDU)]
    tables = [i for i in tables if not isinstance(hdus[i], fits.CompImageHDU)]
    if not tables:
        raise InputError(
            f'{path}: no table in this FITS file, or truncated; give the whole catalogue of PyBDSF, not the image'
        )
    named = {i: hdus[i].columns.names for i in tables}
    return next((i for i in tables if _find(named[i], 'RA') and _find(named[i], 'DEC')), tables[0])


def _plain(name: str) -> str:
    return name.strip().lstrip('_').lower().replace('_', '').replace(' ', '')


def _find(names: Sequence[str], standard: str) -> str | None:
    """Find the column that holds a standard quantity; the first synonym in the list wins."""
    known = {_plain(name): name for name in reversed(names)}
    return next((known[_plain(name)] for name in SYNONYMS[standard].split() if _plain(name) in known), None)


def has_positions(table: Table) -> bool:
    """Tell whether a table has columns of right ascension and declination, by one of their names."""
    return len(position_columns(table)) == 2


def position_columns(table: Table) -> list[str]:
    """Give the names of the columns of right ascension and declination, where there are such."""
    return [name for standard in ('RA', 'DEC') if (name := _find(table.colnames, standard))]


def sky_positions(table: Table, path: str | Path = 'catalogue') -> SkyCoord:
    """Give the positions in a catalogue, whatever its columns are called.

    Raises
    ------
    InputError
        Where there are none, or one is blank or no number.
    """
    if not has_positions(table):
        raise InputError(f'{path}: no columns RA and DEC, found {_listed(table.colnames)}; rename the columns')
    ra, dec = (table[name] for name in position_columns(table))
    return SkyCoord(_positions(ra, dec, path), unit=u.deg)


def assumed_units(table: Table) -> dict[str, tuple[str, u.UnitBase]]:
    """Tell which columns that `standardise` uses state no unit.

    Returns
    -------
    dict of str to (str, unit)
        By the standard name, the column's own name and the unit that it is taken to have.
    """
    size_unit = u.deg if set(table.colnames) >= PYBDSF_MARKS else u.arcsec
    flux = dict(Total_flux=u.Jy, E_Total_flux=u.Jy, Peak_flux=u.Jy / u.beam)
    units = dict(RA=u.deg, DEC=u.deg, PA=u.deg, Maj=size_unit, Min=size_unit) | flux
    names = {standard: _find(table.colnames, standard) for standard in units}
    return {
        standard: (name, units[standard])
        for standard, name in names.items()
        if name is not None and table[name].dtype.kind in 'iuf' and unit_of(table[name]) is None
    }


def _listed(names: Sequence[str]) -> str:
    return ', '.join(names[:12]) + (', ...' if len(names) > 12 else '')


def standardise(table: Table, path: str | Path = 'catalogue') -> QTable:
    """Make the standard component table from a catalogue of PyBDSF or another source finder.

    No row is dropped and their order is kept. Without a total flux density the peak is taken (an unresolved
    component), with a warning; other columns that lack become NaN, -1 or ''. So do errors and sizes below 0, by which
    some source finders say that there is none.

    Parameters
    ----------
    table : Table
        As `read_catalogue` gives it.
    path : path
        Named in errors.

    Raises
    ------
    InputError
        Where positions or flux densities are missing, have a foreign unit, or positions are blank, or a list of
        Gaussians has only the flux densities of their sources.
    """
    n = len(table)
    names = table.colnames
    found = {standard: _find(names, standard) for standard in SYNONYMS}
    if n == 0:
        return component_table(np.empty((0, 2)), [], [], [], np.empty((0, 3)), [], [])
    if not (found['RA'] and found['DEC'] and (found['Total_flux'] or found['Peak_flux'])):
        raise InputError(f'{path}: needed columns are missing, found {_listed(names)}; {EXPECTED}; rename the columns')
    of_pybdsf = set(names) >= PYBDSF_MARKS
    _check_once(table, found['Total_flux'], path)

    def values(standard: str, unit: u.Unit, default: u.Unit) -> NDArray:
        name = found[standard]
        if name is None:
            return np.full(n, np.nan)
        return _values(table[name], unit, default, path, quiet=of_pybdsf)

    def errors(standard: str, unit: u.Unit) -> NDArray:
        """Errors that are of use but not needed: unknown where their unit is not stated, or a foreign one."""
        name = found[standard]
        own = unit_of(table[name]) if name is not None else None
        if not of_pybdsf and (own is None or u.get_physical_type(own) != u.get_physical_type(unit)):
            return np.full(n, np.nan)
        return _positive(values(standard, unit, unit))

    sky = _positions(table[found['RA']], table[found['DEC']], path)
    size_unit = u.deg if of_pybdsf else u.arcsec
    peak = values('Peak_flux', u.Jy / u.beam, u.Jy / u.beam)
    total = values('Total_flux', u.Jy, u.Jy)
    if found['Total_flux'] is None:
        text = f'{path}: no total flux density, {found["Peak_flux"]} is taken for it'
        warnings.warn(text, InputWarning, stacklevel=2)
        total = peak
    sizes = [_positive(values(axis, u.deg, size_unit)) for axis in ('Maj', 'Min')]
    standard = component_table(
        sky_deg=sky,
        total_jy=total,
        e_total_jy=_positive(values('E_Total_flux', u.Jy, u.Jy)),
        peak_jy=peak,
        shape_deg=np.transpose([*sizes, values('PA', u.deg, u.deg)]),
        isl_id=_island_ids(table[found['Isl_id']]) if found['Isl_id'] else np.full(n, -1),
        s_code=text_values(table[found['S_Code']]) if found['S_Code'] else [''] * n,
        e_sky_deg=np.transpose([errors('E_RA', u.deg), errors('E_DEC', u.deg)]),
        e_peak_jy=errors('E_Peak_flux', u.Jy / u.beam),
    )
    standard.meta[ASSUMED] = {key: (column, str(unit)) for key, (column, unit) in assumed_units(table).items()}
    return standard


def _check_once(table: Table, flux: str | None, path: str | Path) -> None:
    """Raise InputError where each of several Gaussians has the flux density of the source that they make up."""
    if flux is None or _plain(flux) != _plain('Total_flux_source'):
        return
    source = next((name for name in table.colnames if _plain(name) == 'sourceid'), None)
    if source is not None and len(np.unique(text_values(table[source]))) < len(table):
        raise InputError(
            f'{path}: {flux} is that of a whole source, of which {source} lists several rows: it would count several '
            'times; give the flux density of each row, or the list of sources'
        )


def _positive(values: NDArray) -> NDArray:
    return np.where(values >= 0, values, np.nan)


def _values(column: Any, unit: u.Unit, default: u.Unit, path: str | Path, *, quiet: bool) -> NDArray:
    """Give a column as floats in a unit; blank and infinite values become NaN, one without unit has the default one."""
    name = column.info.name
    own = unit_of(column)
    if own is None:
        if not quiet and default in (u.Jy, u.Jy / u.beam):
            warnings.warn(f'{path}: column {name} has no unit, {default} is assumed', InputWarning, stacklevel=4)
        own = default
    try:
        numbers = np.ma.filled(np.ma.asarray(getattr(column, 'value', column), dtype=float), np.nan)
    except (TypeError, ValueError) as err:
        raise InputError(f'{path}: column {name} holds {column.dtype}, not numbers; convert it to floats') from err
    # A flux density is Jy or Jy/beam as the source finder's habit has it; the beam is no part of the conversion.
    try:
        factor = (own * u.beam if u.beam in own.bases else own).to(unit * u.beam if u.beam in unit.bases else unit)
    except u.UnitConversionError as err:
        raise InputError(f'{path}: column {name} is in {own}, which is no {unit}; correct its unit') from err
    return np.where(np.isfinite(numbers), numbers * factor, np.nan)


def unit_of(column: Any) -> u.UnitBase | None:
    """Give a column's unit, also where another program has written it in its own way; None where it has none."""
    own = getattr(column, 'unit', None)
    if own is None or own == u.dimensionless_unscaled:
        return None
    if isinstance(own, u.UnrecognizedUnit):
        # 'Jy/BEAM', 'mJy/bm', 'degrees': as other programs write them
        text = own.to_string().strip().lower().replace('degrees', 'deg').replace('/bm', '/beam').replace('jy', 'Jy')
        text = text.replace('mJy/sr', 'MJy/sr') if own.to_string().strip().startswith('M') else text
        own = u.Unit(text, parse_strict='silent')
    return own


def _positions(ra: Any, dec: Any, path: str | Path) -> NDArray:
    """Give positions in deg, (n, 2); sexagesimal text is hours and degrees, text of plain numbers is as numbers are."""
    if np.asarray(ra).dtype.kind in 'US' and any(map(_SEXAGESIMAL.search, text_values(ra).tolist())):
        deg = _sexagesimal_positions(text_values(ra), text_values(dec), path)
    else:
        if np.asarray(ra).dtype.kind in 'US':
            ra, dec = _numbers_of_text(ra, dec, path)
        deg = np.transpose([_values(column, u.deg, u.deg, path, quiet=True) for column in (ra, dec)])
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


def text_values(column: Any) -> NDArray:
    """Give a column as text without blanks at its ends; '' where it is masked."""
    values = np.asarray(column)
    # FITS allows ASCII only, but other programs write UTF-8
    text = np.char.strip(np.char.decode(values, 'utf-8', 'replace') if values.dtype.kind == 'S' else values.astype(str))
    return np.where(column.mask, '', text) if isinstance(column, MaskedColumn) else text


def _island_ids(column: Column) -> NDArray:
    """Give islands as integers; names of islands are numbered, blank ones are -1."""
    if column.dtype.kind in 'iu':
        return np.asarray(column.filled(-1) if isinstance(column, MaskedColumn) else column)
    if column.dtype.kind == 'f':  # integers of which some are blank
        values = np.ma.filled(np.ma.asarray(column, float), np.nan)
        return np.where(np.isfinite(values), np.nan_to_num(values), -1).astype(int)
    names, numbers = np.unique(text_values(column), return_inverse=True)
    return np.where(names[numbers] == '', -1, numbers)
