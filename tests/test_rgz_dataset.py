"""From a Radio Galaxy Zoo catalogue and images to a COCO data set, and the paper's tables of it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from rgz_files import SUBJECTS, Source, Subject, component_positions, write_catalogue, write_folders, write_radio

from claran_plugin.boxes import box_iou
from claran_plugin.cli import main
from claran_plugin.datasets import rgz_measuring, rgz_tables
from claran_plugin.datasets.image_index import find_images
from claran_plugin.datasets.radio_fields import fuse, fusion_keywords, read_field
from claran_plugin.datasets.rgz_catalogue import published_split, random_split, read_subjects, select
from claran_plugin.datasets.rgz_tables import (
    box_side,
    class_counts,
    draw_box_sides,
    draw_consensus,
    markdown,
    morphology_counts,
    set_properties,
)
from claran_plugin.errors import InputError
from claran_plugin.morphology import CLASSES


@pytest.fixture
def folders(tmp_path):
    return write_folders(tmp_path)


def run(*arguments):
    return main(['dataset', 'rgz', *map(str, arguments), '--quiet'])


def read(folder, name):
    return json.loads((Path(folder) / f'{name}.json').read_text())


def rejected(folder):
    with open(Path(folder) / 'rejected.csv', newline='') as file:
        return list(csv.DictReader(file))


# ---- the catalogue


def catalogue(tmp_path, *subjects):
    return read_subjects(write_catalogue(tmp_path / 'c.csv', subjects))


def test_one_source_decides_over_its_subject(tmp_path):
    good = Source(((0, 0),), 1, 20)
    names = [f'FIRSTJ10000{k}.0+200000' for k in range(6)]
    subjects = catalogue(
        tmp_path,
        Subject(names[0], (good, good)),
        Subject(names[1], (good, good._replace(consensus=0.59))),
        Subject(names[2], (good, Source(((0, 0),), 4, 20))),
        Subject(names[3], (Source(((0, 0),) * 4, 4, 20), good)),
        Subject(names[4], (good._replace(consensus=0.6),)),
        Subject(names[5], (Source(((0, 0), (9, 9)), 1, 20),)),  # fewer peaks than components: none of the classes
    )
    assert [subject.name for subject in select(subjects)] == [names[0], names[4]]
    assert len(select(subjects, min_consensus=0.5)) == 3
    assert len(select(subjects, min_consensus=0.5, most_peaks=1)) == 3
    assert [len(subject.sources) for subject in subjects] == [2, 2, 2, 2, 1, 1]


def test_random_split(tmp_path):
    subjects = catalogue(tmp_path, *(Subject(f'FIRSTJ10{k:02d}00.0+200000', SUBJECTS[0].sources) for k in range(50)))
    split = random_split(subjects, 7, 0.3)
    assert (len(split.training), len(split.testing), split.by) == (35, 15, 7)
    assert sorted(s.name for s in split.all) == sorted(s.name for s in subjects)
    names = {s.name for s in split.testing}
    assert {s.name for s in random_split(subjects[::-1], 7, 0.3).testing} == names
    assert {s.name for s in random_split(subjects, 8, 0.3).testing} != names
    assert not random_split(subjects, 7, 0.0).testing


def test_overlapping_fields_are_in_one_set(tmp_path):
    pairs = [f'FIRSTJ10{k:02d}{second}.0+200000' for k in range(20) for second in ('00', '11')]  # 2.6' apart
    subjects = catalogue(tmp_path, *(Subject(name, SUBJECTS[0].sources) for name in pairs))
    split = random_split(subjects, 3, 0.5)
    assert len(split.testing) == 20
    assert not {s.name[:10] for s in split.testing} & {s.name[:10] for s in split.training}
    chain = [f'FIRSTJ10{10 + k // 5}{12 * (k % 5):02d}.0+200000' for k in range(15)]  # 2.8' from one to the next
    more = catalogue(tmp_path, *(Subject(name, SUBJECTS[0].sources) for name in [*chain, *pairs[:12]]))
    assert all(len(random_split(more, seed, 0.5).testing) >= 12 for seed in range(8))


def test_numbers_that_are_none(tmp_path, folders, capsys):
    text = Path(folders[0]).read_text().splitlines()
    cells = text[1].split(',')
    cells[6] = 'nan'
    bad = tmp_path / 'bad.csv'
    bad.write_text('\n'.join([text[0], ','.join(cells), *text[2:]]) + '\n')
    assert run(bad, '-o', tmp_path / 'out') == 1
    assert cells[1] in (said := capsys.readouterr().err)
    assert 'ang_extent' in said


def test_a_folder_behind_a_link(folders, tmp_path):
    (tmp_path / 'far' / 'away').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'far' / 'away')
    assert run(folders[0], '--images', folders[1], '-o', tmp_path / 'link' / 'out') == 0
    listing = json.loads((tmp_path / 'link' / 'out' / 'train.json').read_text())
    assert all((tmp_path / 'link' / 'out' / image['file_name']).is_file() for image in listing['images'])


def test_one_folder_cannot_hold_both_kinds(folders, tmp_path, capsys):
    assert run(folders[0], '--images', folders[1], '--infrared', folders[1], '-o', tmp_path / 'out') == 1
    assert 'both radio and infrared images; give them in two folders' in capsys.readouterr().err
    assert run(folders[0], '--images', folders[1], '-o', tmp_path / 'out') == 0  # nothing stands in the way


def test_published_split_must_be_in_the_catalogue(tmp_path):
    path = write_catalogue(tmp_path / 'c.csv')
    lines = path.read_text().splitlines()
    mixed = [*lines[:2], lines[2], lines[3][:-1] + '0', *lines[4:]]
    path.write_text('\n'.join(mixed))
    with pytest.raises(InputError, match='does not say whether it is for training'):
        published_split(read_subjects(path))
    path.write_text('\n'.join(line.rsplit(',', 1)[0] for line in lines))
    with pytest.raises(InputError, match='use --split random'):
        published_split(read_subjects(path))
    assert len(random_split(read_subjects(path), 1).all) == len(SUBJECTS)


@pytest.mark.parametrize(
    ('old', 'new', 'fault'),
    [
        ('first_id', 'id', "KeyError: 'first_id'"),
        ('FIRSTJ100000.0+200000', 'unknown', 'not a Radio Galaxy Zoo catalogue'),
        (',0.8,', ',,', 'sources without a consensus level'),
        (',20,', ',wide,', "could not convert string to float: 'wide'"),
    ],
)
def test_bad_catalogues(tmp_path, old, new, fault):
    path = write_catalogue(tmp_path / 'c.csv')
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=fault):
        read_subjects(path)


@pytest.mark.parametrize('length', [65, 45, 30])
def test_a_catalogue_that_was_cut_off(tmp_path, length):
    path = write_catalogue(tmp_path / 'c.csv')
    lines = path.read_text().splitlines()
    path.write_text('\n'.join([*lines[:2], lines[2][:length]]))
    with pytest.raises(InputError, match='ValueError: line 3 is cut short'):
        read_subjects(path)


def test_an_entry_that_never_ends(tmp_path):
    path = write_catalogue(tmp_path / 'c.csv')
    path.write_text(f'{path.read_text()}"{"x" * 200_000}')
    with pytest.raises(InputError, match='after line 7: field larger than field limit'):
        read_subjects(path)


def test_empty_and_missing_catalogues(tmp_path):
    with pytest.raises(InputError, match='no such catalogue'):
        read_subjects(tmp_path / 'none.csv')
    with pytest.raises(InputError, match='has no sources'):
        catalogue(tmp_path)


# ---- the paper's tables


@pytest.fixture(scope='module')
def published(data_dir):
    return read_subjects(data_dir / 'rgz' / 'catalogue.csv')


def test_tables_2_and_3_are_the_paper_s(published):
    chosen = select(published)
    assert len(chosen) == len(published) == 10_744, 'the selection has been made already'
    split = published_split(chosen)
    assert [tuple(row) for row in set_properties(split)] == [
        ('Training', 6141, 6978, 9566, 12441),
        ('Testing', 4603, 4858, 7397, 9885),
        ('Total', 10744, 11836, 16963, 22326),
    ]
    table = class_counts(split)
    assert table.colnames == ['Set', *CLASSES]
    assert [tuple(row) for row in table] == [
        ('Training', 3518, 810, 728, 647, 609, 666),
        ('Testing', 1782, 521, 684, 604, 599, 668),
        ('Total', 5300, 1331, 1412, 1251, 1208, 1334),
    ]


def test_what_of_table_1_is_in_the_catalogue_is_the_paper_s(published):
    # The paper counts all of DR1; only 1C-3P was taken whole into the released selection.
    counts = dict(zip(*morphology_counts(published).itercols(), strict=True))
    assert counts['1C-3P'] == 1412
    table_1 = {'1C-1P': 49766, '1C-2P': 14242, '1C-3P': 1412, '2C-2P': 9772, '2C-3P': 1220, '3C-3P': 1347}
    assert set(counts) == set(table_1)
    assert all(counts[name] <= table_1[name] for name in table_1)


@pytest.fixture
def drawn(monkeypatch):
    """Catch what figures are drawn of."""
    values = []
    draw = rgz_tables._draw_boxes
    monkeypatch.setattr(rgz_tables, '_draw_boxes', lambda v, *rest: (values.extend(v), draw(v, *rest)))
    return values


def test_figure_2_is_as_the_paper_describes_it(published, drawn, tmp_path):
    draw_consensus(select(published), tmp_path / 'figure2.png')
    medians = [float(np.median(v)) for v in drawn]
    assert medians == pytest.approx([1.0, 0.98, 1.0, 0.76, 0.76, 0.73], abs=0.0101)
    assert np.sum(drawn[2] == 1.0) == 1133
    assert np.quantile(drawn[1], 0.75) == 1.0
    assert np.quantile(drawn[5], [0.25, 0.75]) == pytest.approx([0.66, 0.81], abs=0.0101)
    assert (tmp_path / 'figure2.png').read_bytes()[:4] == b'\x89PNG'


def test_figure_3_is_as_the_paper_describes_it(published, drawn, tmp_path):
    draw_box_sides(published_split(published).training, tmp_path / 'figure3.png')
    one, two, three, two_two, two_three, three_three = (float(np.median(v)) for v in drawn)
    assert one < two < three
    assert two < two_two
    assert three < two_three < three_three
    assert max(v.max() for v in drawn) == 132


def test_table_1_counts_sources_that_are_left_out(tmp_path):
    simple, complex_ = Source(((0, 0),), 1, 20), Source(((0, 0),) * 5, 7, 90)
    subjects = catalogue(
        tmp_path,
        Subject('FIRSTJ100000.0+200000', (simple, complex_)),
        Subject('FIRSTJ100001.0+200000', (simple, simple._replace(consensus=0.3))),
    )
    assert [tuple(row) for row in morphology_counts(subjects)] == [('1C-1P', 2), ('5C-7P', 1)]
    assert [tuple(row) for row in morphology_counts(subjects, 0.2)] == [('1C-1P', 3), ('5C-7P', 1)]


def test_markdown():
    assert markdown(Table(dict(a=['x', 'yy'], b=[1, 22]))).splitlines() == [
        '|  a |  b |',
        '| -- | -- |',
        '|  x |  1 |',
        '| yy | 22 |',
    ]


# ---- images


def test_images_by_name_and_by_position(folders, tmp_path):
    _, radio, infrared = folders
    positions = {subject.name: subject.position for subject in SUBJECTS}
    found = find_images(radio, positions)
    expected = {subject.name: radio / f'{subject.name}.fits' for subject in SUBJECTS}
    expected[SUBJECTS[2].name] = radio / 'field_17.fits'
    assert found.by_subject == expected
    assert set(find_images(infrared, positions).by_subject) == {subject.name for subject in SUBJECTS[:-1]}
    # of two that hold the position, the one whose middle is nearer
    write_radio(radio / 'field_18.fits', SUBJECTS[2], off_arcsec=(60, 0))
    assert find_images(radio, positions).by_subject == expected
    write_radio(radio / 'a_wider.fits', SUBJECTS[2])
    assert find_images(radio, positions).by_subject[SUBJECTS[2].name] == radio / 'a_wider.fits'
    (radio / 'broken.fits').write_bytes(b'SIMPLE')
    found = find_images(radio, positions)
    assert list(found.unreadable) == [radio / 'broken.fits'] or not found.unreadable
    with pytest.raises(InputError, match='no such folder'):
        find_images(tmp_path / 'none', positions)
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='no FITS images'):
        find_images(tmp_path / 'empty', positions)


# ---- the data set


def true_box(source):
    """Give centre and side of a source's box by the rule; it is symmetric, as all components are equally bright."""
    x, y = 66 - np.array(source.offsets).T[0] / 1.375, 66 + np.array(source.offsets).T[1] / 1.375
    factor = {1: 1.0, 2: 1.2 if source.n_peaks == 2 else 1.3, 3: 1.3}[len(source.offsets)]
    return (x.min() + x.max()) / 2, (y.min() + y.max()) / 2, factor * source.extent_arcsec / 1.375 - 0.4


