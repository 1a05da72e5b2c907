"""Reading images whose sources somebody knows, and packing them."""

import json

import labelled_field
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from labelled_field import write_labelled

from claran_plugin.cli import main
from claran_plugin.datasets.own_labels import own_subjects
from claran_plugin.datasets.packed_subjects import WIDE, pack
from claran_plugin.errors import InputError
from claran_plugin.fusion import infrared_grey
from claran_plugin.labelled import UNKNOWN, folds_on_sky, read_labelled
from claran_plugin.morphology import CLASSES
from claran_plugin.subjects import resample
from claran_plugin.survey.listing import read_list
from claran_plugin.truth import true_sources

DOUBLES = [k for k in range(25) if k % 2 == 0]


def read(path, *columns):
    return read_labelled(read_list(path)[0], *columns)


def row_names(path):
    return [str(name) for name in Table.read(path.parent / 'field.cat.fits')['Source_Name']]


def test_sources_are_the_rows_of_one_name(tmp_path):
    image = read(write_labelled(tmp_path))
    assert [len(rows) for rows in image.members] == [2 if k in DOUBLES else 1 for k in range(25)]
    truth = true_sources(image)
    assert [CLASSES[k] for k in truth.classes] == ['2C_2P' if k in DOUBLES else '1C_1P' for k in range(25)]
    middles = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    np.testing.assert_allclose(middles[:2], [(60, 60), (120, 60)], atol=1)


@pytest.mark.parametrize(
    'names',
    [
        lambda names: MaskedColumn(names, mask=[name == 'S02' for name in names]),
        lambda names: ['' if name == 'S02' else name for name in names],
        lambda names: [-1 if name == 'S02' else int(name[1:]) for name in names],
        lambda names: [b'' if name == 'S02' else f'é{name}'.encode() for name in names],
        lambda names: [np.nan if name == 'S02' else float(name[1:]) for name in names],
        lambda names: ['-1' if name == 'S02' else f'-{name}' for name in names],
    ],
)
def test_what_nobody_tells_is_not_known(tmp_path, names):
    first = write_labelled(tmp_path)
    texts = row_names(first)
    (tmp_path / 'b').mkdir()
    image = read(write_labelled(tmp_path / 'b', Source_Name=names(texts)))
    assert len(image.members) == 24
    assert [texts[k] for k in np.flatnonzero(image.source < 0)] == ['S02', 'S02']


def test_a_source_that_is_partly_off_the_image_is_not_known(tmp_path):
    path = write_labelled(tmp_path)
    catalogue = tmp_path / 'field.cat.fits'
    table = Table.read(catalogue)
    table['DEC'][1] -= 1  # of S00
    table.write(catalogue, overwrite=True)
    with pytest.warns(UserWarning, match='lie off the image'):
        image = read(path)
    assert len(image.members) == 24
    assert (image.source[:2] == -1).all()


def test_classes_of_the_catalogue(tmp_path):
    classes = ['2C-3P'] * 2 + ['?'] + ['1C_2P'] * 35
    image = read(write_labelled(tmp_path, Kind=classes), 'source_name', 'Kind')
    assert [CLASSES[k] if k >= 0 else k for k in true_sources(image).classes[:3]] == ['2C_3P', UNKNOWN, '1C_2P']


@pytest.mark.parametrize(
    ('columns', 'options', 'said'),
    [
        (dict(Source_Name=None), (), 'no column Source_Name, name one with --truth: it has RA, DEC'),
        ({}, ('Parent',), 'no column Parent, name one with --truth'),
        ({}, ('Source_Name', 'Kind'), 'no column Kind, name one with --classes'),
        (dict(Source_Name=['-'] * 38), (), 'column Source_Name tells no source'),
        (dict(Kind=['1C_1P'] + ['2C_2P'] * 37), ('Source_Name', 'Kind'), 'source S00 have different classes'),
        (dict(Kind=['FRI'] * 38), ('Source_Name', 'Kind'), 'no class in its column of classes is one of 1C_1P'),
    ],
)
def test_faults_are_told(tmp_path, columns, options, said):
    with pytest.raises(InputError, match=said):
        read(write_labelled(tmp_path, **columns), *options)


def test_an_image_needs_a_catalogue(tmp_path):
    path = write_labelled(tmp_path)
    path.write_text('field.fits\n')
    with pytest.raises(InputError, match='no catalogue in the list'):
        read(path)


def test_folds_keep_neighbours_together():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(0, 360, 300), rng.uniform(-60, 60, 300)
    positions = SkyCoord(np.repeat(ra, 2), np.repeat(dec, 2) + np.tile([0, 1e-4], 300), unit='deg')
    folds = folds_on_sky(positions, 5.4)
    assert np.bincount(folds).min() > 60
    assert np.mean(folds[::2] == folds[1::2]) > 0.99
    within = folds_on_sky(SkyCoord(150 + rng.uniform(0, 0.5, 200), rng.uniform(0, 0.5, 200), unit='deg'), 5.4)
    assert set(within) == set(range(5))  # one image is divided, too


