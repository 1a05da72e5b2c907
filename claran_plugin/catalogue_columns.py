"""Columns of component catalogues: by their many names, in whatever unit, as numbers and as text."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.table import MaskedColumn
from numpy.typing import NDArray

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


def plain_name(name: str) -> str:
    """Give a column's name without case, blanks and underscores, as names are compared."""
    return name.strip().lstrip('_').lower().replace('_', '').replace(' ', '')


def find_column(names: Sequence[str], standard: str) -> str | None:
    """Find the column that holds a standard quantity; the first synonym in the list wins."""
    known = {plain_name(name): name for name in reversed(names)}
    return next((known[plain_name(name)] for name in SYNONYMS[standard].split() if plain_name(name) in known), None)


def listed(names: Sequence[str]) -> str:
    """List the first dozen of some names, for a message."""
    return ', '.join(names[:12]) + (', ...' if len(names) > 12 else '')


def values_in(column: Any, unit: u.Unit, default: u.Unit, path: str | Path, *, quiet: bool) -> NDArray:
    """Give a column as floats (n,) in a unit, without one in the default; blank and infinite values become NaN.

    Raises
    ------
    InputError
        Where it holds no numbers, or has a foreign unit.
    """
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


def text_values(column: Any) -> NDArray:
    """Give a column as text without blanks at its ends; '' where it is masked."""
    values = np.asarray(column)
    # FITS allows ASCII only, but other programs write UTF-8
    text = np.char.strip(np.char.decode(values, 'utf-8', 'replace') if values.dtype.kind == 'S' else values.astype(str))
    return np.where(column.mask, '', text) if isinstance(column, MaskedColumn) else text
