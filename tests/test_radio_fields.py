"""Fields of view read from FITS files, their pictures, and the cache of these."""

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from rgz_files import SUBJECTS, component_positions, write_infrared, write_radio
from scipy import ndimage

from claran_plugin.datasets import fused_cache, radio_fields
from claran_plugin.datasets.fused_cache import fused_picture
from claran_plugin.datasets.radio_fields import FIELD_ARCSEC, PIXEL_ARCSEC, fuse, fusion_keywords, read_field
from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS

SUBJECT = SUBJECTS[1]


@pytest.fixture
def files(tmp_path):
    return (
        write_radio(tmp_path / 'radio.fits', SUBJECT, off_arcsec=(20, -13)),
        write_infrared(tmp_path / 'infrared.fits', SUBJECT),
    )


def brightest(image, xy, reach=3):
    """Give the offset of the brightest pixel from a place, whose corners are at integers."""
    x, y = np.round(np.asarray(xy) - 0.5).astype(int)
    part = image[y - reach : y + reach + 1, x - reach : x + reach + 1]
    dy, dx = np.unravel_index(part.argmax(), part.shape)
    return np.array([x + dx - reach, y + dy - reach]) + 0.5 - xy


def places(subject):
    """Give where components are in the field: x to the west, y to the north, the subject's position at (66, 66)."""
    offsets = np.concatenate([np.array(source.offsets, float) for source in subject.sources])
    return 66 + offsets * [-1, 1] / PIXEL_ARCSEC


def test_sources_are_where_they_should_be(files):
    field = read_field(files[0], SUBJECT.position, files[1])
    for image in (field.radio, field.infrared):
        assert image.shape == (132, 132)
        for place in places(SUBJECT):
            assert np.abs(brightest(image, place)).max() <= 1.0
    sky = SkyCoord([p for source in SUBJECT.sources for p in component_positions(SUBJECT, source)])
    xy = field.from_image(np.stack(field.sky.radio.wcs.world_to_pixel(sky), axis=-1))
    np.testing.assert_allclose(xy, places(SUBJECT), atol=0.05)


def test_brightness_is_in_units_of_the_noise(files):
    field = read_field(files[0], SUBJECT.position)
    assert field.infrared is None
    # linear interpolation midway between four pixels makes a point of 3 px FWHM fainter by this much
    worst = np.exp(-4 * np.log(2) * 0.5 / 3**2)
    assert 200 * worst - 5 < field.radio.max() < 200 + 5
    assert FIELD_ARCSEC == 132 * PIXEL_ARCSEC


def test_an_image_must_show_the_field(tmp_path):
    near = write_radio(tmp_path / 'near.fits', SUBJECT, off_arcsec=(100, 0))
    assert read_field(near, SUBJECT.position).radio.any()
    far = write_radio(tmp_path / 'far.fits', SUBJECT, off_arcsec=(160, 0))
    with pytest.raises(InputError, match=r'far.fits: shows 4\d% of the 3.0 arcmin around'):
        read_field(far, SUBJECT.position)
    with pytest.raises(InputError, match='shows 0%'):
        read_field(near, SUBJECT.position.directional_offset_by(0 * u.deg, 120 * u.deg))


@pytest.mark.parametrize('angle', [3, 90, 180])
def test_an_image_must_be_north_up(files, angle):
    with fits.open(files[0], mode='update') as hdus:
        c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
        hdus[0].header.update(PC1_1=c, PC1_2=-s, PC2_1=s, PC2_2=c)
    if angle < 5:
        read_field(files[0], SUBJECT.position)
        return
    with pytest.raises(InputError, match='is not north up and east left'):
        read_field(files[0], SUBJECT.position)


def test_infrared_elsewhere(tmp_path, files):
    other = write_infrared(tmp_path / 'other.fits', SUBJECTS[0])
    with pytest.raises(InputError, match='does not overlap'):
        read_field(files[0], SUBJECT.position, other)


