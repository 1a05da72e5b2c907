"""Reading radio images: containers, axes, projections, units, headers, and real ones."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.io import fits
from astropy.nddata import CCDData
from small_images import BEAM, NX, NY, assert_contract, in_degrees, make_header, make_pixels, write

from claran_plugin import images
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import beam, beam_pix, pixel_scale, read_image, to_plain_fits

__all__ = ['write']  # fixtures


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


def test_missing_unit_is_assumed_aloud(write):
    path = write(header=make_header(BUNIT=None))
    with pytest.warns(InputWarning, match='no BUNIT in the header: Jy/beam is assumed'):
        assert_contract(read_image(path))
    assert_contract(read_image(path, survey='first'))  # a survey's unit is known


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


def test_image_files_leaves_logs_out(tmp_path):
    from claran_plugin.images import image_files

    for name in ('b.fits', 'a.fits.gz', 'c.FITS.fz', 'a.fits.gz.pybdsf.log', 'a.png'):
        (tmp_path / name).touch()
    assert [path.name for path in image_files(tmp_path)] == ['a.fits.gz', 'b.fits', 'c.FITS.fz']
    assert [path.name for path in image_files(tmp_path, 'b*')] == ['b.fits']
