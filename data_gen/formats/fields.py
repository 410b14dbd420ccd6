"""Arrays of a file whose axes have roles, read as ``(rows, times, channels, *points)`` whatever their order is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from data_gen.formats.axes import ROLES, Axes, space_of

_ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Variable:
    """One array of a file and the roles of its axes.

    Args:
        name: its name in the file.
        stored: the array, or anything with ``shape`` and ``dtype`` that slices as numpy's do.
        axes: the role of each of its axes.
        decode: from stored values to numbers, missing ones NaN; None where they are the same.
        dtype: precision of the numbers; by default that of ``stored``.
    """

    name: str
    stored: Any
    axes: Axes
    decode: Callable[[np.ndarray], np.ndarray] | None = None
    dtype: np.dtype | None = None

    def size(self, role: str) -> int:
        """Length of the axis of a role, 0 if there is none."""
        return self.stored.shape[self.axes.index(role)] if role in self.axes else 0

    def read(self, rows: slice, at: slice = _ALL) -> np.ndarray:
        """``(rows, times, channels, *points)``; an axis that the array does not have has length 1."""
        chosen = {"sample": rows, "time": at}
        values = np.asarray(self.stored[tuple(chosen.get(axis, _ALL) for axis in self.axes)])
        values = values if self.decode is None else self.decode(values)
        wanted = ("sample", "time", "channel", *space_of(self.axes))
        kept = [axis for axis in wanted if axis in self.axes]
        values = values.transpose([self.axes.index(axis) for axis in kept])
        return np.expand_dims(values, [i for i, axis in enumerate(wanted) if axis not in self.axes])


@dataclass(frozen=True, eq=False)
class Field:
    """An input or a target: one variable, or several of the same axes as channels.

    Args:
        name: its name.
        parts: the variables.
        labels: names of the channels; by default NAME, or NAME0, NAME1, ...
        usual: the name of the channels where the file has none for them; by default ``name``.
    """

    name: str
    parts: tuple[Variable, ...]
    labels: tuple[str, ...] = ()
    usual: str = ""

    @property
    def axes(self) -> Axes:
        """Axes of the variables, in the order of ``ROLES``."""
        return tuple(axis for axis in ROLES if axis in self.parts[0].axes)

    @property
    def shape(self) -> tuple[int, ...]:
        """Points of each axis in space, x last."""
        return tuple(self.parts[0].size(axis) for axis in space_of(self.axes))

    @property
    def num_samples(self) -> int:
        """Samples; one where there is no axis for them."""
        return self.parts[0].size("sample") if "sample" in self.axes else 1

    @property
    def num_times(self) -> int:
        """Times; 0 where there is no axis for them."""
        return self.parts[0].size("time")

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        count = sum(max(1, part.size("channel")) for part in self.parts)
        if len(self.labels) == count:
            return self.labels
        if len(self.parts) > 1 and len(self.parts) == count:
            return tuple(part.name for part in self.parts)
        name = self.usual or self.name
        return tuple(f"{name}{i}" for i in range(count)) if count > 1 else (name,)

    @property
    def dtypes(self) -> list[np.dtype]:
        """Precisions of the variables."""
        return [part.dtype or part.stored.dtype for part in self.parts]

    def read(self, rows: slice, at: slice = _ALL) -> np.ndarray:
        """``(rows, times, channels, *points)``."""
        if len(self.parts) == 1:
            return self.parts[0].read(rows, at)
        return np.concatenate([part.read(rows, at) for part in self.parts], axis=2)


def alike(fields: Sequence[Field]) -> bool:
    """Whether fields have as many samples and the same points."""
    return len({(field.num_samples, field.shape) for field in fields}) == 1