def test_the_data_set_holds_the_catalogue(folders, tmp_path):
    path, radio, infrared = folders
    out = tmp_path / 'out'
    assert run(path, '--images', radio, '--infrared', infrared, '-o', out) == 0
    sets = dict(train=[s for s in SUBJECTS if s.training], test=[s for s in SUBJECTS if not s.training])
    numbers = []
    for name, subjects in sets.items():
        coco = read(out, name)
        assert [category['name'] for category in coco['categories']] == list(CLASSES)
        assert [category['id'] for category in coco['categories']] == [1, 2, 3, 4, 5, 6]
        assert {image['first_id'] for image in coco['images']} == {subject.name for subject in subjects}
        numbers += [image['id'] for image in coco['images']]
        for image in coco['images']:
            subject = next(s for s in subjects if s.name == image['first_id'])
            assert (image['width'], image['height']) == (132, 132)
            assert (image['ra'], image['dec']) == pytest.approx((subject.position.ra.deg, subject.position.dec.deg))
            assert (out / image['file_name']).is_file()
            assert (image['infrared'] is None) == (subject is SUBJECTS[-1])
            annotations = [a for a in coco['annotations'] if a['image_id'] == image['id']]
            assert len(annotations) == len(subject.sources)
            for annotation, source in zip(annotations, subject.sources, strict=True):
                kind = f'{len(source.offsets)}C_{source.n_peaks}P'
                assert CLASSES[annotation['category_id'] - 1] == kind
                x, y, w, h = annotation['bbox']
                assert annotation['area'] == pytest.approx(w * h, abs=1e-2)
                cx, cy, side = true_box(source)
                assert (w, h) == pytest.approx((side, side), abs=0.01)
                assert (x + w / 2, y + h / 2) == pytest.approx((cx, cy), abs=1.0)
                assert annotation['centre'] == 'islands'
                assert annotation['iscrowd'] == 0
                assert annotation['consensus'] == source.consensus
                assert annotation['ang_extent'] == source.extent_arcsec
                assert (annotation['n_components'], annotation['n_peaks']) == (len(source.offsets), source.n_peaks)
                mean = component_positions(subject, source).cartesian.mean()
                assert annotation['dec'] == pytest.approx(
                    np.degrees(float(np.arcsin(mean.z / mean.norm()).value)), abs=1e-6
                )
    assert len(set(numbers)) == len(SUBJECTS)
    assert [(row['subject'], row['reason']) for row in rejected(out)] == [
        (SUBJECTS[-1].name, f'no infrared image in {infrared}')
    ]


