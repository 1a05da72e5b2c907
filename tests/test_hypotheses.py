"""Hypotheses in arrays: what goes in comes out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claran_plugin.hypotheses import Hypotheses, Hypothesis
from claran_plugin.morphology import CLASSES

finite = st.floats(-1e6, 1e6)


@st.composite
def rows(draw):
    return Hypothesis(
        draw(st.frozensets(st.integers(0, 2**31 - 1), min_size=1, max_size=9)),
        draw(finite),
        np.array(draw(st.lists(finite, min_size=len(CLASSES), max_size=len(CLASSES)))),
        draw(st.none() | st.lists(finite, min_size=4, max_size=4).map(np.array)),
        *draw(st.tuples(st.floats(0, 1), finite, *[st.integers(0, 1000)] * 3)),
    )


def told(hypothesis):
    box = None if hypothesis.box is None else tuple(hypothesis.box)
    return hypothesis._replace(box=box, probabilities=tuple(hypothesis.probabilities))


def all_told(hypotheses):
    return [told(hypothesis) for hypothesis in hypotheses]


@settings(deadline=None, max_examples=60)
@given(st.lists(rows(), max_size=6), st.data())
def test_what_goes_in_comes_out(given_rows, data):
    made = Hypotheses.of(given_rows)
    expected = all_told(given_rows)
    assert len(made) == len(given_rows)
    assert all_told(made) == expected
    assert [told(made[number]) for number in range(len(made))] == expected
    assert made.sets() == [row.members for row in given_rows]
    chosen = data.draw(st.lists(st.booleans(), min_size=len(made), max_size=len(made)))
    some = made[np.array(chosen, bool)]
    assert all_told(some) == [row for row, is_chosen in zip(expected, chosen, strict=True) if is_chosen]
    assert some.sets() == [row.members for row in some]
    assert all_told(made[::-1]) == expected[::-1]
    assert all_told(made[np.flatnonzero(chosen)[::-1]]) == all_told(some)[::-1]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.lists(rows(), max_size=3), max_size=3))
def test_joined(parts):
    joined = Hypotheses.joined(Hypotheses.of(part) for part in parts)
    assert all_told(joined) == [told(row) for part in parts for row in part]


def test_other_evidence_leaves_the_rest():
    row = Hypothesis(frozenset([3, 1]), 2.0, np.zeros(len(CLASSES)), None, scale=4)
    made = Hypotheses.of([row, row])
    other = made.with_evidence(np.array([0.5, -1.0]))
    assert all_told(other) == [told(row._replace(evidence=0.5)), told(row._replace(evidence=-1.0))]
    assert made[0].evidence == made[-1].evidence == 2.0


def test_beyond_the_end():
    with pytest.raises(IndexError):
        Hypotheses.of([])[0]
