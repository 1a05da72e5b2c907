"""Synthetic infrared skies: the host galaxies of radio sources among unrelated stars and galaxies."""

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from scipy import ndimage

from claran_plugin.radio_galaxies import FWHM_PER_SIGMA


def draw_infrared(
    rng: Generator,
    shape: tuple[int, ...],
    hosts: NDArray,
    pixel_arcsec: float,
    *,
    psf_arcsec: float = 6.1,
    density_arcmin2: float = 5.0,
    host_share: float = 0.8,
) -> NDArray:
    """Draw host galaxies among unrelated stars and galaxies.

    Most radio sources have a host galaxy at their nucleus; stars and other galaxies lie anywhere, in numbers that fall
    as their flux to the -0.9.

    Parameters
    ----------
    rng : numpy.random.Generator
    shape : (ny, nx)
    hosts : (n, 2) array
        Pixels of the nuclei.
    pixel_arcsec : float
    psf_arcsec : float
        FWHM of the point-spread function.
    density_arcmin2 : float
        Unrelated objects per square arcminute, brighter than three times the noise.
    host_share : float
        Share of the radio sources whose host is seen.

    Returns
    -------
    (ny, nx) float32 array, in units of the noise above a background of zero
    """
    ny, nx = shape
    sigma_pix = psf_arcsec / FWHM_PER_SIGMA / pixel_arcsec
    n = rng.poisson(density_arcmin2 * ny * nx * (pixel_arcsec / 60) ** 2)
    x, y = rng.uniform(-0.5, nx - 0.5, n), rng.uniform(-0.5, ny - 0.5, n)
    peak = np.minimum(3 * rng.random(n) ** (-1 / 0.9), 2e4)
    seen = rng.random(len(hosts)) < host_share
    host_x, host_y = np.asarray(hosts, float).reshape(-1, 2)[seen].T
    x, y = np.concatenate([x, host_x]), np.concatenate([y, host_y])
    peak = np.concatenate([peak, np.exp(rng.normal(3, 1, seen.sum()))])
    points = np.zeros((ny, nx))
    column, row = np.floor(x).astype(int), np.floor(y).astype(int)
    for dy in (0, 1):
        for dx in (0, 1):  # bilinear: keeps the centroid
            share = np.abs(1 - dx - (x - column)) * np.abs(1 - dy - (y - row))
            inside = (row + dy >= 0) & (row + dy < ny) & (column + dx >= 0) & (column + dx < nx)
            np.add.at(points, ((row + dy)[inside], (column + dx)[inside]), (share * peak)[inside])
    image = ndimage.gaussian_filter(points, sigma_pix, truncate=5) * (2 * np.pi * sigma_pix**2)
    noise = ndimage.gaussian_filter(rng.standard_normal((ny, nx)), sigma_pix * 0.7)
    return (image + noise / noise.std()).astype(np.float32)
