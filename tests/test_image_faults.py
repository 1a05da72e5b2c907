"""Files that are no images, cut off or faulty: one line that names file and fault."""

import gzip

import numpy as np
import pytest
from astropy.io import fits
from small_images import NX, NY, make_header, make_pixels, one_line, write

from claran_plugin.errors import InputError
from claran_plugin.images import read_image

__all__ = ['write']  # fixtures


@pytest.mark.parametrize('unit', ['K', 'Jy/pixel', 'MJy/sr', 'MJy/beam', 'Jy/beam.km/s', 'Jy', 'counts'])
def test_other_units_are_refused(write, unit):
    with pytest.raises(InputError, match=r'image\.fits: the unit is .*, not Jy/beam: convert'):
        read_image(write(header=make_header(BUNIT=unit)))


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
    [
        (b'', 'not a readable'),
        (b'RA,DEC\n1,2\n', 'not a readable'),
        (gzip.compress(b'hello', mtime=0), 'not a readable'),
    ],
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
