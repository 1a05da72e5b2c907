"""Read radio images: FITS to `CCDData` in Jy/beam with a celestial WCS and the beam.

What an image is here (docs/architecture.md): ``data`` float32 (ny, nx), NaN where blank; ``unit`` Jy/beam; ``mask``
True where blank; ``wcs`` 2-D celestial; ``meta`` the file's header with ``BMAJ, BMIN, BPA`` (deg), ``FILENAME`` and,
where it is known, ``RESTFRQ`` (Hz).
"""

import re
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_area, proj_plane_pixel_scales

from claran_plugin.errors import InputError
from claran_plugin.fits_pixels import ImageLike, blank_mask, load_pixels, scaled
from claran_plugin.grids import scale_and_rotation
from claran_plugin.headers import header_beam, header_frequency, jy_beam_per, positive
from claran_plugin.zero_margins import without_zero_margins

JY_BEAM = u.Jy / u.beam


class Beam(NamedTuple):
    """The synthesised beam: full widths at half maximum and the major axis's angle, north through east."""

    major: u.Quantity
    minor: u.Quantity
    pa: u.Quantity


class Survey(NamedTuple):
    """What is the same in all images of a survey."""

    beam: Beam
    frequency: u.Quantity


def _survey(fwhm_arcsec: float, frequency_mhz: float) -> Survey:
    return Survey(Beam(fwhm_arcsec * u.arcsec, fwhm_arcsec * u.arcsec, 0 * u.deg), frequency_mhz * u.MHz)


SURVEYS: dict[str, Survey] = {
    'first': _survey(5.4, 1400),  # Becker et al. 1995
    'nvss': _survey(45, 1400),  # Condon et al. 1998
    'vlass': _survey(2.5, 3000),  # Lacy et al. 2020
    'lotss': _survey(6, 144),  # Shimwell et al. 2017
    'emu': _survey(15, 943.5),  # Hopkins et al. 2025
    'racs': _survey(25, 887.5),  # RACS-low, Hale et al. 2021
}
"""Presets that fill in what a header lacks."""

MOST_OBLONG = 1.01
"""Ratio of a pixel's sides up to which it counts as square."""
LEAST_BEAM_PIX = 0.1
"""Below this it is in another unit."""
_ENDINGS = re.compile(r'(\.(fits?|fts))?(\.(gz|fz|bz2))?$', re.IGNORECASE)


def read_image(
    path: ImageLike,
    *,
    beam: Sequence[float] | None = None,
    frequency: float | None = None,
    survey: str | None = None,
) -> CCDData:
    """Read a radio image.

    The image may be in the primary HDU or an extension, plain, gzipped or tile-compressed, with 2 to 4 axes. The beam
    comes from the argument or else from BMAJ, BMIN and BPA, a CASA beam table, AIPS's HISTORY, or the survey; the
    frequency from the argument or else from the FREQ axis, RESTFRQ, RESTFREQ, FREQ or the survey.

    Parameters
    ----------
    path : path of a FITS file, or CCDData
        A `CCDData` goes through the same checks and is not changed.
    beam : (major, minor, pa), optional
        Full widths at half maximum and position angle, degrees; overrides the header.
    frequency : float, optional
        Hz; overrides the header.
    survey : str, optional
        Key of `SURVEYS`; fills in what the header lacks.

    Returns
    -------
    CCDData
        (ny, nx) float32 in Jy/beam, as described at the top of this module. Of a file with more than
        `fits_pixels.MOST_PIXELS_IN_MEMORY` pixels, ``data`` are `pixels.WindowedPixels`, and there is no mask.

    Raises
    ------
    InputError
        Where the file is missing, not FITS or truncated; where there is no image, celestial WCS or beam; where the
        unit is none of Jy/beam, mJy/beam, uJy/beam and nJy/beam; where all pixels are blank or equal; where pixels are
        not square.

    Warns
    -----
    InputWarning
        Where an axis beyond the sky's has several planes (the first is used), the unit is not stated, or zeros around
        the image are taken to be blank.
    """
    if survey is not None and survey not in SURVEYS:
        raise InputError(f'unknown survey {survey!r}: choose from {", ".join(SURVEYS)}')
    if frequency is not None and not positive(frequency):
        raise InputError(f'frequency {frequency}: give it in Hz, above 0')
    data, header, wcs, tabled, name = load_pixels(path)
    _check_square(wcs, name)
    preset = SURVEYS[survey] if survey else None
    scale = jy_beam_per(header.get('BUNIT') or ('Jy/beam' if preset else ''), name)
    header['BUNIT'] = 'Jy/beam'
    data = without_zero_margins(scaled(data, scale), name)
    mask = blank_mask(data, name)
    beam_deg = _given_beam(beam) or header_beam(header, tabled) or (preset and _in_degrees(preset.beam))
    if beam_deg is None:
        raise InputError(f'{name}: no beam in the header: give --beam MAJ MIN PA or --survey NAME')
    header['BMAJ'], header['BMIN'], header['BPA'] = beam_deg
    hz = frequency or header_frequency(header) or (preset and preset.frequency.to_value(u.Hz))
    if hz:
        header['RESTFRQ'] = float(hz)
    image = CCDData(data, unit=JY_BEAM, wcs=wcs, meta=header, mask=mask)
    if beam_pix(image) > max(data.shape):
        raise InputError(f'{name}: the beam, {beam_deg[0]:g} deg, is larger than the image: give it in degrees')
    if beam_pix(image) < LEAST_BEAM_PIX:
        raise InputError(f'{name}: the beam, {beam_deg[0]:g} deg, is far smaller than a pixel: give it in degrees')
    return image


