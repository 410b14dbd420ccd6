"""Values that are missing by a variable of the file: NaN wherever it is 0 or missing itself."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.axes import Axes, space_of
from data_gen.formats.fields import Field, Variable

#: From the name of a variable to its array, and its axes where the file names them.
Find = Callable[[str], tuple[Any, Axes | None]]
FILL = "fill"


@dataclass(frozen=True, eq=False)
class MaskedField(Field):
    """A field with NaN where a variable of the file is 0.

    Args:
        mask: the variable, of some of the axes of the field.
    """

    mask: Variable | None = None

    @property
    def dtypes(self) -> list[np.dtype]:
        """Precisions wide enough for NaN."""
        return [np.dtype(np.result_type(np.float32, one.newbyteorder("="))) for one in super().dtypes]

    def read(self, rows: slice, at: slice = slice(None)) -> np.ndarray:
        """``(rows, times, channels, *points)``."""
        values = super().read(rows, at)
        if self.mask is None:
            return values
        known = self.mask.read(rows, at)
        if known.shape[1] > 1 and known.shape[1] != values.shape[1]:
            known = known[:, : values.shape[1]]
        missing = ~(known.astype(np.float64) > 0) & np.ones(values.shape, dtype=bool)
        kept = values.astype(np.result_type(np.float32, values.dtype))
        kept[missing] = np.nan
        return kept


def masked(path: Path, name: str | None, fields: tuple[Field | None, Field], find: Find | None) -> list[Field | None]:
    """The fields with NaN where the variable called ``name`` is 0; unchanged without a name, and for "fill".

    Raises:
        DatasetError: there is no such variable, or its shape is not that of the fields.
    """
    if name is None or name == FILL:
        return list(fields)
    if find is None:
        raise DatasetError(
            f"open_source: {path} has no mask by a name that can be read here. Make missing values NaN and give --mask "
            f"fill."
        )
    array, axes = find(name)
    if array.dtype.kind not in "fiub":
        raise DatasetError(f"open_source: {path} has the mask {name} of {array.dtype}; numbers are needed.")
    found = []
    for one in fields:
        if one is None:
            found.append(None)
            continue
        mine = axes or _match(path, name, array.shape, one)
        found.append(MaskedField(one.name, one.parts, one.labels, one.usual, Variable(name, array, mine)))
    return found


def _match(path: Path, name: str, shape: tuple[int, ...], field: Field) -> Axes:
    """The axes of a mask: some of those of the field, in their order, all in space among them."""
    first = field.parts[0]
    for left_out in itertools.chain.from_iterable(
        itertools.combinations(("sample", "time", "channel"), n) for n in range(4)
    ):
        axes = tuple(axis for axis in first.axes if axis not in left_out)
        if tuple(first.size(axis) for axis in axes) == shape and space_of(axes) == space_of(first.axes):
            return axes
    raise DatasetError(
        f"open_source: {path} has the mask {name} of shape {shape}, which is not that of {field.name} "
        f"{first.stored.shape}, with or without samples and times."
    )
