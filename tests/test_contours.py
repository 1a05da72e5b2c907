"""Noise, contour lines and hulls."""

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from claran_plugin.contours import NoiseMap, contour_lines, hull_mask, noise, noise_map


def beam_noise(shape, beam_pix, rms, seed=0):
    white = np.random.default_rng(seed).normal(size=shape)
    smooth = ndimage.gaussian_filter(white, beam_pix / np.sqrt(8 * np.log(2)), mode='wrap')
    return (smooth * rms / smooth.std()).astype(np.float32)


def add_blob(image, x, y, peak, sigma):
    yy, xx = (np.arange(n) for n in image.shape)
    image += peak * np.outer(np.exp(-((yy - y) ** 2) / (2 * sigma**2)), np.exp(-((xx - x) ** 2) / (2 * sigma**2)))


def test_noise_is_the_standard_deviation_of_gaussian_pixels():
    image = np.random.default_rng(1).normal(3, 0.7, size=(400, 400))
    assert noise(image) == pytest.approx(0.7, rel=0.01)


def test_noise_ignores_sources_blanks_and_masked_pixels():
    image = beam_noise((300, 300), 4, 1e-4)
    add_blob(image, 150, 150, 1.0, 4)
    image[:30] = np.nan
    image[30] = np.inf
    mask = np.zeros(image.shape, bool)
    mask[-60:] = True
    image[-60:] = 5
    assert noise(image, mask) == pytest.approx(1e-4, rel=0.1)


@pytest.mark.parametrize('image', [np.full((5, 5), np.nan), np.ones((5, 5)), np.empty((0, 0)), np.zeros((3, 4))])
def test_noise_without_noise_is_zero(image):
    assert noise(image) == 0


@settings(max_examples=30, deadline=None)
@given(factor=st.floats(1e-6, 1e6), offset=st.floats(-1e3, 1e3))
def test_noise_scales_with_the_image_and_not_with_an_offset(factor, offset):
    image = np.random.default_rng(2).normal(size=(40, 40))
    assert noise(image * factor) == pytest.approx(factor * noise(image), rel=1e-9)
    assert noise(image + offset) == pytest.approx(noise(image), rel=1e-6)


def test_noise_map_follows_a_gradient_through_bright_sources():
    truth = np.linspace(1, 3, 900, dtype=np.float32)[None] * np.ones((800, 1), np.float32)
    image = beam_noise(truth.shape, 4, 1) * truth
    for x, y in np.random.default_rng(3).integers(20, 780, size=(60, 2)):
        add_blob(image, x, y, 300, 5)
    rms = np.asarray(noise_map(image, 4))
    np.testing.assert_allclose(rms, truth, rtol=0.25)
    assert np.median(rms / truth) == pytest.approx(1, abs=0.04)


def test_noise_map_is_not_raised_by_one_source_larger_than_a_box():
    image = beam_noise((700, 700), 4, 1)
    add_blob(image, 350, 350, 1000, 20)
    assert np.asarray(noise_map(image, 4)).max() < 1.35


def test_noise_map_fills_blank_regions_from_their_neighbours():
    image = beam_noise((500, 500), 4, 1)
    image[:260, :260] = np.nan
    image[300:, 300:] = 0  # a mosaic's unfilled corner
    rms = np.asarray(noise_map(image, 4))
    assert np.isfinite(rms).all()
    np.testing.assert_allclose(rms, 1, rtol=0.25)


@pytest.mark.parametrize('shape', [(1, 1), (3, 500), (132, 132), (7, 5), (101, 257)])
@pytest.mark.parametrize('beam_pix', [0.7, 3.0, 9.5])
def test_noise_map_has_the_shape_of_the_image(shape, beam_pix):
    rms = np.asarray(noise_map(beam_noise((500, 500), 3, 1)[: shape[0], : shape[1]], beam_pix))
    assert rms.shape == shape
    assert rms.dtype == np.float32
    assert np.isfinite(rms).all()


@pytest.mark.parametrize('value', [np.nan, 0.0, 2.5])
def test_noise_map_of_an_empty_image_is_zero(value):
    assert not np.asarray(noise_map(np.full((60, 70), value), 3)).any()


