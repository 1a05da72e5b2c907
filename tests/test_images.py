"""Reading radio and infrared images."""

import gzip
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from claran_plugin import images
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import SURVEYS, beam, beam_pix, pixel_scale, read_image, to_plain_fits
from claran_plugin.infrared_images import read_infrared

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


def test_image_in_the_primary_hdu(write):
    path = write()
    image = read_image(path)
    assert_contract(image)
    assert np.array_equal(image.data, make_pixels(), equal_nan=True)
    assert image.meta['FILENAME'] == path.name
    assert beam(image) == (0.0015 * u.deg, 0.0012 * u.deg, 30 * u.deg)
    assert pixel_scale(image) == pytest.approx(1.8, rel=1e-5)
    assert beam_pix(image) == pytest.approx(np.sqrt(0.0015 * 0.0012) / 0.0005, rel=1e-5)
    assert images.frequency(image) is None


@pytest.mark.parametrize('axes', [(1,), (1, 1), (1, 4), (3, 1)])
def test_extra_axes_are_reduced_to_their_first_plane(write, axes):
    pixels = np.broadcast_to(make_pixels(), (*axes, NY, NX)).copy()
    pixels[(*(-1 for _ in axes),)] += 0 if np.prod(axes) == 1 else 7
    header = make_header(CTYPE3='FREQ', CRVAL3=1.4e9, CDELT3=1e7, CRPIX3=1.0)
    if len(axes) == 2:
        header.update({'CTYPE4': 'STOKES', 'CRVAL4': 1.0, 'CDELT4': 1.0, 'CRPIX4': 1.0})
    path = write(pixels, header)
    if np.prod(axes) > 1:
        with pytest.warns(InputWarning, match='only the first plane is used'):
            image = read_image(path)
    else:
        image = read_image(path)
    assert_contract(image)
    assert np.array_equal(image.data, make_pixels(), equal_nan=True)
    assert images.frequency(image).to_value(u.GHz) == pytest.approx(1.4)


def test_sky_axes_need_not_come_first(write):
    header = make_header(shape=(NY, NX))
    moved = fits.Header()
    for key in ('CTYPE', 'CRVAL', 'CRPIX', 'CDELT'):
        moved[f'{key}2'], moved[f'{key}3'] = header[f'{key}1'], header[f'{key}2']
    moved.update({'CTYPE1': 'FREQ', 'CRVAL1': 9e8, 'CRPIX1': 1.0, 'CDELT1': 1e6, 'BUNIT': 'Jy/beam', **BEAM})
    image = read_image(write(make_pixels()[..., None], moved))
    assert np.array_equal(image.data, make_pixels(), equal_nan=True)
    assert images.frequency(image) == 9e8 * u.Hz


@pytest.mark.parametrize('kind', ['extension', 'gz', 'fz', 'rice', 'float64', 'scaled'])
def test_containers_and_types(tmp_path, kind):
    pixels, header, path = make_pixels(), make_header(), tmp_path / f'image.{kind}.fits'
    tolerance = 0.0
    if kind == 'extension':
        table = fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0])])
        fits.HDUList([fits.PrimaryHDU(), table, fits.ImageHDU(pixels, header)]).writeto(path)
    elif kind == 'gz':
        path = path.with_suffix('.fits.gz')
        fits.PrimaryHDU(pixels, header).writeto(path)
    elif kind == 'fz':
        path = path.with_suffix('.fits.fz')
        compressed = fits.CompImageHDU(pixels, header, compression_type='GZIP_2', quantize_level=0)
        fits.HDUList([fits.PrimaryHDU(), compressed]).writeto(path)
    elif kind == 'rice':  # quantised to a fraction of the noise
        tolerance = 1e-4
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, header)]).writeto(path)
    elif kind == 'float64':
        fits.PrimaryHDU(pixels.astype(np.float64), header).writeto(path)
    else:  # integers with BSCALE and BLANK
        tolerance = 1e-6
        integers = np.where(np.isnan(pixels), -32768, np.rint(np.nan_to_num(pixels) / 1e-6)).astype(np.int16)
        hdu = fits.PrimaryHDU(integers, header)
        hdu.header.update({'BSCALE': 1e-6, 'BZERO': 0.0, 'BLANK': -32768})
        hdu.writeto(path)
    image = read_image(path)
    assert_contract(image)
    assert image.data == pytest.approx(pixels, abs=tolerance, nan_ok=True)
    assert image.meta['BUNIT'] == 'Jy/beam'


