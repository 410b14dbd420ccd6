"""Second moments of features and targets: all that a closed-form head needs to know of its data."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

# Rows converted to float64 at a time, so that the copy stays in cache and never holds the whole batch.
_CHUNK_ROWS = 4096


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted means of products over rows; one row is one sample at one grid point.

        gram = mean(phi phi^T)      cross = mean(phi y^T)      target_square = mean(y^2)

    Means, not sums: a rule's strength then has one meaning at every batch size and resolution
    (the paper's lambda = rows * strength). ``a + b`` is the weighted merge, so that minibatches, accumulation
    steps and processes combine exactly.

    Attributes:
        gram: (F, F) float64.
        cross: (F, C) float64.
        target_square: (C,) float64.
        weight: () float64, the sum of row weights (the number of rows if unweighted).
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), the terms of Eq. (2) and (13).
    """

    gram: Tensor
    cross: Tensor
    target_square: Tensor
    weight: Tensor

    @classmethod
    def from_batch(cls, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Moments:
        """Moments of one batch, in float64, detached from the graph.

        Args:
            features: (rows, F), any floating dtype.
            targets: (rows, C), any floating dtype.
            weights: (rows,) non-negative row weights, for instance quadrature weights; None counts each row once.
        Returns:
            Moments on the features' device.
        Raises:
            ValueError: shapes disagree, or there are no rows.
        """
        _check_rows(features, targets, weights)
        features, targets = features.detach(), targets.detach()
        num_features = features.shape[1]
        width = num_features + targets.shape[1]
        products = torch.zeros(width, width, dtype=torch.float64, device=features.device)
        for start in range(0, features.shape[0], _CHUNK_ROWS):
            stop = min(start + _CHUNK_ROWS, features.shape[0])
            rows = torch.empty(stop - start, width, dtype=torch.float64, device=features.device)
            rows[:, :num_features] = features[start:stop]
            rows[:, num_features:] = targets[start:stop]
            weighted = rows if weights is None else rows * weights[start:stop, None].to(torch.float64)
            products.addmm_(rows.T, weighted)
        if weights is None:
            total = torch.full((), float(features.shape[0]), dtype=torch.float64, device=features.device)
        else:
            total = weights.detach().to(torch.float64).sum()
        products /= total
        return cls(
            gram=products[:num_features, :num_features],
            cross=products[:num_features, num_features:],
            target_square=products.diagonal()[num_features:],
            weight=total,
        )

    @property
    def num_features(self) -> int:
        """F, the constant feature of a bias included."""
        return self.gram.shape[0]

    @property
    def num_outputs(self) -> int:
        """C."""
        return self.cross.shape[1]

    def __add__(self, other: Moments) -> Moments:
        """Merge with the moments of other rows: exactly the moments of all rows together."""
        if not isinstance(other, Moments):
            return NotImplemented
        if (self.num_features, self.num_outputs) != (other.num_features, other.num_outputs):
            raise ValueError(
                f"Moments.__add__: `other` must have {self.num_features} features and {self.num_outputs} outputs; "
                f"got {other.num_features} and {other.num_outputs}. Were both taken from the same layer?"
            )
        weight = self.weight + other.weight
        share = other.weight / weight
        return Moments(
            gram=torch.lerp(self.gram, other.gram, share),
            cross=torch.lerp(self.cross, other.cross, share),
            target_square=torch.lerp(self.target_square, other.target_square, share),
            weight=weight,
        )

    def all_reduce(self) -> Moments:
        """Moments of the rows of all processes, the same to the bit on each; itself when there is one process."""
        if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return self
        parts = [self.gram.reshape(-1), self.cross.reshape(-1), self.target_square, self.weight.new_ones(1)]
        packed = torch.cat(parts) * self.weight
        dist.all_reduce(packed)
        weight = packed[-1].clone()
        packed = packed / weight
        sizes = [self.gram.numel(), self.cross.numel(), self.target_square.numel(), 1]
        gram, cross, target_square, _ = packed.split(sizes)
        return Moments(gram.view_as(self.gram), cross.view(self.cross.shape), target_square, weight)


def _check_rows(features: Tensor, targets: Tensor, weights: Tensor | None) -> None:
    where = "Moments.from_batch"
    if features.ndim != 2 or not features.is_floating_point():
        raise ValueError(
            f"{where}: `features` must be floating (rows, F); got {features.dtype} {tuple(features.shape)}."
        )
    if features.shape[0] == 0:
        raise ValueError(f"{where}: `features` must have at least one row; got {tuple(features.shape)}. Empty batch?")
    if targets.ndim != 2 or targets.shape[0] != features.shape[0]:
        raise ValueError(
            f"{where}: `targets` must be ({features.shape[0]}, C), one row for each row of features; "
            f"got {tuple(targets.shape)}."
        )
    if weights is not None and weights.shape != features.shape[:1]:
        raise ValueError(f"{where}: `weights` must be ({features.shape[0]},); got {tuple(weights.shape)}.")
