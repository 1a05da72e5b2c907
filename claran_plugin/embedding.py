"""Whether what a source finder lists as compact lies in fainter, extended emission, as a fragment of a lobe does."""

import warnings

import numpy as np
from numpy.typing import NDArray

from claran_plugin.footprints import FWHM
from claran_plugin.pixels import values_at
from claran_plugin.subjects import Sky

SECTORS = 6
"""Parts of a ring around a component. What is told of it is their median, whatever lies in two of them."""
POINTS = 4
"""In each sector at each radius."""
RADII_BEAMS = np.arange(1.0, 4.1)
"""How far from the component's own light the ring goes, beams."""
OWN_LIGHT = 1.1
"""In widths of a component: up to where its own light reaches."""
AT_ONCE = 10_000
"""Components; bounds the memory."""


def light_around(sky: Sky, xy: NDArray, covariance: NDArray) -> NDArray:
    """Measure the brightness around components, in a ring that their own light does not reach.

    Parameters
    ----------
    sky : Sky
    xy : (n, 2) array
        Pixels.
    covariance : (n, 2, 2) array
        Of the fitted Gaussians, pixels squared.

    Returns
    -------
    (n,) array
        Median over the sectors of the ring of their mean brightness, in units of the noise of a pixel; 0 where nothing
        of a ring was observed.
    """
    parts = range(0, len(xy), AT_ONCE)
    return np.concatenate(
        [np.zeros(0), *(_measured(sky, xy[k : k + AT_ONCE], covariance[k : k + AT_ONCE]) for k in parts)]
    )


def _measured(sky: Sky, xy: NDArray, covariance: NDArray) -> NDArray:
    width = FWHM * np.sqrt(np.linalg.eigvalsh(covariance)[:, -1])
    radii = OWN_LIGHT * width[:, None] + RADII_BEAMS * sky.beam_pix  # (n, r)
    angle = 2 * np.pi * (np.arange(SECTORS * POINTS) + 0.5) / (SECTORS * POINTS)
    way = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    points = np.rint(xy[:, None, None] + radii[:, :, None, None] * way)  # (n, r, a, 2)
    ny, nx = sky.radio.shape
    inside = np.all((points >= 0) & (points < (nx, ny)), axis=-1)
    brightness = np.full(inside.shape, np.nan)
    brightness[inside] = values_at(sky.radio.data, points[inside].astype(int))
    sectors = brightness.reshape(len(xy), len(RADII_BEAMS), SECTORS, POINTS)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', RuntimeWarning)  # of sectors without any pixel
        around = np.nanmedian(np.nanmean(sectors, axis=(1, 3)), axis=1)
    return np.nan_to_num(around) / np.maximum(sky.rms.at(xy), 1e-30)
