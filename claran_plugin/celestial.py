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

LIKE_ICRS = 0.1 * u.arcsec
"""A frame that differs by less is ICRS: FK5 of J2000 does by 0.02"."""
KNOWN_LONGITUDES = ('RA', 'GLON')
"""First letters of CTYPE of the frames that are understood."""
ANGLE_STEP = 1 * u.arcsec


def is_icrs(wcs: WCS) -> bool:
    """Tell whether an image's world coordinates are right ascension and declination of J2000."""
    frame = wcs_to_celestial_frame(wcs)
    if isinstance(frame, ICRS):
        return True
    points = SkyCoord([0, 90, 200] * u.deg, [0, 45, -60] * u.deg, frame=frame)
    plain = SkyCoord(points.spherical.lon, points.spherical.lat, frame='icrs')
    return bool((points.icrs.separation(plain) < LIKE_ICRS).all())


def check_frame(wcs: WCS, name: str) -> None:
    """Raise InputError where an image's world coordinates are neither equatorial nor Galactic.

    Of others, ecliptic ones for example, astropy takes some for ICRS.
    """
    if wcs.wcs.lngtyp.strip() not in KNOWN_LONGITUDES:
        kinds = ', '.join(str(kind) for kind in wcs.wcs.ctype)
        raise InputError(
            f'{name}: world coordinates in a frame that is not known here ({kinds}): '
            'bring the image to right ascension and declination, or to Galactic coordinates'
        )


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


def in_icrs(standard: QTable, radio: CCDData, name: str = 'catalogue') -> QTable:
    """Bring the positions and angles of a catalogue to ICRS, if they are in the frame of an image of another.

    They are where more of them lie on the image if they are taken so than if they are taken as ICRS.

    Parameters
    ----------
    standard : QTable
        Standard component table.
    radio : CCDData
    name : str
        The catalogue, for the warning.

    Returns
    -------
    QTable, the same one where nothing is to be done
    """
    if not len(standard) or is_icrs(radio.wcs):
        return standard
    frame = wcs_to_celestial_frame(radio.wcs)
    lon, lat = standard['RA'], standard['DEC']
    degrees = lon.to_value(u.deg), lat.to_value(u.deg)
    own = np.stack(radio.wcs.wcs_world2pix(*degrees, 0), axis=-1)
    if _inside(own, radio) <= _inside(to_pixels(radio.wcs, *degrees), radio):
        return standard
    warnings.warn(
        f"{name}: its RA, DEC and PA are taken to be in the image's own frame, {frame.name}, as PyBDSF writes them; "
        'the source table is in ICRS',
        InputWarning,
        stacklevel=3,
    )
    result = standard.copy()
    at = SkyCoord(lon, lat, frame=frame)
    result['RA'], result['DEC'] = at.icrs.ra.to(lon.unit), at.icrs.dec.to(lat.unit)
    along = at.directional_offset_by(standard['PA'], ANGLE_STEP)
    result['PA'] = (at.icrs.position_angle(along.icrs) % (180 * u.deg)).to(standard['PA'].unit)
    return result


def _inside(xy: NDArray, radio: CCDData) -> int:
    """Count the pixel positions (n, 2) that lie on an image."""
    ny, nx = radio.shape
    with np.errstate(invalid='ignore'):
        return int(np.all((xy > -0.5) & (xy < (nx - 0.5, ny - 0.5)), axis=1).sum())
