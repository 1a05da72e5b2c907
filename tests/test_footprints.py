"""Footprints: components and islands between the sky and the image's pixels, and what islands measure."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from plain_images import BEAM, BEAM_PIX, PIXEL, make_image, make_wcs, noisy, standard_table
from scipy import ndimage

from claran_plugin.components import from_pybdsf, run_pybdsf
from claran_plugin.errors import InputError
from claran_plugin.footprints import island_components, islands_of, on_image
from claran_plugin.subjects import Sky


@pytest.mark.parametrize('sky', [(0.0, -40.0), (359.9999, 10.0), (83.0, 89.995), (200.0, -89.99), (12.0, 0.0)])
@pytest.mark.parametrize('options', [{}, {'turn_deg': 37.0}, {'mirror': True}, {'turn_deg': 200, 'mirror': True}])
def test_positions_across_the_break_and_at_the_poles(sky, options):
    size = 200
    wcs = make_wcs(size, sky, **options)
    xy = np.array([[20.0, 30.0], [99.5, 99.5], [180.0, 60.0], [60.0, 150.0]])
    standard = standard_table(wcs.pixel_to_world(*xy.T))
    found = on_image(standard, Sky(make_image(noisy(size), wcs)))
    np.testing.assert_allclose(found.xy, xy, atol=1e-4)


@pytest.mark.parametrize('sky', [(150.0, 30.0), (0.0, -70.0), (40.0, 89.98)])
@pytest.mark.parametrize('options', [{}, {'turn_deg': 25.0}, {'mirror': True}, {'turn_deg': -70.0, 'mirror': True}])
@pytest.mark.parametrize('angle', [0.0, 35.0, 120.0])
def test_shapes_against_a_gaussian_drawn_on_the_sky(sky, options, angle):
    # every pixel's position on the sky tells its brightness, and the moments of the picture tell the covariance
    size, major, minor = 121, 24.0, 12.0
    wcs = make_wcs(size, sky, **options)
    centre = wcs.pixel_to_world(58.0, 63.0)
    y, x = np.mgrid[:size, :size]
    pixels = wcs.pixel_to_world(x, y)
    separation, bearing = centre.separation(pixels).arcsec, centre.position_angle(pixels).rad
    along = separation * np.cos(bearing - np.radians(angle))
    across = separation * np.sin(bearing - np.radians(angle))
    weight = np.exp(-4 * np.log(2) * ((along / major) ** 2 + (across / minor) ** 2))
    weight /= weight.sum()
    mx, my = (weight * x).sum(), (weight * y).sum()
    expected = [
        [(weight * (x - mx) ** 2).sum(), (weight * (x - mx) * (y - my)).sum()],
        [(weight * (x - mx) * (y - my)).sum(), (weight * (y - my) ** 2).sum()],
    ]
    found = on_image(standard_table(centre[None], major, minor, angle), Sky(make_image(noisy(size), wcs)))
    np.testing.assert_allclose(found.xy, [[mx, my]], atol=0.01)
    np.testing.assert_allclose(found.covariance[0], expected, atol=0.02 * np.trace(expected))


def test_components_without_shape_are_as_wide_as_the_beam():
    wcs = make_wcs(100)
    standard = standard_table(wcs.pixel_to_world([50.0, 20.0], [50.0, 80.0]), np.nan, np.nan, np.nan)
    standard['Maj'][1] = standard['Min'][1] = 0 * u.arcsec
    covariance = on_image(standard, Sky(make_image(noisy(100), wcs))).covariance
    np.testing.assert_allclose(covariance[0], np.eye(2) * (BEAM_PIX / 2.3548) ** 2, rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(covariance[1], np.eye(2) * (BEAM_PIX / 2.3548 / 3) ** 2, rtol=1e-4, atol=1e-9)


def test_components_of_another_field():
    wcs = make_wcs(100)
    sky = Sky(make_image(noisy(100), wcs))
    elsewhere = standard_table(SkyCoord([10.0, 330.0], [-50.0, -30.0], unit='deg'))
    with pytest.raises(InputError, match=r'cat\.fits: none of its 2 components lies on the image, .* at 150'):
        on_image(elsewhere, sky, 'cat.fits')


def test_components_beside_the_image_are_kept():
    wcs = make_wcs(100, projection='SIN')
    # inside, just outside, and beyond the horizon
    standard = standard_table(SkyCoord([150.0, 150.2, 330.0, 331.0], [30.0, 30.0, -30.0, -30.0], unit='deg'))
    found = on_image(standard, Sky(make_image(noisy(100), wcs)))
    assert np.isfinite(found.xy).all()
    assert np.isfinite(found.covariance).all()
    assert (np.linalg.eigvalsh(found.covariance) > 0).all()
    assert len({tuple(xy) for xy in found.xy.tolist()}) == 4
    assert len(set(found.island.tolist())) == 4


def test_no_component():
    found = on_image(standard_table(SkyCoord([], [], unit='deg')), Sky(make_image(noisy(100))))
    assert (found.xy.shape, found.covariance.shape, found.flux.shape) == ((0, 2), (0, 2, 2), (0,))


# ---- islands


def two_islands():
    data = noisy(150)
    data[40:50, 40:70] += 0.01
    data[100:110, 100:110] += 0.01
    return make_image(data)


def test_islands_are_found_where_a_catalogue_names_none():
    image = two_islands()
    sky = image.wcs.pixel_to_world([45.0, 65.0, 105.0, 20.0, 22.0], [45.0, 45.0, 105.0, 120.0, 121.0])
    island = on_image(standard_table(sky), Sky(image)).island
    assert island[0] == island[1]
    assert len(set(island.tolist())) == 4  # each of the two that lie on no island is for itself
    assert (island >= 0).all()
    named = on_image(standard_table(sky, island=np.array([3, 3, 4, -1, -1])), Sky(image)).island
    assert named[0] == named[1] != named[2]
    assert len(set(named.tolist())) == 4


def test_islands_of_positions_outside_the_image():
    assert islands_of(np.array([[45.0, 45.0], [-3.0, 5.0], [1e6, 1e6]]), Sky(two_islands())).tolist()[1:] == [-1, -1]


def test_island_table_against_pybdsf():
    # of one point source: position, flux density and width
    wcs = make_wcs(256)
    y, x = np.mgrid[:256, :256]
    sigma = BEAM_PIX / 2.3548
    data = noisy(256) + 0.05 * np.exp(-((x - 100.4) ** 2 + (y - 140.7) ** 2) / (2 * sigma**2))
    image = make_image(data, wcs)
    table = island_components(Sky(image))
    assert len(table) == 1
    found = SkyCoord(table['RA'], table['DEC'], unit='deg')
    assert found.separation(wcs.pixel_to_world(100.4, 140.7)).arcsec < 0.2
    (row,) = from_pybdsf(run_pybdsf(image, frequency=1.4e9))
    assert found.separation(SkyCoord(row['RA'], row['DEC'])).arcsec < 0.2
    assert table['Total_flux'][0] == pytest.approx(row['Total_flux'].to_value(u.Jy), rel=0.1)
    assert table['Peak_flux'][0] == pytest.approx(0.05, rel=0.1)
    assert table['Maj'][0] * 3600 == pytest.approx(BEAM, rel=0.15)
    assert table['Total_flux'].unit == u.Jy


@pytest.mark.parametrize('mirror', [False, True])
def test_islands_have_the_shape_that_they_have_on_the_sky(mirror):
    # a long source, and an unresolved one under a long beam, whose angle is told from north
    wcs = make_wcs(256, turn_deg=25.0, mirror=mirror)
    bearings, fwhm = (70.0, 160.0), ((24.0, 8.0), (9.0, 6.0))
    data, rows, columns = noisy(256), *np.mgrid[:256, :256]
    for centre, bearing, axes in zip(((90.0, 90.0), (180.0, 170.0)), bearings, fwhm, strict=True):
        place = wcs.pixel_to_world(*centre)
        tip = wcs.world_to_pixel(place.directional_offset_by(bearing * u.deg, 1 * u.arcsec))
        along = np.array(tip) - centre
        x, y = columns - centre[0], rows - centre[1]
        offsets = np.stack([x * along[0] + y * along[1], y * along[0] - x * along[1]]) * PIXEL**2
        data = data + 0.05 * np.exp(-4 * np.log(2) * ((offsets.T / axes) ** 2).sum(axis=-1).T)
    image = make_image(data, wcs)
    image.meta.update(BMAJ=9 / 3600, BMIN=6 / 3600, BPA=160.0)
    table = island_components(Sky(image))
    table = table[np.argsort(-table['Total_flux'])]
    assert len(table) == 2
    for row, bearing, axes in zip(table, bearings, fwhm, strict=True):
        assert (row['Maj'] * 3600, row['Min'] * 3600) == pytest.approx(axes, rel=0.05)
        assert abs((row['PA'] - bearing + 90) % 180 - 90) < 2


@pytest.mark.parametrize(('east', 'north'), [(BEAM, BEAM), (18.0, 6.0), (6.0, 18.0)])
def test_errors_of_islands_are_the_scatter_of_their_positions(east, north):
    # neighbouring pixels of natural noise correlate as the beam is shaped
    size, step, peak = 840, 40, 20
    data = ndimage.gaussian_filter(np.random.default_rng(3).normal(size=(size, size)), BEAM_PIX / 2.3548 / 2**0.5)
    data /= data.std()
    rows, columns = np.mgrid[:size, :size]
    middle = step / 2 + np.random.default_rng(4).uniform(-0.5, 0.5, (size // step, size // step, 2))
    x, y = np.moveaxis(np.stack([columns, rows], -1) % step - middle[rows // step, columns // step], -1, 0)
    data = data + peak * np.exp(-4 * np.log(2) * ((x * PIXEL / east) ** 2 + (y * PIXEL / north) ** 2))
    image = make_image(1e-4 * data)
    table = island_components(Sky(image))
    table = table[table['Peak_flux'] > 1e-3]
    assert len(table) == (size // step) ** 2
    found = np.transpose(image.wcs.world_to_pixel_values(table['RA'], table['DEC']))
    cell = (found // step).astype(int)
    away = (found - step * cell - middle[cell[:, 1], cell[:, 0]]) * PIXEL / 3600
    ratio = np.sqrt(np.mean((away / np.transpose([table['E_RA'], table['E_DEC']])) ** 2, axis=0))
    assert np.all((ratio > 0.7) & (ratio < 1.25)), ratio
    assert np.std(table['Peak_flux']) == pytest.approx(np.median(table['E_Peak_flux']), rel=0.25)


def test_island_table_of_an_empty_image():
    table = island_components(Sky(make_image(noisy(100))))
    assert len(table) == 0
    assert {'RA', 'DEC', 'Total_flux', 'Peak_flux', 'Maj', 'Min', 'PA', 'Isl_id'} <= set(table.colnames)