def _check_square(wcs: WCS, name: str) -> None:
    sides = np.sort(proj_plane_pixel_scales(wcs)) * 3600
    if sides[1] > MOST_OBLONG * sides[0]:
        raise InputError(
            f'{name}: its pixels are {sides[0]:.4g}" x {sides[1]:.4g}", not square: bring it to square ones first, '
            'for instance with the package reproject'
        )


def image_stem(path: str | PathLike[str]) -> str:
    """Give the name of an image's file without folder and without endings such as ``.fits.gz``."""
    return _ENDINGS.sub('', Path(path).name) or 'image'


def image_files(folder: str | PathLike[str], pattern: str = '*') -> list[Path]:
    """List the FITS images in a folder whose names match, in order; logs such as ``a.fits.pybdsf.log`` are none."""
    endings = ('.fits', '.fits.gz', '.fits.fz')
    return sorted(path for path in Path(folder).glob(pattern) if path.name.lower().endswith(endings))


def beam(image: CCDData) -> Beam:
    """Give the beam of an image.

    Parameters
    ----------
    image : CCDData
        With ``BMAJ``, ``BMIN`` and ``BPA`` (deg) in its ``meta``.

    Raises
    ------
    InputError
        Where ``meta`` has no beam.
    """
    beam_deg = header_beam(image.meta, None)
    if beam_deg is None:
        raise InputError(f'{image.meta.get("FILENAME", "image")}: no beam: read the image with read_image(beam=...)')
    return Beam(*(value * u.deg for value in beam_deg))


def frequency(image: CCDData) -> u.Quantity | None:
    """Give the frequency of an image in Hz, or None where it is not known."""
    hz = positive(image.meta.get('RESTFRQ'))
    return None if hz is None else hz * u.Hz


def pixel_scale(image: CCDData) -> float:
    """Give the side of a pixel in arcsec, the geometric mean of its two sides."""
    return pixel_side(image.wcs) * 3600


def pixel_side(wcs: WCS) -> float:
    """Give the side of a pixel in degrees, the geometric mean of its two sides."""
    return float(np.sqrt(proj_plane_pixel_area(wcs)))


def beam_pix(image: CCDData) -> float:
    """Give the full width at half maximum of the beam in pixels, the geometric mean of its two axes."""
    major, minor, _ = beam(image)
    return float(np.sqrt(major * minor).to_value(u.arcsec) / pixel_scale(image))


def to_plain_fits(image: CCDData, path: str | PathLike[str]) -> None:
    """Write an image as the simplest FITS file there is, which every radio program reads.

    Two axes in the primary HDU, 32-bit floats, the WCS as CDELT with PC where it is rotated, the beam, and the
    frequency as both RESTFRQ and RESTFREQ (PyBDSF knows only the latter). A file that exists is replaced.

    Parameters
    ----------
    image : CCDData
        See `read_image`.
    path : path
        Where to write.
    """
    header = image.wcs.to_header(relax=True)
    cdelt, rotation = scale_and_rotation(image.wcs.pixel_scale_matrix)
    for i in (1, 2):
        header[f'CDELT{i}'] = cdelt[i - 1]
        for j in (1, 2):
            header.remove(f'PC{i}_{j}', ignore_missing=True)
            if not np.allclose(rotation, np.eye(2), atol=1e-10):
                header[f'PC{i}_{j}'] = rotation[i - 1, j - 1]
    major, minor, pa = _in_degrees(beam(image))
    header.update({'BUNIT': 'Jy/beam', 'BMAJ': major, 'BMIN': minor, 'BPA': pa})
    hz = frequency(image)
    if hz is not None:
        header['RESTFRQ'] = header['RESTFREQ'] = hz.to_value(u.Hz)
    for key in ('OBJECT', 'TELESCOP', 'DATE-OBS'):
        if key in image.meta:
            header[key] = image.meta[key]
    fits.PrimaryHDU(np.asarray(image.data, np.float32), header).writeto(path, overwrite=True)


def _given_beam(values: Sequence[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    beam_deg = tuple(float(value) for value in values)
    if len(beam_deg) != 3 or not np.all(np.isfinite(beam_deg)) or min(beam_deg[:2]) <= 0:
        raise InputError(f'beam {values}: give MAJ MIN PA in degrees, MAJ and MIN above 0')
    return max(beam_deg[:2]), min(beam_deg[:2]), beam_deg[2]


def _in_degrees(beam: Beam) -> tuple[float, float, float]:
    return beam.major.to_value(u.deg), beam.minor.to_value(u.deg), beam.pa.to_value(u.deg)