def test_boxes_end_at_the_field_and_sources_outside_it_are_listed(tmp_path):
    edge = Subject(
        'FIRSTJ100000.0+200000',
        (Source(((0, 0),), 1, 20), Source(((-80, 0),), 1, 40), Source(((0, 120),), 1, 20)),
    )
    path = write_catalogue(tmp_path / 'c.csv', (edge,))
    (tmp_path / 'radio').mkdir()
    write_radio(tmp_path / 'radio' / f'{edge.name}.fits', edge)
    run(path, '--images', tmp_path / 'radio', '-o', tmp_path)
    boxes = [annotation['bbox'] for annotation in read(tmp_path, 'train')['annotations']]
    assert len(boxes) == 2
    x, _, w, h = boxes[1]
    assert x + w == 132, 'a source in the west is on the right'
    assert w < h
    assert rejected(tmp_path)[0]['reason'] == 'source 3, 1C_1P: outside the field'


def test_a_source_without_an_island(tmp_path):
    subject = SUBJECTS[0]
    faint = subject._replace(sources=(Source(((20, -10),), 1, 20),))
    (tmp_path / 'radio').mkdir()
    write_radio(tmp_path / 'radio' / f'{subject.name}.fits', subject._replace(sources=()))
    run(write_catalogue(tmp_path / 'c.csv', (faint,)), '--images', tmp_path / 'radio', '-o', tmp_path)
    (annotation,) = read(tmp_path, 'train')['annotations']
    assert annotation['centre'] == 'components'
    x, y, w, h = annotation['bbox']
    assert (x + w / 2, y + h / 2) == pytest.approx((66 - 20 / 1.375, 66 - 10 / 1.375), abs=0.05)


