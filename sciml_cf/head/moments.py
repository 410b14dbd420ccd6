"""Second moments of features and targets: all that a closed-form head needs to know of its data."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
import torch.distributed as dist
from torch import Tensor

from sciml_cf.head.gram import Arrays, is_plain, small_means, sums_of_products

_CPU = torch.device("cpu")


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
        count: () float64, the number of rows whose weight is above 0; None where that is ``weight``.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), the terms of Eq. (2) and (13).
    """

    gram: Tensor
    cross: Tensor
    target_square: Tensor
    weight: Tensor
    count: Tensor | None = None

    @classmethod
    def from_batch(
        cls, features: Tensor, targets: Tensor, weights: Tensor | None = None, *, constant: bool = False
    ) -> Moments:
        """Moments of one batch, in float64, detached from the graph.

        The batch is streamed: a few thousand rows at a time are in float64, never all of them. Rows may keep several
        axes, and features any strides, so that the channels of a convolution need no copy: ``x.movedim(1, -1)``.

        Args:
            features: (rows, F) or (B, *N, F), any floating dtype.
            targets: (rows, C) or (B, *N, C), any floating dtype.
            weights: (rows,) or (B, *N), non-negative row weights, for instance quadrature weights; None counts each
                row once.
            constant: append a constant feature, whose weight is a bias; F then counts it in the moments.
        Returns:
            Moments on the features' device.
        Raises:
            ValueError: shapes disagree, or there are no rows.
        """
        _check_rows(features, targets, weights)
        features, targets = features.detach(), targets.detach()
        num_features = features.shape[-1] + constant
        if features.shape[:-1].numel() < num_features:
            return _FewRows.of(features, targets, weights, constant)
        if weights is None and (small := small_means(features, targets, constant)) is not None:
            return _FewColumns(small, len(features))
        products, squares = sums_of_products(features, targets, weights, constant)
        if weights is None:
            rows = features.shape[:-1].numel()
            total, count = torch.full((), float(rows), dtype=torch.float64, device=features.device), None
        else:
            total = weights.detach().to(torch.float64).sum()
            count = _count(weights)
        products /= total
        return cls(
            gram=products[:, :num_features],
            cross=products[:, num_features:],
            target_square=squares / total,
            weight=total,
            count=count,
        )

    @classmethod
    def in_graph(cls, features: Tensor, targets: Tensor, weights: Tensor | None = None) -> Moments:
        """Moments of one batch that stay in the graph, so that a head solved from them is differentiable.

        For the few losses in which a head is no minimiser of what is differentiated, as in the second stage of
        instrumental variables; where it is one, the gradient through the solve is zero and ``from_batch`` costs less.

        Args:
            features: (rows, F).
            targets: (rows, C).
            weights: (rows,), non-negative, or None.
        Raises:
            ValueError: shapes disagree, or there are no rows.
        """
        _check_rows(features, targets, weights)
        phi, y = features.flatten(0, -2).to(torch.float64), targets.flatten(0, -2).to(torch.float64)
        given = phi.new_ones(len(phi)) if weights is None else weights.detach().to(torch.float64).flatten()
        total = given.sum()
        share = (given / total)[:, None]
        return cls(phi.T @ (share * phi), phi.T @ (share * y), (share * y.square()).sum(dim=0), total, _count(weights))

    @property
    def rows(self) -> tuple[Tensor, Tensor] | None:
        """Features (n, F) and targets (n, C) whose sums of products are the moments, if n < F and they are at hand."""
        return None

    @property
    def num_rows(self) -> Tensor:
        """() float64, how many rows there are, whatever the unit of their weights."""
        return self.weight if self.count is None else self.count

    @property
    def squares(self) -> Tensor:
        """(F,), mean(phi_j^2)."""
        return self.gram.diagonal()

    @cached_property
    def arrays(self) -> Arrays | None:
        """The means as numpy sees them where they lie; None on a device, in a graph, or of rows in their place."""
        own = (self.gram, self.cross, self.target_square)
        return Arrays(*(one.numpy() for one in own)) if all(map(is_plain, own)) else None

    @property
    def shape(self) -> tuple[int, int]:
        """(F, C), the constant feature of a bias included."""
        features, outputs = self.cross.shape
        return features, outputs

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
        count = None if self.count is None and other.count is None else self.num_rows + other.num_rows
        if self.rows and other.rows and len(self.rows[0]) + len(other.rows[0]) < self.num_features:
            ours, theirs = (1 - share).sqrt(), share.sqrt()
            features, targets = (
                torch.cat([ours * own, theirs * new]) for own, new in zip(self.rows, other.rows, strict=True)
            )
            return _FewRows(features, targets, weight, count)
        return Moments(
            gram=torch.lerp(self.gram, other.gram, share),
            cross=torch.lerp(self.cross, other.cross, share),
            target_square=torch.lerp(self.target_square, other.target_square, share),
            weight=weight,
            count=count,
        )

    def around(self, head: Tensor, *, step: float, curvature: float | Tensor) -> Moments:
        """Moments of the same rows for targets that start from a head's own outputs, times a curvature.

            k mean |V^T phi - (W^T phi + t y)|^2        t: step, k: curvature

        is what a rule then minimises over V: the quadratic that stands for a loss near W, y being minus its gradient by
        the outputs. What W foretells is taken from the moments themselves, so that it cancels in the solve up to
        rounding in float64, whatever the precision of the features.

        Args:
            head: W (F, C) float64.
            step, curvature: t and k > 0.
        """
        foretold = self.gram @ head
        targets = (head * (foretold + 2 * step * self.cross)).sum(dim=0) + step**2 * self.target_square
        return Moments(
            gram=curvature * self.gram,
            cross=curvature * (foretold + step * self.cross),
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


def _count(weights: Tensor | None) -> Tensor | None:
    """() float64, how many weights are above 0."""
    return None if weights is None else (weights > 0).sum(dtype=torch.float64)


def num_processes() -> int:
    """How many processes share a batch."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_of_processes(value: Tensor) -> Tensor:
    """The mean of a tensor over all processes; itself when there is one."""
    if num_processes() == 1:
        return value
    value = value.detach().clone()
    dist.all_reduce(value)
    return value / num_processes()


class _FewRows(Moments):
    """Moments of fewer rows than features: the rows themselves, in float64, and their (F, F) products when asked for.

    A solve then needs a system of one row and column a row only. Merging keeps the rows while they stay fewer than the
    features; a merge across processes, or with other moments, is one of products.
    """

    def __init__(self, features: Tensor, targets: Tensor, weight: Tensor, count: Tensor | None) -> None:
        """Features (n, F) and targets (n, C), each row times the root of its share of the weight."""
        own = {"_rows": (features, targets), "weight": weight, "count": count, "cross": features.T @ targets}
        self.__dict__.update(own, target_square=targets.square().sum(dim=0))  # the class is frozen

    @property
    def rows(self) -> tuple[Tensor, Tensor]:
        return self.__dict__["_rows"]

    @classmethod
    def of(cls, features: Tensor, targets: Tensor, weights: Tensor | None, constant: bool) -> _FewRows:
        """Of a batch as in ``from_batch``."""
        phi = features.flatten(0, -2).to(torch.float64)
        if constant:
            phi = torch.cat([phi, phi.new_ones(len(phi), 1)], dim=1)
        given = phi.new_ones(len(phi)) if weights is None else weights.detach().to(torch.float64).flatten()
        total = given.sum()
        root = (given / total).sqrt()[:, None]
        return cls(root * phi, root * targets.flatten(0, -2).to(torch.float64), total, _count(weights))

    def around(self, head: Tensor, *, step: float, curvature: float | Tensor) -> Moments:
        features, targets = self.rows
        root = curvature**0.5
        return _FewRows(root * features, root * (features @ head + step * targets), self.weight, self.count)

    def weighing(self, weight: Tensor) -> Moments:
        return _FewRows(*self.rows, weight, self.count)

    @cached_property
    def gram(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        features, targets = self.rows
        return sums_of_products(features, targets, None, constant=False)[0][:, : self.num_features]

    @property
    def arrays(self) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None  # the products are not made for that

    @property
    def squares(self) -> Tensor:
        return self.rows[0].square().sum(dim=0)


class _FewColumns(Moments):
    """Moments that numpy has made; tensors of them when asked for, each of which costs as much as a small product."""

    def __init__(self, arrays: Arrays, rows: int) -> None:
        self.__dict__.update(arrays=arrays, _count=rows)  # the class is frozen

    @cached_property
    def gram(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.from_numpy(self.__dict__["arrays"].gram)

    @cached_property
    def cross(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.from_numpy(self.__dict__["arrays"].cross)

    @cached_property
    def target_square(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.from_numpy(self.__dict__["arrays"].target_square)

    @cached_property
    def weight(self) -> Tensor:  # pyright: ignore[reportIncompatibleVariableOverride]
        return torch.full((), float(self.__dict__["_count"]), dtype=torch.float64)

    @property
    def shape(self) -> tuple[int, int]:
        return self.__dict__["arrays"].cross.shape

    @property
    def device(self) -> torch.device:
        return _CPU


def _check_rows(features: Tensor, targets: Tensor, weights: Tensor | None) -> None:
    where, shape = "Moments.from_batch", tuple(features.shape)
    if features.ndim < 2 or not features.is_floating_point():
        raise ValueError(f"{where}: `features` must be floating (rows, F) or (B, *N, F); got {features.dtype} {shape}.")
    if 0 in shape[:-1]:
        raise ValueError(f"{where}: `features` must have at least one row; got {shape}. Empty batch?")
    if targets.ndim != features.ndim or targets.shape[:-1] != features.shape[:-1]:
        rows = ", ".join(str(size) for size in shape[:-1])
        raise ValueError(
            f"{where}: `targets` must be ({rows}, C), one row for each row of features; got {tuple(targets.shape)}."
        )
    if weights is not None and weights.shape != features.shape[:-1]:
        expected = tuple(features.shape[:-1])
        raise ValueError(f"{where}: `weights` must be {expected}, one a row; got {tuple(weights.shape)}.")
