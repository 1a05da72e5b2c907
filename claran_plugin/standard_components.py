"""The standard component table, made from a catalogue of PyBDSF or another source finder."""

import warnings
from pathlib import Path

import numpy as np
from astropy import units as u
from astropy.table import Column, MaskedColumn, QTable, Table
from numpy.typing import ArrayLike, NDArray

from claran_plugin.catalogue_columns import SYNONYMS, find_column, listed, plain_name, text_values, unit_of, values_in
from claran_plugin.catalogue_positions import positions_deg
from claran_plugin.errors import InputError, InputWarning

PYBDSF_MARKS = {'E_RA', 'Isl_id', 'S_Code'}
"""Columns by which PyBDSF's own tables are known; their units are deg and Jy."""
ASSUMED = 'Assumed units'
"""In the standard table's ``meta``: of each column whose unit is not stated, its name in the catalogue and the unit."""
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
    names = {standard: find_column(table.colnames, standard) for standard in units}
    return {
        standard: (name, units[standard])
        for standard, name in names.items()
        if name is not None and table[name].dtype.kind in 'iuf' and unit_of(table[name]) is None
    }


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
    found = {standard: find_column(names, standard) for standard in SYNONYMS}
    if n == 0:
        return component_table(np.empty((0, 2)), [], [], [], np.empty((0, 3)), [], [])
    if not (found['RA'] and found['DEC'] and (found['Total_flux'] or found['Peak_flux'])):
        raise InputError(f'{path}: needed columns are missing, found {listed(names)}; {EXPECTED}; rename the columns')
    of_pybdsf = set(names) >= PYBDSF_MARKS
    _check_once(table, found['Total_flux'], path)

    def values(standard: str, unit: u.Unit, default: u.Unit) -> NDArray:
        name = found[standard]
        if name is None:
            return np.full(n, np.nan)
        return values_in(table[name], unit, default, path, quiet=of_pybdsf)

    def errors(standard: str, unit: u.Unit) -> NDArray:
        """Errors that are of use but not needed: unknown where their unit is not stated, or a foreign one."""
        name = found[standard]
        own = unit_of(table[name]) if name is not None else None
        if not of_pybdsf and (own is None or u.get_physical_type(own) != u.get_physical_type(unit)):
            return np.full(n, np.nan)
        return _positive(values(standard, unit, unit))

    sky = positions_deg(table[found['RA']], table[found['DEC']], path)
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
    if flux is None or plain_name(flux) != plain_name('Total_flux_source'):
        return
    source = next((name for name in table.colnames if plain_name(name) == 'sourceid'), None)
    if source is not None and len(np.unique(text_values(table[source]))) < len(table):
        raise InputError(
            f'{path}: {flux} is that of a whole source, of which {source} lists several rows: it would count several '
            'times; give the flux density of each row, or the list of sources'
        )


def _positive(values: NDArray) -> NDArray:
    return np.where(values >= 0, values, np.nan)


def _island_ids(column: Column) -> NDArray:
    """Give islands as integers; names of islands are numbered, blank ones are -1."""
    if column.dtype.kind in 'iu':
        return np.asarray(column.filled(-1) if isinstance(column, MaskedColumn) else column)
    if column.dtype.kind == 'f':  # integers of which some are blank
        values = np.ma.filled(np.ma.asarray(column, float), np.nan)
        return np.where(np.isfinite(values), np.nan_to_num(values), -1).astype(int)
    names, numbers = np.unique(text_values(column), return_inverse=True)
    return np.where(names[numbers] == '', -1, numbers)
