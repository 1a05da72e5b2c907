"""Marked pictures whose boxes are known, a small packed set, and FIRST subjects with labels."""

import numpy as np
import pytest

from claran_plugin.datasets.packed_subjects import WIDE, PackedSubject, pack
from claran_plugin.datasets.training_data import labelled_first, simulated
from claran_plugin.labelled import N_FOLDS

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


@pytest.fixture(scope='session')
def labelled(data_dir):
    return list(labelled_first(data_dir / 'first' / 'rgz_train', data_dir / 'rgz' / 'catalogue.csv'))
