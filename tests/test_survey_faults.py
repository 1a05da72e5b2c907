"""What may happen in a survey of thousands of images: slips, leftovers, full disks, odd lists and catalogues."""

import csv
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Angle
from astropy.io import fits
from astropy.table import Table, vstack
from survey_runs import contents, few, here, images, survey

from claran_plugin.errors import InputError
from claran_plugin.survey.listing import read_list
from claran_plugin.survey.manifest import COLUMNS, Manifest

__all__ = ['few', 'here', 'images']  # fixtures


def test_a_slip_does_not_undo_what_is_done(few, here, random_weights, capsys):
    model = ['--weights', str(random_weights)]
    assert survey(few, *model) == 0
    before = contents(few / 'out')
    manifest = (few / 'out' / 'manifest.csv').read_text()
    assert survey(few, '--resume', '--weights', str(few / 'none.pth')) == 1
    assert 'none.pth: no such weights file' in capsys.readouterr().err
    assert survey(few, '--resume', *model, '--calibration', str(few / 'list.txt')) == 1
    assert 'list.txt: not a readable calibration' in capsys.readouterr().err
    assert contents(few / 'out') == before
    assert (few / 'out' / 'manifest.csv').read_text() == manifest
    (few / 'f0.fits').rename(few / 'away.fits')
    assert survey(few, *model, '--resume') == 1
    error = capsys.readouterr().err
    assert '1 of 2 images could not be looked at again' in error
    assert 'what was done of them earlier stays' in error
    assert contents(few / 'out') == before
    (few / 'away.fits').rename(few / 'f0.fits')
    capsys.readouterr()
    assert survey(few, *model, '--resume') == 0
    assert '2 of them earlier' in capsys.readouterr().out


def test_outputs_that_are_not_whole_are_made_anew(few, here, random_weights, capsys):
    model = ['--weights', str(random_weights)]
    assert survey(few, *model) == 0
    before = contents(few / 'out')
    folder = few / 'out' / 'per_image'
    for name, length in (('f0.components.fits', 6000), ('f1.evidence.fits', 0)):
        path = folder / name
        path.write_bytes(path.read_bytes()[:length])
    capsys.readouterr()
    assert survey(few, *model, '--resume') == 0
    assert ' 0 of them earlier' in capsys.readouterr().out
    assert contents(few / 'out') == before
    fits.setval(folder / 'f0.sources.fits', 'CLKEY', value='of others', ext=1)  # an earlier run's task came late
    assert survey(few, *model, '--resume') == 0
    assert ' 1 of them earlier' in capsys.readouterr().out
    assert contents(few / 'out') == before


def test_catalogues_with_more_extensions_are_done_once(few, here, random_weights, capsys):
    with fits.open(few / 'f0.islands.fits', 'append') as hdus:
        hdus.append(fits.ImageHDU(np.zeros((2, 2)), name='MORE'))
    assert survey(few, '--weights', str(random_weights)) == 0
    assert survey(few, '--weights', str(random_weights), '--resume') == 0
    assert ' 2 of them earlier' in capsys.readouterr().out


