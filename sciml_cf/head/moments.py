"""Second moments of features and targets: all that a closed-form head needs to know of its data.

Three classes with one interface: ``Moments`` holds the products, ``RowMoments`` the rows of a batch with fewer rows
than features, ``SmallMoments`` the products of a small batch as numpy arrays. ``Moments.from_batch`` chooses.
"""

from __future__ import annotations

from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor

from sciml_cf.head.gram import check_rows, sizes_in_one_line, sums_of_products
from sciml_cf.head.processes import num_processes
from sciml_cf.head.small import Arrays, fits_small, is_plain, small_means, solve_small
from sciml_cf.head.solution import Penalty, Solution, UncheckedSolution, check_finite
from sciml_cf.head.systems import is_divisor, solve_features, solve_features_later, solve_rows

_CPU = torch.device("cpu")


class Moments:
    """Weighted means of products over rows; one row is one sample at one grid point.

    ::

        gram = mean(phi phi^T)      cross = mean(phi y^T)      target_square = mean(y^2)

    Means, not sums: a rule's strength then has one meaning at every batch size and resolution
    (the paper's lambda = rows * strength). ``a + b`` is the weighted merge, so that minibatches, accumulation
    steps and processes combine exactly. Moments do not change once they are made.

    Args:
        gram: ``(F, F)`` float64.
        cross: ``(F, C)`` float64.
        target_square: ``(C,)`` float64.
        weight: () float64, the sum of row weights (the number of rows if unweighted).
        count: () float64, the number of rows whose weight is above 0; None where that is ``weight``.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), the terms of Eq. (2) and (13).
    """

    def __init__(
        self, gram: Tensor, cross: Tensor, target_square: Tensor, weight: Tensor, count: Tensor | None = None
    ) -> None:
        self._gram, self._cross, self._target_square = gram, cross, target_square
        self._weight, self._count = weight, count

    @classmethod
    def from_batch(
        cls, features: Tensor, targets: Tensor, weights: Tensor | None = None, *, constant: bool = False
    ) -> Moments:
        """Moments of one batch, in float64, detached from the graph.

        A few thousand rows at a time are in float64, never all. Rows may keep several axes and features any strides,
        so that the channels of a convolution need no copy: ``x.movedim(1, -1)``.

        Args:
            features: ``(rows, F)`` or ``(B, *N, F)``, any floating dtype.
            targets: ``(rows, C)`` or ``(B, *N, C)``, any floating dtype.
            weights: ``(rows,)`` or ``(B, *N)``, non-negative row weights, for instance quadrature weights; None counts
                each row once.
            constant: append a constant feature, whose weight is a bias; F then counts it in the moments.

        Returns:
            Moments on the features' device, rows where these are fewer than features, numpy arrays of a small batch.

        Raises:
            ValueError: shapes disagree, or there are no rows.
        """
        check_rows(features, targets, weights)
        features, targets = features.detach(), targets.detach()
        num_features = features.shape[-1] + constant
        if features.shape[:-1].numel() < num_features:
            return RowMoments.of_batch(features, targets, weights, constant=constant)
        if weights is None and (small := small_means(features, targets, constant)) is not None:
            return SmallMoments(small, len(features))
        products, squares = sums_of_products(features, targets, weights, constant)
        if weights is None:
            rows = features.shape[:-1].numel()
            total, count = torch.full((), float(rows), dtype=torch.float64, device=features.device), None
        else:
            total = weights.detach().to(torch.float64).sum()
            count = _count(weights)
        products /= total
        return Moments(products[:, :num_features], products[:, num_features:], squares / total, total, count)

    @classmethod
    def in_graph(cls, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Moments:
        """Moments of one batch that stay in the graph, so that a head solved from them is differentiable.

        For the few losses in which a head is no minimiser of what is differentiated, as in the second stage of
        instrumental variables; where it is one, the gradient through the solve is zero and ``from_batch`` costs less.

        Args:
            features: ``(rows, F)``.
            targets: ``(rows, C)``.
            weights: ``(rows,)``, non-negative, or None.

        Raises:
            ValueError: shapes disagree, or there are no rows.
        """
        check_rows(features, targets, weights)
        phi, y = features.flatten(0, -2).to(torch.float64), targets.flatten(0, -2).to(torch.float64)
        given = phi.new_ones(len(phi)) if weights is None else weights.detach().to(torch.float64).flatten()
        total = given.sum()
        share = (given / total)[:, None]
        gram, cross, square = phi.T @ (share * phi), phi.T @ (share * y), (share * y.square()).sum(dim=0)
        return Moments(gram, cross, square, total, _count(weights))

    @property
    def gram(self) -> Tensor:
        """``(F, F)`` float64, mean(phi phi^T)."""
        return self._gram

    @property
    def cross(self) -> Tensor:
        """``(F, C)`` float64, mean(phi y^T)."""
        return self._cross

    @property
    def target_square(self) -> Tensor:
        """``(C,)`` float64, mean(y^2)."""
        return self._target_square

    @property
    def weight(self) -> Tensor:
        """() float64, the sum of row weights."""
        return self._weight

    @property
    def count(self) -> Tensor | None:
        """() float64, the number of rows whose weight is above 0; None where that is ``weight``."""
        return self._count

    @property
    def num_rows(self) -> Tensor:
        """() float64, how many rows there are, whatever the unit of their weights."""
        return self.weight if self.count is None else self.count

    @property
    def squares(self) -> Tensor:
        """``(F,)``, mean(phi_j^2)."""
        return self.gram.diagonal()

    @cached_property
    def arrays(self) -> Arrays | None:
        """The means as numpy arrays that share their memory; None on a device, in a graph, or of rows."""
        own = (self.gram, self.cross, self.target_square)
        return Arrays(*(one.numpy() for one in own)) if all(map(is_plain, own)) else None

    @property
    def shape(self) -> tuple[int, int]:
        """``(F, C)``, the constant feature of a bias included."""
        return self.cross.shape[0], self.cross.shape[1]

    @property
    def num_features(self) -> int:
        """F, the constant feature of a bias included."""
        return self.shape[0]

    @property
    def num_outputs(self) -> int:
        """C."""
        return self.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the means are."""
        return self.weight.device

    def solve(self, penalty: Penalty, previous: Tensor | None = None) -> Solution:
        """The head that minimises the mean squared error plus a pull to the previous head: see ``solve_head``.

        Args:
            penalty: P, a number (a multiple of the identity), ``(F,)`` a diagonal, or ``(F, F)``.
            previous: W_0 ``(F, C)``; None means zero.

        Raises:
            NotPositiveDefinite: G + P fails Cholesky after the jitter ladder, or the moments are not finite.
        """
        arrays = self.arrays if fits_small(self.shape, penalty, previous) else None
        found = None if arrays is None else solve_small(arrays, penalty, previous)
        return solve_features(self.gram, self.cross, penalty, previous) if found is None else found

    def solve_later(self, penalty: Penalty, previous: Tensor | None, keep: Tensor) -> UncheckedSolution:
        """The same solve with no wait for a device; ``check_jitter`` reports a failure later.

        Args:
            penalty: as in ``solve``; a diagonal is taken to be above zero where there are fewer rows than features.
            previous: as in ``solve``.
            keep: ``(F, C)``, the head of a solve that fails.
        """
        return solve_features_later(self.gram, self.cross, penalty, previous, keep)

    def squared_errors(self, heads: Tensor) -> Tensor:
        """``mean |y|^2 - 2 <C, W> + <W, G W>``, ``(K,)`` of heads ``(K, F, C)``; rounding may leave them below zero."""
        quadratic = (heads * torch.sub(self.gram @ heads, self.cross, alpha=2)).sum(dim=(1, 2))
        return self.target_square.sum() + quadratic

    def __add__(self, other: Moments) -> Moments:
        """Merge with the moments of other rows: exactly the moments of all rows together."""
        if not isinstance(other, Moments):
            return NotImplemented
        if self.shape != other.shape:
            raise ValueError(
                f"Moments.__add__: `other` must have {self.num_features} features and {self.num_outputs} outputs; "
                f"got {other.num_features} and {other.num_outputs}. Were both taken from the same layer?"
            )
        weight = self.weight + other.weight
        share = other.weight / weight
        count = None if self.count is None and other.count is None else self.num_rows + other.num_rows
        return self._merged(other, share, weight, count)

    def __repr__(self) -> str:
        return sizes_in_one_line(self, lambda: (*self.shape, self.num_rows))

    def around(self, head: Tensor, *, step: float, curvature: float | Tensor) -> Moments:
        """Moments of the same rows for targets that start from a head's own outputs, times a curvature.

        ::

            k mean |V^T phi - (W^T phi + t y)|^2        t: step, k: curvature

        is the quadratic approximation of a loss near W that a rule then minimises over V; y is minus the gradient by
        the outputs. The outputs of W come from the moments, so that they cancel in the solve up to float64 rounding.

        Args:
            head: W ``(F, C)`` float64.
            step: t, the step.
            curvature: k > 0, the curvature.
        """
        outputs = self.gram @ head
        targets = (head * (outputs + 2 * step * self.cross)).sum(dim=0) + step**2 * self.target_square
        return Moments(
            gram=curvature * self.gram,
            cross=curvature * (outputs + step * self.cross),
            target_square=(curvature * targets).clamp(min=0),
            weight=self.weight,
            count=self.count,
        )

    def weighing(self, weight: Tensor) -> Moments:
        """The same means, counted as another sum of row weights."""
        return Moments(self.gram, self.cross, self.target_square, weight, self.count)

    def all_reduce(self) -> Moments:
        """Moments of the rows of all processes, the same to the bit on each; itself when there is one process."""
        if num_processes() == 1:
            return self
        parts = [self.gram.reshape(-1), self.cross.reshape(-1), self.target_square, self.weight.new_ones(2)]
        packed = torch.cat(parts) * self.weight
        packed[-1] = self.num_rows
        dist.all_reduce(packed)
        weight, count = packed[-2:].clone().unbind()
        packed = packed / weight
        sizes = [self.gram.numel(), self.cross.numel(), self.target_square.numel(), 2]
        gram, cross, target_square, _ = packed.split(sizes)
        return Moments(gram.view_as(self.gram), cross.view(self.cross.shape), target_square, weight, count)

    def _merged(self, other: Moments, share: Tensor, weight: Tensor, count: Tensor | None) -> Moments:
        """The merge with moments of the same shape, whose ``share`` of the whole weight is given."""
        ours, theirs = ((one.gram, one.cross, one.target_square) for one in (self, other))
        gram, cross, square = (torch.lerp(own, new, share) for own, new in zip(ours, theirs, strict=True))
        return Moments(gram, cross, square, weight, count)


class RowMoments(Moments):
    """Moments of fewer rows than features: the rows themselves, in float64; their products are made when needed.

    A solve then needs a system with one unknown a row. Merging keeps the rows while they stay fewer than the features;
    a merge across processes, or with other moments, is one of products.

    Args:
        features: ``(n, F)`` float64, each row times the root of its share of the weight.
        targets: ``(n, C)`` float64, alike.
        weight: as in ``Moments``.
        count: as in ``Moments``.
    """

    def __init__(self, features: Tensor, targets: Tensor, weight: Tensor, count: Tensor | None = None) -> None:
        self.rows = features, targets
        self._cross, self._target_square = features.T @ targets, targets.square().sum(dim=0)
        self._weight, self._count = weight, count

    @classmethod
    def of_batch(cls, features: Tensor, targets: Tensor, weights: Tensor | None, *, constant: bool) -> RowMoments:
        """Of a batch as in ``from_batch``."""
        phi = features.flatten(0, -2).to(torch.float64)
        if constant:
            phi = torch.cat([phi, phi.new_ones(len(phi), 1)], dim=1)
        given = phi.new_ones(len(phi)) if weights is None else weights.detach().to(torch.float64).flatten()
        total = given.sum()
        root = (given / total).sqrt()[:, None]
        return cls(root * phi, root * targets.flatten(0, -2).to(torch.float64), total, _count(weights))

    @cached_property
    def _products(self) -> Tensor:
        features, targets = self.rows
        return sums_of_products(features, targets, None, constant=False)[0][:, : self.num_features]

    @property
    def gram(self) -> Tensor:
        return self._products

    @property
    def arrays(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None  # the products are not made for that

    @property
    def squares(self) -> Tensor:
        return self.rows[0].square().sum(dim=0)

    def solve(self, penalty: Penalty, previous: Tensor | None = None) -> Solution:
        if not is_divisor(penalty):
            return super().solve(penalty, previous)
        head = solve_rows(*self.rows, penalty, previous)
        check_finite(head.sum().item())
        return Solution(head, 0.0)

    def solve_later(self, penalty: Penalty, previous: Tensor | None, keep: Tensor) -> UncheckedSolution:
        if not is_divisor(penalty):
            return super().solve_later(penalty, previous, keep)
        head = solve_rows(*self.rows, penalty, previous)
        solved = torch.isfinite(head).all()
        jitter = torch.where(solved, 0.0, head.new_full((), torch.nan))
        return UncheckedSolution(torch.where(solved, head, keep), jitter)

    def squared_errors(self, heads: Tensor) -> Tensor:
        features, targets = self.rows
        return (targets - features @ heads).square().sum(dim=(1, 2))

    def around(self, head: Tensor, *, step: float, curvature: float | Tensor) -> Moments:
        features, targets = self.rows
        root = curvature**0.5
        return RowMoments(root * features, root * (features @ head + step * targets), self.weight, self.count)

    def weighing(self, weight: Tensor) -> Moments:
        return RowMoments(*self.rows, weight, self.count)

    def _merged(self, other: Moments, share: Tensor, weight: Tensor, count: Tensor | None) -> Moments:
        if not isinstance(other, RowMoments) or len(self.rows[0]) + len(other.rows[0]) >= self.num_features:
            return super()._merged(other, share, weight, count)
        ours, theirs = (1 - share).sqrt(), share.sqrt()
        both = (torch.cat([ours * own, theirs * new]) for own, new in zip(self.rows, other.rows, strict=True))
        features, targets = both
        return RowMoments(features, targets, weight, count)


class SmallMoments(Moments):
    """Moments that numpy has made; their tensors, each of which costs as much as a small product, when asked for.

    Args:
        arrays: the means.
        rows: how many there are, each of weight one.
    """

    def __init__(self, arrays: Arrays, rows: int) -> None:
        self._own, self._rows, self._count = arrays, rows, None

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        gram, cross, target_square = map(torch.from_numpy, self._own)
        return gram, cross, target_square

    @property
    def gram(self) -> Tensor:
        return self._tensors[0]

    @property
    def cross(self) -> Tensor:
        return self._tensors[1]

    @property
    def target_square(self) -> Tensor:
        return self._tensors[2]

    @property
    def weight(self) -> Tensor:
        return torch.full((), float(self._rows), dtype=torch.float64)

    @property
    def arrays(self) -> Arrays:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self._own

    @property
    def shape(self) -> tuple[int, int]:
        return self._own.cross.shape

    @property
    def device(self) -> torch.device:
        return _CPU


def _count(weights: Tensor | None) -> Tensor | None:
    """() float64, how many weights are above 0."""
    return None if weights is None else (weights > 0).sum(dtype=torch.float64)
