"""The losses that `fit` trains with: squared errors, with a weight for each sample where they are relative."""

from __future__ import annotations

from torch import Tensor, nn

from sciml_cf.head.relative import inverse_squares
from sciml_cf.training.choices import Loss
from sciml_cf.training.distributed import mean


def sample_weights(targets: Tensor, loss: Loss) -> Tensor | None:
    """Weights ``(B, 1, ...)`` that turn a mean squared error into the loss asked for; None where it is that already.

    ::

        relative   w_i = 1 / mean |y_i|^2     so that   w_i mean |f_i - y_i|^2 = (relative L2 error of sample i)^2

    Args:
        targets: ``(B, C, *N)`` or ``(B, C)``; none may be zero everywhere.
        loss: "mse" or "relative".

    Raises:
        ValueError: a sample's targets are all zero, or not finite.
    """
    if loss == "mse":
        return None
    own = inverse_squares("fit", targets.square().flatten(1).mean(1))
    return own.reshape(-1, *[1] * (targets.ndim - 1))


def weighted_mse(prediction: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
    """``sum_i w_i mean |f_i - y_i|^2 / sum_i w_i`` over the samples of the batch, of all processes together.

    Args:
        prediction: ``(B, C, *N)`` or ``(B, C)``.
        targets: ``(B, C, *N)`` or ``(B, C)``.
        weights: ``(B, 1, ...)``, or ``(B, *N)`` of points too, or None for equal ones.
    """
    if weights is None:
        return nn.functional.mse_loss(prediction, targets)
    if weights.ndim == targets.ndim - 1 and weights.numel() > len(weights):
        errors = (prediction - targets).square().mean(1)
        return (weights * errors).sum() / mean(weights.sum())
    errors = (prediction - targets).square().flatten(1).mean(1)
    return (weights.flatten() * errors).sum() / mean(weights.sum())