def test_cards_of_the_primary_header_serve_an_extension(tmp_path):
    primary = fits.PrimaryHDU(header=fits.Header({**BEAM, 'BUNIT': 'mJy/beam', 'RESTFRQ': 1.5e9}))
    header = make_header(BMAJ=None, BMIN=None, BPA=None, BUNIT=None)
    fits.HDUList([primary, fits.ImageHDU(make_pixels(), header)]).writeto(tmp_path / 'image.fits')
    image = read_image(tmp_path / 'image.fits')
    assert image.meta['BMAJ'] == BEAM['BMAJ']
    assert images.frequency(image) == 1.5e9 * u.Hz
    assert image.data == pytest.approx(make_pixels() / 1000, nan_ok=True)


def test_infinite_pixels_are_blank(write):
    pixels = make_pixels()
    pixels[0, :2] = np.inf, -np.inf
    image = read_image(write(pixels))
    assert_contract(image)
    assert image.mask[0, :2].all()


@pytest.mark.parametrize('projection', ['SIN', 'TAN', 'ZEA', 'NCP', 'CAR', 'ARC', 'STG', 'AIT'])
def test_projections(write, projection):
    image = read_image(write(header=make_header(projection)))
    sky = image.wcs.pixel_to_world((NX - 1) / 2, (NY - 1) / 2)
    if projection not in ('CAR', 'AIT'):  # their centre is on the equator
        assert sky.ra.deg == pytest.approx(120)
        assert sky.dec.deg == pytest.approx(35)
    assert image.wcs.world_to_pixel(sky) == pytest.approx(((NX - 1) / 2, (NY - 1) / 2), abs=1e-6)


@pytest.mark.parametrize('kind', ['CROTA', 'PC', 'CD', 'galactic'])
def test_rotations_and_frames(write, kind):
    header = make_header()
    cos, sin = np.cos(np.radians(25)), np.sin(np.radians(25))
    if kind == 'CROTA':
        header['CROTA2'] = 25.0
    elif kind == 'PC':
        header.update({'PC1_1': cos, 'PC1_2': sin, 'PC2_1': -sin, 'PC2_2': cos})
    elif kind == 'CD':
        del header['CDELT*']
        header.update({'CD1_1': -5e-4 * cos, 'CD1_2': -5e-4 * sin, 'CD2_1': -5e-4 * sin, 'CD2_2': 5e-4 * cos})
    else:
        header['CTYPE1'], header['CTYPE2'] = 'GLON-SIN', 'GLAT-SIN'
        del header['RADESYS'], header['EQUINOX']
    image = read_image(write(header=header))
    x, y = (NX - 1) / 2, (NY - 1) / 2
    here, up = image.wcs.pixel_to_world(x, y), image.wcs.pixel_to_world(x, y + 1)
    assert here.separation(up).arcsec == pytest.approx(1.8, rel=1e-4)
    assert pixel_scale(image) == pytest.approx(1.8, rel=1e-4)
    if kind != 'galactic':
        assert abs(here.position_angle(up).wrap_at('180d').deg) == pytest.approx(25, abs=0.1)


@pytest.mark.parametrize(
    ('unit', 'factor'),
    [
        ('JY/BEAM ', 1), ('Jy beam-1', 1), ('Jy/bm', 1), ('Jy beam^-1', 1), ('mJy/beam', 1e-3), ('MJY/BEAM', 1e-3),
        ('uJy/beam', 1e-6), ('mJy/bm', 1e-3), ('jansky/beam', 1), ('nJy/beam', 1e-9),
    ],
)  # fmt: skip
def test_units_are_converted(write, unit, factor):
    image = read_image(write(header=make_header(BUNIT=unit)))
    assert image.data == pytest.approx(make_pixels() * factor, rel=1e-6, nan_ok=True)
    assert image.meta['BUNIT'] == 'Jy/beam'


@pytest.mark.parametrize('unit', ['K', 'Jy/pixel', 'MJy/sr', 'MJy/beam', 'Jy/beam.km/s', 'Jy', 'counts'])
def test_other_units_are_refused(write, unit):
    with pytest.raises(InputError, match=r'image\.fits: the unit is .*, not Jy/beam: convert'):
        read_image(write(header=make_header(BUNIT=unit)))


