"""The exact partition: every way of solving it gives the best of all, and enormous problems end."""

import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from claran_plugin import exact_partition
from claran_plugin.exact_partition import SetPartition


@st.composite
def problems(draw, most=7):
    """A few components, some in one island, and sets of them."""
    n = draw(st.integers(1, most))
    island = np.array(draw(st.lists(st.integers(0, most - 1), min_size=n, max_size=n)))
    sets = {frozenset([member]) for member in range(n)}
    sets |= {frozenset(np.flatnonzero(island == name).tolist()) for name in set(island.tolist())}
    sets |= set(draw(st.lists(st.frozensets(st.integers(0, n - 1), min_size=1), max_size=12)))
    ordered = sorted(sets, key=sorted)
    evidence = draw(st.lists(st.floats(-6, 6), min_size=len(ordered), max_size=len(ordered)))
    return ordered, np.array(evidence), island


def partitions(left, sets):
    """All ways to have every component once, as lists of the numbers of sets."""
    if not left:
        yield []
        return
    for index, members in enumerate(sets):
        if min(left) in members and members <= left:
            for rest in partitions(left - members, sets):
                yield [index, *rest]


def check(problem, solved):
    sets, evidence, island = problem
    every = [(evidence[way].sum(), set(way)) for way in partitions(frozenset(range(len(island))), sets)]
    best = max(total for total, _ in every)
    assert evidence[solved.chosen].sum() == pytest.approx(best, abs=1e-6)
    assert sorted(member for index in solved.chosen for member in sets[index]) == list(range(len(island)))
    for index, margin in zip(solved.chosen, solved.margin, strict=True):
        without = max((total for total, way in every if index not in way), default=-np.inf)
        assert margin == pytest.approx(best - without, abs=1e-5)


@settings(deadline=None, max_examples=150)
@given(problems())
def test_it_is_the_best_of_all(problem):
    check(problem, SetPartition(*problem))


@settings(deadline=None, max_examples=40)
@given(problems())
def test_the_integer_solver_gives_the_same(problem):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_partition, 'MOST_STATES', 0)
        check(problem, SetPartition(*problem))


@settings(deadline=None, max_examples=60)
@given(problems())
def test_margins_of_exchanges_are_no_smaller(problem):
    exact = SetPartition(*problem)
    totals = sorted(problem[1][way].sum() for way in partitions(frozenset(range(len(problem[2]))), problem[0]))
    assume(len(totals) == 1 or totals[-1] - totals[-2] > 1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_partition, 'MOST_MARGINS', 0)
        exchanged = SetPartition(*problem)
    assert exchanged.chosen == exact.chosen
    assert np.all(np.array(exchanged.margin) >= np.array(exact.margin) - 1e-6)


@settings(deadline=None, max_examples=60)
@given(problems())
def test_greedily_every_component_is_in_one_set(problem):
    sets, _, island = problem
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact_partition, 'MOST_STATES', 0)
        patch.setattr(exact_partition, 'MOST_SETS', 0)
        solved = SetPartition(*problem)
    assert sorted(member for index in solved.chosen for member in sets[index]) == list(range(len(island)))


def dense(n, per_component, reach, seed=1):
    """Components in a row, each an island, and sets of neighbours."""
    rng = np.random.default_rng(seed)
    sets = {frozenset([member]) for member in range(n)}
    for member in range(n):
        for _ in range(per_component):
            near = member + rng.choice(reach, rng.integers(1, 4), replace=False)
            sets.add(frozenset([member, *near[near < n].tolist()]))
    ordered = sorted(sets, key=sorted)
    evidence = np.array([0.0 if len(members) == 1 else rng.normal(-1, 2) for members in ordered])
    return ordered, evidence, np.arange(n)


def many(number):
    """Sets and evidence of some clusters of ten components."""
    clusters = [dense(10, 3, 5, seed) for seed in range(20)]
    sets, evidence = [], []
    for k in range(number):
        some, theirs, _ = clusters[k % 20]
        sets += [frozenset(member + 10 * k for member in members) for members in some]
        evidence += theirs.tolist()
    return sets, evidence


def test_a_hundred_thousand_components_in_seconds():
    sets, evidence = many(10_000)
    start = time.process_time()
    solved = SetPartition(sets, np.array(evidence), np.arange(100_000))
    seconds = time.process_time() - start
    assert sum(len(sets[index]) for index in solved.chosen) == 100_000
    assert seconds < 30  # 10 s on a quiet machine


def test_poor_sets_of_everything_neither_slow_it_down_nor_change_it():
    sets, evidence = many(1000)
    island = np.arange(10_000)
    alone = SetPartition(sets, np.array(evidence), island)
    start = time.process_time()
    wide = [frozenset(range(k, 10_000)) for k in range(60)]
    solved = SetPartition([*sets, *wide], np.array([*evidence, *[-9.0] * 60]), island)
    assert time.process_time() - start < 30
    assert sorted(solved.chosen) == sorted(alone.chosen)
    margin = dict(zip(solved.chosen, solved.margin, strict=True))
    assert all(margin[index] >= value - 1e-6 for index, value in zip(alone.chosen, alone.margin, strict=True))


def test_ten_thousand_components_in_one_cluster_end_in_bounded_time():
    problem = dense(10_000, 6, 40)
    start = time.process_time()
    solved = SetPartition(*problem)
    assert sum(len(problem[0][index]) for index in solved.chosen) == 10_000
    assert len(solved.margin) == len(solved.chosen)
    assert time.process_time() - start < 60


def test_a_cluster_of_thousands_of_sets_is_solved_once(monkeypatch):
    solve, calls = exact_partition.milp, []

    def counted(*args, **options):
        calls.append(args)
        return solve(*args, **options)

    monkeypatch.setattr(exact_partition, 'milp', counted)
    problem = dense(60, 150, 60)
    assert len(problem[0]) > exact_partition.MOST_MARGIN_SETS
    solved = SetPartition(problem[0], np.abs(problem[1]), problem[2])
    assert len(calls) == 1
    assert len(solved.chosen) > 1
    assert min(solved.margin) > -1e-6
