"""Images in Galactic and other coordinates: positions come out in ICRS, from PyBDSF's catalogues and from any other."""

import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, SkyCoord
from astropy.table import QTable, Table
from astropy.wcs.utils import wcs_to_celestial_frame
from known_grouping import KnownAssociator
from small_field import write_field

from claran_plugin import pipeline
from claran_plugin.celestial import in_icrs, is_icrs, to_pixels, to_sky
from claran_plugin.components import from_pybdsf, write_pybdsf_catalogue
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.footprints import on_image
from claran_plugin.images import read_image
from claran_plugin.plotting import overlay
from claran_plugin.subjects import Sky

CENTRE = {
    'galactic': SkyCoord(359.99, -1.2, unit='deg', frame='galactic'),
    'fk4': SkyCoord(187.0, 12.6, unit='deg', frame=FK4(equinox='B1950')),
    'fk5': SkyCoord(187.0, 12.6, unit='deg', frame='fk5'),
}
CARDS = {
    'galactic': dict(CTYPE1='GLON-SIN', CTYPE2='GLAT-SIN', EQUINOX=None),
    'fk4': dict(RADESYS='FK4', EQUINOX=1950.0),
    'fk5': dict(RADESYS='FK5', EQUINOX=2000.0),
}


@pytest.fixture(scope='module')
def image(tmp_path_factory):
    """Give a function that puts the same pixels into a frame."""
    folder = tmp_path_factory.mktemp('frames')

    def make(name):
        path = folder / f'{name}.fits'
        if not path.exists():
            centre = CENTRE[name].spherical
            write_field(path, sky=(centre.lon.deg, centre.lat.deg), header=CARDS[name])
        return read_image(path)

    return make


def test_which_frames_are_icrs(image):
    assert {name: is_icrs(image(name).wcs) for name in CARDS} == {'galactic': False, 'fk4': False, 'fk5': True}


@pytest.mark.parametrize('kind', ['ELON', 'SLON', 'HLON', 'TLON', 'MALN'])
def test_other_frames_are_refused(tmp_path, kind):
    path = tmp_path / 'odd.fits'
    latitude = kind.replace('LON', 'LAT').replace('LN', 'LT')
    write_field(path, sky=(10.0, 20.0), header=dict(CTYPE1=f'{kind}-SIN', CTYPE2=f'{latitude}-SIN'))
    with pytest.raises(InputError, match=rf'odd.fits: .* not known here \({kind}-SIN, {latitude}-SIN\): bring'):
        read_image(path)


def test_an_image_whose_first_axis_is_declination_is_refused(tmp_path):
    path = tmp_path / 'odd.fits'  # right ascension and declination alike, so that either way the field is on the image
    write_field(path, sky=(12.6, 12.6), header=dict(CTYPE1='DEC--SIN', CTYPE2='RA---SIN'))
    with pytest.raises(
        InputError, match=r'odd.fits: its axes are the wrong way round \(DEC--SIN, RA---SIN\): transpose'
    ):
        read_image(path)


@pytest.mark.parametrize('name', CARDS)
def test_pixels_and_back(name, image):
    wcs = image(name).wcs
    xy = np.random.default_rng(0).uniform(0, 250, (20, 2))
    sky = to_sky(wcs, xy)
    assert sky.frame.name == 'icrs'
    found = to_pixels(wcs, sky.ra.deg, sky.dec.deg)
    np.testing.assert_allclose(found, xy, atol=0.02)


@pytest.mark.parametrize('name', ['galactic', 'fk4'])
def test_a_catalogue_in_either_frame_has_the_same_footprints(name, image):
    made = image(name)
    sky = Sky(made)
    xy = np.array([[20.0, 30.0], [50.0, 60.0], [70.0, 40.0]])
    own = to_sky(made.wcs, xy).transform_to(wcs_to_celestial_frame(made.wcs)).spherical
    angle = np.array([10.0, 70.0, 130.0])
    values = dict(RA=own.lon.to(u.deg), DEC=own.lat.to(u.deg), PA=angle * u.deg, Maj=[12.0] * 3 * u.arcsec)
    values |= dict(Min=[6.0] * 3 * u.arcsec, Total_flux=[1.0] * 3 * u.Jy, Isl_id=[0, 1, 2])
    native = QTable(values | dict(E_RA=[0.0, 1.0, 3.0] * u.arcsec, E_DEC=[1.0, 1.0, 4.0] * u.arcsec))
    with pytest.warns(InputWarning, match=f'own frame, {name}'):
        converted, _ = in_icrs(native, made, 'list.fits')
    np.testing.assert_allclose(np.hypot(converted['E_RA'], converted['E_DEC']).value, [1, 2**0.5, 5])
    np.testing.assert_allclose(converted['E_RA'][1].value, 1)  # a circle
    assert abs(converted['E_DEC'][0].value - 1) > (0.1 if name == 'galactic' else 1e-9)
    found = on_image(converted, sky)
    np.testing.assert_allclose(found.xy, xy, atol=0.02)
    # PA runs from the image's own north, its y axis, through its east, which is left
    for covariance, degrees in zip(found.covariance, angle, strict=True):
        value, vector = np.linalg.eigh(covariance)
        along = vector[:, np.argmax(value)]
        expected = np.array([-np.sin(np.radians(degrees)), np.cos(np.radians(degrees))])
        assert abs(along @ expected) > 0.9999
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        assert in_icrs(converted, made)[0] is converted  # already in ICRS


def test_nothing_is_done_to_a_catalogue_of_an_image_in_icrs(image):
    made = image('fk5')
    table = QTable(dict(RA=[10.0] * u.deg, DEC=[20.0] * u.deg))
    assert in_icrs(table, made)[0] is table
    assert len(in_icrs(table[:0], image('galactic'))[0]) == 0


@pytest.mark.parametrize('name', ['galactic', 'fk4'])
def test_pybdsf_and_the_whole_pipeline(name, image, tmp_path):
    made = image(name)
    img, radio = pipeline.run(made)
    path = write_pybdsf_catalogue(img, tmp_path / 'list.fits')
    with pytest.warns(InputWarning, match='own frame'):
        result = pipeline.associate(radio, path, associator=KnownAssociator())
    expected, _ = pipeline.run(image('fk5'))
    assert len(result.components) == len(Table(from_pybdsf(expected)))
    xy = to_pixels(radio.wcs, result.sources['RA'].to_value(u.deg), result.sources['DEC'].to_value(u.deg))
    plain = pipeline.associate(image('fk5'), Table(from_pybdsf(expected)), associator=KnownAssociator())
    other = to_pixels(plain.radio.wcs, plain.sources['RA'].to_value(u.deg), plain.sources['DEC'].to_value(u.deg))
    np.testing.assert_array_equal(result.labels, plain.labels)
    np.testing.assert_allclose(xy, other, atol=0.05)
    places = SkyCoord(result.sources['RA'], result.sources['DEC'])
    assert (places.separation(CENTRE[name].icrs) < 0.15 * u.deg).all()
    np.testing.assert_array_equal(result.sources['Morphology'], plain.sources['Morphology'])
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        overlay(result, tmp_path / 'a.png')  # was told once


def test_without_a_catalogue_positions_are_in_icrs_too(image):
    made = image('galactic')
    result = pipeline.detect(made, associator=KnownAssociator())
    middle = CENTRE['galactic'].icrs
    assert len(result.sources)
    assert (SkyCoord(result.sources['RA'], result.sources['DEC']).separation(middle) < 0.15 * u.deg).all()