def test_missing_unit_is_assumed_aloud(write):
    path = write(header=make_header(BUNIT=None))
    with pytest.warns(InputWarning, match='no BUNIT in the header: Jy/beam is assumed'):
        assert_contract(read_image(path))
    assert_contract(read_image(path, survey='first'))  # a survey's unit is known


def without_beam(**cards):
    return make_header(**{'BMAJ': None, 'BMIN': None, 'BPA': None, **cards})


def in_degrees(image):
    return tuple(value.to_value(u.deg) for value in beam(image))


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


def test_header_is_kept(write):
    header = make_header(OBJECT='3C 84', OBSERVER="O'Neil")
    header['COMMENT'] = 'Copyright of the survey'
    header['HISTORY'] = 'step one'
    header['HISTORY'] = 'step two'
    meta = read_image(write(header=header)).meta
    assert meta['OBJECT'] == '3C 84'
    assert meta['OBSERVER'] == "O'Neil"
    assert 'Copyright of the survey' in list(meta['COMMENT'])
    assert list(meta['HISTORY']) == ['step one', 'step two']


def test_tabs_in_comments_do_not_stand_in_the_way(write):
    header = make_header()
    header['COMMENT'] = 'before@after'
    path = write(header=header)
    path.write_bytes(path.read_bytes().replace(b'before@after', b'before\tafter'))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        meta = read_image(path).meta
        meta.tostring()
    assert list(meta['COMMENT']) == ['before after']


def test_lacking_padding_is_harmless(write):
    path = write()
    size = NY * NX * 4
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - (-size % 2880)])
    assert np.array_equal(read_image(path).data, make_pixels(), equal_nan=True)


def one_line(error):
    return '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['image.fits', 'image.fits.gz', 'image.fits.fz'])
@pytest.mark.parametrize('share', [0.1, 0.5, 0.8])
def test_truncated_file(tmp_path, name, share):
    path, pixels = tmp_path / name, make_pixels((200, 200))
    if name.endswith('fz'):
        fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(pixels, make_header())]).writeto(path)
    else:
        fits.PrimaryHDU(pixels, make_header()).writeto(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(InputError, match='FITS file, or truncated: ') as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert one_line(error)


@pytest.mark.parametrize(
    ('content', 'match'),
    [(b'', 'not a readable'), (b'RA,DEC\n1,2\n', 'not a readable'), (gzip.compress(b'hello'), 'not a readable')],
)
def test_not_fits(tmp_path, content, match):
    path = tmp_path / 'image.fits'
    path.write_bytes(content)
    with pytest.raises(InputError, match=match) as error:
        read_image(path)
    assert one_line(error)


def test_no_file_and_no_image(tmp_path):
    with pytest.raises(InputError, match='no such file'):
        read_image(tmp_path / 'missing.fits')
    with pytest.raises(InputError, match='is a folder: give a FITS image'):
        read_image(tmp_path)
    table = fits.BinTableHDU.from_columns([fits.Column('a', 'E', array=[1.0])])
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / 'table.fits')
    with pytest.raises(InputError, match='no image with two axes'):
        read_image(tmp_path / 'table.fits')


@pytest.mark.parametrize(
    ('cards', 'match'),
    [
        ({'CTYPE1': None, 'CTYPE2': None}, 'no celestial WCS'),
        ({'CTYPE1': 'X', 'CTYPE2': 'Y'}, 'no celestial WCS'),
        ({'CTYPE2': 'FREQ'}, 'celestial WCS'),
        ({'CDELT1': None, 'CDELT2': None}, 'no pixel scale in the header: add CDELT1'),
        ({'CDELT1': 0.0}, 'celestial WCS'),
        ({'BMAJ': None, 'BMIN': None}, r'no beam in the header: give --beam MAJ MIN PA or --survey'),
        ({'BMAJ': np.float64(-1.0)}, 'no beam'),
    ],
)
def test_faulty_headers(write, cards, match):
    path = write(header=make_header(**cards))
    with pytest.raises(InputError, match=match) as error:
        read_image(path)
    assert str(path) in str(error.value)
    assert one_line(error)


@pytest.mark.parametrize(
    ('value', 'match'), [(np.nan, 'all pixels are blank'), (0.0, 'same value'), (2.0, 'same value')]
)
def test_images_without_content(write, value, match):
    pixels = np.full((NY, NX), value, np.float32)
    pixels[0, 0] = np.nan
    with pytest.raises(InputError, match=match):
        read_image(write(pixels))


