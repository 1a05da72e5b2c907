"""Pixels and boxes move together: cutting, turning and fusing."""

import numpy as np
import pytest
from packed_subjects import MARKS, boxes_of_marks, detection, marked, subject_dict

from claran_plugin.datasets.packed_subjects import WIDE
from claran_plugin.fusion import FUSIONS
from claran_plugin.turns import turned as turned_image
from claran_plugin.turns import turned_back_boxes, turned_boxes

__all__ = ['detection']  # fixtures


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


def test_radio_and_infrared_move_together(detection):
    image, boxes = marked()
    np.random.seed(8)
    cut = detection.transforms.CutSubject(132, shift=10, zoom=0.1, turn=True, tilt=20)
    results = cut.transform(dict(subject_dict(image, boxes), wide_infrared=image))
    np.testing.assert_array_equal(results['snr'], results['infrared'])


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
