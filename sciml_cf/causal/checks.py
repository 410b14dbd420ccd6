"""Checks of the arguments of every estimator; each error is one line with the argument, the value and the fix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KINDS = "an array or tensor of numbers"


@dataclass(frozen=True, eq=False)
class Observations:
    """Checked arguments of a fit, as tensors on the CPU with one row an observation.

    Attributes:
        treatment: ``(n, ...)`` floating.
        instrument: ``(n, ...)`` floating.
        outcome: ``(n, q)`` floating.
        covariates: ``(n, ...)`` floating, or None.
        weights: ``(n,)`` float64, at least 0 and not all 0, or None for one each.
        flat: the outcome was given as ``(n,)``, so predictions are ``(n,)`` as well.
    """

    treatment: Tensor
    instrument: Tensor
    outcome: Tensor
    covariates: Tensor | None
    weights: Tensor | None
    flat: bool

    def __len__(self) -> int:
        return len(self.outcome)

    @property
    def shapes(self) -> Shapes:
        """What a prediction must look like."""
        extra = None if self.covariates is None else tuple(self.covariates.shape[1:])
        return Shapes(tuple(self.treatment.shape[1:]), extra, self.outcome.shape[1], self.flat)


@dataclass(frozen=True)
class Shapes:
    """Shapes of one observation, and whether outcomes were given as ``(n,)``: what ``fit`` saw, for ``predict``."""

    treatment: tuple[int, ...]
    covariates: tuple[int, ...] | None
    outputs: int
    flat: bool


def check_observations(
    function: str,
    *,
    treatment: Any,
    instrument: Any,
    outcome: Any,
    covariates: Any = None,
    sample_weight: Any = None,
) -> Observations:
    """The arguments of an instrumental-variable fit as tensors, checked.

    Floating values keep their precision, small integers and booleans become float32, other integers float64. Rows of
    weight zero count for nothing: they may not be needed for a treatment or instrument to vary.

    Args:
        function: how the errors begin, for instance "KernelIV.fit".
        treatment: ``(n,)`` or ``(n, ...)``.
        instrument: ``(n,)`` or ``(n, ...)``.
        outcome: ``(n,)`` or ``(n, q)``.
        covariates: ``(n,)`` or ``(n, ...)``, or None.
        sample_weight: ``(n,)``, at least 0 and not all 0, or None.

    Raises:
        ValueError: not numbers, not finite, no or one row, lengths that differ, a constant treatment or instrument, or
            weights that are negative or all zero.
    """
    first = _tensor(function, "treatment", treatment)
    count = len(first)
    if count < 2:
        raise ValueError(f"{function}: `treatment` must have at least 2 rows, one an observation; got {count}.")
    z = _tensor(function, "instrument", instrument, count)
    y = _tensor(function, "outcome", outcome, count)
    if y.ndim > 2 or y.numel() == 0:
        raise ValueError(f"{function}: `outcome` must be (n,) or (n, q); got {tuple(y.shape)}.")
    extra = None if covariates is None else _tensor(function, "covariates", covariates, count)
    weights = None if sample_weight is None else _weights(function, sample_weight, count)
    _check_varies(function, "treatment", first, weights, "one class of treatment shows no effect. Another column?")
    _check_varies(function, "instrument", z, weights, "it has to move the treatment. Another column?")
    return Observations(first, z, y.reshape(count, -1), extra, weights, y.ndim == 1)


def check_inputs(function: str, shapes: Shapes, treatment: Any, covariates: Any = None) -> tuple[Tensor, Tensor | None]:
    """Treatment ``(n, ...)`` and covariates of a prediction as tensors, shaped like those of the fit.

    Raises:
        ValueError: not numbers, not finite, no rows, other shapes than in the fit, or covariates where the fit had none
            (and the reverse).
    """
    x = _tensor(function, "treatment", treatment)
    if tuple(x.shape[1:]) != shapes.treatment:
        raise ValueError(f"{function}: `treatment` must be {_rows(shapes.treatment)} as in fit; got {tuple(x.shape)}.")
    if (covariates is None) != (shapes.covariates is None):
        had, fix = ("no covariates", "leave them out") if shapes.covariates is None else ("covariates", "give them too")
        raise ValueError(
            f"{function}: `covariates` must be as in fit, which had {had}; got "
            f"{'None' if covariates is None else 'some'}. For a prediction {fix}."
        )
    if covariates is None or shapes.covariates is None:
        return x, None
    extra = _tensor(function, "covariates", covariates, len(x))
    if tuple(extra.shape[1:]) != shapes.covariates:
        expected = _rows(shapes.covariates)
        raise ValueError(f"{function}: `covariates` must be {expected} as in fit; got {tuple(extra.shape)}.")
    return x, extra


def check_fitted(function: str, estimator: object, attribute: str) -> None:
    """Raise ValueError unless ``fit`` has set the attribute."""
    if not hasattr(estimator, attribute):
        raise ValueError(f"{function}: `fit` must come first; got a {type(estimator).__name__} that saw no data.")


def as_given(prediction: Tensor, shapes: Shapes, given: Any) -> Any:
    """A prediction ``(n, q)`` shaped as the outcome was: a tensor for a tensor of treatments, else a numpy array."""
    values = prediction.detach()
    values = values[:, 0] if shapes.flat else values
    return values if isinstance(given, Tensor) else values.cpu().numpy()


def r_squared(function: str, prediction: Any, outcome: Any) -> float:
    """Coefficient of determination, the mean over outcomes, as scikit-learn has it.

    ::

        1 - sum (y - f)^2 / sum (y - mean y)^2        1 for a constant outcome that is met exactly, else 0

    Raises:
        ValueError: shapes that differ, values that are not finite, or fewer than 2 rows.
    """
    f = _tensor(function, "prediction", prediction).double().cpu()
    y = _tensor(function, "outcome", outcome, len(f)).double().cpu()
    if f.shape != y.shape:
        raise ValueError(f"{function}: `outcome` must be {tuple(f.shape)} as in fit; got {tuple(y.shape)}.")
    if len(y) < 2:
        raise ValueError(f"{function}: `outcome` must have at least 2 rows; got {len(y)}.")
    error = (y - f).square().reshape(len(y), -1).sum(dim=0)
    total = (y - y.mean(dim=0)).square().reshape(len(y), -1).sum(dim=0)
    share = torch.where(total > 0, error / total.clamp_min(math.ulp(0.0)), (error > 0).double())
    return float(1 - share.mean())


def _tensor(function: str, argument: str, value: Any, count: int | None = None) -> Tensor:
    """A finite floating tensor with at least one axis, of ``count`` rows."""
    if not isinstance(value, Tensor):
        try:
            array = np.asarray(value)
            value = torch.as_tensor(array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("=")))
        except (TypeError, ValueError, RuntimeError):
            kind = type(value).__name__
            raise ValueError(
                f"{function}: `{argument}` must be {_KINDS}, one row an observation; got {kind}."
            ) from None
    value = value.detach()
    if value.is_complex():
        raise ValueError(f"{function}: `{argument}` must be {_KINDS}; got complex ones. Give real and imaginary parts.")
    if not value.is_floating_point():
        small = value.dtype in (torch.bool, torch.uint8, torch.int8, torch.int16)
        value = value.to(torch.float32 if small else torch.float64)
    if value.ndim == 0 or value.numel() == 0:
        shape = tuple(value.shape)
        raise ValueError(f"{function}: `{argument}` must have rows, one an observation; got {shape}. Is it empty?")
    if count is not None and len(value) != count:
        raise ValueError(
            f"{function}: `{argument}` must have {count} rows, as many as `treatment`; got {len(value)}. "
            "Row i of every argument is one observation."
        )
    bad = (~torch.isfinite(value)).reshape(len(value), -1).any(dim=1)
    if bad.any():
        row = int(bad.to(torch.int8).argmax())
        entry = value[row].flatten()
        raise ValueError(
            f"{function}: `{argument}` must be finite; got {float(entry[~torch.isfinite(entry)][0])} in row {row} "
            f"({int(bad.sum())} such rows). Drop or impute them."
        )
    return value


def _weights(function: str, value: Any, count: int) -> Tensor:
    weights = _tensor(function, "sample_weight", value, count).double()
    if weights.ndim != 1:
        raise ValueError(f"{function}: `sample_weight` must be (n,); got {tuple(weights.shape)}.")
    if (weights < 0).any():
        least = float(weights.min())
        raise ValueError(f"{function}: `sample_weight` must not be negative; got {least:g}. Use 0 to leave a row out.")
    if not (weights > 0).any():
        raise ValueError(f"{function}: `sample_weight` must not be all zero; got {count} zeros. Leave it out?")
    return weights


def _check_varies(function: str, argument: str, values: Tensor, weights: Tensor | None, reason: str) -> None:
    counted = values if weights is None else values[(weights > 0).to(values.device)]
    if bool((counted == counted[:1]).all()):
        row = counted[0].flatten()
        shown = f"{float(row[0]):g}" if row.numel() == 1 else f"the same {tuple(counted.shape[1:])} values"
        raise ValueError(f"{function}: `{argument}` must vary between rows; got {shown} in all of them: {reason}")


def _rows(shape: tuple[int, ...]) -> str:
    return f"({', '.join(['n', *map(str, shape)])}{',' if not shape else ''})"
