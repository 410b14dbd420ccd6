"""ClosedFormClassifier and ClosedFormRegressor: scikit-learn's own checks, and what those do not ask."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator
from torch import nn

from sciml_cf import ClosedFormClassifier, ClosedFormRegressor
from sciml_cf.classification.estimator_base import mean_and_deviation
from sciml_cf.errors import TrainingDiverged

ROOT = Path(__file__).parents[2]
SMALL = {"hidden": (16,), "epochs": 20, "learning_rate": 1e-2}


def checks(array_api):
    """(estimator, check) of scikit-learn: those of the array API, or all others."""
    estimators = ClosedFormClassifier("cross-entropy-closed-form", **SMALL), ClosedFormRegressor(**SMALL)
    found = [pair for estimator in estimators for pair in estimator_checks_generator(estimator)]
    return [pair for pair in found if ("array_api" in pair[1].func.__name__) is array_api]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("estimator", "check"), checks(False), ids=lambda one: one.func.__name__ if hasattr(one, "func") else None
)
def test_scikit_learns_checks_on_a_small_network(estimator, check):
    check(estimator)


@pytest.mark.slow
def test_scikit_learns_checks_of_the_array_api():
    code = "from tests.sciml_cf.test_estimators import checks\nfor estimator, check in checks(True): check(estimator)"
    environment = {**os.environ, "SCIPY_ARRAY_API": "1"}  # scipy reads it as it is loaded
    words = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize(
    "estimator", [ClosedFormClassifier(), ClosedFormClassifier("cross-entropy"), ClosedFormRegressor()], ids=repr
)
def test_scikit_learns_checks_at_the_defaults(estimator):
    check_estimator(estimator)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x[:600], y[:600], x[600:900], y[600:900]


@pytest.mark.parametrize("method", ["proximal", "kalman", "cross-entropy-closed-form", "hybrid", "l2", "cross-entropy"])
def test_digits_are_learnt_with_labels_of_any_kind(digits, method):
    x, y, test, labels = digits
    names = np.array([f"digit {number}" for number in y])
    model = ClosedFormClassifier(method, epochs=20, random_state=0).fit(x, names)
    right = model.predict(test) == np.array([f"digit {number}" for number in labels])
    assert right.mean() > 0.88
    assert model.decision_function(test).shape == (300, 10)
    assert len(model.loss_curve_) == 20 and model.loss_curve_[-1] < model.loss_curve_[0]


def test_a_conv_backbone_of_ones_own_takes_images(digits):
    x, y, test, labels = digits
    backbone = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    before = [value.clone() for value in backbone.parameters()]
    model = ClosedFormClassifier(backbone=backbone, epochs=15, random_state=0).fit(x.reshape(-1, 1, 8, 8), y)
    assert model.score(test.reshape(-1, 1, 8, 8), labels) > 0.9
    assert all(torch.equal(a, b) for a, b in zip(before, backbone.parameters(), strict=True))
    assert model.model_[1].in_features == 192
    made = ClosedFormClassifier(backbone=lambda columns: nn.Linear(columns, 7), epochs=1).fit(x, y)
    assert made.model_[1].in_features == 7


def test_probabilities_are_the_softmax_where_cross_entropy_is_fitted_and_nowhere_else(digits):
    x, y, test, _ = digits
    model = ClosedFormClassifier("cross-entropy-closed-form", epochs=5, random_state=0).fit(x, y)
    probabilities = model.predict_proba(test)
    outputs = model.decision_function(test)
    expected = np.exp(outputs) / np.exp(outputs).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-10)
    np.testing.assert_allclose(np.log(probabilities), model.predict_log_proba(test), rtol=1e-8)
    squared = ClosedFormClassifier(epochs=5, random_state=0).fit(x, y)
    assert not hasattr(squared, "predict_proba")
    with pytest.raises(AttributeError) as refused:
        squared.predict_proba(test)
    assert "`predict_proba` must have method 'cross-entropy'" in str(refused.value.__cause__)
    calibrated = CalibratedClassifierCV(ClosedFormClassifier(epochs=5, random_state=0), cv=2).fit(x[:300], y[:300])
    assert calibrated.predict_proba(test).sum(1) == pytest.approx(np.ones(300))


def test_one_seed_gives_one_model_and_another_seed_another(digits):
    x, y, test, _ = digits
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one, same, other = (
        ClosedFormClassifier(epochs=2, random_state=seed).fit(x, y).decision_function(test) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
    assert torch.equal(torch.get_rng_state(), state)


def test_a_weight_of_two_is_a_sample_twice_and_balanced_weights_lift_the_rare_class():
    x, y = make_moons(60, noise=0.3, random_state=0)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, 60)
    twice = x.repeat(weights, axis=0), y.repeat(weights)
    settings = {"epochs": 20, "hidden": (8,), "random_state": 0}
    for make in (ClosedFormClassifier, ClosedFormRegressor):
        for algorithm in (1, 2):
            weighted = make(algorithm=algorithm, **settings).fit(x, y, sample_weight=weights)
            repeated = make(algorithm=algorithm, **settings).fit(*twice)
            np.testing.assert_allclose(weighted.predict(x), repeated.predict(x), rtol=1e-7, atol=1e-9)
    rare = np.concatenate([np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:4]])
    found = [
        (ClosedFormClassifier(class_weight=how, **settings).fit(x[rare], y[rare]).predict(x[y == 1]) == 1).mean()
        for how in (None, "balanced", {0: 1.0, 1: 7.5})
    ]
    assert found[1] > found[0] + 0.1
    assert found[2] == found[1]


def test_a_warm_start_goes_on_where_the_last_fit_ended(digits):
    x, y, _, _ = digits
    model = ClosedFormClassifier(epochs=5, warm_start=True, random_state=0).fit(x, y)
    first = model.loss_curve_[-1]
    network = model.model_
    model.fit(x, y)
    assert model.model_ is network and len(model.loss_curve_) == 10
    assert model.loss_curve_[5] < 1.2 * first < model.loss_curve_[0]
    with pytest.raises(ValueError, match="`y` must have the classes of the fit before"):
        model.fit(x, y + 1)
    fresh = ClosedFormClassifier(epochs=5, random_state=0).fit(x, y).fit(x, y)
    assert len(fresh.loss_curve_) == 5


def test_a_pickled_estimator_predicts_alike_and_can_go_on(digits):
    x, y, test, _ = digits
    model = ClosedFormClassifier(epochs=2, warm_start=True, random_state=0).fit(x, y)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.decision_function(test), model.decision_function(test))
    np.testing.assert_array_equal(copy.fit(x, y).decision_function(test), model.fit(x, y).decision_function(test))
    assert not hasattr(clone(model), "model_")


def test_it_stands_in_pipelines_and_searches(digits):
    x, y, _, _ = digits
    search = GridSearchCV(ClosedFormClassifier(epochs=3, random_state=0), {"strength": [1e-3, 1e3]}, cv=2).fit(x, y)
    assert search.best_params_ == {"strength": 1e-3}
    scores = cross_val_score(
        make_pipeline(StandardScaler(), ClosedFormClassifier(epochs=8, random_state=0)), x, y, cv=2
    )
    assert scores.min() > 0.8


@pytest.mark.slow
@pytest.mark.parametrize("method", ["proximal", "l2", "kalman"])
def test_the_regressor_is_free_of_the_targets_unit(method):
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (300, 2))
    y = np.stack([np.sin(3 * x[:, 0]) * x[:, 1], x[:, 1] ** 2], axis=1)
    settings = {"method": method, "hidden": (32,), "epochs": 40, "learning_rate": 1e-2, "random_state": 0}
    plain, other = ClosedFormRegressor(**settings), ClosedFormRegressor(**settings)
    one, two = plain.fit(x, y).predict(x), other.fit(x, 1e6 * y + 3e6).predict(x)
    np.testing.assert_allclose(two, 1e6 * one + 3e6, rtol=1e-6, atol=10.0)
    assert plain.score(x, y) > 0.9
    single = ClosedFormRegressor(**settings).fit(x, y[:, 0])
    assert single.predict(x).shape == (300,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "adam"}, "ClosedFormClassifier: `method` must be one of 'l2', 'automatic', 'kalman'"),
        ({"algorithm": 3}, "`algorithm` must be one of 1, 2; got 3"),
        ({"epochs": 0}, "`epochs` must be"),
        ({"learning_rate": -1.0}, "`learning_rate` must be"),
        ({"hidden": (0,)}, "`hidden` must be"),
        ({"strength": -1.0}, "`strength` must be"),
        ({"method": "l2", "strength": 1.0}, "`strength` must be left out with method 'l2'"),
        ({"smoothing": 1.0}, "`smoothing` must be"),
        ({"backbone": nn.Unflatten(1, (2, 32))}, r"`backbone` must return features .* got \(2, 2, 32\)"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(digits, settings, message):
    with pytest.raises(ValueError, match=message):
        ClosedFormClassifier(**settings).fit(digits[0], digits[1])


def test_no_weight_at_all_and_a_rate_too_high_are_refused(digits):
    x, y, _, _ = digits
    with pytest.raises(ValueError, match="`sample_weight` must not be zero everywhere|at least one non-zero number"):
        ClosedFormClassifier().fit(x, y, sample_weight=np.zeros(600))
    with pytest.raises(TrainingDiverged, match="`learning_rate` must keep the training stable"):
        ClosedFormRegressor("l2", optimizer="sgd", learning_rate=1e9, epochs=50).fit(x, y)


def test_without_scikit_learn_one_line_says_what_to_install():
    code = "import sys; sys.modules['sklearn'] = None; import sciml_cf; sciml_cf.ClosedFormClassifier"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stderr.splitlines()[-1].startswith(
        "ImportError: sciml_cf.classification.estimators: `scikit-learn` must be installed"
    )
    assert "pip install 'sciml-cf[sklearn]'" in done.stderr.splitlines()[-1]


class Interrupting(nn.Module):
    """Interrupts the third step of a training, once it is armed."""

    def __init__(self):
        super().__init__()
        self.layer, self.left = nn.Linear(4, 8), -1

    def forward(self, x):
        if self.training:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return torch.tanh(self.layer(x))


@pytest.mark.parametrize("warm_start", [False, True])
@pytest.mark.parametrize("kind", [ClosedFormClassifier, ClosedFormRegressor])
def test_a_fit_that_is_interrupted_leaves_the_model_of_the_fit_before(kind, warm_start):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 4))
    y = (x[:, 0] > 0).astype(int)
    backbone = Interrupting()
    model = kind(backbone=backbone, epochs=2, batch_size=10, random_state=0, warm_start=warm_start).fit(x, y)
    before, curve = model.predict(x), list(model.loss_curve_)
    outputs = model._outputs(x)
    (model.model_[0] if warm_start else backbone).left = 3
    with pytest.raises(KeyboardInterrupt):
        model.fit(5 * x + 3, y if kind is ClosedFormClassifier else 1000 * y)
    np.testing.assert_array_equal(model.predict(x), before)
    np.testing.assert_array_equal(model._outputs(x), outputs)
    assert model.loss_curve_ == curve
    first = kind(backbone=backbone, random_state=0)
    backbone.left = 3
    with pytest.raises(KeyboardInterrupt):
        first.fit(x, y)
    with pytest.raises(NotFittedError):
        first.predict(x)
    backbone.left = model.model_[0].left = -1
    assert len(model.fit(x, y).loss_curve_) == (4 if warm_start else 2)


@pytest.mark.parametrize("kind", [ClosedFormClassifier, ClosedFormRegressor])
@pytest.mark.parametrize("columns", [1, 3, 6])
def test_a_warm_start_with_other_columns_is_refused_in_one_line(kind, columns):
    x = np.random.default_rng(0).standard_normal((40, 6))
    y = (x[:, 0] > 0).astype(int)
    model = kind(hidden=(4,), epochs=1, warm_start=True, random_state=0).fit(x[:, :5], y)
    before = model.predict(x[:, :5])
    line = f"^{kind.__name__}: `X` must have the 5 features of the fit before with warm_start; got {columns} features."
    with pytest.raises(ValueError, match=line + " Set warm_start=False") as caught:
        model.fit(x[:, :columns], y)
    assert "\n" not in str(caught.value) and model.n_features_in_ == 5
    np.testing.assert_array_equal(model.predict(x[:, :5]), before)
    assert model.set_params(warm_start=False).fit(x[:, :columns], y).n_features_in_ == columns


@pytest.mark.parametrize("method", ["proximal", "cross-entropy", "cross-entropy-closed-form"])
def test_a_class_of_weight_zero_is_a_class_of_samples_of_weight_zero(method):
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((200, 3)), np.arange(200) % 8 % 3
    y[:150] = 0  # whole batches hold nothing else
    settings = {"hidden": (8,), "epochs": 2, "batch_size": 8, "random_state": 0}
    weights = {0: 0.0, 1: 1.0, 2: 2.0}
    model, other = (
        ClosedFormClassifier(method, class_weight=weights, **settings).fit(values, y)
        for values in (x, np.where(y[:, None] == 0, 1e3, x))
    )
    assert list(model.classes_) == [0, 1, 2] and np.isfinite(model.loss_curve_).all()
    np.testing.assert_array_equal(model.decision_function(x), other.decision_function(x))
    with pytest.raises(ValueError, match="^ClosedFormClassifier: `class_weight` must not be negative, nor zero for al"):
        ClosedFormClassifier(method, class_weight={0: 0.0, 1: 0.0, 2: 0.0}, **settings).fit(x, y)
    with pytest.raises(ValueError, match="`class_weight` must not be negative"):
        ClosedFormClassifier(method, class_weight={0: 1.0, 1: -1.0, 2: 1.0}, **settings).fit(x, y)


@pytest.fixture(scope="module")
def blobs():
    """Three columns that tell three classes well, float64, and labels."""
    rng = np.random.default_rng(3)
    labels = np.arange(300) % 3
    return rng.standard_normal((300, 3)) + 4 * np.eye(3)[labels], labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("factor", [1e-30, 1e-23, 1e-6, 1e6, 1e19, 1e30])
def test_classes_are_told_apart_in_any_unit(blobs, factor, dtype):
    x, labels = blobs
    model = ClosedFormClassifier(random_state=0, **SMALL).fit((factor * x).astype(dtype), labels)
    assert model.score((factor * x).astype(dtype), labels) > 0.95


@pytest.mark.parametrize("factor", [1e-200, 1e200])
def test_squares_out_of_range_do_no_harm(blobs, factor):
    x, labels = blobs
    assert ClosedFormClassifier(random_state=0, **SMALL).fit(factor * x, labels).score(factor * x, labels) > 0.95


@pytest.mark.parametrize(("mean", "rows", "tolerance"), [(100.0, 400_000, 1e-4), (1e4, 100_000, 1e-3)])
def test_inputs_far_from_zero_are_scaled_to_deviation_one(mean, rows, tolerance):
    """Float32 sums of many rows far from zero lose the deviation: it came out as 7.5 where the mean is 1e4."""
    x = np.random.default_rng(0).normal(mean, 1.0, (rows, 2)).astype(np.float32)
    model = ClosedFormRegressor("l2", hidden=(), epochs=1, batch_size=rows).fit(x, x[:, 0])
    scaled = model._inputs(x).double()
    assert scaled.std(0).numpy() == pytest.approx(1.0, abs=tolerance)
    assert scaled.mean(0).numpy() == pytest.approx(0.0, abs=tolerance)


def test_small_fluctuations_on_a_large_mean_are_seen(blobs):
    """In float64: neither the fit nor the predictions round them away."""
    x, labels = blobs
    far = 1e5 + 1e-6 * x
    assert ClosedFormClassifier(random_state=0, **SMALL).fit(far, labels).score(far, labels) > 0.95
    y = 1e9 + x[:, 0]
    model = ClosedFormRegressor(random_state=0, **SMALL).fit(x.astype(np.float32), y)
    assert model.predict(x.astype(np.float32)).dtype == np.float64 and model.score(x.astype(np.float32), y) > 0.9


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_columns_are_zero_and_one_sample_is_enough(blobs, dtype):
    x, labels = blobs
    constant = np.concatenate([x, np.full((300, 1), 0.1), np.full((300, 1), 1e20), np.zeros((300, 1))], 1).astype(dtype)
    model = ClosedFormClassifier(random_state=0, **SMALL).fit(constant, labels)
    assert model.score(constant, labels) > 0.95
    assert model._inputs(constant)[:, 3:].abs().max() < 1e-3 * 1e20 * np.finfo(dtype).eps
    one = ClosedFormRegressor(random_state=0, **SMALL).fit(constant[:1], [7.5])
    assert one.predict(constant[:1]) == pytest.approx([7.5])
    assert list(ClosedFormClassifier(**SMALL).fit(constant[:1], ["a"]).predict(constant[:2])) == ["a", "a"]


def test_weighted_statistics_are_those_of_repeated_rows():
    rng = np.random.default_rng(0)
    x, counts = 1e5 + rng.standard_normal((5000, 3, 2)), rng.integers(1, 4, 5000)
    weighted, repeated = mean_and_deviation(x, counts.astype(float)), mean_and_deviation(x.repeat(counts, axis=0), None)
    np.testing.assert_allclose(weighted[0], repeated[0], rtol=1e-14)
    np.testing.assert_allclose(weighted[1], repeated[1], rtol=1e-9)
