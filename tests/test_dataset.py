"""The packed training set: its labels against the catalogues they come from, and pixels and boxes moving together."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from hypothesis import given, settings
from hypothesis import strategies as st
from radiogalaxynet_files import write_radiogalaxynet

from claran_plugin.boxes import box_iou
from claran_plugin.cli import main
from claran_plugin.datasets.radiogalaxynet import PIXEL_ARCSEC, SIGMA_PIX, restore
from claran_plugin.datasets.training_data import (
    N_FOLDS,
    WIDE,
    PackedSubject,
    drawn_infrared,
    fold_numbers,
    labelled_first,
    pack,
    radio_galaxy_net,
    simulated,
    subject_position,
)
from claran_plugin.errors import InputError
from claran_plugin.fusion import FUSIONS
from claran_plugin.images import image_files
from claran_plugin.morphology import CLASSES
from claran_plugin.turns import turned as turned_image
from claran_plugin.turns import turned_back_boxes, turned_boxes

# x, y, width, height in pixels and brightness of rectangles that mark boxes; all inside the middle 132 of 200 pixels
MARKS = np.array([[60, 80, 9, 21, 100], [110, 120, 30, 12, 200], [90, 50, 5, 5, 300], [140, 150, 11, 3, 400]])


@pytest.fixture
def detection(require_detector):
    from claran_plugin import detection
    from claran_plugin.detection import training  # noqa: F401

    return detection


def marked():
    """Paint rectangles and give their boxes, xyxy with integral pixel centres."""
    image = np.zeros((WIDE, WIDE), np.float32)
    for x, y, width, height, value in MARKS:
        image[y : y + height, x : x + width] = value
    boxes = np.column_stack([MARKS[:, :2], MARKS[:, :2] + MARKS[:, 2:4]]) - 0.5
    return image, boxes.astype(np.float32)


def boxes_of_marks(image):
    """Find the rectangles again by their brightness; xyxy with integral pixel centres."""
    boxes = []
    for value in MARKS[:, 4]:
        y, x = np.nonzero(image == value)
        boxes.append([x.min() - 0.5, y.min() - 0.5, x.max() + 0.5, y.max() + 0.5])
    return np.array(boxes)


def subject_dict(image, boxes):
    n = len(boxes)
    labels, flags = np.arange(n), np.zeros(n, bool)
    return dict(wide_snr=image, gt_bboxes=boxes, gt_bboxes_labels=labels, gt_ignore_flags=flags)


# ---- cutting and turning


def test_boxes_follow_the_pixels_through_all_turns():
    image, boxes = marked()
    seen = set()
    for number in range(8):
        turned = turned_image(image, number)
        moved = turned_boxes(boxes, len(image), number)
        np.testing.assert_array_equal(moved, boxes_of_marks(turned))
        np.testing.assert_array_equal(turned_back_boxes(moved, len(image), number), boxes)
        seen.add(turned.tobytes())
    assert len(seen) == 8


def test_the_middle_is_cut_exactly(detection):
    image, boxes = marked()
    results = detection.transforms.CutSubject(132).transform(subject_dict(image, boxes))
    np.testing.assert_array_equal(results['snr'], image[34:166, 34:166])
    # mmdet's convention: a box of the pixel 0 alone is 0 ... 1
    np.testing.assert_array_equal(results['gt_bboxes'], boxes_of_marks(results['snr']) + 0.5)
    assert results['gt_bboxes_labels'].tolist() == [0, 1, 2, 3]
    assert not results['gt_ignore_flags'].any()


def test_boxes_follow_shifts_and_zooms(detection):
    cut = detection.transforms.CutSubject(132, shift=10, zoom=0.1, turn=True)
    np.random.seed(3)
    for mark in range(len(MARKS)):
        image, boxes = marked()
        image = np.where(image == MARKS[mark, 4], 1.0, 0.0)
        sides = []
        for _ in range(10):
            results = cut.transform(subject_dict(image, boxes[mark : mark + 1]))
            y, x = np.nonzero(results['snr'] > 0.5)
            seen = [x.min(), y.min(), x.max() + 1, y.max() + 1]
            np.testing.assert_allclose(results['gt_bboxes'], [seen], atol=0.8)
            sides.append(np.ptp(results['gt_bboxes'][0, [0, 2]]) / MARKS[mark, 2])
        assert len(set(sides)) == 10


def test_boxes_keep_their_sides_and_follow_small_angles(detection):
    image = np.zeros((WIDE, WIDE), np.float32)
    image[118:123, 78:83] = 1.0
    box = np.array([[67.5, 107.5, 92.5, 132.5]], np.float32)
    np.random.seed(4)
    places = set()
    for _ in range(8):
        results = detection.transforms.CutSubject(132, tilt=15.0).transform(subject_dict(image, box))
        (x0, y0, x1, y1) = results['gt_bboxes'][0]
        y, x = np.nonzero(results['snr'] > 0.5)
        np.testing.assert_allclose([(x0 + x1) / 2, (y0 + y1) / 2], [x.mean() + 0.5, y.mean() + 0.5], atol=0.5)
        np.testing.assert_allclose([x1 - x0, y1 - y0], 25, atol=1e-3)
        places.add(round(float(x0), 2))
    assert len(places) == 8


def test_sources_at_the_edge(detection):
    image = np.zeros((WIDE, WIDE), np.float32)
    first = (WIDE - 132) // 2 - 0.5  # edge of the field of view in the wide frame
    boxes = np.array([
        [first - 4, 90, first + 6, 100],  # 60 % inside: cut
        [first - 6, 90, first + 4, 100],  # 40 % inside: gone
        [first - 1, 90, first + 9, 100],  # 90 % inside: whole
        [5, 5, 20, 20],
    ])  # fmt: skip
    results = detection.transforms.CutSubject(132).transform(subject_dict(image, boxes))
    assert results['gt_bboxes_labels'].tolist() == [0, 2]
    assert results['gt_ignore_flags'].tolist() == [True, False]
    np.testing.assert_allclose(results['gt_bboxes'][:, [0, 2]], [[0, 6], [0, 9]])


def test_cut_is_repeatable(detection):
    image, boxes = marked()
    cut = detection.transforms.CutSubject(132, shift=16, zoom=0.1, turn=True)
    pictures = []
    for seed in (1, 1, 2):
        np.random.seed(seed)
        pictures.append(cut.transform(subject_dict(image, boxes))['snr'])
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize('method', ['S', 'D1', 'D3'])
def test_fuse(detection, method):
    rng = np.random.default_rng(0)
    results = dict(snr=rng.normal(size=(132, 132)).astype(np.float32), infrared=rng.normal(size=(132, 132)))
    results = detection.transforms.FuseSubject(method).transform(results)
    expected = FUSIONS[method](results['snr'], results['infrared'], rms=1.0)
    np.testing.assert_array_equal(results['img'], expected)
    assert results['img'].dtype == np.uint8
    assert results['img_shape'] == results['ori_shape'] == (132, 132)


# ---- the packed set


@pytest.fixture(scope='module')
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp('packed')
    subjects = list(simulated(24, np.random.default_rng(0)))
    subjects[5] = subjects[5]._replace(ignore=[True] * len(subjects[5].labels))
    subjects += [
        PackedSubject(f'{s.name}b', 'first', s.snr, s.boxes, s.labels, s.ignore, fold % N_FOLDS)
        for fold, s in enumerate(subjects[:16])
    ]
    counts = pack(subjects, folder)
    return folder, subjects, counts


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


# ---- the sampler


@pytest.fixture
def sampled(detection, packed):
    return detection.dataset.PackedSubjects(str(packed[0]), pipeline=[]), detection.samplers


def draw(sampler, number):
    return [index for index, _ in zip(iter(sampler), range(number), strict=False)]


def test_sampler_draws_the_given_shares(sampled):
    dataset, module = sampled
    sampler = module.MixtureSampler(dataset, dict(simulated=0.3, first=0.9), seed=1)
    origins = Counter(dataset.get_data_info(i)['origin'] for i in draw(sampler, 8000))
    assert origins['first'] / 8000 == pytest.approx(0.75, abs=0.02)
    only = module.MixtureSampler(dataset, dict(first=1.0), seed=1)
    assert {dataset.get_data_info(i)['origin'] for i in draw(only, 500)} == {'first'}


def test_sampler_is_deterministic(sampled):
    dataset, module = sampled
    runs = [draw(module.MixtureSampler(dataset, dict(simulated=1.0), seed=seed), 3000) for seed in (7, 7, 8)]
    assert runs[0] == runs[1] != runs[2]


def test_processes_share_one_sequence(sampled, monkeypatch):
    dataset, module = sampled
    parts = []
    for rank in (0, 1):
        monkeypatch.setattr(module, 'get_dist_info', lambda rank=rank: (rank, 2))
        parts.append(draw(module.MixtureSampler(dataset, dict(simulated=1.0), seed=3), 1500))
    monkeypatch.setattr(module, 'get_dist_info', lambda: (0, 1))
    whole = draw(module.MixtureSampler(dataset, dict(simulated=1.0), seed=3), 3000)
    assert np.column_stack(parts).ravel().tolist() == whole


def test_sampler_prefers_rare_classes(tmp_path, detection):
    snr = np.zeros((WIDE, WIDE))
    box = np.array([[90.0, 90, 110, 110]])
    subjects = [PackedSubject(str(k), 'x', snr, box, [0 if k < 27 else 5], [False]) for k in range(30)]
    pack(subjects, tmp_path)
    dataset = detection.dataset.PackedSubjects(str(tmp_path), pipeline=[])
    for balance, expected in ((0.0, 3 / 30), (0.5, 3**0.5 / (3**0.5 + 27**0.5)), (1.0, 0.5)):
        sampler = detection.samplers.MixtureSampler(dataset, dict(x=1.0), balance=balance, seed=0)
        share = np.mean(np.array(draw(sampler, 6000)) >= 27)
        assert share == pytest.approx(expected, abs=0.025), balance


def test_sampler_names_what_is_missing(sampled):
    dataset, module = sampled
    with pytest.raises(ValueError, match=r"no subject of origin \['emu'\] among"):
        module.MixtureSampler(dataset, dict(emu=1.0), seed=0)


def test_sampler_tells_that_folds_are_left_out(tmp_path, detection):
    snr, box = np.zeros((WIDE, WIDE)), np.array([[90.0, 90, 110, 110]])
    pack([PackedSubject(name, name, snr, box, [0], [False], fold) for name, fold in (('x', 0), ('y', -1))], tmp_path)
    dataset = detection.dataset.PackedSubjects(str(tmp_path), without_folds=[0], pipeline=[])
    with pytest.raises(ValueError, match=r"'x'\] among \['y'\] outside of the folds \[0\], which are left out"):
        detection.samplers.MixtureSampler(dataset, dict(x=0.5, y=0.5), seed=0)


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


# ---- folds


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_close_subjects_share_a_fold(seed):
    rng = np.random.default_rng(seed)
    ra, dec = rng.normal(0, 0.4, 40) % 360, rng.normal(20, 0.4, 40)  # around the break at 0/360
    sky = SkyCoord(ra, dec, unit='deg')
    fold = fold_numbers(sky)
    assert set(fold) <= set(range(N_FOLDS))
    near = sky[:, None].separation(sky[None]) < 10 * u.arcmin
    assert (fold[:, None] == fold[None])[near].all()
    np.testing.assert_array_equal(fold, fold_numbers(sky))


def test_a_chain_of_subjects_shares_a_fold():
    sky = SkyCoord(np.arange(20) * 0.15, np.zeros(20), unit='deg')
    order = np.random.default_rng(0).permutation(20)
    assert len(set(fold_numbers(sky[order]))) == 1


def test_folds_are_of_similar_size():
    rng = np.random.default_rng(0)
    fold = fold_numbers(SkyCoord(rng.uniform(0, 360, 200), rng.uniform(-60, 60, 200), unit='deg'))
    assert np.bincount(fold, minlength=N_FOLDS).min() >= 35


# ---- RadioGalaxyNET's stretch


def stretch(sky, threshold):
    """Stretch one island as RadioGalaxyNET's pictures are: logarithmic, from its threshold to its peak."""
    shown = np.log(np.maximum(sky, threshold) / threshold) / np.log(sky.max() / threshold)
    return np.round(65535 * shown)