def test_means_are_those_of_the_pictures(folders, tmp_path):
    path, radio, infrared = folders
    run(path, '--images', radio, '--infrared', infrared, '-o', tmp_path / 'out')
    coco = read(tmp_path / 'out', 'train')
    means = coco['info']['means']
    assert means == read(tmp_path / 'out', 'test')['info']['means']
    assert set(means) == {'F', 'D1', 'D2', 'D3', 'D4', 'S'}
    fields = [
        read_field(
            tmp_path / 'out' / image['file_name'],
            next(s for s in SUBJECTS if s.name == image['first_id']).position,
            tmp_path / 'out' / image['infrared'],
        )
        for image in coco['images']
    ]
    for method, mean in means.items():
        pictures = np.stack([fuse(field, method, **fusion_keywords(method, means)) for field in fields])
        np.testing.assert_allclose(mean, pictures.mean(axis=(0, 1, 2), dtype=float), rtol=1e-12, err_msg=method)


def test_without_infrared_there_are_no_means_of_it(folders, tmp_path):
    path, radio, _ = folders
    run(path, '--images', radio, '-o', tmp_path / 'out')
    assert set(read(tmp_path / 'out', 'train')['info']['means']) == {'F', 'D1', 'S'}


def test_missing_and_broken_images_are_listed(folders, tmp_path):
    path, radio, infrared = folders
    first, second, third, fourth, fifth = (subject.name for subject in SUBJECTS)
    (radio / f'{first}.fits').unlink()
    broken = radio / f'{second}.fits'
    broken.write_bytes(broken.read_bytes()[:20_000])
    blind = infrared / f'WISE_J{fourth[6:]}_w1.fits'
    blind.write_bytes(b'not FITS')
    run(path, '--images', radio, '--infrared', infrared, '-o', tmp_path / 'out')
    assert [image['first_id'] for image in read(tmp_path / 'out', 'train')['images']] == [third]
    test = {image['first_id']: image['infrared'] for image in read(tmp_path / 'out', 'test')['images']}
    assert test == {fourth: None, fifth: None}
    listed = {(row['subject'], Path(row['file']).name): row['reason'] for row in rejected(tmp_path / 'out')}
    assert 'no image in' in listed.pop((first, ''))
    assert 'truncated' in listed.pop((second, broken.name))
    assert 'not a readable FITS file' in listed.pop((fourth, blind.name))
    assert 'no infrared image' in listed.pop((fifth, ''))
    assert not listed


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


