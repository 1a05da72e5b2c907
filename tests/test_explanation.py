"""``claran explain``: the evidence beside the tables, and what is told of it."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from small_field import write_field

from claran_plugin.claims import log_odds
from claran_plugin.cli import main
from claran_plugin.components import run_pybdsf, write_pybdsf_catalogue
from claran_plugin.counting_window import NOISE_TRIED
from claran_plugin.errors import InputError
from claran_plugin.explanation import _rounded, _told_otherwise, explain
from claran_plugin.images import read_image


@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp('inputs')
    image = write_field(folder / 'field.fits')
    return image, write_pybdsf_catalogue(run_pybdsf(read_image(image)), folder / 'srl.fits', 'srl')


@pytest.fixture
def output(inputs, known_grouping, tmp_path):
    assert main(['associate', *map(str, inputs), '-o', str(tmp_path), '--quiet', '--no-picture']) == 0
    return tmp_path


def tables(folder):
    sources = Table.read(folder / 'field.sources.fits')
    components = Table.read(folder / 'field.components.fits')
    sets = Table.read(folder / 'field.evidence.fits', hdu='SETS')
    members = Table.read(folder / 'field.evidence.fits', hdu='MEMBERS')
    return sources, components, sets, members


def test_the_evidence_is_that_of_the_tables(output):
    sources, components, sets, members = tables(output)
    chosen = sets[sets['Assoc_id'] >= 0]
    assert sorted(chosen['Assoc_id']) == sources['Assoc_id'].tolist()
    for row in chosen:
        rows = np.sort(members['Row'][members['Set_id'] == row['Set_id']])
        np.testing.assert_array_equal(rows, np.flatnonzero(components['Assoc_id'] == row['Assoc_id']))
        assert row['Assoc'] == len(rows)
    joined = chosen[chosen['Assoc'] == 2]
    assert len(joined) == 1
    assert joined['N_Found'][0] >= 1
    assert joined['P_2C_2P'][0] == pytest.approx(joined['Probability'][0] * 0.93 / 0.98, rel=0.05)
    assert joined['Evidence'][0] == pytest.approx(log_odds(joined['Probability'][0]) + joined['Certainty'][0], abs=0.01)
    assert np.isfinite(joined['Margin'][0])
    assert np.isnan(np.ma.filled(sets['Margin'][sets['Assoc_id'] < 0], np.nan)).all()


def test_what_is_told(output):
    sources, components, *_ = tables(output)
    double = sources[sources['Assoc'] == 2][0]
    text = explain(output, double['Source_Name'])
    first, second, *_ = np.flatnonzero(components['Assoc_id'] == double['Assoc_id'])
    assert text.startswith(f'{double["Source_Name"]}: rows {first}, {second} of the component table')
    assert f'Morphology: {double["Morphology"]}' in text
    assert 'the detector gives it 0.9' in text
    assert f'row {first}: evidence -3.00, by itself; no detection claims it' in text  # alone, the alternative
    assert explain(output, double['Source_Name'].split()[1]) == text


def test_counts_with_other_noise_are_told_where_they_differ(output):
    sources, _, sets, _ = tables(output)
    counted = {int(row['Assoc_id']): str(row['Counted']).split() for row in sets if row['Assoc_id'] >= 0}
    for row in sources:
        told = counted[int(row['Assoc_id'])]
        assert len(told) == len(NOISE_TRIED)
        assert told[0] == f'{row["N_Components"]}C_{row["N_Peaks"]}P'
    assert not any(np.ma.filled(sets['Counted'][sets['Assoc_id'] < 0], ''))
    assert _told_otherwise(['1C_2P'] * 3) == ''
    assert _told_otherwise(['1C_2P', '1C_3P', '1C_2P']) == ' (1C_3P with 3% less noise)'
    assert _told_otherwise(['1C_2P', '1C_2P', '1C_1P']) == ' (1C_1P with 3% more noise)'


def test_the_beam_at_which_a_giant_is_counted_is_told(output, tmp_path_factory):
    sources, *_ = tables(output)
    double = sources[sources['Assoc'] == 2][0]
    copy = shutil.copytree(output, tmp_path_factory.mktemp('copy') / 'giant')
    (path,) = copy.glob('*.evidence.fits')
    with fits.open(path, mode='update') as hdus:
        data = hdus['SETS'].data
        data['Scale'][data['Assoc_id'] == double['Assoc_id']] = 8
    assert 'counted on the image at 8 times its beam' in explain(copy, double['Source_Name'])
    assert 'times its beam' not in explain(output, double['Source_Name'])


def test_the_command_prints_it(output, capsys):
    name = str(tables(output)[0]['Source_Name'][0])
    assert main(['explain', str(output), name]) == 0
    assert capsys.readouterr().out == explain(output, name) + '\n'


def test_a_reader_who_has_enough_is_no_fault(output):
    name = str(tables(output)[0]['Source_Name'][0])
    command = [sys.executable, '-m', 'claran_plugin', 'explain', str(output), name]
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, '')


def test_a_source_that_was_not_detected(output):
    sources, *_ = tables(output)
    alone = sources[(sources['Morph_Flag'] & 1) == 1]['Source_Name'][0]
    text = explain(output, alone)
    assert 'an island; no detection claims it' in text
    assert 'none was proposed' in text
    assert 'No division of its surroundings without this source comes within 8 of its evidence.' in text
    assert 'Flags: no detection claims the source, or it is off the image' in text


@pytest.mark.parametrize('form', ['votable', 'csv', 'ascii.ecsv'])
def test_in_all_formats(inputs, known_grouping, tmp_path, form):
    arguments = ['associate', *map(str, inputs), '-o', str(tmp_path), '--format', form, '--quiet', '--no-picture']
    assert main(arguments) == 0
    (path,) = tmp_path.glob('field.sources.*')
    name = str(Table.read(path, **({'format': 'ascii.csv'} if form == 'csv' else {}))['Source_Name'][0])
    assert explain(tmp_path, name).startswith(name)


def test_the_latest_run_is_told(inputs, output):
    """With another format the older tables stay; the evidence knows which it belongs to."""
    (output / 'field.components.fits').unlink()
    arguments = ['associate', *map(str, inputs), '-o', str(output), '--format', 'csv', '--overwrite', '--quiet']
    assert main([*arguments, '--no-picture']) == 0
    old = output / 'field.sources.fits'
    assert old.is_file()
    name = str(Table.read(output / 'field.sources.csv', format='ascii.csv')['Source_Name'][0])
    old.write_bytes(b'')  # is not read
    assert explain(output, name).startswith(name)


def test_faults_are_told(output, tmp_path, capsys):
    with pytest.raises(InputError, match="no source of the name 'nothing'; give one Source_Name"):
        explain(output, 'nothing')
    with pytest.raises(InputError, match='sources of the name'):
        explain(output, '')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='holds no evidence; give the output folder'):
        explain(tmp_path / 'empty', 'x')
    assert main(['explain', str(tmp_path / 'missing'), 'x']) == 1
    assert 'no such folder' in capsys.readouterr().err


def test_small_boxes_are_told_in_parts_of_an_arcsecond():
    assert [_rounded(length) for length in (0.0103, 1.26, 4.8, 103.4)] == ['0.01', '1.3', '5', '103']
