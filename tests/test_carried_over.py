"""What PyBDSF's further modules measured, and PyBDSF going on, when its sources have been regrouped."""

import gc
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from small_field import FREQUENCY_HZ, write_field

from claran_plugin.components import contained, from_pybdsf, run_pybdsf
from claran_plugin.errors import InputError
from claran_plugin.hooks import OpClaran, op_claran
from claran_plugin.hooks.op_claran import merge, regroup
from claran_plugin.pipeline import associate_pybdsf

SPECTRAL_INDEX = -0.7
STOKES = (1.0, 0.1, 0.05, 0.02)
DECONVOLVED = ('deconv_size_sky', 'deconv_size_skyE')
SPECTRAL = ('spec_indx', 'e_spec_indx', 'spec_norm', 'specin_flux', 'specin_fluxE', 'specin_freq', 'specin_freq0')
POLARISED = (
    *(f'{kind}pol_fraction{end}' for kind in 'lct' for end in ('', '_loerr', '_hierr')),
    *('lpol_angle', 'lpol_angle_err', 'total_flux_Q', 'total_flux_U', 'total_flux_V'),
)
BLEND = [[100, 120, 0.02, 1.0], [103, 121, 0.016, 1.4], [160, 60, 0.02, 1.0], [175, 60, 0.02, 1.6]]


@pytest.fixture(scope='module')
def cubes(tmp_path_factory):
    """An image, a cube of four channels and one of the Stokes parameters."""
    folder = tmp_path_factory.mktemp('cubes')
    image = write_field(folder / 'field.fits', components=BLEND)
    data, header = fits.getdata(image), fits.getheader(image)
    rng = np.random.default_rng(0)
    step = 0.1 * FREQUENCY_HZ
    channels = [(1 + 0.1 * k) ** SPECTRAL_INDEX * data + rng.normal(0, 2e-5, data.shape) for k in range(4)]
    stokes = [share * data + rng.normal(0, 2e-5, data.shape) for share in STOKES]
    for name, planes in (('channels', channels), ('stokes', stokes)):
        cards = dict(CTYPE3='STOKES', CRVAL3=1.0, CRPIX3=1.0, CDELT3=1.0)
        cards |= dict(CTYPE4='FREQ', CRVAL4=FREQUENCY_HZ, CRPIX4=1.0, CDELT4=step, CUNIT4='Hz')
        cube = np.array(planes, np.float32)[:, None] if name == 'channels' else np.array(planes, np.float32)[None]
        hdu = fits.PrimaryHDU(cube, header.copy())
        hdu.header.update(cards)
        hdu.writeto(folder / f'{name}.fits')
    return folder


def measured(img, names):
    """Give what a source of several Gaussians has, before and after it is made anew of itself alone."""
    (source,) = [source for source in img.sources if len(source.gaussians) > 1][:1]
    again = merge(img, [source])
    for name in names:
        value = getattr(source, name)
        assert np.isfinite(value).all(), name
        np.testing.assert_allclose(getattr(again, name), value, rtol=1e-6, err_msg=name)


def test_spectral_indices(cubes):
    img = run_pybdsf(cubes / 'channels.fits', spectralindex_do=True)
    measured(img, SPECTRAL)
    pair = [source for source in img.sources if len(source.gaussians) == 1][:2]
    merged = merge(img, pair)
    np.testing.assert_allclose(merged.specin_flux, np.sum([source.specin_flux for source in pair], axis=0))
    assert merged.spec_indx == pytest.approx(np.mean([source.spec_indx for source in pair]), abs=0.2)
    pair[0].specin_freq = [0.0, *pair[0].specin_freq[1:]]  # three channels in common
    assert len(merge(img, pair).specin_freq) == 3
    pair[0].specin_freq = [0.0, 1.0, 2.0, 3.0]
    assert np.isnan(merge(img, pair).spec_indx)


def test_polarisation(cubes):
    img = run_pybdsf(cubes / 'stokes.fits', polarisation_do=True, pi_fit=False)
    measured(img, POLARISED)
    merged = merge(img, img.sources)
    assert merged.lpol_fraction == pytest.approx(np.hypot(*STOKES[1:3]), abs=0.02)


