"""Host candidates: objects of the infrared image, and which of them is chosen."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.nddata import CCDData
from hypothesis import given
from hypothesis import strategies as st
from known_grouping import KnownAssociator
from scipy.spatial import cKDTree
from small_field import write_field

from claran_plugin.components import run_pybdsf, write_pybdsf_catalogue
from claran_plugin.hosts import (
    FITTED,
    HostModel,
    RadioShape,
    choose_host,
    features,
    host_probabilities,
)
from claran_plugin.images import read_image
from claran_plugin.infrared_objects import Objects, find_objects
from claran_plugin.pipeline import associate

BEAM = 4.0
DOUBLE = RadioShape(np.array([50.0, 40.0]), np.array([30.0, 35, 70, 45]), np.array([[33.0, 40], [67.0, 40]]))


def infrared_of(stars, *, shape=(80, 100), background=7.0, seed=0):
    """Stars (x, y, peak in units of the noise) with a PSF of 4 pixels over a background with noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    data = background + rng.normal(size=shape)
    for cx, cy, peak in stars:
        data += peak * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / 16)
    return CCDData(data, unit='')


def nearest(objects, point):
    return float(np.linalg.norm(objects.xy - point, axis=1).min())


def test_objects_are_found_to_a_fraction_of_a_pixel():
    stars = [(20.3, 30.6, 60), (71.8, 55.1, 25), (50.0, 10.4, 400)]
    objects = find_objects(infrared_of(stars))
    for x, y, _ in stars:
        assert nearest(objects, (x, y)) < 0.4
    brightest = objects.xy[np.argmax(objects.snr)]
    np.testing.assert_allclose(brightest, (50.0, 10.4), atol=0.3)


def test_blank_and_empty_images_have_no_objects():
    image = infrared_of([(50, 40, 50)])
    image.data[:] = np.nan
    assert len(find_objects(image).xy) == 0
    image.data[:] = 3.0
    assert len(find_objects(image).xy) == 0
    half = infrared_of([(20, 40, 50), (80, 40, 50)])
    half.data[:, 50:] = np.nan
    objects = find_objects(half)
    assert nearest(objects, (20, 40)) < 0.4
    assert objects.xy[:, 0].max() < 51


@pytest.mark.parametrize('filling', [2000.0, np.nan])
def test_a_saturated_star_is_one_object(filling):
    image = infrared_of([(20.3, 30.6, 60), (60.2, 40.1, 1e5)])
    image.data[image.data > 2000] = filling
    objects = find_objects(image)
    assert nearest(objects, (20.3, 30.6)) < 0.4
    assert nearest(objects, (60.2, 40.1)) < 1
    near = np.linalg.norm(objects.xy - (60.2, 40.1), axis=1) < 10
    assert near.sum() == 1
    assert objects.snr[near][0] > 1000


@pytest.mark.parametrize('slope', [0.05, 0.3])
def test_a_background_that_rises_hides_no_object(slope):
    stars = [(60.3, 40.6, 10), (150.2, 300.1, 10), (350.4, 200.2, 10)]
    image = infrared_of(stars, shape=(400, 400))
    image.data += slope * np.arange(400)
    objects = find_objects(image)
    for x, y, _ in stars:
        assert nearest(objects, (x, y)) < 0.5
    assert (objects.snr > 10).sum() == 3


def test_blank_pixels_in_an_empty_sky_are_no_object():
    image = infrared_of([(20, 30, 60)])
    with_holes = infrared_of([(20, 30, 60)])
    for x, y in np.random.default_rng(1).integers(30, 75, (15, 2)):
        with_holes.data[y : y + 2, x : x + 2] = np.nan
    assert find_objects(with_holes).snr.max() == pytest.approx(find_objects(image).snr.max(), rel=0.1)
    assert (find_objects(with_holes).snr > 8).sum() == (find_objects(image).snr > 8).sum()


def chosen(points, snr=20.0, shape=DOUBLE):
    objects = Objects(np.array(points, float).reshape(-1, 2), np.full(len(points), snr))
    return choose_host(shape, objects, cKDTree(objects.xy), BEAM)


def test_the_object_in_the_middle_is_chosen():
    xy, probability = chosen([(33, 48), (50.5, 40.4), (62, 33)])
    np.testing.assert_array_equal(xy, (50.5, 40.4))
    assert 0.4 < probability < 1


def test_a_far_one_is_unlikely_and_beyond_reach_it_is_none():
    _, middle = chosen([(50, 40)])
    xy, aside = chosen([(64, 52)])
    assert np.isfinite(xy).all()
    assert aside < middle / 4
    for points in ([(200, 40)], []):
        xy, probability = chosen(points)
        assert np.isnan(xy).all()
        assert probability == 0


@given(
    st.lists(st.tuples(st.floats(20, 80), st.floats(25, 55), st.floats(0.5, 1e4)), max_size=12),
    st.floats(1, 12),
)
def test_probabilities_are_of_exclusive_events(points, beam):
    rows = np.array(points, float).reshape(-1, 3)
    known = features(DOUBLE, Objects(rows[:, :2], rows[:, 2]), beam)
    probability = host_probabilities(known, FITTED)
    assert probability.shape == (len(rows),)
    assert (probability >= 0).all()
    assert probability.sum() <= 1 + 1e-9


def test_a_core_counts_only_where_there_are_three_peaks():
    three = DOUBLE._replace(peaks=np.array([[33.0, 40], [67.0, 40], [52.0, 41.0]]))
    objects = Objects(np.array([[52.0, 41.0]]), np.array([20.0]))
    model = HostModel(peak=0, single=0, core=5)
    with_core, without = (
        host_probabilities(features(shape, objects, BEAM), model)[0]
        for shape in (three, three._replace(peaks=three.peaks[:2]))
    )
    assert with_core > without


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    folder = tmp_path_factory.mktemp('hosts')
    image = write_field(folder / 'field.fits')
    return image, write_pybdsf_catalogue(run_pybdsf(read_image(image)), folder / 'srl.fits', 'srl')


def test_hosts_in_the_source_table(field):
    image, catalogue = field
    radio = read_image(image)
    infrared = infrared_of([(68.0, 60.4, 80), (200.2, 60.0, 40), (10, 10, 500)], shape=radio.shape)
    infrared = CCDData(infrared.data, unit='', wcs=radio.wcs, meta=radio.wcs.to_header())
    result = associate(image, catalogue, infrared, associator=KnownAssociator())
    sources = result.sources
    double = sources[sources['Assoc'] == 2][0]
    expected = radio.wcs.pixel_to_world(68.0, 60.4).icrs
    host = SkyCoord(double['Host_RA'], double['Host_DEC'])
    assert host.separation(expected) < 1 * u.arcsec
    assert double['Host_Prob'] > 0.3
    centre = SkyCoord(double['RA'], double['DEC'])
    assert double['Host_Sep'].to_value('arcsec') == pytest.approx(centre.separation(host).arcsec, rel=1e-4)
    lonely = sources[np.argmin(np.abs(sources['DEC'].value - radio.wcs.pixel_to_world(50, 200).dec.deg))]
    assert np.isnan(lonely['Host_RA'].value) or lonely['Host_Prob'] < 0.3
    assert 'Host_RA' not in associate(image, catalogue, associator=KnownAssociator()).sources.colnames