def gaussian(x0, y0, peak, sigma, size=90):
    y, x = np.mgrid[:size, :size]
    return peak * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize('ratio', [3, 10, 50, 300])
@pytest.mark.parametrize('offset', [0.0, 0.5])
def test_restore_recovers_the_peak_of_a_point_source(ratio, offset):
    threshold = 3.0
    sky = gaussian(40 + offset, 45 - offset / 2, threshold * ratio, SIGMA_PIX)
    restored = restore(stretch(sky, threshold), threshold)
    assert restored.max() == pytest.approx(sky.max(), rel=0.25)
    inside = sky > threshold
    np.testing.assert_allclose(restored[inside], sky[inside], rtol=0.3)
    assert restored[~inside].max() <= threshold
    assert restored[0, 0] < 1e-3


def test_restore_knows_islands_apart():
    threshold = 2.5
    bright, faint = gaussian(25, 30, 200, SIGMA_PIX), gaussian(65, 60, 8, SIGMA_PIX)
    restored = restore(stretch(bright, threshold) + stretch(faint, threshold), threshold)
    assert restored[30, 25] == pytest.approx(200, rel=0.25)
    assert restored[60, 65] == pytest.approx(8, rel=0.25)
    assert not restore(np.zeros((30, 30)), threshold).any()


