"""What PyBDSF's further modules measure of sources, for a source that is merged of several."""

from typing import Any

import numpy as np

FLUXES = ('total_flux', 'total_flux_Q', 'total_flux_U', 'total_flux_V')
ERRORS = ('total_fluxE', 'total_fluxE_Q', 'total_fluxE_U', 'total_fluxE_V')
CHANNELS = ('specin_flux', 'specin_fluxE', 'specin_freq')


def carry_over(source: Any, members: list[Any], brightest: Any, img: Any) -> None:
    """Give a merged source what PyBDSF's spectral, polarisation and PSF modules add to sources.

    Flux densities are summed, those of the channels that all have, and fractions, angles and spectral indices follow
    from the sums, by PyBDSF's own functions. What holds for no sum becomes NaN.
    """
    for name, value in vars(brightest).items():
        if hasattr(source, name):
            continue
        if name in FLUXES:
            value = sum(getattr(member, name) for member in members)
        elif name in ERRORS:
            value = float(np.sqrt(sum(getattr(member, name) ** 2 for member in members)))
        elif isinstance(value, float | np.floating):
            value = float('nan')
        elif name in CHANNELS:
            value = [float('nan')]
        setattr(source, name, value)
    if all(hasattr(member, name) for member in members for name in CHANNELS):
        _spectrum(source, members)
    if hasattr(source, 'lpol_fraction'):
        _polarisation(source)
    if 'psf_vary' in img.completed_Ops and img.opts.psf_vary_do:
        _deconvolved(source, img)


def _spectrum(source: Any, members: list[Any]) -> None:
    """Fit a spectral index to the sums over the channels in which all members have been measured."""
    from bdsf.spectralindex import Op_spectralindex

    spectra = [dict(zip(member.specin_freq, zip(member.specin_flux, member.specin_fluxE, strict=True), strict=True))
               for member in members]  # fmt: skip
    common = [f for f in spectra[0] if np.isfinite(f) and all(f in spectrum for spectrum in spectra)]
    if len(common) < 2:
        return
    measured = np.array([[spectrum[frequency] for frequency in common] for spectrum in spectra])
    flux, error = measured[..., 0].sum(axis=0), np.sqrt((measured[..., 1] ** 2).sum(axis=0))
    if (flux > 0).sum() < 2:
        return
    frequency = np.array(common)
    source.specin_flux, source.specin_fluxE, source.specin_freq = flux.tolist(), error.tolist(), common
    source.specin_freq0 = np.median(frequency)
    fitted = Op_spectralindex().fit_specindex(frequency, flux, error)
    source.spec_norm, source.spec_indx, source.e_spec_indx = fitted


def _polarisation(source: Any) -> None:
    """Tell fractions and the angle of polarisation of the summed Stokes parameters."""
    from bdsf.polarisation import Op_polarisation

    module = Op_polarisation()
    stokes, errors = [getattr(source, name) for name in FLUXES], [getattr(source, name) for name in ERRORS]
    for kind in ('lpol', 'cpol', 'tpol'):
        fraction, low, high = getattr(module, f'calc_{kind}_fraction')(stokes, errors)
        setattr(source, f'{kind}_fraction', fraction)
        setattr(source, f'{kind}_fraction_loerr', low)
        setattr(source, f'{kind}_fraction_hierr', high)
    source.lpol_angle, source.lpol_angle_err = module.calc_lpol_angle(stokes, errors)


def _deconvolved(source: Any, img: Any) -> None:
    """Take the PSF at the source's place out of its size, as PyBDSF does of all sizes where the PSF varies."""
    from bdsf.functions import deconv2

    place = img.sky2pix(source.posn_sky_centroid)
    if img.opts.psf_fwhm is not None:
        psf = img.beam2pix(img.opts.psf_fwhm)
    elif getattr(img, 'psf_vary_maj_arr', None) is not None:
        at = tuple(int(coordinate) for coordinate in place)
        arcsec_per_pixel = img.pix2beam([1.0, 1.0, 0.0])[0] * 3600
        fwhm = 2 * np.sqrt(2 * np.log(2)) / arcsec_per_pixel
        psf = [img.psf_vary_maj_arr[at] * fwhm, img.psf_vary_min_arr[at] * fwhm, img.psf_vary_pa_arr[at]]
    else:  # too few sources to tell how it varies
        return
    size, _ = deconv2(psf, img.gaus2pix(source.size_sky, source.posn_sky_centroid))
    source.deconv_size_sky, source.deconv_size_skyE = img.pix2gaus(size, place), [0.0, 0.0, 0.0]
