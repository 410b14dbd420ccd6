"""The best linear map from input fields to output fields, a baseline of nonlinear models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from sciml_cf.head import Moments, ridge
from sciml_cf.head.strength import UNCHANGED, strength_grid

_COMPONENTS = 1024  # coordinates of a field at most: a system of that many unknowns is solved in about a second
_SPANNING = 2048  # samples whose products are formed at most
_FOLDS = 5
_NUMBERS = 2**22  # float64 numbers at a time: 32 MB
_FLOOR = 1e-13  # variance of a component, over the largest, below which it is rounding
_ROUNDING = 1e-14  # squared error, over the outputs' variance, that the sums of cross-validation cannot see
_CONSTANT = 1e-12  # the same of a channel's deviation over its size


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Orthonormal coordinates of fields around the mean of the training samples.

    ::

        z = V^T u       u = (field - mean) / unit       V = U^T K^(-1/2) P^T,   U U^T = P K P^T

    The numbers u themselves are the coordinates where a field has no more of them than there are samples (and than
    1024). Else they are the principal components of the training samples U ``(S, M)``, by the products of samples U
    U^T, which are S x S. V is never formed, and U is in float64 a few columns at a time.

    Args:
        mean: ``(M,)``, float64, mean of the fields' M numbers.
        unit: ``(M,)``, float64, unit of the fields' M numbers.
        span: ``(S', M)``, the samples that span the components, in the precision of the data.
        weights: ``(S', R)``, P K^(-1/2) of the R components; None where the numbers themselves are the coordinates.
    """

    mean: Tensor
    unit: Tensor
    span: Tensor
    weights: Tensor | None

    @classmethod
    def of(cls, fields: Tensor, *, scaled: bool) -> tuple[Coordinates, Tensor]:
        """Coordinates for fields ``(S, C, *N)`` like these, and those of these, ``(S, R)``.

        Args:
            fields: the training samples.
            scaled: give every channel the unit of its own deviation, so that units do not matter.
        """
        rows = fields.flatten(1)
        mean, unit = _statistics(fields, rows, scaled)
        if rows.shape[1] <= min(len(rows), _COMPONENTS):
            plain = cls(mean, unit, rows[:0], None)
            return plain, plain.project(fields)
        span = rows if len(rows) <= _SPANNING else rows[torch.linspace(0, len(rows) - 1, _SPANNING).round().long()]
        values, vectors = torch.linalg.eigh(cls(mean, unit, span, None)._products(span))
        values, vectors = values.flip(0)[:_COMPONENTS], vectors.flip(1)[:, :_COMPONENTS]
        kept = values > _FLOOR * values[0]
        roots = values[kept].sqrt()
        found = cls(mean, unit, span, vectors[:, kept] / roots)
        return found, vectors[:, kept] * roots if span is rows else found.project(fields)

    def project(self, fields: Tensor) -> Tensor:
        """Coordinates ``(B, R)`` of fields ``(B, C, *N)``, float64."""
        rows = fields.flatten(1)
        if self.weights is None:
            return self._centered(rows, slice(None))
        parts = rows.split(max(1, _NUMBERS // len(self.span)))
        return torch.cat([self._products(part) @ self.weights for part in parts])

    def lift(self, coordinates: Tensor) -> Tensor:
        """Fields ``(B, M)`` of coordinates ``(B, R)``, float64."""
        if self.weights is None:
            return self.mean + self.unit.nan_to_num(posinf=0) * coordinates
        combined = coordinates @ self.weights.T
        parts = [combined @ self._centered(self.span, columns) for columns in self._columns()]
        return self.mean + self.unit.nan_to_num(posinf=0) * torch.cat(parts, dim=1)

    def _products(self, rows: Tensor) -> Tensor:
        """Inner products of rows ``(B, M)`` with the spanning samples, ``(B, S')``."""
        total = torch.zeros(len(rows), len(self.span), dtype=torch.float64)
        for columns in self._columns(len(rows)):
            part = self._centered(self.span, columns)
            total.addmm_(part if rows is self.span else self._centered(rows, columns), part.T)
        return total

    def _columns(self, others: int = 0) -> Iterator[slice]:
        return _columns(len(self.mean), len(self.span) + others)

    def _centered(self, rows: Tensor, columns: slice) -> Tensor:
        return (rows[:, columns].double() - self.mean[columns]) / self.unit[columns]


@dataclass(frozen=True, eq=False)
class LinearMap:
    """An affine map from fields to fields, made by ``fit_linear_map``; called with fields ``(B, C, *N)`` it returns
    theirs.

    Attributes:
        rank: number of principal components of the inputs that it uses; 0 for the mean of the training outputs.
        strength: of its ridge, over the mean variance of the inputs' coordinates.
        inputs: coordinates of the inputs.
        outputs: coordinates of the outputs.
        matrix: ``(R, R')``, float64, the linear part of the map between them.
        offset: ``(R',)``, float64, its constant part.
        input_shape: ``(C, *N)``, of an input.
        output_shape: ``(C', *N')``, of an output.
    """

    rank: int
    strength: float
    inputs: Coordinates
    outputs: Coordinates
    matrix: Tensor
    offset: Tensor
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]

    def __call__(self, fields: Tensor) -> Tensor:
        """Outputs ``(B, C', *N')``, float64, for fields ``(B, C, *N)`` on the grid of the training samples.

        Raises:
            ValueError: the fields have other channels or points.
        """
        if tuple(fields.shape[1:]) != self.input_shape:
            raise ValueError(
                f"LinearMap: `fields` must be (samples, {', '.join(map(str, self.input_shape))}), as the training "
                f"samples were; got {tuple(fields.shape)}. Fit a map on the grid of these fields."
            )
        found = self.outputs.lift(self.inputs.project(fields.detach().cpu()) @ self.matrix + self.offset)
        return found.unflatten(1, self.output_shape)


def fit_linear_map(x: Tensor, y: Tensor) -> LinearMap:
    """The affine map from inputs to outputs with the lowest mean squared error in cross-validation over the samples.

    ::

        W(r, s) = argmin  mean |W^T z_r - c|^2 + s |W|^2

    z_r are the first r principal components of the inputs, every channel in the unit of its own deviation, and c the
    coordinates of the outputs. The rank r, from 0 (the mean of the outputs) to all, and the strength s, from 0 and 1e-8
    to 1e2 of the components' mean variance, are those of 5-fold cross-validation, with the means and components of each
    fold's other samples. A map that is affine is found to the precision of the data, if the samples span its inputs.

    It takes some seconds, and memory for a few matrices of S x S numbers, or of S x 1024 and 2048 x 2048 for more than
    2048 samples. In fields of more than 1024 numbers, components after the 1024th are left out.

    Args:
        x: ``(S, C, *N)``, floating, finite.
        y: ``(S, C', *N')``, of the same samples.

    Returns:
        LinearMap.

    Raises:
        ValueError: shapes disagree, or values are not finite.

    References:
        principal component regression with a ridge; Hastie, Tibshirani and Friedman (2009), The Elements of Statistical
        Learning, sections 3.4.1 and 3.5.1.
    """
    _check(x, y)
    x, y = x.detach().cpu(), y.detach().cpu()
    (inputs, features), (outputs, targets) = Coordinates.of(x, scaled=True), Coordinates.of(y, scaled=False)
    folds = [torch.arange(first, len(x), _FOLDS) for first in range(min(_FOLDS, len(x)))]
    parts = [Moments.from_batch(features[rows], targets[rows], constant=True) for rows in folds]
    gram, cross, mean = _about_mean(reduce(add, parts))
    values, basis = _principal(gram)
    strengths = (0.0, *(one for one in strength_grid(values.diag()) if one != UNCHANGED))
    rank, strength = 0, 0.0
    if len(parts) > 1 and len(values):
        errors, ranks = zip(*_each_fold(parts, folds, features, targets, strengths), strict=True)
        row, rank = _lowest(reduce(add, errors))
        most = min(ranks)  # of all: that all samples have more of them says nothing against those
        strength, rank = strengths[row], len(values) if rank >= most > 0 else min(rank, most)
    kept = basis[:, :rank]
    reduced = Moments(values[:rank].diag(), kept.T @ cross, torch.zeros(cross.shape[1]), torch.tensor(float(len(x))))
    matrix = kept @ ridge(reduced, strength=strength) if rank else torch.zeros_like(cross)
    relative = strength / float(values.mean()) if strength else 0.0
    shapes = tuple(x.shape[1:]), tuple(y.shape[1:])
    return LinearMap(rank, relative, inputs, outputs, matrix, mean[1] - mean[0] @ matrix, *shapes)


def _each_fold(
    parts: list[Moments], folds: list[Tensor], features: Tensor, targets: Tensor, strengths: tuple[float, ...]
) -> Iterator[tuple[Tensor, int]]:
    """For each fold the squared errors (strengths, R + 1) of the maps fitted to all others, and their full rank.

    With the components' coordinates p of the fold, their variances v and products B with the targets on the others, ::

        |c - B^T D p|^2 = |c|^2 - 2 sum_i d_i A_i + sum_ij d_i d_j Q_ij      d_i = 1 / (v_i + s) for i <= r, else 0
                           A = rows' sums of (p^T c) B,   Q = (p^T p) (B B^T), entry by entry

    so that all ranks at a strength are the partial sums of one matrix.
    """
    for index, rows in enumerate(folds):
        rest = reduce(add, [part for place, part in enumerate(parts) if place != index])
        gram, cross, mean = _about_mean(rest)
        values, basis = _principal(gram)
        products = basis.T @ cross
        held, wanted = (features[rows] - mean[0]) @ basis, targets[rows] - mean[1]
        linear = ((held.T @ wanted) * products).sum(1)
        quadratic = (held.T @ held) * (products @ products.T)
        steps = torch.zeros(len(strengths), len(gram) + 1, dtype=torch.float64)
        for step, strength in zip(steps, strengths, strict=True):
            d = 1 / (values + strength)
            pairs = d[:, None] * quadratic * d
            step[1 : len(d) + 1] = 2 * pairs.tril(-1).sum(1) + pairs.diagonal() - 2 * d * linear
        yield wanted.square().sum() + steps.cumsum(1), len(values)


def _lowest(errors: Tensor) -> tuple[int, int]:
    """Row and column of the lowest error; of those that rounding hides, the weakest strength and the highest rank."""
    rows, columns = torch.nonzero(errors <= errors.min() + _ROUNDING * errors[0, 0], as_tuple=True)
    return int(rows[0]), int(columns[rows == rows[0]][-1])


def _about_mean(moments: Moments) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Gram and cross moments about the means of features and targets, and these, of moments with a constant."""
    mean, wanted = moments.gram[-1, :-1], moments.cross[-1]
    return moments.gram[:-1, :-1] - mean.outer(mean), moments.cross[:-1] - mean.outer(wanted), (mean, wanted)


def _principal(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Variances and directions of the principal components, largest first, without those that are rounding."""
    values, basis = torch.linalg.eigh(gram)
    values, basis = values.flip(0), basis.flip(1)
    kept = values > _FLOOR * values[:1].clamp_min(0)
    return values[kept], basis[:, kept]


def _statistics(fields: Tensor, rows: Tensor, scaled: bool) -> tuple[Tensor, Tensor]:
    """Means and units ``(M,)`` of the numbers of fields with flattened rows; an infinite unit for constant ones."""
    channels, points = fields.shape[1], fields.shape[2:].numel()
    mean, deviation, size = (torch.empty(rows.shape[1], dtype=torch.float64) for _ in range(3))
    for columns in _columns(rows.shape[1], 2 * len(rows)):
        block = rows[:, columns].double()
        mean[columns] = block.mean(0)
        deviation[columns] = (block - mean[columns]).square().mean(0)
        size[columns] = block.square().mean(0)
    deviation, size = (values.view(channels, points).mean(1).sqrt() for values in (deviation, size))
    unit = torch.where(deviation > _CONSTANT * size, deviation if scaled else 1.0, torch.inf)
    return mean, unit.repeat_interleave(points)


def _columns(width: int, rows: int) -> Iterator[slice]:
    """Columns in parts of which so many rows are not too many numbers."""
    step = max(1, _NUMBERS // max(1, rows))
    return (slice(start, min(start + step, width)) for start in range(0, width, step))


def _check(x: Tensor, y: Tensor) -> None:
    for name, fields in (("x", x), ("y", y)):
        if fields.ndim < 3 or not fields.is_floating_point() or 0 in fields.shape:
            raise ValueError(
                f"fit_linear_map: `{name}` must be floating (samples, channels, *points); got {fields.dtype} "
                f"{tuple(fields.shape)}."
            )
        if not all(bool(torch.isfinite(part).all()) for part in fields.split(64)):
            raise ValueError(f"fit_linear_map: `{name}` must be finite; got NaN or Inf. Clean the data first.")
    if len(x) != len(y):
        raise ValueError(f"fit_linear_map: `y` must have the {len(x)} samples of `x`; got {len(y)}.")
