"""Kernel instrumental variables: two-stage least squares in the features of a kernel."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from torch import Tensor

from sciml_cf.causal.checks import Observations, as_given, check_fitted, check_inputs, check_observations
from sciml_cf.causal.estimator import Estimator
from sciml_cf.causal.tables import beside, check_pair, counted, deviations, means, table
from sciml_cf.errors import check_choice, check_count, is_finite
from sciml_cf.head.moments import Moments
from sciml_cf.head.solve import ridge

KernelName = Literal["gaussian", "linear"]
Widths = Literal["coordinate", "joint"]

#: Strengths tried in each stage by default: the range of Xu et al. (2021), in five steps a decade.
STRENGTHS = tuple(10 ** (-10 + step / 5) for step in range(41))
_FIT = "KernelIV.fit"
_FLOOR = 1e-12  # smallest eigenvalue of a kernel matrix that counts, of its largest
_MEDIAN_ROWS = 2000  # rows whose distances give the medians: two million pairs
_PREDICTED_ROWS = 1024
_ALIKE = 1e-6


class KernelIV(Estimator):
    """Structural function in the space of a kernel, by ridge regression in two stages on two halves of the rows.

    ::

        stage 1, rows (x, z):   G = (K_ZZ + n l I)^-1 K_Zz~            predicts the features of x~ from z~
        stage 2, rows (z~, y~): a = (M M^T + m s K_XX)^-1 M y~,   M = K_XX G
        f(x) = sum_i a_i k(x_i, x)

    with n and m rows in the stages, x and z with their covariates. It is computed in coordinates of the span of the
    kernel's features at the rows of stage 1, where both stages are ridge regressions with the strengths l and s on mean
    squared errors, solved as any head here is; directions whose share of the kernel matrix is below 1e-12 are left out.
    The strengths are chosen as the authors choose them: l by the error of stage 1 on the rows of stage 2, s by the
    error of f itself on the rows of stage 1. The second is an error in predicting confounded outcomes, not in f: it
    needs no truth, and it is no measure of f either. Several outcomes share the strengths and count alike.

    Time grows as the cube of the rows of a stage, memory as their square.

    Args:
        kernel: "gaussian", ``exp(-|x - x'|^2 / 2)`` of inputs over their widths, or "linear", 1 + x^T x'.
        widths: of the Gaussian kernel, "coordinate": the median distance of each column, so a product of kernels of
            numbers; "joint": the median distance of all columns of the treatment together, and so for the instrument
            and for the covariates, which is right for images. Pairs at distance zero are left out of a median.
        strengths: those tried in stages 1 and 2, above 0; a number instead of several is used unchanged.
        split: share of the rows for stage 1.
        center_outcome: regress outcomes less their mean, which is added again; False is the method as printed.
        seed: of the split.

    Attributes:
        strengths_: the two that were chosen.
        errors_: for each stage the errors by which they were, in the order of ``strengths``; empty for a number.
        treatment_widths_: ``(columns,)`` float64, widths of the treatment and, last, the covariates.
        instrument_widths_: ``(columns,)`` float64, widths of the instrument and, last, the covariates.

    References:
        Singh, Sahani and Gretton (2019), Kernel instrumental variable regression (arXiv:1906.00232), Algorithm 1 and
        its validation; the range of strengths is that of Xu et al. (2021), arXiv:2010.07154.
    """

    def __init__(
        self,
        *,
        kernel: KernelName = "gaussian",
        widths: Widths = "coordinate",
        strengths: tuple[float | Sequence[float], float | Sequence[float]] = (STRENGTHS, STRENGTHS),
        split: float = 0.5,
        center_outcome: bool = True,
        seed: int = 0,
    ) -> None:
        self.kernel: KernelName = kernel
        self.widths: Widths = widths
        self.strengths = strengths
        self.split = split
        self.center_outcome = center_outcome
        self.seed = seed

    def fit(
        self, *, treatment: Any, instrument: Any, outcome: Any, covariates: Any = None, sample_weight: Any = None
    ) -> Self:
        """Estimate from observations, one a row.

        Args:
            treatment: ``(n,)`` or ``(n, ...)``, whose rows are flattened.
            instrument: ``(n,)`` or ``(n, ...)``, likewise.
            covariates: ``(n,)`` or ``(n, ...)``, likewise.
            outcome: ``(n,)`` or ``(n, q)``.
            sample_weight: ``(n,)``, at least 0; weights count rows in both stages and in the errors, not in the
                medians.

        Raises:
            ValueError: an argument or a parameter is unusable, or under the widths no two rows are alike.
            NotPositiveDefinite: a stage has no solution; take larger strengths.
        """
        tried = self._settings()
        given = {"treatment": treatment, "instrument": instrument, "outcome": outcome, "covariates": covariates}
        data, weights = counted(check_observations(_FIT, **given, sample_weight=sample_weight))
        one, two = self._halves(len(data))
        outcomes = data.outcome.to(torch.float64)
        level, unit = outcomes.new_zeros(outcomes.shape[1]), deviations(outcomes, weights)
        if self.center_outcome:
            level = means(outcomes, weights)
        outcomes = (outcomes - level) / unit
        x, z = beside(data.treatment, data.covariates), beside(data.instrument, data.covariates)
        wx, wz = self._widths("treatment", data, one), self._widths("instrument", data, one)
        basis = KernelBasis.of(self.kernel, x[one] / wx)
        instruments = KernelBasis.of(self.kernel, z[one] / wz)
        features, targets = [instruments(z[rows] / wz) for rows in (one, two)], [basis(x[r] / wx) for r in (one, two)]
        shares = [None if weights is None else weights[rows] for rows in (one, two)]
        stage, held = (Moments.from_batch(*three) for three in zip(features, targets, shares, strict=True))
        first, errors = _chosen(stage, held, tried[0])
        predicted = features[1] @ ridge(stage, strength=first)
        stage = Moments.from_batch(predicted, outcomes[two], shares[1])
        held = Moments.from_batch(targets[0], outcomes[one], shares[0])
        second, later = _chosen(stage, held, tried[1])
        self.head_, self.basis_ = ridge(stage, strength=second), basis
        self.level_, self.unit_, self.treatment_widths_, self.instrument_widths_ = level, unit, wx, wz
        self.strengths_, self.errors_, self.shapes_ = (first, second), (errors, later), data.shapes
        return self

    def predict(self, treatment: Any, covariates: Any = None) -> Any:
        """The structural function at treatments and covariates, ``(n,)`` or ``(n, q)`` as the outcome was, in float64.

        Raises:
            ValueError: not fitted, or other shapes than in ``fit``.
        """
        check_fitted("KernelIV.predict", self, "head_")
        x, extra = check_inputs("KernelIV.predict", self.shapes_, treatment, covariates)
        rows = beside(x, extra).to(self.head_.device).split(_PREDICTED_ROWS)
        values = torch.cat([self.basis_(part / self.treatment_widths_) @ self.head_ for part in rows])
        values = values * self.unit_ + self.level_
        return as_given(values.to(x.device), self.shapes_, treatment)

    def _settings(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        check_choice(_FIT, "kernel", self.kernel, get_args(KernelName))
        check_choice(_FIT, "widths", self.widths, get_args(Widths))
        check_count(_FIT, "seed", self.seed, minimum=0)
        if not is_finite(self.split) or not 0 < self.split < 1:
            raise ValueError(f"{_FIT}: `split` must be a share between 0 and 1; got {self.split!r}.")
        return check_pair(_FIT, self.strengths, allow_zero=False)

    def _halves(self, count: int) -> tuple[Tensor, Tensor]:
        """Rows of the two stages, in random order."""
        order = torch.randperm(count, generator=torch.Generator().manual_seed(self.seed))
        first = min(max(1, round(self.split * count)), count - 1)
        return order[:first], order[first:]

    def _widths(self, argument: Literal["treatment", "instrument"], data: Observations, rows: Tensor) -> Tensor:
        """``(columns,)``, what the columns of one side are divided by, the covariates' last."""
        own: Tensor = getattr(data, argument)
        blocks = [table(part)[rows[:_MEDIAN_ROWS]] for part in (own, data.covariates) if part is not None]
        if self.kernel == "linear":
            return torch.cat([block.new_ones(block.shape[1]) for block in blocks])
        groups = blocks
        if self.widths == "coordinate":
            groups = [column for block in blocks for column in block.split(1, dim=1)]
        found = torch.cat([torch.full((group.shape[1],), _median(group), dtype=torch.float64) for group in groups])
        together = torch.cat(blocks, dim=1) / found
        distances = torch.cdist(together[:500], together[:500]).fill_diagonal_(math.inf)
        nearest = torch.exp(-distances.amin(dim=1).square() / 2).median()
        if len(together) > 1 and nearest < _ALIKE:
            other = "joint" if self.widths == "coordinate" else "coordinate"
            raise ValueError(
                f"{_FIT}: `widths` must make some rows of the {argument} alike; got {self.widths!r}, under which the "
                f"kernel of a row and its nearest is {float(nearest):.1g} for {together.shape[1]} columns. "
                f"Take {other!r}."
            )
        return found


@dataclass(frozen=True, eq=False)
class KernelBasis:
    """Coordinates in the span of a kernel's features at some rows, so that products of coordinates are the kernel.

    ::

        K = U diag(v) U^T        phi(x) = diag(v)^-1/2 U^T k(rows, x)        phi(x_i)^T phi(x) = k(x_i, x)

    Attributes:
        kernel: its name.
        rows: ``(n, columns)`` float64, divided by the widths.
        weights: (n, r) float64, U diag(v)^-1/2 for the r eigenvalues above 1e-12 of the largest.
    """

    kernel: KernelName
    rows: Tensor
    weights: Tensor

    @classmethod
    def of(cls, kernel: KernelName, rows: Tensor) -> KernelBasis:
        """The basis at rows ``(n, columns)`` divided by their widths."""
        values, vectors = torch.linalg.eigh(_gram(kernel, rows, rows))
        keep = values > _FLOOR * values[-1]
        return cls(kernel, rows, vectors[:, keep] / values[keep].sqrt())

    def __call__(self, rows: Tensor) -> Tensor:
        """(m, r), the coordinates of rows (m, columns)."""
        return _gram(self.kernel, rows, self.rows) @ self.weights


def _gram(kernel: KernelName, first: Tensor, second: Tensor) -> Tensor:
    if kernel == "linear":
        return 1 + first @ second.T
    # Differences, not products of large numbers less each other: equal rows have distance zero.
    distances = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    return torch.exp(-distances.square() / 2)


def _median(rows: Tensor) -> float:
    """Median distance of pairs of rows that differ; 1 where none do."""
    distances = torch.pdist(rows)
    distances = distances[distances > 0]
    return float(np.median(distances.cpu().numpy())) if len(distances) else 1.0


def _chosen(stage: Moments, held: Moments, strengths: tuple[float, ...]) -> tuple[float, list[float]]:
    """The strength whose head, solved on the moments of a stage, has the least error on those held out, and all errors.

    ::

        W(s) = T diag(1 / (v + s)) T^T C        error(s) = t - 2 <W, C'> + <W, G' W>,   G = T diag(v) T^T

    so that a strength costs the square of the number of features: with D = T^T C, <W, C'> is the sum over i of
    d_i (D D'^T)_ii and <W, G' W> that over i, j of d_i d_j (T^T G' T)_ij (D D^T)_ij, d = 1 / (v + s).
    """
    if len(strengths) == 1:
        return strengths[0], []
    values, vectors = torch.linalg.eigh(stage.gram)
    cross, other = vectors.T @ stage.cross, vectors.T @ held.cross
    linear = (cross * other).sum(dim=1)
    square = (vectors.T @ held.gram @ vectors) * (cross @ cross.T)
    errors = []
    for strength in strengths:
        shrunk = 1 / (values.clamp_min(0) + strength)
        errors.append(float(held.target_square.sum() - 2 * shrunk @ linear + shrunk @ square @ shrunk))
    return strengths[min(range(len(errors)), key=errors.__getitem__)], errors
