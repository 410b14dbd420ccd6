"""Targets far from zero: the head is solved around their mean, so that no penalty pulls the bias away from it."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments, RowMoments
from sciml_cf.head.per_output import OutputMoments
from sciml_cf.head.rules import State

_LOG = logging.getLogger(__name__)
# Where |mean| of the targets exceeds this many deviations, a penalised bias costs more than the fluctuations.
_FAR = 10.0


def offset_of(moments: Moments) -> Tensor | None:
    """``(C,)`` float64: the mean of each output's targets where it is large compared with their deviation, else 0.

    Constant targets are left to the head.

    Args:
        moments: of one batch, the last feature the constant one.

    Returns:
        None if all are 0.
    """
    constant = moments.constants[-1] if isinstance(moments, OutputMoments) else moments.squares[-1]
    mean = moments.cross[-1] / constant
    variance = (moments.target_square - mean.square()).clamp_min(0)
    offset = torch.where((mean.square() > _FAR**2 * variance) & (variance > 0), mean, 0.0)
    if not bool(offset.any()):
        return None
    shown = ", ".join(f"{value:.4g}" for value in offset.tolist()[:4])
    _LOG.info("ClosedFormHead: targets are far from zero; the head is solved around their first mean (%s)", shown)
    return offset


def started(head: Tensor, offset: Tensor) -> Tensor:
    """A head ``(F, C)`` from before the first solve, around an offset: a bias of zero starts at the offset itself."""
    bias = torch.where(head[-1] == 0, 0.0, head[-1] - offset)
    return torch.cat([head[:-1], bias[None]])


def around(moments: Moments, state: State) -> Moments:
    """Moments of the same rows with targets less the state's offset, if it has one.

    cross - mean(phi) c^T        target_square - 2 c mean(y) + c^2
    """
    offset = state.get("offset")
    if offset is None:
        return moments
    if isinstance(moments, RowMoments):
        features, targets = moments.rows
        return RowMoments(features, targets - features[:, -1:] * offset, moments.weight, moments.count)
    means = moments.constants if isinstance(moments, OutputMoments) else moments.gram[:, -1:]
    squares = moments.target_square - 2 * offset * moments.cross[-1] + means[-1] * offset.square()
    cross, squares = moments.cross - means * offset, squares.clamp_min(0)
    if isinstance(moments, OutputMoments):
        return moments.with_targets(cross, squares)
    return Moments(moments.gram, cross, squares, moments.weight, moments.count)