def test_unknown_survey(write):
    with pytest.raises(InputError, match="unknown survey 'gleam': choose from first, nvss"):
        read_image(write(), survey='gleam')


def test_ccddata_goes_through_the_same_checks(write):
    image = read_image(write())
    again = read_image(image)
    assert_contract(again)
    assert np.array_equal(again.data, image.data, equal_nan=True)
    assert not np.shares_memory(again.data, image.data)
    in_mjy = CCDData(image.data * 1e3, unit='mJy/beam', wcs=image.wcs, meta=image.meta, mask=image.data > 2)
    assert read_image(in_mjy).data == pytest.approx(image.data, rel=1e-6, nan_ok=True)
    with pytest.raises(InputError, match='no celestial WCS'):
        read_image(CCDData(image.data, unit='Jy/beam', meta=image.meta))


@settings(max_examples=20, deadline=None)
@given(scale=st.floats(1e-5, 1e-2), ratio=st.floats(0.2, 1), beams=st.floats(1, 20))
def test_beam_in_pixels_is_the_geometric_mean(scale, ratio, beams):
    header = make_header(scale=scale)
    wcs = WCS(header)
    major = beams * scale
    meta = {'BMAJ': major, 'BMIN': major * ratio, 'BPA': 0.0}
    image = CCDData(make_pixels(), unit='Jy/beam', wcs=wcs, meta=meta)
    assert beam_pix(image) ** 2 == pytest.approx(beams**2 * ratio, rel=1e-6)


def test_plain_fits_reads_back_the_same(write, tmp_path):
    header = make_header(RESTFRQ=1.4e9)
    del header['CDELT*']
    header.update({'CD1_1': -4e-4, 'CD1_2': 1e-4, 'CD2_1': 1e-4, 'CD2_2': 4e-4})
    image = read_image(write(make_pixels((1, 1, NY, NX)), header))
    to_plain_fits(image, tmp_path / 'plain.fits')
    plain = read_image(tmp_path / 'plain.fits')
    assert np.array_equal(plain.data, image.data, equal_nan=True)
    assert in_degrees(plain) == in_degrees(image)
    x, y = np.array([0, NX, 3]), np.array([0, NY, 30])
    assert image.wcs.pixel_to_world(x, y).separation(plain.wcs.pixel_to_world(x, y)).max() < 1e-6 * u.arcsec
    with fits.open(tmp_path / 'plain.fits') as hdus:
        assert len(hdus) == 1
        assert hdus[0].header['NAXIS'] == 2
        assert hdus[0].header['RESTFREQ'] == 1.4e9
        assert abs(hdus[0].header['CDELT1']) == pytest.approx(np.hypot(4e-4, 1e-4))


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


REAL = [
    ('first/rgz_train/*.fits.gz', 'first', 3.0),
    ('first/fields/*.fits.gz', 'first', 3.0),
    ('first/unlabelled/*.fits.fz', 'first', 3.0),
    ('first_wise/FIRST*.fits', None, None),
    ('rgzdr2/first/*.fits', None, 3.0),
    ('vlass/*.fits.gz', None, None),
    ('atca/*.fits.gz', None, 4.333),
]


@pytest.mark.parametrize(('pattern', 'survey', 'expected'), REAL)
def test_real_images(data_dir, tmp_path, pattern, survey, expected):
    paths = sorted(data_dir.glob(pattern))[:8]
    assert paths
    for path in paths:
        image = read_image(path, survey=survey)
        assert_contract(image)
        image.meta.tostring()
        if expected:
            assert beam_pix(image) == pytest.approx(expected, abs=0.01)
        to_plain_fits(image, tmp_path / 'plain.fits')
        assert np.array_equal(read_image(tmp_path / 'plain.fits').data, image.data, equal_nan=True)


def test_real_image_without_beam(data_dir):
    with pytest.raises(InputError, match='no beam in the header'):
        read_image(sorted((data_dir / 'first' / 'rgz_train').glob('*'))[0])


def test_image_files_leaves_logs_out(tmp_path):
    from claran_plugin.images import image_files

    for name in ('b.fits', 'a.fits.gz', 'c.FITS.fz', 'a.fits.gz.pybdsf.log', 'a.png'):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ['a.fits.gz', 'b.fits', 'c.FITS.fz']
    assert [path.name for path in image_files(tmp_path, 'b*')] == ['b.fits']
