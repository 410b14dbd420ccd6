"""The closed-form head by hand: a body that autograd differentiates, and a head from a dense solve in numpy.

Nothing here uses the package, so that loops around its losses have something to be compared with.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn


def dense_head(phi: Tensor, y: Tensor, strength: float, previous: np.ndarray, *, weights: Tensor | None = None):
    """``argmin mean w |phi^T W - y|^2 + strength |W - previous|^2``, with a constant feature last: (F + 1, C) float64.

    Args:
        phi: ``(rows, F)``.
        y: ``(rows, C)``.
        strength: of the second term.
        previous: (F + 1, C), or zero for the ridge.
        weights: ``(rows,)``, one each by default.
    """
    features, targets = with_ones(phi), y.detach().double().numpy()
    share = np.ones(len(features)) if weights is None else weights.detach().double().numpy()
    weighted = features * (share / share.sum())[:, None]
    system = features.T @ weighted + strength * np.eye(features.shape[1])
    return np.linalg.solve(system, weighted.T @ targets + strength * previous)


def with_ones(phi: Tensor) -> np.ndarray:
    """Features ``(rows, F)`` in float64, and the constant one."""
    found = phi.detach().double().numpy()
    return np.hstack([found, np.ones((len(found), 1))])


def head_in(layer: nn.Module) -> np.ndarray:
    """What a linear layer, or a 1x1 convolution, has: (F + 1, C) float64, the bias last."""
    weight = layer.weight.detach().double().flatten(1).numpy().T
    return np.vstack([weight, layer.bias.detach().double().numpy()])


class DenseLoop:
    """A copy of a network without its last layer, and that layer as a matrix.

    Args:
        model: nn.Sequential whose last layer is the head, as it is before any head is bound.
        strength: of the penalty.
        proximal: whether it pulls to the previous head, and not to zero.
    """

    def __init__(self, model: nn.Sequential, strength: float, *, proximal: bool = True) -> None:
        self.body = copy.deepcopy(model[:-1])
        self.strength, self.proximal = strength, proximal
        self.head = np.zeros((model[-1].in_features + 1, model[-1].out_features))
        self.dtype = model[-1].weight.dtype

    def parameters(self) -> list[Tensor]:
        return list(self.body.parameters())

    def solve(self, x: Tensor, y: Tensor) -> Tensor:
        """Solve the head on a batch; returns the features, in their graph."""
        phi = self.body(x)
        self.head = dense_head(phi, y, self.strength, self.head if self.proximal else 0 * self.head)
        return phi

    def loss(self, phi: Tensor, y: Tensor) -> Tensor:
        """The mean squared error at the head as it is, in the model's precision, float32 at least."""
        head = torch.from_numpy(self.head).to(self.dtype)
        output = phi.to(self.dtype) @ head[:-1] + head[-1]
        wide = torch.promote_types(output.dtype, torch.float32)
        return (output.to(wide) - y.to(wide)).square().mean()

    def solved_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Eq. (17): solved, then the loss at the new head, which counts as a constant."""
        return self.loss(self.solve(x, y), y)

    def check(self, layer: nn.Module, model: nn.Module, rtol: float) -> None:
        """The head and the body of a model agree with these: relative to the norm of each."""
        assert self.head.any()
        close(head_in(layer), self.head, rtol)
        body = [one for one in model.parameters() if not any(one is own for own in layer.parameters())]
        for found, expected in zip(body, self.parameters(), strict=True):
            close(found, expected, rtol)


def close(found, expected, rtol: float) -> None:
    """``|found - expected| <= rtol |expected|``, in the Euclidean norm."""
    first, second = (np.asarray(one.detach().double() if isinstance(one, Tensor) else one) for one in (found, expected))
    assert first.shape == second.shape
    error, size = np.linalg.norm(first - second), np.linalg.norm(second)
    assert error <= rtol * size, f"error {error:.1e} of {size:.1e}, relative above {rtol:.1e}"
