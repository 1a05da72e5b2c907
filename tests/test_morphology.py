"""Counting components and peaks: analytic images, awkward ones, and the volunteers' counts on real subjects."""

from collections import Counter

import numpy as np
import pytest
from astropy.nddata import Cutout2D
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from claran_plugin.contours import noise
from claran_plugin.datasets.packed_subjects import WIDE
from claran_plugin.datasets.rgz_labels import islands_at, read_rgz_catalogue, subject_position
from claran_plugin.images import image_files, pixel_scale, read_image
from claran_plugin.morphology import (
    CLASSES,
    COMPONENT_SIGMA,
    LEVEL_RATIO,
    MOST_COMPARED,
    Counts,
    box_around,
    boxes_around_sets,
    class_name,
    component_labels,
    components_of,
    count,
    extent_factor,
    peak_positions,
    source_box,
)
from claran_plugin.subjects import PIXELS_PER_BEAM, resample

BEAM = 4.0
BEAM_ARCSEC = 5.4
SIGMA = BEAM / 2.3548
EVERYWHERE = np.ones((100, 100), bool)


def picture(blobs, size=100):
    """Draw point sources (x, y, peak)."""
    y, x = np.mgrid[:size, :size]
    snr = np.zeros((size, size))
    for x0, y0, peak in blobs:
        snr += peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * SIGMA**2))
    return snr


# Two peaks of 40 sigma that are 6 px (3.5 standard deviations of the beam) apart blend, but both have contours that
# do not hold the other.
IMAGES = {
    '1C_1P': [(50, 50, 40)],
    '1C_2P': [(47, 50, 40), (53, 50, 40)],
    '1C_3P': [(44, 50, 40), (50, 50, 40), (56, 50, 40)],
    '2C_2P': [(35, 50, 40), (65, 50, 30)],
    '2C_3P': [(35, 50, 40), (65, 50, 40), (71, 50, 40)],
    '3C_3P': [(30, 40, 40), (50, 50, 9), (70, 60, 40)],
}


@pytest.mark.parametrize('name', CLASSES)
def test_counts_of_each_class(name):
    counts = count(picture(IMAGES[name]), EVERYWHERE, BEAM)
    assert class_name(*counts) == name
    assert counts.components == components_of(name)


@pytest.mark.parametrize('name', CLASSES)
def test_peaks_are_where_they_were_put(name):
    snr = picture(IMAGES[name])
    found = peak_positions(snr, EVERYWHERE)
    assert {tuple(xy) for xy in found.tolist()} == {(x, y) for x, y, _ in IMAGES[name]}
    brightness = snr[found[:, 1], found[:, 0]]
    assert (np.diff(brightness) <= 0).all()


def test_more_than_three_are_counted():
    blobs = [(10 + 20 * k, 20 + 30 * row, 30) for k in range(4) for row in range(2)]
    counts = count(picture(blobs), EVERYWHERE, BEAM)
    assert counts == Counts(8, 8)
    assert class_name(*counts) is None


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_counts_do_not_depend_on_the_orientation(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 7)
    blobs = np.column_stack([rng.uniform(20, 80, (n, 2)), rng.uniform(4, 100, n)])
    snr = picture(blobs) + rng.normal(0, 0.3, (100, 100))
    counts = count(snr, EVERYWHERE, BEAM)
    assert counts.peaks >= counts.components
    for turned in (snr[::-1], snr[:, ::-1], snr.T, np.rot90(snr)):
        assert count(turned, EVERYWHERE, BEAM) == counts


def contour_tree_peaks(snr):
    """Count contours that hold no further one, from the lowest level upwards."""

    def leaves(inside, level):
        higher, n = ndimage.label(inside & (snr > level * LEVEL_RATIO), np.ones((3, 3)))
        return sum(leaves(higher == k, level * LEVEL_RATIO) for k in range(1, n + 1)) or 1

    regions, n = ndimage.label(snr > COMPONENT_SIGMA, np.ones((3, 3)))
    return sum(leaves(regions == k, COMPONENT_SIGMA) for k in range(1, n + 1))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_peaks_against_a_tree_of_contours(seed):
    rng = np.random.default_rng(seed)
    n = rng.integers(1, 9)
    blobs = np.column_stack([rng.uniform(15, 85, (n, 2)), rng.lognormal(3, 1, n)])
    snr = picture(blobs) + rng.normal(0, 1, (100, 100))
    assert len(peak_positions(snr, EVERYWHERE)) == contour_tree_peaks(snr)


