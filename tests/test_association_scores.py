import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from claran_plugin.evaluation.association_scores import (
    exact_recovery,
    friends_of_friends,
    true_source_of,
    truth_sets,
)

groupings = st.lists(st.integers(0, 4), min_size=1, max_size=12)


@given(groupings, st.randoms())
def test_the_truth_recovers_itself_whatever_its_numbers(truth, random):
    new = list(range(10, 15))
    random.shuffle(new)
    sets = [{i for i, t in enumerate(truth) if t == number} for number in sorted(set(truth))]
    assert exact_recovery(sets, [new[t] for t in truth]).all()


@given(groupings, groupings)
def test_recovery_is_equality_of_sets(truth, labels):
    n = min(len(truth), len(labels))
    truth, labels = truth[:n], labels[:n]
    sets = [{i for i in range(n) if truth[i] == number} for number in sorted(set(truth))]
    groups = [{i for i in range(n) if labels[i] == number} for number in set(labels)]
    np.testing.assert_array_equal(exact_recovery(sets, labels), [members in groups for members in sets])


def test_what_is_nobodys_spoils_no_group_unless_it_counts():
    sets, labels = [{0, 1}, {2}], [5, 5, 6, 5, 6]
    assert exact_recovery(sets, labels).tolist() == [False, False]
    assert exact_recovery(sets, labels, [False, False, False, True, True]).tolist() == [True, True]
    assert exact_recovery([], []).tolist() == []
    with pytest.raises(ValueError, match='true source 1 has no components'):
        exact_recovery([{0}, set()], [0])


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=9, unique=True), st.integers(1, 12))
def test_friends_of_friends_is_the_closure_of_nearness(points, length):
    labels = friends_of_friends(points, length)
    together = {frozenset([i]) for i in range(len(points))}
    for i, j in itertools.combinations(range(len(points)), 2):
        if np.hypot(points[i][0] - points[j][0], points[i][1] - points[j][1]) <= length:
            first, second = (next(group for group in together if k in group) for k in (i, j))
            together = together - {first, second} | {first | second}
    assert {frozenset(np.flatnonzero(labels == label)) for label in set(labels)} == together


def test_true_source_at_a_position():
    labels = np.zeros((20, 30), int)
    labels[5:8, 4:7] = 3
    labels[5, 20] = -1
    xy = [(5, 6), (9.9, 6), (10.1, 6), (20, 6), (14, 15), (-5, 6), (5, 400), (4.4, 4.6)]
    assert true_source_of(xy, labels, reach_pix=4.0).tolist() == [3, 3, 3, 0, 0, 0, 0, 3]
    assert true_source_of(xy, labels, reach_pix=3.0).tolist() == [3, 0, 0, 0, 0, 0, 0, 3]
    assert true_source_of(xy, np.zeros((20, 30), int), 4.0).tolist() == [0] * 8
    assert true_source_of([], labels, 4.0).tolist() == []


def test_sets_of_sources_that_were_found():
    assert truth_sets([4, 0, 2, 4, 0]) == [{2}, {0, 3}]
    assert truth_sets([0, 0]) == truth_sets([]) == []
