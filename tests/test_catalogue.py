import os
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.io.votable.ucd import check_ucd
from astropy.table import QTable, Table
from hypothesis import given
from hypothesis import strategies as st

from claran_plugin import catalogue_writing
from claran_plugin.catalogue import (
    COMPONENT_COLUMNS,
    FLAG_MEANINGS,
    HOST_COLUMNS,
    SOURCE_COLUMNS,
    MorphFlag,
    build_component_table,
    build_source_table,
    check_columns,
    with_own_names,
)
from claran_plugin.catalogue_reading import component_table, read_catalogue, standardise
from claran_plugin.catalogue_writing import FORMATS, atomic_outputs, output_paths, write_source_table, write_tables
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.morphology import CLASSES
from claran_plugin.source_properties import source_names

CONTRACT_COMPONENTS = 'Source_Name Assoc_id Assoc Assoc_Prob Morphology Morph_Prob N_Components N_Peaks Morph_Flag'
CONTRACT_SOURCES = (
    'Source_Name Assoc_id RA DEC Total_flux E_Total_flux Peak_flux Composite_Size Composite_Width Composite_PA Assoc '
    'N_Components N_Peaks Morphology Morph_Prob P_1C_1P P_1C_2P P_1C_3P P_2C_2P P_2C_3P P_3C_3P Box_RA Box_DEC '
    'Box_Width Box_Height Morph_Flag'
)
ALL_SOURCE_COLUMNS = [*CONTRACT_SOURCES.split(), 'E_RA', 'E_DEC', 'E_Peak_flux']
LABELS = np.array([0, 1, 0, 2, 1, 0])


def standard_table(ra, dec, flux=None, maj=5.0, min=5.0, pa=0.0, **others):
    n = len(ra)
    flux = np.ones(n) if flux is None else np.asarray(flux, float)
    unknown = np.full(n, np.nan)
    e_flux, peak, e_peak = others.get('e_flux', 0.1 * flux), others.get('peak', flux), others.get('e_peak', unknown)
    e_sky = np.transpose([others.get('e_ra', unknown), others.get('e_dec', unknown)])
    shape = np.transpose(np.broadcast_arrays(np.full(n, maj) / 3600, np.full(n, min) / 3600, np.full(n, pa)))
    place = np.transpose([ra, dec])
    return component_table(place, flux, e_flux, peak, shape, np.arange(n), ['S'] * n, e_sky, e_peak)


def groups_table(n):
    return QTable(
        {
            'Morphology': [CLASSES[i % 6] for i in range(n)] if n else np.empty(0, 'U5'),
            'Morph_Prob': np.linspace(0, 1, n),
            'P': np.full((n, 6), 0.1),
            'N_Components': np.arange(n),
            'N_Peaks': np.arange(n) + 1,
            'Morph_Flag': np.zeros(n, int),
            'Box': SkyCoord(np.full(n, 10.0), np.full(n, -3.0), unit='deg'),
            'Box_Width': np.full(n, 1.0) * u.arcmin,
            'Box_Height': np.full(n, 50.0) * u.arcsec,
        }
    )


def composite(ra, dec, **kwargs):
    return build_source_table(standard_table(ra, dec, **kwargs), np.zeros(len(ra), int), groups_table(1))[0]


@pytest.fixture
def original(tmp_path):
    """A catalogue with every kind of FITS column that could suffer on the way, and a header worth keeping."""
    rng = np.random.default_rng(0)
    n = len(LABELS)
    odd = np.array([np.nan, -0.0, np.inf, 1, 2, 3], '>f4')
    odd.view('>u4')[0] |= 0x1234  # a not-a-number with a payload
    hdu = fits.BinTableHDU.from_columns([
        fits.Column('RA', 'D', unit='deg', array=rng.uniform(149, 151, n)),
        fits.Column('DEC', 'D', unit='deg', array=rng.uniform(1, 2, n)),
        fits.Column('Total_flux', 'E', unit='mJy', array=rng.uniform(1, 9, n)),
        fits.Column('odd', 'E', array=odd),
        fits.Column('scaled', 'I', array=np.arange(n)),
        fits.Column('unsigned', 'J', bzero=2**31, array=np.arange(n, dtype='u4')),
        fits.Column('flag', 'L', array=[True, False] * 3),
        fits.Column('text', '6A', array=['a ', ' b', '', 'c', 'dddddd', 'e']),
        fits.Column('blank', 'J', null=-99, array=[-99, 1, 2, 3, 4, 5]),
        fits.Column('cube', '4J', dim='(2,2)', array=rng.integers(0, 9, (n, 2, 2))),
        fits.Column('bits', '11X', array=rng.integers(0, 2, (n, 11)).astype(bool)),
        fits.Column('heap', 'PD()', array=np.array([np.arange(k, dtype=float) for k in range(n)], dtype=object)),
        fits.Column('S_Code', 'A', array=list('SCMSCM')),
    ])  # fmt: skip
    hdu.header['TUCD1'] = 'pos.eq.ra;meta.main'
    hdu.header['FREQ0'] = (1.4e9, 'Reference frequency')
    for text in ('first', 'second', 'first'):
        hdu.header.add_comment(text)
    hdu.header.add_history('made by hand')
    primary = fits.PrimaryHDU()
    primary.header['ORIGIN'] = 'test'
    path = tmp_path / 'input.fits'
    fits.HDUList([primary, hdu, fits.ImageHDU(np.arange(6.0).reshape(2, 3))]).writeto(path)
    fits.setval(path, 'TSCAL5', value=0.1, ext=1)
    fits.setval(path, 'TZERO5', value=5.0, ext=1)
    return path


