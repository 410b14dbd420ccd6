"""Constant, direct regression and two-stage least squares, against textbooks and a model whose truth is known."""

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.preprocessing import PolynomialFeatures
from torch import nn

from sciml_cf.causal import ConstantOutcome, DirectRegression, KernelIV, TwoStageLeastSquares
from sciml_cf.errors import TrainingDiverged


def linear_model(samples=400, *, columns=2, instruments=3, seed=0):
    """A linear model with Gaussian noise: y = x b + o c + 1 + 2 u, the hidden u in every column of x too."""
    random = np.random.default_rng(seed)
    z, o = random.standard_normal((samples, instruments)), random.standard_normal((samples, 2))
    u = random.standard_normal((samples, 1))
    x = z @ random.standard_normal((instruments, columns)) + o @ random.standard_normal((2, columns)) + u
    x += 0.5 * random.standard_normal((samples, columns))
    b, c = np.array([[1.5], [-1.0]])[:columns], np.array([[0.7], [0.3]])
    y = x @ b + o @ c + 1 + 2 * u + 0.1 * random.standard_normal((samples, 1))
    return {"treatment": x, "instrument": z, "outcome": y, "covariates": o}, np.vstack([b, c])


def effects(estimator):
    return (estimator.coefficients_ / estimator.scale_[:, None]).numpy()


def with_constant(*parts):
    return np.column_stack([*parts, np.ones(len(parts[0]))])


# Two-stage least squares


def test_exactly_identified_it_is_the_textbook_formula():
    data, _ = linear_model(columns=2, instruments=2)
    x, z = (with_constant(data[name], data["covariates"]) for name in ("treatment", "instrument"))
    expected = np.linalg.solve(z.T @ x, z.T @ data["outcome"])  # (Z^T X)^-1 Z^T y
    found = TwoStageLeastSquares().fit(**data)
    np.testing.assert_allclose(effects(found), expected[:-1], rtol=1e-9)
    new = np.random.default_rng(5).standard_normal((7, 4))
    np.testing.assert_allclose(found.predict(new[:, :2], new[:, 2:]), with_constant(new) @ expected, rtol=1e-9)


def test_with_more_instruments_it_is_two_regressions():
    data, _ = linear_model(columns=1, instruments=4)
    x, z = (with_constant(data[name], data["covariates"]) for name in ("treatment", "instrument"))
    fitted = z @ np.linalg.lstsq(z, x, rcond=None)[0]
    expected = np.linalg.lstsq(fitted, data["outcome"], rcond=None)[0]
    np.testing.assert_allclose(effects(TwoStageLeastSquares().fit(**data)), expected[:-1], rtol=1e-9)


@pytest.mark.parametrize("degree", [2, 3])
def test_polynomials_are_least_squares_in_all_monomials(degree):
    data, _ = linear_model(samples=300, columns=1, instruments=2)
    data["outcome"] = data["outcome"] + np.sin(data["treatment"])
    powers = PolynomialFeatures(degree)
    x, z = (
        powers.fit_transform(np.column_stack([data[name], data["covariates"]])) for name in ("treatment", "instrument")
    )
    fitted = z @ np.linalg.lstsq(z, x, rcond=None)[0]
    expected = np.linalg.lstsq(fitted, data["outcome"], rcond=None)[0]
    found = TwoStageLeastSquares(degree=degree).fit(**data)
    assert len(found.powers_) == x.shape[1] - 1
    np.testing.assert_allclose(found.predict(data["treatment"], data["covariates"]), x @ expected, rtol=1e-6, atol=1e-6)


def test_a_ridge_holds_both_stages_but_not_the_intercept():
    data, _ = linear_model()
    strengths = (0.3, 0.2)
    found = TwoStageLeastSquares(strengths=strengths).fit(**data)
    x, z = (np.column_stack([data[name], data["covariates"]]) for name in ("treatment", "instrument"))
    x, z = (x - x.mean(0)) / x.std(0), (z - z.mean(0)) / z.std(0)
    n, y = len(x), data["outcome"] - data["outcome"].mean()
    fitted = z @ np.linalg.solve(z.T @ z / n + 0.3 * np.eye(z.shape[1]), z.T @ x / n)
    expected = np.linalg.solve(fitted.T @ fitted / n + 0.2 * np.eye(x.shape[1]), fitted.T @ y / n)
    np.testing.assert_allclose(found.coefficients_, expected, rtol=1e-9)
    mean = found.predict(data["treatment"].mean(0, keepdims=True), data["covariates"].mean(0, keepdims=True))
    np.testing.assert_allclose(mean[0], data["outcome"].mean(0), rtol=1e-9)


