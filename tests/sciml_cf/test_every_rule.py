"""Requirements on every rule that has a name; a new rule joins by being found. Its mathematics has tests of its own."""

import copy
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf import ClosedFormClassifier, ClosedFormRegressor, FitConfig, fit
from sciml_cf.causal import DeepFeatureIV, StageRules
from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Moments
from sciml_cf.head.registry import describe_rule, name_of, rule_named, rule_names, rule_summary
from tests.problems import Points, mlp, regression
from tests.sciml_cf.causal.problems import mlp as small_net
from tests.sciml_cf.causal.problems import sine

every_rule = pytest.mark.parametrize("name", rule_names())


@pytest.fixture(autouse=True)
def one_seed():
    torch.manual_seed(0)


def made(name):
    return rule_named(name).kind()


def parts(*sizes, seed=0):
    """Batches of one problem with 7 features and 3 targets."""
    phi, y = regression(rows=sum(sizes), seed=seed)
    return [Moments.from_batch(*pair) for pair in zip(phi.split(list(sizes)), y.split(list(sizes)), strict=True)]


@every_rule
def test_a_rule_is_its_name_its_settings_and_a_line(name):
    named, rule = rule_named(name), made(name)
    assert (named.name, name_of(named.kind)) == (name, name)
    assert rule == made(name) and hash(rule) == hash(made(name))
    assert named.settings == tuple(field.name for field in fields(rule) if field.init)
    assert named.summary == rule_summary(name) and len(named.summary) > 20 and "\n" not in named.summary
    described = describe_rule(rule)
    assert described["rule"] == name and set(described["settings"]) == set(named.settings)


@every_rule
def test_the_state_has_fixed_shapes_and_no_update_changes_what_it_is_given(name):
    rule = made(name)
    state = rule.init(7, 3)
    shapes = {key: value.shape for key, value in state.items()}
    assert state["head"].shape == (7, 3) and state["jitter"].shape == ()
    for moments in parts(20, 30, 4):  # the last with fewer rows than features
        before = {key: value.clone() for key, value in state.items()}
        gram, cross = moments.gram.clone(), moments.cross.clone()
        head, new = rule.update(state, moments)
        assert all(torch.equal(state[key], value) for key, value in before.items())
        assert torch.equal(moments.gram, gram) and torch.equal(moments.cross, cross)
        assert torch.equal(head, new["head"])
        assert {key: value.shape for key, value in new.items()} == shapes
        assert all(value.dtype == torch.float64 and torch.isfinite(value).all() for value in new.values())
        state = new
    assert state["head"].any()


