"""The packed training set: what is written and read, and its labels against the catalogues they come from."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from packed_subjects import detection, labelled, packed

from claran_plugin.boxes import box_iou
from claran_plugin.cli import main
from claran_plugin.datasets.packed_subjects import WIDE, drawn_infrared, pack
from claran_plugin.errors import InputError
from claran_plugin.images import image_files
from claran_plugin.morphology import CLASSES

__all__ = ['detection', 'labelled', 'packed']  # fixtures


# ---- the packed set


def test_pack_counts_what_it_writes(packed):
    _, subjects, counts = packed
    for origin in ('simulated', 'first'):
        expected = Counter(
            CLASSES[label]
            for s in subjects
            for label, flag in zip(s.labels, s.ignore, strict=True)
            if s.origin == origin and not flag
        )
        assert {name: n for name, n in counts[origin].items() if n} == expected


def test_pack_needs_a_subject(tmp_path):
    with pytest.raises(InputError, match='nothing to pack'):
        pack([], tmp_path / 'none')
    assert not (tmp_path / 'none').exists()


def test_dataset_gives_what_was_packed(detection, packed):
    folder, subjects, _ = packed
    dataset = detection.dataset.PackedSubjects(str(folder), pipeline=[])
    assert len(dataset) == len(subjects)
    assert dataset.metainfo['classes'] == CLASSES
    for index in (0, 5, 30):
        item = dataset.prepare_data(index)
        np.testing.assert_allclose(item['wide_snr'], subjects[index].snr, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(item['gt_bboxes'], subjects[index].boxes, atol=0.01)
        assert item['gt_bboxes_labels'].tolist() == subjects[index].labels
        assert item['gt_ignore_flags'].tolist() == subjects[index].ignore


def test_dataset_selects_by_origin_and_fold(detection, packed):
    folder, subjects, _ = packed

    def names(**options):
        dataset = detection.dataset.PackedSubjects(str(folder), pipeline=[], **options)
        return [dataset.get_data_info(i)['name'] for i in range(len(dataset))]

    assert names(origins=['first']) == [s.name for s in subjects if s.origin == 'first']
    assert names(folds=[1, 2]) == [s.name for s in subjects if s.fold in (1, 2)]
    kept, held_out = names(without_folds=[3]), names(folds=[3])
    assert held_out
    assert sorted(kept + held_out) == sorted(names())
    first = names(origins=['first'])
    assert names(shares=dict(first=0.5)) == [name for name in names() if name not in first[len(first) // 2 :]]
    with pytest.raises(ValueError, match=r"subjects.json: has no subjects of \['galaxies'\], which `shares` names"):
        names(shares=dict(galaxies=0.5))


def test_dataset_refuses_what_is_no_pack(detection, tmp_path):
    with pytest.raises(FileNotFoundError, match='no packed training set here; make one with: claran dataset'):
        detection.dataset.PackedSubjects(str(tmp_path), pipeline=[])
    (tmp_path / 'subjects.json').write_text(json.dumps(dict(classes=['FR-I'], subjects=[])))
    with pytest.raises(ValueError, match=r"has the classes \['FR-I'\], expected"):
        detection.dataset.PackedSubjects(str(tmp_path), pipeline=[])


def test_the_configured_pipeline(detection, packed):
    from mmdet.registry import DATASETS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    from claran_plugin.models import config_folder

    init_default_scope('mmdet')
    folder, subjects, _ = packed
    config = Config.fromfile(config_folder() / 'claran_compact.py')
    dataset = DATASETS.build(dict(config.test_dataloader.dataset, data_root=str(folder), origins=None))
    item = dataset[0]
    assert item['inputs'].shape == (3, 132, 132)
    sample = item['data_samples']
    boxes = subjects[0].boxes - 34
    inside = ((boxes > -0.5) & (boxes < 131.5)).all(axis=1)
    assert inside.any()
    np.testing.assert_allclose(sample.gt_instances.bboxes.numpy()[: inside.sum()], boxes[inside] + 0.5, atol=0.02)
    assert sample.scale_factor == (1.0, 1.0)
    ignored = dataset[5]['data_samples']
    assert len(ignored.gt_instances) == 0
    assert len(ignored.ignored_instances) > 0


def test_every_tenth_is_left_for_validation(detection, packed):
    folder = str(packed[0])
    make = detection.dataset.PackedSubjects
    parts = [make(folder, origins=['simulated'], tenths=tenths, pipeline=[]) for tenths in (False, True)]
    numbers = [[part.get_data_info(i)['index'] for i in range(len(part))] for part in parts]
    assert numbers[1] == [9, 19]
    assert sorted(numbers[0] + numbers[1]) == list(range(24))


def test_a_set_that_is_empty_is_told(detection, packed):
    with pytest.raises(ValueError, match=r"no subject is left of origins \['emu'\].*it has \{'simulated': 24"):
        detection.dataset.PackedSubjects(str(packed[0]), origins=['emu'], pipeline=[])


# ---- real labelled subjects


def test_labels_are_those_of_the_catalogue(labelled, data_dir):
    names = {path.name.split('.fits')[0] for path in image_files(data_dir / 'first' / 'rgz_train', 'FIRSTJ*')}
    with open(data_dir / 'rgz' / 'catalogue.csv', newline='') as file:
        rows = [row for row in csv.DictReader(file) if row['first_id'] in names]
    expected = Counter(f'{row["num_cpnts"]}C_{row["num_peaks"]}P' for row in rows)
    found = Counter(
        CLASSES[label] for s in labelled for label, flag in zip(s.labels, s.ignore, strict=True) if not flag
    )
    assert len(labelled) == 125
    assert found.total() == len(rows) == 136
    assert found == expected
    assert {s.name for s in labelled} == {row['first_id'] for row in rows}


def test_boxes_are_those_that_claran_was_trained_with(labelled, data_dir):
    # in a frame of 132 px of 1.375", whose first row is the northernmost and whose middle is at (65.87, 66.77)
    published = json.loads((data_dir / 'rgz' / 'boxes_132px_train.json').read_text())
    overlaps = []
    for subject in labelled:
        for x1, y1, x2, y2, kind in published.get(subject.name, []):
            scale = 1.375 / 1.35
            x = (np.array([x1, x2]) - 65.87) * scale + (WIDE - 1) / 2
            y = (66.77 - np.array([y2, y1])) * scale + (WIDE - 1) / 2
            same = subject.boxes[np.array(subject.labels) == kind]
            assert len(same)
            overlaps.append(box_iou(same, np.array([[x[0], y[0], x[1], y[1]]])).max())
    print(f'{len(overlaps)} boxes, overlap {np.median(overlaps):.3f} in the median, {min(overlaps):.3f} at least')
    assert len(overlaps) >= 70
    assert np.median(overlaps) > 0.92
    assert min(overlaps) > 0.7


# ---- infrared


def test_infrared_is_packed_cut_and_fused(detection, tmp_path, capsys):
    arguments = ['dataset', 'pack', '--simulate', '3', '--seed', '5', '--quiet']
    assert main([*arguments, '--infrared', '-o', str(tmp_path / 'both')]) == 0
    assert main([*arguments, '-o', str(tmp_path / 'radio')]) == 0
    both, radio = (np.load(tmp_path / name / 'snr.npy') for name in ('both', 'radio'))
    np.testing.assert_array_equal(both, radio)  # infrared is drawn from a generator of its own
    infrared = np.load(tmp_path / 'both' / 'infrared.npy')
    assert infrared.shape == radio.shape
    assert not (tmp_path / 'radio' / 'infrared.npy').exists()
    cut = detection.transforms.CutSubject(132, shift=16, zoom=0.1, turn=True, tilt=10)
    steps = [cut, detection.transforms.FuseSubject('SI')]
    dataset = detection.dataset.PackedSubjects(str(tmp_path / 'both'), pipeline=steps)
    for number in range(3):
        picture = dataset[number]['img']
        assert picture.shape == (132, 132, 3)
        assert picture[..., 2].max() > 100
    assert main([*arguments, '--overwrite', '-o', str(tmp_path / 'both')]) == 0
    assert not (tmp_path / 'both' / 'infrared.npy').exists()  # it would be of other subjects
    plain = detection.dataset.PackedSubjects(str(tmp_path / 'radio'), pipeline=steps)
    with pytest.raises(InputError, match='fusion SI needs an infrared image'):
        plain[0]


def test_drawn_hosts_are_where_the_sources_are():
    rng = np.random.default_rng(0)
    hosts = np.array([[60.0, 80.0], [140.0, 120.0]])
    seen = [drawn_infrared(rng, hosts, 5.4)[np.rint(hosts[:, 1]).astype(int), np.rint(hosts[:, 0]).astype(int)]
            for _ in range(60)]  # fmt: skip
    assert np.mean(np.array(seen) > 4) > 0.65  # 80 % have a host, some of them faint
