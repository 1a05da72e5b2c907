"""Average precision: Eq. 12-14 by hand, by brute force and against mmdet's own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claran_plugin.boxes import box_iou
from claran_plugin.evaluation.average_precision import (
    AveragePrecision,
    Evaluated,
    average_precision,
    by_components,
    matched_sources,
    mean_average_precision,
    rank,
)
from claran_plugin.morphology import CLASSES, components_of

NOTHING = np.empty((0, 4))


def subject(detected, true):
    """Make an Evaluated from lists of (box, class, probability) and (box, class)."""
    return Evaluated(
        np.array([d[0] for d in detected], float).reshape(-1, 4),
        np.array([d[1] for d in detected], int),
        np.array([d[2] for d in detected], float),
        np.array([t[0] for t in true], float).reshape(-1, 4),
        np.array([t[1] for t in true], int),
    )


def square(x, y, side=10):
    return [x, y, x + side, y + side]


@st.composite
def scored(draw):
    """Draw subjects whose true sources are so far apart that a detection can fit only one."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    subjects = []
    for _ in range(draw(st.integers(1, 4))):
        n, m = rng.integers(0, 4), rng.integers(0, 9)
        corner = np.column_stack([np.arange(n) * 50, rng.uniform(0, 20, n)])
        truth = np.column_stack([corner, corner + rng.uniform(15, 30, (n, 2))])
        if n:
            boxes = truth[rng.integers(0, n, m)] + rng.normal(0, 3, (m, 4))
        else:
            boxes = np.tile([0, 0, 20, 20], (m, 1)) + rng.uniform(0, 5, (m, 4))
        subjects.append(Evaluated(boxes, rng.integers(0, 3, m), rng.random(m), truth, rng.integers(0, 3, n)))
    return subjects


def slow_iou(a, b):
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k]) for k in (0, 1))
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def slow_average_precision(subjects, kind):
    """Eq. 12 and 13, word by word."""
    ranking = []
    for number, s in enumerate(subjects):
        for box, c, p in zip(s.boxes, s.classes, s.probabilities, strict=True):
            if c == kind:
                ranking.append((p, number, box))
    ranking.sort(key=lambda entry: -entry[0])
    found, hits = set(), []
    for _, number, box in ranking:
        s = subjects[number]
        fits = [
            (number, k)
            for k, (true, c) in enumerate(zip(s.true_boxes, s.true_classes, strict=True))
            if c == kind and slow_iou(box, true) > 0.5 and (number, k) not in found
        ]
        hits.append(bool(fits))
        found.update(fits[:1])
    n_true = sum(int((s.true_classes == kind).sum()) for s in subjects)
    precision = [sum(hits[: k + 1]) / (k + 1) for k in range(len(hits))]
    total = sum(p for p, hit in zip(precision, hits, strict=True) if hit)
    best_later = sum(max(precision[k:]) for k, hit in enumerate(hits) if hit)
    return n_true, total, best_later, len(hits)


# ---- overlap


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1))
def test_box_iou(seed):
    rng = np.random.default_rng(seed)
    corners = rng.integers(0, 20, (2, 6, 2))
    a, b = (np.column_stack([c, c + rng.integers(0, 10, c.shape)]).astype(float) for c in corners)
    iou = box_iou(a, b)
    area = lambda x: (x[2] - x[0]) * (x[3] - x[1])  # noqa: E731
    for i in range(6):
        for k in range(6):
            if area(a[i]) + area(b[k]) > 0:
                assert iou[i, k] == pytest.approx(slow_iou(a[i], b[k]))
    np.testing.assert_array_equal(iou, box_iou(b, a).T)
    # by counting pixels
    y, x = np.mgrid[:30, :30] + 0.5
    inside = lambda box: (x > box[0]) & (x < box[2]) & (y > box[1]) & (y < box[3])  # noqa: E731
    one, other = inside(a[0]), inside(b[0])
    if (one | other).any():
        assert iou[0, 0] == pytest.approx((one & other).sum() / (one | other).sum())


