"""Weights that turn a mean squared error into that of relative errors, for whoever trains with a head."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head.choices import Loss
from sciml_cf.head.objectives import Objective, SquaredError


def check_loss(function: str, loss: Loss, objective: Objective | None) -> None:
    """Raise ValueError for an unknown loss, or one that does not go with the objective."""
    check_choice(function, "loss", loss, get_args(Loss))
    if loss == "relative" and not isinstance(objective, SquaredError | None):
        raise ValueError(
            f"{function}: `loss` must be 'mse' with the objective {objective}; got 'relative', whose norm is that of "
            "targets in units."
        )


def inverse_squares(function: str, squares: Tensor) -> Tensor:
    """``1 / mean |y_i|^2`` of each sample.

    Raises:
        ValueError: one of them is zero or not finite.
    """
    if not bool(((squares > 0) & torch.isfinite(squares)).all()):
        raise ValueError(
            f"{function}: `loss` must be 'mse' where the targets of a sample are all zero or not finite; got "
            "'relative', which divides by their norm."
        )
    return 1 / squares


def training_weights(
    function: str, targets: Tensor, weights: Tensor | None, loss: Loss, layer: nn.Module
) -> Tensor | None:
    """Weights of a batch under a loss: those that it has, or with "relative" those over each sample's mean square.

    ::

        mse: v        relative: v_i / mean |y_i|^2 of samples, v_ij / mean over j of v_ij |y_ij|^2 of points or outputs

    so that the mean over points of ``w_ij e_ij^2`` is the square of the sample's relative L2 error.

    Args:
        function: the function that messages name.
        targets: ``(B, C, *N)`` or ``(B, *N, C)``; anything where the weight is zero.
        weights: v, with "relative" ``(B,)``, ``(B, *N)``, or shaped like the targets; None counts all alike.
        loss: "mse" or "relative".
        layer: whose outputs are last (nn.Linear) or second, as in ``targets`` if shapes leave a choice.

    Raises:
        ValueError: the targets of a sample are all zero or not finite, or the weights have another shape.
    """
    if loss == "mse":
        return weights
    ones = [1] * (targets.ndim - 1)
    if weights is None or weights.shape == (len(targets),):
        own = inverse_squares(function, targets.square().flatten(1).mean(dim=1))
        return own.reshape(-1, *ones) if weights is None else weights.to(own) * own
    whole = _like_targets(function, targets, weights, layer).to(targets.dtype)
    known = torch.where(whole > 0, targets, torch.zeros_like(targets))
    own = inverse_squares(function, (whole * known.square()).flatten(1).mean(dim=1))
    return weights.to(own) * own.reshape(-1, *ones[: weights.ndim - 1])


def _like_targets(function: str, targets: Tensor, weights: Tensor, layer: nn.Module) -> Tensor:
    """Weights with an axis for the outputs, which may be of length one."""
    if weights.shape == targets.shape:
        return weights
    for axis in (-1, 1) if isinstance(layer, nn.Linear) else (1, -1):
        if targets.ndim > 1 and targets.select(axis, 0).shape == weights.shape:
            return weights.unsqueeze(axis)
    raise ValueError(
        f"{function}: `weights` must be (B,), (B, *N) or shaped like the targets {tuple(targets.shape)} with "
        f"loss='relative'; got {tuple(weights.shape)}."
    )
