"""Fields of view: where they lie, what they show, and the way between image and field."""

import numpy as np
import pytest
from astropy.nddata import CCDData
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_images import BEAM, BEAM_PIX, PIXEL, make_image, make_wcs, noisy
from scipy import ndimage

from claran_plugin.contours import noise
from claran_plugin.fusion import signal_to_noise_infrared
from claran_plugin.images import image_files, read_image
from claran_plugin.subjects import (
    FIELD_PIXELS,
    PIXELS_PER_BEAM,
    WIDEST_STRICT,
    Sky,
    Subject,
    boxes_of_pairs,
    choose_centres,
    covering_centres,
    isolated,
    resample,
)

INNER = 0.3 * FIELD_PIXELS * BEAM_PIX / PIXELS_PER_BEAM
"""Half of the inner part of a field of view, image pixels."""

# ---- cutting out


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(st.floats(-40, 140), st.floats(-40, 110)),
    st.sampled_from([0.25, 0.75, 1.0, 1.31, 3.0]),
    st.integers(2, 60),
    st.sampled_from([0, 1]),
)
def test_resampling_against_plain_interpolation(centre, step, size, order):
    data = np.random.default_rng(0).normal(size=(80, 100))
    data[20:25, 30:40] = np.nan
    offset = (np.arange(size) - (size - 1) / 2) * step
    y, x = np.meshgrid(centre[1] + offset, centre[0] + offset, indexing='ij')
    expected = ndimage.map_coordinates(np.nan_to_num(data), [y, x], order=order, mode='constant')
    found = resample(data, np.array(centre), step, size, order=order)
    # on the very edge rounding decides, and half-way between two pixels either is the nearest
    sure = np.ones(x.shape, bool)
    for position, n in ((x, 100), (y, 80)):
        sure &= (np.abs(position) > 1e-6) & (np.abs(position - (n - 1)) > 1e-6)
        if order == 0:
            sure &= np.abs(position % 1 - 0.5) > 1e-6
    np.testing.assert_allclose(found[sure], expected[sure], atol=1e-9)


def test_resampling_at_the_same_scale_is_a_cut():
    data = np.random.default_rng(0).normal(size=(50, 60))
    np.testing.assert_array_equal(resample(data, np.array([30.0, 20.0]), 1.0, 11), data[15:26, 25:36])
    np.testing.assert_array_equal(resample(data, np.array([30.5, 20.5]), 1.0, 10), data[16:26, 26:36])


def test_outside_the_image_there_is_nothing():
    data = np.ones((50, 60))
    for centre in ([-1e6, 3.0], [30.0, 1e5], [-500.0, -500.0]):
        assert not resample(data, np.array(centre), 1.0, 20).any()


@pytest.mark.parametrize('beam', [4.2, 5.4, 11.0])
def test_a_source_lies_where_its_box_says(beam):
    # a point source in the image is found at the same place by way of the field of view
    x0, y0 = 137.3, 88.6
    y, x = np.mgrid[:260, :300]
    sigma = beam / 2.3548 / PIXEL
    data = np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2)) + noisy(300, rms=1e-4)[:260]
    sky = Sky(make_image(data, make_wcs(300), beam=beam))
    subject = sky.cut(np.array([131.0, 95.2]))
    assert subject.radio.shape == (FIELD_PIXELS, FIELD_PIXELS)
    total = np.where(subject.radio > 0.05 * subject.radio.max(), subject.radio, 0)
    yc, xc = ndimage.center_of_mass(total)
    width = PIXELS_PER_BEAM
    box = subject.to_image(np.array([xc - width / 2, yc - width / 2, xc + width / 2, yc + width / 2]))
    np.testing.assert_allclose((box[:2] + box[2:]) / 2, [x0, y0], atol=0.15)
    # a field shows every beam as four pixels
    np.testing.assert_allclose(box[2:] - box[:2], beam / PIXEL)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(st.floats(-100, 3000), st.floats(-100, 3000)),
    st.floats(0.1, 10),
    st.lists(st.tuples(*[st.floats(-20, 150)] * 2), min_size=1, max_size=5),
)
def test_to_image_is_the_inverse_of_the_cut(centre, step, points):
    xy = np.array(points)
    subject = Subject(np.array(centre), step, np.empty(0), None)
    on_image_xy = subject.to_image(np.column_stack([xy, xy]))
    back = (on_image_xy[:, :2] - centre) / step + (FIELD_PIXELS - 1) / 2
    np.testing.assert_allclose(back, xy, atol=1e-6)
    np.testing.assert_array_equal(on_image_xy[:, :2], on_image_xy[:, 2:])


