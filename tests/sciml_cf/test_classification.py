"""Methods by name, one step of either algorithm, and evaluation that leaves the training as it was."""

import copy

import pytest
import torch
from torch import nn

from sciml_cf.classification.methods import METHODS, classification_loss, is_closed_form, train_step
from sciml_cf.head import ClosedFormHead, CrossEntropy, Hybrid, Kalman, OneHot, Proximal
from sciml_cf.head.algorithms import evaluating, solve_on
from tests.problems import mlp


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 3, dtype=torch.float64, generator=generator)
    return x, (x[:, 0] * x[:, 1] > 0).long() + (x[:, 2] > 0.5).long()


def test_a_method_is_its_objective_and_its_rule():
    loss_of = classification_loss(
        nn.Linear(4, 3), "cross-entropy-closed-form", strength=0.5, smoothing=0.1, iterations=2
    )
    assert loss_of.head.objective == CrossEntropy(smoothing=0.1, iterations=2)
    assert loss_of.head.rule == Proximal(0.5)
    kalman = classification_loss(nn.Linear(4, 3), "kalman", forgetting=0.5)
    assert (kalman.head.objective, kalman.head.rule) == (OneHot(), Kalman(forgetting=0.5))
    assert classification_loss(nn.Linear(4, 3), "hybrid", scale=3.0).head.objective == Hybrid(scale=3.0)


@pytest.mark.parametrize("method", ["l2", "cross-entropy"])
def test_a_method_without_a_head_is_an_ordinary_loss(method, problem):
    x, y = problem
    model, twin = mlp(outputs=3), mlp(outputs=3)
    loss_of = classification_loss(model[-1], method, class_weights=(1.0, 2.0, 3.0))
    weights = torch.tensor([1.0, 2.0, 3.0]).double()
    loss = loss_of(model(x), y)
    if method == "l2":
        errors = (twin(x) - nn.functional.one_hot(y, 3)).square().sum(1)
        expected = (weights[y] * errors).sum() / weights[y].sum()
    else:
        expected = nn.functional.cross_entropy(twin(x), y, weights)
    torch.testing.assert_close(loss, expected)
    loss.backward(), expected.backward()
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("algorithm", [1, 2])
def test_every_method_learns_in_either_algorithm(method, algorithm, problem):
    x, y = problem
    model = mlp(outputs=3, width=32)
    loss_of = classification_loss(model[-1], method)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 0.03)
    assert (model[-1].weight in set(optimizer.param_groups[0]["params"])) != is_closed_form(method)
    for _ in range(80):
        train_step(model, loss_of, optimizer, x, y, algorithm=algorithm)
    with evaluating(model, loss_of, [(x, y)] if algorithm == 2 else []):
        assert (model(x).argmax(1) == y).double().mean() > 0.75
    assert not loss_of.head.frozen


def test_algorithm_1_moves_the_backbone_at_the_old_head_and_solves_on_the_new_features(problem):
    x, y = problem
    model = mlp(outputs=3)
    loss_of = classification_loss(model[-1], "cross-entropy-closed-form", strength=0.1)
    model.train()
    loss_of(model(x), y)
    by_hand = copy.deepcopy(model)
    before = by_hand[-1].weight.clone()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.5)
    value = train_step(model, loss_of, optimizer, x, y, algorithm=1)
    expected = nn.functional.cross_entropy(by_hand(x), y)
    torch.testing.assert_close(value, expected.detach())
    own = list(by_hand[0].parameters())
    for parameter, gradient in zip(own, torch.autograd.grad(expected, own), strict=True):
        parameter.data -= 0.5 * gradient
    for ours, theirs in zip(model[0].parameters(), own, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert torch.equal(by_hand[-1].weight, before)
    head = ClosedFormHead(by_hand[-1], Proximal(0.1), initial="keep", objective=CrossEntropy())
    head.update(y, prediction=by_hand(x))
    torch.testing.assert_close(model[-1].weight, by_hand[-1].weight)


def test_evaluation_solves_the_head_and_goes_back(problem):
    x, y = problem
    model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Tanh(), nn.Linear(8, 3)).double()
    loss_of = classification_loss(model[-1], "proximal", strength=0.1)
    model.train()
    loss_of(model(x), y)
    before = {name: value.clone() for name, value in loss_of.head.state().items()}
    with evaluating(model, loss_of, [(x[:30], y[:30]), (x[30:], y[30:])]):
        assert not model.training and not torch.is_grad_enabled()
        inside = model[-1].weight.clone()
        features = torch.cat([torch.tanh(model[0](x)), torch.ones(60, 1).double()], 1)
    targets = nn.functional.one_hot(y, 3).double()
    gram, cross = features.T @ features / 60, features.T @ targets / 60
    expected = torch.linalg.solve(gram + 0.1 * torch.eye(9), cross + 0.1 * before["head"])
    torch.testing.assert_close(inside, expected[:8].T)
    assert model.training and torch.is_grad_enabled()
    for name, value in loss_of.head.state().items():
        assert torch.equal(value, before[name])
    torch.testing.assert_close(model[-1].weight, before["head"][:8].T, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="inside"), evaluating(model, loss_of, [(x, y)]):
        raise RuntimeError("inside")
    assert torch.equal(loss_of.head.state()["head"], before["head"])


def test_an_objective_that_needs_its_rows_is_solved_batch_by_batch(problem):
    x, y = problem
    model = mlp(outputs=3)
    loss_of = classification_loss(model[-1], "cross-entropy-closed-form", iterations=2)
    twin = copy.deepcopy(model)
    model.eval()
    solve_on(model, loss_of, [(x[:30], y[:30]), (x[30:], y[30:])])
    other = classification_loss(twin[-1], "cross-entropy-closed-form", iterations=2)
    for part in (slice(30), slice(30, None)):
        other(twin(x[part]), y[part])
    torch.testing.assert_close(model[-1].weight, twin[-1].weight)


@pytest.mark.parametrize(
    ("method", "settings", "error", "message"),
    [
        ("newton", {}, ValueError, "`method` must be one of 'l2', 'automatic', 'kalman'"),
        (
            "cross-entropy",
            {"strength": 1.0},
            ValueError,
            "`strength` must be left out with method 'cross-entropy', which solves no head; got 1",
        ),
        (
            "proximal",
            {"forgetting": 0.5},
            ValueError,
            "`forgetting` must be left out with the rule 'proximal'",
        ),
        ("proximal", {"curvature": "bound"}, TypeError, "curvature"),
    ],
)
def test_settings_of_other_methods_are_refused(method, settings, error, message):
    with pytest.raises(error, match=message):
        classification_loss(nn.Linear(4, 3), method, **settings)
