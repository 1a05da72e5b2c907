"""Images with a beam, noise and tables of components, made by hand."""

import numpy as np
from astropy import units as u
from astropy.nddata import CCDData
from astropy.table import QTable
from astropy.wcs import WCS
from scipy import ndimage

PIXEL = 1.8
BEAM = 5.4
BEAM_PIX = BEAM / PIXEL


def make_wcs(size, sky=(150.0, 30.0), *, turn_deg=0.0, mirror=False, pixel=PIXEL, projection='TAN'):
    """Make a WCS; with `turn_deg`, y points that far from north towards east; `mirror` puts east on the right."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = [f'RA---{projection}', f'DEC--{projection}']
    wcs.wcs.crval = sky
    wcs.wcs.crpix = [(size + 1) / 2] * 2
    wcs.wcs.cdelt = [pixel / 3600 * (1 if mirror else -1), pixel / 3600]
    turn = np.radians(turn_deg) * (-1 if mirror else 1)
    wcs.wcs.pc = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    wcs.wcs.set()
    return wcs


def make_image(data, wcs=None, beam=BEAM):
    data = np.asarray(data, np.float32)
    meta = dict(BMAJ=beam / 3600, BMIN=beam / 3600, BPA=0.0, BUNIT='Jy/beam', FILENAME='field.fits')
    return CCDData(data, unit='Jy / beam', wcs=wcs or make_wcs(data.shape[0]), meta=meta, mask=~np.isfinite(data))


def noisy(size, seed=0, rms=1e-4):
    sigma = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(size, size)), BEAM_PIX / 2.3548)
    return sigma * rms / sigma.std()


def standard_table(sky, major=10.0, minor=6.0, angle=0.0, island=-1):
    """Make a standard component table of equal components."""
    n = len(sky)
    return QTable(
        {
            'Component_id': np.arange(n),
            'RA': sky.ra.deg * u.deg,
            'DEC': sky.dec.deg * u.deg,
            'Total_flux': np.full(n, 0.01) * u.Jy,
            'E_Total_flux': np.full(n, 1e-4) * u.Jy,
            'Peak_flux': np.full(n, 0.01) * u.Jy / u.beam,
            'Maj': np.full(n, major) * u.arcsec,
            'Min': np.full(n, minor) * u.arcsec,
            'PA': np.full(n, angle) * u.deg,
            'Isl_id': np.broadcast_to(island, n).copy(),
            'S_Code': np.full(n, 'S'),
        }
    )
