"""The estimator: what it finds, its limits, its arguments."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from torch import nn

from sciml_cf.causal import DeepFeatureIV, StageRules
from sciml_cf.causal.training import split_rows
from sciml_cf.errors import TrainingDiverged
from tests.sciml_cf.causal.problems import mlp, sine, structural

GRID = np.linspace(-3, 3, 100)


def deep(treatment_net=None, instrument_net=None, **changes):
    """A quiet estimator with small nets."""
    given = {"progress": False, "iterations": 8, "batch_size": 64, "updates": (3, 1), **changes}
    return DeepFeatureIV(treatment_net or mlp(seed=1), instrument_net or mlp(seed=2), **given)


def linear(**changes):
    """No nets to train, next to no penalty: two-stage least squares on two halves."""
    return deep(
        nn.Identity(), nn.Identity(), rule=StageRules.ridge(1e-13, 1e-13), batch_size=None, iterations=1, **changes
    )


def add_one(values):
    return np.column_stack([values, np.ones(len(values))])


def linear_problem(count=400, outcomes=2):
    rng = np.random.default_rng(3)
    z, u = rng.standard_normal((count, 3)), rng.standard_normal(count)
    x = z @ rng.standard_normal((3, 2)) + u[:, None] + 0.1 * rng.standard_normal((count, 2))
    slopes = np.array([[1.0, -2.0], [0.5, 3.0]])[:, :outcomes]
    return {"treatment": x, "instrument": z, "outcome": x @ slopes + 5 + 2 * u[:, None]}, slopes


@pytest.mark.parametrize(("rule", "current"), [("proximal", 0.4), ("kalman", 2.0)])
def test_the_sine_is_found_where_direct_regression_is_misled(rule, current):
    data = sine(4000, seed=1)
    direct = np.polynomial.Polynomial.fit(data["treatment"], data["outcome"], 9)
    fitted = deep(rule=rule, iterations=60, batch_size=128, updates=(10, 1), learning_rate=0.03, seed=1).fit(**data)
    found, refitted = (fitted.predict(GRID, heads=heads) for heads in ("current", "refit"))
    errors = [((values - structural(GRID)) ** 2).mean() for values in (found, refitted, direct(GRID))]
    assert errors[0] < current * errors[2] and errors[1] < 0.3 * errors[2]
    assert fitted.score(GRID, structural(GRID)) == pytest.approx(1 - errors[0] / structural(GRID).var())


def test_without_nets_it_is_two_sample_two_stage_least_squares():
    data, slopes = linear_problem()
    fitted = linear(scale_outcome=False).fit(**data)
    one, two = split_rows(400, 0.5, seed=0)
    z, x, y = (data[name] for name in ("instrument", "treatment", "outcome"))
    first = np.linalg.lstsq(add_one(z[one]), x[one], rcond=None)[0]
    second = np.linalg.lstsq(add_one(add_one(z[two]) @ first), y[two], rcond=None)[0]
    np.testing.assert_allclose(fitted.predict(x), add_one(x) @ second, rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(second[:2], slopes, atol=0.3)


def test_covariates_enter_as_products():
    rng = np.random.default_rng(0)
    z, u, o = rng.standard_normal((3, 4000))
    x = z + o + u
    y = 1 + 2 * x - o + 3 * x * o + 2 * u
    fitted = linear().fit(treatment=x, instrument=z, outcome=y, covariates=o)
    grid, other = rng.standard_normal((2, 50))
    truth = 1 + 2 * grid - other + 3 * grid * other
    assert fitted.score(grid, truth, other) > 0.95
    one, two = split_rows(4000, 0.5, seed=0)
    first = np.linalg.lstsq(add_one(np.column_stack([z, o])[one]), x[one], rcond=None)[0]
    expected = add_one(np.column_stack([z, o])[two]) @ first
    products = [np.column_stack([a * b, a, b, np.ones_like(a)]) for a, b in ((expected, o[two]), (grid, other))]
    second = np.linalg.lstsq(products[0], y[two], rcond=None)[0]
    np.testing.assert_allclose(fitted.predict(grid, other), products[1] @ second, rtol=1e-7, atol=1e-8)
    seen = []
    module = mlp(3)
    module.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
    deep(nn.Identity(), module, batch_size=None, iterations=1, covariate_net=mlp(2)).fit(
        treatment=x, instrument=z, outcome=y, covariates=np.column_stack([o, o])
    )
    # The copies of the net are trained, which carry the hook too.
    assert set(seen) == {3}


def test_outcomes_together_are_outcomes_apart():
    data, _ = linear_problem()
    nets = [mlp(2, seed=1).requires_grad_(False), mlp(3, seed=2).requires_grad_(False)]
    both = deep(*nets, batch_size=32).fit(**data).predict(data["treatment"])
    for column in (0, 1):
        alone = deep(*nets, batch_size=32).fit(**{**data, "outcome": data["outcome"][:, column]})
        assert alone.predict(data["treatment"]).shape == (400,)
        np.testing.assert_allclose(both[:, column], alone.predict(data["treatment"]), rtol=1e-9)


def test_units_of_the_outcome_do_not_matter():
    data = sine(300)
    plain = deep().fit(**data).predict(GRID)
    scaled = deep().fit(**{**data, "outcome": 1e6 * data["outcome"] - 7e6}).predict(GRID)
    np.testing.assert_allclose(scaled, 1e6 * plain - 7e6, rtol=1e-6, atol=1)


def test_refit_heads_are_ridge_on_all_rows():
    data = sine(300)
    fitted = deep(scale_outcome=False, refit_strength=0.02).fit(**data)
    one, two = split_rows(300, 0.5, seed=0)
    with torch.no_grad():
        psi, phi = (
            fitted.nets_.modules[name](torch.tensor(data[key], dtype=torch.float32)[:, None]).double().numpy()
            for name, key in (("treatment_net", "treatment"), ("instrument_net", "instrument"))
        )

    def solve(features, targets):
        features = add_one(features)
        return np.linalg.solve(
            features.T @ features + 0.02 * len(features) * np.eye(features.shape[1]), features.T @ targets
        )

    first = solve(phi[one], psi[one])
    second = solve(add_one(phi[two]) @ first, data["outcome"][two])
    found = fitted.predict(data["treatment"], heads="refit")
    np.testing.assert_allclose(found, add_one(psi) @ second, rtol=1e-6, atol=1e-8)
    by_default = clone(fitted).set_params(heads="refit").fit(**data).predict(data["treatment"])
    np.testing.assert_array_equal(found, by_default)


def test_a_seed_gives_the_same_bits_and_leaves_the_nets_alone():
    data, nets = sine(300), (mlp(seed=1), nn.Sequential(mlp(seed=2), nn.Dropout(0.2)))
    before = copy.deepcopy(nets)
    results = []
    for seed in (5, 5, 6):
        torch.rand(1)  # the numbers of others do not matter
        results.append(deep(*nets, seed=seed).fit(**data).predict(GRID))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-3
    for net, old in zip(nets, before, strict=True):
        torch.testing.assert_close(net.state_dict(), old.state_dict(), rtol=0, atol=0)


def test_rows_of_weight_zero_are_left_out():
    data = sine(200)
    more = {name: np.concatenate([values, values[:50] * 9 + 2]) for name, values in data.items()}
    weights = np.concatenate([np.ones(200), np.zeros(50)])
    found = deep().fit(**more, sample_weight=weights).predict(GRID)
    np.testing.assert_allclose(found, deep().fit(**data).predict(GRID), rtol=1e-6)


def test_history_has_a_row_an_iteration_and_what_was_measured():
    seen = []

    def measure(estimator, iteration):
        seen.append((estimator.predict(GRID), estimator.predict(GRID, heads="refit")))
        return {"error": iteration / 2}

    fitted = deep(measure=measure).fit(**sine(300))
    assert [row["iteration"] for row in fitted.history_] == list(range(1, 9))
    assert fitted.history_[-1]["error"] == 4 and all(row["loss_1"] > 0 < row["loss_2"] for row in fitted.history_)
    np.testing.assert_array_equal(seen[-1][0], fitted.predict(GRID))
    np.testing.assert_array_equal(seen[-1][1], fitted.predict(GRID, heads="refit"))
    assert np.abs(seen[0][1] - seen[-1][1]).max() > 1e-3


def test_a_tensor_of_treatments_gives_a_tensor():
    fitted = deep().fit(**{name: torch.tensor(values) for name, values in sine(300).items()})
    assert isinstance(fitted.predict(torch.tensor(GRID)), torch.Tensor)
    np.testing.assert_array_equal(fitted.predict(torch.tensor(GRID)).numpy(), fitted.predict(GRID))


def test_an_optimizer_of_ones_own_is_used():
    made = []

    def momentum(parameters):
        made.append(torch.optim.SGD(parameters, lr=0.01, momentum=0.9))
        return made[-1]

    deep(optimizer=momentum).fit(**sine(300))
    assert len(made) == 2 and all(one.state for one in made)


def test_a_rate_that_is_too_high_is_told():
    with pytest.raises(TrainingDiverged, match=r"DeepFeatureIV.fit: `learning_rate` must keep .* got 1e\+30, and at"):
        relu = [nn.Sequential(nn.Linear(1, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(2)]
        deep(*relu, learning_rate=1e30, iterations=50).fit(**sine(300))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "lasso"}, "`rule` must be one of 'automatic', 'kalman', .*; got 'lasso'"),
        ({"gradients": "none"}, "`gradients` must be one of"),
        ({"gradients": "through", "rule": "kalman"}, "`gradients` must be 'previous' or 'solved' with Kalman"),
        ({"iterations": 0}, "`iterations` must be an integer of at least 1; got 0"),
        ({"batch_size": 151}, "`batch_size` must be at most the 150 rows of stage 1; got 151"),
        ({"batch_size": (10, 151)}, "`batch_size` must be at most the 150 rows of stage 2; got 151"),
        ({"batch_size": (10, 20, 30)}, "`batch_size` must be two numbers, one a stage"),
        ({"batch_size": 1}, "`batch_size` must be an integer of at least 2; got 1"),
        ({"updates": 20}, "`updates` must be two numbers, one a stage; got 20"),
        ({"updates": (20, 0)}, "`updates` must be an integer of at least 1; got 0"),
        ({"optimizer": "lbfgs"}, "`optimizer` must be one of 'sgd', 'adam'; got 'lbfgs'"),
        ({"schedule": "step"}, "`schedule` must be one of 'constant', 'cosine'; got 'step'"),
        ({"learning_rate": -1.0}, "`learning_rate` must be a finite number above 0; got -1"),
        ({"split": 1.5}, "`split` must be below 1; got 1.5"),
        ({"split": 0.001}, "`split` must leave each stage at least 2 rows; got 0.001 of 300"),
        ({"heads": "best"}, "`heads` must be one of 'current', 'refit'; got 'best'"),
        ({"refit_strength": 0.0}, "`strength` must be a finite number above 0"),
        ({"covariate_net": mlp()}, "`covariates` must be given for a covariate_net; got None"),
        ({"treatment_net": nn.Unflatten(1, (1, 1))}, r"`treatment_net` must map \(2, 1\) to features \(n, F\)"),
        ({"instrument_net": mlp(3)}, "`instrument_net` must take the rows it is given; mat1 and mat2 shapes"),
    ],
)
def test_a_bad_parameter_is_one_line(changes, words):
    with pytest.raises(ValueError, match=f"^DeepFeatureIV.fit: {words}") as caught:
        deep(**changes).fit(**sine(300))
    assert "\n" not in str(caught.value)


def test_rules_of_another_kind_are_told():
    with pytest.raises(TypeError, match="`rule` must be a name or StageRules; got 3"):
        deep(rule=3).fit(**sine(300))
    with pytest.raises(TypeError, match="StageRules: `inner` must be a Rule such as"):
        StageRules(StageRules.ridge().first, StageRules.ridge().second, 0.1)  # type: ignore[arg-type]


def test_bad_data_are_told_by_the_name_of_the_estimator():
    with pytest.raises(ValueError, match="^DeepFeatureIV.fit: `instrument` must vary between rows"):
        deep().fit(**{**sine(300), "instrument": np.ones(300)})
    with pytest.raises(ValueError, match="^DeepFeatureIV.predict: `fit` must come first"):
        deep().predict(GRID)
    with pytest.raises(ValueError, match="^DeepFeatureIV.predict: `heads` must be one of 'current', 'refit'"):
        deep().fit(**sine(300)).predict(GRID, heads="best")  # type: ignore[arg-type]
