"""Adaptive clipping of gradients against timm's, by hand, and in a training."""

import importlib.util

import pytest
import torch
from torch import nn

from sciml_cf.classification.vision import timm
from sciml_cf.training.clipping import clip_by_unit
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from tests.problems import Points, mlp


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    model(torch.randn(5, 2, 4, 4)).square().sum().backward()
    return model


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="needs the extra `vision`")
@pytest.mark.parametrize("factor", [1e-3, 0.1, 10.0])
def test_clipped_gradients_are_those_of_timm(factor):
    own, other = network(), network()
    clip_by_unit(own, factor)
    timm("utils.agc").adaptive_clip_grad(other.parameters(), clip_factor=factor)
    for a, b in zip(own.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-5, atol=1e-7)


def test_only_units_with_large_gradients_are_scaled():
    layer = nn.Linear(2, 3)
    layer.weight.data = torch.tensor([[3.0, 4.0], [0.0, 0.0], [3.0, 4.0]])
    layer.weight.grad = torch.tensor([[0.3, 0.4], [0.0, 2.0], [6.0, 8.0]])
    clip_by_unit(layer, 0.2)  # most: 1, 0.2 / 1000, 1
    torch.testing.assert_close(layer.weight.grad, torch.tensor([[0.3, 0.4], [0.0, 2e-4], [0.6, 0.8]]))
    assert layer.bias.grad is None


def test_a_factor_must_be_positive():
    with pytest.raises(ValueError, match="`adaptive_clip` must be"):
        FitConfig(adaptive_clip=0.0)


@pytest.mark.parametrize("method", ["l2", "proximal"])
def test_a_training_clips_the_backbone_alone(tmp_path, method):
    moved = {}
    for factor in (None, 1e-9):
        model = mlp()
        before = [part.detach().clone() for part in model.parameters()]
        config = FitConfig(
            method=method, optimizer="sgd", learning_rate=0.1, warmup=0, epochs=1, batch_size=8, adaptive_clip=factor
        )
        fit(model, Points(32), Points(8), config=config, out=tmp_path / str(factor), progress=False)
        after = model.parameters()
        moved[factor] = [(one - two).abs().max().item() for one, two in zip(after, before, strict=True)]
    assert moved[None][0] > 1e-3 and moved[1e-9][0] < 1e-8
    assert (moved[1e-9][-1] > 1e-3) == (method == "proximal")
