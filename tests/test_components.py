import gzip
import logging
import subprocess
import sys

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Column, MaskedColumn, QTable, Table
from astropy.wcs import WCS
from small_field import COMPONENTS, FREQUENCY_HZ, write_field

from claran_plugin.catalogue_columns import unit_of
from claran_plugin.components import (
    contained,
    from_pybdsf,
    pybdsf_columns,
    read_catalogue,
    run_pybdsf,
    standardise,
    write_pybdsf_catalogue,
)
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.images import read_image

STANDARD = {
    'Component_id': None, 'RA': u.deg, 'DEC': u.deg, 'Total_flux': u.Jy, 'E_Total_flux': u.Jy,
    'Peak_flux': u.Jy / u.beam, 'Maj': u.arcsec, 'Min': u.arcsec, 'PA': u.deg, 'Isl_id': None, 'S_Code': None,
    'E_RA': u.deg, 'E_DEC': u.deg, 'E_Peak_flux': u.Jy / u.beam,
}  # fmt: skip


@pytest.fixture(scope='module')
def field(tmp_path_factory):
    return write_field(tmp_path_factory.mktemp('field') / 'field.fits')


@pytest.fixture(scope='module')
def img(field):
    return run_pybdsf(field)


def assert_standard(table):
    assert isinstance(table, QTable)
    assert table.colnames == list(STANDARD)
    assert {name: table[name].unit for name in table.colnames} == STANDARD
    assert table['Component_id'].tolist() == list(range(len(table)))


def test_components_are_found_where_they_were_put(img, field):
    table = from_pybdsf(img, 'gaul')
    assert_standard(table)
    wcs = WCS(fits.getheader(field))
    truth = SkyCoord(wcs.pixel_to_world(COMPONENTS[:, 0], COMPONENTS[:, 1]))
    found, distance, _ = truth.match_to_catalog_sky(SkyCoord(table['RA'], table['DEC']))
    assert sorted(found) == list(range(len(COMPONENTS)))
    assert (distance < 1 * u.arcsec).all()
    expected = COMPONENTS[:, 2] * COMPONENTS[:, 3] ** 2
    np.testing.assert_allclose(table['Total_flux'][found].value, expected, rtol=0.1)
    np.testing.assert_allclose(table['Maj'][found].value, 5.4 * COMPONENTS[:, 3], rtol=0.1)


@pytest.mark.parametrize('kind', ['srl', 'gaul'])
@pytest.mark.parametrize('form', ['fits', 'csv', 'ascii'])
def test_file_and_image_object_give_the_same_rows(img, tmp_path, kind, form):
    path = write_pybdsf_catalogue(img, tmp_path / f'catalogue.{form}', kind, form)
    table = standardise(read_catalogue(path), path)
    expected = from_pybdsf(img, kind)
    assert_standard(table)
    assert table['S_Code'].tolist() == expected['S_Code'].tolist()
    for name in set(STANDARD) - {'S_Code'}:
        written = 0.5e-14 if form != 'fits' and name in ('E_RA', 'E_DEC') else 0  # of some 1e-6, in 14 decimals
        np.testing.assert_allclose(
            np.asarray(table[name]), np.asarray(expected[name]), rtol=1e-9, atol=written, err_msg=name
        )


def test_rows_after_dummies_were_written(img, tmp_path):
    # PyBDSF appends its dummy sources to img.sources for good when it is asked to write them
    dummy = type('Dummy', (), {'source_id': -2})()
    expected = from_pybdsf(img)
    img.sources.append(dummy)
    try:
        assert (from_pybdsf(img)['RA'] == expected['RA']).all()
    finally:
        img.sources.remove(dummy)


def test_islands_without_a_gaussian_are_told_of(field):
    with pytest.warns(InputWarning, match=r'PyBDSF has kept no Gaussian of \d+ of its \d+ islands; the brightest has'):
        img = run_pybdsf(field, flag_maxsize_bm=1.0)
    assert any(not island.gaul for island in img.islands)