def tables_of(path, **kwargs):
    table = read_catalogue(path)
    sources = build_source_table(standardise(table, path), LABELS, groups_table(3))
    return build_component_table(table, sources, LABELS, np.linspace(0.5, 1, len(table)), **kwargs), sources


# ---- columns


def test_columns_are_those_of_the_contract():
    assert [spec.name for spec in COMPONENT_COLUMNS] == CONTRACT_COMPONENTS.split()
    assert [spec.name for spec in SOURCE_COLUMNS] == ALL_SOURCE_COLUMNS


@pytest.mark.parametrize('spec', COMPONENT_COLUMNS + SOURCE_COLUMNS + HOST_COLUMNS, ids=lambda spec: spec.name)
def test_every_column_is_described(spec):
    assert check_ucd(spec.ucd, check_controlled_vocabulary=True)
    assert 0 < len(spec.description) <= 68
    if spec.unit:
        u.Unit(spec.unit, format='fits')


def test_flags_are_distinct_bits_with_meanings():
    assert [flag.value for flag in MorphFlag] == [2**i for i in range(len(MorphFlag))]
    assert set(FLAG_MEANINGS) == set(MorphFlag)
    assert all(len(f'Morph_Flag {flag.value}: {text}') <= 72 for flag, text in FLAG_MEANINGS.items())


# ---- sources


def test_sums_are_conserved_and_errors_add_in_quadrature():
    rng = np.random.default_rng(1)
    n = 200
    labels = np.concatenate([np.arange(50), rng.integers(0, 50, n - 50)])
    standard = standard_table(rng.uniform(0, 360, n), rng.uniform(-90, 90, n), rng.uniform(0, 1, n))
    sources = build_source_table(standard, labels, groups_table(50))
    np.testing.assert_allclose(sources['Total_flux'].sum(), standard['Total_flux'].sum(), rtol=1e-12)
    assert sources['Assoc'].sum() == n
    for i in range(50):
        own = standard[labels == i]
        assert sources['Peak_flux'][i] == own['Peak_flux'].max()
        np.testing.assert_allclose(sources['E_Total_flux'][i].value, np.linalg.norm(own['E_Total_flux'].value))
        assert sources['Assoc'][i] == len(own)
    assert sources.colnames == ALL_SOURCE_COLUMNS
    assert all(sources[spec.name].unit == (spec.unit and u.Unit(spec.unit)) for spec in SOURCE_COLUMNS)


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


@pytest.mark.parametrize('form', ['fits', 'ascii.ecsv'])
def test_a_catalogue_with_names_of_its_own(original, tmp_path, form):
    table = read_catalogue(original)
    table['Source_Name'] = [f'ILTJ{k}' for k in range(len(table))]
    table.write(tmp_path / 'lotss.fits')
    before = read_catalogue(tmp_path / 'lotss.fits')
    with pytest.warns(InputWarning, match='columns Source_Name of its own, which become Source_Name_of_catalogue'):
        renamed = with_own_names(before, 'lotss.fits')
    sources = build_source_table(standardise(renamed), LABELS, groups_table(3))
    components = build_component_table(renamed, sources, LABELS, np.ones(len(table)))
    path, _ = write_tables(components, sources, tmp_path, 'field', original=tmp_path / 'lotss.fits', format=form)
    back = read_catalogue(path)
    assert back.colnames == [*renamed.colnames, *CONTRACT_COMPONENTS.split()]
    assert [str(name) for name in back['Source_Name_of_catalogue']] == [f'ILTJ{k}' for k in range(len(table))]
    assert all(str(name).startswith('CLARAN J') for name in back['Source_Name'])
    assert with_own_names(components) is components  # processed before
    back.remove_columns(CONTRACT_COMPONENTS.split()[1:])
    assert with_own_names(back) is back  # whose new name is taken, so that it is refused
    with pytest.raises(InputError, match='has columns Source_Name already'):
        check_columns(back.colnames)


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


