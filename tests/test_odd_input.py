"""Input that is unusual and good: it gives what the usual one gives, or a warning that says what was made of it."""

import time
import tracemalloc
import warnings

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import FK4, SkyCoord
from astropy.io import fits
from astropy.table import Table, vstack
from astropy.wcs import WCS, Sip
from known_grouping import KnownAssociator
from scipy import ndimage
from small_field import BEAM_DEG, COMPONENTS, PIXEL_DEG, write_field

from claran_plugin import fits_pixels, pipeline, pixels, zero_margins
from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.cli import main
from claran_plugin.commands import association
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.explanation import PER_IMAGE, explain
from claran_plugin.footprints import island_components, on_image
from claran_plugin.grids import coarser_wcs
from claran_plugin.images import read_image
from claran_plugin.infrared_images import read_infrared
from claran_plugin.pipeline import associate
from claran_plugin.scales import coarser
from claran_plugin.standard_components import standardise
from claran_plugin.subjects import Sky
from claran_plugin.survey import merging, work
from claran_plugin.survey.listing import Pointing

UNITS = dict(RA='deg', DEC='deg', Total_flux='Jy', Peak_flux='Jy/beam', Maj='deg', Min='deg', PA='deg')


@pytest.fixture
def field(tmp_path):
    return write_field(tmp_path / 'field.fits')


@pytest.fixture(autouse=True)
def grouping(monkeypatch):
    """Stands in for the detector everywhere."""
    for module in (pipeline, association, work):
        monkeypatch.setattr(module, 'Associator', KnownAssociator)
    work._associator.cache_clear()


def catalogue_of(path, beam=BEAM_DEG):
    """The components of `write_field`, in PyBDSF's columns and the image's own frame."""
    x, y, peak, width = COMPONENTS.T
    ra, dec = WCS(fits.getheader(path)).celestial.wcs_pix2world(x, y, 0)
    number = np.arange(len(x))
    table = Table(dict(Source_id=number, Isl_id=number, RA=ra, DEC=dec, E_RA=ra * 0, S_Code=['S'] * len(x)))
    table['Total_flux'], table['Peak_flux'] = peak * width**2, peak
    table['Maj'] = table['Min'] = width * beam
    table['PA'] = 0.0
    for name, unit in UNITS.items():
        table[name].unit = unit
    return table


def with_cd(header):
    """The same header with a CD matrix in place of CDELT."""
    made = header.copy()
    for axis in (1, 2):
        made[f'CD{axis}_{axis}'] = made.pop(f'CDELT{axis}')
    return made


# ---- world coordinates


@pytest.mark.parametrize('factor', [2, 3, 8])
@pytest.mark.parametrize('kind', ['CDELT', 'CD', 'SIP', 'TPV'])
def test_coarser_pixels_lie_where_the_fine_ones_do(field, kind, factor):
    header = fits.getheader(field)
    if kind == 'TPV':
        header.update(CTYPE1='RA---TPV', CTYPE2='DEC--TPV', PV1_1=1.0, PV1_4=0.2, PV2_1=1.0, PV2_4=0.3)
    wcs = WCS(header if kind == 'CDELT' else with_cd(header))
    if kind == 'SIP':
        wcs.wcs.ctype = ['RA---TAN-SIP', 'DEC--TAN-SIP']
        bent = np.zeros((3, 3))
        bent[2, 0], bent[0, 2], bent[1, 1], bent[0, 1] = 3e-5, -1e-5, 2e-5, 1e-3
        wcs.sip = Sip(bent, -bent, None, None, wcs.wcs.crpix)
    xy = np.random.default_rng(0).uniform(0, 250, (10, 2))
    fine = wcs.all_pix2world(xy, 0)
    coarse = coarser_wcs(wcs, factor).all_pix2world((xy + 0.5) / factor - 0.5, 0)
    np.testing.assert_allclose(coarse, fine, atol=1e-3 * PIXEL_DEG)
    assert wcs.wcs.has_cd() == (kind != 'CDELT')  # it is as it was