@pytest.mark.parametrize('kind', ['srl', 'gaul'])
def test_empty_catalogue_has_pybdsf_s_columns(img, tmp_path, kind):
    written = write_pybdsf_catalogue(img, tmp_path / 'full.fits', kind)
    with fits.open(written) as hdus:
        assert hdus[1].columns.names == pybdsf_columns(kind)
        full = hdus[1].columns
    sources, img.sources = img.sources, []
    try:
        empty = write_pybdsf_catalogue(img, tmp_path / 'empty.fits', kind)
        assert len(from_pybdsf(img, kind)) == 0
        texts = [write_pybdsf_catalogue(img, tmp_path / f'empty.{form}', kind, form) for form in ('csv', 'ascii')]
    finally:
        img.sources = sources
    with fits.open(empty) as hdus:
        columns = hdus[1].columns
        assert len(hdus[1].data) == 0
        assert (columns.names, columns.formats, columns.units) == (full.names, full.formats, full.units)
    for path in [empty, *texts]:
        table = standardise(read_catalogue(path), path)
        assert_standard(table)
        assert len(table) == 0


def test_an_image_without_emission_gives_no_components(tmp_path):
    img = run_pybdsf(write_field(tmp_path / 'noise.fits', components=[], size=100))
    assert_standard(from_pybdsf(img))
    assert len(from_pybdsf(img)) == 0
    path = write_pybdsf_catalogue(img, tmp_path / 'noise.srl.fits')
    assert len(read_catalogue(path)) == 0


def test_pybdsf_leaves_no_traces(field, tmp_path, capfd, caplog):
    state, before = np.geterr(), sorted(field.parent.iterdir())
    log = logging.getLogger('PyBDSF')
    handlers = list(log.handlers)
    run_pybdsf(field)
    assert np.geterr() == state
    assert sorted(field.parent.iterdir()) == before
    assert log.handlers == handlers
    assert log.propagate
    assert capfd.readouterr() == ('', '')
    assert not [record for record in caplog.records if record.name.startswith('PyBDSF')]


def test_contained_restores_after_an_error():
    state = np.geterr()
    with pytest.raises(KeyError), contained():
        np.seterr(all='raise')
        raise KeyError
    assert np.geterr() == state


