"""Beam and frequency of an image: from its header, a table or the history, or given."""

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from small_images import in_degrees, make_header, make_pixels, without_beam, write

from claran_plugin import images
from claran_plugin.errors import InputError
from claran_plugin.images import SURVEYS, beam, beam_pix, read_image

__all__ = ['write']  # fixtures


def test_beam_without_position_angle_or_minor_axis(write):
    assert in_degrees(read_image(write(header=make_header(BPA=None)))) == (0.0015, 0.0012, 0)
    header = make_header(BPA=None, BMIN=None)
    assert in_degrees(read_image(write(header=header, name='round.fits'))) == (0.0015, 0.0015, 0)


def test_beam_from_aips_history_is_the_last(write):
    header = without_beam()
    header['HISTORY'] = "AIPS   IMNAME='A' IMCLASS='ICL001' IMSEQ=   1"
    header['HISTORY'] = 'AIPS   CLEAN BMAJ=  9.4972E-03 BMIN=  9.4972E-03 BPA=   0.00'
    header['HISTORY'] = 'AIPS   CLEAN BMAJ=  1.4972E-03 BMIN=  1.2000E-03 BPA= -12.50'
    header['HISTORY'] = 'AIPS   CLEAN NITER=     3000 PRODUCT=1'
    assert in_degrees(read_image(write(header=header))) == (1.4972e-3, 1.2e-3, -12.5)


def test_beam_from_casa_table(tmp_path):
    columns = [
        fits.Column('BMAJ', 'E', unit='arcsec', array=[0, 7.2]),
        fits.Column('BMIN', 'E', unit='arcsec', array=[0, 3.6]),
        fits.Column('BPA', 'E', unit='deg', array=[0, 45]),
    ]
    header = without_beam(CASAMBM=True)
    hdus = [fits.PrimaryHDU(make_pixels(), header), fits.BinTableHDU.from_columns(columns, name='BEAMS')]
    fits.HDUList(hdus).writeto(tmp_path / 'image.fits')
    assert in_degrees(read_image(tmp_path / 'image.fits')) == pytest.approx((0.002, 0.001, 45))


def test_beam_given_overrides_the_header_and_a_survey_does_not(write):
    path = write()
    assert in_degrees(read_image(path, beam=(0.004, 0.003, 10))) == (0.004, 0.003, 10)
    assert in_degrees(read_image(path, survey='first')) == (0.0015, 0.0012, 30)


@pytest.mark.parametrize('survey', sorted(SURVEYS))
def test_survey_fills_in_beam_and_frequency(write, survey):
    path = write(header=without_beam(BMAJ=0.0))
    image = read_image(path, survey=survey)
    assert beam(image).major.to_value(u.arcsec) == pytest.approx(SURVEYS[survey].beam.major.to_value(u.arcsec))
    assert images.frequency(image).to_value(u.MHz) == pytest.approx(SURVEYS[survey].frequency.to_value(u.MHz))


def test_survey_does_not_replace_the_headers_frequency(write):
    image = read_image(write(header=make_header(RESTFRQ=1.3e9)), survey='lotss')
    assert images.frequency(image) == 1.3e9 * u.Hz


@pytest.mark.parametrize('given', [(0, 0, 0), (0.001, 0.001), (np.nan, 1, 0), (-1, 1, 0)])
def test_impossible_beam_given(write, given):
    with pytest.raises(InputError, match='MAJ MIN PA in degrees'):
        read_image(write(), beam=given)


def test_beam_in_arcsec_is_noticed(write):
    with pytest.raises(InputError, match=r'larger than the image: give it in degrees'):
        read_image(write(), beam=(5.4, 5.4, 0))


@pytest.mark.parametrize(
    ('cards', 'hertz'),
    [
        ({'RESTFRQ': 1.4e9}, 1.4e9),
        ({'RESTFREQ': 1.4e9}, 1.4e9),
        ({'FREQ': 1.4e9}, 1.4e9),
        ({'RESTFRQ': 0.0, 'RESTFREQ': 1.4e9}, 1.4e9),
        ({'CTYPE3': 'FREQ', 'CRVAL3': 888.0, 'CUNIT3': 'MHz', 'CRPIX3': 1.0, 'CDELT3': 1.0}, 888e6),
        ({'CTYPE3': 'FREQ-LSR', 'CRVAL3': 9e8, 'CRPIX3': 3.0, 'CDELT3': 1e6}, 8.98e8),
        ({'CTYPE4': 'FREQ', 'CRVAL4': 9e8, 'RESTFRQ': 1.420405752e9}, 9e8),
        ({}, None),
    ],
)
def test_frequency_of_the_header(write, cards, hertz):
    image = read_image(write(header=make_header(**cards)))
    found = images.frequency(image)
    if hertz is None:
        assert found is None
    else:
        assert found.to_value(u.Hz) == pytest.approx(hertz)
        assert image.meta['RESTFRQ'] == pytest.approx(hertz)


def test_frequency_given_overrides_the_header(write):
    path = write(header=make_header(RESTFRQ=1.3e9))
    assert images.frequency(read_image(path, frequency=3e9)) == 3e9 * u.Hz
    with pytest.raises(InputError, match='in Hz, above 0'):
        read_image(path, frequency=-1)


def test_unknown_survey(write):
    with pytest.raises(InputError, match="unknown survey 'gleam': choose from first, nvss"):
        read_image(write(), survey='gleam')


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-5, 1e-2), ratio=st.floats(0.2, 1), beams=st.floats(1, 20))
def test_beam_in_pixels_is_the_geometric_mean(scale, ratio, beams):
    header = make_header(scale=scale)
    wcs = WCS(header)
    major = beams * scale
    meta = {'BMAJ': major, 'BMIN': major * ratio, 'BPA': 0.0}
    image = CCDData(make_pixels(), unit='Jy/beam', wcs=wcs, meta=meta)
    assert beam_pix(image) ** 2 == pytest.approx(beams**2 * ratio, rel=1e-6)


def test_real_image_without_beam(data_dir):
    with pytest.raises(InputError, match='no beam in the header'):
        read_image(sorted((data_dir / 'first' / 'rgz_train').glob('*'))[0])