def test_fusion_is_that_of_the_field(files):
    field = read_field(files[0], SUBJECT.position, files[1])
    for method, function in FUSIONS.items():
        np.testing.assert_array_equal(fuse(field, method), function(field.radio, field.infrared, rms=1.0))
    with pytest.raises(InputError, match="fusion 'D9': unknown"):
        fuse(field, 'D9')
    with pytest.raises(InputError, match='fusion D1 has no option sigma'):
        fuse(field, 'D1', sigma=4.0)


def test_d4_is_filled_with_the_mean_of_d3(files):
    field = read_field(files[0], SUBJECT.position, files[1])
    keywords = fusion_keywords('D4', dict(D3=[10.4, 99.6, 200.0]), None)
    assert fuse(field, 'D4', **keywords)[0, 0].tolist() == [10, 100, 200]
    assert fuse(field, 'D4', **fusion_keywords('D4'))[0, 0].tolist() == [213, 45, 14]
    assert fusion_keywords('D4', dict(D3=[1, 2, 3]), dict(background=[7, 8, 9])) == dict(background=[7, 8, 9])
    assert fusion_keywords('D3', dict(D3=[1, 2, 3])) == {}


@pytest.mark.parametrize('method', ['D3', 'D4'])
def test_lower_contours_enclose_more(files, method):
    field = read_field(files[0], SUBJECT.position, files[1])
    none = fuse(field, method, sigma=1e6)
    areas = [np.any(fuse(field, method, sigma=sigma) != none, axis=-1).sum() for sigma in (3.0, 4.0, 5.0, 50.0)]
    if method == 'D4':
        assert areas[1] > areas[2] > areas[3] > 0
    assert areas[0] > areas[2]
    np.testing.assert_array_equal(fuse(field, method, sigma=5.0), fuse(field, method))


def test_a_real_infrared_image_is_put_in_place(data_dir, monkeypatch):
    monkeypatch.setattr(radio_fields, 'MIN_COVERED', 0.4)  # the radio cut-out is 2' wide
    position = SkyCoord('15h31m49.9s +11d34m21.7s')
    folder = data_dir / 'first_wise'
    path = folder / 'WISE_J153149.9+113421.7_w1.fits'
    field = read_field(folder / 'FIRST_J153149.9+113421.7.fits', position, path)
    with fits.open(path) as hdus:
        wise, wcs = hdus[0].data, WCS(hdus[0].header)
    # the field's pixels are as large as those of WISE's images, so a star's brightest pixel can be looked for in both
    y, x = np.nonzero(wise == ndimage.maximum_filter(wise, 9))
    sky = wcs.pixel_to_world(x, y)
    xy = field.from_image(np.stack(field.sky.radio.wcs.world_to_pixel(sky), axis=-1))
    inside = np.all((xy > 5) & (xy < 127), axis=1) & (wise[y, x] > np.percentile(wise, 97))
    assert inside.sum() >= 5
    assert np.isfinite(field.infrared).all()
    for place in xy[inside]:
        assert np.abs(brightest(field.infrared, place, reach=2)).max() <= 1.0


# ---- the cache


POSITION = (float(SUBJECT.position.ra.deg), float(SUBJECT.position.dec.deg))


@pytest.fixture
def readings(monkeypatch):
    """Count how often FITS files are read and fused."""
    made = []

    def counted(*arguments):
        made.append(arguments)
        return read_field(*arguments)

    monkeypatch.setattr(fused_cache, 'read_field', counted)
    return made


def entries(folder):
    return [path for path in Path(folder).rglob('*') if path.is_file()]


def test_a_picture_is_made_once(files, tmp_path, readings):
    cache = tmp_path / 'cache'
    options = dict(infrared=files[1], keywords=dict(sigma=4.0), folder=cache)
    first = fused_picture(files[0], POSITION, 'D3', **options)
    again = fused_picture(files[0], POSITION, 'D3', **options)
    assert len(readings) == 1
    np.testing.assert_array_equal(first, again)
    field = read_field(files[0], SUBJECT.position, files[1])
    np.testing.assert_array_equal(first, FUSIONS['D3'](field.radio, field.infrared, rms=1.0, sigma=4.0))
    assert len(entries(cache)) == 1