def test_a_cd_matrix_changes_nothing(field, tmp_path):
    data, header = fits.getdata(field), fits.getheader(field)
    fits.writeto(tmp_path / 'cd.fits', data, with_cd(header))
    fine = header.copy()  # an infrared image with three times as many pixels
    fine['CDELT1'], fine['CDELT2'] = header['CDELT1'] / 3, header['CDELT2'] / 3
    fine['CRPIX1'] = fine['CRPIX2'] = 3 * (header['CRPIX1'] - 0.5) + 0.5
    fits.writeto(tmp_path / 'infrared.fits', np.kron(data, np.ones((3, 3), np.float32)), fine)
    fits.writeto(tmp_path / 'infrared_cd.fits', np.kron(data, np.ones((3, 3), np.float32)), with_cd(fine))
    plain, cd = read_image(field), read_image(tmp_path / 'cd.fits')
    skies = [coarser(coarser(Sky(image))) for image in (plain, cd)]
    assert skies[0].beam_pix == pytest.approx(skies[1].beam_pix)
    assert skies[0].field_pix == pytest.approx(skies[1].field_pix)
    for path in ('infrared.fits', 'infrared_cd.fits'):
        infrared = read_infrared(tmp_path / path, plain)
        np.testing.assert_allclose(infrared.data[5:-5, 5:-5], data[5:-5, 5:-5], atol=1e-5)


@pytest.mark.parametrize('system', ['J2000', 'fk5', ' J2000.0', 'Fk5 '])
def test_spellings_of_the_frame(tmp_path, field, system):
    path = write_field(tmp_path / 'odd.fits', header=dict(RADESYS=system))
    assert read_image(path).wcs.pixel_to_world(3, 4).separation(read_image(field).wcs.pixel_to_world(3, 4)).arcsec < 0.1


def test_an_unknown_frame_is_named(tmp_path):
    path = write_field(tmp_path / 'odd.fits', header=dict(RADESYS='GAPPT'))
    with pytest.raises(InputError, match=r"odd.fits: RADESYS is 'GAPPT', which is not known here: set it to ICRS"):
        read_image(path)


def test_a_wide_image_of_1950_has_its_sources_where_they_are(tmp_path):
    pixel, beam = 0.005, 0.015  # taken as of 2000, all are on the image, too
    header = dict(RADESYS='FK4', EQUINOX=1950.0, CDELT1=-pixel, CDELT2=pixel, BMAJ=beam, BMIN=beam)
    path = write_field(tmp_path / 'wide.fits', header=header)
    table = catalogue_of(path, beam)
    truth = SkyCoord(table['RA'], table['DEC'], frame=FK4(equinox='B1950')).icrs
    with pytest.warns(InputWarning, match='own frame, fk4'):
        result = associate(path, table)
    found = SkyCoord(result.sources['RA'], result.sources['DEC'])
    assert truth[2:].match_to_catalog_sky(found)[1].max() < 1 * u.arcsec  # the first two are one source
    assert result.provenance['CLFRAME'] == 'fk4 B1950.000'
    assert main(['run', str(path), '-o', str(tmp_path / 'out'), '--no-picture', '--quiet']) == 0
    sources = Table.read(tmp_path / 'out' / 'wide.sources.fits')
    found = SkyCoord(sources['RA'], sources['DEC'])
    assert truth[2:].match_to_catalog_sky(found)[1].max() < 10 * u.arcsec
    assert 'CLFRAME' not in sources.meta
    assert fits.getheader(tmp_path / 'out' / 'wide.components.fits', 1)['CLFRAME'] == 'fk4 B1950.000'


# ---- pixels


