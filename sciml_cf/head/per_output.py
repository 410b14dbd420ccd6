"""Weights and masks of single outputs: a Gram matrix for each output."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments

_AT_ONCE = 2**22  # numbers in a block of weighted features

PerOutput = Moments | tuple[Moments, ...]


def moments_per_output(features: Tensor, targets: Tensor, weights: Tensor, *, constant: bool) -> tuple[Moments, ...]:
    """Moments for each output, of its own row weights; of weight zero where these are all zero.

        gram_c = sum_r w_rc phi_r phi_r^T / sum_r w_rc        cross, target_square alike

    Args:
        features: (rows, F), any floating dtype, with or without a graph.
        targets: (rows, C), finite where the weight is zero, too.
        weights: (rows, C), not negative.
        constant: append a constant feature.
    """
    rows, outputs = targets.shape
    size = features.shape[1] + constant
    options: Any = {"dtype": torch.float64, "device": features.device}
    gram, cross = torch.zeros(outputs, size, size, **options), torch.zeros(outputs, size, **options)
    squares, totals = torch.zeros(outputs, **options), torch.zeros(outputs, **options)
    step = max(1, _AT_ONCE // (outputs * size))
    for start in range(0, rows, step):
        part = slice(start, start + step)
        phi, y, w = (values.detach()[part].to(torch.float64) for values in (features, targets, weights))
        if constant:
            phi = torch.cat([phi, phi.new_ones(len(phi), 1)], dim=1)
        weighted = w.T.unsqueeze(1) * phi.T  # (C, F, rows)
        gram += weighted @ phi
        cross += (weighted @ y.T.unsqueeze(-1)).squeeze(-1)
        squares += (w * y.square()).sum(dim=0)
        totals += w.sum(dim=0)
    counts, safe = (weights > 0).sum(dim=0, dtype=torch.float64), totals.clamp_min(torch.finfo(torch.float64).tiny)
    return tuple(
        Moments(
            gram[index] / safe[index],
            (cross[index] / safe[index])[:, None],
            (squares[index] / safe[index])[None],
            totals[index],
            counts[index],
        )
        for index in range(outputs)
    )


def added(old: PerOutput | None, new: PerOutput, *, weighted: bool) -> PerOutput:
    """Moments of the rows of both; without weights nobody asks, and waits for a device, whether any has weight zero."""
    if old is None:
        return new
    return merged(old, new) if weighted else cast(Moments, old) + cast(Moments, new)


def merged(old: PerOutput, new: PerOutput) -> PerOutput:
    """Moments of the rows of both; those of weight zero leave the others as they are."""
    if not isinstance(old, tuple) and not isinstance(new, tuple):
        if float(old.weight) == 0.0:
            return new
        return old if float(new.weight) == 0.0 else old + new
    count = len(old) if isinstance(old, tuple) else len(new) if isinstance(new, tuple) else 1
    pairs = zip(_each(old, count), _each(new, count), strict=True)
    return tuple(one for pair in pairs if isinstance(one := merged(*pair), Moments))


def reduced(moments: PerOutput) -> PerOutput:
    """Moments of the rows of all processes."""
    return tuple(one.all_reduce() for one in moments) if isinstance(moments, tuple) else moments.all_reduce()


def settled(moments: tuple[Moments, ...]) -> tuple[Moments, ...]:
    """Moments to solve on: an output without rows has zeros, so that only the pull of the rule decides.

    Raises:
        ValueError: no output has any rows.
    """
    weights = torch.stack([one.weight for one in moments]).tolist()
    if not any(weights):
        raise ValueError("ClosedFormHead: `weights` must not be zero everywhere; got no row to solve on.")
    return tuple(one if weight else _without_rows(one) for one, weight in zip(moments, weights, strict=True))


def _without_rows(one: Moments) -> Moments:
    gram, cross = torch.zeros_like(one.gram), torch.zeros_like(one.cross)
    return Moments(gram, cross, torch.zeros_like(one.target_square), torch.ones_like(one.weight))


def _each(moments: PerOutput, count: int) -> tuple[Moments, ...]:
    """One for each output of moments that they share."""
    if isinstance(moments, tuple):
        return moments
    return tuple(
        Moments(moments.gram, moments.cross[:, [index]], moments.target_square[[index]], moments.weight, moments.count)
        for index in range(count)
    )
