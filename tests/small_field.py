"""A small radio field with known components, for tests that run PyBDSF."""

from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy import ndimage

PIXEL_DEG = 0.0005
BEAM_DEG = 0.0015
NOISE_JY = 1e-4
FREQUENCY_HZ = 1.4e9
# x, y (pixels, 0-based), peak (Jy/beam), FWHM in beams; a double, a triple in a row, and two that are far from all
COMPONENTS = np.array([
    [60, 60, 0.02, 1.0], [76, 60, 0.015, 1.3],
    [150, 170, 0.01, 1.0], [165, 170, 0.02, 1.0], [180, 170, 0.012, 1.2],
    [200, 60, 0.03, 1.0], [50, 200, 0.008, 2.0],
])  # fmt: skip


def write_field(path: Path, *, sky=(150.0, 30.0), components=COMPONENTS, size=256, header=None, noise=NOISE_JY) -> Path:
    """Write the field as 2-D FITS in Jy/beam; `header` overrides cards, None removes them."""
    rng = np.random.default_rng(4)
    beam_pix = BEAM_DEG / PIXEL_DEG
    image = ndimage.gaussian_filter(rng.normal(size=(size, size)), beam_pix / 2.3548)
    image *= noise / (image.std() or 1)
    y, x = np.mgrid[:size, :size]
    for cx, cy, peak, width in components:
        image += peak * np.exp(-4 * np.log(2) * ((x - cx) ** 2 + (y - cy) ** 2) / (width * beam_pix) ** 2)
    cards = {
        'CTYPE1': 'RA---SIN', 'CTYPE2': 'DEC--SIN', 'CRVAL1': sky[0], 'CRVAL2': sky[1],
        'CRPIX1': size / 2, 'CRPIX2': size / 2, 'CDELT1': -PIXEL_DEG, 'CDELT2': PIXEL_DEG,
        'BMAJ': BEAM_DEG, 'BMIN': BEAM_DEG, 'BPA': 0.0, 'RESTFREQ': FREQUENCY_HZ, 'BUNIT': 'Jy/beam', 'EQUINOX': 2000.0,
        **(header or {}),
    }  # fmt: skip
    hdu = fits.PrimaryHDU(image.astype(np.float32))
    hdu.header.update({key: value for key, value in cards.items() if value is not None})
    hdu.writeto(path)
    return path
