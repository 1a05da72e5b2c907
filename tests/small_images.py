"""Small radio images on disk, with any header, and what holds of every image that was read."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData

from claran_plugin.images import beam

NY, NX = 40, 50
BEAM = {'BMAJ': 0.0015, 'BMIN': 0.0012, 'BPA': 30.0}


def make_header(projection='SIN', scale=0.0005, centre=(120.0, 35.0), shape=(NY, NX), **cards):
    header = fits.Header()
    for i, (name, value, step) in enumerate((('RA---', centre[0], -scale), ('DEC--', centre[1], scale)), start=1):
        header[f'CTYPE{i}'] = name + projection
        header[f'CRVAL{i}'] = value
        header[f'CRPIX{i}'] = (shape[::-1][i - 1] + 1) / 2
        header[f'CDELT{i}'] = step
        header[f'CUNIT{i}'] = 'deg'
    header['EQUINOX'] = 2000.0
    header['RADESYS'] = 'FK5'
    header['BUNIT'] = 'Jy/beam'
    for key, value in {**BEAM, **cards}.items():
        if value is None:
            header.remove(key, ignore_missing=True)
        else:
            header[key] = value
    return header


def make_pixels(shape=(NY, NX)):
    pixels = np.random.default_rng(5).normal(0, 1e-3, size=shape).astype(np.float32)
    pixels[..., 3, 4] = np.nan
    return pixels


@pytest.fixture
def write(tmp_path):
    def write_fits(pixels=None, header=None, name='image.fits'):
        path = tmp_path / name
        fits.PrimaryHDU(make_pixels() if pixels is None else pixels, header or make_header()).writeto(path)
        return path

    return write_fits


def assert_contract(image):
    assert isinstance(image, CCDData)
    assert image.data.dtype == np.dtype(np.float32)
    assert image.data.dtype.isnative
    assert image.data.flags.c_contiguous
    assert image.data.ndim == 2
    assert image.unit == u.Jy / u.beam
    assert np.array_equal(image.mask, np.isnan(image.data))
    assert image.wcs.naxis == 2
    assert image.wcs.has_celestial
    assert all(image.meta[key] >= 0 for key in ('BMAJ', 'BMIN'))
    assert {'BPA', 'FILENAME'} <= set(image.meta)


def without_beam(**cards):
    return make_header(**{'BMAJ': None, 'BMIN': None, 'BPA': None, **cards})


def in_degrees(image):
    return tuple(value.to_value(u.deg) for value in beam(image))


def one_line(error):
    return '\n' not in str(error.value)