def test_a_plateau_is_one_peak():
    snr = np.zeros((40, 40))
    snr[10:30, 10:30] = 50.0
    assert count(snr, np.ones_like(snr, bool), BEAM) == Counts(1, 1)
    snr[15:20, 12:17] = snr[15:20, 22:27] = 120.0
    assert count(snr, np.ones_like(snr, bool), BEAM) == Counts(1, 2)


def test_a_dip_between_two_contours_does_not_divide():
    # 27 sigma is a level: two maxima above it are one peak where the saddle is above it too
    level = COMPONENT_SIGMA * LEVEL_RATIO**3
    assert level == pytest.approx(27)
    shallow = np.array([20, 20, 40, 28, 44, 20, 20.0])
    deep = np.array([20, 20, 40, 26, 44, 20, 20.0])
    for row, peaks in ((shallow, 1), (deep, 2)):
        snr = np.zeros((30, 30))
        snr[10:20, 8:22] = np.repeat(row, 2)
        assert count(snr, np.ones_like(snr, bool), BEAM) == Counts(1, peaks)


def test_blank_pixels_hold_nothing():
    snr = picture(IMAGES['2C_2P'])
    snr[40:60, 60:80] = np.nan
    assert count(snr, EVERYWHERE, BEAM) == Counts(1, 1)
    assert count(np.full((20, 20), np.nan), np.ones((20, 20), bool), BEAM) == Counts(0, 0)
    labels, n = component_labels(np.full((20, 20), np.nan), BEAM)
    assert (labels.max(), n) == (0, 0)


def test_only_the_footprint_counts():
    snr = picture(IMAGES['2C_2P'])
    left = np.zeros_like(EVERYWHERE)
    left[:, :50] = True
    assert count(snr, left, BEAM) == Counts(1, 1)
    assert count(snr, ~EVERYWHERE, BEAM) == Counts(0, 0)
    np.testing.assert_array_equal(peak_positions(snr, ~left), [[65, 50]])


def test_the_threshold():
    for peak, n in ((COMPONENT_SIGMA * 0.99, 0), (COMPONENT_SIGMA * 1.3, 1)):
        assert count(picture([(50, 50, peak)]), EVERYWHERE, BEAM).components == n


def test_specks_are_noise():
    snr = np.zeros((50, 50))
    snr[10, 10] = 9.0  # one pixel of 18 per beam area
    snr[30:33, 30:33] = 9.0
    labels, n = component_labels(snr, BEAM)
    assert n == 1
    assert set(np.unique(labels)) == {0, 1}
    assert labels[31, 31] == 1


def test_corners_connect():
    snr = np.zeros((20, 20))
    snr[5:9, 5:9] = snr[9:13, 9:13] = 9.0
    assert component_labels(snr, BEAM)[1] == 1


# ---- boxes


def test_box_of_one_component_is_as_wide_as_the_diagonal():
    labels = np.zeros((60, 60), int)
    labels[20:26, 10:18] = 1  # 8 x 6 pixels
    np.testing.assert_allclose(source_box(labels, [1], 1), [13.5 - 5, 22.5 - 5, 13.5 + 5, 22.5 + 5])


@pytest.mark.parametrize(('peaks', 'factor'), [(2, 1.2), (3, 1.3)])
def test_box_of_two_components(peaks, factor):
    labels = np.zeros((80, 80), int)
    labels[20:23, 10:13] = 1
    labels[60:63, 40:43] = 2  # 30 and 40 pixels away
    box = source_box(labels, [1, 2], peaks)
    np.testing.assert_allclose(box[2:] - box[:2], 50 * 1.13 * factor)
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [26, 41])