def test_first_import_of_bdsf_is_contained_too():
    code = (
        'import sys, numpy as np; before = np.geterr(); from claran_plugin import components as c; '
        'assert "bdsf" not in sys.modules; assert "torch" not in sys.modules\n'
        'with c.contained(): import bdsf\n'
        'assert np.geterr() == before, np.geterr()'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


@pytest.mark.parametrize('sky', [(0.0, 0.0), (359.99, -45.0), (10.0, 89.95)])
def test_ccddata_in_an_extension(tmp_path, sky):
    plain = write_field(tmp_path / 'plain.fits', sky=sky)
    packed = tmp_path / 'packed.fits.fz'
    with fits.open(plain) as hdus:
        header = hdus[0].header
        header['BUNIT'] = 'mJy/beam'
        fits.CompImageHDU(hdus[0].data * 1e3, header, quantize_level=0, compression_type='GZIP_2').writeto(packed)
    image = read_image(packed)
    img = run_pybdsf(image)
    table, expected = from_pybdsf(img), from_pybdsf(run_pybdsf(plain))
    assert len(table) == len(expected)
    np.testing.assert_allclose(table['Total_flux'], expected['Total_flux'], rtol=1e-4)
    distance = SkyCoord(table['RA'], table['DEC']).separation(SkyCoord(expected['RA'], expected['DEC']))
    assert distance.max() < 0.01 * u.arcsec
    assert img.filename == image.meta['FILENAME']


@pytest.mark.parametrize(
    ('header', 'words'),
    [
        ({'BMAJ': None}, 'no beam'),
        ({'RESTFREQ': None}, 'no frequency'),
        ({'CDELT1': None}, 'no pixel size'),
    ],
)
def test_faults_of_an_image_are_one_line(tmp_path, header, words):
    path = write_field(tmp_path / 'bad.fits', header=header, size=100)
    with pytest.raises(InputError, match=words) as caught:
        run_pybdsf(path)
    assert str(caught.value).startswith(str(path))
    assert '\n' not in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == ['bad.fits']


def test_missing_cards_can_be_given(tmp_path):
    path = write_field(tmp_path / 'bare.fits', header={'BMAJ': None, 'RESTFREQ': None})
    img = run_pybdsf(path, beam=(0.0015, 0.0015, 0), frequency=FREQUENCY_HZ)
    assert len(img.sources) > 3


def test_constant_and_blank_images(tmp_path):
    path = write_field(tmp_path / 'zero.fits', components=[], noise=0, size=100)
    with pytest.raises(InputError, match='constant'):
        run_pybdsf(path)
    with fits.open(path, mode='update') as hdus:
        hdus[0].data[:] = np.nan
    with pytest.raises(InputError, match='blank'):
        run_pybdsf(path)


def test_not_an_image(tmp_path):
    path = tmp_path / 'text.fits'
    path.write_text('hello')
    with pytest.raises(InputError, match='not a readable FITS image'):
        run_pybdsf(path)
    with pytest.raises(InputError, match='thresh_ilse'):
        run_pybdsf(write_field(tmp_path / 'field.fits'), thresh_ilse=3)


# ---- catalogues of others


def test_other_names_and_units_are_recognised(tmp_path):
    table = Table(
        {
            'RAJ2000': [10.0, 350.0] * u.deg,
            'DEJ2000': [-5.0, 5.0] * u.deg,
            'Fint': [1.0, 2.0] * u.mJy,
            'e_Fint': [100.0, 200.0] * u.uJy,
            'Fpeak': [1.0, 2.0] * (u.mJy / u.beam),
            'Maj': [6.0, 12.0] * u.arcsec,
            'Min': [0.1, 0.2] * u.arcmin,
            'PosAng': [0.5, 1.0] * u.rad,
            'Island': ['a', 'b'],
        }
    )
    for form, ending in (('fits', 'fits'), ('votable', 'xml'), ('ascii.ecsv', 'ecsv')):
        path = tmp_path / f'first.{ending}'
        table.write(path, format=form)
        standard = standardise(read_catalogue(path), path)
        assert_standard(standard)
        np.testing.assert_allclose(standard['Total_flux'].value, [1e-3, 2e-3])
        np.testing.assert_allclose(standard['E_Total_flux'].value, [1e-4, 2e-4])
        np.testing.assert_allclose(standard['Peak_flux'].value, [1e-3, 2e-3])
        np.testing.assert_allclose(standard['Maj'].value, [6, 12])
        np.testing.assert_allclose(standard['Min'].value, [6, 12])
        np.testing.assert_allclose(standard['PA'].value, np.degrees([0.5, 1]))
        assert standard['Isl_id'].tolist() == [0, 1]


def test_missing_columns_are_filled_and_told(tmp_path):
    path = tmp_path / 'plain.csv'
    path.write_text('ra,dec,peak_flux\n10,20,0.5\n11,21,0.6\n')
    with pytest.warns(InputWarning) as caught:
        table = standardise(read_catalogue(path), path)
    assert any('taken for it' in str(warning.message) for warning in caught)
    assert any('no unit' in str(warning.message) for warning in caught)
    assert table['Total_flux'].value.tolist() == [0.5, 0.6]
    assert np.isnan(table['Maj']).all()
    assert table['Isl_id'].tolist() == [-1, -1]
    assert table['S_Code'].tolist() == ['', '']


def test_sexagesimal_positions_and_masked_fluxes():
    flux = MaskedColumn([1.0, 2.0], mask=[False, True], unit='Jy')
    table = standardise(Table({'RA': ['00:00:01', '23:59:59'], 'DEC': ['-00:30:00', '+90:00:00'], 'Total_flux': flux}))
    np.testing.assert_allclose(table['RA'].value, [15 / 3600, 360 - 15 / 3600])
    np.testing.assert_allclose(table['DEC'].value, [-0.5, 90])
    np.testing.assert_array_equal(table['Total_flux'].value, [1, np.nan])


def test_positions_that_are_text_of_plain_numbers_are_degrees(tmp_path):
    table = standardise(Table({'RA': ['10.5', ' 350.25'], 'DEC': ['-0.5', '+1e1'], 'Total_flux': [1.0, 2.0] * u.Jy}))
    np.testing.assert_array_equal(table['RA'].value, [10.5, 350.25])
    np.testing.assert_array_equal(table['DEC'].value, [-0.5, 10])
    path = tmp_path / 'gap.csv'
    path.write_text('RA,DEC,Total_flux\n10.5,20,0.5\nnull,21,0.6\n')
    with pytest.raises(InputError, match='"null, 21" in row 1,'):
        standardise(read_catalogue(path), path)


def test_positions_that_are_text_have_the_units_of_their_columns():
    table = Table({'RA': ['10.5', ' 1e1'], 'DEC': ['-30', '6'], 'Total_flux': [1.0, 2.0] * u.Jy})
    table['RA'].unit, table['DEC'].unit = u.hourangle, u.arcmin
    standard = standardise(table)
    np.testing.assert_allclose(standard['RA'].value, [157.5, 150])
    np.testing.assert_allclose(standard['DEC'].value, [-0.5, 0.1])
    table['RA'].unit = u.Jy
    with pytest.raises(InputError, match='column RA is in Jy, which is no deg'):
        standardise(table)


def test_degrees_among_sexagesimal_positions_are_told_by_their_row():
    table = Table({'RA': ['10:00:00', '150.1'], 'DEC': ['2:00:00', '2.5'], 'Total_flux': [1.0, 2.0] * u.Jy})
    with pytest.raises(InputError, match=r'but not "150.1, 2.5" in row 1, counted from 0; give all in degrees'):
        standardise(table)


@pytest.mark.parametrize(
    ('written', 'meant'),
    [('JY/BEAM', 'Jy / beam'), ('MJY/BEAM', 'mJy / beam'), ('mJy/bm', 'mJy / beam'), ('MJY/SR', 'MJy / sr')],
)
def test_units_as_other_programs_write_them(written, meant):
    assert unit_of(Column([1.0], unit=u.Unit(written, parse_strict='silent'))) == u.Unit(meant)


def test_a_blank_among_sexagesimal_positions_is_told_by_its_row():
    table = Table({'RA': ['00 00 01', '', '00h00m03s'], 'DEC': ['-00 30 00', '1:0:0', '2:0:0'], 'Flux': [1.0] * 3})
    with pytest.raises(InputError, match=r'no valid position in 1 rows \(row 1,'):
        standardise(table)


def test_negative_ids_and_every_row_are_kept():
    columns = {name: np.arange(-1.0, 2) for name in pybdsf_columns('srl')}
    table = Table({**columns, 'Source_id': [-1, 0, 0], 'Isl_id': [-1, 0, 0], 'S_Code': ['S', 'C', 'M']})
    standard = standardise(table)
    assert len(standard) == 3
    assert standard['Isl_id'].tolist() == [-1, 0, 0]
    np.testing.assert_array_equal(standard['Maj'].value, [np.nan, 0, 3600])  # PyBDSF's tables without units are in deg


def named(n=3, **columns):
    """A catalogue of another source finder."""
    return Table(dict(RA=np.arange(n) * u.deg, DEC=np.zeros(n) * u.deg, Total_flux=np.ones(n) * u.Jy) | columns)


def test_fitted_sizes_go_before_deconvolved_ones():
    axes = dict(MAJOR=1.0, MINOR=0.5, POSANG=10.0, FITTED_MAJOR=6.0, FITTED_MINOR=5.0, FITTED_POSANG=80.0)
    first = standardise(named(**{name: np.full(3, value) for name, value in axes.items()}))
    vizier = standardise(
        named(Maj=np.zeros(3), Min=np.zeros(3), PA=np.zeros(3), fMaj=[6.0] * 3, fMin=[5.0] * 3, fPA=[80.0] * 3)
    )
    for table in (first, vizier):
        assert [float(table[axis].value[0]) for axis in ('Maj', 'Min', 'PA')] == pytest.approx([6, 5, 80])


def test_a_gaussian_counts_with_its_own_flux_density():
    whole = named(Source_ID=['a', 'a', 'b'])
    whole.rename_column('Total_flux', 'Total_flux_Source')
    with pytest.raises(InputError, match='Total_flux_Source is that of a whole source, of which Source_ID lists'):
        standardise(whole, 'racs.fits')
    whole['Total_flux_Gaussian'] = [0.25, 0.75, 1.0] * u.Jy
    assert standardise(whole)['Total_flux'].value.tolist() == [0.25, 0.75, 1.0]
    sources = named(Source_ID=['a', 'b', 'c'])
    sources.rename_column('Total_flux', 'Total_flux_Source')
    assert standardise(sources)['Total_flux'].value.tolist() == [1, 1, 1]


def test_what_stands_for_no_error_is_none():
    table = standardise(named(err_int_flux=[-1.0, 0.1, 0.2] * u.Jy, a=[-1.0, 6.0, 6.0] * u.arcsec))
    np.testing.assert_array_equal(table['E_Total_flux'].value, [np.nan, 0.1, 0.2])
    np.testing.assert_allclose(table['Maj'].value, [np.nan, 6, 6])


def test_errors_of_positions_are_taken_where_their_unit_is_known():
    told = standardise(named(ra_err=[0.36] * 3 * u.arcsec, dec_err=[0.72] * 3 * u.arcsec))
    np.testing.assert_allclose(told['E_RA'].value, 1e-4)
    np.testing.assert_allclose(told['E_DEC'].value, 2e-4)
    for column in (np.full(3, 0.36), np.full(3, 0.01) * u.s):  # VizieR has seconds of time
        assert np.isnan(standardise(named(e_RAJ2000=column))['E_RA']).all()


@pytest.mark.parametrize(
    ('table', 'words'),
    [
        (Table({'x': [1], 'y': [2]}), 'found x, y; expected RA, DEC and Total_flux'),
        (Table({'RA': [1.0], 'DEC': [2.0]}), 'needed columns are missing'),
        (
            Table({'RA': [1.0, np.nan], 'DEC': [2.0, 3], 'Total_flux': [1.0, 1]}),
            r'no valid position in 1 rows \(row 1,',
        ),
        (Table({'RA': [1.0], 'DEC': [95.0], 'Total_flux': [1.0]}), 'no valid position'),
        (Table({'RA': [1.0], 'DEC': [9.0], 'Total_flux': [1.0] * u.m}), 'Total_flux is in m, which is no Jy'),
        (
            Table({'RA': [1.0], 'DEC': [9.0], 'Total_flux': ['bright'], 'E_RA': [0], 'Isl_id': [0], 'S_Code': ['S']}),
            'not numbers',
        ),
    ],
)
def test_unusable_catalogues_are_refused(table, words):
    with pytest.raises(InputError, match=words) as caught:
        standardise(table, 'mine.fits')
    assert str(caught.value).startswith('mine.fits: ')


def test_unreadable_files_are_refused(tmp_path, field):
    with pytest.raises(InputError, match='no such catalogue'):
        read_catalogue(tmp_path / 'missing.fits')
    with pytest.raises(InputError, match='no table in this FITS file'):
        read_catalogue(field)
    noise = tmp_path / 'noise.bin'
    noise.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(InputError, match='neither FITS nor text'):
        read_catalogue(noise)
    Table({'RA': np.arange(5000.0)}).write(tmp_path / 'whole.fits')
    cut = tmp_path / 'cut.fits'
    cut.write_bytes((tmp_path / 'whole.fits').read_bytes()[:9000])
    with pytest.raises(InputError, match=r'cut\.fits: not a readable catalogue'):
        read_catalogue(cut)


def test_the_table_is_found_among_hdus_and_in_gzip(tmp_path):
    other = fits.BinTableHDU.from_columns([fits.Column('TIME', 'D', array=[1.0])])
    wanted = fits.table_to_hdu(Table({'RA': [1.0], 'DEC': [2.0], 'Total_flux': [3.0]}))
    path = tmp_path / 'many.fits'
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.zeros((2, 2))), other, wanted]).writeto(path)
    assert read_catalogue(path).colnames == ['RA', 'DEC', 'Total_flux']
    zipped = tmp_path / 'many.fits.gz'
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read_catalogue(zipped)['Total_flux'].tolist() == [3.0]
