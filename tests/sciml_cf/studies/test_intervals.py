import math

import numpy as np
import pytest
from scipy import stats

from sciml_cf.studies.harness.intervals import (
    compare_runs_by_seed,
    geometric_interval,
    mean_interval,
    resampled_interval,
    rolling_mean,
)


def test_the_interval_is_students_on_the_logarithms():
    values = [1e-5, 3e-5, 2e-5, 9e-6]
    interval = geometric_interval(values)
    logs = np.log(values)
    low, high = stats.t.interval(0.95, len(values) - 1, loc=logs.mean(), scale=stats.sem(logs))
    assert np.allclose(np.log(interval), (logs.mean(), low, high), rtol=1e-12)
    assert np.allclose(geometric_interval([v * 7 for v in values]), np.array(interval) * 7)  # no unit of its own


def test_one_value_has_no_bounds_and_equal_ones_no_width():
    assert geometric_interval([2.0]) == (2.0, 0.0, math.inf)
    assert np.allclose(geometric_interval([2.0, 2.0, 2.0]), 2.0)


def test_it_covers_as_often_as_it_says():
    draws = np.exp(np.random.default_rng(0).normal(size=(2000, 3)))
    inside = [low <= 1 <= high for _, low, high in map(geometric_interval, draws)]
    assert 0.93 < np.mean(inside) < 0.97


def test_methods_are_compared_over_their_common_seeds():
    interval, words = compare_runs_by_seed({1: 1.0, 2: 2.2, 3: 3.0, 9: 7.0}, {3: 6.0, 2: 4.0, 1: 2.0})
    assert interval == geometric_interval([0.5, 0.55, 0.5]) and words == "better"


def test_a_resampled_interval_weighs_groups_alike_and_covers_about_as_often_as_it_says():
    groups = [[1.0, 1.0, 1.0], [4.0]]
    found = resampled_interval(groups)
    assert found.mean == pytest.approx(2.0) and (found.low, found.high) == (pytest.approx(1.0), pytest.approx(4.0))
    one = resampled_interval([[2.0, 8.0]])
    assert one.mean == pytest.approx(4.0) and (one.low, one.high) == (0.0, math.inf)
    draws = np.exp(np.random.default_rng(0).normal(size=(200, 20, 1)))
    inside = [low <= 1 <= high for _, low, high in (resampled_interval(one, draws=400) for one in draws)]
    assert 0.85 < np.mean(inside) < 0.99
    with pytest.raises(ValueError, match="must be positive finite numbers"):
        resampled_interval([[1.0], []])


def test_a_lost_run_leaves_no_verdict():
    """Those that did not diverge are a choice of seeds: they must not make a method look better."""
    interval, words = compare_runs_by_seed({1: None, 2: None, 3: 0.5, 4: 0.51}, dict.fromkeys((1, 2, 3, 4), 1.0))
    assert interval == geometric_interval([0.5, 0.51])
    assert words == "2 of 4 runs diverged, and 0 of the other's"
    assert compare_runs_by_seed({1: None}, {1: None}) == (None, "1 of 1 runs diverged, and 1 of the other's")
    assert compare_runs_by_seed({1: 1.0}, {2: 1.0}) == (None, "no run in common")


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [1.0, math.nan]])
def test_values_must_be_positive(values):
    with pytest.raises(ValueError, match="`values` must be positive finite numbers"):
        geometric_interval(values)


def test_rolling_mean_looks_back():
    assert np.allclose(rolling_mean([1, 2, 3, 10], 3), [1, 1.5, 2, 5])
    assert np.allclose(rolling_mean([1, 2, 3], 1), [1, 2, 3])


def test_the_mean_has_students_interval_and_moves_with_its_values():
    values = [0.9, 0.95, 0.93, 0.97]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert np.allclose(mean_interval(values), (np.mean(values), low, high), rtol=1e-12)
    assert np.allclose(mean_interval([value - 2 for value in values]), np.array(mean_interval(values)) - 2)
    assert mean_interval([0.5]) == (0.5, -math.inf, math.inf)


@pytest.mark.parametrize("values", [[], [0.5, math.nan]])
def test_a_mean_needs_finite_values(values):
    with pytest.raises(ValueError, match="`values` must be finite numbers"):
        mean_interval(values)
