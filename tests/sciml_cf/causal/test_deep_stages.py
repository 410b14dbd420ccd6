"""The stages on one pair of batches: gradients against finite differences, solves against the paper's formulas."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.causal import StageRules
from sciml_cf.causal.nets import Batch, Nets
from sciml_cf.causal.stages import (
    StageHeads,
    mean_square,
    refit,
    stage_covariates,
    stage_one,
    stage_two,
    stage_two_features,
)
from sciml_cf.head import Kalman, Moments
from tests.sciml_cf.causal.problems import double_nets, heads_of, mlp, rows

ONE, TWO = rows(40, 1, covariates=2), rows(30, 2, covariates=2)


class Recorder(torch.optim.Optimizer):
    """Keeps the gradients and moves nothing."""

    def __init__(self, module):
        super().__init__(module.parameters(), {})

    def step(self):
        (group,) = self.param_groups
        self.gradients = [parameter.grad.clone() for parameter in group["params"]]


def random_heads(rules, nets, seed=0):
    g = torch.Generator().manual_seed(seed)
    sizes = StageHeads.start(rules, nets, ONE)
    first = torch.randn(sizes.first.value.shape, generator=g, dtype=torch.float64)
    second = torch.randn(sizes.second.value.shape, generator=g, dtype=torch.float64)
    return heads_of(rules, nets, ONE, first, second)


def gradients_of(stage, rules, gradients, **changes):
    """What one update of a stage hands to its net's optimizer."""
    nets = double_nets(2)
    recorder = Recorder(nets.modules[stage])
    heads, given = random_heads(rules, nets), {"updates": 1, "gradients": gradients}
    if stage == "instrument_net":
        stage_one(heads, nets, {stage: recorder}, ONE, **given)
    else:
        run = stage_two if stage == "treatment_net" else stage_covariates
        run(heads, nets, {stage: recorder}, ONE, TWO, **given, **changes)
    return recorder.gradients


def finite_differences(module, loss, step=1e-6):
    found = []
    with torch.no_grad():
        for parameter in module.parameters():
            flat, slopes = parameter.view(-1), torch.zeros(parameter.numel(), dtype=torch.float64)
            for index in range(len(flat)):
                old, ends = flat[index].item(), []
                for end in (old + step, old - step):
                    flat[index] = end
                    ends.append(loss())
                flat[index] = old
                slopes[index] = (ends[0] - ends[1]) / (2 * step)
            found.append(slopes.view_as(parameter))
    return found


def second_loss(nets, first_head, second_head, strength):
    """The second loss by the paper's formulas: sums, transposed features, an explicit solve."""
    phi, phi_2 = (add_one(nets.phi(batch)).T for batch in (ONE, TWO))
    psi, lam = nets.psi(ONE).T, strength * len(ONE)
    system = phi @ phi.T + lam * torch.eye(len(phi), dtype=phi.dtype)
    head = torch.linalg.solve(system, (psi @ phi.T + lam * first_head.T).T).T  # Eq. (13)
    expected, xi = add_one((head @ phi_2).T), add_one(nets.xi(TWO))
    features = torch.einsum("ni,nj->nij", expected, xi).reshape(len(TWO), -1)
    return ((features @ second_head - TWO.outcome) ** 2).sum() / len(TWO)


def add_one(features):
    return torch.cat([features, torch.ones(len(features), 1, dtype=features.dtype)], 1)


def treatment_gradients_and_differences():
    rules, nets = StageRules.proximal(0.1, 1.0, 1e-3), double_nets(2)
    heads = random_heads(rules, nets)
    first, second = heads.first.value, heads.second.value
    loss = lambda: second_loss(nets, first, second, 1e-3).item()  # noqa: E731
    differences = finite_differences(nets.modules["treatment_net"], loss)
    return gradients_of("treatment_net", rules, "previous"), differences


def test_the_treatment_nets_gradient_is_that_of_finite_differences():
    found, expected = treatment_gradients_and_differences()
    assert max(slopes.abs().max() for slopes in expected) > 0.1
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-7)