def test_without_a_folder_nothing_is_kept(files, tmp_path, readings):
    for _ in range(2):
        fused_picture(files[0], POSITION, 'S')
    assert len(readings) == 2
    assert len(list(tmp_path.iterdir())) == 2


def test_everything_that_matters_is_in_the_key(files, tmp_path, readings, monkeypatch):
    cache = tmp_path / 'cache'

    def made(radio=files[0], position=POSITION, method='D3', infrared=files[1], **keywords):
        before = len(readings)
        fused_picture(radio, position, method, infrared=infrared, keywords=keywords, folder=cache)
        return len(readings) - before

    assert made() == 1
    assert made() == 0
    assert made(method='D4') == 1
    assert made(method='D4', background=[1, 2, 3]) == 1
    assert made(sigma=4.0) == 1
    assert made(position=(POSITION[0], POSITION[1] + 1e-3)) == 1
    assert made(method='D1') == 1
    assert made(method='D1', infrared=None) == 0, 'D1 does not look at the infrared image'
    copy = tmp_path / 'copy.fits'
    copy.write_bytes(files[0].read_bytes())
    assert made(radio=copy) == 0, 'it is the content that counts, not the name'
    other = write_radio(tmp_path / 'other.fits', SUBJECT, seed=5)
    assert made(radio=other) == 1
    copy.write_bytes(other.read_bytes())
    assert made(radio=copy) == 0
    files[1].unlink()
    write_infrared(files[1], SUBJECT, seed=9)
    assert made() == 1
    monkeypatch.setattr(fused_cache, 'code_hash', lambda: 'another version')
    assert made() == 1


@pytest.mark.parametrize('damage', ['cut', 'empty', 'flipped', 'other'])
def test_a_damaged_entry_is_made_again(files, tmp_path, readings, damage):
    cache = tmp_path / 'cache'
    picture = fused_picture(files[0], POSITION, 'S', folder=cache)
    (entry,) = entries(cache)
    content = bytearray(entry.read_bytes())
    if damage == 'cut':
        entry.write_bytes(content[: len(content) // 2])
    elif damage == 'empty':
        entry.write_bytes(b'')
    elif damage == 'flipped':
        content[len(content) // 2] ^= 1
        entry.write_bytes(content)
    else:
        np.savez(entry, picture=np.zeros(3))
    np.testing.assert_array_equal(fused_picture(files[0], POSITION, 'S', folder=cache), picture)
    assert len(readings) == 2
    np.testing.assert_array_equal(fused_picture(files[0], POSITION, 'S', folder=cache), picture)
    assert len(readings) == 2
    assert entries(cache) == [entry]


def work(radio, cache, repeats):
    return [fused_picture(radio, POSITION, method, folder=cache).sum() for _ in range(repeats) for method in 'FS']


def test_processes_share_a_folder(files, tmp_path):
    cache = tmp_path / 'cache'
    with multiprocessing.get_context('fork').Pool(4) as pool:
        sums = pool.starmap(work, [(files[0], cache, 3)] * 4)
    assert len({tuple(s) for s in sums}) == 1
    assert sums[0][:2] == work(files[0], None, 1)
    assert len(entries(cache)) == 2


def test_a_fault_leaves_nothing(files, tmp_path):
    with pytest.raises(InputError, match='fusion D3 needs an infrared image'):
        fused_picture(files[0], POSITION, 'D3', folder=tmp_path / 'cache')
    assert not (tmp_path / 'cache').exists()
    with pytest.raises(InputError, match=r'none.fits: cannot be read'):
        fused_picture(tmp_path / 'none.fits', POSITION, 'S', folder=tmp_path / 'cache')
    (tmp_path / 'file').write_text('')
    with pytest.raises(InputError, match='cannot write the cache'):
        fused_picture(files[0], POSITION, 'S', folder=tmp_path / 'file')
