"""Theorems 1 and 2: the gradient for the backbone with the head held, next to the one that goes through the solve."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sciml_cf.head import Moments

HeadOf = Callable[[Moments], Tensor]


def backbone_gradients(
    backbone: nn.Module,
    x: Tensor,
    y: Tensor,
    head_of: HeadOf,
    *,
    strength: float,
    previous: Tensor | None = None,
    second: bool = False,
) -> tuple[Tensor, Tensor]:
    """Gradient of a loss at a head that follows the features: through that head, and with it held.

    ::

        L(W, theta) = mean |W^T phi - y|^2 + s |W - W_0|^2
        through = d/dtheta L(W(theta), theta)           held = partial L / partial theta at W(theta)

    They are equal if W(theta) minimises L(., theta), which is the theorems' premise, and else are not.

    Args:
        backbone: maps x to features phi ``(n, F)``; float64.
        x: ``(n, ...)``.
        y: targets ``(n, C)``.
        head_of: the head ``(F, C)`` from moments in the graph; differentiable.
        strength: s of the loss, on means; 0 leaves the penalty out.
        previous: W_0 ``(F, C)``; None stands for zero.
        second: take second derivatives instead, along the all-ones direction of the parameters.

    Returns:
        Both gradients, through the head and with it held, flat, one number a parameter.

    References:
        arXiv:2510.04606, Eq. (7) and (16).
    """
    parameters = [p for p in backbone.parameters() if p.requires_grad]

    def gradient(held: bool) -> Tensor:
        phi = backbone(x)
        head = head_of(Moments.in_graph(phi, y))
        # Detached the head is the number that it is here, so that its own derivatives are left out.
        head = head.detach() if held else head
        pull = head if previous is None else head - previous
        loss = (phi @ head - y).square().sum(dim=1).mean() + strength * pull.square().sum()
        found = torch.autograd.grad(loss, parameters, create_graph=second)
        if second:
            total = torch.stack([part.sum() for part in found]).sum()
            found = torch.autograd.grad(total, parameters)
        return torch.cat([part.reshape(-1) for part in found])

    return gradient(False), gradient(True)


def gradient_distance(one: Tensor, other: Tensor) -> float:
    """``|one - other| / |one|``."""
    return float((one - other).norm() / one.norm())
