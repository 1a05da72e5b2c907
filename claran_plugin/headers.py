"""What a radio image's header tells: brightness unit, beam and frequency, in the ways that programs write them."""

import re
import warnings
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits

from claran_plugin.errors import InputError, InputWarning

_BRIGHTNESS_UNIT = re.compile(r'(?P<prefix>m|u|μ|µ|n)?(?:jy|jansky)\s*(?:/|\.|\*|\s)\s*(?:beam|bm)(?:\^|\*\*)?(?:-1)?')
_PREFIXES = {None: 1.0, 'm': 1e-3, 'u': 1e-6, 'μ': 1e-6, 'µ': 1e-6, 'n': 1e-9}
_NUMBER = r'([-+]?[\d.]+(?:[ED][-+]?\d+)?)'
_AIPS_BEAM = re.compile(rf'BMAJ\s*=\s*{_NUMBER}\s+BMIN\s*=\s*{_NUMBER}(?:\s+BPA\s*=\s*{_NUMBER})?', re.IGNORECASE)


def jy_beam_per(unit: str, name: str) -> float:
    """Give the factor from a BUNIT to Jy/beam."""
    unit = str(unit).strip()
    if not unit:
        warnings.warn(f'{name}: no BUNIT in the header: Jy/beam is assumed', InputWarning, stacklevel=3)
        return 1.0
    match = None if unit.startswith('MJy') else _BRIGHTNESS_UNIT.fullmatch(unit.lower())  # mega- is not milli-
    if match is None:
        raise InputError(f'{name}: the unit is {unit!r}, not Jy/beam: convert the image, or correct BUNIT')
    return _PREFIXES[match['prefix']]


def header_beam(header: Any, table: tuple[float, float, float] | None) -> tuple[float, float, float] | None:
    """Find the beam (deg) in BMAJ, BMIN and BPA, CASA's table of beams or AIPS's HISTORY."""
    major = positive(header.get('BMAJ'))
    if major:
        return major, positive(header.get('BMIN')) or major, number(header.get('BPA')) or 0.0
    if table:
        return table
    history = ' '.join(map(str, header.get('HISTORY', '')))  # cards may break between values
    for found in reversed(_AIPS_BEAM.findall(history)):  # the last one was made last
        major, minor, pa = (number(value.upper().replace('D', 'E')) for value in found)
        if major and minor and min(major, minor) > 0:
            return major, minor, pa or 0.0
    return None


def beam_table(hdus: fits.HDUList) -> tuple[float, float, float] | None:
    """Read the first beam (deg) of the table that CASA writes where the beam varies along an axis."""
    if 'BEAMS' not in hdus or not {'BMAJ', 'BMIN', 'BPA'} <= set(hdus['BEAMS'].columns.names):
        return None
    columns = hdus['BEAMS'].columns
    values = {}
    for key, default in (('BMAJ', 'arcsec'), ('BMIN', 'arcsec'), ('BPA', 'deg')):
        values[key] = u.Quantity(hdus['BEAMS'].data[key], columns[key].unit or default).to_value(u.deg)
    good = np.flatnonzero((values['BMAJ'] > 0) & (values['BMIN'] > 0))
    if not good.size:
        return None
    major, minor, pa = (float(values[key][good[0]]) for key in ('BMAJ', 'BMIN', 'BPA'))
    return major, minor, pa


def header_frequency(header: fits.Header) -> float | None:
    """Find the frequency (Hz); the FREQ axis comes first, as a rest frequency may be that of a line."""
    for axis in range(1, 10):
        if str(header.get(f'CTYPE{axis}', '')).upper().startswith('FREQ'):
            reference, step = number(header.get(f'CRVAL{axis}')), number(header.get(f'CDELT{axis}')) or 0.0
            pixel = number(header.get(f'CRPIX{axis}'))
            if reference is not None:
                first = reference + (1 - (1 if pixel is None else pixel)) * step
                unit = u.Unit(header.get(f'CUNIT{axis}') or 'Hz', parse_strict='silent')
                factor = unit.to(u.Hz) if unit.is_equivalent(u.Hz) else 1.0
                return positive(first * factor)
    values = (positive(header.get(key)) for key in ('RESTFRQ', 'RESTFREQ', 'FREQ'))
    return next((value for value in values if value), None)


def number(value: Any) -> float | None:
    """Give a header's value as a finite float, or None where it is none."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        return None
    return found if np.isfinite(found) else None


def positive(value: Any) -> float | None:
    """Give a header's value as a positive float, or None where it is none."""
    found = number(value)
    return found if found is not None and found > 0 else None
