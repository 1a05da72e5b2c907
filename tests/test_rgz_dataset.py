"""From a Radio Galaxy Zoo catalogue and images to a COCO data set."""

import json
from pathlib import Path

import numpy as np
import pytest
from rgz_files import SUBJECTS, Source, Subject, component_positions, write_catalogue, write_radio
from rgz_runs import folders, read, rejected, run

from claran_plugin.boxes import box_iou
from claran_plugin.datasets.image_index import find_images
from claran_plugin.datasets.radio_fields import fuse, fusion_keywords, read_field
from claran_plugin.errors import InputError
from claran_plugin.morphology import CLASSES

__all__ = ['folders']  # fixtures


def test_a_folder_behind_a_link(folders, tmp_path):
    (tmp_path / 'far' / 'away').mkdir(parents=True)
    (tmp_path / 'link').symlink_to(tmp_path / 'far' / 'away')
    assert run(folders[0], '--images', folders[1], '-o', tmp_path / 'link' / 'out') == 0
    listing = json.loads((tmp_path / 'link' / 'out' / 'train.json').read_text())
    assert all((tmp_path / 'link' / 'out' / image['file_name']).is_file() for image in listing['images'])


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
        # mmdet's coco_error_analysis.py asks which classes are alike
        assert [category['supercategory'] for category in coco['categories']] == [kind[:2] for kind in CLASSES]
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


def test_a_broken_image_whose_name_is_no_text(folders, tmp_path):
    path, radio, _ = folders
    try:
        (radio / 'odd\udce9.fits').write_bytes(b'broken')
    except (OSError, UnicodeError):
        pytest.skip('the file system has only names that are text')
    assert run(path, '--images', radio, '-o', tmp_path / 'out') == 0
    assert 'odd\\udce9.fits' in (tmp_path / 'out' / 'rejected.csv').read_text()


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
