"""Detections and components into sources: properties that hold for any input, and small cases done by hand."""

import time

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from small_partitions import FIELD, components, sources

from claran_plugin import association
from claran_plugin.association import associate
from claran_plugin.claimed import Components, flux_shares, unit_disc_points
from claran_plugin.claims import CERTAIN, Detections, claims
from claran_plugin.hypotheses import Hypotheses, Hypothesis
from claran_plugin.morphology import CLASSES

NO_CENTRES = np.empty((0, 2))


def detections(boxes=(), probability=(), field=None, kind=0):
    """Give detections that are sure of one class."""
    boxes = np.asarray(boxes, float).reshape(-1, 4)
    probabilities = np.zeros((len(boxes), len(CLASSES)))
    probabilities[:, kind] = probability
    return Detections(boxes, probabilities, np.zeros(len(boxes), int) if field is None else np.asarray(field, int))


def around(*xy, margin=10.0):
    xy = np.array(xy)
    return [*(xy.min(0) - margin), *(xy.max(0) + margin)]


def partitions_of(elements):
    """Give all partitions of a list, as lists of frozensets."""
    if not elements:
        yield []
        return
    first, rest = elements[0], elements[1:]
    for smaller in partitions_of(rest):
        yield [frozenset([first]), *smaller]
        for i, block in enumerate(smaller):
            yield [block | {first}, *smaller[:i], *smaller[i + 1 :]]


@st.composite
def scenes(draw, most=7, boxes=8):
    """Draw components in islands, fields of view and detections in them."""
    n = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    xy = rng.uniform(0, 200, (n, 2))
    if draw(st.booleans()):
        xy[0] = 900, 900  # outside all fields
    parts = Components(
        xy,
        np.array([np.diag(rng.uniform(1, 60, 2)) for _ in range(n)]),
        rng.lognormal(0, 1, n),
        rng.integers(0, n, n),
    )
    centres = rng.uniform(40, 160, (draw(st.integers(1, 3)), 2))
    m = draw(st.integers(0, boxes))
    members = [rng.choice(n, rng.integers(1, min(n, 3) + 1), replace=False) for _ in range(m)]
    margins = rng.uniform(2, 25, m)
    found = Detections(
        np.array([around(*xy[k], margin=w) for k, w in zip(members, margins, strict=True)]).reshape(-1, 4),
        # sums stay away from 1, where log odds are cut off and sets may be equally good
        rng.dirichlet(np.ones(6), m).reshape(m, 6) * rng.uniform(0.01, 0.98, (m, 1)),
        rng.integers(0, len(centres), m),
    )
    return parts, found, centres, draw(st.sampled_from([0.5, 0.75, 1.5]))


def solve(scene):
    parts, found, centres, step = scene
    return associate(parts, found, centres, step, FIELD)


# ---- what holds for any input


@settings(deadline=None, max_examples=80)
@given(scenes(most=12, boxes=20))
def test_the_result_is_an_exact_partition(scene):
    partition = solve(scene)
    n = len(scene[0].xy)
    assert partition.labels.shape == (n,)
    assert sorted(set(partition.labels.tolist())) == list(range(len(partition.hypotheses)))
    assert sum(len(h.members) for h in partition.hypotheses) == n
    for label, hypothesis in enumerate(partition.hypotheses):
        assert hypothesis.members == set(np.flatnonzero(partition.labels == label).tolist())
        assert hypothesis.probabilities.shape == (6,)
        assert -1e-9 <= hypothesis.probabilities.sum() <= 1 + 1e-9
        assert (hypothesis.box is None) == (hypothesis.probabilities.sum() == 0)
    # numbered in order of first appearance
    _, first = np.unique(partition.labels, return_index=True)
    assert (np.diff(first) > 0).all()
    assert partition.margin.shape == (len(partition.hypotheses),)
    assert (partition.margin >= -1e-6).all()
    assert (partition.margin <= CERTAIN).all()


@settings(deadline=None, max_examples=60)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_order_of_detections_and_fields_does_not_matter(scene, seed):
    parts, found, centres, step = scene
    rng = np.random.default_rng(seed)
    order, fields = rng.permutation(len(found.boxes)), rng.permutation(len(centres))
    moved = Detections(found.boxes[order], found.probabilities[order], np.argsort(fields)[found.field[order]])
    a, b = solve(scene), associate(parts, moved, centres[fields], step, FIELD)
    np.testing.assert_array_equal(a.labels, b.labels)
    np.testing.assert_allclose(a.margin, b.margin, atol=1e-6)
    for one, other in zip(a.hypotheses, b.hypotheses, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities)


@settings(deadline=None, max_examples=60)
@given(scenes(), st.integers(0, 2**32 - 1))
def test_order_of_components_does_not_matter(scene, seed):
    parts, found, centres, step = scene
    order = np.random.default_rng(seed).permutation(len(parts.xy))
    moved = Components(*(part[order] for part in parts))
    renamed = moved._replace(island=7 - 3 * moved.island)
    expected = sources(solve(scene))
    for other in (moved, renamed):
        partition = associate(other, found, centres, step, FIELD)
        assert {frozenset(order[list(members)].tolist()) for members in sources(partition)} == expected