@pytest.mark.parametrize('in_memory', [True, False])
def test_margins_of_zeros_are_blank(tmp_path, monkeypatch, in_memory):
    path = write_field(tmp_path / 'whole.fits')
    data, header = fits.getdata(path), fits.getheader(path)
    for name, filling in (('zero', 0.0), ('blank', np.nan)):
        data[:, 150:] = filling
        fits.writeto(tmp_path / f'{name}.fits', data, header)
    if not in_memory:
        monkeypatch.setattr(fits_pixels, 'MOST_PIXELS_IN_MEMORY', 0)
        monkeypatch.setattr(fits_pixels, 'BLOCK', 32)
        monkeypatch.setattr(zero_margins, 'BLOCK', 32)
        monkeypatch.setattr(pixels, 'BLOCK', 32)
    with pytest.warns(InputWarning, match=r'zero.fits: 4\d% of its pixels are squares of zeros'):
        zero = read_image(tmp_path / 'zero.fits')
    blank = read_image(tmp_path / 'blank.fits')
    np.testing.assert_array_equal(np.asarray(zero.data), np.asarray(blank.data))
    assert len(island_components(Sky(zero))) == len(island_components(Sky(blank)))


def test_zeros_of_a_model_or_of_coarse_numbers_are_no_margin(tmp_path):
    model = write_field(tmp_path / 'model.fits', noise=0.0)
    data, header = fits.getdata(model), fits.getheader(model)
    data[data < 1e-6] = 0
    fits.writeto(tmp_path / 'cut.fits', data, header)
    noisy = fits.getdata(write_field(tmp_path / 'noisy.fits'))
    fits.writeto(tmp_path / 'coarse.fits', np.rint(noisy / 2e-4).astype(np.float32) * 2e-4, header)
    fits.writeto(tmp_path / 'masked.fits', np.where(np.abs(noisy) < 2e-4, 0, noisy).astype(np.float32), header)
    with warnings.catch_warnings():
        warnings.simplefilter('error', InputWarning)
        for name in ('cut', 'coarse', 'masked'):
            image = read_image(tmp_path / f'{name}.fits')
            assert np.isfinite(image.data).all()
            assert (image.data == 0).mean() > 0.05


def test_of_a_cube_only_one_plane_is_read(tmp_path, field):
    data, header = fits.getdata(field), fits.getheader(field)
    header['CTYPE3'], header['CRVAL3'], header['CDELT3'], header['CRPIX3'] = 'FREQ', 1.4e9, 1e6, 1
    fits.writeto(tmp_path / 'cube.fits', np.broadcast_to(data, (60, *data.shape)).copy(), header)
    tracemalloc.start()
    with pytest.warns(InputWarning, match='256 x 256 x 60 pixels: only the first plane is used'):
        image = read_image(tmp_path / 'cube.fits')
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_array_equal(image.data, read_image(field).data)
    assert peak < 10 * data.nbytes


# ---- catalogues


def test_islands_numbered_anew_in_each_tile(field):
    table = catalogue_of(field)
    expected = associate(field, table).labels.tolist()
    table['Isl_id'] = [0, 1, 2, 3, 4, 0, 1]
    with pytest.warns(InputWarning, match='2 islands have components more than 15 beams from the others'):
        assert associate(field, table).labels.tolist() == expected
    table['Isl_id'] = [0, 0, 1, 1, 1, 2, 3]  # true islands stay
    assert on_image(standardise(table), Sky(read_image(field))).island.tolist() == [0, 0, 1, 1, 1, 2, 3]


def test_an_island_with_a_hole_among_its_components_stays_one(tmp_path):
    path = write_field(tmp_path / 'bridge.fits')
    data, header = fits.getdata(path), fits.getheader(path)
    data[98:103, 20:240] += 2e-3
    fits.writeto(path, data, header, overwrite=True)
    table = catalogue_of(path)[:3]
    table['RA'], table['DEC'] = WCS(header).wcs_pix2world([20.0, 239.0, 130.0], [100.0, 100.0, 160.0], 0)
    table['Isl_id'] = [4, 4, 4]  # the third is of another list
    with pytest.warns(InputWarning, match='1 islands have components'):
        island = on_image(standardise(table), Sky(read_image(path))).island
    assert island[0] == island[1] != island[2]


