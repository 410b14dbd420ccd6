import math

import numpy as np
import pytest
from scipy import stats

from sciml_cf.report.intervals import geometric_interval, mean_interval, rolling_mean


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