@pytest.mark.parametrize('labels', [[0, 1], [0, 2, 2], [1, 1, 1], [-1, 0, 0]])
def test_labels_must_be_a_partition(labels):
    with pytest.raises(ValueError, match='labels must'):
        build_source_table(standard_table([1, 2, 3], [1, 2, 3]), labels, groups_table(3))


def test_host_columns_are_written_where_given():
    groups = groups_table(1)
    groups['Host'], groups['Host_Prob'] = SkyCoord([1.0], [2.001], unit='deg'), [0.75]
    sources = build_source_table(standard_table([1], [2]), [0], groups)
    assert sources.colnames[-4:] == ['Host_RA', 'Host_DEC', 'Host_Prob', 'Host_Sep']
    assert sources['Host_Sep'].to_value('arcsec') == pytest.approx([3.6], abs=1e-3)
    assert sources['Host_Prob'] == pytest.approx([0.75])


# ---- files


def test_the_user_s_columns_cards_and_hdus_survive(original, tmp_path):
    components, sources = tables_of(original)
    path, _ = write_tables(components, sources, tmp_path / 'out', 'field', original=original)
    with fits.open(original) as before, fits.open(path) as after:
        assert len(before) == len(after)
        assert before[0].header == after[0].header
        assert (before[2].data == after[2].data).all()
        names = before[1].columns.names
        assert after[1].columns.names == names + CONTRACT_COMPONENTS.split()
        old, new = (hdus[1].data.view(np.ndarray) for hdus in (before, after))
        for name in names:
            assert old[name].tobytes() == new[name].tobytes(), name
        for row_before, row_after in zip(before[1].data['heap'], after[1].data['heap'], strict=True):
            assert (row_before == row_after).all()
        np.testing.assert_array_equal(before[1].data['scaled'], after[1].data['scaled'])
        changed = {'NAXIS1', 'TFIELDS', 'THEAP'}
        cards = [card.image for card in after[1].header.cards]
        kept = [card.image for card in before[1].header.cards if card.keyword not in changed]
        remaining = iter(cards)
        assert all(card in remaining for card in kept)  # all of them, in their order
        written = after[1].data
        assert written['Assoc_id'].tolist() == LABELS.tolist()
        assert written['Assoc'].tolist() == [3, 2, 3, 1, 2, 3]
        assert written['Morphology'].tolist() == [CLASSES[i] for i in LABELS]
        assert written['Source_Name'].tolist() == sources['Source_Name'][LABELS].tolist()


def test_headers_describe_and_tell_the_origin(original, tmp_path):
    provenance = {
        'CLVERS': '0.1',
        'CLWHASH': 'f' * 64,
        'CLCMD': 'claran associate ' + 'x' * 200,
        'CLIMAGE': 'größe.fits',
    }
    for path, specs in zip(
        write_tables(*tables_of(original), tmp_path, 'field', original=original, provenance=provenance),
        (COMPONENT_COLUMNS, SOURCE_COLUMNS),
        strict=True,
    ):
        header = fits.getheader(path, 1)
        places = {header[f'TTYPE{i}']: i for i in range(1, header['TFIELDS'] + 1)}
        for spec in specs:
            assert header[f'TUCD{places[spec.name]}'] == spec.ucd
            assert header[f'TCOMM{places[spec.name]}'] == spec.description
            assert header.get(f'TUNIT{places[spec.name]}') == spec.unit
        assert header['CLWHASH'] == 'f' * 64
        assert header['CLVERS'] == '0.1'
        assert header['CLIMAGE'].startswith('gr')
        assert 'x' * 200 in ''.join(header['HISTORY'])
        assert 'Morph_Flag 4: the source touches the edge of the image' in list(header['COMMENT'])