def test_noise_map_agrees_with_noise_on_real_images(data_dir):
    from claran_plugin.images import beam_pix, read_image

    image = read_image(next(iter(sorted((data_dir / 'first' / 'fields').glob('*.fits.gz')))), survey='first')
    assert np.median(noise_map(image.data, beam_pix(image))) == pytest.approx(noise(image.data), rel=0.15)


def test_contour_of_a_round_source_is_the_right_circle():
    image = np.zeros((101, 121))
    add_blob(image, 70, 40, 10, 12)
    (line,) = contour_lines(image, 2)
    radius = 12 * np.sqrt(2 * np.log(10 / 2))
    assert np.hypot(line[:, 0] - 70, line[:, 1] - 40) == pytest.approx(np.full(len(line), radius), abs=0.05)
    assert np.array_equal(line[0], line[-1])


def test_contours_lie_at_their_level():
    image = beam_noise((80, 90), 6, 1)
    for line in contour_lines(image, 0.8):
        x, y = line.T
        assert ndimage.map_coordinates(image, [y, x], order=1) == pytest.approx(np.full(len(x), 0.8), abs=0.02)


def test_contours_stop_at_blanks_and_need_an_area():
    image = np.zeros((40, 40))
    add_blob(image, 20, 20, 10, 6)
    image[:, :20] = np.nan
    assert min(line[:, 0].min() for line in contour_lines(image, 2)) >= 20
    assert contour_lines(np.full((40, 40), np.nan), 1) == []
    assert contour_lines(np.ones((1, 40)), 0.5) == []


points = st.lists(st.tuples(st.floats(-5, 35), st.floats(-5, 25)), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(points=points, margin=st.sampled_from([0.0, 1.5]))
def test_hull_mask_is_the_hull_pixel_by_pixel(points, margin):
    lines = [np.array(points[: len(points) // 2]).reshape(-1, 2), np.array(points[len(points) // 2 :])]
    mask = hull_mask(lines, (20, 30), margin=margin)
    hull = shapely.MultiPoint(points).convex_hull
    hull = hull.buffer(margin, quad_segs=4) if margin else hull
    for y in range(20):
        for x in range(30):
            pixel = shapely.Point(x, y)
            if hull.boundary.distance(pixel) > 1e-6 and hull.distance(pixel) > 1e-6:
                assert not mask[y, x]
            elif hull.area and hull.contains(pixel) and hull.boundary.distance(pixel) > 1e-6:
                assert mask[y, x]


def test_hull_mask_includes_corners_on_pixels():
    mask = hull_mask([np.array([[2.0, 1.0], [6.0, 1.0], [6.0, 4.0], [2.0, 4.0]])], (8, 9))
    expected = np.zeros((8, 9), bool)
    expected[1:5, 2:7] = True
    assert np.array_equal(mask, expected)


def test_hull_mask_of_nothing_is_empty():
    assert not hull_mask([], (4, 5)).any()


def test_the_share_that_is_not_blank():
    data = np.random.default_rng(0).normal(size=(400, 600)).astype(np.float32)
    assert noise_map(data, 3.0).filled == 1
    data[:, :150] = np.nan
    assert noise_map(data, 3.0).filled == pytest.approx(0.75, abs=0.01)


def test_noise_at_positions_is_that_of_the_map():
    rng = np.random.default_rng(5)
    made = NoiseMap(rng.uniform(1, 3, (4, 3)), (20, 30), (75, 85))
    whole = np.asarray(made)
    xy = rng.integers(0, (85, 75), (200, 2))
    np.testing.assert_allclose(made.at(xy), whole[xy[:, 1], xy[:, 0]], rtol=1e-5)
    assert made.at(np.array([[-40.0, 10.0], [500.0, 10.0]])).tolist() == pytest.approx([whole[10, 0], whole[10, -1]])
    assert NoiseMap.constant(2.0, (5, 5)).at(xy[:3]).tolist() == [2.0, 2.0, 2.0]
