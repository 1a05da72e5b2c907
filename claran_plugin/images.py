"""Read images: FITS to `CCDData` in Jy/beam with a celestial WCS and the beam; infrared onto the radio grid.

What an image is here (docs/architecture.md): ``data`` float32 (ny, nx), NaN where blank; ``unit`` Jy/beam; ``mask``
True where blank; ``wcs`` 2-D celestial; ``meta`` the file's header with ``BMAJ, BMIN, BPA`` (deg), ``FILENAME`` and,
where it is known, ``RESTFRQ`` (Hz).
"""

import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeAlias

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.nddata import CCDData, block_reduce
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning, WcsError
from astropy.wcs.utils import proj_plane_pixel_area
from numpy.typing import NDArray

from claran_plugin.errors import InputError, InputWarning
from claran_plugin.headers import beam_table, header_beam, header_frequency, jy_beam_per, positive
from claran_plugin.pixels import BLOCK, WindowedPixels, tiles

JY_BEAM = u.Jy / u.beam
ImageLike: TypeAlias = str | PathLike[str] | CCDData


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

_FROM_PRIMARY = ('BUNIT', 'BMAJ', 'BMIN', 'BPA', 'RESTFRQ', 'RESTFREQ', 'FREQ', 'TELESCOP', 'OBJECT', 'DATE-OBS')
_ENDINGS = re.compile(r'(\.(fits?|fts))?(\.(gz|fz|bz2))?$', re.IGNORECASE)
_READ_ERRORS = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, RuntimeError, zlib.error, VerifyError)
_BLOCK_PIX = 1024
MOST_PIXELS_IN_MEMORY = 2**26
"""A larger image (256 MiB) is read window by window."""


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
        `MOST_PIXELS_IN_MEMORY` pixels, ``data`` are `pixels.WindowedPixels`, and there is no mask.

    Raises
    ------
    InputError
        Where the file is missing, not FITS or truncated; where there is no image, celestial WCS or beam; where the
        unit is none of Jy/beam, mJy/beam, uJy/beam and nJy/beam; where all pixels are blank or equal.

    Warns
    -----
    InputWarning
        Where an axis beyond the sky's has several planes (the first is used), or the unit is not stated.
    """
    if survey is not None and survey not in SURVEYS:
        raise InputError(f'unknown survey {survey!r}: choose from {", ".join(SURVEYS)}')
    if frequency is not None and not positive(frequency):
        raise InputError(f'frequency {frequency}: give it in Hz, above 0')
    data, header, wcs, tabled, name = _load(path)
    preset = SURVEYS[survey] if survey else None
    scale = jy_beam_per(header.get('BUNIT') or ('Jy/beam' if preset else ''), name)
    header['BUNIT'] = 'Jy/beam'
    if isinstance(data, WindowedPixels):
        data, mask = _scaled(data, scale), None
        _check_windows(data, name)
    else:
        if scale != 1:
            data *= scale
        mask = _blank(data, name)
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
    return image


def read_infrared(path: ImageLike, radio: CCDData) -> CCDData:
    """Read an infrared (or optical) image and bring it onto a radio image's grid.

    Parameters
    ----------
    path : path of a FITS file, or CCDData
        Any grid, projection and unit.
    radio : CCDData
        The radio image, see `read_image`.

    Returns
    -------
    CCDData
        (ny, nx) float32 with the radio image's shape and WCS, NaN where the infrared image has nothing; ``meta`` is
        the infrared file's header.

    Raises
    ------
    InputError
        Where the file is missing, not FITS or truncated, has no image or celestial WCS, or does not overlap.
    """
    data, header, wcs, _, name = _load(path)
    if isinstance(data, WindowedPixels):
        _check_windows(data, name)
    else:
        _blank(data, name)
    aligned: NDArray | WindowedPixels = _onto(radio, data, wcs)
    mask = None
    if aligned.size <= MOST_PIXELS_IN_MEMORY:
        aligned = np.asarray(aligned)
        mask = ~np.isfinite(aligned)
    if not any(np.isfinite(aligned[ys, xs]).any() for ys, xs in tiles(radio.shape, BLOCK)):
        raise InputError(
            f'{name}: the infrared image does not overlap the radio image '
            f'{radio.meta.get("FILENAME", "")}: give one of the same field'
        )
    unit = u.Unit(header.get('BUNIT', ''), parse_strict='silent')
    if isinstance(unit, u.UnrecognizedUnit):
        unit = u.dimensionless_unscaled
    return CCDData(aligned, unit=unit, wcs=radio.wcs, meta=header, mask=mask)


def _onto(radio: CCDData, data: NDArray | WindowedPixels, wcs: WCS) -> WindowedPixels:
    """Bring an image onto the radio image's grid; each window from the part of the image that it needs."""
    from reproject import reproject_interp  # slow to import, and not always needed

    factor = max(int(_pixel_side(radio.wcs) / _pixel_side(wcs)), 1)  # interpolating in a finer image would skip pixels
    margin = 3 * factor

    def read(ys: slice, xs: slice) -> NDArray:
        window = (ys.stop - ys.start, xs.stop - xs.start)
        with _quiet(), np.errstate(invalid='ignore'):
            x, y = np.meshgrid(np.linspace(xs.start, xs.stop - 1, 9), np.linspace(ys.start, ys.stop - 1, 9))
            world = radio.wcs.pixel_to_world(x, y)
            where = wcs.world_to_pixel(world)
        cut = []
        for place, n in zip(where[::-1], data.shape, strict=True):
            place = place[np.isfinite(place)]
            if not place.size or place.max() < -margin or place.min() > n + margin:
                return np.full(window, np.nan, np.float32)
            low = max(int(place.min()) - margin, 0) // factor * factor
            cut.append(slice(low, max(min(int(place.max()) + margin + factor, n), low + 1)))
        with _quiet():
            return reproject_interp(
                average_pixels(data[cut[0], cut[1]], wcs[cut[0], cut[1]], factor),
                radio.wcs[ys, xs],
                shape_out=window,
                return_footprint=False,
                roundtrip_coords=False,
            )

    return WindowedPixels(radio.shape, read)


