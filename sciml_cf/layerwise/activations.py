"""Inverses of activations: a table of those through which layer-wise least squares can pass targets.

A new activation is one function here: module -> Inverse, with its type in ``INVERSES``. A user's own type is added from
outside the same way: ``INVERSES[Mine] = lambda module: Inverse(...)``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


class Exp(nn.Module):
    """The activation exp(z); torch has no module of it."""

    def forward(self, z: Tensor) -> Tensor:
        """Exp of every entry."""
        return z.exp()


@dataclass(frozen=True)
class Inverse:
    """What a sweep must know of an activation: how to undo it, and which values it takes.

    Args:
        inverse: outputs ``(rows, C)`` -> what the activation maps to them, entry by entry or row by row.
        low: lower bound of the open interval of its values, or -inf.
        high: upper bound, or inf.
        labels: the targets of "not this class" and "this class", before they are clipped.
    """

    inverse: Callable[[Tensor], Tensor]
    low: float = -math.inf
    high: float = math.inf
    labels: tuple[float, float] = (0.0, 1.0)

    def clipped(self, targets: Tensor, clip: float) -> Tensor:
        """Targets moved inside the interval: ``clip`` of its width from two ends, ``clip`` itself from a single one."""
        width = self.high - self.low
        margin = clip * width if math.isfinite(width) else clip
        return targets.clamp(self.low + margin, self.high - margin)


IDENTITY = Inverse(lambda y: y)


def _sigmoid(module: nn.Sigmoid) -> Inverse:
    return Inverse(torch.logit, 0.0, 1.0)


def _tanh(module: nn.Tanh) -> Inverse:
    return Inverse(torch.atanh, -1.0, 1.0, (-1.0, 1.0))


def _elu(module: nn.ELU) -> Inverse:
    alpha = _above_zero(module, "alpha", module.alpha)
    return Inverse(lambda y: torch.where(y > 0, y, torch.log1p(y.clamp(max=0) / alpha)), -alpha)


def _leaky_relu(module: nn.LeakyReLU) -> Inverse:
    slope = _above_zero(module, "negative_slope", module.negative_slope)
    return Inverse(lambda y: torch.where(y > 0, y, y / slope))


def _softplus(module: nn.Softplus) -> Inverse:
    beta = _above_zero(module, "beta", module.beta)
    return Inverse(lambda y: y + torch.log(-torch.expm1(-beta * y)) / beta, 0.0)


def _softminus(module: nn.LogSigmoid) -> Inverse:
    """Softminus z - softplus(z) is the logarithm of the sigmoid."""
    return Inverse(lambda y: y - torch.log(-torch.expm1(y)), high=0.0, labels=(-1.0, 0.0))


def _exp(module: Exp) -> Inverse:
    return Inverse(torch.log, 0.0)


def _softmax(module: nn.Softmax) -> Inverse:
    """The logarithm less its mean over the row: softmax does not see a constant added to a row."""
    if module.dim not in (1, -1):
        raise ValueError(
            f"fit_least_squares: `network` must have softmax over its features, dim=-1; got dim={module.dim}."
        )
    return Inverse(lambda y: y.log() - y.log().mean(dim=-1, keepdim=True), 0.0, 1.0)


# For each type of activation, exactly that type: what a sweep must know of a module of it.
INVERSES: dict[type[nn.Module], Callable[[Any], Inverse]] = {
    nn.Identity: lambda module: IDENTITY,
    nn.Sigmoid: _sigmoid,
    nn.Tanh: _tanh,
    nn.ELU: _elu,
    nn.LeakyReLU: _leaky_relu,
    nn.Softplus: _softplus,
    nn.LogSigmoid: _softminus,
    Exp: _exp,
    nn.Softmax: _softmax,
}

# ReLU maps all of z <= 0 to 0. Its pseudo-inverse is max(y, 0): relu(relu+(y)) is the value of ReLU nearest to y.
RELU_PSEUDO_INVERSE = Inverse(lambda y: y.clamp(min=0.0))


def _above_zero(module: nn.Module, name: str, value: float) -> float:
    if not value > 0:
        raise ValueError(
            f"fit_least_squares: `network` must have invertible activations; got {module} with {name} {value}. "
            f"Give it a {name} above 0."
        )
    return float(value)