def test_sizes_without_a_psf_that_is_not_the_beam(cubes):
    img = run_pybdsf(cubes / 'field.fits', psf_vary_do=True, psf_fwhm=(0.0017, 0.0016, 10.0))
    measured(img, DECONVOLVED)


@pytest.mark.parametrize('options', [dict(spectralindex_do=True), dict(thresh_pix=8.0), dict(group_by_isl=True)])
def test_pybdsf_goes_on_from_its_own_sources(cubes, options):
    img = run_pybdsf(cubes / 'channels.fits', outdir=str(cubes))
    regroup(img, np.zeros(len(img.sources), int))
    img.filename = str(cubes / 'channels.fits')
    with contained():
        img.process(**options)
    expected = run_pybdsf(cubes / 'channels.fits', **options)
    assert len(img.sources) == len(expected.sources) > 1
    np.testing.assert_array_equal(from_pybdsf(img)['Total_flux'], from_pybdsf(expected)['Total_flux'])
    if 'spectralindex_do' in options:
        assert [s.spec_indx for s in img.sources] == [s.spec_indx for s in expected.sources]


def test_a_merge_that_fails_leaves_everything_as_it_was(cubes, monkeypatch):
    img = run_pybdsf(cubes / 'field.fits')
    sources, gaussians = list(img.sources), [(g.source_id, g.code) for g in img.gaussians]

    def failing(img, members):
        merge(img, members)
        raise KeyboardInterrupt

    monkeypatch.setattr(op_claran, 'merge', failing)
    with pytest.raises(KeyboardInterrupt):
        OpClaran(associate=lambda img: SimpleNamespace(labels=np.zeros(len(img.sources), int)))(img)
    assert img.sources == sources
    assert [(g.source_id, g.code) for g in img.gaussians] == gaussians
    assert not hasattr(img, 'claran')


def test_an_image_that_pybdsf_trimmed(cubes, monkeypatch):
    seen = []
    monkeypatch.setattr('claran_plugin.pipeline.associate', lambda radio, *_, **__: seen.append(radio))
    img = run_pybdsf(cubes / 'field.fits', trim_box=(60, 240, 30, 230))
    associate_pybdsf(img)
    at = from_pybdsf(img)
    x, y = seen[0].wcs.world_to_pixel_values(at['RA'].value, at['DEC'].value)
    assert seen[0].shape == (200, 180)
    peaks = seen[0].data[np.rint(y).astype(int), np.rint(x).astype(int)]
    np.testing.assert_allclose(peaks, at['Peak_flux'].value, rtol=0.3)  # of a blend, the image shows less


def test_threads_leave_the_process_as_it_was(cubes):
    img = run_pybdsf(cubes / 'field.fits')
    log = logging.getLogger('PyBDSF')
    before = sys.stdout, sys.stderr, log.propagate, list(log.handlers), gc.get_freeze_count()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: regroup(img, np.arange(len(img.sources))), range(12)))
    assert before == (sys.stdout, sys.stderr, log.propagate, list(log.handlers), gc.get_freeze_count())
    gc.freeze()
    try:
        with contained():
            pass
        assert gc.get_freeze_count()  # the caller's
    finally:
        gc.unfreeze()


def test_pybdsf_that_stops_early_is_told(cubes):
    with pytest.raises(InputError, match='PyBDSF stopped before its end; leave out stop_at'):
        run_pybdsf(cubes / 'field.fits', stop_at='isl')
    with pytest.raises(InputError, match='output_all: PyBDSF writes files; say where with the option outdir'):
        run_pybdsf(cubes / 'field.fits', output_all=True)
    with pytest.raises(InputError, match=r'nope\.fits'):
        run_pybdsf(cubes / 'field.fits', detection_image='nope.fits')


def test_a_numpy_that_is_too_new_for_pybdsf_is_told(cubes, monkeypatch):
    import bdsf.image

    def crosses(*_, **__):  # what numpy 2.5 says of two-dimensional vectors
        raise ValueError('Both input arrays must be 3-dimensional vectors, but they are not')

    monkeypatch.setattr(bdsf.image.Image, 'process', crosses)
    with pytest.raises(InputError, match='does not work with this numpy; install one older'):
        run_pybdsf(cubes / 'field.fits')