def test_beam_of_radiogalaxynet():
    fwhm_arcsec = 2.3548 * SIGMA_PIX * PIXEL_ARCSEC
    assert fwhm_arcsec == pytest.approx(12.0, rel=1e-4)


# ---- real labelled subjects


@pytest.fixture(scope='module')
def labelled(data_dir):
    return list(labelled_first(data_dir / 'first' / 'rgz_train', data_dir / 'rgz' / 'catalogue.csv'))


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


def test_overlapping_real_subjects_share_a_fold(labelled):
    sky = SkyCoord([subject_position(s.name) for s in labelled])
    fold = np.array([s.fold for s in labelled])
    near = sky[:, None].separation(sky[None]) < 5 * u.arcmin
    assert (fold[:, None] == fold[None])[near].all()
    assert np.bincount(fold, minlength=N_FOLDS).min() >= 15


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


def test_radio_and_infrared_move_together(detection):
    image, boxes = marked()
    np.random.seed(8)
    cut = detection.transforms.CutSubject(132, shift=10, zoom=0.1, turn=True, tilt=20)
    results = cut.transform(dict(subject_dict(image, boxes), wide_infrared=image))
    np.testing.assert_array_equal(results['snr'], results['infrared'])


def test_drawn_hosts_are_where_the_sources_are():
    rng = np.random.default_rng(0)
    hosts = np.array([[60.0, 80.0], [140.0, 120.0]])
    seen = [drawn_infrared(rng, hosts, 5.4)[np.rint(hosts[:, 1]).astype(int), np.rint(hosts[:, 0]).astype(int)]
            for _ in range(60)]  # fmt: skip
    assert np.mean(np.array(seen) > 4) > 0.65  # 80 % have a host, some of them faint