def test_boxes_without_area_overlap_nothing():
    assert box_iou(np.array([[1.0, 1, 1, 1]]), np.array([[1.0, 1, 1, 1], [0, 0, 2, 2]])).tolist() == [[0, 0]]
    assert box_iou(NOTHING, np.array([[0.0, 0, 1, 1]])).shape == (0, 1)


# ---- Eq. 12-14


def test_by_hand():
    # ranks: hit, miss, hit, hit; of 4 true sources: (1/1 + 2/3 + 3/4) / 4; the envelope lifts 2/3 to 3/4
    subjects = [
        subject(
            [(square(0, 0), 0, 0.9), (square(40, 40), 0, 0.8), (square(1, 0), 1, 0.99)],
            [(square(0, 1), 0), (square(80, 80), 0)],
        ),
        subject([(square(0, 0), 0, 0.6), (square(30, 30), 0, 0.5)], [(square(0, 0), 0), (square(30, 31), 0)]),
    ]
    result = average_precision(subjects, 0)
    assert result.ap == pytest.approx((1 + 2 / 3 + 3 / 4) / 4)
    assert result.envelope == pytest.approx((1 + 3 / 4 + 3 / 4) / 4)
    assert (result.n_true, result.n_detected) == (4, 4)


def test_perfect_and_hopeless():
    perfect = subject([(square(0, 0), 2, 0.5)], [(square(0, 0), 2)])
    assert average_precision([perfect], 2).ap == 1
    assert average_precision([perfect._replace(boxes=perfect.boxes + 100)], 2).ap == 0
    assert average_precision([subject([], [(square(0, 0), 2)])], 2) == AveragePrecision(0, 0, 1, 0)


def test_a_class_without_true_sources():
    result = average_precision([subject([(square(0, 0), 1, 0.5)], [])], 1)
    assert np.isnan(result.ap)
    assert (result.n_true, result.n_detected) == (0, 1)
    assert np.isnan(average_precision([], 0).ap)


def test_a_second_detection_of_a_source_is_false():
    box, truth = square(0, 0), [(square(0, 0), 0), (square(50, 50), 0)]
    twice = [(box, 0, 0.9), (box, 0, 0.8), (square(50, 50), 0, 0.7)]
    assert average_precision([subject(twice, truth)], 0).ap == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision([subject(twice[::2], truth)], 0).ap == 1


def test_the_overlap_must_exceed_one_half():
    # 10 x 10 against its upper 10 x 5 is exactly 0.5
    truth = [(square(0, 0), 0)]
    assert average_precision([subject([([0, 0, 10, 5], 0, 0.9)], truth)], 0).ap == 0
    assert average_precision([subject([([0, 0, 10, 5.01], 0, 0.9)], truth)], 0).ap == 1


def test_detections_are_ranked_over_all_subjects():
    good, bad = (square(0, 0), 0, 0.9), (square(70, 70), 0, 0.95)
    truth = [(square(0, 0), 0)]
    together = average_precision([subject([good], truth), subject([bad], truth)], 0)
    assert together.ap == pytest.approx(1 / 2 / 2)


@settings(deadline=None, max_examples=200)
@given(scored())
def test_against_brute_force(subjects):
    for kind in range(3):
        n_true, total, best_later, n_detected = slow_average_precision(subjects, kind)
        result = average_precision(subjects, kind)
        assert (result.n_true, result.n_detected) == (n_true, n_detected)
        if not n_true:
            assert np.isnan(result.ap)
            continue
        assert result.ap == pytest.approx(total / n_true)
        assert result.envelope == pytest.approx(best_later / n_true)
        assert 0 <= result.ap <= result.envelope + 1e-12
        assert result.envelope <= 1