def test_many_components_of_one_number(field):
    table = vstack([catalogue_of(field)] * 1500)
    table['Isl_id'] = 0
    rng = np.random.default_rng(0)
    table['RA'], table['DEC'] = 150 + rng.uniform(-20, 20, len(table)), 30 + rng.uniform(-20, 20, len(table))
    table['RA'][:7], table['DEC'][:7] = catalogue_of(field)['RA'], catalogue_of(field)['DEC']
    with pytest.warns(InputWarning):
        assert len(set(on_image(standardise(table), Sky(read_image(field))).island.tolist())) > 5000


def test_components_that_a_projection_makes_enormous(tmp_path):
    path = write_field(tmp_path / 'tan.fits', header=dict(CTYPE1='RA---TAN', CTYPE2='DEC--TAN'))
    table = vstack([catalogue_of(path)] * 400)
    rng = np.random.default_rng(1)
    table['RA'][7:], table['DEC'][7:] = rng.uniform(60, 240, (2793)), rng.uniform(-50, 80, 2793)
    table['Isl_id'] = np.arange(len(table)) % 60
    start = time.perf_counter()
    with pytest.warns(InputWarning):
        on_image(standardise(table), Sky(read_image(path)))
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize('ending', ['fits', 'csv', 'vot'])
def test_islands_of_which_some_are_blank(field, tmp_path, ending):
    table = catalogue_of(field)
    table['Isl_id'] = [0.0, 0.0] + [np.nan] * 5
    if ending != 'fits':
        table['Isl_id'] = np.ma.masked_invalid(table['Isl_id'])
    table.write(tmp_path / f'cat.{ending}', **({'format': 'votable'} if ending == 'vot' else {}))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # no units in CSV
        standard = standardise(read_catalogue(tmp_path / f'cat.{ending}'))
    assert standard['Isl_id'].tolist() == [0, 0] + [-1] * 5


def test_one_island_number_for_all_is_none(field):
    table = catalogue_of(field)
    sky = Sky(read_image(field))
    named = on_image(standardise(table), sky).island
    table['Isl_id'] = 0
    with pytest.warns(InputWarning, match='all of its 7 components are said to be on one island, 0, but lie on'):
        found = on_image(standardise(table), sky).island
    assert (found[:, None] == found).tolist() == (named[:, None] == named).tolist()
    table['Isl_id'] = -1 - np.arange(7)  # none, whatever number says so
    for column in ('RA', 'DEC'):
        table[column][1] = table[column][0]
    found = on_image(standardise(table), sky).island
    assert found[0] == found[1]
    assert len(set(found.tolist())) == 6


@pytest.mark.parametrize(
    ('column', 'factor', 'said'),
    [('Maj', 3600, r'column Maj has no unit; in deg its median would be 3\.6e\+03 beams'),
     ('Peak_flux', 1000, r"column Peak_flux has no unit; in Jy / beam its median would be .* times the image's")],
)  # fmt: skip
def test_units_that_cannot_be_those_assumed(field, tmp_path, column, factor, said):
    table = catalogue_of(field)
    table[column] = table[column] * factor
    table.write(tmp_path / 'list.csv')
    with pytest.raises(InputError, match=rf'list.csv: {said}.*: state its unit'):
        associate(field, tmp_path / 'list.csv')


def test_a_catalogue_of_a_larger_sky(field):
    table = catalogue_of(field)
    expected = associate(field, table)
    strangers = table.copy()
    strangers['RA'], strangers['Isl_id'] = table['RA'] + 0.5, table['Isl_id'] + 100
    with pytest.warns(InputWarning, match='7 of its 14 components lie off the image'):
        result = associate(field, vstack([table, strangers]))
    assert result.n_fields == expected.n_fields
    assert result.labels[:7].tolist() == expected.labels.tolist()
    assert len(result.sources) == len(expected.sources) + 7
    assert (result.components['Morph_Flag'][7:] & 1).all()


