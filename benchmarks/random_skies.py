"""What the benchmarks' simulated skies have in common."""

import numpy as np
from astropy.io import fits
from astropy.nddata import CCDData
from astropy.wcs import WCS
from numpy.typing import NDArray

BEAM_ARCSEC, PIXEL_ARCSEC, RMS_JY = 5.4, 1.8, 1.4e-4
BEAM_PIX = BEAM_ARCSEC / PIXEL_ARCSEC
LOTSS = dict(atrous_do=True, adaptive_rms_box=True, rms_box=(150, 15), rms_box_bright=(60, 15), mean_map='zero')
"""Options of PyBDSF as LoTSS sets it up: wavelets, adaptive boxes of the noise."""


def to_image(snr: NDArray) -> CCDData:
    """Make an image, as of FIRST, of signal-to-noise ratios."""
    made = fits.Header(dict(CTYPE1='RA---TAN', CTYPE2='DEC--TAN', CRVAL1=180.0, CRVAL2=30.0, BUNIT='Jy/beam'))
    for axis in (1, 2):
        made[f'CRPIX{axis}'] = (snr.shape[0] + 1) / 2
        made[f'CDELT{axis}'] = (-1 if axis == 1 else 1) * PIXEL_ARCSEC / 3600
    made['BMAJ'] = made['BMIN'] = BEAM_ARCSEC / 3600
    made['BPA'], made['RESTFRQ'] = 0.0, 1.4e9
    return CCDData((snr * RMS_JY).astype(np.float32), unit='Jy / beam', wcs=WCS(made), meta=made)
