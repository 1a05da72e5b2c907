"""Probabilities of the catalogue: what they keep of the detector's, and what the counts do to them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claran_plugin.calibration import (
    Calibration,
    class_probabilities,
    count_likelihood,
    logistic,
    membership_probability,
    nearest_class,
    read_calibration,
)
from claran_plugin.errors import InputError
from claran_plugin.morphology import CLASSES, Counts, ManyCounts

SILENT = dict(peak_missed=1.0, peak_added=1.0, component_missed=1.0, component_wrong=1.0)
NEUTRAL = Calibration(**SILENT)

counts = st.builds(Counts, st.integers(0, 6), st.integers(0, 8))
calibrations = st.builds(
    Calibration,
    sharpness=st.floats(0.2, 2),
    peak_missed=st.floats(0.01, 1),
    peak_added=st.floats(0.01, 1),
    component_missed=st.floats(0.01, 1),
    component_wrong=st.floats(0.01, 1),
    existence=st.tuples(st.floats(0.1, 3), st.floats(-2, 2)),
    membership=st.tuples(st.floats(0.1, 3), st.floats(-2, 2)),
    large_existence=st.tuples(st.floats(0.1, 3), st.floats(-2, 2)),
    large_membership=st.tuples(st.floats(0.1, 3), st.floats(-2, 2)),
)


@st.composite
def detected(draw):
    """Draw six class probabilities, the rest to 1 being background."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.dirichlet(np.full(6, rng.uniform(0.2, 3))) * draw(st.floats(1e-3, 1))


@settings(deadline=None)
@given(detected(), counts, calibrations)
def test_probabilities_are_probabilities(values, counted, calibration):
    result = class_probabilities(values, counted, calibration)
    assert result.shape == (6,)
    assert (result >= 0).all()
    assert result.sum() <= 1 + 1e-12


@settings(deadline=None)
@given(detected(), counts)
def test_neutral_calibration_changes_nothing(values, counted):
    np.testing.assert_allclose(class_probabilities(values, counted, NEUTRAL), values, atol=1e-3)


@settings(deadline=None)
@given(detected(), counts, calibrations)
def test_the_sum_is_the_chance_that_the_source_exists(values, counted, calibration):
    other = Counts(counted.components + 1, counted.peaks + 1)
    sums = [class_probabilities(values, c, calibration).sum() for c in (counted, other)]
    total = np.clip(values.sum(), 1e-4, 1 - 1e-4)
    a, b = calibration.existence
    assert sums[0] == pytest.approx(sums[1])
    assert sums[0] == pytest.approx(1 / (1 + np.exp(-b) * ((1 - total) / total) ** a))


@settings(deadline=None)
@given(detected(), counts, calibrations, st.integers(0, 5), st.floats(0.01, 0.5))
def test_more_for_a_class_from_the_detector_is_more_in_the_catalogue(values, counted, calibration, kind, more):
    raised = values.copy()
    raised[kind] += more * (1 - values.sum())
    before, after = (class_probabilities(v, counted, calibration)[kind] for v in (values, raised))
    assert after >= before - 1e-12


@settings(deadline=None)
@given(calibrations)
def test_counts_are_likeliest_for_the_class_that_they_name(calibration):
    for kind, name in enumerate(CLASSES):
        likelihood = count_likelihood(Counts(int(name[0]), int(name[3])), calibration)
        assert likelihood[kind] == 1
        assert ((likelihood > 0) & (likelihood <= 1)).all()


@settings(deadline=None)
@given(detected(), calibrations, st.floats(0.01, 0.99))
def test_counting_a_class_speaks_for_it(values, calibration, factor):
    # where all faults are equally likely; in general a rare one may speak for a class that needs it twice
    calibration = calibration._replace(**dict.fromkeys(SILENT, factor))
    counted = [Counts(int(name[0]), int(name[3])) for name in CLASSES]
    results = np.array([class_probabilities(values, c, calibration) for c in counted])
    for kind in range(6):
        assert results[kind, kind] == pytest.approx(results[:, kind].max())


@settings(deadline=None)
@given(detected(), counts, calibrations)
def test_order_of_classes_is_kept_without_counts(values, counted, calibration):
    values = np.maximum(values, 2e-4 * values.sum())  # below a ten-thousandth all are taken as equal
    result = class_probabilities(values, counted, calibration._replace(**SILENT))
    order = np.argsort(values)
    assert (np.diff(result[order]) >= -1e-12).all()


def test_certainty_is_limited():
    for total in (0.0, 1.0):
        values = np.array([total, 0, 0, 0, 0, 0])
        result = class_probabilities(values, Counts(1, 1), NEUTRAL)
        assert np.isfinite(result).all()
        assert result.sum() == pytest.approx(total, abs=2e-4)


@settings(deadline=None)
@given(detected(), counts, counts, calibrations)
def test_several_counts_have_a_say_each(values, one, other, calibration):
    def together(*tried):
        return class_probabilities(values, ManyCounts(*np.array(tried).T), calibration)

    np.testing.assert_allclose(together(one, one, one), class_probabilities(values, one, calibration))
    np.testing.assert_allclose(together(one, other), together(other, one))
    each = [class_probabilities(values, counted, calibration) for counted in (one, other)]
    mean = np.exp(np.log(each).mean(axis=0))
    np.testing.assert_allclose(together(one, other), mean / mean.sum() * each[0].sum())