def test_a_row_off_the_image_in_a_box_that_reaches_beyond_it(field, tmp_path):
    """One lobe of the double is off the image; what is known of it, of the other and of the box is as before."""
    table = catalogue_of(field)
    with fits.open(field) as hdus:
        fits.PrimaryHDU(hdus[0].data[:, :70], hdus[0].header).writeto(tmp_path / 'cut.fits')
    alone = associate(tmp_path / 'cut.fits', table[[0, 6]], look_at_all=True)
    with pytest.warns(InputWarning, match='1 of its 3 components lie off the image'):
        result = associate(tmp_path / 'cut.fits', table[[1, 0, 6]], look_at_all=True)
    assert result.labels.tolist() == [0, 1, 2]
    assert result.components['Morph_Flag'][0] & 1
    for name in ('Assoc_Prob', 'Morph_Prob', 'Morph_Flag'):
        assert result.components[name][1:].tolist() == alone.components[name].tolist()


@pytest.mark.parametrize('column', ['Maj', 'Min', 'Total_flux', 'Peak_flux', 'PA'])
def test_infinite_values_are_unknown(field, column):
    table = catalogue_of(field)
    table[column][1] = np.nan
    expected = associate(field, table)
    table[column][1] = np.inf
    result = associate(field, table)
    assert result.labels.tolist() == expected.labels.tolist()
    for name in expected.sources.colnames:
        np.testing.assert_array_equal(np.asarray(result.sources[name]), np.asarray(expected.sources[name]))


def test_a_table_of_text_in_fits(field, tmp_path):
    table = catalogue_of(field)
    plain = fits.TableHDU.from_columns([
        fits.Column('Name', 'A8', array=np.array(['β'.encode('ascii', 'replace').decode()] * 7)),
        *(fits.Column(name, 'E15.7', array=np.asarray(table[name]), unit=unit) for name, unit in UNITS.items()),
    ])  # fmt: skip
    fits.HDUList([fits.PrimaryHDU(), plain]).writeto(tmp_path / 'text.fits')
    assert main(['associate', str(field), str(tmp_path / 'text.fits'), '-o', str(tmp_path / 'out'), '--quiet']) == 0
    written = Table.read(tmp_path / 'out' / 'field.components.fits')
    np.testing.assert_allclose(written['Total_flux'], table['Total_flux'], rtol=1e-6)
    assert written['Assoc'].tolist() == [2, 2, 1, 1, 1, 1, 1]


def test_units_and_names_that_fits_does_not_have(field, tmp_path, capsys):
    table = catalogue_of(field)
    table['RA'] = table['RA'] / 15
    table['RA'].unit = u.hourangle
    table['Fl\u00e4che'] = np.arange(7.0)
    table['Fl\u00e4che'].unit = u.Unit('0.5 mJy')
    table['Magnitude'], table['Grade'] = np.arange(7.0), np.arange(7.0)
    table['Magnitude'].unit, table['Grade'].unit = u.ABmag, u.Unit('Gr\u00f6\u00dfe', parse_strict='silent')
    table.write(tmp_path / 'hours.ecsv')
    assert main(['associate', str(field), str(tmp_path / 'hours.ecsv'), '-o', str(tmp_path / 'out'), '--quiet']) == 0
    assert ' field.components.fits: FITS holds ASCII only' in capsys.readouterr().err
    with fits.open(tmp_path / 'out' / 'field.components.fits') as hdus:
        columns = hdus[1].columns
    assert columns['RA'].unit == 'hourangle'
    assert columns['Fl\\xe4che'].unit == '0.5 mJy'
    assert columns['Magnitude'].unit == 'mag(AB)'
    assert columns['Grade'].unit == r'Gr\xf6\xdfe'
    np.testing.assert_array_equal(Table.read(tmp_path / 'out' / 'field.components.fits')['RA'], table['RA'])


