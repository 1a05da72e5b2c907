"""Skies of unrelated sources at random places, for the benchmarks."""

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from numpy.typing import NDArray

from claran_plugin.morphology import CLASSES
from claran_plugin.synthetic_sky import Source, draw_source

BEAM_ARCSEC, PIXEL_ARCSEC, RMS_JY = 5.4, 1.8, 1.4e-4
BEAM_PIX = BEAM_ARCSEC / PIXEL_ARCSEC
BRIGHT = 0.5
"""Pixels of a model above this, in units of the noise, are not another's."""


def scatter(rng: np.random.Generator, taken: NDArray, number: int, *, fraction_extended: float = 0.25) -> list[Source]:
    """Put sources at random places, wherever their bright pixels overlap with nobody's.

    Parameters
    ----------
    rng : numpy.random.Generator
    taken : (ny, nx) bool array
        Pixels that are somebody's; those of the new sources are added.
    number : int
        How many are tried once.
    fraction_extended : float
        Share of the five classes other than 1C_1P.
    """
    sources = []
    for _ in range(number):
        x, y = rng.uniform(0, taken.shape[1] - 1), rng.uniform(0, taken.shape[0] - 1)
        kind = str(rng.choice(CLASSES[1:])) if rng.random() < fraction_extended else '1C_1P'
        source = draw_source(rng, kind, (x, y), BEAM_PIX, tries=20)
        if claim(taken, source):
            sources.append(source)
    return sources


def claim(taken: NDArray, source: Source) -> bool:
    """Mark a source's bright pixels; False, and nothing marked, where they overlap with others."""
    pixels, part = source.stamp.clipped(taken.shape)
    if taken[pixels][part > BRIGHT].any():
        return False
    taken[pixels] |= part > BRIGHT
    return True


def to_image(snr: NDArray) -> CCDData:
    """Make an image, as of FIRST, of signal-to-noise ratios."""
    made = fits.Header(dict(CTYPE1='RA---TAN', CTYPE2='DEC--TAN', CRVAL1=180.0, CRVAL2=30.0, BUNIT='Jy/beam'))
    for axis in (1, 2):
        made[f'CRPIX{axis}'] = (snr.shape[0] + 1) / 2
        made[f'CDELT{axis}'] = (-1 if axis == 1 else 1) * PIXEL_ARCSEC / 3600
    made['BMAJ'] = made['BMIN'] = BEAM_ARCSEC / 3600
    made['BPA'], made['RESTFRQ'] = 0.0, 1.4e9
    return CCDData((snr * RMS_JY).astype(np.float32), unit='Jy / beam', wcs=WCS(made), meta=made)