def test_a_detached_inner_head_leaves_no_gradient(monkeypatch):
    monkeypatch.setattr(Moments, "in_graph", Moments.from_batch)
    with pytest.raises(ValueError, match="must give features with a gradient"):
        treatment_gradients_and_differences()


@pytest.mark.parametrize("stage", ["instrument_net", "treatment_net", "covariate_net"])
@pytest.mark.parametrize("rules", [StageRules.ridge(0.02, 0.03), StageRules.proximal(0.2, 0.3, 1e-3)])
def test_gradients_through_the_solve_are_those_at_the_held_head(stage, rules):
    held, through = (gradients_of(stage, rules, name) for name in ("solved", "through"))
    scale = max(one.abs().max() for one in held)
    assert scale > 1e-4
    for one, other in zip(held, through, strict=True):
        assert (one - other).abs().max() <= 1e-9 * scale
    previous = gradients_of(stage, rules, "previous")
    assert (previous[0] - held[0]).abs().max() > 1e-3 * scale


def test_through_the_solve_without_its_penalty_is_another_gradient(monkeypatch):
    rules = StageRules.ridge(0.02, 0.03)
    held = gradients_of("treatment_net", rules, "solved")
    monkeypatch.setattr("sciml_cf.causal.stage_rules.StageHead.penalty", lambda *_: 0.0)
    bare = gradients_of("treatment_net", rules, "through")
    assert (bare[0] - held[0]).abs().max() > 1e-3 * held[0].abs().max()


def test_an_iteration_is_algorithm_3():
    """Two iterations of plain code, in the paper's sums and transposed features."""
    one, two = rows(40, 1), rows(30, 2)
    rules, nets = StageRules.proximal(0.1, 0.5, 1e-3), double_nets()
    psi, phi = (copy.deepcopy(nets.modules[name]) for name in ("treatment_net", "instrument_net"))
    rate, steps = 0.05, (3, 2)
    optimizers = {name: torch.optim.SGD(net.parameters(), lr=rate) for name, net in nets.modules.items()}
    heads = StageHeads.start(rules, nets, one)
    x, z1, z2, y = one.treatment, one.instrument, two.instrument, two.outcome
    lam_1, lam_2, lam_12 = 0.1 * 40, 0.5 * 30, 1e-3 * 40
    big, small = torch.zeros(4, 7, dtype=torch.float64), torch.zeros(1, 5, dtype=torch.float64)

    def features(net, inputs):
        return add_one(net(inputs)).T

    def solve(targets, inputs, lam, previous):
        return (targets @ inputs.T + lam * previous) @ torch.linalg.inv(
            inputs @ inputs.T + lam * torch.eye(len(inputs), dtype=inputs.dtype)
        )

    def descend(net, loss):
        for parameter, slope in zip(net.parameters(), torch.autograd.grad(loss, net.parameters()), strict=True):
            parameter.data -= rate * slope

    for _ in range(2):
        heads.begin()
        stage_one(heads, nets, optimizers, one, updates=steps[0], gradients="previous")
        stage_two(heads, nets, optimizers, one, two, updates=steps[1], gradients="previous")
        targets = psi(x).T.detach()
        for _ in range(steps[0]):
            descend(phi, ((big @ features(phi, z1) - targets) ** 2).sum() / 40)
            big = solve(targets, features(phi, z1).detach(), lam_1, big)
        for _ in range(steps[1]):
            inner = solve(psi(x).T, features(phi, z1).detach(), lam_12, big)
            expected = add_one((inner @ features(phi, z2).detach()).T).T
            descend(psi, ((small @ expected - y.T) ** 2).sum() / 30)
            inner = solve(psi(x).T, features(phi, z1), lam_12, big).detach()
            small = solve(y.T, add_one((inner @ features(phi, z2).detach()).T).T, lam_2, small)
    torch.testing.assert_close(heads.first.value, big.T, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(heads.second.value, small.T, rtol=1e-9, atol=1e-11)
    for net, plain in ((nets.modules["treatment_net"], psi), (nets.modules["instrument_net"], phi)):
        for own, other in zip(net.parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(own, other, rtol=1e-9, atol=1e-11)
    assert big.norm() > 0.1 and small.norm() > 0.1


@pytest.mark.parametrize("rule", [StageRules.proximal(), StageRules.ridge(), StageRules.kalman()])
def test_weights_count_rows(rule):
    weights = torch.tensor([2.0] * 5 + [1.0] * 10 + [3.0] * 5, dtype=torch.float64)
    index = torch.arange(20).repeat_interleave(weights.long())
    plain = [rows(20, seed, covariates=2) for seed in (1, 2)]
    results = []
    for pair in ([Batch(*batch._parts()[:4], weights) for batch in plain], [batch.take(index) for batch in plain]):
        nets = double_nets(2)
        optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.05) for name, net in nets.modules.items()}
        heads = StageHeads.start(rule, nets, pair[0])
        for _ in range(2):
            heads.begin()
            stage_one(heads, nets, optimizers, pair[0], updates=2, gradients="previous")
            stage_covariates(heads, nets, optimizers, *pair, updates=2, gradients="previous")
            stage_two(heads, nets, optimizers, *pair, updates=2, gradients="previous")
        refitted = refit(nets, *pair, strength=0.01)
        parameters = [parameter.detach() for net in nets.modules.values() for parameter in net.parameters()]
        results.append([heads.first.value, heads.second.value, *refitted, *parameters])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