def test_columns_that_fits_cannot_hold(field, tmp_path, capsys):
    table = catalogue_of(field)
    table['Place'] = SkyCoord(table['RA'], table['DEC'], unit='deg')
    table.write(tmp_path / 'places.ecsv')
    command = ['associate', str(field), str(tmp_path / 'places.ecsv'), '-o', str(tmp_path / 'out'), '--quiet']
    assert main(command) == 1
    assert 'Place' in (told := capsys.readouterr().err)
    assert 'choose --format ascii.ecsv' in told
    assert main([*command, '--format', 'ascii.ecsv']) == 0


def test_letters_beyond_ascii(tmp_path, capsys):
    image = write_field(tmp_path / 'Feld ü $x^{2$ 100%.fits')
    table = catalogue_of(image)
    table['Note'] = np.ma.masked_equal(['β1', *'abcdef'], 'c')
    table.write(tmp_path / 'cät.ecsv')
    assert main(['associate', str(image), str(tmp_path / 'cät.ecsv'), '-o', str(tmp_path / 'öut'), '--quiet']) == 0
    assert 'escapes stand for other letters in Note' in capsys.readouterr().err
    written = Table.read(tmp_path / 'öut' / 'Feld ü $x^{2$ 100%.components.fits')
    assert written['Note'].tolist()[:4] == ['\\u03b21', 'a', 'b', '']
    assert (tmp_path / 'öut' / 'Feld ü $x^{2$ 100%.png').is_file()
    name = str(written['Source_Name'][0]).strip()
    assert explain(tmp_path / 'öut', name).startswith(name)


def test_a_byte_order_mark(field, tmp_path):
    text = '\ufeffRA,DEC,Total_flux\n150.0,30.0,0.01\n'
    (tmp_path / 'excel.csv').write_text(text, encoding='utf-8')
    assert read_catalogue(tmp_path / 'excel.csv').colnames == ['RA', 'DEC', 'Total_flux']


# ---- surveys


def test_images_in_several_frames_and_units(field, tmp_path):
    at = SkyCoord(150.0, 30.0, unit='deg').galactic
    cards = dict(CTYPE1='GLON-SIN', CTYPE2='GLAT-SIN', CRVAL1=at.l.deg, CRVAL2=at.b.deg, EQUINOX=None)
    write_field(tmp_path / 'galactic.fits', header=cards)
    table = catalogue_of(field)
    table.write(tmp_path / 'field.cat.fits')
    own = SkyCoord(table['RA'], table['DEC']).galactic
    other = table.copy()
    other['RA'], other['DEC'] = own.l.deg * u.deg, own.b.deg * u.deg
    strange = catalogue_of(tmp_path / 'galactic.fits')[5:]  # where the image in RA and DEC has nothing
    other = vstack([other, strange])
    other['Total_flux'] = other['Total_flux'].to('mJy')
    other['RA_max'], other['DEC_max'] = other['RA'], other['DEC']
    other['Isl_id'] = np.arange(len(other))
    other.write(tmp_path / 'galactic.cat.fits')
    output = tmp_path / 'out'
    (output / PER_IMAGE).mkdir(parents=True)
    settings = work.Settings(output=str(output / PER_IMAGE))
    rows = []
    for name in ('field', 'galactic'):
        pointing = Pointing(name, str(tmp_path / f'{name}.fits'), str(tmp_path / f'{name}.cat.fits'), '')
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', InputWarning)
            rows.append(work.process(pointing, settings))
    assert [row['error'] for row in rows] == ['', '']
    merged = merging.merge(output, rows)
    assert (merged.components, merged.left_out + merged.off_image) == (
        9,
        7,
    )  # of the second image, where nothing is joined
    parts = [Table.read(path) for path in sorted((output / 'components.parquet').iterdir())]
    assert all(part['RA'].unit == u.deg for part in parts)
    assert all(part['Total_flux'].unit == u.Jy for part in parts)
    assert parts[1]['Total_flux'].max() < 1
    both = str(parts[0]['Source_Name'][2]).strip()
    with pytest.raises(InputError, match='is in several images; give one with --image: field, galactic'):
        explain(output, both)
    assert explain(output, both, 'galactic').startswith(both)
    strangers = SkyCoord(strange['RA'], strange['DEC'], frame='galactic').icrs
    found = SkyCoord(parts[1]['RA'], parts[1]['DEC'])
    assert strangers.match_to_catalog_sky(found)[1].max() < 0.1 * u.arcsec
    np.testing.assert_allclose(parts[1]['RA_max'], parts[1]['RA'])
    sources = Table.read(output / 'sources.parquet' / 'part-00001.parquet')
    lone = sources['Assoc'] == 1
    owners = sources['Assoc_id'][lone].tolist()
    angle = {int(row['Assoc_id']): float(row['PA']) for row in parts[1]}
    assert lone.any()
    np.testing.assert_allclose([angle[owner] for owner in owners], sources['Composite_PA'][lone], atol=1e-3)


