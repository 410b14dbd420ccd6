"""Targets far from zero train as centred ones do, by every rule; others take the steps they always took."""

import copy
import io

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf import ClosedFormLoss, Proximal, Ridge
from sciml_cf.head import Every, rule_names
from sciml_cf.head.registry import rule_named

MEAN = 1e5


def net(dtype=torch.float64, outputs=2):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, outputs)).to(dtype)


def data(mean=0.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(64, 3, dtype=torch.float64, generator=generator)
    y = torch.stack([torch.sin(2 * x[:, 0]) * x[:, 1], 0.5 * x[:, 2].square()], 1)
    return x.to(dtype), (y - y.mean(0) + mean).to(dtype)


def trained(rule, x, y, *, steps=40, model=None, **options):
    model = net(x.dtype) if model is None else model
    loss_of = ClosedFormLoss(model[-1], rule, **options)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, loss_of, losses


@pytest.mark.parametrize("name", rule_names())
def test_every_rule_learns_targets_far_from_zero_as_centred_ones(name):
    rule = rule_named(name).kind()
    centred, _, expected = trained(rule, *data())
    model, loss_of, losses = trained(rule, *data(MEAN))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)
    x, _ = data()
    torch.testing.assert_close(model(x) - MEAN, centred(x), rtol=0, atol=1e-4)
    assert torch.allclose(loss_of.head.state()["offset"], torch.full((2,), MEAN, dtype=torch.float64), rtol=1e-9)


def test_in_float32_the_error_is_that_of_centred_targets_up_to_rounding():
    _, _, expected = trained(Proximal(1e-2), *data(dtype=torch.float32), steps=100)
    _, _, losses = trained(Proximal(1e-2), *data(MEAN, torch.float32), steps=100)
    assert losses[-1] < expected[-1] + 1e-3  # 1e5 is known to .004 in float32


def test_few_rows_and_weights_are_solved_around_the_offset_too():
    x, y = data(MEAN)
    weights = torch.rand(10, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for given in (None, weights):
        model = net()
        loss_of = ClosedFormLoss(model[-1], Ridge(1e-2))
        loss_of(model(x[:10]), y[:10], given)
        share = (np.ones(10) if given is None else given.numpy()) / (10 if given is None else given.sum().item())
        phi = np.append(model[:-1](x[:10]).detach().numpy(), np.ones((10, 1)), 1)
        offset = share @ y[:10].numpy()
        centred = y[:10].numpy() - offset
        head = np.linalg.solve(phi.T @ (share[:, None] * phi) + 1e-2 * np.eye(17), phi.T @ (share[:, None] * centred))
        np.testing.assert_allclose(model[-1].weight.detach().numpy(), head[:-1].T, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(model[-1].bias.detach().numpy(), head[-1] + offset, rtol=1e-12)


def test_targets_near_zero_have_no_offset():
    _, loss_of, _ = trained(Proximal(1e-2), *data(0.5), steps=3)
    assert set(loss_of.head.state()) == {"head", "jitter"}
    constant = ClosedFormLoss((model := net())[-1], Proximal(1e-2))
    constant(model(data()[0]), torch.full((64, 2), 7.0, dtype=torch.float64))
    assert "offset" not in constant.head.state()


@pytest.mark.parametrize("rule", [Proximal(1e-2), Every(Ridge(1e-2), steps=2)])
def test_a_training_goes_on_from_its_saved_state(rule):
    x, y = data(MEAN)
    model, loss_of, _ = trained(rule, x, y, steps=3)
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "loss": loss_of.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    other = net()
    fresh = ClosedFormLoss(other[-1], rule)
    other.load_state_dict(saved["model"])
    fresh.load_state_dict(saved["loss"])
    torch.testing.assert_close(other(x), model(x), rtol=1e-12, atol=0)
    for one, loss in ((model, loss_of), (other, fresh)):
        loss(one(x), y)
    torch.testing.assert_close(other[-1].bias, model[-1].bias, rtol=1e-12, atol=0)


def test_going_back_goes_back_to_before_the_offset():
    x, y = data(MEAN)
    model = net()
    loss_of = ClosedFormLoss(model[-1], Proximal(1e-2))
    before = loss_of.head.state()
    loss_of(model(x), y)
    after, bias = loss_of.head.state(), model[-1].bias.clone()
    loss_of.head.restore(before)
    assert not model[-1].bias.any() and "offset" not in loss_of.head.state()
    loss_of(model(x), y)
    torch.testing.assert_close(model[-1].bias, bias)
    loss_of.head.restore(after)
    torch.testing.assert_close(model[-1].bias, bias, rtol=0, atol=0)


def test_weights_of_the_layer_are_kept_where_it_starts_from_them():
    x, y = data(MEAN)
    model = net()
    with torch.no_grad():
        model[-1].bias.fill_(MEAN + 1)
    other = copy.deepcopy(model)
    trained(Proximal(10.0), x, y, steps=1, model=model, initial="keep")
    with torch.no_grad():
        other[-1].bias.sub_(MEAN)
    trained(Proximal(10.0), x, y - MEAN, steps=1, model=other, initial="keep")
    torch.testing.assert_close(model[-1].weight, other[-1].weight, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(model[-1].bias - MEAN, other[-1].bias, rtol=1e-6, atol=1e-8)