@settings(deadline=None, max_examples=80)
@given(scenes(most=6))
def test_the_partition_is_the_best_of_all(scene):
    parts, found, centres, step = scene
    seen = claims(parts, found, centres, step, FIELD)
    best: dict = {}
    for h in [*association._defaults(parts.island, seen), *seen]:
        if h.members in best:  # a poor detection does not tell against what needs none
            h = h._replace(evidence=max(h.evidence, best[h.members].evidence))
        best[h.members] = h
    limited = association._limited(list(best), Hypotheses.of(best.values()), Hypotheses.of([]))
    evidence = dict(zip(best, limited.tolist(), strict=True))
    totals = sorted(
        (
            (sum(evidence[block] for block in blocks), frozenset(blocks))
            for blocks in partitions_of(list(range(len(parts.xy))))
            if all(block in evidence for block in blocks)
        ),
        key=lambda pair: -pair[0],
    )
    partition = solve(scene)
    assert sum(h.evidence for h in partition.hypotheses) == pytest.approx(totals[0][0], abs=1e-6)
    if len(totals) > 1:
        assume(totals[0][0] - totals[1][0] > 1e-5)
    assert sources(partition) == totals[0][1]
    for label, hypothesis in enumerate(partition.hypotheses):
        without = [total for total, blocks in totals if hypothesis.members not in blocks]
        expected = min(totals[0][0] - max(without), CERTAIN) if without else CERTAIN
        assert partition.margin[label] == pytest.approx(expected, abs=1e-5)


@settings(deadline=None, max_examples=40)
@given(scenes(most=10))
def test_without_detections_islands_stay_whole(scene):
    parts, _, centres, step = scene
    partition = associate(parts, detections(), centres, step, FIELD)
    assert sources(partition) == {
        frozenset(np.flatnonzero(parts.island == i).tolist()) for i in set(parts.island.tolist())
    }
    assert all(h.box is None for h in partition.hypotheses)


# ---- small cases


def test_a_detection_joins_the_components_that_it_holds():
    parts = components([[50, 50], [70, 50], [100, 110]])
    found = detections([around([50, 50], [70, 50])], [0.95], kind=3)
    partition = associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD)
    assert partition.labels.tolist() == [0, 0, 1]
    np.testing.assert_array_equal(partition.hypotheses[0].box, found.boxes[0])
    np.testing.assert_allclose(partition.hypotheses[0].probabilities, found.probabilities[0])
    assert partition.hypotheses[1].box is None
    assert partition.margin[0] > 1


def test_an_unlikely_detection_joins_nothing():
    parts = components([[50, 50], [70, 50]])
    for probability in (0.0, 0.02, 0.2):
        found = detections([around([50, 50], [70, 50])], [probability])
        assert associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD).labels.tolist() == [0, 1]


def test_the_likelier_of_two_detections_wins():
    parts = components([[40, 60], [60, 60], [80, 60]])
    boxes = [around([40, 60], [60, 60], margin=8), around([60, 60], [80, 60], margin=8)]
    for probability, expected in (([0.9, 0.7], [0, 0, 1]), ([0.7, 0.9], [0, 1, 1])):
        partition = associate(parts, detections(boxes, probability), np.array([[66.0, 66.0]]), 1.0, FIELD)
        assert partition.labels.tolist() == expected


def test_two_good_detections_of_parts_do_not_outvote_the_whole():
    parts = components([[50, 60], [80, 60]])
    boxes = [around([50, 60]), around([80, 60]), around([50, 60], [80, 60])]
    partition = associate(parts, detections(boxes, [0.3, 0.3, 0.9]), np.array([[66.0, 66.0]]), 1.0, FIELD)
    assert partition.labels.tolist() == [0, 0]


def test_a_field_that_shows_a_source_but_does_not_find_it_counts_against_it():
    parts = components([[60, 66], [72, 66]])
    found = detections([around([60, 66], [72, 66])], [0.75])
    seen_once = associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD)
    seen_by_one_of_three = associate(parts, found, np.array([[66.0, 66.0], [64, 66], [66, 64]]), 1.0, FIELD)
    assert seen_once.labels.tolist() == [0, 0]
    assert seen_by_one_of_three.labels.tolist() == [0, 1]


def test_an_island_is_divided_only_for_good_reason():
    parts = components([[50, 60], [75, 60]], island=[4, 4])
    boxes = [around([50, 60]), around([75, 60])]
    for probability, expected in ((0.55, [0, 0]), (0.999, [0, 1])):
        found = detections(boxes, [probability] * 2)
        partition = associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD)
        assert partition.labels.tolist() == expected, probability


def test_nothing_to_associate():
    empty = components(NO_CENTRES)
    for found, centres in ((detections(), NO_CENTRES), (detections([[0, 0, 9, 9]], [0.9]), np.array([[5.0, 5.0]]))):
        partition = associate(empty, found, centres, 1.0, FIELD)
        assert partition.labels.shape == (0,)
        assert len(partition.hypotheses) == 0
        assert partition.margin.shape == (0,)


