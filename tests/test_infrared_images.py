"""Infrared images on the radio image's grid."""

import numpy as np
import pytest
from astropy import units as u
from astropy.wcs import WCS
from scipy import ndimage
from small_images import NX, NY, make_header, make_pixels, write

from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared

__all__ = ['write']  # fixtures


def galaxy_field(wcs, shape, sky, sigma_arcsec):
    """Draw a round galaxy at a position, on any grid."""
    yy, xx = np.indices(shape)
    distance = wcs.pixel_to_world(xx, yy).separation(sky).arcsec
    return np.exp(-(distance**2) / (2 * sigma_arcsec**2)).astype(np.float32)


@pytest.mark.parametrize('scale', [0.0008, 0.0005, 0.0001])
def test_infrared_lands_on_the_radio_grid(write, scale):
    radio = read_image(write())
    sky = radio.wcs.pixel_to_world(20, 12)
    shape = (int(0.04 / scale), int(0.036 / scale))
    header = make_header('TAN', scale, (120.002, 35.001), shape, BUNIT='DN', BMAJ=None, BMIN=None, BPA=None)
    header['CROTA2'] = 40.0
    path = write(galaxy_field(WCS(header), shape, sky, 6), header, 'infrared.fits')
    infrared = read_infrared(path, radio)
    assert infrared.shape == radio.shape
    assert infrared.data.dtype == np.float32
    assert infrared.data.flags.c_contiguous
    assert infrared.wcs is radio.wcs
    assert np.array_equal(infrared.mask, np.isnan(infrared.data))
    assert infrared.meta['FILENAME'] == 'infrared.fits'
    expected = galaxy_field(radio.wcs, radio.shape, sky, 6)
    assert infrared.data[~infrared.mask] == pytest.approx(expected[~infrared.mask], abs=0.05)
    assert infrared.data[12, 20] > 0.9
    y, x = ndimage.center_of_mass(np.nan_to_num(infrared.data))
    expected_y, expected_x = ndimage.center_of_mass(np.where(infrared.mask, 0, expected))
    assert (x, y) == pytest.approx((expected_x, expected_y), abs=0.02)


def test_infrared_that_covers_a_part_is_blank_elsewhere(write):
    radio = read_image(write())
    header = make_header(centre=(120.0 + 0.0125 / np.cos(np.radians(35)), 35.0), BUNIT='weird')
    infrared = read_infrared(write(make_pixels(), header, 'infrared.fits'), radio)
    assert 0.2 < infrared.mask.mean() < 0.8
    assert infrared.mask[:, -5:].all()  # the infrared image lies to the east, left
    assert infrared.unit == u.dimensionless_unscaled


@pytest.mark.parametrize('background', [0.0, 2e-3, 1.0])
def test_infrared_filled_up_with_zeros_is_blank_there(write, background):
    radio = read_image(write(make_pixels(), make_header()))
    pixels = make_pixels() + np.float32(background)
    pixels[:, :25] = 0
    path = write(pixels, make_header(), 'infrared.fits')
    with pytest.warns(InputWarning, match=r'infrared\.fits: 50% of its pixels are squares of zeros'):
        infrared = read_infrared(path, radio)
    assert infrared.mask[:, :24].all()
    assert not infrared.mask[:, 26:].any()


def test_infrared_of_which_the_sky_was_cut_off_has_no_margins(write):
    radio = read_image(write(make_pixels(), make_header()))
    y, x = np.mgrid[:NY, :NX]
    galaxy = np.exp(-np.hypot(x - 20, y - 15) / 5)
    infrared = read_infrared(write(np.where(galaxy < 0.01, 0, galaxy), make_header(), 'infrared.fits'), radio)
    assert not infrared.mask.any()


def test_infrared_with_a_unit_without_a_value(write):
    header = make_header()
    header['BUNIT'] = None
    radio = read_image(write(make_pixels(), make_header()))
    assert read_infrared(write(make_pixels(), header, 'infrared.fits'), radio).unit == u.dimensionless_unscaled


def test_infrared_of_another_field(write):
    radio = read_image(write())
    path = write(make_pixels(), make_header(centre=(200, -35)), 'infrared.fits')
    with pytest.raises(InputError, match=r'infrared\.fits: the infrared image does not overlap .* image\.fits'):
        read_infrared(path, radio)
    with pytest.raises(InputError, match='no such file'):
        read_infrared(path.with_name('missing.fits'), radio)