def test_the_truth_is_found_where_direct_least_squares_is_biased():
    data, truth = linear_model(samples=20000)
    found = TwoStageLeastSquares().fit(**data)
    np.testing.assert_allclose(effects(found), truth, atol=0.06)
    np.testing.assert_allclose(found.intercept_.numpy() - found.center_.numpy() @ effects(found), [1], atol=0.06)
    x = with_constant(data["treatment"], data["covariates"])
    direct = np.linalg.lstsq(x, data["outcome"], rcond=None)[0][:-1]
    assert np.abs(direct - truth).max() > 0.3


@pytest.mark.parametrize("degree", [1, 2])
def test_a_weight_is_a_number_of_copies(degree):
    data, _ = linear_model(samples=120)
    weights = np.random.default_rng(1).integers(0, 4, 120)
    copies = {name: np.repeat(values, weights, axis=0) for name, values in data.items()}
    given = TwoStageLeastSquares(degree=degree).fit(**data, sample_weight=weights)
    whole = TwoStageLeastSquares(degree=degree).fit(**copies)
    np.testing.assert_allclose(
        *(one.predict(data["treatment"], data["covariates"]) for one in (given, whole)), rtol=1e-7, atol=1e-7
    )


def test_predictions_do_not_depend_on_units():
    data, _ = linear_model(samples=200)
    other = {**data, "treatment": 1e6 * data["treatment"] + 3e6, "instrument": 1e-3 * data["instrument"] - 5}
    first, second = (TwoStageLeastSquares(degree=2).fit(**given) for given in (data, other))
    np.testing.assert_allclose(
        first.predict(data["treatment"], data["covariates"]),
        second.predict(other["treatment"], other["covariates"]),
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"degree": 0}, "`degree` must be an integer of at least 1; got 0"),
        ({"instrument_degree": 1.5}, "`instrument_degree` must be an integer of at least 1; got 1.5"),
        ({"degree": 90}, "`degree` must give at most 5000 monomials; got 90, which gives more of 4 columns"),
        (
            {"degree": 2, "instrument_degree": 1},
            "`instrument` must give at least 14 monomials, .*; got 5. Take another",
        ),
        ({"strengths": (0.1,)}, r"`strengths` must be two, one or several for each stage; got \(0.1,\)"),
        ({"strengths": (0.1, [0.2, 0.3])}, "`strengths` must be one number a stage; got"),
        ({"strengths": (0.1, -1)}, "`strengths` must be finite numbers of at least 0; got -1"),
        ({"strengths": "ab"}, "`strengths` must be two, one or several for each stage; got 'ab'"),
    ],
)
def test_unusable_settings_of_least_squares_are_one_line(parameters, words):
    data, _ = linear_model(samples=20)
    with pytest.raises(ValueError, match=f"^TwoStageLeastSquares.fit: {words}") as caught:
        TwoStageLeastSquares(**parameters).fit(**data)
    assert "\n" not in str(caught.value)


def test_fewer_instruments_than_treatments_need_a_ridge():
    data, _ = linear_model(columns=2, instruments=1)
    with pytest.raises(ValueError, match="`instrument` must give at least 4 monomials, as many .*; got 3"):
        TwoStageLeastSquares().fit(**data)
    assert np.isfinite(TwoStageLeastSquares(strengths=(0, 1e-3)).fit(**data).coefficients_.numpy()).all()


# Constant and direct regression


def test_the_constant_is_the_weighted_mean():
    data, _ = linear_model(samples=5)
    weights = np.array([1, 0, 2, 3, 4.0])
    found = ConstantOutcome().fit(**data, sample_weight=weights)
    expected = np.average(data["outcome"][:, 0], weights=weights)
    np.testing.assert_allclose(found.predict(data["treatment"], data["covariates"]), np.full((5, 1), expected))
    plain = ConstantOutcome().fit(**data)
    assert plain.score(data["treatment"], data["outcome"], data["covariates"]) == pytest.approx(0, abs=1e-12)


def make_linear(seed=0, inputs=4):
    torch.manual_seed(seed)
    return nn.Linear(inputs, 1, dtype=torch.float64)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scaled", [False, True])