def image_stem(path: str | PathLike[str]) -> str:
    """Give the name of an image's file without folder and without endings such as ``.fits.gz``."""
    return _ENDINGS.sub('', Path(path).name) or 'image'


def image_files(folder: str | PathLike[str], pattern: str = '*') -> list[Path]:
    """List the FITS images in a folder whose names match, in order; logs such as ``a.fits.pybdsf.log`` are none."""
    endings = ('.fits', '.fits.gz', '.fits.fz')
    return sorted(path for path in Path(folder).glob(pattern) if path.name.lower().endswith(endings))


def average_pixels(data: NDArray, wcs: WCS, factor: int) -> tuple[NDArray, WCS]:
    """Average squares of `factor` pixels, where that is 2 or more, and give the WCS that fits the result."""
    if factor < 2 or min(data.shape) < factor:
        return data, wcs
    mean = np.full([n // factor for n in data.shape], np.nan, np.float32)
    band = max(_BLOCK_PIX // factor, 1)
    for first in range(0, len(mean), band):  # bounds the memory
        rows = mean[first : first + band]
        part = data[first * factor : (first + len(rows)) * factor, :]
        total = block_reduce(np.nan_to_num(part), factor)
        filled = block_reduce(np.isfinite(part).astype(np.float32), factor)
        np.divide(total, filled, out=rows, where=filled > 0)
    return mean, wcs[::factor, ::factor]


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
    return _pixel_side(image.wcs) * 3600


def _pixel_side(wcs: WCS) -> float:
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
    matrix = image.wcs.pixel_scale_matrix
    cdelt = np.hypot(*matrix.T) * np.where(np.diagonal(matrix) < 0, -1, 1)
    rotation = matrix / cdelt[:, None]
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


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what astropy repairs by itself and a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FITSFixedWarning)
        warnings.simplefilter('ignore', VerifyWarning)  # e.g. BLANK in an image of floats
        # A file that lacks pixels fails when they are read; one that lacks only the padding is good.
        warnings.filterwarnings('ignore', 'File may have been truncated', AstropyUserWarning)
        yield


def _load(
    source: ImageLike,
) -> tuple[NDArray | WindowedPixels, fits.Header, WCS, tuple[float, float, float] | None, str]:
    """Read the first image of a file: new float32 pixels, header, celestial WCS, CASA's beam, name for messages."""
    if isinstance(source, CCDData):
        return _load_ccd(source)
    path = Path(source)
    if not path.is_file():
        raise InputError(f'{path}: no such file: check the path')
    with _quiet():
        try:
            with fits.open(path, memmap=False) as hdus:
                hdu = next((hdu for hdu in hdus if hdu.is_image and sum(n > 1 for n in hdu.shape) >= 2), None)
                if hdu is None:
                    raise InputError(
                        f'{path}: no image with two axes in this FITS file, or truncated: give a FITS image'
                    )
                header = hdu.header.copy()
                primary, tabled = hdus[0].header, beam_table(hdus)
                is_large = np.prod(hdu.shape[-2:], dtype=float) > MOST_PIXELS_IN_MEMORY
                number, ndim = hdus.index_of(hdu), len(hdu.shape)
                pixels = None if is_large and not _is_zipped(path) else hdu.data
        except InputError:
            raise
        except _READ_ERRORS as err:
            raise InputError(f'{path}: not a readable FITS file, or truncated: fetch or write it again') from err
        for key in _FROM_PRIMARY:
            if key not in header and key in primary:
                header[key] = primary[key]
        _make_printable(header)
        wcs, keep = _celestial(header, ndim, str(path))
        data = _windows(path, number, header, keep) if pixels is None else _first_plane(pixels, keep, str(path))
    wcs.array_shape = data.shape
    header['FILENAME'] = path.name.encode('ascii', 'replace').decode()
    return data, header, wcs, tabled, str(path)


def _make_printable(header: fits.Header) -> None:
    """Replace what FITS forbids in comments (SkyView writes tabs), so that the header can be written again."""
    for card in header.cards:
        if card.keyword in ('COMMENT', 'HISTORY', '') and not (text := str(card.value)).isprintable():
            card.value = ''.join(c if ' ' <= c <= '~' else ' ' for c in text)


def _load_ccd(image: CCDData) -> tuple[NDArray | WindowedPixels, fits.Header, WCS, None, str]:
    name = str(image.meta.get('FILENAME', 'image'))
    if image.wcs is None or not image.wcs.has_celestial:
        raise InputError(f'{name}: no celestial WCS: set the wcs of the CCDData')
    if image.data.ndim != 2:
        raise InputError(f'{name}: must have two axes, got shape {image.shape}: give one plane')
    data = image.data
    if not isinstance(data, WindowedPixels):
        data = np.array(data, np.float32, order='C')
        if image.mask is not None:
            data[np.broadcast_to(image.mask, data.shape)] = np.nan
    header = image.meta.copy() if isinstance(image.meta, fits.Header) else fits.Header(dict(image.meta))
    header['BUNIT'] = image.unit.to_string()
    return data, header, image.wcs.celestial, None, name


def _celestial(header: fits.Header, ndim: int, name: str) -> tuple[WCS, list[int]]:
    """Give the celestial WCS of a header and the axes of the array, in its own order, that it belongs to."""
    try:
        wcs = WCS(header)
        celestial = wcs.celestial
    except (ValueError, KeyError, TypeError, WcsError, VerifyError) as err:
        raise InputError(f'{name}: faulty celestial WCS ({" ".join(str(err).split())}): correct the header') from err
    axes = sorted({wcs.wcs.lng, wcs.wcs.lat})
    if not wcs.has_celestial or axes[0] < 0 or axes[1] >= ndim:
        raise InputError(f'{name}: no celestial WCS in the header: add CTYPE, CRVAL, CRPIX and CDELT of RA and DEC')
    for axis in axes:
        scales = (f'CDELT{axis + 1}', f'CD{axis + 1}_{axis + 1}', f'CD{axis + 1}_{sum(axes) - axis + 1}')
        if not any(key in header for key in scales):
            raise InputError(f'{name}: no pixel scale in the header: add {scales[0]}')
    return celestial, [ndim - 1 - axis for axis in reversed(axes)]


def _is_zipped(path: Path) -> bool:
    """Tell whether a file is compressed as a whole, so that no part of it can be read by itself."""
    with path.open('rb') as opened:
        return opened.read(6) != b'SIMPLE'


def _windows(path: Path, number: int, header: fits.Header, keep: list[int]) -> WindowedPixels:
    """Open an image whose pixels are read where they are wanted."""
    hdus = fits.open(path, memmap=False)  # stays open as long as there is use for it
    hdu = hdus[number]
    _warn_of_planes(hdu.shape, keep, str(path))
    is_plain = not isinstance(hdu, fits.CompImageHDU) and not any(key in header for key in ('BSCALE', 'BZERO', 'BLANK'))
    is_plain &= header['BITPIX'] != 8  # the only unsigned one
    kind, start = f'>{"f" if header["BITPIX"] < 0 else "i"}{abs(header["BITPIX"]) // 8}', hdu.fileinfo()['datLoc']

    def read(ys: slice, xs: slice) -> NDArray:
        window = iter((ys, xs))
        wanted = tuple(next(window) if axis in keep else 0 for axis in range(len(hdu.shape)))
        try:
            # mapped for this window only, as all pages that were read would count as used memory
            pixels = np.memmap(path, kind, 'r', start, hdu.shape) if is_plain else hdu.section
            part = pixels[wanted].astype(np.float32)
        except _READ_ERRORS as err:
            raise InputError(f'{path}: not a readable FITS file, or truncated: fetch or write it again') from err
        part[~np.isfinite(part)] = np.nan
        return part

    return WindowedPixels(tuple(hdu.shape[axis] for axis in keep), read)


def _scaled(pixels: WindowedPixels, scale: float) -> WindowedPixels:
    return pixels if scale == 1 else WindowedPixels(pixels.shape, lambda ys, xs: pixels[ys, xs] * np.float32(scale))


def _check_windows(pixels: WindowedPixels, name: str) -> None:
    """Do what `_blank` does: read until two different pixels have been seen. The last pixel is read, too."""
    pixels[pixels.shape[0] - 1 :, pixels.shape[1] - 1 :]
    first = np.nan
    for ys, xs in tiles(pixels.shape, BLOCK):
        part = pixels[ys, xs]
        part = part[np.isfinite(part)]
        if part.size:
            first = part[0] if np.isnan(first) else first
            if (part != first).any():
                return
    _refuse(np.isnan(first), name)


def _refuse(all_blank: bool, name: str) -> NoReturn:
    what = 'are blank' if all_blank else 'have the same value'
    raise InputError(f'{name}: all pixels {what}: give an image with data')


def _warn_of_planes(shape: tuple[int, ...], keep: list[int], name: str) -> None:
    if any(n > 1 for axis, n in enumerate(shape) if axis not in keep):
        sizes = ' x '.join(str(n) for n in shape[::-1])
        warnings.warn(f'{name}: {sizes} pixels: only the first plane is used', InputWarning, stacklevel=5)


def _first_plane(pixels: NDArray, keep: list[int], name: str) -> NDArray:
    """Take the first plane of all axes but two, as native float32 in C order."""
    _warn_of_planes(pixels.shape, keep, name)
    plane = pixels[tuple(slice(None) if axis in keep else 0 for axis in range(pixels.ndim))]
    return np.array(plane, np.float32, order='C')


def _blank(data: NDArray, name: str) -> NDArray:
    """Set what is not finite to NaN, in place, and give where that is."""
    mask = ~np.isfinite(data)
    data[mask] = np.nan
    if mask.all() or np.nanmin(data) == np.nanmax(data):
        _refuse(bool(mask.all()), name)
    return mask


def _given_beam(values: Sequence[float] | None) -> tuple[float, float, float] | None:
    if values is None:
        return None
    beam_deg = tuple(float(value) for value in values)
    if len(beam_deg) != 3 or not np.all(np.isfinite(beam_deg)) or min(beam_deg[:2]) <= 0:
        raise InputError(f'beam {values}: give MAJ MIN PA in degrees, MAJ and MIN above 0')
    return max(beam_deg[:2]), min(beam_deg[:2]), beam_deg[2]


def _in_degrees(beam: Beam) -> tuple[float, float, float]:
    return beam.major.to_value(u.deg), beam.minor.to_value(u.deg), beam.pa.to_value(u.deg)