@settings(deadline=None, max_examples=40)
@given(scored(), st.integers(0, 2**32 - 1))
def test_order_does_not_matter(subjects, seed):
    rng = np.random.default_rng(seed)
    moved = []
    for s in subjects:
        d, t = rng.permutation(len(s.boxes)), rng.permutation(len(s.true_boxes))
        moved.append(Evaluated(s.boxes[d], s.classes[d], s.probabilities[d], s.true_boxes[t], s.true_classes[t]))
    moved = [moved[k] for k in rng.permutation(len(moved))]
    for kind in range(3):
        np.testing.assert_allclose(average_precision(moved, kind), average_precision(subjects, kind))


def test_mean_is_over_classes_that_occur():
    results = [AveragePrecision(0.5, 0.6, 3, 4), AveragePrecision(np.nan, np.nan, 0, 2), AveragePrecision(1, 1, 1, 1)]
    assert mean_average_precision(results) == pytest.approx(0.75)
    assert np.isnan(mean_average_precision(results[1:2]))


def test_classes_are_merged_by_their_components():
    kinds = np.arange(len(CLASSES))
    boxes = np.array([square(30 * k, 0) for k in kinds], float)
    # each detection names the next class of the same number of components
    wrong = np.array([CLASSES.index(name) for name in ('1C_2P', '1C_3P', '1C_1P', '2C_3P', '2C_2P', '3C_3P')])
    one = Evaluated(boxes, wrong, np.linspace(0.9, 0.4, 6), boxes, kinds)
    merged = by_components([one], [components_of(name) for name in CLASSES])
    assert merged[0].true_classes.tolist() == [0, 0, 0, 1, 1, 2]
    assert [average_precision(merged, k).ap for k in range(3)] == [1, 1, 1]
    assert [average_precision([one], k).ap for k in range(6)] == [0, 0, 0, 0, 0, 1]


# ---- beside mmdet


@settings(deadline=None, max_examples=40)
@given(scored())
def test_the_envelope_is_mmdet_s_area(require_detector, subjects):
    from mmdet.evaluation import eval_map

    found = [
        [np.column_stack([s.boxes[s.classes == k], s.probabilities[s.classes == k]]).reshape(-1, 5) for k in range(3)]
        for s in subjects
    ]
    truth = [dict(bboxes=s.true_boxes, labels=s.true_classes) for s in subjects]
    _, results = eval_map(found, truth, iou_thr=0.5, eval_mode='area', nproc=1, logger='silent')
    for kind, result in enumerate(results):
        own = average_precision(subjects, kind)
        assert own.n_true == result['num_gts']
        if own.n_true:
            assert own.envelope == pytest.approx(float(result['ap']), abs=1e-6)


def test_metric_through_mmengine(require_detector):
    import torch
    from mmdet.structures import DetDataSample
    from mmengine.evaluator import Evaluator
    from mmengine.registry import init_default_scope
    from mmengine.structures import InstanceData

    import claran_plugin.detection.training  # noqa: F401

    init_default_scope('mmdet')
    rng = np.random.default_rng(0)
    n, scale = 12, 2.0
    evaluator = Evaluator(dict(type='MorphologyAP'))
    evaluator.dataset_meta = dict(classes=CLASSES)
    expected = []
    for start in range(0, n, 4):
        samples = []
        for _ in range(4):
            m = rng.integers(1, 4)
            corner = np.column_stack([np.arange(m) * 40.0, rng.uniform(0, 60, m)])
            truth = np.column_stack([corner, corner + rng.uniform(10, 30, (m, 1))])
            kinds, found = rng.integers(0, 6, m), rng.integers(0, 6, m)
            boxes, scores = truth + rng.normal(0, 1.5, (m, 4)), rng.random(m)
            found = np.where(rng.random(m) < 0.6, kinds, found)
            expected.append(Evaluated(boxes, found, scores, truth, kinds))
            # mmdet gives detections in pixels of the picture, the truth in those of the network's input
            samples.append(
                DetDataSample(
                    metainfo=dict(scale_factor=(scale, scale)),
                    gt_instances=InstanceData(bboxes=torch.from_numpy(truth * scale), labels=torch.from_numpy(kinds)),
                    pred_instances=InstanceData(
                        bboxes=torch.from_numpy(boxes), labels=torch.from_numpy(found), scores=torch.from_numpy(scores)
                    ),
                )
            )
        evaluator.process(samples, dict(index=start))
    values = evaluator.evaluate(n)
    six = [average_precision(expected, k) for k in range(6)]
    assert values['claran/mAP6'] == pytest.approx(np.mean([r.ap for r in six if r.n_true]))
    number = np.array([int(name[0]) - 1 for name in CLASSES])
    merged = [s._replace(classes=number[s.classes], true_classes=number[s.true_classes]) for s in expected]
    three = [average_precision(merged, k) for k in range(3)]
    assert values['claran/mAP3'] == pytest.approx(np.mean([r.ap for r in three if r.n_true]))
    for name, result in zip(CLASSES, six, strict=True):
        assert values[f'claran/n_{name}'] == result.n_true
        assert values[f'claran/AP_{name}'] == pytest.approx(result.ap, nan_ok=True)


