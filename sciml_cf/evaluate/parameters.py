"""Scalars of each sample that a run was trained with: given to its inputs as channels, and compared with its range."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.formats import Facts, open_source
from sciml_cf.datasets.conditions import condition_values, with_conditions
from sciml_cf.errors import DatasetError

_LOG = logging.getLogger(__name__)
_ROUNDING = 1e-6  # of the range, by which a value that was written with few digits may lie outside
Parameters = Mapping[str, float | Sequence[float] | np.ndarray]


def conditions_of(settings: Mapping[str, Any]) -> dict[str, list[float]]:
    """The scalars that a run was trained with, by name: the least and the largest value; of what run.json says."""
    return dict((settings.get("data") or {}).get("conditions") or {})


def with_parameters(
    function: str, inputs: np.ndarray, parameters: Parameters | None, settings: Mapping[str, Any]
) -> np.ndarray:
    """Inputs ``(B, C, *N)`` with a constant channel for each scalar that the run was trained with: ``(B, C + K, *N)``.

    Inputs that have these channels already are returned as they are. A last channel of a mask stays the last.

    Args:
        function: who asks, for messages.
        inputs: of the model.
        parameters: one number for all samples or ``(B,)`` for each, by name.
        settings: what run.json says.

    Raises:
        ValueError: one is missing, unknown, not finite or of another number of samples.
    """
    known, given = conditions_of(settings), parameters or {}
    wanted = ((settings.get("model") or {}).get("arguments") or {}).get("in_channels")
    if parameters is None and known and inputs.shape[1] == wanted:
        return inputs
    _check_names(function, given, known)
    if not known:
        return inputs
    values = {name: _for_each(function, name, given[name], len(inputs)) for name in known}
    warn_outside(function, values, settings)
    states = None if wanted is None else wanted - len(known)
    table = np.stack([*values.values()], axis=1)
    if states is None or inputs.shape[1] <= states:
        mask = np.empty((len(inputs), 0, *inputs.shape[2:]), dtype=inputs.dtype)
    else:
        inputs, mask = inputs[:, :states], inputs[:, states:]
    return np.concatenate([with_conditions(inputs, table), mask], axis=1)


def _check_names(function: str, given: Parameters, known: Mapping[str, Any]) -> None:
    if given and not known:
        raise ValueError(f"{function}: `parameters` must be left out for a run without them; got {', '.join(given)}.")
    if set(given) != set(known):
        raise ValueError(
            f"{function}: `parameters` must give {', '.join(known)}, as the run was trained with; got "
            f"{', '.join(given) or 'none'}."
        )


def _for_each(function: str, name: str, given: float | Sequence[float] | np.ndarray, count: int) -> np.ndarray:
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        values = np.full(1, np.nan)
    if values.shape not in ((), (1,), (count,)) or not np.isfinite(values).all():
        raise ValueError(
            f"{function}: `parameters` must have a finite number, or {count} of them, one for each sample; got {name} "
            f"of shape {values.shape}{'' if np.isfinite(values).all() else ' with NaN or Inf'}."
        )
    return np.broadcast_to(values, (count,))


def warn_outside(function: str, values: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> None:
    """One line of warning for each scalar outside the range that the run was trained with."""
    for name, (low, high) in conditions_of(settings).items():
        least, most = float(np.min(values[name])), float(np.max(values[name]))
        slack = _ROUNDING * max(high - low, abs(high), abs(low))
        if least < low - slack or most > high + slack:
            _LOG.warning(
                "%s: `%s` should lie in the range of the training, %.6g to %.6g; it goes from %.6g to %.6g. Expect "
                "large errors.", function, name, low, high, least, most,
            )  # fmt: skip


def warn_of_file(function: str, data: Path, facts: Facts | None, settings: Mapping[str, Any]) -> None:
    """``warn_outside`` for the samples of a data file."""
    if conditions_of(settings):
        with open_source(data, facts=facts) as source:
            warn_outside(function, condition_values(source, tuple(conditions_of(settings))), settings)


def read_parameters(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The table of a file by name: .csv with a line of names, or .npy ``(samples,)`` or (samples, names in their
    order).

    Args:
        path: the file.
        names: of the run.

    Raises:
        DatasetError: there is no such file, or it is no such table.
    """
    if not path.is_file():
        raise DatasetError(f"predict: `parameters` must be a .csv or .npy file, or words NAME=VALUE; got {path}.")
    try:
        if path.suffix == ".npy":
            table = np.load(path, allow_pickle=False)
            table = table[:, None] if table.ndim == 1 else table
            if table.ndim != 2 or table.shape[1] != len(names):
                raise ValueError(f"its shape is {table.shape} for {len(names)} parameters")
            return dict(zip(names, table.T.astype(np.float64), strict=True))
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        if not rows:
            raise ValueError("it has no line of names above a line of numbers")
        return {str(name).strip(): np.array([float(row[name]) for row in rows]) for name in rows[0]}
    except (ValueError, TypeError, OSError, EOFError, csv.Error) as error:
        reason = " ".join(str(error).split())[:120]
        raise DatasetError(f"predict: `parameters` must be a table of {', '.join(names)}; {path}: {reason}.") from None
