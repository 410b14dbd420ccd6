"""Observations as tables, one row an observation and one column a number, for estimators that are linear algebra."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from sciml_cf.causal.checks import Observations


def table(values: Tensor) -> Tensor:
    """(n, k) float64 of values ``(n, ...)``, each row flattened."""
    return values.reshape(len(values), -1).to(torch.float64)


def beside(values: Tensor, covariates: Tensor | None) -> Tensor:
    """(n, k + m) float64: values and, if there are any, covariates, side by side."""
    parts = [values] if covariates is None else [values, covariates]
    return torch.cat([table(part) for part in parts], dim=1)


def counted(data: Observations) -> tuple[Observations, Tensor | None]:
    """Observations without those of weight zero, all where the treatment lies, and the weights of the rest."""
    device = data.treatment.device
    weights = None if data.weights is None else data.weights.to(device)
    keep: Any = slice(None) if weights is None else weights > 0
    weights = None if weights is None else weights[keep]
    extra = None if data.covariates is None else data.covariates.to(device)[keep]
    instrument, outcome = data.instrument.to(device)[keep], data.outcome.to(device)[keep]
    return Observations(data.treatment[keep], instrument, outcome, extra, weights, data.flat), weights


def means(values: Tensor, weights: Tensor | None) -> Tensor:
    """(k,), weighted means over the rows of (n, k)."""
    return values.mean(dim=0) if weights is None else weights @ values / weights.sum()


def deviations(values: Tensor, weights: Tensor | None) -> Tensor:
    """(k,), weighted standard deviations over the rows of (n, k), and 1 for a constant column."""
    found = means((values - means(values, weights)).square(), weights).sqrt()
    return torch.where((values == values[:1]).all(dim=0), 1.0, found)


def check_pair(function: str, strengths: Any, *, allow_zero: bool) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Strengths of two stages, one or several each, as tuples of finite numbers above 0, or of at least 0.

    Raises:
        ValueError: not two, none for a stage, or not such numbers.
    """
    entries = list(strengths) if isinstance(strengths, Iterable) and not isinstance(strengths, str) else []
    found = [tuple(entry) if isinstance(entry, Iterable) else (entry,) for entry in entries]
    if len(found) != 2 or not all(found):
        raise ValueError(f"{function}: `strengths` must be two, one or several for each stage; got {strengths!r}.")
    first, second = (tuple(_strength(function, value, allow_zero=allow_zero) for value in stage) for stage in found)
    return first, second


def _strength(function: str, value: Any, *, allow_zero: bool) -> float:
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    if not (math.isfinite(number) and (number > 0 or (allow_zero and number == 0))):
        bound = "of at least 0" if allow_zero else "above 0"
        raise ValueError(
            f"{function}: `strengths` must be finite numbers {bound}; got {value!r}. They multiply a square "
            "added to a MEAN squared error."
        )
    return number