# ---- matching and ranking


@settings(deadline=None, max_examples=60)
@given(scored())
def test_matches_are_right_and_unique(subjects):
    for s in subjects:
        found = matched_sources(s)
        hits = np.flatnonzero(found >= 0)
        assert len(set(found[hits])) == len(hits)
        for k in hits:
            assert s.classes[k] == s.true_classes[found[k]]
            assert slow_iou(s.boxes[k], s.true_boxes[found[k]]) > 0.5
        # what is not matched has no overlapping source of its class, or a more probable detection has taken it
        for k in np.flatnonzero(found < 0):
            for source in np.flatnonzero(s.true_classes == s.classes[k]):
                if slow_iou(s.boxes[k], s.true_boxes[source]) > 0.5:
                    taker = np.flatnonzero(found == source)
                    assert s.probabilities[taker] >= s.probabilities[k]


@settings(deadline=None, max_examples=60)
@given(scored())
def test_the_area_under_the_ranking_is_the_average_precision(subjects):
    for kind in range(3):
        ranking = rank(subjects, kind)
        assert (np.diff(ranking.probabilities) <= 0).all()
        result = average_precision(subjects, kind)
        if not ranking.n_true:
            continue
        # rectangles under the precision-recall curve
        steps = np.diff(ranking.recall, prepend=0)
        assert np.sum(steps * ranking.precision) == pytest.approx(result.ap)


def test_mean_of_the_envelope():
    results = [AveragePrecision(0.5, 0.6, 3, 4), AveragePrecision(0.7, 0.8, 1, 2)]
    assert mean_average_precision(results, envelope=True) == pytest.approx(0.7)


def test_detections_of_what_is_ignored_do_not_count(require_detector):
    import torch
    from mmdet.registry import METRICS
    from mmengine.structures import InstanceData

    import claran_plugin.detection.training  # noqa: F401

    def boxes(*rows):
        return torch.tensor(rows, dtype=torch.float64)

    # the true source; another that is none; parts of the ignored one, and one that it is a small part of
    found = boxes([0, 0, 20, 20], [60, 60, 80, 80], [30, 30, 50, 50], [32, 32, 40, 40], [30, 30, 90, 90])
    sample = dict(
        gt_instances=InstanceData(bboxes=boxes([0, 0, 20, 20]), labels=torch.tensor([0])),
        ignored_instances=InstanceData(bboxes=boxes([30, 30, 52, 52], [0, 0, 30, 30]), labels=torch.tensor([0, 0])),
        pred_instances=InstanceData(bboxes=found, labels=torch.zeros(5, dtype=int), scores=torch.full((5,), 0.5)),
    )
    metric = METRICS.build(dict(type='MorphologyAP'))
    metric.process({}, [sample])
    ((_, kept),) = metric.results
    assert kept.boxes.tolist() == found[[0, 1, 4]].tolist()
    del sample['ignored_instances'], sample['claran_truth']
    metric.process({}, [sample])
    assert len(metric.results[1][1].boxes) == 5
