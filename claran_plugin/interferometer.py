"""What a radio interferometer adds to the sky: correlated noise, spokes, rings, bowls and stripes.

All of it is made in the plane of spatial frequencies, in cycles per beam. A snapshot with the VLA samples six arms of
that plane (its Y-shaped array and the conjugates): that weaves the noise and leaves faint spokes around bright sources.
"""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import fft

from claran_plugin.radio_galaxies import BEAM_SIGMA

SIDELOBE_BEAMS = 3
STRONGEST_SIDELOBE_SIGMA = 3.5


def beam_noise(rng: Generator, shape: tuple[int, int], beam_pix: float, *, snapshot: float = 0.0) -> NDArray:
    """Draw Gaussian noise of unit rms, correlated by the beam or as in a snapshot.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : tuple of int
    beam_pix : float
        FWHM of the round beam, pixels.
    snapshot : float
        0 for white noise convolved with the beam. Otherwise the noise has the power spectrum of real FIRST images,
        raised up to 1 + `snapshot` times along the arms of the coverage, and some stripes.

    Returns
    -------
    (ny, nx) float array
    """
    padded, u, v = _frequencies(shape, beam_pix)
    # every column but the first (and, for an even width, the last) stands for two frequencies
    twice = np.full(u.shape, 2.0)
    twice[0, 0] = 1
    if padded[1] % 2 == 0:
        twice[0, -1] = 1
    if snapshot > 0:
        power = _snapshot_power(u, v) * (1 + snapshot * _arms(rng, u, v))
        power = power / (power * twice).sum()
        for _ in range(rng.integers(0, 3)):
            stripe = _stripe(rng, u, v)
            power = power + rng.uniform(0.01, 0.06) * stripe / (stripe * twice).sum()
    else:
        power = _beam_power(u, v)
    amplitude = np.sqrt(power / (power * twice).sum() * power.shape[0] * padded[1])
    white = rng.standard_normal(padded, dtype=np.float32)
    noise = fft.irfft2(fft.rfft2(white) * amplitude.astype(np.float32), s=padded, overwrite_x=True)
    return noise[: shape[0], : shape[1]]


