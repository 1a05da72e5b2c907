"""The pictures a detector looks at."""

import time
import warnings

import numpy as np
import pytest
from scipy import ndimage

from claran_plugin.errors import InputError
from claran_plugin.fusion import COOL, D4_BACKGROUND, FUSIONS, NEEDS_INFRARED, infrared_grey, signal_to_noise

SHAPE = (132, 132)
RMS = 1.4e-4


def double_source(seed=0):
    """Make a radio subject: two lobes 40 px apart on correlated noise; brighter in the upper rows."""
    rng = np.random.default_rng(seed)
    radio = ndimage.gaussian_filter(rng.normal(size=SHAPE), 1.7)
    radio *= RMS / radio.std()
    yy, xx = np.indices(SHAPE)
    for x, y, peak in ((60, 90, 0.02), (60, 50, 0.01)):
        radio += peak * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 3.0**2))
    return radio


def galaxies(seed=0):
    """Make an infrared subject: a galaxy between the lobes and another outside the source."""
    infrared = np.random.default_rng(seed).normal(100, 1, size=SHAPE)
    yy, xx = np.indices(SHAPE)
    for x, y in ((60, 70), (110, 20)):
        infrared += 50 * np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * 2.0**2))
    return infrared


@pytest.fixture(params=sorted(FUSIONS))
def method(request):
    return request.param


def test_all_methods_are_there():
    assert set(FUSIONS) == {'F', 'D1', 'D2', 'D3', 'D4', 'S', 'SI'}
    assert set(FUSIONS) >= NEEDS_INFRARED


def test_picture_is_rgb_bytes_and_inputs_stay_as_they_were(method):
    radio, infrared = double_source(), galaxies()
    before = radio.copy(), infrared.copy()
    picture = FUSIONS[method](radio, infrared)
    assert picture.shape == (*SHAPE, 3)
    assert picture.dtype == np.uint8
    assert np.array_equal(radio, before[0])
    assert np.array_equal(infrared, before[1])


def test_infrared_is_asked_for_only_where_needed(method):
    if method in NEEDS_INFRARED:
        with pytest.raises(InputError, match=f'{method} needs an infrared image: give --infrared'):
            FUSIONS[method](double_source())
        with pytest.raises(InputError, match='shape'):
            FUSIONS[method](double_source(), np.zeros((3, 4)))
    else:
        assert np.array_equal(FUSIONS[method](double_source()), FUSIONS[method](double_source(), galaxies()))


@pytest.mark.parametrize('axis', [0, 1])
def test_pixels_keep_their_places(method, axis):
    radio, infrared = double_source(), galaxies()
    picture = FUSIONS[method](radio, infrared, rms=RMS)
    flipped = FUSIONS[method](np.flip(radio, axis), np.flip(infrared, axis), rms=RMS)
    if method == 'F':  # zscale samples the pixels in order
        assert np.abs(flipped.astype(int) - np.flip(picture, axis)).mean() < 5
    else:  # the hull's margin is a polygon
        assert (flipped == np.flip(picture, axis)).mean() > 0.999


@pytest.mark.parametrize(
    'radio', [np.full(SHAPE, np.nan), np.zeros(SHAPE), np.full(SHAPE, 3e-3), np.full(SHAPE, np.inf), -double_source()]
)
def test_input_without_signal_gives_a_defined_picture(method, radio):
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for infrared in (galaxies(), np.full(SHAPE, np.nan), np.zeros(SHAPE)):
            assert FUSIONS[method](radio, infrared).shape == (*SHAPE, 3)


def test_blank_pixels_look_like_the_faintest(method):
    radio = double_source()
    floor = radio.copy()
    radio[:10] = np.nan
    floor[:10] = 0 if method in ('S', 'SI', 'D3', 'D4') else np.nanmin(radio)
    picture = FUSIONS[method](radio, galaxies(), rms=RMS)
    expected = FUSIONS[method](floor, galaxies(), rms=RMS)
    if method == 'F':  # the blanks do not count for zscale
        assert np.all(picture[:10] == COOL[0])
    else:
        assert np.array_equal(picture, expected)


def test_cool_is_the_documented_ramp_of_ds9():
    def at(position):
        return COOL[round(position * 255)].astype(float)

    assert tuple(COOL[0]) == (0, 0, 0)
    assert tuple(COOL[255]) == (255, 255, 255)
    assert at(0.29)[0] == 0
    assert at(0.76)[0] == pytest.approx(25.5, abs=1.5)
    assert at(0.22)[1] == 0
    assert at(0.59)[1] == pytest.approx(127.5, abs=1.5)
    assert at(0.265)[2] == pytest.approx(127.5, abs=1.5)
    assert at(0.53)[2] == 255


def test_d1_is_ds9s_logarithm_between_minimum_and_maximum():
    radio = np.array([[0.0, 1.0], [0.1, 0.01]])
    level = np.rint(255 * np.log10(1000 * radio + 1) / np.log10(1001)).astype(int)
    assert np.array_equal(FUSIONS['D1'](2e-3 * radio - 5e-4), COOL[level])


def test_f_follows_zscale_of_noise_with_a_source():
    picture = FUSIONS['F'](double_source())
    assert tuple(picture[90, 60]) == (255, 255, 255)  # sources are beyond the noise's range
    assert 20 < picture[100:, 80:, 2].mean() < 200  # the noise is resolved


def test_d2_changes_d1s_red_only_and_where_the_galaxies_are():
    radio, infrared = double_source(), galaxies()
    d1, d2 = FUSIONS['D1'](radio).astype(int), FUSIONS['D2'](radio, infrared).astype(int)
    assert np.array_equal(d1[..., 1:], d2[..., 1:])
    added = d2[..., 0] - d1[..., 0]
    assert added.min() >= 0
    assert added[20, 110] > 200
    assert np.median(added) < 60