@every_rule
def test_the_order_of_rows_and_of_outputs_means_nothing(name):
    phi, y = regression(rows=40)
    rows = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    heads = []
    for some, goal in ((phi, y), (phi[rows], y[rows]), (phi, y[:, [2, 0, 1]])):
        rule = made(name)
        _, state = rule.update(rule.init(7, 3), Moments.from_batch(some, goal))
        heads.append(rule.update(state, Moments.from_batch(some, goal))[0])
    torch.testing.assert_close(heads[1], heads[0], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(heads[2], heads[0][:, [2, 0, 1]], rtol=1e-9, atol=1e-11)


LAYERS = {
    "linear": (nn.Linear(3, 5), nn.Linear(5, 2), (9, 3), -1),
    "tokens": (nn.Linear(3, 5), nn.Linear(5, 2, bias=False), (4, 6, 3), -1),
    "conv1d": (nn.Conv1d(3, 5, 1), nn.Conv1d(5, 2, 1), (4, 3, 6), 1),
    "conv2d": (nn.Conv2d(3, 5, 1), nn.Conv2d(5, 2, 1), (4, 3, 3, 2), 1),
    "conv3d": (nn.Conv3d(3, 5, 1), nn.Conv3d(5, 2, 1), (2, 3, 2, 3, 2), 1),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("layer", LAYERS)
@every_rule
def test_the_head_of_a_layer_is_that_of_its_rows(name, layer, dtype):
    body, last, shape, axis = copy.deepcopy(LAYERS[layer])
    model = nn.Sequential(body, nn.Tanh(), last).to(dtype)
    loss_of = ClosedFormLoss(last, made(name))
    rule, state = made(name), None
    for seed in (0, 1):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(shape, generator=generator).to(dtype)
        prediction = model(x)
        y = torch.randn(prediction.shape, generator=generator).to(dtype)
        loss = loss_of(prediction, y)
        phi = model[:2](x).detach().double().movedim(axis, -1).reshape(-1, 5)
        targets = y.double().movedim(axis, -1).reshape(-1, 2)
        phi = phi if last.bias is None else torch.cat([phi, torch.ones(len(phi), 1, dtype=torch.float64)], 1)
        state = rule.init(phi.shape[1], 2) if state is None else state
        head, state = rule.update(state, Moments.from_batch(phi, targets))
        close = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-8, "atol": 1e-9}
        torch.testing.assert_close(loss_of.head.state()["head"], head, **close)
        written = last.weight.detach().double().flatten(1).T
        torch.testing.assert_close(written, head[:5], **close)
        assert loss.item() == pytest.approx((phi @ head - targets).square().mean().item(), rel=1e-3)
        (gradient,) = torch.autograd.grad(loss, body.weight)
        assert torch.isfinite(gradient).all() and gradient.any()


@every_rule
def test_a_free_bias_is_refused_by_rules_that_remember_and_by_no_other(name):
    layer = mlp()[-1]
    if made(name).remembers():
        with pytest.raises(ValueError, match="`penalise_bias` must be True with a rule that remembers"):
            ClosedFormHead(layer, made(name), penalise_bias=False)
    else:
        head = ClosedFormHead(layer, made(name), penalise_bias=False)
        head.update(torch.randn(20, 2, dtype=torch.float64) + 5, prediction=layer(torch.randn(20, 8).double()))
        assert torch.isfinite(layer.bias).all() and layer.bias.any()


@every_rule
def test_numbers_that_are_not_finite_leave_the_head_and_the_memory(name):
    layer = mlp()[-1]
    head = ClosedFormHead(layer, made(name))
    x, y = torch.randn(20, 8).double(), torch.randn(20, 2).double()
    head.update(y, prediction=layer(x))
    before, weight = head.state(), layer.weight.clone()
    for bad in ((x.where(x < 1, torch.nan), y), (x, y.where(y < 1, torch.inf))):
        with pytest.raises(NotPositiveDefinite):
            head.update(bad[1], prediction=layer(bad[0]))
        assert torch.equal(layer.weight, weight)
        assert all(torch.equal(value, before[key]) for key, value in head.state().items())


@every_rule
def test_a_saved_head_goes_on_as_if_it_had_not_been_saved(name):
    model, other = mlp(), mlp()
    head = ClosedFormHead(model[-1], made(name))
    x = torch.randn(60, 3, dtype=torch.float64)
    y = torch.sin(x[:, :2])

    def step(net, one, i):
        one.update(y[20 * i : 20 * i + 20], prediction=net(x[20 * i : 20 * i + 20]))

    step(model, head, 0)
    step(model, head, 1)
    resumed = ClosedFormHead(other[-1], made(name))
    resumed.load_state_dict(head.state_dict())
    step(model, head, 2)
    step(other, resumed, 2)
    assert head.state().keys() == resumed.state().keys()
    for key, value in head.state().items():
        torch.testing.assert_close(resumed.state()[key], value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", [1, 2])
@every_rule
def test_fit_trains_with_it_by_name_and_by_object(name, algorithm, tmp_path):
    given = {"epochs": 2, "batch_size": 16, "algorithm": algorithm, "accelerator": "cpu"}
    errors = []
    for out, method in (("name", name), ("object", made(name))):
        model, config = mlp(outputs=2), FitConfig(method=method, **given)
        history = fit(model, Points(48), Points(16, seed=1), config=config, out=tmp_path / out, progress=False)
        errors.append([row["validation_mse"] for row in history.rows])
    assert np.isfinite(errors).all()
    np.testing.assert_allclose(errors[1], errors[0], rtol=1e-6)


@every_rule
def test_the_estimators_know_it_by_name(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 4))
    small = {"hidden": (8,), "epochs": 3, "batch_size": 40, "random_state": 0}
    labels = (x[:, 0] > 0).astype(int)
    classifier = ClosedFormClassifier(name, **small).fit(x, labels)
    assert set(classifier.predict(x)) <= {0, 1} and np.isfinite(classifier.decision_function(x)).all()
    same = ClosedFormClassifier(made(name), **small).fit(x, labels)
    np.testing.assert_allclose(same.decision_function(x), classifier.decision_function(x), rtol=1e-9)
    assert np.isfinite(ClosedFormRegressor(name, **small).fit(x, x[:, :2]).predict(x)).all()


@every_rule
def test_the_stages_of_instrumental_variables_know_it_by_name(name):
    rules = StageRules.named(name)
    assert {type(getattr(rules, stage)) for stage in ("first", "second", "inner")} == {rule_named(name).kind}
    nets = small_net(1, 4), small_net(1, 4, seed=1)
    found = DeepFeatureIV(*nets, rule=name, iterations=2, updates=(2, 1), batch_size=64, progress=False)
    found.fit(**sine(300))
    assert np.isfinite(found.predict(np.linspace(-1, 1, 5))).all()
