"""Checks of the arguments of every estimator, and their shared interface."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.metrics import r2_score

from sciml_cf.causal import Estimator
from sciml_cf.causal.checks import as_given, check_fitted, check_inputs, check_observations, r_squared

RNG = np.random.default_rng(0)


def observations(**changes):
    given = {
        "treatment": RNG.standard_normal((6, 2)),
        "instrument": RNG.standard_normal(6),
        "outcome": RNG.standard_normal(6),
    }
    return check_observations("IV.fit", **{**given, **changes})


def test_arguments_become_rows_and_keep_their_precision():
    found = observations(
        treatment=torch.rand(6, 1, 3, dtype=torch.float32), instrument=np.arange(6), outcome=np.eye(6)[:, :2]
    )
    assert found.treatment.dtype == torch.float32 and found.instrument.dtype == torch.float64
    assert found.outcome.shape == (6, 2) and not found.flat and found.weights is None
    assert observations().flat and observations().outcome.shape == (6, 1)
    assert check_inputs("IV.predict", found.shapes, np.zeros((4, 1, 3)))[0].shape == (4, 1, 3)


def nan_in(row):
    values = np.ones((6, 2)) * np.arange(6)[:, None]
    values[row, 1] = np.nan
    return values


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instrument": np.arange(5.0)}, "`instrument` must have 6 rows, as many as `treatment`; got 5"),
        ({"outcome": np.ones((6, 2, 2))}, r"`outcome` must be \(n,\) or \(n, q\); got \(6, 2, 2\)"),
        ({"covariates": np.ones((7, 1))}, "`covariates` must have 6 rows"),
        ({"treatment": nan_in(4)}, r"`treatment` must be finite; got nan in row 4 \(1 such rows\)"),
        ({"outcome": np.array([1, 2, np.inf, 4, 5, 6])}, "`outcome` must be finite; got inf in row 2"),
        ({"instrument": np.full(6, 2.5)}, "`instrument` must vary between rows; got 2.5 in all of them"),
        ({"treatment": np.ones(6, dtype=bool)}, "`treatment` must vary between rows; got 1 in all .* one class"),
        ({"treatment": np.ones((6, 3))}, r"`treatment` must vary between rows; got the same \(3,\) values"),
        ({"treatment": np.zeros((0, 2))}, r"`treatment` must have rows, .* got \(0, 2\)"),
        ({"treatment": 3.0}, r"`treatment` must have rows, .* got \(\)"),
        ({"treatment": np.ones((1, 2)), "instrument": [1], "outcome": [1]}, "`treatment` must have at least 2 rows"),
        ({"outcome": ["a"] * 6}, "`outcome` must be an array or tensor of numbers"),
        ({"outcome": np.ones(6) * 1j}, "`outcome` must be an array or tensor of numbers.*; got complex"),
        ({"sample_weight": [1, 1, 1, 1, 1, -0.5]}, "`sample_weight` must not be negative; got -0.5"),
        ({"sample_weight": np.zeros(6)}, "`sample_weight` must not be all zero; got 6 zeros"),
        ({"sample_weight": np.ones((6, 1))}, r"`sample_weight` must be \(n,\); got \(6, 1\)"),
        ({"instrument": [1, 1, 1, 1, 1, 2], "sample_weight": [1, 1, 1, 1, 1, 0]}, "`instrument` must vary"),
    ],
)
def test_a_bad_argument_is_one_line(changes, words):
    with pytest.raises(ValueError, match=f"^IV.fit: {words}") as caught:
        observations(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("treatment", "covariates", "words"),
    [
        (np.zeros((3, 4)), np.zeros(3), r"`treatment` must be \(n, 2\) as in fit; got \(3, 4\)"),
        (np.zeros((3, 2)), None, "`covariates` must be as in fit, which had covariates; got None"),
        (np.zeros((3, 2)), np.zeros((3, 2)), r"`covariates` must be \(n,\) as in fit; got \(3, 2\)"),
        (np.zeros((3, 2)), np.zeros(4), "`covariates` must have 3 rows"),
    ],
)
def test_a_bad_input_of_a_prediction_is_one_line(treatment, covariates, words):
    shapes = observations(covariates=RNG.standard_normal(6)).shapes
    with pytest.raises(ValueError, match=f"^IV.predict: {words}"):
        check_inputs("IV.predict", shapes, treatment, covariates)
    with pytest.raises(ValueError, match="which had no covariates; got some"):
        check_inputs("IV.predict", observations().shapes, np.zeros((3, 2)), np.zeros(3))


def test_score_is_scikit_learns():
    truth, guess = RNG.standard_normal((2, 20, 3))
    assert r_squared("IV.score", guess, truth) == pytest.approx(r2_score(truth, guess), abs=1e-12)
    assert r_squared("IV.score", guess[:, 0], truth[:, 0]) == pytest.approx(r2_score(truth[:, 0], guess[:, 0]))
    assert r_squared("IV.score", np.ones(4), np.ones(4)) == 1 and r_squared("IV.score", np.zeros(4), np.ones(4)) == 0
    with pytest.raises(ValueError, match=r"`outcome` must be \(20,\) as in fit; got \(20, 3\)"):
        r_squared("IV.score", guess[:, 0], truth)


class Scaled(Estimator):
    """Twice or so the treatment."""

    def __init__(self, factor=2.0, *, net=None):
        self.factor = factor
        self.net = net

    def fit(self, *, treatment, instrument, outcome, covariates=None, sample_weight=None):
        self.shapes_ = check_observations(
            "Scaled.fit", treatment=treatment, instrument=instrument, outcome=outcome
        ).shapes
        return self

    def predict(self, treatment, covariates=None):
        check_fitted("Scaled.predict", self, "shapes_")
        x, _ = check_inputs("Scaled.predict", self.shapes_, treatment, covariates)
        return as_given(self.factor * x.reshape(len(x), -1), self.shapes_, treatment)


def test_an_estimator_scores_clones_and_answers_in_kind():
    x = RNG.standard_normal(8)
    estimator = Scaled(3.0, net=torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="Scaled.predict: `fit` must come first"):
        estimator.predict(x)
    estimator.fit(treatment=x, instrument=x, outcome=x)
    assert isinstance(estimator.predict(x), np.ndarray) and estimator.predict(x).shape == (8,)
    assert isinstance(estimator.predict(torch.tensor(x)), torch.Tensor)
    assert estimator.score(x, 3 * x) == 1.0
    copy = clone(estimator)
    assert copy.factor == 3.0 and not hasattr(copy, "shapes_")
    assert copy.set_params(factor=1.0).get_params()["factor"] == 1.0
    with pytest.raises(ValueError, match="Scaled.set_params: `width` must be a parameter of Scaled: factor, net"):
        copy.set_params(width=3)