def test_infrared_shows_galaxies_on_any_sky():
    sky = np.zeros(SHAPE)
    sky[70, 60] = 5
    assert np.array_equal(infrared_grey(sky) == 255, sky == 5)
    noise = infrared_grey(np.random.default_rng(0).normal(size=SHAPE))
    assert np.percentile(noise, 90) < 128


def test_d3_draws_thin_blue_lines_at_five_sigma_over_grey():
    radio, infrared = double_source(), galaxies()
    picture = FUSIONS['D3'](radio, infrared, rms=RMS).astype(int)
    grey = infrared_grey(infrared)
    blue = picture[..., 2] - picture[..., 0] > 60
    edge = ndimage.binary_dilation(radio > 5 * RMS, iterations=2) & ~ndimage.binary_erosion(
        radio > 5 * RMS, iterations=2
    )
    assert np.all(edge[blue])
    inner = (radio > 5 * RMS) & ~ndimage.binary_erosion(radio > 5 * RMS)
    assert ndimage.binary_dilation(blue)[inner].all()  # and no gap
    assert np.array_equal(picture[~edge], np.repeat(grey[~edge][:, None], 3, 1))


def test_d3_measures_the_noise_where_none_is_given():
    radio, infrared = double_source(), galaxies()
    one, other = FUSIONS['D3'](radio, infrared), FUSIONS['D3'](radio, infrared, rms=RMS)
    assert (one == other).mean() > 0.98


def test_d4_shows_the_galaxy_between_the_lobes_and_hides_the_other():
    radio, infrared = double_source(), galaxies()
    d3, d4 = FUSIONS['D3'](radio, infrared, rms=RMS), FUSIONS['D4'](radio, infrared, rms=RMS)
    assert np.array_equal(d4[70, 60], d3[70, 60])
    assert tuple(d4[20, 110]) == D4_BACKGROUND
    hidden = np.all(d4 == D4_BACKGROUND, axis=-1)
    assert np.array_equal(d4[~hidden], d3[~hidden])
    assert not hidden[radio > 5 * RMS].any()
    assert tuple(FUSIONS['D4'](radio, infrared, background=(1, 2, 3))[20, 110]) == (1, 2, 3)
    assert np.all(FUSIONS['D4'](np.zeros(SHAPE), infrared) == D4_BACKGROUND)


def test_s_has_the_documented_values():
    snr = np.array([[-5.0, -1.0, 0.0], [4.0, 20.0, 100.0]])
    first, second, third = np.moveaxis(FUSIONS['S'](snr * RMS, rms=RMS).astype(float), -1, 0)
    assert first == pytest.approx(255 * np.log(1 + np.maximum(snr, 0) / 3) / np.log(1 + 100 / 3), abs=0.51)
    assert second == pytest.approx(np.array([[0, 0, 255 / 21], [255 * 5 / 21, 255, 255]]), abs=0.51)
    assert third == pytest.approx(255 / (1 + np.exp(-2 * (snr - 4))), abs=0.51)


def test_s_does_not_depend_on_the_unit_of_flux():
    radio = double_source()
    assert np.array_equal(FUSIONS['S'](radio, rms=RMS), FUSIONS['S'](radio * 1024, rms=RMS * 1024))
    assert np.array_equal(FUSIONS['S'](radio), FUSIONS['S'](radio * 1024))


def test_s_takes_a_map_of_the_noise_and_is_faint_on_noise_alone():
    radio = double_source()
    assert np.array_equal(FUSIONS['S'](radio, rms=RMS), FUSIONS['S'](radio, rms=np.full(SHAPE, RMS)))
    assert FUSIONS['S'](radio, rms=RMS)[100:, 80:, 0].max() < 170
    assert not signal_to_noise(radio, np.zeros(SHAPE)).any()
    assert not signal_to_noise(radio, np.nan).any()


@pytest.mark.parametrize('name', ['noise', 'double', 'real'])
def test_each_takes_less_than_five_milliseconds(method, name, request):
    radio = double_source() if name != 'noise' else np.random.default_rng(0).normal(size=SHAPE)
    if name == 'real':
        from claran_plugin.images import read_image

        folder = request.getfixturevalue('data_dir') / 'first_wise'
        radio = read_image(folder / 'FIRSTJ124646.7+224554.fits').data
    infrared = galaxies()
    seconds = []
    for _ in range(15):
        start = time.thread_time()
        FUSIONS[method](radio, infrared)
        seconds.append(time.thread_time() - start)
    assert min(seconds) < 5e-3


def test_real_radio_and_infrared_pair(data_dir):
    from claran_plugin.images import read_image
    from claran_plugin.infrared_images import read_infrared

    radio = read_image(data_dir / 'first_wise' / 'FIRST_J153149.9+113421.7.fits')
    infrared = read_infrared(data_dir / 'first_wise' / 'WISE_J153149.9+113421.7_w1.fits', radio)
    core = 35, 33  # y, x: the brightest pixel, where W1 shows the host galaxy
    assert np.unravel_index(np.nanargmax(radio.data), radio.shape) == core
    d3, d4 = (FUSIONS[name](radio.data, infrared.data) for name in ('D3', 'D4'))
    assert d3[core].min() > 100
    assert np.array_equal(d4[core], d3[core])
    assert 0.02 < np.mean(d3[..., 2].astype(int) - d3[..., 0] > 60) < 0.15  # thin contours
    assert tuple(d4[-1, -1]) == D4_BACKGROUND