def test_no_field_of_view_at_all():
    partition = associate(components([[1, 2], [3, 4]]), detections(), NO_CENTRES, 1.0, FIELD)
    assert partition.labels.tolist() == [0, 1]
    assert partition.margin.tolist() == [CERTAIN, CERTAIN]


def test_components_outside_every_field_are_kept():
    far = [[-1e6, -1e6], [-1.01e6, -1.01e6], [5000, 40]]
    parts = components([[60, 66], *far])
    found = detections([around([60, 66]), [-1e7, -1e7, 1e7, 1e7]], [0.9, 0.9])
    partition = associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD)
    assert partition.labels.tolist() == [0, 1, 2, 3]


def test_brightness_without_value_does_no_harm():
    parts = components([[50, 60], [70, 60], [90, 60]], island=[1, 1, 2], flux=[np.nan, 0.0, -1.0])
    found = detections([around([50, 60], [90, 60])], [0.9])
    assert associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD).labels.tolist() == [0, 0, 0]


def test_many_components_are_solved_quickly():
    rng = np.random.default_rng(0)
    xy = rng.uniform(0, 2000, (600, 2))
    centres = np.array([[x, y] for x in range(50, 2000, 100) for y in range(50, 2000, 100)], float)
    field = rng.integers(0, len(centres), 3000)
    corner = centres[field] + rng.uniform(-60, 20, (3000, 2))
    boxes = np.column_stack([corner, corner + rng.uniform(5, 60, (3000, 2))])
    found = Detections(boxes, rng.dirichlet(np.ones(7), 3000)[:, :6], field)
    start = time.perf_counter()
    partition = associate(components(xy), found, centres, 1.0, FIELD)
    assert time.perf_counter() - start < 20
    assert sum(len(members) for members in sources(partition)) == 600


# ---- flux in boxes


def test_points_stand_for_a_gaussian():
    points = unit_disc_points()
    np.testing.assert_allclose(points.mean(axis=0), 0, atol=0.06)
    np.testing.assert_allclose(np.cov(points.T), np.eye(2), atol=0.15)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
@example(0)
def test_flux_shares_against_random_points(seed):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(5, 2, 2)) * 4 + np.eye(2)
    covariance = root @ root.swapaxes(1, 2) + np.eye(2) * 0.1
    xy = rng.uniform(0, 30, (5, 2))
    corner = rng.uniform(-10, 30, (6, 2))
    boxes = np.column_stack([corner, corner + rng.uniform(1, 40, (6, 2))])
    shares = flux_shares(xy, np.linalg.cholesky(covariance), boxes)
    assert shares.shape == (5, 6)
    for i in range(5):
        drawn = rng.multivariate_normal(xy[i], covariance[i], 4000)[:, None]
        expected = ((drawn > boxes[:, :2]) & (drawn < boxes[:, 2:])).all(axis=2).mean(axis=0)
        np.testing.assert_allclose(shares[i], expected, atol=0.17)
        assert np.abs(shares[i] - expected).mean() < 0.08


def test_flux_shares_of_plain_cases():
    parts = components([[50, 50]], sigma=3.0)
    boxes = [[0, 0, 100, 100], [50, 0, 100, 100], [60, 60, 100, 100], [70, 70, 100, 100]]
    shares = flux_shares(parts.xy, np.linalg.cholesky(parts.covariance), np.array(boxes, float))[0]
    assert shares[0] == 1
    assert shares[1] == pytest.approx(0.5, abs=0.06)
    assert shares[2] < 0.03
    assert shares[3] == 0


def test_a_whole_and_its_parts_are_not_both_certain():
    parts = components([[50, 66], [82, 66]])
    boxes = np.array([[44.0, 60, 56, 72], [76, 60, 88, 72], [40, 40, 92, 92]])
    for whole, expected in ((0.97, [0, 0]), (0.75, [0, 1])):
        # without the limit two parts of 0.93, 2.6 units each, would outweigh any whole
        found = detections(boxes, [0.93, 0.93, whole])
        partition = associate(parts, found, np.array([[66.0, 66.0]]), 1.0, FIELD)
        assert partition.labels.tolist() == expected


@pytest.mark.parametrize(('together', 'floor'), [(1.5, -1.5), (-1.0, 0.0), (7.0, association.LEAST_EVIDENCE)])
def test_an_island_is_as_unlikely_as_a_set_that_it_is_part_of_is_likely(together, floor):
    nothing = np.zeros(len(CLASSES))
    seen = [Hypothesis(frozenset({0, 1, 2}), together, nothing, None), Hypothesis(frozenset({3}), 4.0, nothing, None)]
    found = {h.members: h.evidence for h in association._defaults(np.array([5, 5, 8, 9]), Hypotheses.of(seen))}
    assert found[frozenset({0, 1})] == found[frozenset({2})] == floor
    assert found[frozenset({3})] == 0  # its own detection does not tell against it
    assert found[frozenset({0})] == found[frozenset({1})] == -association.SPLIT_PENALTY