def test_the_field_of_view_is_33_beams_or_as_asked():
    image = make_image(noisy(200))
    sky = Sky(image)
    assert sky.field_pix * PIXEL / BEAM == pytest.approx(33)
    assert Sky(image, field_arcsec=300).field_pix * PIXEL == pytest.approx(300)


def test_brightness_is_in_units_of_the_noise():
    data = noisy(200, rms=2e-4)
    sky = Sky(make_image(data))
    cut = sky.cut(np.array([100.0, 100.0])).radio
    assert noise(cut) == pytest.approx(1, rel=0.1)
    louder = Sky(make_image(data * 1000)).cut(np.array([100.0, 100.0])).radio
    np.testing.assert_allclose(louder, cut, atol=1e-4)


def test_infrared_is_cut_with_the_radio():
    data = noisy(200)
    infrared = CCDData(np.arange(40000.0).reshape(200, 200), unit='', wcs=make_wcs(200))
    subject = Sky(make_image(data), infrared).cut(np.array([90.0, 105.0]))
    np.testing.assert_allclose(
        subject.infrared, resample(infrared.data, np.array([90.0, 105.0]), subject.step, FIELD_PIXELS)
    )
    assert Sky(make_image(data)).cut(np.array([90.0, 105.0])).infrared is None


# ---- noise


def test_noise_of_a_small_image_is_one_number():
    data = noisy(200)
    sky = Sky(make_image(data))
    assert sky.noise_at(np.array([10.0, 10.0])) == sky.noise_at(np.array([190.0, 50.0])) == pytest.approx(noise(data))


def test_noise_of_a_large_image_follows_it():
    size = 900
    ramp = np.linspace(1, 5, size)
    sky = Sky(make_image(noisy(size) * ramp))
    for x in (100, 450, 800):
        assert sky.noise_at(np.array([x, 450.0])) == pytest.approx(1e-4 * ramp[x], rel=0.2)
    for xy in ([-5000.0, 20.0], [1e6, 1e6]):
        assert np.isfinite(sky.noise_at(np.array(xy)))


def test_an_image_without_noise_can_be_looked_at():
    data = np.zeros((200, 200))
    data[90:95, 90:95] = 1.0
    cut = Sky(make_image(data)).cut(np.array([92.0, 92.0])).radio
    assert np.isfinite(cut).all()
    assert cut.max() > 5


# ---- where to look


def around(xy, half=2.0):
    """Give boxes around points (n, 2)."""
    return np.concatenate([xy - half, xy + half], axis=1)


def is_inside(boxes, centres, field_pix):
    """Tell which boxes (n, 4) lie in which fields of view (m, 2), (n, m) bool."""
    ends = np.abs(boxes.reshape(-1, 1, 2, 2) - centres[:, None])
    return ends.max(axis=(2, 3)) <= field_pix / 2 + 1e-9


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_every_component_is_in_the_inner_part_of_a_field(seed):
    rng = np.random.default_rng(seed)
    sky = Sky(make_image(noisy(200)))
    xy = rng.uniform(0, 1000, (rng.integers(1, 60), 2))
    centres = choose_centres(around(xy), sky)
    offset = np.abs(xy[:, None] - centres[None]).max(axis=2)
    assert (offset.min(axis=1) < INNER).all()
    # and no field is there twice
    apart = np.linalg.norm(centres[:, None] - centres[None], axis=2) + np.eye(len(centres)) * 1e9
    assert apart.min() > 0


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_every_box_is_whole_in_a_field_and_near_its_middle(seed):
    rng = np.random.default_rng(seed)
    boxes = around(rng.uniform(0, 500, (rng.integers(1, 80), 2)), rng.uniform(1, 30, (1, 1)))
    boxes = np.concatenate([boxes, boxes_of_pairs(boxes, 20, 60)])
    centres = covering_centres(boxes, 99.0, 18.0)
    inside = is_inside(boxes, centres, 99.0)
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    distance = np.linalg.norm(middles[:, None] - centres, axis=2)
    large = (boxes[:, 2:] - boxes[:, :2]).max(axis=1) > WIDEST_STRICT * 99
    assert (inside & (distance <= 18)).any(axis=1)[~large].all()
    assert (distance[large].min(axis=1, initial=0) <= 18).all()
    assert len(centres) <= len(boxes)