def test_features_of_stage_two_are_products_of_all_pairs():
    psi, xi = torch.rand(5, 3), torch.rand(5, 2)
    found = stage_two_features(psi, xi)
    for row in range(5):
        expected = np.kron(np.append(psi[row].double(), 1), np.append(xi[row].double(), 1))
        np.testing.assert_array_equal(found[row], expected)


def test_a_mean_square_is_over_rows_and_summed_over_columns():
    prediction, target = torch.tensor([[1.0, 2.0], [3.0, 5.0]]), torch.zeros(2, 2)
    assert mean_square(prediction, target, None) == (5 + 34) / 2
    assert mean_square(prediction, target, torch.tensor([3.0, 1.0])) == (15 + 34) / 4


def test_a_rule_that_remembers_counts_each_batch_once():
    nets = Nets("test", nn.Identity(), nn.Identity(), None)
    one, two = rows(40, 1), rows(30, 2)
    results = []
    for updates in (1, 4):
        heads = StageHeads.start(StageRules.kalman(), nets, one)
        for _ in range(2):
            heads.begin()
            stage_one(heads, nets, {}, one, updates=updates, gradients="previous")
            stage_two(heads, nets, {}, one, two, updates=updates, gradients="previous")
        results.append(heads)
    for name in ("first", "inner", "second"):
        ours, theirs = (getattr(heads, name).state for heads in results)
        torch.testing.assert_close(ours, theirs)
        assert isinstance(getattr(results[0], name).rule, Kalman) and ours["weight"] in (40 * 1.9, 30 * 1.9)


class Modes(nn.Module):
    """Notes the mode of each call."""

    def __init__(self, log, name):
        super().__init__()
        self.net, self.log, self.name = mlp(2, 4, dtype=torch.float64), log, name

    def forward(self, *inputs):
        self.log.add((self.name, "train" if self.training else "eval", torch.is_grad_enabled()))
        return self.net(inputs[0][:, :2])


def test_each_stage_trains_its_own_net_alone():
    log = set()
    nets = Nets("test", *(Modes(log, name) for name in ("psi", "phi", "xi")))
    heads = StageHeads.start(StageRules.proximal(), nets, ONE)
    optimizers = {name: torch.optim.SGD(net.parameters(), lr=0.1) for name, net in nets.modules.items()}
    given = {"updates": 2, "gradients": "previous"}
    for run, own in ((stage_one, "phi"), (stage_two, "psi"), (stage_covariates, "xi")):
        log.clear()
        run(heads, nets, optimizers, *((ONE,) if run is stage_one else (ONE, TWO)), **given)
        assert {(name, mode) for name, mode, _ in log if mode == "train"} == {(own, "train")}
        assert {name for name, _, graph in log if graph} == {own}
