"""Images that are read window by window give what they give when they are in memory."""

import numpy as np
import pytest
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.table import Table
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from claran_plugin import fits_pixels, infrared_images, pixels, scales
from claran_plugin.emission import find_emission
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.footprints import island_components
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.morphology import EIGHT_CONNECTED
from claran_plugin.pipeline import Associator, associate
from claran_plugin.pixels import WindowedPixels, in_blocks, tiles, values_at
from claran_plugin.plotting import overlay
from claran_plugin.simulation import simulate_field, simulate_infrared, write_field
from claran_plugin.subjects import Sky


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks and tiles small enough that a small image has many."""
    monkeypatch.setattr(pixels, 'BLOCK', 64)
    monkeypatch.setattr(fits_pixels, 'BLOCK', 64)
    monkeypatch.setattr(infrared_images, 'BLOCK', 64)
    monkeypatch.setattr(pixels, 'TILE', 100)


@pytest.fixture
def by_windows(monkeypatch, small_blocks):
    """No image is small enough to be read as a whole."""
    monkeypatch.setattr(fits_pixels, 'MOST_PIXELS_IN_MEMORY', 0)
    monkeypatch.setattr(infrared_images, 'MOST_PIXELS_IN_MEMORY', 0)
    monkeypatch.setattr(scales, 'MOST_PIXELS_IN_MEMORY', 0)


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    """A simulated field on disk, 400 x 400 px, with a blank corner and an infrared image of another grid."""
    folder = tmp_path_factory.mktemp('mosaic')
    made = simulate_field(np.random.default_rng(3), size_arcmin=12, n_sources=40)
    made.image.data[:70, 330:] = np.nan
    path, _ = write_field(made, folder / 'field.fits')
    infrared = simulate_infrared(np.random.default_rng(4), made)
    fits.writeto(folder / 'infrared.fits', np.asarray(infrared.data), infrared.wcs.to_header())
    return path, folder / 'infrared.fits'


# ---- windows


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_windows_are_those_of_the_array(data):
    shape = data.draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    whole = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape)
    window = tuple(
        slice(data.draw(st.none() | st.integers(0, n)), data.draw(st.none() | st.integers(0, n)), data.draw(step))
        for n, step in zip(shape, [st.none() | st.integers(1, 7)] * 2, strict=True)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, 'BLOCK', 9)
        windowed = WindowedPixels(shape, lambda ys, xs: whole[ys, xs].copy())
        np.testing.assert_array_equal(windowed[window], whole[window])
        np.testing.assert_array_equal(np.asarray(windowed), whole)
        xy = np.stack([np.arange(whole.size) % shape[1], np.arange(whole.size) // shape[1]], axis=-1)[::3]
        np.testing.assert_array_equal(values_at(windowed, xy), whole[xy[:, 1], xy[:, 0]])


def test_a_block_is_read_once(small_blocks):
    reads = []

    def read(ys, xs):
        reads.append((ys.start, xs.start))
        return np.zeros((ys.stop - ys.start, xs.stop - xs.start))

    data = WindowedPixels((300, 300), read)
    xy = np.random.default_rng(1).uniform(0, 290, (500, 2))
    for x, y in in_blocks(xy).astype(int):
        assert data[y : y + 9, x : x + 9].shape == (9, 9)
    assert len(reads) == len(set(reads)) == 25


def test_tiles_cover_everything_once():
    seen = np.zeros((250, 333), int)
    for ys, xs in tiles(seen.shape, 100):
        seen[ys, xs] += 1
    assert (seen == 1).all()


# ---- what is measured


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(5, 40), st.floats(0.5, 2.5))
def test_islands_are_joined_across_seams(seed, tile, sigma):
    rng = np.random.default_rng(seed)
    template = simulate_field(np.random.default_rng(0), size_arcmin=2.4, n_sources=0).image
    shape = template.shape
    data = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(0.3, 2))
    sky = Sky(CCDData((data / data.std()).astype(np.float32), unit='Jy/beam', wcs=template.wcs, meta=template.meta))
    xy = rng.uniform(-5, max(shape) + 5, (20, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixels, 'TILE', tile)
        cut = find_emission(sky, sigma, least_area=3, xy=xy, reach=2)
    whole = find_emission(sky, sigma, least_area=3, xy=xy, reach=2)
    for name, a, b in zip(whole._fields, cut, whole, strict=True):
        if name == 'near':
            assert a == b
        else:
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6, err_msg=name)
    labels, _ = ndimage.label(sky.snr(slice(0, shape[0]), slice(0, shape[1])) > sigma, EIGHT_CONNECTED)
    large = np.bincount(labels.ravel())[1:] >= 3
    assert len(whole.area) == large.sum()
    np.testing.assert_array_equal(whole.area, np.bincount(labels.ravel())[1:][large])
    np.testing.assert_allclose(
        whole.peak, ndimage.maximum(sky.snr(slice(None), slice(None)), labels, np.flatnonzero(large) + 1)
    )


def test_coarser_skies_are_the_same(field, by_windows, monkeypatch):
    windowed = Sky(read_image(field[0]))
    assert isinstance(windowed.radio.data, WindowedPixels)
    monkeypatch.undo()
    whole = Sky(read_image(field[0]))
    assert isinstance(whole.radio.data, np.ndarray)
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(windowed.radio.data), np.asarray(whole.radio.data))
        np.testing.assert_array_equal(np.asarray(windowed.rms), np.asarray(whole.rms))
        assert windowed.radio.wcs.to_header() == whole.radio.wcs.to_header()
        windowed, whole = scales.coarser(windowed), scales.coarser(whole)


# ---- files


def written(folder, field, kind):
    """Write the field's image in other ways."""
    image = fits.open(field[0])[0]
    path = folder / 'image.fits'
    header = image.header.copy()
    if kind == 'mJy':
        header['BUNIT'] = 'mJy/beam'
        fits.writeto(path, image.data * 1000, header)
    elif kind == 'integers':
        hdu = fits.PrimaryHDU(np.nan_to_num(image.data), header)
        hdu.scale('int16', bscale=float(np.nanmax(image.data)) / 30000, bzero=0)
        hdu.writeto(path)
    elif kind == 'compressed':
        fits.HDUList(
            [fits.PrimaryHDU(), fits.CompImageHDU(image.data, header, compression_type='GZIP_2', quantize_level=0)]
        ).writeto(path)
    elif kind == 'four axes':
        fits.writeto(path, image.data[None, None], header)
    elif kind == 'double':
        fits.writeto(path, image.data.astype(float), header)
    elif kind == 'gzipped':
        path = path.with_suffix('.fits.gz')
        fits.writeto(path, image.data, header)
    return path