def test_radiogalaxynet_without_its_infrared(tmp_path):
    folder = write_radiogalaxynet(tmp_path)
    (subject,) = radio_galaxy_net(folder, np.random.default_rng(1), infrared=True)
    assert subject.infrared.shape == (WIDE, WIDE)
    y, x = np.unravel_index(np.argmax(subject.infrared), subject.infrared.shape)
    # the star of the infrared picture lies on the source, which is in the middle
    np.testing.assert_allclose([x, y], (WIDE - 1) / 2, atol=2)
    (folder / 'infrared' / 'a.jpg').unlink()
    with pytest.raises(InputError, match=r'no infrared image of a\.png; pack without --infrared'):
        list(radio_galaxy_net(folder, np.random.default_rng(1), infrared=True))


def test_pictures_are_turned_with_their_boxes(detection):
    import torch
    from mmdet.structures.bbox import HorizontalBoxes

    picture = np.zeros((20, 20, 3), np.uint8)
    picture[4:7, 2:12] = 200
    turn = detection.transforms.TurnPicture()
    seen = set()
    for seed in range(40):
        np.random.seed(seed)
        boxes = HorizontalBoxes(torch.tensor([[2.0, 4.0, 12.0, 7.0]]))
        results = turn.transform(dict(img=picture, gt_bboxes=boxes))
        x1, y1, x2, y2 = results['gt_bboxes'].tensor[0].int().tolist()
        seen.add((x1, y1, x2, y2))
        inside = np.zeros((20, 20), bool)
        inside[y1:y2, x1:x2] = True
        np.testing.assert_array_equal(results['img'][..., 0] > 0, inside)
    assert len(seen) == 8


def test_views_are_averaged(detection):
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.config import ConfigDict
    from mmengine.model import BaseModel
    from mmengine.structures import InstanceData

    def view(boxes, scores, labels, flipped=False):
        sample = DetDataSample(
            metainfo=dict(ori_shape=(100, 100), flip=flipped, flip_direction='horizontal' if flipped else None)
        )
        sample.pred_instances = InstanceData(
            bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            scores=torch.tensor(scores, dtype=torch.float32),
            labels=torch.tensor(labels, dtype=torch.int64),
        )
        return sample

    class Detector(BaseModel):
        def forward(self, inputs, data_samples=None, mode='tensor'):
            raise NotImplementedError

    options = ConfigDict(nms=dict(type='nms', iou_threshold=0.5), max_per_img=3)
    views = detection.AveragedViews(module=Detector(), tta_cfg=options)
    seen = [
        # the second box of the first view is a weaker look at the same source, and does not count twice
        view([[10, 10, 30, 30], [11, 10, 31, 30], [60, 60, 80, 80]], [0.8, 0.5, 0.9], [0, 0, 1]),
        view([[66, 10, 86, 30], [60, 10, 80, 30]], [0.4, 0.1], [0, 2], flipped=True),  # 14 ... 34 and 20 ... 40
    ]
    (merged,) = views.merge_preds([seen])
    found = merged.pred_instances
    assert found.labels.tolist() == [0, 1, 2]
    torch.testing.assert_close(found.scores, torch.tensor([0.6, 0.45, 0.05]))
    middle = 10 + 4 * 0.4 / 1.2
    expected = [[middle, 10, middle + 20, 30], [60, 60, 80, 80], [20, 10, 40, 30]]
    torch.testing.assert_close(found.bboxes, torch.tensor(expected, dtype=torch.float32))
    assert merged.metainfo == seen[0].metainfo
    (nothing,) = views.merge_preds([[view([], [], []), view([], [], [], flipped=True)]])
    assert len(nothing.pred_instances) == 0
