"""Clipping of gradients between the backward pass and the optimizer's step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEAST_NORM = 1e-3  # of a unit's weights, so that those that start at zero can leave it


@torch.no_grad()
def clip_by_unit(model: nn.Module, factor: float) -> None:
    """Adaptive gradient clipping: scale down the gradient of each unit that is large compared with the unit's weights.

    ::

        g <- g min(1, factor max(|w|, 1e-3) / |g|)      for each row of a matrix, each filter, each vector as a whole

    Args:
        model: parameters without a gradient, such as a head in closed form, are left alone.
        factor: 0.01 for small batches and 0.1 for large ones are usual.

    References:
        Brock et al. (arXiv:2102.06171), Eq. (3).
    """
    for parameter in model.parameters():
        if parameter.grad is not None:
            most = factor * _unit_norms(parameter).clamp(min=_LEAST_NORM)
            parameter.grad *= (most / _unit_norms(parameter.grad).clamp(min=1e-30)).clamp(max=1.0)


def _unit_norms(values: Tensor) -> Tensor:
    axes = tuple(range(1, values.ndim)) if values.ndim > 1 else None
    return torch.linalg.vector_norm(values, dim=axes, keepdim=True)
