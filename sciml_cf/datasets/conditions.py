"""Scalars of each sample as inputs: parameters of the law, and times, as channels that are constant in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from data_gen.formats import Source
from data_gen.formats.overrides import AUTO
from data_gen.storage.fields import SPLIT, TRAJECTORY
from sciml_cf.errors import DatasetError

#: Time from the input to the target, where that is asked for and the file does not have it for each sample.
TIME_STEP = "time_step"


def condition_values(source: Source, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The scalars of each sample of a source by name, ``(samples,)`` float64 each.

    Args:
        source: open for reading.
        names: columns of the table of samples, parameters that all samples share, or "time_step"; ("auto",) takes every
            column whose values differ.

    Raises:
        ValueError: the source has no such scalar, or "auto" finds none.
        DatasetError: a value is not finite.
    """
    table = {name: values for name, values in source.table.items() if name not in (SPLIT, TRAJECTORY)}
    if tuple(names) == (AUTO,):
        names = [name for name, values in table.items() if _differs(values)]
        if not names:
            raise ValueError(
                f"open_source: `condition` must find a parameter that differs between the samples of {source.path}; "
                f"{_known(source, table)}. Name one, or leave it out."
            )
    found = {name: _one(source, table, name) for name in names}
    for name, values in found.items():
        bad = np.flatnonzero(~np.isfinite(values))
        if bad.size:
            raise DatasetError(
                f"open_source: `condition` {name} of {source.path} must be finite; got {values[bad[0]]} in sample "
                f"{bad[0]}."
            )
    return found


def _one(source: Source, table: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name in table:
        return np.asarray(table[name], dtype=np.float64)
    header = source.header
    if name in header.parameters:
        return np.full(source.num_samples, float(header.parameters[name]))
    if name == TIME_STEP and len(header.times) > 1:
        return np.full(source.num_samples, float(header.times[-1] - header.times[0]))
    raise ValueError(
        f"open_source: `condition` must name a parameter of the samples; got {name!r}, and {_known(source, table)}."
    )


def _known(source: Source, table: Mapping[str, np.ndarray]) -> str:
    names = [*table, *source.header.parameters, *([TIME_STEP, "time"] if len(source.times) > 1 else [])]
    return f"{source.path} has {', '.join(dict.fromkeys(names)) or 'none'}"


def _differs(values: np.ndarray) -> bool:
    numeric = np.asarray(values).dtype.kind in "iuf"
    return numeric and values.size > 0 and bool(np.nanmin(values) != np.nanmax(values))


def with_conditions(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Inputs ``(S, C, *N)`` with a constant channel for each scalar of values ``(S, K)``: ``(S, C + K, *N)``."""
    if not values.shape[1]:
        return x
    constant = values.reshape(*values.shape, *[1] * (x.ndim - 2)).astype(x.dtype)
    return np.concatenate([x, np.broadcast_to(constant, (*values.shape, *x.shape[2:]))], axis=1)


def range_of(values: Mapping[str, np.ndarray]) -> dict[str, list[float]]:
    """Least and largest value by name, as run.json stores them."""
    return {name: [float(column.min()), float(column.max())] for name, column in values.items()}
