"""One head over several models: a dense least-squares problem, the mean of the models, units, and refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.evaluate import stack
from sciml_cf.models import FNOConfig
from sciml_cf.normalization import Normalization, attach_normalization


def net(seed: int, width: int = 5, *, bias: bool = True, outputs: int = 2) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(1, width, 1), nn.Tanh(), nn.Conv1d(width, outputs, 1, bias=bias)).double()


def pairs(count: int = 12, points: int = 16, seed: int = 0) -> list[tuple[torch.Tensor, torch.Tensor]]:
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 1, points, generator=rng, dtype=torch.float64)
    y = torch.cat([torch.sin(2 * x), x**2], 1)
    return list(zip(x, y, strict=True))


def fields(data: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.stack([x for x, _ in data]), torch.stack([y for _, y in data])


def test_the_head_is_that_of_a_dense_problem() -> None:
    """The penalty as further rows of a least-squares problem, solved by orthogonal transformations."""
    models, data, strength = [net(0), net(1, 7, bias=False)], pairs(), 1e-4
    x, y = fields(data)
    stacked = stack(models, data, strength=strength)
    with torch.no_grad():
        features = [model[:2](x).movedim(1, -1).flatten(0, 1) for model in models]  # type: ignore[index]
        rows = torch.cat([*features, torch.ones(len(features[0]), 1, dtype=x.dtype)], 1)
        heads = [model[2] for model in models]  # type: ignore[index]
        mean = torch.cat([*(head.weight[:, :, 0].T for head in heads), heads[0].bias[None]]) / 2
        penalty = math.sqrt(strength * len(rows)) * torch.eye(rows.shape[1], dtype=x.dtype)
        targets = torch.cat([y.movedim(1, -1).flatten(0, 1), penalty @ mean])
        best = rows @ torch.linalg.lstsq(torch.cat([rows, penalty]), targets).solution
        torch.testing.assert_close(stacked(x).movedim(1, -1).flatten(0, 1), best, atol=1e-8, rtol=1e-6)
        alone = [(model(x) - y).square().mean() for model in models]
        assert (stacked(x) - y).square().mean() < min(alone)


def test_an_infinite_strength_is_the_mean_of_the_models() -> None:
    models, data = [net(0), net(1, 7, bias=False), net(2, 3)], pairs()
    stacked = stack(models, data, strength=math.inf)
    x, _ = fields(data)
    with torch.no_grad():
        torch.testing.assert_close(stacked(x), sum(model(x) for model in models) / 3)


def test_the_strength_is_chosen_and_the_models_stay() -> None:
    models, data = [net(0), net(1)], pairs()
    before = [{name: value.clone() for name, value in model.state_dict().items()} for model in models]
    stacked = stack(models, data)
    assert stacked.adaptation is not None and stacked.adaptation.error_after <= stacked.adaptation.error_before
    for model, old in zip(models, before, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in model.state_dict().items())


def test_fields_are_in_physical_units() -> None:
    data = [(300 + 20 * x, 1e-3 * y) for x, y in pairs()]
    units = Normalization((300.0,), (20.0,), (0.0, 5e-4), (1e-3, 1e-3))
    models = [FNOConfig(1, 2, width=8, modes=4, layers=2, num_dims=1).build(seed=seed) for seed in (0, 1)]
    for model in models:
        attach_normalization(model, units)
    stacked = stack(models, data, strength=1e-9)
    x, y = fields(data)
    with torch.no_grad():
        errors = [(model(x.float()) - y).square().mean() for model in (stacked, *models)]
    assert errors[0] < 0.9 * min(errors[1:])
    wide = stacked(torch.from_numpy(np.full((1, 1, 64), 300.0, np.float32)))
    assert wide.shape == (1, 2, 64)  # another resolution


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (lambda: [net(0)], "`models` must be at least two"),
        (lambda: [net(0), nn.Sequential(*net(1), nn.Tanh())], "must predict the output of their last linear layer"),
        (lambda: [net(0), scaled(net(1))], "must have the same normalization"),
    ],
)
def test_what_cannot_be_stacked_is_refused(models, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stack(models(), pairs())


def scaled(model: nn.Module) -> nn.Module:
    attach_normalization(model, Normalization((0.0,), (2.0,), (0.0, 0.0), (1.0, 1.0)))
    return model