def test_direct_regression_of_a_linear_net_is_least_squares(weighted, scaled):
    data, truth = linear_model(samples=80)
    weights = np.random.default_rng(2).uniform(0, 3, 80) * (np.arange(80) % 4 > 0) if weighted else np.ones(80)
    x = with_constant(data["treatment"], data["covariates"])
    root = np.sqrt(weights)[:, None]
    expected = np.linalg.lstsq(root * x, root * data["outcome"], rcond=None)[0]
    assert np.abs(expected[:-1] - truth).max() > 0.3, "the fixture is not confounded"
    net = make_linear()
    before = net.weight.detach().clone()
    found = DirectRegression(
        net, epochs=1200, batch_size=None, scale_outcome=scaled, learning_rate=0.05, progress=False
    )
    found.fit(**data, sample_weight=weights if weighted else None)
    np.testing.assert_allclose(found.predict(data["treatment"], data["covariates"]), x @ expected, atol=1e-3)
    loss = np.average(np.square(data["outcome"] - x @ expected)[:, 0], weights=weights)
    assert found.history_[-1]["loss"] == pytest.approx(loss, rel=1e-4) and len(found.history_) == 1200
    assert torch.equal(net.weight, before), "the given net was changed"


class Joined(nn.Module):
    """A net of images and covariates, which remembers the sizes of its batches."""

    def __init__(self):
        super().__init__()
        self.image, self.rest, self.drop = nn.Linear(6, 3), nn.Linear(5, 2), nn.Dropout(0.5)
        self.sizes = []

    def forward(self, image, covariates):
        self.sizes.append(len(image))
        return self.rest(torch.cat([self.drop(self.image(image.flatten(1))), covariates], dim=1))


def test_direct_regression_takes_images_beside_covariates_and_repeats_itself():
    random = np.random.default_rng(0)
    data = {
        "treatment": random.standard_normal((50, 2, 3)),
        "instrument": random.standard_normal(50),
        "outcome": random.standard_normal((50, 2)),
        "covariates": random.standard_normal((50, 2)),
    }
    torch.manual_seed(0)
    net = Joined()

    def train(**changes):
        torch.rand(1)  # what others draw must not matter
        state = torch.random.get_rng_state()
        found = DirectRegression(net, **{"epochs": 3, "batch_size": 16, "progress": False, **changes}).fit(**data)
        assert torch.equal(torch.random.get_rng_state(), state), "training moved the global generator"
        return found

    first, same, other = train(), train(), train(seed=1)
    assert first.history_ == same.history_ != other.history_
    assert first.net_.sizes == [13, 13, 12, 12] * 3 and not net.sizes
    predictions = [one.predict(data["treatment"], data["covariates"]) for one in (first, first, other)]
    assert predictions[0].shape == (50, 2) and np.array_equal(predictions[0], predictions[1])
    assert not np.array_equal(predictions[0], predictions[2])


def test_direct_regression_does_not_depend_on_the_unit_of_the_outcome():
    data, _ = linear_model(samples=60)
    settings = {"epochs": 5, "progress": False}
    first = DirectRegression(make_linear(), **settings).fit(**data)
    second = DirectRegression(make_linear(), **settings).fit(**{**data, "outcome": 100 * data["outcome"] - 7})
    pair = [one.predict(data["treatment"], data["covariates"]) for one in (first, second)]
    np.testing.assert_allclose(100 * pair[0] - 7, pair[1], rtol=1e-8)


@pytest.mark.parametrize(
    ("net", "parameters", "words"),
    [
        (nn.Tanh(), {}, "`net` must be a torch module with parameters to train; got Tanh"),
        (np.tanh, {}, "`net` must be a torch module with parameters to train; got ufunc"),
        (nn.Linear(4, 2), {}, r"`net` must give outcomes of shape \(10, 1\) for these rows; got \(10, 2\)"),
        (nn.Linear(4, 1), {"epochs": 0}, "`epochs` must be an integer of at least 1; got 0"),
        (nn.Linear(4, 1), {"batch_size": 0}, "`batch_size` must be an integer of at least 1; got 0"),
        (nn.Linear(4, 1), {"learning_rate": 0}, "`learning_rate` must be a finite number above 0; got 0"),
        (nn.Linear(4, 1), {"weight_decay": -1}, "`weight_decay` must be a finite number above 0; got -1. Or 0"),
        (nn.Linear(4, 1), {"seed": -1}, "`seed` must be an integer of at least 0; got -1"),
    ],
)
def test_unusable_settings_of_direct_regression_are_one_line(net, parameters, words):
    data, _ = linear_model(samples=10)
    with pytest.raises(ValueError, match=f"^DirectRegression.fit: {words}"):
        DirectRegression(net, **{"progress": False, **parameters}).fit(**data)