def _frequencies(shape: tuple[int, int], beam_pix: float) -> tuple[tuple[int, int], NDArray, NDArray]:
    """Give a padded shape that is fast to transform, and its spatial frequencies u, v in cycles per beam."""
    ny, nx = (fft.next_fast_len(n + n // 8, real=True) for n in shape)
    return (ny, nx), fft.rfftfreq(nx)[None] * beam_pix, fft.fftfreq(ny)[:, None] * beam_pix


def _beam_power(u: NDArray, v: NDArray) -> NDArray:
    """Give the power of beam-convolved white noise; u, v in cycles per beam."""
    return np.exp(-4 * (np.pi * BEAM_SIGMA) ** 2 * (u**2 + v**2))


def _snapshot_power(u: NDArray, v: NDArray) -> NDArray:
    """Give the mean power of FIRST's noise.

    Fitted to 120 images without their sources; the lowest frequencies, where spokes add power of their own, count less.
    """
    radius = np.hypot(u, v)
    return 0.5 * np.exp(-radius / 0.09) + 0.03 * np.exp(-((radius / 0.85) ** 4))


def _stripe(rng: Generator, u: NDArray, v: NDArray) -> NDArray:
    """Give the power of one bad baseline: parallel stripes, mostly along a row."""
    radius, angle = rng.uniform(0.2, 0.9), np.pi / 2 + rng.normal(0, 0.4)
    u0, v0 = radius * np.cos(angle), radius * np.sin(angle)
    if u0 < 0:
        u0, v0 = -u0, -v0
    return np.exp(-0.5 * ((u - u0) ** 2 + (v - v0) ** 2) / rng.uniform(0.005, 0.03) ** 2)


def _arms(rng: Generator, u: NDArray, v: NDArray) -> NDArray:
    """Draw a snapshot's coverage, peak 1: three lines through the origin, foreshortened by the source's elevation."""
    angle, squeeze = np.pi / 2 + rng.normal(0, 0.15), rng.uniform(0.7, 1.0)
    width = rng.uniform(0.007, 0.02)
    arms = np.zeros(np.broadcast_shapes(u.shape, v.shape))
    for k in range(3):
        theta = angle + k * np.pi / 3
        across = -u * np.sin(theta) + v / squeeze * np.cos(theta)
        arms += rng.uniform(0.3, 1.0) * np.exp(-0.5 * (across / width) ** 2)
    return arms / arms.max()


def artefacts(rng: Generator, sky: NDArray, beam_pix: float, level: float) -> NDArray:
    """Draw the sidelobes that imperfect calibration and CLEAN leave around bright sources.

    Parameters
    ----------
    rng : numpy.random.Generator
    sky : (ny, nx) array
        The model in units of the noise, convolved with the beam.
    beam_pix : float
        FWHM of the beam, pixels.
    level : float
        Largest sidelobe of a point source, farther than `SIDELOBE_BEAMS` from it, as a fraction of its peak. It is
        reduced where sidelobes would exceed `STRONGEST_SIDELOBE_SIGMA` outside the sources.

    Returns
    -------
    (ny, nx) array of mean zero to add to the sky
    """
    shape = (sky.shape[0], sky.shape[1])
    padded, u, v = _frequencies(shape, beam_pix)
    coverage = _arms(rng, u, v)
    radius = np.hypot(u, v)
    if rng.random() < 0.3:  # rings: one distance between antennas weighs too much
        coverage = coverage + rng.uniform(0.3, 1) * np.exp(-0.5 * ((radius - rng.uniform(0.1, 0.35)) / 0.02) ** 2)
    bowl = np.exp(-0.5 * (radius / rng.uniform(0.02, 0.05)) ** 2)  # extended emission the shortest baselines miss
    coverage = coverage - coverage.mean() - max(rng.uniform(-0.5, 1.5), 0) * bowl
    coverage[0, 0] = 0
    coverage = coverage.astype(np.float32)
    point = 2 * np.pi * (BEAM_SIGMA * beam_pix) ** 2 * np.sqrt(_beam_power(u, v)).astype(np.float32)
    sidelobes = np.abs(fft.irfft2(point * coverage, s=padded))
    near = round(SIDELOBE_BEAMS * beam_pix)
    for ys in (slice(None, near), slice(-near, None)):
        for xs in (slice(None, near), slice(-near, None)):
            sidelobes[ys, xs] = 0
    pattern = fft.irfft2(fft.rfft2(sky.astype(np.float32), s=padded) * coverage, s=padded)[: shape[0], : shape[1]]
    pattern = pattern * (level / sidelobes.max())
    strongest = np.abs(np.where(sky < 0.5, pattern, 0)).max()
    return pattern * min(1.0, STRONGEST_SIDELOBE_SIGMA / max(strongest, 1e-9))


def draw_instrument(rng: Generator, sky: NDArray, beam_pix: float) -> NDArray:
    """Draw noise of unit rms with what else a snapshot leaves: woven texture, a gradient, spokes, rings and bowls.

    Parameters
    ----------
    rng : numpy.random.Generator
    sky : (ny, nx) array
        The model in units of the noise, convolved with the beam.
    beam_pix : float
        FWHM of the beam, pixels.

    Returns
    -------
    (ny, nx) array to add to the sky
    """
    snapshot = rng.uniform(3, 40) if rng.random() < 0.7 else 0.0
    noise = beam_noise(rng, (sky.shape[0], sky.shape[1]), beam_pix, snapshot=snapshot)
    if rng.random() < 0.3:
        y, x = (np.linspace(-1, 1, n, dtype=np.float32) for n in sky.shape)
        angle = rng.uniform(0, 2 * np.pi)
        noise = noise * np.exp(rng.uniform(0, 0.2) * (x * np.cos(angle) + y[:, None] * np.sin(angle)))
    if rng.random() < 0.8:
        noise = noise + artefacts(rng, sky, beam_pix, np.exp(rng.normal(np.log(0.012), 0.7)))
    return noise
