"""Two-stage least squares, linear or in polynomials: instrumental variables before learned features."""

from __future__ import annotations

import itertools
from typing import Any, Self

import torch
from torch import Tensor

from sciml_cf.causal.checks import as_given, check_fitted, check_inputs, check_observations
from sciml_cf.causal.estimator import Estimator
from sciml_cf.causal.tables import beside, check_pair, counted, deviations, means
from sciml_cf.errors import check_count
from sciml_cf.head.moments import Moments
from sciml_cf.head.solve import ridge

_FIT = "TwoStageLeastSquares.fit"
_MOST_FEATURES = 5000  # of a stage: its system of that size is solved densely


class TwoStageLeastSquares(Estimator):
    """Structural function that is a polynomial, by two linear regressions.

    ::

        stage 1:  T ~ Z W        stage 2:  Y ~ (Z W) c        f(x, o) = t(x, o)^T c

    T are the monomials of treatment and covariates up to ``degree``, Z those of instrument and covariates up to
    ``instrument_degree``, both without their means, as Y is: so there is an intercept, which no ridge holds. Columns
    are brought to mean 0 and deviation 1 before they are raised to powers, and the monomials to deviation 1 after: that
    changes no prediction without a ridge, and a ridge's strength means the same for each. Monomials of covariates alone
    are in both T and Z, and predicted by themselves.

    Args:
        degree: of the polynomial; 1 is linear.
        instrument_degree: of that of the first stage; None takes ``degree``.
        strengths: of a ridge in stages 1 and 2, on MEAN squared errors. (0, 0) is least squares.

    Attributes:
        powers_: ``(features, columns)`` the exponents of each monomial of T; its columns are those of the treatment,
            then those of the covariates.
        center_: ``(columns,)`` float64, mean of these columns.
        scale_: ``(columns,)`` float64, standard deviation of these columns.
        coefficients_: (features, q) of the monomials of ``(column - center_) / scale_``, float64; of degree 1,
            ``coefficients_ / scale_[:, None]`` are effects of a unit of each column.
        intercept_: (q,) float64.

    References:
        Theil (1953), Basmann (1957); Wooldridge (2010), Econometric analysis of cross section and panel data, chapter
        5.
    """

    def __init__(
        self, *, degree: int = 1, instrument_degree: int | None = None, strengths: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self.degree = degree
        self.instrument_degree = instrument_degree
        self.strengths = strengths

    def fit(
        self, *, treatment: Any, instrument: Any, outcome: Any, covariates: Any = None, sample_weight: Any = None
    ) -> Self:
        """Estimate from observations, one a row.

        Args:
            treatment: ``(n,)`` or ``(n, ...)``, whose rows are flattened.
            instrument: ``(n,)`` or ``(n, ...)``, likewise.
            covariates: ``(n,)`` or ``(n, ...)``, likewise.
            outcome: ``(n,)`` or ``(n, q)``.
            sample_weight: ``(n,)``, at least 0.

        Raises:
            ValueError: an argument or a parameter is unusable, or the instrument has fewer monomials than there are to
                be predicted, and no ridge holds the second stage.
            NotPositiveDefinite: the monomials, or their predictions, are linearly dependent; raise a strength.
        """
        degree, instrument_degree, strengths = self._settings()
        given = {"treatment": treatment, "instrument": instrument, "outcome": outcome, "covariates": covariates}
        data, weights = counted(check_observations(_FIT, **given, sample_weight=sample_weight))
        columns, exogenous = beside(data.treatment, data.covariates), beside(data.instrument, data.covariates)
        center, scale = means(columns, weights), deviations(columns, weights)
        powers = _powers(columns.shape[1], degree, "degree")
        monomials = _monomials((columns - center) / scale, powers)
        own = (exogenous - means(exogenous, weights)) / deviations(exogenous, weights)
        instruments = _monomials(own, _powers(own.shape[1], instrument_degree, "instrument_degree"))
        if instruments.shape[1] < monomials.shape[1] and not strengths[1]:
            raise ValueError(
                f"{_FIT}: `instrument` must give at least {monomials.shape[1]} monomials, as many as there are of the "
                f"treatment; got {instruments.shape[1]}. Take another degree, more instruments, or strengths above 0."
            )
        middle, size = means(monomials, weights), deviations(monomials, weights)
        outcomes = data.outcome.to(torch.float64)
        level = means(outcomes, weights)
        predicted, targets = (instruments - means(instruments, weights)), (monomials - middle) / size
        predicted = predicted / deviations(instruments, weights)
        first = ridge(Moments.from_batch(predicted, targets, weights), strength=strengths[0])
        second = Moments.from_batch(predicted @ first, outcomes - level, weights)
        coefficients = ridge(second, strength=strengths[1]) / size[:, None]
        self.center_, self.scale_, self.powers_ = center, scale, powers
        self.coefficients_, self.intercept_ = coefficients, level - middle @ coefficients
        self.shapes_ = data.shapes
        return self

    def predict(self, treatment: Any, covariates: Any = None) -> Any:
        """The structural function at treatments and covariates, ``(n,)`` or ``(n, q)`` as the outcome was.

        Raises:
            ValueError: not fitted, or other shapes than in ``fit``.
        """
        where = "TwoStageLeastSquares.predict"
        check_fitted(where, self, "coefficients_")
        x, extra = check_inputs(where, self.shapes_, treatment, covariates)
        device = self.coefficients_.device
        columns = (beside(x, extra).to(device) - self.center_) / self.scale_
        values = _monomials(columns, self.powers_) @ self.coefficients_ + self.intercept_
        return as_given(values.to(x.device), self.shapes_, treatment)

    def _settings(self) -> tuple[int, int, tuple[float, float]]:
        check_count(_FIT, "degree", self.degree)
        second = self.degree if self.instrument_degree is None else self.instrument_degree
        check_count(_FIT, "instrument_degree", second)
        one, two = check_pair(_FIT, self.strengths, allow_zero=True)
        if len(one) + len(two) > 2:
            raise ValueError(f"{_FIT}: `strengths` must be one number a stage; got {self.strengths!r}.")
        return self.degree, second, (one[0], two[0])


def _powers(columns: int, degree: int, argument: str) -> Tensor:
    """``(features, columns)``, exponents of all monomials of total degree 1 to ``degree``, lower degrees first."""
    count, product = 1, 1
    for step in range(1, degree + 1):
        product = product * (columns + step) // step
        count = product - 1
        if count > _MOST_FEATURES:
            raise ValueError(
                f"{_FIT}: `{argument}` must give at most {_MOST_FEATURES} monomials; got {degree}, which gives more of "
                f"{columns} columns. Take a lower degree or fewer columns."
            )
    chosen = (c for d in range(1, degree + 1) for c in itertools.combinations_with_replacement(range(columns), d))
    powers = torch.zeros(count, columns, dtype=torch.int64)
    for row, factors in enumerate(chosen):
        for column in factors:
            powers[row, column] += 1
    return powers


def _monomials(columns: Tensor, powers: Tensor) -> Tensor:
    """``(n, features)`` of ``(n, columns)``."""
    found = columns.new_ones(len(columns), len(powers))
    for column, exponents in enumerate(powers.T):
        used = exponents.nonzero()[:, 0]
        found[:, used] *= columns[:, column, None] ** exponents[used].to(columns.device)
    return found