def test_checksums_are_renewed(original, tmp_path):
    with fits.open(original) as hdus:
        hdus.writeto(tmp_path / 'summed.fits', checksum=True)
    components, sources = tables_of(tmp_path / 'summed.fits')
    path, _ = write_tables(components, sources, tmp_path, 'field', original=tmp_path / 'summed.fits')
    with fits.open(path, checksum=True) as hdus:
        assert hdus[1].verify_checksum() == 1
        assert hdus[1].verify_datasum() == 1


@pytest.mark.parametrize('form', FORMATS)
def test_every_format_is_read_back(form, tmp_path):
    table = Table(
        {'RA': [10.0, 11.0] * u.deg, 'DEC': [1.0, 2.0] * u.deg, 'Total_flux': [0.1, 0.2] * u.Jy, 'mine': ['a', 'b']}
    )
    sources = build_source_table(standardise(table), [0, 1], groups_table(2))
    components = build_component_table(table, sources, [0, 1], [0.25, 0.75])
    paths = write_tables(components, sources, tmp_path, 'field', format=form, provenance={'CLVERS': '1'})
    assert paths == output_paths(tmp_path, 'field', form)
    for path, expected in zip(paths, (components, sources), strict=True):
        back = read_catalogue(path)
        assert back.colnames == expected.colnames
        for name in expected.colnames:
            values = np.asarray(getattr(expected[name], 'value', expected[name]))
            np.testing.assert_array_equal(np.asarray(back[name]), values)
            if form != 'csv':
                assert back[name].unit == expected[name].unit
        if form in ('votable', 'ascii.ecsv'):
            assert back['Assoc_id'].description == expected['Assoc_id'].info.description


def test_a_text_catalogue_becomes_fits(tmp_path):
    text = tmp_path / 'mine.csv'
    text.write_text('RA,DEC,E_RA,Isl_id,S_Code,Total_flux,extra\n10,20,0,0,S,0.5,x\n11,21,0,1,S,0.6,y\n')
    table = read_catalogue(text)
    sources = build_source_table(standardise(table, text), [0, 0], groups_table(1))
    components = build_component_table(table, sources, [0, 0], [1, 1])
    path, _ = write_tables(components, sources, tmp_path, 'field', original=text)
    header = fits.getheader(path, 1)
    assert Table.read(path).colnames == [*table.colnames, *CONTRACT_COMPONENTS.split()]
    assert 'ASTROPY-SERIALIZED' not in str(header)
    assert header['TUCD8'] == 'meta.id'


@pytest.mark.parametrize('form', FORMATS)
def test_empty_tables_are_valid(form, tmp_path):
    path = tmp_path / 'empty.fits'
    names = ['RA', 'DEC', 'Total_flux']
    fits.BinTableHDU.from_columns([fits.Column(name, 'D') for name in names], nrows=0).writeto(path)
    table = read_catalogue(path)
    sources = build_source_table(standardise(table, path), [], groups_table(0))
    components = build_component_table(table, sources, [], [])
    written = write_tables(components, sources, tmp_path, 'field', original=path, format=form)
    for path, columns in zip(written, ([*names, *CONTRACT_COMPONENTS.split()], ALL_SOURCE_COLUMNS), strict=True):
        back = read_catalogue(path)
        assert back.colnames == columns
        assert len(back) == 0


def test_a_catalogue_processed_before_is_refused_or_its_columns_replaced(original, tmp_path):
    components, sources = tables_of(original)
    first, _ = write_tables(components, sources, tmp_path / 'first', 'field', original=original)
    with pytest.raises(InputError, match=r'Source_Name, Assoc_id.*--overwrite-columns'):
        tables_of(first)
    again, sources = tables_of(first, overwrite_columns=True)
    second, _ = write_tables(again, sources, tmp_path / 'second', 'field', original=first)
    assert first.read_bytes() == second.read_bytes()


def test_a_clash_keeps_its_place_whatever_its_type(original, tmp_path):
    with fits.open(original) as hdus:
        hdus[1].columns.change_name('flag', 'source_name')
        hdus.writeto(tmp_path / 'named.fits')
    path = tmp_path / 'named.fits'
    with pytest.raises(InputError, match='source_name already'):
        tables_of(path)
    components, sources = tables_of(path, overwrite_columns=True)
    written, _ = write_tables(components, sources, tmp_path, 'field', original=path)
    back = Table.read(written)
    assert back.colnames == components.colnames
    assert back['Source_Name'].tolist() == components['Source_Name'].tolist()
    assert back['cube'].tolist() == read_catalogue(original)['cube'].tolist()


def test_the_given_table_is_not_changed(original):
    table = read_catalogue(original)
    names = list(table.colnames)
    tables_of(original)
    sources = build_source_table(standardise(table), LABELS, groups_table(3))
    build_component_table(table, sources, LABELS, np.ones(6))
    assert table.colnames == names