def test_a_net_that_detaches_its_output_is_one_line():
    class Detached(nn.Linear):
        def forward(self, input):
            return super().forward(input).detach()

    data, _ = linear_model(samples=10)
    with pytest.raises(ValueError, match="^DirectRegression.fit: `net` must give outcomes with a gradient"):
        DirectRegression(Detached(4, 1), epochs=1, progress=False).fit(**data)


def test_a_diverging_training_is_one_line():
    data, _ = linear_model(samples=10)
    net = nn.Sequential(nn.Linear(4, 1), nn.Softplus(), nn.Linear(1, 1))
    with pytest.raises(TrainingDiverged, match="^DirectRegression.fit: the loss left the finite range in epoch"):
        DirectRegression(net, epochs=50, learning_rate=1e30, progress=False).fit(**data)


# What all of them share


ESTIMATORS = [
    ConstantOutcome(),
    DirectRegression(make_linear(), epochs=2, progress=False),
    TwoStageLeastSquares(),
    KernelIV(strengths=(1e-3, 1e-3)),
]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: type(one).__name__)
def test_every_baseline_has_the_common_face(estimator):
    data, _ = linear_model(samples=30)
    one, name = clone(estimator), type(estimator).__name__
    x, o = data["treatment"][:6], data["covariates"][:6]
    with pytest.raises(ValueError, match=f"^{name}.predict: `fit` must come first"):
        one.predict(x, o)
    parameters = dict(one.get_params())
    assert one.fit(**data) is one and one.get_params() == parameters
    found = one.predict(x, o)
    assert isinstance(found, np.ndarray) and found.shape == (6, 1)
    tensor = one.predict(torch.tensor(x), torch.tensor(o))
    assert isinstance(tensor, torch.Tensor) and torch.allclose(tensor, torch.tensor(found), rtol=1e-12)
    assert one.score(x, data["outcome"][:6], o) <= 1
    flat = clone(estimator).fit(**{**data, "outcome": data["outcome"][:, 0]}).predict(x, o)
    np.testing.assert_allclose(flat, found[:, 0], rtol=1e-10)
    with pytest.raises(ValueError, match=rf"^{name}.predict: `treatment` must be \(n, 2\) as in fit; got \(6, 1\)"):
        one.predict(x[:, :1], o)
    with pytest.raises(ValueError, match=f"^{name}.predict: `covariates` must be as in fit, which had covariates"):
        one.predict(x)


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instrument": np.ones(30)}, "`instrument` must vary between rows; got 1 in all of them"),
        ({"outcome": np.ones(29)}, "`outcome` must have 30 rows, as many as `treatment`; got 29"),
        ({"covariates": np.full((30, 2), np.nan)}, "`covariates` must be finite; got nan in row 0"),
        ({"sample_weight": np.zeros(30)}, "`sample_weight` must not be all zero"),
    ],
)
def test_a_bad_argument_of_any_baseline_is_one_line(estimator, changes, words):
    data, _ = linear_model(samples=30)
    with pytest.raises(ValueError, match=f"^{type(estimator).__name__}.fit: {words}"):
        clone(estimator).fit(**{**data, **changes})


def test_a_fit_that_fails_leaves_the_fitted_model():
    rng = np.random.default_rng(3)
    z, x, wide = rng.standard_normal((40, 2)), rng.standard_normal((40, 2)), 5 * rng.standard_normal((40, 300)) + 7
    good = {"treatment": x, "instrument": z, "outcome": 3 * x[:, 0] + 9}
    short = {**good, "treatment": np.column_stack([x, x[:, :1] * 100]) + 5}
    linear, kernel = TwoStageLeastSquares().fit(**good), KernelIV(strengths=(0.1, 0.1)).fit(**good)
    for estimator, bad, words in ((linear, short, "`instrument`"), (kernel, {**good, "treatment": wide}, "`widths`")):
        before = estimator.predict(x)
        with pytest.raises(ValueError, match=words):
            estimator.fit(**{**bad, "outcome": 100 * good["outcome"]})
        np.testing.assert_array_equal(estimator.predict(x), before)
