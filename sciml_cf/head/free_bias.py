"""A bias that no penalty pulls: eliminated from the moments by centering before a solve, and put back after it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments


class Centered(NamedTuple):
    """Moments whose last feature was the constant, without it, centered around their means.

    Attributes:
        moments: F features, centered, and C targets, centered.
        mean: (F,) of the features.
        target_mean: (C,).
    """

    moments: Moments
    mean: Tensor
    target_mean: Tensor

    def with_bias(self, head: Tensor) -> Tensor:
        """(F + 1, C): a head of the centered features, and the bias that is best with it, b = mean(y) - W^T mean."""
        return torch.cat([head, (self.target_mean - self.mean @ head)[None]])


def center(moments: Moments) -> Centered:
    """Eliminate the constant feature, the last one.

    G - c m m^T and C - c m n^T, with c the constant's own entry and m, n the means of features and targets.
    """
    constant = moments.gram[-1, -1]  # 1, or the mean curvature of a quadratic in place of a loss
    mean, target_mean = moments.gram[:-1, -1] / constant, moments.cross[-1] / constant
    rest = Moments(
        gram=moments.gram[:-1, :-1] - torch.outer(constant * mean, mean),
        cross=moments.cross[:-1] - torch.outer(constant * mean, target_mean),
        target_square=moments.target_square - constant * target_mean.square(),
        weight=moments.weight,
        count=moments.count,
    )
    return Centered(rest, mean, target_mean)
