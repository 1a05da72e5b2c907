"""Runs of `claran dataset rgz` that are repeated, go on, or cannot be done."""

from pathlib import Path

import pytest
from rgz_files import SUBJECTS, Subject, write_radio
from rgz_runs import folders, read, run

from claran_plugin.cli import main
from claran_plugin.datasets import rgz_measuring

__all__ = ['folders']  # fixtures


def test_numbers_that_are_none(tmp_path, folders, capsys):
    text = Path(folders[0]).read_text().splitlines()
    cells = text[1].split(',')
    cells[6] = 'nan'
    bad = tmp_path / 'bad.csv'
    bad.write_text('\n'.join([text[0], ','.join(cells), *text[2:]]) + '\n')
    assert run(bad, '-o', tmp_path / 'out') == 1
    assert cells[1] in (said := capsys.readouterr().err)
    assert 'ang_extent' in said


def test_one_folder_cannot_hold_both_kinds(folders, tmp_path, capsys):
    assert run(folders[0], '--images', folders[1], '--infrared', folders[1], '-o', tmp_path / 'out') == 1
    assert 'both radio and infrared images; give them in two folders' in capsys.readouterr().err
    assert run(folders[0], '--images', folders[1], '-o', tmp_path / 'out') == 0  # nothing stands in the way


@pytest.fixture
def measurements(monkeypatch):
    """Count measurements; `stop_at` lets the n-th be interrupted."""
    made = []
    measure = rgz_measuring.measure

    def counted(subject, images):
        if len(made) == counted.stop_at:
            raise KeyboardInterrupt
        made.append(subject.name)
        return measure(subject, images)

    counted.stop_at = None
    monkeypatch.setattr(rgz_measuring, 'measure', counted)
    return made, counted


def test_a_rerun_continues(folders, tmp_path, measurements, capsys):
    path, radio, infrared = folders
    made, counted = measurements
    command = (path, '--images', radio, '--infrared', infrared, '-o', tmp_path / 'out')
    counted.stop_at = 3
    assert run(*command, '--overwrite') == 130
    assert not (tmp_path / 'out' / 'train.json').exists()
    store = tmp_path / 'out' / 'measured.jsonl'
    with open(store, 'a') as file:
        file.write('{"key": "half a li')  # the power went off
    counted.stop_at = None
    assert main(['dataset', 'rgz', *map(str, command), '--overwrite']) == 0
    assert '3 taken over from an earlier run' in capsys.readouterr().out
    assert sorted(made) == sorted(subject.name for subject in SUBJECTS)
    continued = read(tmp_path / 'out', 'train')
    assert run(*command[:-1], tmp_path / 'fresh') == 0
    fresh = read(tmp_path / 'fresh', 'train')
    for key in ('images', 'annotations'):
        assert continued[key] == fresh[key]
    assert continued['info']['means'] == fresh['info']['means']
    assert len(store.read_text().splitlines()) == len(SUBJECTS)


def test_what_has_changed_is_measured_again(folders, tmp_path, measurements):
    path, radio, _ = folders
    made, _ = measurements
    command = (path, '--images', radio, '-o', tmp_path / 'out', '--overwrite')
    run(*command)
    made.clear()
    write_radio(tmp_path / 'new.fits', SUBJECTS[1], seed=77, off_arcsec=(1, 1))
    (tmp_path / 'new.fits').replace(radio / f'{SUBJECTS[1].name}.fits')
    path.write_text(path.read_text().replace(',30,', ',33,'))  # the extent of the fourth
    run(*command)
    assert made == [SUBJECTS[1].name, SUBJECTS[3].name]
    made.clear()
    run(*command, '--split', 'random', '--seed', '3')
    assert made == []


def test_finished_work_is_not_replaced_unasked(folders, tmp_path, capsys):
    path, radio, _ = folders
    assert run(path, '--images', radio, '-o', tmp_path / 'out') == 0
    assert run(path, '--images', radio, '-o', tmp_path / 'out') == 1
    assert 'exists already' in capsys.readouterr().err


def test_folders_that_cannot_be_written(folders, tmp_path, capsys):
    path, radio, _ = folders
    (tmp_path / 'out' / 'measured.jsonl').mkdir(parents=True)
    for folder, fault in ((tmp_path / 'out', 'measured.jsonl: is a folder'), ('/proc/new', 'choose another')):
        assert run(path, '--images', radio, '-o', folder) == 1
        captured = capsys.readouterr().err
        assert fault in captured
        assert captured.count('\n') == 1


def test_numbers_stay_when_images_come(folders, tmp_path):
    path, radio, _ = folders
    hidden = radio / f'{SUBJECTS[0].name}.fits'
    content = hidden.read_bytes()
    hidden.unlink()
    run(path, '--images', radio, '-o', tmp_path / 'few')
    hidden.write_bytes(content)
    run(path, '--images', radio, '-o', tmp_path / 'all')
    for kind, key in (('images', 'file_name'), ('annotations', 'bbox')):
        few = {entry['id']: entry[key] for entry in read(tmp_path / 'few', 'train')[kind]}
        whole = {entry['id']: entry[key] for entry in read(tmp_path / 'all', 'train')[kind]}
        assert few.items() < whole.items() if kind == 'images' else all(whole[k] == v for k, v in few.items())


def test_wrong_usage(folders, tmp_path, capsys):
    for wrong in (['--infrared', '.'], ['--min-consensus', '2'], ['--max-peaks', '4'], ['--split', 'even']):
        with pytest.raises(SystemExit) as end:
            run(folders[0], '-o', tmp_path / 'out', *wrong)
        assert end.value.code == 2
    assert run(folders[0], '-o', tmp_path / 'out', '--min-consensus', '0.99') == 1
    assert 'no subject meets the criteria' in capsys.readouterr().err
    (tmp_path / 'elsewhere').mkdir()
    write_radio(tmp_path / 'elsewhere' / 'x.fits', Subject('FIRSTJ200000.0-200000', ()))
    assert run(folders[0], '-o', tmp_path / 'out2', '--images', tmp_path / 'elsewhere') == 1
    assert 'no image of any of the 5 selected subjects' in capsys.readouterr().err
