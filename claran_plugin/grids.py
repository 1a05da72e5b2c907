"""Coarser grids: their world coordinates, and the way between their pixels and the image's."""

import warnings

import numpy as np
from astropy.wcs import WCS, Sip
from numpy.typing import NDArray


def coarser_wcs(wcs: WCS, factor: int) -> WCS:
    """Give the WCS of an image whose pixels are squares of `factor` pixels of another, from its first pixel on.

    As astropy's ``wcs[::factor, ::factor]``, which leaves a CD matrix and SIP's polynomials as they are.

    Parameters
    ----------
    wcs : WCS
        Celestial; not changed.
    factor : int
    """
    with warnings.catch_warnings():
        warnings.filterwarnings('ignore', 'cdelt will be ignored', RuntimeWarning)
        coarse = wcs[::factor, ::factor]
    if wcs.wcs.has_cd():  # astropy's slicing changes the scale in CDELT, which a CD matrix overrides
        coarse.wcs.cd = wcs.wcs.cd * factor  # as CDELT and PC it would lose TPV's polynomials
        coarse.wcs.set()
    if coarse.sip is not None:  # polynomials of pixels, to pixels
        coarse.sip = Sip(*(_coarser_polynomial(getattr(coarse.sip, part), factor) for part in ('a', 'b', 'ap', 'bp')),
                         coarse.sip.crpix)  # fmt: skip
    return coarse


def to_coarser(xy: NDArray, factor: float) -> NDArray:
    """Give the pixels (..., 2), or boxes (..., 4), of `coarser_wcs` where some of the image are."""
    return (xy + 0.5) / factor - 0.5


def from_coarser(xy: NDArray, factor: float) -> NDArray:
    """Give the pixels (..., 2), or boxes (..., 4), of the image where some of `coarser_wcs` are."""
    return (xy + 0.5) * factor - 0.5


def _coarser_polynomial(coefficients: NDArray | None, factor: int) -> NDArray | None:
    if coefficients is None:
        return None
    return coefficients * float(factor) ** (np.add.outer(*[np.arange(len(coefficients))] * 2) - 1)


def scale_and_rotation(matrix: NDArray) -> tuple[NDArray, NDArray]:
    """Divide a CD matrix (2, 2), deg per pixel, into CDELT (2,), deg per pixel, and PC (2, 2)."""
    cdelt = np.hypot(*matrix.T) * np.where(np.diagonal(matrix) < 0, -1, 1)
    return cdelt, matrix / cdelt[:, None]
