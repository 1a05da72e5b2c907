"""RadioGalaxyNET's pictures: the stretch undone, and their infrared images."""

import numpy as np
import pytest
from radiogalaxynet_files import write_radiogalaxynet

from claran_plugin.datasets.packed_subjects import WIDE
from claran_plugin.datasets.radiogalaxynet import PIXEL_ARCSEC, SIGMA_PIX, restore
from claran_plugin.datasets.training_data import radio_galaxy_net
from claran_plugin.errors import InputError


def stretch(sky, threshold):
    """Stretch one island as RadioGalaxyNET's pictures are: logarithmic, from its threshold to its peak."""
    shown = np.log(np.maximum(sky, threshold) / threshold) / np.log(sky.max() / threshold)
    return np.round(65535 * shown)


def gaussian(x0, y0, peak, sigma, size=90):
    y, x = np.mgrid[:size, :size]
    return peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize('ratio', [3, 10, 50, 300])
@pytest.mark.parametrize('offset', [0.0, 0.5])
def test_restore_recovers_the_peak_of_a_point_source(ratio, offset):
    threshold = 3.0
    sky = gaussian(40 + offset, 45 - offset / 2, threshold * ratio, SIGMA_PIX)
    restored = restore(stretch(sky, threshold), threshold)
    assert restored.max() == pytest.approx(sky.max(), rel=0.25)
    inside = sky > threshold
    np.testing.assert_allclose(restored[inside], sky[inside], rtol=0.3)
    assert restored[~inside].max() <= threshold
    assert restored[0, 0] < 1e-3


def test_restore_knows_islands_apart():
    threshold = 2.5
    bright, faint = gaussian(25, 30, 200, SIGMA_PIX), gaussian(65, 60, 8, SIGMA_PIX)
    restored = restore(stretch(bright, threshold) + stretch(faint, threshold), threshold)
    assert restored[30, 25] == pytest.approx(200, rel=0.25)
    assert restored[60, 65] == pytest.approx(8, rel=0.25)
    assert not restore(np.zeros((30, 30)), threshold).any()


def test_beam_of_radiogalaxynet():
    fwhm_arcsec = 2.3548 * SIGMA_PIX * PIXEL_ARCSEC
    assert fwhm_arcsec == pytest.approx(12.0, rel=1e-4)


def test_radiogalaxynet_without_its_infrared(tmp_path):
    folder = write_radiogalaxynet(tmp_path)
    (subject,) = radio_galaxy_net(folder, np.random.default_rng(1), infrared=True)
    assert subject.infrared.shape == (WIDE, WIDE)
    y, x = np.unravel_index(np.argmax(subject.infrared), subject.infrared.shape)
    # the star of the infrared picture lies on the source, which is in the middle
    np.testing.assert_allclose([x, y], (WIDE - 1) / 2, atol=2)
    (folder / 'infrared' / 'a.jpg').unlink()
    with pytest.raises(InputError, match=r'no infrared image of a\.png; pack without --infrared'):
        list(radio_galaxy_net(folder, np.random.default_rng(1), infrared=True))