def test_a_broken_image_whose_name_is_no_text(folders, tmp_path):
    path, radio, _ = folders
    try:
        (radio / 'odd\udce9.fits').write_bytes(b'broken')
    except (OSError, UnicodeError):
        pytest.skip('the file system has only names that are text')
    assert run(path, '--images', radio, '-o', tmp_path / 'out') == 0
    assert 'odd\\udce9.fits' in (tmp_path / 'out' / 'rejected.csv').read_text()


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


# ---- the command


def test_without_images_only_tables_and_figures(folders, tmp_path, capsys):
    assert main(['dataset', 'rgz', str(folders[0]), '-o', str(tmp_path / 'out')]) == 0
    names = {f'table{k}.{ending}' for k in (1, 2, 3) for ending in ('md', 'csv')} | {'figure2.png', 'figure3.png'}
    assert {path.name for path in (tmp_path / 'out').iterdir()} == names
    printed = capsys.readouterr().out
    for k in (1, 2, 3):
        assert (tmp_path / 'out' / f'table{k}.md').read_text() in printed
    table = Table.read(tmp_path / 'out' / 'table2.csv')
    assert list(table['Sources']) == [4, 2, 6]


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


# ---- real images


@pytest.fixture(scope='module')
def real(data_dir, tmp_path_factory):
    out = tmp_path_factory.mktemp('rgz')
    assert run(data_dir / 'rgz' / 'catalogue.csv', '--images', data_dir / 'first' / 'rgz_train', '-o', out) == 0
    return out