def test_both_tables_or_none(original, tmp_path, monkeypatch):
    components, sources = tables_of(original)
    folder = tmp_path / 'new' / 'deep'
    monkeypatch.setattr(catalogue_writing, 'write_source_table', lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_tables(components, sources, folder, 'field', original=original)
    assert not (tmp_path / 'new').exists()


def test_a_failing_replacement_puts_everything_back(tmp_path, monkeypatch):
    paths = [tmp_path / 'a.txt', tmp_path / 'b.txt']
    paths[0].write_text('old')
    replace = os.replace

    def fail(source, target):
        if str(target).endswith('b.txt'):
            raise PermissionError('no')
        replace(source, target)

    monkeypatch.setattr(os, 'replace', fail)
    with pytest.raises(InputError, match='cannot write there'), atomic_outputs(paths, overwrite=True) as temporary:
        for path in temporary:
            path.write_text('new')
    assert [item.name for item in tmp_path.iterdir()] == ['a.txt']
    assert paths[0].read_text() == 'old'


def test_existing_outputs_are_kept_unless_told(original, tmp_path):
    components, sources = tables_of(original)
    for path in output_paths(tmp_path, 'field'):
        path.write_text('precious')
        with pytest.raises(InputError, match=r'exists already.*--overwrite'):
            write_tables(components, sources, tmp_path, 'field', original=original)
        assert path.read_text() == 'precious'
    paths = write_tables(components, sources, tmp_path, 'field', original=original, overwrite=True)
    assert len(read_catalogue(paths[0])) == 6
    assert sorted(item.name for item in tmp_path.iterdir()) == [
        'field.components.fits',
        'field.sources.fits',
        'input.fits',
    ]


def test_the_input_may_be_overwritten_by_the_output(original):
    components, sources = tables_of(original)
    path = original.rename(original.with_name('field.components.fits'))
    write_tables(components, sources, path.parent, 'field', original=path, overwrite=True)
    assert Table.read(path).colnames[-1] == 'Morph_Flag'


def test_impossible_formats_are_told(original, tmp_path):
    components, sources = tables_of(original)
    with pytest.raises(InputError, match='hdf5'):
        write_tables(components, sources, tmp_path, 'field', format='hdf5')
    with pytest.raises(InputError, match='cannot be written as csv'):
        write_tables(components, sources, tmp_path, 'field', format='csv')
    assert [item.name for item in tmp_path.iterdir()] == ['input.fits']


@given(st.text(alphabet='ab ', max_size=70) | st.lists(st.sampled_from(['ab', ' ', '  c']), max_size=120).map(''.join))
def test_commands_survive_the_header(text):
    command = f'x{text}x'  # ends with something, as commands do
    header = fits.Header()
    for part in catalogue_writing._cards(command):
        header.add_history(part)
    assert ''.join(fits.Header.fromstring(header.tostring())['HISTORY']) == command


@pytest.mark.parametrize('format', ['votable', 'ascii.ecsv'])
def test_tables_of_other_formats_say_what_flags_mean(tmp_path, format):
    from astropy.io.votable import parse

    path = tmp_path / f'field.sources{FORMATS[format]}'
    standard = component_table([(10.0, 5.0)], [1.0], [0.1], [1.0], [(0.01, 0.01, 0)], [0], ['S'])
    groups = dict(Morphology=['1C_1P'], Morph_Prob=[0.9], P=np.full((1, 6), 0.1), N_Components=[1], N_Peaks=[1])
    groups |= dict(Morph_Flag=[0], Box=SkyCoord([10.0], [5.0], unit='deg'))
    groups |= dict(Box_Width=[9] * u.arcsec, Box_Height=[9] * u.arcsec)
    table = build_source_table(standard, [0], groups)
    write_source_table(table, path, format=format, provenance={'CLVERS': '1'})
    if format == 'votable':
        notes = {info.name: info.value for info in parse(path).resources[0].infos}
        back = Table.read(path, format='votable')
    else:
        back = Table.read(path)
        notes = back.meta
    assert notes['RADESYS'] == 'ICRS'
    marks = re.findall(r' ID="([^"]*)"', path.read_text())
    assert len(marks) == len(set(marks))
    assert notes['CLVERS'] == '1'
    assert notes['Morph_Flag 4'] == 'the source touches the edge of the image'
    assert back['Morphology'].tolist() == ['1C_1P']
