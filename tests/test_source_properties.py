"""What is said of a source from its components: fluxes and their errors, position, extent and name."""

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from catalogue_tables import composite

from claran_plugin.errors import InputError
from claran_plugin.source_properties import source_names


def test_errors_of_what_is_summed():
    row = composite([10, 10.001], [0, 0], flux=[3, 1], e_flux=[0.3, 0.4], e_ra=[1e-4, 4e-4], e_dec=[1e-4, np.nan])
    assert row['E_Total_flux'].value == pytest.approx(0.5)
    assert row['E_RA'].value == pytest.approx(np.hypot(0.75e-4, 1e-4))
    assert np.isnan(row['E_DEC'])
    unknown = composite([10, 10.001], [0, 0], flux=[3, 1], e_flux=[0.3, np.nan])
    assert np.isnan(unknown['E_Total_flux'])
    partly = composite([10, 10.001], [0, 0], flux=[np.nan, 2], e_flux=[0.3, 0.4], e_peak=[0.1, 0.2], peak=[np.nan, 2])
    assert partly['E_Total_flux'].value == pytest.approx(0.4)
    assert partly['Peak_flux'].value == 2
    assert partly['E_Peak_flux'].value == pytest.approx(0.2)


def test_unknown_fluxes_do_not_spoil_sums():
    row = composite([10, 10.001], [0, 0], flux=[np.nan, 2])
    assert row['Total_flux'] == 2 * u.Jy
    np.testing.assert_allclose(row['RA'].value, 10.001, rtol=1e-12)
    row = composite([10, 10.002], [0, 0], flux=[np.nan, np.nan])
    assert np.isnan(row['Total_flux'])
    np.testing.assert_allclose(row['RA'].value, 10.001)


@pytest.mark.parametrize(
    ('ra', 'dec', 'flux', 'mean'),
    [
        ([359.99, 0.01], [0, 0], None, (0, 0)),
        ([359.99, 0.01], [0, 0], [3, 1], (359.995, 0)),
        ([0, 180], [89.9, 89.9], None, (None, 90)),
        ([0, 90, 180, 270], [-89.9] * 4, None, (None, -90)),
        ([20, 20], [-1, 1], [-5, 1], (20, 1)),
        ([20, 20], [-1, 1], [-5, -1], (20, 0)),
    ],
)
def test_positions_at_the_break_and_the_poles(ra, dec, flux, mean):
    row = composite(ra, dec, flux=flux)
    assert 0 <= row['RA'].value < 360
    found = SkyCoord(row['RA'], row['DEC'])
    assert found.separation(SkyCoord(mean[0] or 0, mean[1], unit='deg')) < 1e-3 * u.arcsec


def test_a_lone_component_keeps_position_and_shape():
    row = composite([123.456789012345], [-0.1], maj=8.0, min=4.0, pa=170.0)
    assert (row['RA'].value, row['DEC'].value) == (123.456789012345, -0.1)
    shape = [row[f'Composite_{name}'].value for name in ('Size', 'Width', 'PA')]
    np.testing.assert_allclose(shape, [8, 4, 170])
    assert np.isnan(composite([1], [2], maj=np.nan)['Composite_Size'])


@pytest.mark.parametrize('dec', [0.0, 60.0, -89.0, 89.99])
@pytest.mark.parametrize('angle', [0.0, 30.0, 90.0, 135.0])
def test_extent_of_a_double(dec, angle):
    centre = SkyCoord(0.001, dec, unit='deg')
    ends = centre.directional_offset_by([angle, angle + 180] * u.deg, 30 * u.arcsec)
    row = composite(ends.ra.deg, ends.dec.deg, maj=10.0, min=10.0)
    np.testing.assert_allclose(row['Composite_Size'].value, 70, rtol=2e-3)  # 60" apart, 5" beyond each
    np.testing.assert_allclose(row['Composite_Width'].value, 10, rtol=2e-2)
    assert abs((row['Composite_PA'].value - angle + 90) % 180 - 90) < 1


def test_extent_of_elongated_components_follows_their_angles():
    # two ellipses 40" long side by side east-west, both pointing north: the longest line is a diagonal
    row = composite([10 - 5 / 3600, 10 + 5 / 3600], [0, 0], maj=40.0, min=0.0, pa=0.0)
    np.testing.assert_allclose(row['Composite_Size'].value, np.hypot(40, 10), rtol=1e-3)
    point = composite([10, 10.01], [0, 0], maj=np.nan, min=np.nan, pa=np.nan)
    np.testing.assert_allclose(point['Composite_Size'].value, 36, rtol=1e-6)
    same = composite([10, 10], [0, 0], maj=0.0, min=0.0)
    assert same['Composite_Size'] == 0


def test_names_are_truncated_and_unique():
    sky = SkyCoord(['11h24m43.89s +38d45m47.9s', '23h59m59.99s -00d00m00.9s', '00h00m10s -45d30m00s'])
    names = ['J112443.8+384547', 'J235959.9-000000', 'J000010.0-453000']
    assert source_names(sky) == [f'CLARAN {name}' for name in names]
    assert source_names(sky, 'ILT')[0] == 'ILT J112443.8+384547'
    many = source_names(SkyCoord([10.0] * 30 + [11.0], [5.0] * 31, unit='deg'))
    assert len(set(many)) == 31
    assert [name[-2:] for name in (many[0], many[25], many[26], many[27])] == ['0a', '0z', 'aa', 'ab']
    assert many[30].endswith('0')
    with pytest.raises(InputError, match='prefix'):
        source_names(sky, 'a very long prefix')
