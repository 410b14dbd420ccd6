"""A bias that no penalty pulls: eliminated from the moments by centering before a solve, and put back after it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.per_output import OutputMoments


class Centered(NamedTuple):
    """Moments whose last feature was the constant, without it, centered around their means.

    Attributes:
        moments: F features, centered, and C targets, centered.
        mean: ``(F,)`` of the features; ``(F, C)`` where outputs have rows of their own.
        target_mean: ``(C,)``, NaN for an output without rows.
    """

    moments: Moments
    mean: Tensor
    target_mean: Tensor

    def with_bias(self, head: Tensor, previous: Tensor) -> Tensor:
        """(F + 1, C): a head of the centered features, and the bias that is best with it, b = mean(y) - W^T mean.

        Args:
            head: ``(F, C)``.
            previous: ``(C,)``, the bias of an output without rows.
        """
        if self.mean.ndim == 1:
            return torch.cat([head, (self.target_mean - self.mean @ head)[None]])
        bias = self.target_mean - (self.mean * head).sum(dim=0)
        return torch.cat([head, torch.where(self.target_mean.isnan(), previous, bias)[None]])


def center(moments: Moments) -> Centered:
    """Eliminate the constant feature, the last one.

    G - c m m^T and C - c m n^T, with c the constant's own entry and m, n the means of features and targets.
    """
    if isinstance(moments, OutputMoments):
        return _center_each(moments)
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


def _center_each(moments: OutputMoments) -> Centered:
    """The same output by output; the constant's own entry is 1, or 0 without rows, whose moments stay zero."""
    means, target_mean = moments.grams[:, :-1, -1], moments.cross[-1]
    mean = means[moments.groups].T
    rest = OutputMoments(
        moments.grams[:, :-1, :-1] - means[:, :, None] * means[:, None, :],
        moments.cross[:-1] - mean * target_mean,
        moments.target_square - target_mean.square(),
        moments.weights,
        moments.counts,
        moments.groups,
    )
    return Centered(rest, mean, torch.where(moments.constants[-1] > 0, target_mean, torch.nan))