# ---- what a catalogue or an image may not be


def test_oblong_pixels_are_refused(tmp_path):
    write_field(tmp_path / 'oblong.fits', header=dict(CDELT1=-1e-4, CDELT2=2e-4))
    with pytest.raises(InputError, match=r'its pixels are 0.36" x 0.72", not square: bring it to square ones first'):
        read_image(tmp_path / 'oblong.fits')


def test_sizes_without_the_beam_are_told_of(field):
    table = catalogue_of(field)
    table['Maj'] = table['Min'] = 0.0 * u.deg
    with pytest.warns(InputWarning, match='components are narrower than the beam, so its sizes are not those of'):
        associate(field, table)


def test_sizes_that_are_stated_in_a_wrong_unit_are_told_of(field):
    table = catalogue_of(field)
    table['Maj'], table['Min'] = (u.Quantity(table[name].value * 3600, u.deg) for name in ('Maj', 'Min'))
    with pytest.warns(InputWarning, match='beams wide in the median, so that most lie on one another'):
        associate(field, table)


def test_islands_have_the_flux_density_of_what_lies_below_the_threshold(tmp_path):
    beam_pix = 5.0
    y, x = np.mgrid[:400, :400]
    noise = np.random.default_rng(0).normal(size=(400, 400))
    image = ndimage.gaussian_filter(noise, beam_pix / 2.3548)
    image /= image.std()
    peaks = np.array([6.0, 8, 10, 15, 20, 30, 60, 200, 7])
    for k, peak in enumerate(peaks):
        squares = (x - 70 - 120 * (k % 3)) ** 2 + (y - 70 - 120 * (k // 3)) ** 2
        image += peak * np.exp(-4 * np.log(2) * squares / beam_pix**2)
    header = fits.Header(dict(CTYPE1='RA---SIN', CTYPE2='DEC--SIN', CRVAL1=10.0, CRVAL2=20.0, BUNIT='Jy/beam'))
    header.update(CRPIX1=200.5, CRPIX2=200.5, CDELT1=-1e-3, CDELT2=1e-3, BMAJ=5e-3, BMIN=5e-3, BPA=0.0)
    fits.writeto(tmp_path / 'points.fits', image.astype(np.float32), header)
    table = island_components(Sky(read_image(tmp_path / 'points.fits')))
    table = table[table['Peak_flux'] > 6.5]
    ratio = np.asarray(table['Total_flux'] / table['Peak_flux'])
    assert len(table) >= 7
    assert abs(np.median(ratio) - 1) < 0.12  # without, 0.2 to 0.9
    assert ratio.min() > 0.7
    assert abs(np.median(table['Maj']) / 5e-3 - 1) < 0.12
    assert np.all(abs(table['Total_flux'] - table['Peak_flux']) < 4 * table['E_Total_flux'] + 0.1 * table['Peak_flux'])
