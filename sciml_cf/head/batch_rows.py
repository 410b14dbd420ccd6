"""One batch as rows: inputs of a layer, their targets, and the weight of each row."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from sciml_cf.arrays import tensor_of
from sciml_cf.head.moments import Moments


def targets_of(function: str, values: Any, device: torch.device, *, argument: str = "targets") -> Tensor:
    """Targets or weights as a tensor: a tensor is returned unchanged, an array or a list goes to the device."""
    return values if isinstance(values, Tensor) else tensor_of(function, argument, values).to(device)


class Rows(NamedTuple):
    """One batch as rows: features in their graph, their targets, and weights or None.

    Features are ``(rows, F)`` or ``(B, *N, F)`` with any strides, targets alike with C, and weights ``(rows,)``, or
    ``(rows, C)`` where each output has its own.
    """

    features: Tensor
    targets: Tensor
    weights: Tensor | None

    def weighted(self, weights: Tensor) -> Rows:
        """The rows with a weight above zero, flat; masked rows are removed, whatever their values."""
        features, targets = self.features.flatten(0, -2), self.targets.flatten(0, -2)
        keep = weights > 0
        if weights.ndim == 2:
            targets, keep = torch.where(keep, targets, torch.zeros_like(targets)), keep.any(dim=1)
        if bool(keep.all()):
            return Rows(features, targets, weights)
        return Rows(features[keep], targets[keep], weights[keep])

    def moments(self, *, constant: bool) -> Moments:
        """Their moments, with a constant feature if asked for; of weight 0 without rows."""
        if self.weights is not None and len(self.weights) == 0:
            size = self.features.shape[-1] + constant
            gram = torch.zeros(size, size, dtype=torch.float64, device=self.features.device)
            cross = gram.new_zeros(size, self.targets.shape[-1])
            return Moments(gram, cross, cross[0], cross.new_zeros(()))
        return Moments.from_batch(self.features, self.targets, self.weights, constant=constant)
