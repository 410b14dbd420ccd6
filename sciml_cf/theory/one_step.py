"""The effect of one step on the head's own loss: the solve, a pulled solve, and a gradient step."""

from __future__ import annotations

import torch
from torch import Tensor

from sciml_cf.errors import check_choice
from sciml_cf.head import Moments, proximal, ridge

STEPS = ("closed form", "proximal", "steepest descent", "gradient, rate 1/L")


def excess_left(
    moments: Moments, head: Tensor, step: str, *, best: Tensor, strength: float = 1e-2
) -> tuple[Tensor, float]:
    """The head after one step, and what is left of the loss above its least value, as a share of that before.

    ::

        closed form:           W = G^-1 C
        proximal:              W = (G + s L I)^-1 (C + s L W_0)      L: the largest eigenvalue of G
        steepest descent:      W = W_0 - a (G W_0 - C)               a: to the least loss along it, for each output
        gradient, rate 1/L:    W = W_0 - (G W_0 - C) / L

    Args:
        moments: of the rows, of full rank.
        head: ``(F, C)``, before the step.
        step: one of STEPS.
        best: ``(F, C)``, the head of the least loss, known from elsewhere.
        strength: s of proximal, over the largest eigenvalue of the Gram matrix.

    Returns:
        Head ``(F, C)``, and the share, from 0 to 1.

    Raises:
        ValueError: unknown step.

    References:
        for the least loss along a gradient Nocedal and Wright, Numerical Optimization (2006), Eq. (3.26).
    """
    check_choice("excess_left", "step", step, STEPS)
    steepest = float(torch.linalg.eigvalsh(moments.gram)[-1])
    gradient = moments.gram @ head - moments.cross
    if step == "closed form":
        after = ridge(moments, strength=0.0)
    elif step == "proximal":
        after = proximal(moments, head, strength=strength * steepest)
    elif step == "steepest descent":
        curvature = (gradient * (moments.gram @ gradient)).sum(dim=0)
        after = head - gradient * (gradient.square().sum(dim=0) / curvature)
    else:
        after = head - gradient / steepest
    return after, float(_excess(moments, after - best) / _excess(moments, head - best))


def worst_share_left(condition: float) -> float:
    """The most that one step of steepest descent can leave of a quadratic's excess, ((k - 1) / (k + 1))^2.

    Args:
        condition: k >= 1, of the Gram matrix.

    References:
        Nocedal and Wright, Numerical Optimization (2006), Eq. (3.29).
    """
    return ((condition - 1) / (condition + 1)) ** 2


def steps_to_share(moments: Moments, head: Tensor, step: str, *, best: Tensor, share: float, most: int = 10**5) -> int:
    """How many steps of that kind until only ``share`` of the excess is left; ``most`` if they do not suffice.

    Args:
        moments: as in ``excess_left``.
        head: as in ``excess_left``.
        step: as in ``excess_left``.
        best: as in ``excess_left``.
        share: from 0 to 1.
        most: where to stop.
    """
    left = 1.0
    for taken in range(1, most + 1):
        head, part = excess_left(moments, head, step, best=best)
        left *= part
        if left <= share:
            return taken
    return most


def _excess(moments: Moments, error: Tensor) -> Tensor:
    return (error * (moments.gram @ error)).sum()