def test_pairs_and_islands_are_seen_as_a_whole():
    sky = Sky(make_image(noisy(200)))
    # brighter ones nearby do not take the pair's field away
    for beams in (10, 20, 29):
        ends = np.array([[300.0, 300.0], [300.0 + beams * BEAM_PIX, 300.0]])
        near = np.array([[0, 7 * BEAM_PIX], [-4 * BEAM_PIX, 0]])
        xy = np.concatenate([ends, ends + near[0], ends + near[1]])
        pair = np.concatenate([ends[0] - 2, ends[1] + 2])[None]
        assert is_inside(pair, choose_centres(around(xy), sky), sky.field_pix).any()
    island = np.array([[300.0, 300, 300 + 30 * BEAM_PIX, 300 + 30 * BEAM_PIX]])
    xy = np.array([[300.0, 300.0], [300 + 15 * BEAM_PIX, 300 + 15 * BEAM_PIX], [300 + 30 * BEAM_PIX] * 2])
    assert not is_inside(island, choose_centres(around(xy[:1]), sky), sky.field_pix).any()
    assert is_inside(island, choose_centres(around(xy), sky, island), sky.field_pix).any()


@pytest.mark.parametrize('field_arcsec', [20.0, 600.0])
def test_fields_of_another_size_still_show_every_component(field_arcsec):
    sky = Sky(make_image(noisy(200)), field_arcsec=field_arcsec)
    xy = np.random.default_rng(0).uniform(0, 200, (60, 2))
    centres = choose_centres(around(xy, 0.5), sky)
    offset = np.abs(xy[:, None] - centres[None]).max(axis=2)
    assert (offset.min(axis=1) < 0.3 * sky.field_pix).all()
    assert choose_centres(np.empty((0, 4)), sky).shape == (0, 2)


def test_crowds_do_not_make_more_fields_than_there_is_room():
    sky = Sky(make_image(noisy(200)))
    xy = np.random.default_rng(0).uniform(0, 2 * sky.field_pix, (20_000, 2))
    assert len(choose_centres(around(xy), sky)) < 20**2


def test_isolated():
    sky = Sky(make_image(noisy(200)))
    half, rms = sky.field_pix / 2, float(sky.noise_at(np.array([0.0, 0.0])))
    x = np.array([0.0, 1.1 * half, 1000, 1000 + 0.9 * half, 3000, 5000, 7000, 9000])
    xy = np.column_stack([x, np.zeros(8)])
    width = BEAM_PIX * np.array([1.0, 1.2, 1.0, 1.0, 2.0, np.nan, 1.0, 1.0])
    peak = rms * np.array([20.0, 20, 20, 20, 20, 20, 7, np.nan])
    # close to another, resolved, of unknown width, too faint to be sure of, of unknown brightness
    expected = [True, True, False, False, False, False, False, False]
    assert isolated(xy, width, peak, sky).tolist() == expected
    assert isolated(xy[:1], width[:1], peak[:1], sky).tolist() == [True]
    assert isolated(xy[:0], width[:0], peak[:0], sky).shape == (0,)


def test_a_real_image(data_dir):
    # 3' of FIRST around a subject are the same sky as the image, pixel by pixel
    path = image_files(data_dir / 'first' / 'rgz_train', 'FIRSTJ*')[0]
    image = read_image(path, survey='first')
    sky = Sky(image)
    centre = np.array([90.0, 75.0])
    subject = sky.cut(centre)
    y, x = np.unravel_index(np.argmax(subject.radio), subject.radio.shape)
    px, py = np.round(subject.to_image([x, y, x, y])[:2]).astype(int)
    near = image.data[py - 1 : py + 2, px - 1 : px + 2].max() / sky.noise_at(centre)
    assert subject.radio.max() == pytest.approx(near, rel=0.1)
    assert sky.field_pix * 1.8 == pytest.approx(178.2, rel=1e-3)


def test_blank_infrared_does_not_change_what_is_seen_of_the_rest():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:132, :132]
    data = 100 + rng.normal(size=(132, 132)) + 60 * np.exp(-((x - 80) ** 2 + (y - 66) ** 2) / 8)
    pierced = data.copy()
    pierced[:, :40] = np.nan
    middle = np.array([65.5, 65.5])
    whole, part, aside = (
        resample(image, centre, 1.0, 132, blank=np.nan)
        for image, centre in ((data, middle), (pierced, middle), (data, middle - (40, 0)))
    )
    assert np.isnan(part[:, :40]).all()
    np.testing.assert_allclose(part[:, 41:], whole[:, 41:], atol=1e-6)
    assert np.isnan(aside[:, :39]).all()
    np.testing.assert_allclose(aside[:, 41:], whole[:, 1:92], atol=1e-6)
    levels = [signal_to_noise_infrared(np.zeros((132, 132)), image, rms=1.0)[..., 2] for image in (whole, part)]
    assert levels[1][66, 80] == 255
    assert np.abs(levels[1][:, 41:].astype(int) - levels[0][:, 41:]).max() < 12
    assert (levels[1][:, :40] == 0).all()