def test_packing(tmp_path):
    image = read(write_labelled(tmp_path))
    subjects = own_subjects([image])
    fine = [subject for subject in subjects if '_1x_' in subject.name]
    assert len(fine) >= 13
    first = fine[0]
    assert first.origin == 'labelled'
    assert first.snr.shape == (200, 200)
    # 150 x 150 px of 360 are seen: those cut by the edge are ignored, the others told as they are
    middles = (first.boxes[:, :2] + first.boxes[:, 2:]) / 2
    own = int(np.argmin(np.abs(middles - 99.5).max(axis=1)))
    assert CLASSES[first.labels[own]] == '2C_2P'
    assert not first.ignore[own]
    told = [CLASSES[k] for k, ignored in zip(first.labels, first.ignore, strict=True) if not ignored]
    assert set(told) <= {'1C_1P', '2C_2P'}
    assert all(0 <= subject.fold < 5 for subject in subjects)


def test_sources_that_nobody_tells_are_ignored(tmp_path):
    names = [''] * 38
    names[:2] = ['A', 'A']
    (subject, *_) = own_subjects([read(write_labelled(tmp_path, Source_Name=names))])
    assert [CLASSES[k] for k, ignored in zip(subject.labels, subject.ignore, strict=True) if not ignored] == ['2C_2P']
    assert sum(subject.ignore) > 3


def test_what_nobody_tells_on_an_island_of_a_source_is_ignored(tmp_path, monkeypatch):
    monkeypatch.setattr(labelled_field, 'HALF_SEPARATION', 3)  # each double is one island
    names = [''] * 38
    names[0] = 'A'
    (subject, *_) = own_subjects([read(write_labelled(tmp_path, Source_Name=names))])
    (own,) = (box for box, ignored in zip(subject.boxes, subject.ignore, strict=True) if not ignored)
    beside = [box for box in subject.boxes if np.allclose(box[0], own[2], atol=6) and abs(box[1] - own[1]) < 6]
    assert len(beside) == 1


def test_a_large_source_is_packed_as_a_coarser_sky_shows_it(tmp_path):
    names = [f'S{k:02d}' for k in range(38)]
    names[0] = names[2] = names[9] = 'large'  # 60 to 70 px wide: 20 beams
    image = read(write_labelled(tmp_path, Source_Name=names))
    coarse = [subject for subject in own_subjects([image]) if '_2x_' in subject.name]
    assert len(coarse) == 1
    assert not all(coarse[0].ignore)
    with_infrared = own_subjects([image], infrared_rng=np.random.default_rng(0))  # whose detector sees no coarser sky
    assert all('_1x_' in subject.name for subject in with_infrared)


@pytest.mark.parametrize('unit', [1e-9, 1.0, 1e6])
def test_infrared_images_of_any_unit(tmp_path, unit):
    path = write_labelled(tmp_path)
    path.write_text('field.fits field.cat.fits infrared.fits\n')
    with fits.open(tmp_path / 'field.fits') as hdus:
        rng = np.random.default_rng(0)
        pixels = rng.normal(10, 1, hdus[0].data.shape) + 1e3 * (rng.random(hdus[0].data.shape) < 1e-3)
        hdus[0].data = (unit * pixels).astype(np.float32)
        hdus.writeto(tmp_path / 'infrared.fits')
    image = read(path)
    (subject, *_) = own_subjects([image], infrared_rng=np.random.default_rng(0))
    pack([subject], tmp_path / 'packed')
    packed = infrared_grey(np.load(tmp_path / 'packed/infrared.npy')[0]).astype(int)
    middle = true_sources(image).boxes[0].reshape(2, 2).mean(axis=0)
    own = infrared_grey(resample(image.sky.infrared.data, middle, image.sky.step, WIDE, blank=np.nan))
    assert abs(packed - own).max() <= 1


def test_command(tmp_path, capsys):
    path = write_labelled(tmp_path)
    out = tmp_path / 'packed'
    assert main(['dataset', 'pack', '--labelled', str(path), '--simulate', '2', '-o', str(out)]) == 0
    assert 'labelled ' in capsys.readouterr().out
    listing = json.loads((out / 'subjects.json').read_text())['subjects']
    assert {subject['origin'] for subject in listing} == {'labelled', 'simulated'}
    assert main(['dataset', 'pack', '--labelled', str(path), '--infrared', '-o', str(out), '--overwrite']) == 0
    assert np.load(out / 'infrared.npy').shape == np.load(out / 'snr.npy').shape
    assert main(['dataset', 'pack', '--labelled', str(path), '--truth', 'x', '-o', str(out), '--overwrite']) == 1
    assert 'no column x' in capsys.readouterr().err


def test_training_leaves_out_what_shows_a_part_of_the_held_out_fold(tmp_path, require_detector):
    from claran_plugin.datasets.packed_subjects import pack
    from claran_plugin.detection.dataset import PackedSubjects

    subjects = own_subjects([read(write_labelled(tmp_path))])
    assert np.mean([len(subject.near) > 0 for subject in subjects]) > 0.5  # the image is 120 beams wide, a cut-out 50
    assert not any(subject.fold in subject.near for subject in subjects)
    far = subjects[0]._replace(fold=1, near=())
    pack([*subjects, far], tmp_path / 'packed')
    kept = PackedSubjects(data_root=str(tmp_path / 'packed'), without_folds=[0]).load_data_list()
    assert len(kept) == 1 + sum(0 not in (subject.fold, *subject.near) for subject in subjects)
    assert len(PackedSubjects(data_root=str(tmp_path / 'packed')).load_data_list()) == len(subjects) + 1