@pytest.mark.parametrize('kind', ['mJy', 'integers', 'compressed', 'four axes', 'double', 'gzipped'])
def test_files_of_all_kinds(field, tmp_path, by_windows, monkeypatch, kind):
    path = written(tmp_path, field, kind)
    windowed = read_image(path)
    assert isinstance(windowed.data, np.ndarray) == (kind == 'gzipped')
    monkeypatch.undo()
    whole = read_image(path)
    np.testing.assert_allclose(np.asarray(windowed.data), whole.data, rtol=1e-6)
    assert windowed.meta == whole.meta
    assert windowed.unit == whole.unit


def test_several_planes_are_told_of(field, tmp_path, by_windows):
    image = fits.open(field[0])[0]
    fits.writeto(tmp_path / 'cube.fits', np.stack([image.data, image.data * 2]), image.header)
    with pytest.warns(InputWarning, match='only the first plane is used'):
        cube = read_image(tmp_path / 'cube.fits')
    np.testing.assert_array_equal(np.asarray(cube.data), image.data)


@pytest.mark.parametrize(('fill', 'said'), [(np.nan, 'all pixels are blank'), (1.5, 'all pixels have the same value')])
def test_an_image_without_anything(field, tmp_path, by_windows, fill, said):
    image = fits.open(field[0])[0]
    fits.writeto(tmp_path / 'empty.fits', np.full_like(image.data, fill), image.header)
    with pytest.raises(InputError, match=rf'empty\.fits: {said}'):
        read_image(tmp_path / 'empty.fits')


def test_a_truncated_image(field, tmp_path, by_windows):
    content = field[0].read_bytes()
    (tmp_path / 'cut.fits').write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r'cut\.fits: not a readable FITS file, or truncated'):
        read_image(tmp_path / 'cut.fits')


def test_infrared_is_brought_onto_the_grid(field, by_windows, monkeypatch):
    windowed = read_infrared(field[1], read_image(field[0]))
    assert isinstance(windowed.data, WindowedPixels)
    monkeypatch.undo()
    whole = read_infrared(field[1], read_image(field[0]))
    np.testing.assert_allclose(np.asarray(windowed.data), whole.data, rtol=1e-4, atol=1e-4)


# ---- the whole way


@pytest.fixture(scope='module')
def results(field, require_detector, tmp_path_factory):
    """The association of the field, in memory and window by window."""
    associator = Associator(infrared=True)
    catalogue = island_components(Sky(read_image(field[0])))
    whole = associate(field[0], catalogue, field[1], associator=associator, look_at_all=True)
    with pytest.MonkeyPatch.context() as patch:
        for module in (pixels, fits_pixels, infrared_images):
            patch.setattr(module, 'BLOCK', 64)
        for module in (fits_pixels, infrared_images, scales):
            patch.setattr(module, 'MOST_PIXELS_IN_MEMORY', 0)
        windowed = associate(field[0], catalogue, field[1], associator=associator, look_at_all=True)
        overlay(windowed, tmp_path_factory.mktemp('picture') / 'windowed.png')
    return whole, windowed


def test_the_same_sources(results):
    whole, windowed = results
    assert isinstance(windowed.radio.data, WindowedPixels)
    assert windowed.n_fields == whole.n_fields
    np.testing.assert_array_equal(windowed.labels, whole.labels)
    for a, b in ((windowed.components, whole.components), (windowed.sources, whole.sources)):
        a, b = Table(a), Table(b)
        assert a.colnames == b.colnames
        for name in a.colnames:
            if a[name].dtype.kind == 'f':
                np.testing.assert_allclose(np.asarray(a[name]), np.asarray(b[name]), rtol=2e-3, atol=1e-5, err_msg=name)
            else:
                assert list(a[name]) == list(b[name]), name
