"""Catalogues on disk: the user's own bytes unchanged, every format, both tables or none."""

import os
import re

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import Table
from catalogue_tables import (
    ALL_SOURCE_COLUMNS,
    CONTRACT_COMPONENTS,
    LABELS,
    groups_table,
    original,
    tables_of,
    write_tables,
)
from hypothesis import given
from hypothesis import strategies as st

from claran_plugin import catalogue_writing
from claran_plugin.catalogue import (
    COMPONENT_COLUMNS,
    SOURCE_COLUMNS,
    build_component_table,
    build_source_table,
    check_columns,
    refuse_sources,
    with_own_names,
)
from claran_plugin.catalogue_reading import read_catalogue
from claran_plugin.catalogue_writing import FORMATS, atomic_outputs, output_paths, write_source_table
from claran_plugin.errors import InputError, InputWarning
from claran_plugin.morphology import CLASSES
from claran_plugin.standard_components import component_table, standardise

__all__ = ['original']  # fixtures


def test_a_table_of_sources_is_no_catalogue_of_components(original):
    sources = build_source_table(standardise(read_catalogue(original)), LABELS, groups_table(3))
    with pytest.raises(InputError, match=r'a\.fits: is a table of physical sources, .*give the table of components'):
        refuse_sources(sources.colnames, 'a.fits')
    refuse_sources(read_catalogue(original).colnames, 'a.fits')


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


@pytest.mark.parametrize('place', ['before', 'after', 'copying'])
def test_an_interrupted_replacement_puts_everything_back(tmp_path, monkeypatch, place):
    paths = [tmp_path / 'a.txt', tmp_path / 'b.txt', tmp_path / 'c.txt']
    for path in paths[:2]:
        path.write_text('old')
    replace = os.replace

    def interrupt(source, target):
        interrupted = str(source).endswith('c.txt')
        if not (interrupted and place == 'before'):
            replace(source, target)
        if interrupted:
            raise KeyboardInterrupt

    def copy(path, target):
        target.write_text('o')
        if path.name == 'b.txt':
            raise KeyboardInterrupt
        target.write_text('old')

    monkeypatch.setattr(os, 'replace', interrupt)
    if place == 'copying':
        monkeypatch.setattr(catalogue_writing, '_duplicate', copy)
    with pytest.raises(KeyboardInterrupt), atomic_outputs(paths, overwrite=True) as temporary:
        for path in temporary:
            path.write_text('new')
    assert {item.name: item.read_text() for item in tmp_path.iterdir()} == {'a.txt': 'old', 'b.txt': 'old'}


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