def test_box_does_not_depend_on_other_components():
    labels = np.zeros((80, 80), int)
    labels[20:30, 10:20], labels[50:55, 60:70] = 1, 2
    alone = np.where(labels == 2, 1, 0)
    np.testing.assert_array_equal(source_box(labels, [2], 1), source_box(alone, [1], 1))
    np.testing.assert_array_equal(source_box(labels, 2, 1), source_box(alone, [1], 1))


# ---- real subjects


@pytest.fixture(scope='module')
def real_counts(data_dir):
    """Count the sources of the labelled subjects, with the noise of 3', which the volunteers saw, and of the image."""
    truth = read_rgz_catalogue(data_dir / 'rgz' / 'catalogue.csv')
    counted = []
    for path in image_files(data_dir / 'first' / 'rgz_train', 'FIRSTJ*'):
        name = path.name.split('.fits')[0]
        centre = subject_position(name)
        image = read_image(path, survey='first')
        shown = Cutout2D(image.data, centre, 100, wcs=image.wcs).data
        middle, step = np.array(image.wcs.world_to_pixel(centre)), BEAM_ARCSEC / PIXELS_PER_BEAM / pixel_scale(image)
        snr = resample(image.data, middle, step, WIDE) / noise(image.data)
        for source in truth[name]:
            found = []
            for level in (noise(shown) / noise(image.data), 1.0):
                labels, _ = component_labels(snr / level, PIXELS_PER_BEAM)
                xy = (np.stack(image.wcs.world_to_pixel(source.positions), axis=-1) - middle) / step + (WIDE - 1) / 2
                footprint = np.isin(labels, islands_at(labels, xy))
                found.append(count(snr / level, footprint, PIXELS_PER_BEAM))
            counted.append((Counts(source.n_components, source.n_peaks), *found))
    return counted


def test_counts_agree_with_radio_galaxy_zoo(real_counts):
    assert len(real_counts) == 136
    for what, column, least_peaks in (("noise of 3'", 1, 0.80), ('noise of the image', 2, 0.75)):
        pairs = [(row[0], row[column]) for row in real_counts]
        components = np.mean([true.components == found.components for true, found in pairs])
        peaks = np.mean([true.peaks == found.peaks for true, found in pairs])
        both = np.mean([true == found for true, found in pairs])
        print(f'{what}: components agree in {components:.3f}, peaks in {peaks:.3f}, both in {both:.3f}')
        for kind in sorted({true for true, _ in pairs}):
            names = Counter(f'{found.components}C_{found.peaks}P' for true, found in pairs if true == kind)
            print(f'  {kind.components}C_{kind.peaks}P:', dict(names.most_common()))
        assert components >= 0.97
        assert peaks >= least_peaks


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, MOST_COMPARED + 20), st.integers(1, 4))
def test_boxes_of_many_sets_are_those_of_each(seed, n, n_peaks):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 100, (n, 2))
    bounds = np.concatenate([corner, corner + rng.uniform(1, 9, (n, 2))], axis=1)
    has = rng.random((5, n)) < rng.uniform(0.05, 1)
    has[np.arange(5), rng.integers(n, size=5)] = True
    boxes = boxes_around_sets(bounds, has, n_peaks)
    for row, box in zip(has, boxes, strict=True):
        np.testing.assert_allclose(box, box_around(bounds[row], n_peaks), rtol=1e-12)
        low, high = bounds[row][:, :2].min(axis=0), bounds[row][:, 2:].max(axis=0)
        np.testing.assert_allclose(box[:2] + box[2:], low + high)
        side = box[2] - box[0]
        if row.sum() == 1:
            assert side == pytest.approx(np.hypot(*(high - low)))
        else:
            centres = (bounds[row][:, :2] + bounds[row][:, 2:]) / 2
            widest = max(np.hypot(*(a - b)) for a in centres for b in centres)
            factor = (1.13 if row.sum() == 2 else 1.05) * extent_factor(row.sum(), n_peaks)
            assert side == pytest.approx(widest * factor, rel=0.01 if row.sum() > MOST_COMPARED else 1e-9)
