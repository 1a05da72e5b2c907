"""FITS files of any kind -> float32 pixels, header and celestial WCS; large images by windows."""

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import NoReturn, TypeAlias

import numpy as np
from astropy.io import fits
from astropy.io.fits.verify import VerifyError, VerifyWarning
from astropy.nddata import CCDData
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS, FITSFixedWarning, WcsError
from numpy.typing import NDArray

from claran_plugin.celestial import check_frame
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.headers import beam_table
from claran_plugin.pixels import BLOCK, WindowedPixels, tiles

ImageLike: TypeAlias = str | PathLike[str] | CCDData

_FROM_PRIMARY = ('BUNIT', 'BMAJ', 'BMIN', 'BPA', 'RESTFRQ', 'RESTFREQ', 'FREQ', 'TELESCOP', 'OBJECT', 'DATE-OBS')
_READ_ERRORS = (OSError, EOFError, ValueError, TypeError, IndexError, KeyError, RuntimeError, zlib.error, VerifyError)
MOST_PIXELS_IN_MEMORY = 2**26
"""A larger image (256 MiB) is read window by window."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what astropy repairs by itself and a user can do nothing about."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FITSFixedWarning)
        warnings.simplefilter('ignore', VerifyWarning)  # e.g. BLANK in an image of floats
        # A file that lacks pixels fails when they are read; one that lacks only the padding is good.
        warnings.filterwarnings('ignore', 'File may have been truncated', AstropyUserWarning)
        yield


def load_pixels(
    source: ImageLike,
) -> tuple[NDArray | WindowedPixels, fits.Header, WCS, tuple[float, float, float] | None, str]:
    """Read the first image of a file: new float32 pixels, header, celestial WCS, CASA's beam, name for messages."""
    if isinstance(source, CCDData):
        return _load_ccd(source)
    path = Path(source)
    if not path.is_file():
        what = 'is a folder: give a FITS image' if path.is_dir() else 'no such file: check the path'
        raise InputError(f'{path}: {what}')
    with quiet():
        try:
            with fits.open(path, memmap=False) as hdus:
                hdu = next((hdu for hdu in hdus if hdu.is_image and sum(n > 1 for n in hdu.shape) >= 2), None)
                if hdu is None:
                    raise InputError(
                        f'{path}: no image with two axes in this FITS file, or truncated: give a FITS image'
                    )
                header = hdu.header.copy()
                primary, tabled = hdus[0].header, beam_table(hdus)
                for key in _FROM_PRIMARY:
                    if key not in header and key in primary:
                        header[key] = primary[key]
                _make_printable(header)
                wcs, keep = _celestial(header, len(hdu.shape), str(path))
                is_large = np.prod([hdu.shape[axis] for axis in keep], dtype=float) > MOST_PIXELS_IN_MEMORY
                _warn_of_planes(hdu.shape, keep, str(path))
                data: NDArray | WindowedPixels
                if is_large and not _is_zipped(path):
                    data = _windows(path, hdus.index_of(hdu), header, keep)
                else:
                    data = _first_plane(hdu, keep)
        except InputError:
            raise
        except _READ_ERRORS as err:
            raise InputError(f'{path}: not a readable FITS file, or truncated: fetch or write it again') from err
    wcs.array_shape = data.shape
    header['FILENAME'] = printable(path.name)
    return data, header, wcs, tabled, str(path)


def printable(text: str) -> str:
    """Put ? for what a FITS header cannot hold."""
    return ''.join(c if ' ' <= c <= '~' else '?' for c in text)


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
    wcs = image.wcs.celestial
    check_frame(wcs, name)
    data = image.data
    if not isinstance(data, WindowedPixels):
        data = np.array(data, np.float32, order='C')
        if image.mask is not None:
            data[np.broadcast_to(image.mask, data.shape)] = np.nan
    header = image.meta.copy() if isinstance(image.meta, fits.Header) else fits.Header(dict(image.meta))
    header['BUNIT'] = image.unit.to_string()
    return data, header, wcs, None, name


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
    check_frame(celestial, name)
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


def scaled(data: NDArray | WindowedPixels, scale: float) -> NDArray | WindowedPixels:
    """Multiply pixels, in place where they are in memory."""
    if scale == 1:
        return data
    if isinstance(data, WindowedPixels):
        return WindowedPixels(data.shape, lambda ys, xs: data[ys, xs] * np.float32(scale))
    data *= scale
    return data


def _check_windows(pixels: WindowedPixels, name: str) -> None:
    """Check what `blank_mask` does: read until two different pixels have been seen. The last pixel is read, too."""
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
        warnings.warn(f'{name}: {sizes} pixels: only the first plane is used', InputWarning, stacklevel=4)


def _first_plane(hdu: fits.ImageHDU, keep: list[int]) -> NDArray:
    """Read the first plane of all axes but two, as native float32 in C order."""
    has_planes = any(n > 1 for axis, n in enumerate(hdu.shape) if axis not in keep)
    # A section is read by itself, but run by run: pixel by pixel where the planes' axis is the first.
    pixels = hdu.section if has_planes and keep == [len(hdu.shape) - 2, len(hdu.shape) - 1] else hdu.data
    plane = pixels[tuple(slice(None) if axis in keep else 0 for axis in range(len(hdu.shape)))]
    return np.array(plane, np.float32, order='C')


def blank_mask(data: NDArray | WindowedPixels, name: str) -> NDArray | None:
    """Set what is not finite to NaN, in place, and give where that is; None of an image that is read by windows.

    Raises
    ------
    InputError
        Where all pixels are blank or equal.
    """
    if isinstance(data, WindowedPixels):
        _check_windows(data, name)
        return None
    mask = ~np.isfinite(data)
    data[mask] = np.nan
    if mask.all() or np.nanmin(data) == np.nanmax(data):
        _refuse(bool(mask.all()), name)
    return mask