@settings(deadline=None)
@given(detected(), counts, calibrations)
def test_large_sources_are_calibrated_apart(values, counted, calibration):
    calibration = calibration._replace(large_existence=(0.3, -0.1), large_membership=(0.2, 0.4), large_counts=1.0)
    total = np.clip(values.sum(), 1e-4, 1 - 1e-4)
    own, large = (class_probabilities(values, counted, calibration, is_large) for is_large in (False, True))
    np.testing.assert_allclose(own / own.sum(), large / large.sum())
    assert large.sum() == pytest.approx(1 / (1 + np.exp(0.1) * ((1 - total) / total) ** 0.3))
    both = class_probabilities(
        np.stack([values] * 2), ManyCounts(*np.array([[counted] * 2]).T), calibration, np.array([False, True])
    )
    np.testing.assert_allclose(both, [own, large])
    less = class_probabilities(values, counted, calibration._replace(large_counts=0.3), True)
    assert less.sum() == pytest.approx(large.sum())
    spread = np.log(count_likelihood(counted, calibration))
    np.testing.assert_allclose(np.ptp(np.log(large / less) - 0.7 * spread), 0, atol=1e-6)
    stated = membership_probability([2.0, 2.0], [True, False], calibration)
    a, b = calibration.membership
    np.testing.assert_allclose(stated, [1 / (1 + np.exp(-0.8)), 1 / (1 + np.exp(-2 * a - b))])


def test_likelihood_of_counts():
    calibration = Calibration(peak_missed=0.4, peak_added=0.1, component_missed=0.3, component_wrong=0.05)
    likelihood = dict(zip(CLASSES, count_likelihood(Counts(2, 2), calibration), strict=True))
    assert likelihood == pytest.approx(
        {'1C_1P': 0.1, '1C_2P': 0.05, '1C_3P': 0.05 * 0.4, '2C_2P': 1.0, '2C_3P': 0.4, '3C_3P': 0.3}
    )
    likelihood = dict(zip(CLASSES, count_likelihood(Counts(3, 3), calibration), strict=True))
    assert likelihood['3C_3P'] == 1
    assert likelihood['1C_2P'] == pytest.approx(0.1 * 0.05)
    assert likelihood['1C_3P'] == pytest.approx(0.05**2)


@pytest.mark.parametrize(
    ('counted', 'name'), [((5, 8), '3C_3P'), ((500, 800), '3C_3P'), ((2, 300), '2C_3P'), ((1, 4), '1C_3P')]
)
def test_more_than_any_class_has_speaks_for_those_that_have_the_most(counted, name):
    calibration = Calibration(peak_missed=0.1, peak_added=0.01, component_missed=0.1, component_wrong=0.01)
    stated = class_probabilities(np.full(6, 0.15), Counts(*counted), calibration)
    assert CLASSES[int(stated.argmax())] == name
    assert stated.max() > 0.9 * stated.sum()
    assert stated.sum() == pytest.approx(logistic(np.log(0.9 / 0.1), calibration.existence))


@pytest.mark.parametrize(
    ('counted', 'name'),
    [((1, 1), '1C_1P'), ((2, 2), '2C_2P'), ((3, 3), '3C_3P'), ((5, 6), '3C_3P'), ((2, 5), '2C_3P'), ((1, 7), '1C_3P')],
)
def test_nearest_class(counted, name):
    assert CLASSES[nearest_class(Counts(*counted))] == name


def test_logistic():
    np.testing.assert_allclose(logistic([0.0, np.log(3)], (1.0, 0.0)), [0.5, 0.75])
    np.testing.assert_allclose(logistic(2.0, (0.5, -1.0)), 0.5)
    values = logistic(np.array([-500.0, 500.0]), (1.0, 0.0))
    np.testing.assert_allclose(values, [0, 1], atol=1e-12)


# ---- on disk


def test_round_trip(tmp_path):
    calibration = Calibration(0.7, 0.4, 0.05, 0.2, 0.1, (0.9, -0.2), (1.4, 0.3), (0.2, 0.1), (0.3, -0.1), 0.25)
    path = tmp_path / 'model.json'
    path.write_text(json.dumps(calibration._asdict()))
    assert read_calibration(path) == calibration
    path.write_text('{}')
    assert read_calibration(path) == Calibration()


@pytest.mark.parametrize(
    'text',
    [
        '',
        '{"sharpness": ',
        '[1, 2]',
        '3',
        '{"sharpnes": 1}',
        '{"sharpness": "high"}',
        '{"existence": [1]}',
        '{"peak_added": 0}',
    ],
)
def test_a_bad_file(tmp_path, text):
    path = tmp_path / 'model.json'
    path.write_text(text)
    with pytest.raises(InputError, match=r'model\.json: not a readable calibration .*; restore') as caught:
        read_calibration(path)
    assert '\n' not in str(caught.value)


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / 'model.json'
    path.write_text('[1]')
    with pytest.raises(InputError, match=r'it holds a list, expected the parameters by their names.*claran calibrate'):
        read_calibration(path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match='not a readable calibration'):
        read_calibration(tmp_path / 'none.json')
