"""Weights and masks of single outputs: a Gram matrix for each group of outputs that weigh the rows alike."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from sciml_cf.head.gram import check_rows
from sciml_cf.head.moments import Moments
from sciml_cf.head.processes import num_processes
from sciml_cf.head.solution import Penalty, Solution, UncheckedSolution
from sciml_cf.head.systems import solve_features_each, solve_features_later

_AT_ONCE = 2**22  # numbers in a block of weighted features
_TINY = torch.finfo(torch.float64).tiny

PerOutput = Moments | tuple[Moments, ...]


class OutputMoments(Moments):
    """Moments of outputs whose rows have weights of their own; outputs with the same weights share a Gram matrix.

    ::

        gram_k = sum_r w_rk phi_r phi_r^T / sum_r w_rk        cross and target_square alike, output by output

    A solve factorises all Gram matrices in one call. There is no single ``gram``; what asks for it gets an error.

    Args:
        grams: ``(K, F, F)`` float64, zero in a group without rows.
        cross: ``(F, C)`` float64.
        target_square: ``(C,)`` float64.
        weights: ``(K,)`` float64, sums of row weights.
        counts: ``(K,)`` float64, numbers of rows whose weight is above 0.
        groups: ``(C,)`` int64, to which of the K groups each output belongs.
    """

    def __init__(
        self, grams: Tensor, cross: Tensor, target_square: Tensor, weights: Tensor, counts: Tensor, groups: Tensor
    ) -> None:
        self.grams, self.weights, self.counts, self.groups = grams, weights, counts, groups
        super().__init__(grams, cross, target_square, weights[groups].mean(), counts[groups].max())

    @classmethod
    def of_rows(cls, features: Tensor, targets: Tensor, weights: Tensor, *, constant: bool) -> OutputMoments:
        """Of one batch, in float64, detached from the graph.

        Args:
            features: ``(rows, F)``, any floating dtype.
            targets: ``(rows, C)``, finite where the weight is zero, too.
            weights: ``(rows, C)``, not negative.
            constant: append a constant feature.

        Raises:
            ValueError: shapes disagree.
        """
        if len(features):
            check_rows(features, targets, None)
            shares, groups = torch.unique(weights.detach(), dim=1, return_inverse=True)
        else:
            shares, groups = weights[:, :1], weights.new_zeros(weights.shape[1], dtype=torch.int64)
        count, outputs, size = shares.shape[1], targets.shape[1], features.shape[1] + constant
        options: Any = {"dtype": torch.float64, "device": features.device}
        grams, cross = torch.zeros(count, size, size, **options), torch.zeros(size, outputs, **options)
        squares, totals = torch.zeros(outputs, **options), torch.zeros(count, **options)
        step = max(1, _AT_ONCE // (count * size))
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            phi, y, w = (values.detach()[part].to(torch.float64) for values in (features, targets, shares))
            if constant:
                phi = torch.cat([phi, phi.new_ones(len(phi), 1)], dim=1)
            grams += (w.T.unsqueeze(1) * phi.T) @ phi
            weighed = w[:, groups] * y
            cross += phi.T @ weighed
            squares += (weighed * y).sum(dim=0)
            totals += w.sum(dim=0)
        safe = totals.clamp_min(_TINY)
        counts = (shares > 0).sum(dim=0, dtype=torch.float64)
        return cls(grams / safe[:, None, None], cross / safe[groups], squares / safe[groups], totals, counts, groups)

    @classmethod
    def of(cls, moments: PerOutput) -> OutputMoments:
        """The same moments in this form: one group, or one for each output of a tuple."""
        if isinstance(moments, OutputMoments):
            return moments
        each = moments if isinstance(moments, tuple) else (moments,)
        outputs = torch.cat([one.cross for one in each], dim=1), torch.cat([one.target_square for one in each])
        grams, weights, counts = (
            torch.stack([getattr(one, name) for one in each]) for name in ("gram", "weight", "num_rows")
        )
        groups = torch.arange(len(each), device=grams.device).repeat_interleave(outputs[0].shape[1] // len(each))
        return cls(grams, *outputs, weights, counts, groups)

    @property
    def gram(self) -> Tensor:
        raise TypeError(
            "OutputMoments.gram: a rule that asks for the Gram matrix must be given that of one group of outputs; got "
            "several, since its `solves_apart` says that it only solves. Let `solves_apart` return False."
        )

    @property
    def arrays(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None

    @property
    def constants(self) -> Tensor:
        """``(F, C)``, mean(phi) of each output's rows, from the constant feature, which is the last."""
        return self.grams[self.groups, :, -1].T

    def apart(self) -> Iterator[tuple[Tensor, Moments]]:
        """For each group its outputs (m,) int64 and their moments."""
        for index in range(len(self.grams)):
            yield (own := (self.groups == index).nonzero()[:, 0]), self._of_group(index, own)

    def first(self) -> Moments:
        """Moments of the first output alone."""
        return self._of_group(int(self.groups[0]), self.groups.new_zeros(1))

    def with_targets(self, cross: Tensor, target_square: Tensor) -> OutputMoments:
        """The same rows with other targets."""
        return OutputMoments(self.grams, cross, target_square, self.weights, self.counts, self.groups)

    def solve(self, penalty: Penalty, previous: Tensor | None = None) -> Solution:
        before = None if previous is None else self._spread(previous)
        found = solve_features_each(self.grams, self._spread(self.cross), penalty, before)
        return Solution(self._gathered(found.head), found.jitter)

    def solve_later(self, penalty: Penalty, previous: Tensor | None, keep: Tensor) -> UncheckedSolution:
        before = None if previous is None else self._spread(previous)
        found = solve_features_later(self.grams, self._spread(self.cross), penalty, before, self._spread(keep))
        return UncheckedSolution(self._gathered(found.head), found.jitter)

    def squared_errors(self, heads: Tensor) -> Tensor:
        cross = self._spread(self.cross)
        errors = [(one * torch.sub(self.grams @ one, cross, alpha=2)).sum() for one in map(self._spread, heads)]
        return self.target_square.sum() + torch.stack(errors)

    def __add__(self, other: Moments) -> OutputMoments:
        """Merge with the moments of other rows, which may have one Gram matrix; no rows leave an output unchanged."""
        if not isinstance(other, Moments):
            return NotImplemented
        other = OutputMoments.of(other)
        if self.shape != other.shape:
            raise ValueError(f"OutputMoments.__add__: `other` must have {self.shape} numbers; got {other.shape}.")
        (mine, yours), groups = torch.unique(torch.stack([self.groups, other.groups]), dim=1, return_inverse=True)
        weights = self.weights[mine] + other.weights[yours]
        share = other.weights[yours] / weights.clamp_min(_TINY)
        return OutputMoments(
            torch.lerp(self.grams[mine], other.grams[yours], share[:, None, None]),
            torch.lerp(self.cross, other.cross, share[groups]),
            torch.lerp(self.target_square, other.target_square, share[groups]),
            weights,
            self.counts[mine] + other.counts[yours],
            groups,
        )

    def all_reduce(self) -> OutputMoments:
        """Moments of the rows of all processes, whose groups may differ: each output then has a group of its own."""
        if num_processes() == 1:
            return self
        weights, counts = self.weights[self.groups], self.counts[self.groups]
        numbers = [self.grams[self.groups].flatten(1), self.cross.T, self.target_square[:, None]]
        size = self.num_features
        packed = torch.cat([torch.cat(numbers, dim=1) * weights[:, None], weights[:, None], counts[:, None]], dim=1)
        dist.all_reduce(packed)
        weights, counts = packed[:, -2:].T.clone()
        grams, cross, squares = (packed[:, :-2] / weights.clamp_min(_TINY)[:, None]).split([size**2, size, 1], dim=1)
        groups = torch.arange(len(packed), device=packed.device)
        grams = grams.reshape(-1, size, size)
        return OutputMoments(grams, cross.T.contiguous(), squares[:, 0], weights, counts, groups)

    def _of_group(self, index: int, outputs: Tensor) -> Moments:
        own = self.cross[:, outputs], self.target_square[outputs]
        return Moments(self.grams[index], *own, self.weights[index], self.counts[index])

    @cached_property
    def _places(self) -> tuple[Tensor, int]:
        """The place ``(C,)`` of each output in its group, and the size of the largest group."""
        order = self.groups.argsort(stable=True)
        sizes = torch.bincount(self.groups, minlength=len(self.grams))
        places = torch.empty_like(order)
        counter = torch.arange(len(order), device=order.device)
        places[order] = counter - (sizes.cumsum(0) - sizes)[self.groups[order]]
        return places, int(sizes.max())

    def _spread(self, values: Tensor) -> Tensor:
        """Columns ``(F, C)`` by group, (K, F, m), with zeros where a group has fewer than m outputs."""
        places, most = self._places
        spread = values.new_zeros(len(self.grams), len(values), most)
        spread[self.groups, :, places] = values.T
        return spread

    def _gathered(self, spread: Tensor) -> Tensor:
        """Columns ``(F, C)`` of what ``_spread`` has made."""
        return spread[self.groups, :, self._places[0]].T.contiguous()


def first_of(moments: PerOutput) -> Moments:
    """The moments themselves, or those of the first output where each has its own."""
    if isinstance(moments, tuple):
        return moments[0]
    return moments.first() if isinstance(moments, OutputMoments) else moments


def added(old: Moments | None, new: Moments, *, weighted: bool) -> Moments:
    """Moments of the rows of both; without weights nobody asks, and waits for a device, whether any has weight zero."""
    if old is None:
        return new
    if isinstance(new, OutputMoments) and not isinstance(old, OutputMoments):
        old = OutputMoments.of(old)
    if isinstance(old, OutputMoments) or not weighted:
        return old + new
    if float(old.weight) == 0.0:
        return new
    return old if float(new.weight) == 0.0 else old + new


def reduced(moments: PerOutput) -> PerOutput:
    """Moments of the rows of all processes."""
    return tuple(one.all_reduce() for one in moments) if isinstance(moments, tuple) else moments.all_reduce()
