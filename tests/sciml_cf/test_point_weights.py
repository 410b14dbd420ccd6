"""Weights of samples and points are those of the prediction's axes, however the last layer sees the points."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sciml_cf.head import ClosedFormLoss, Ridge
from tests.dense import close, dense_head, head_in, with_ones

STRENGTH = 1e-2


class Plane(nn.Module):
    """``(B, 2, H, W)`` -> ``(B, C, H, W)`` or ``(B, H, W, C)`` by a layer that sees the points in its own order.

    Args:
        sees: the plane "whole", "flat" or "turned" (W before H).
        gives: the channels "second", "last", or no axis for a "single" one.
    """

    def __init__(self, layer, sees, gives, outputs):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Conv2d(2, 6, 3, padding=1)
        convolution = nn.Conv1d if sees == "flat" else nn.Conv2d
        self.head = nn.Linear(6, outputs) if layer == "linear" else convolution(6, outputs, 1)
        self.sees, self.gives = sees, gives
        self.double()

    def features(self, x):
        """Features ``(B, H, W, 6)``."""
        return torch.tanh(self.body(x)).movedim(1, -1)

    def forward(self, x):
        phi = self.features(x)
        shape = phi.shape[:3]
        phi = phi.transpose(1, 2) if self.sees == "turned" else phi.flatten(1, 2) if self.sees == "flat" else phi
        linear = isinstance(self.head, nn.Linear)
        output = self.head(phi) if linear else self.head(phi.movedim(-1, 1)).movedim(1, -1)
        output = output.transpose(1, 2) if self.sees == "turned" else output.reshape(*shape, -1)
        moved = {"second": lambda: output.movedim(-1, 1), "last": lambda: output, "single": lambda: output[..., 0]}
        return moved[self.gives]()


def weights_of(given, shape):
    rows = torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) + 0.1
    rows[0, :2] = 0.0
    return {
        "all": rows,
        "plane": rows[0],
        "rows of the plane": rows[1, :, :1],
        "columns of the plane": rows[1, :1],
        "samples": rows[:, 2, 2],
        "samples with axes": rows[:, 2:3, 2:3],
        "mask": rows > 0.5,
    }[given]


CASES = ["all", "plane", "rows of the plane", "columns of the plane", "samples", "samples with axes", "mask"]


@pytest.mark.parametrize("gives", ["second", "last", "single"])
@pytest.mark.parametrize("sees", ["whole", "flat", "turned"])
@pytest.mark.parametrize("layer", ["linear", "convolution"])
def test_weights_of_points_are_the_dense_weighted_solution(layer, sees, gives):
    for plane in ((5, 7), (6, 6)):
        check_weights_of_points(layer, sees, gives, plane)


def check_weights_of_points(layer, sees, gives, plane):
    model = Plane(layer, sees, gives, 1 if gives == "single" else 3)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4, 2, *plane, dtype=torch.float64, generator=generator)
    y = torch.randn(*model(x).shape, dtype=torch.float64, generator=generator)
    rows = y.movedim(1, -1) if gives == "second" else y.unsqueeze(-1) if gives == "single" else y
    phi = model.features(x).detach().flatten(0, 2)
    loss_of = ClosedFormLoss(model.head, Ridge(STRENGTH))
    for given in CASES:
        weights = weights_of(given, (4, *plane))
        whole = weights[:, None, None] if given == "samples" else weights
        whole = whole.double().expand(4, *plane).flatten()
        value = loss_of(model(x), y, weights)
        expected = dense_head(phi, rows.flatten(0, 2), STRENGTH, 0 * head_in(model.head), weights=whole)
        close(head_in(model.head), expected, 1e-9)
        errors = np.square(with_ones(phi) @ expected - rows.flatten(0, 2).numpy()).mean(1)
        wanted = (whole.numpy() * errors).sum() / whole.sum().item()
        assert value.item() == pytest.approx(wanted, rel=1e-9)
        model.eval()
        assert loss_of(model(x), y, weights).item() == pytest.approx(wanted, rel=1e-9)
        model.train()


def test_weights_that_may_be_of_samples_or_of_points_are_refused():
    model = Plane("convolution", "flat", "second", 3)
    loss_of, x = ClosedFormLoss(model.head, Ridge(STRENGTH)), torch.randn(5, 2, 5, 7, dtype=torch.float64)
    y = torch.randn(5, 3, 5, 7, dtype=torch.float64)
    wanted = r"samples or points; got \(5, 1\) for .*\(5, 1, 1\) for samples, \(1, 5, 1\) for points"
    with pytest.raises(ValueError, match=wanted):
        loss_of(model(x), y, torch.rand(5, 1))
    with pytest.raises(ValueError, match=r"must be \(B, \*N\) = \(5, 5, 7\), \(B,\) or \(\*N,\)"):
        loss_of(model(x), y, torch.rand(7, 5))
    loss_of(model(x), y, torch.rand(5, 1, 1))
    loss_of(model(x), y, torch.rand(35))  # as the layer sees the points


def test_weights_of_points_inside_a_patch_are_refused():
    class Patch(nn.Module):
        """Two points of each row are outputs of one token."""

        def __init__(self):
            super().__init__()
            self.body, self.head = nn.Linear(2, 3), nn.Linear(3, 4)

        def forward(self, x):
            return self.head(self.body(x)).reshape(len(x), -1, 2, 2).movedim(2, 1).flatten(2)  # (B, 2, points)

    model = Patch()
    loss_of, x = ClosedFormLoss(model.head, Ridge(STRENGTH)), torch.randn(3, 5, 2)
    loss_of(model(x), torch.randn(3, 2, 10), torch.rand(3))
    with pytest.raises(ValueError, match="Weights of single outputs are shaped like the prediction"):
        loss_of(model(x), torch.randn(3, 2, 10), torch.rand(10))
    loss_of(model(x), torch.randn(3, 2, 10), torch.rand(10).expand(3, 2, 10))
