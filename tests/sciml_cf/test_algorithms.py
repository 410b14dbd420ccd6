"""The two algorithms step by step, against the same steps written out in numpy and plain torch."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.head import Algorithm1, Algorithm2, ClosedFormLoss, CrossEntropy, Proximal
from sciml_cf.head.algorithms import make_algorithm

RATE, STRENGTH = 0.3, 0.1


@pytest.fixture
def problem():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, dtype=torch.float64, generator=generator)
    return x, torch.sin(2 * x[:, :1]) * x[:, 1:]


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 2)).double()


def solved(model, x, y, previous):
    """The proximal head (7, 2) on the features of a model, in numpy."""
    phi = torch.cat([model[:-1](x), torch.ones(len(x), 1)], 1).detach().numpy()
    gram, cross = phi.T @ phi / len(x), phi.T @ y.numpy() / len(x)
    return np.linalg.solve(gram + STRENGTH * np.eye(7), cross + STRENGTH * previous)


def put(model, head):
    model[-1].weight.data = torch.from_numpy(head[:-1].T.copy())
    model[-1].bias.data = torch.from_numpy(head[-1].copy())


def by_hand(model, x, y, number, steps):
    """Losses of the steps, and the head after them."""
    head, losses = np.zeros((7, 2)), []
    put(model, head)
    for _ in range(steps):
        if number == 2:
            head = solved(model, x, y, head)
            put(model, head)
        loss = (model(x) - y).square().mean()
        own = list(model[0].parameters())
        for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
            parameter.data -= RATE * gradient
        losses.append(loss.item())
        if number == 1:
            head = solved(model, x, y, head)
            put(model, head)
    return losses, head


def trained(number, x, y, steps, **options):
    model = net()
    algorithm = make_algorithm(number, model, ClosedFormLoss(model[-1], Proximal(STRENGTH)), **options)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], RATE)
    return model, algorithm, [algorithm.step(x, y, descend=optimizer).item() for _ in range(steps)]


@pytest.mark.parametrize("number", [1, 2])
def test_steps_are_those_of_the_paper(number, problem):
    x, y = problem
    model, algorithm, losses = trained(number, x, y, 4)
    other = net()
    expected, head = by_hand(other, x, y, number, 4)
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    torch.testing.assert_close(model[0].weight, other[0].weight)
    np.testing.assert_allclose(algorithm.loss_of.head.state()["head"].numpy(), head, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("number", [1, 2])
def test_finish_solves_for_good_and_leaves_a_plain_model(number, problem):
    x, y = problem
    model, algorithm, _ = trained(number, x, y, 3)
    before = algorithm.loss_of.head.state()["head"].numpy()
    algorithm.finish([(x[:15], y[:15]), (x[15:], y[15:])])
    expected = solved(model, x, y, before)
    np.testing.assert_allclose(model[-1].weight.detach().numpy(), expected[:-1].T, rtol=1e-9, atol=1e-12)
    assert not model.training and model[-1].weight.requires_grad and not model[-1]._forward_hooks


def test_evaluating_goes_back_to_each_part_s_own_mode(problem):
    x, y = problem
    model, algorithm, _ = trained(2, x, y, 2)
    model[0].eval()
    head = model[-1].weight.clone()
    with algorithm.evaluating([(x, y)]):
        assert not model.training and not torch.equal(model[-1].weight, head)
    assert torch.equal(model[-1].weight, head)
    assert model.training and not model[0].training


class Wrapped(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, batch):
        return {"y": self.net(batch["x"])}


@pytest.mark.parametrize("number", [1, 2])
def test_a_model_may_take_and_return_anything(number, problem):
    x, y = problem
    model, moved = Wrapped(), []
    loss_of = ClosedFormLoss(model.net[-1], Proximal(STRENGTH))
    algorithm = make_algorithm(number, model, loss_of, forward=lambda batch: model(batch)["y"])

    def descend(loss):
        parameters = list(model.net[0].parameters())
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.data -= RATE * gradient
        moved.append(loss.item())

    losses = [algorithm.step({"x": x}, y, descend=descend).item() for _ in range(3)]
    assert losses == moved
    np.testing.assert_allclose(losses, by_hand(net(), x, y, number, 3)[0], rtol=1e-10)
    algorithm.finish([({"x": x}, y)])


def test_weights_of_zero_leave_rows_out(problem):
    x, y = problem
    weights = torch.ones(40)
    weights[25:] = 0
    for number in (1, 2):
        model, other = net(), net()
        algorithm = make_algorithm(number, model, ClosedFormLoss(model[-1], Proximal(STRENGTH)))
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], RATE)
        losses = [algorithm.step(x, y, weights, descend=optimizer).item() for _ in range(3)]
        np.testing.assert_allclose(losses, by_hand(other, x[:25], y[:25], number, 3)[0], rtol=1e-10)


def test_without_a_head_both_are_gradient_descent(problem):
    x, _ = problem
    model = net()
    loss_of = ClosedFormLoss(model[-1], Proximal(), initial="keep", objective=CrossEntropy())
    loss_of.head.detach()
    other, labels = copy.deepcopy(model), (x[:, 0] > 0).long()
    algorithm = make_algorithm(1, model, loss_of)
    assert isinstance(algorithm, Algorithm2) and not isinstance(algorithm, Algorithm1)
    value = algorithm.step(x, labels, descend=torch.optim.SGD(model.parameters(), RATE))
    expected = nn.functional.cross_entropy(other(x), labels)
    torch.testing.assert_close(value, expected.detach())
    (gradient,) = torch.autograd.grad(expected, other[-1].weight)
    torch.testing.assert_close(model[-1].weight, other[-1].weight - RATE * gradient)


def test_an_unknown_number_is_refused():
    model = net()
    with pytest.raises(ValueError, match="make_algorithm: `number` must be one of 1, 2; got 3"):
        make_algorithm(3, model, ClosedFormLoss(model[-1], Proximal()))