def test_two_surveys_in_one_folder(few, here, random_weights, capsys):
    import fcntl

    (few / 'out').mkdir()
    with (few / 'out' / '.survey.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert survey(few, '--weights', str(random_weights)) == 1
    assert 'another claran survey is at work there' in capsys.readouterr().err
    assert survey(few, '--weights', str(random_weights)) == 0


def test_one_catalogue_for_several_images(few, here, random_weights, capsys):
    both = vstack([Table.read(few / f'f{number}.islands.fits') for number in (0, 1)])
    both['Isl_id'] = np.arange(len(both))
    both.meta.clear()
    both.write(few / 'both.fits')
    (few / 'list.txt').write_text('f0.fits both.fits\nf1.fits both.fits\n')
    assert survey(few, '--weights', str(random_weights)) == 0
    said = capsys.readouterr()
    assert 'off their images' in said.out
    rows = [Table.read(path) for path in sorted((few / 'out' / 'components.parquet').iterdir())]
    assert sum(map(len, rows)) == len(both)
    assert said.err.count('components lie off the image') == 2
    manifest = list(csv.DictReader((few / 'out' / 'manifest.csv').open()))
    assert all('components lie off the image' in row['warnings'] for row in manifest)


def test_catalogues_with_and_without_units(few, here, random_weights):
    table = Table.read(few / 'f0.islands.fits')
    flux = float(np.sum(table['Total_flux']))
    for name in ('Total_flux', 'E_Total_flux'):
        table[name] = table[name].to('mJy')
    table.write(few / 'f0.islands.fits', overwrite=True)
    bare = Table.read(few / 'f1.islands.fits')
    bare['RA'] = Angle(bare['RA']).to_string(unit='hourangle', sep=':', precision=4)
    bare['DEC'] = Angle(bare['DEC']).to_string(unit='deg', sep=':', precision=4)
    for name in bare.colnames:
        bare[name].unit = None
    bare['Maj'], bare['Min'] = bare['Maj'] * 3600, bare['Min'] * 3600
    bare.write(few / 'f1.csv')
    (few / 'list.txt').write_text('f0.fits f0.islands.fits\nf1.fits f1.csv\n')
    assert survey(few, '--weights', str(random_weights)) == 0
    parts = [Table.read(path) for path in sorted((few / 'out' / 'components.parquet').iterdir())]
    assert [part['Total_flux'].unit for part in parts] == [u.mJy, u.mJy]
    assert parts[0]['Total_flux'].sum() == pytest.approx(1000 * flux)
    assert parts[1]['Total_flux'].sum() == pytest.approx(1000 * float(np.sum(bare['Total_flux'])), rel=1e-6)
    assert [part['RA'].dtype.kind for part in parts] == ['f', 'f']


def test_lists_with_quotes_marks_and_blanks(tmp_path):
    (tmp_path / 'list.txt').write_text('"my field.fits" "my list.fits" -  # with blanks\n', encoding='utf-8-sig')
    (one,) = read_list(tmp_path / 'list.txt')
    assert (Path(one.image).name, Path(one.catalogue).name, one.infrared) == ('my field.fits', 'my list.fits', '')
    (tmp_path / 'list.csv').write_text('IMAGE,Catalogue\nmy field.fits,-\n', encoding='utf-8-sig')
    (one,) = read_list(tmp_path / 'list.csv')
    assert (Path(one.image).name, one.catalogue) == ('my field.fits', '')
    (tmp_path / 'list.txt').write_text('"open.fits\n')
    with pytest.raises(InputError, match='line 1: No closing quotation; put names with spaces in quotes'):
        read_list(tmp_path / 'list.txt')


def test_a_manifest_that_was_edited(tmp_path):
    manifest = Manifest(tmp_path)
    manifest.add(dict.fromkeys(COLUMNS, '') | dict(name='a', components=25))
    text = manifest.path.read_text()
    manifest.path.write_text(','.join(COLUMNS) + '\n' + text.replace('25', '25.0'))
    again = Manifest(tmp_path)
    again.read()
    assert again.rows['a']['components'] == 25
    manifest.path.write_bytes(','.join(COLUMNS).encode() + b'\n\xff\n')
    with pytest.raises(InputError, match='not as it was written'):
        Manifest(tmp_path).read()
    manifest.path.write_text('')
    Manifest(tmp_path).read()  # a new one


def test_a_disk_that_is_full(few, here, random_weights, capsys, monkeypatch):
    assert survey(few, '--weights', str(random_weights)) == 0
    before = contents(few / 'out')

    def write(self, *_, **__):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(Table, 'write', write)
    assert survey(few, '--weights', str(random_weights), '--resume') == 1
    assert 'the merged tables cannot be written' in capsys.readouterr().err
    assert contents(few / 'out') == before
    assert not list((few / 'out').glob('.*.parquet'))
