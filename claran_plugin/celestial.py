"""Celestial frames: catalogues and tables are in ICRS, images in any frame.

PyBDSF writes positions and angles in the image's own frame into the columns ``RA``, ``DEC`` and ``PA``, whatever that
frame is: for an image in Galactic coordinates, l and b.
"""

import warnings

import numpy as np
from astropy import units as u
from astropy.coordinates import ICRS, SkyCoord
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs import WCS
from astropy.wcs.utils import wcs_to_celestial_frame
from numpy.typing import ArrayLike, NDArray

from claran_plugin.errors import InputError, InputWarning
from claran_plugin.pixels import values_at

LIKE_ICRS = 0.1 * u.arcsec
"""A frame that differs by less is ICRS: FK5 of J2000 does by 0.02"."""
KNOWN_LONGITUDES = ('RA', 'GLON')
"""First letters of CTYPE of the frames that are understood."""
ANGLE_STEP = 1 * u.arcsec
FRAMES = {'J2000': 'FK5', 'J2000.0': 'FK5', 'B1950': 'FK4', 'B1950.0': 'FK4'}
"""What programs write for RADESYS, and what is meant."""


def is_icrs(wcs: WCS) -> bool:
    """Tell whether an image's world coordinates are right ascension and declination of J2000."""
    frame = wcs_to_celestial_frame(wcs)
    if isinstance(frame, ICRS):
        return True
    points = SkyCoord([0, 90, 200] * u.deg, [0, 45, -60] * u.deg, frame=frame)
    plain = SkyCoord(points.spherical.lon, points.spherical.lat, frame='icrs')
    return bool((points.icrs.separation(plain) < LIKE_ICRS).all())


def check_frame(wcs: WCS, name: str) -> None:
    """Raise InputError where an image's world coordinates are neither equatorial nor Galactic, or the wrong way round.

    Of others, ecliptic ones for example, astropy takes some for ICRS. A RADESYS that is meant for one is corrected.
    """
    system = wcs.wcs.radesys.strip().upper()
    wcs.wcs.radesys = FRAMES.get(system, system)
    if wcs.wcs.lngtyp.strip() not in KNOWN_LONGITUDES:
        kinds = ', '.join(str(kind) for kind in wcs.wcs.ctype)
        raise InputError(
            f'{name}: world coordinates in a frame that is not known here ({kinds}): '
            'bring the image to right ascension and declination, or to Galactic coordinates'
        )
    if wcs.wcs.lng > wcs.wcs.lat:
        kinds = ', '.join(str(kind) for kind in wcs.wcs.ctype)
        raise InputError(
            f'{name}: its axes are the wrong way round ({kinds}): transpose it, so that longitude is first'
        )
    try:
        wcs_to_celestial_frame(wcs)
    except ValueError as err:
        raise InputError(
            f'{name}: RADESYS is {wcs.wcs.radesys!r}, which is not known here: set it to ICRS, FK5 or FK4'
        ) from err


def to_pixels(wcs: WCS, ra: NDArray, dec: NDArray) -> NDArray:
    """Give the pixels (n, 2), x and y from 0, of positions in ICRS, deg; NaN beyond the projection's horizon."""
    with np.errstate(invalid='ignore'):
        if is_icrs(wcs):
            return np.stack(wcs.wcs_world2pix(ra, dec, 0), axis=-1)
        own = SkyCoord(ra, dec, unit='deg').transform_to(wcs_to_celestial_frame(wcs)).spherical
        return np.stack(wcs.wcs_world2pix(own.lon.deg, own.lat.deg, 0), axis=-1)


def to_sky(wcs: WCS, xy: ArrayLike) -> SkyCoord:
    """Give the positions in ICRS of pixels (n, 2), x and y from 0."""
    return wcs.pixel_to_world(*np.asarray(xy, float).reshape(-1, 2).T).icrs


def in_icrs(
    standard: QTable, radio: CCDData, name: str = 'catalogue', *, own_frame: bool | None = None
) -> tuple[QTable, str]:
    """Bring the positions and angles of a catalogue to ICRS, if they are in the frame of an image of another.

    Where it is not said, they are if the image is brighter where that puts them than where ICRS does, or if ICRS puts
    none of them on the image.

    Parameters
    ----------
    standard : QTable
        Standard component table.
    radio : CCDData
    name : str
        The catalogue, for the warning.
    own_frame : bool, optional
        Whether they are in the image's frame.

    Returns
    -------
    QTable, the same one where nothing is to be done, and the frame that they were in with its equinox
    """
    if not len(standard) or own_frame is False or is_icrs(radio.wcs):
        return standard, ICRS.name
    frame = wcs_to_celestial_frame(radio.wcs)
    lon, lat = standard['RA'], standard['DEC']
    degrees = lon.to_value(u.deg), lat.to_value(u.deg)
    own = np.stack(radio.wcs.wcs_world2pix(*degrees, 0), axis=-1)
    if own_frame is None and not _is_rather(own, to_pixels(radio.wcs, *degrees), radio):
        return standard, ICRS.name
    warnings.warn(
        f"{name}: its RA, DEC and PA are taken to be in the image's own frame, {frame.name}, as PyBDSF writes them; "
        'the source table is in ICRS',
        InputWarning,
        stacklevel=3,
    )
    result = standard.copy()
    at = SkyCoord(lon, lat, frame=frame)
    turn = turn_of_north(at)
    result['RA'], result['DEC'] = at.icrs.ra.to(lon.unit), at.icrs.dec.to(lat.unit)
    result['PA'] = ((standard['PA'] + turn) % (180 * u.deg)).to(standard['PA'].unit)
    result['E_RA'], result['E_DEC'] = turned_errors(standard['E_RA'], standard['E_DEC'], turn)
    equinox = getattr(frame, 'equinox', None)
    if equinox is None:
        return result, frame.name
    return result, f'{frame.name} {equinox.byear_str if equinox.format.startswith("byear") else equinox.jyear_str}'


def turn_of_north(at: SkyCoord) -> u.Quantity:
    """Give the position angle in ICRS of the direction to the pole of a frame, at points (n,) in it."""
    north = at.directional_offset_by(0 * u.deg, ANGLE_STEP)
    return at.icrs.position_angle(north.icrs).to(u.deg)


def turned_errors(east: u.Quantity, north: u.Quantity, turn: u.Quantity) -> tuple[u.Quantity, u.Quantity]:
    """Give errors along right ascension and declination from those along two directions turned by an angle."""
    cos, sin = np.cos(turn), np.sin(turn)
    return np.hypot(east * cos, north * sin), np.hypot(east * sin, north * cos)


def _is_rather(one: NDArray, other: NDArray, radio: CCDData) -> bool:
    """Tell whether components are rather at the first pixel positions (n, 2) than at the second."""
    ny, nx = radio.shape
    numbers, sums = [], []
    for xy in (one, other):
        with np.errstate(invalid='ignore'):
            inside = np.all((xy > -0.5) & (xy < (nx - 0.5, ny - 0.5)), axis=1)
        numbers.append(int(inside.sum()))
        sums.append(float(np.nansum(values_at(radio.data, np.rint(xy[inside]).astype(int)).astype(float))))
    return sums[0] > sums[1] if min(numbers) else numbers[0] > numbers[1]