def test_real_boxes_are_those_that_claran_was_trained_with(real, data_dir):
    # Their frame has 132 px of 1.375" too, but row 0 is the northernmost and the middle is at (65.87, 66.77).
    published = json.loads((data_dir / 'rgz' / 'boxes_132px_train.json').read_text())
    coco = read(real, 'train')
    overlaps = []
    for image in coco['images']:
        for x1, y1, x2, y2, kind in published.get(image['first_id'], []):
            box = np.array([[x1 - 65.87 + 66, 66 - (y2 - 66.77), x2 - 65.87 + 66, 66 - (y1 - 66.77)]])
            xywh = np.array([
                a['bbox'] for a in coco['annotations'] if (a['image_id'], a['category_id']) == (image['id'], kind + 1)
            ])  # fmt: skip
            overlaps.append(box_iou(np.column_stack([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]]), box).max())
    share = np.mean(np.array(overlaps) > 0.7)
    print(f'{len(overlaps)} boxes: {share:.1%} with IoU > 0.7')
    print(f'median {np.median(overlaps):.3f}, least {min(overlaps):.3f}')
    assert len(overlaps) >= 70
    assert share >= 0.9


def test_all_real_images_are_used(real):
    coco = read(real, 'train')
    assert (len(coco['images']), len(coco['annotations'])) == (125, 136)
    assert not read(real, 'test')['images']
    assert not [row for row in rejected(real) if row['file']]


def test_box_sides_are_those_that_claran_was_trained_with(published, data_dir):
    # all of the published boxes, by the catalogue alone
    boxes = json.loads((data_dir / 'rgz' / 'boxes_132px_train.json').read_text())
    differences = []
    for subject in published:
        if len(subject.sources) == 1 and len(boxes.get(subject.name, [])) == 1:
            x1, y1, x2, y2, _ = boxes[subject.name][0]
            if min(x1, y1) > 1 and max(x2, y2) < 130:
                differences.append((x2 - x1 + y2 - y1) / 2 - box_side(subject.sources[0]))
    assert len(differences) > 2500
    assert abs(np.mean(differences)) < 0.1
    assert np.std(differences) < 1
