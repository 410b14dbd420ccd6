"""A field that is part of a law and constant in time, such as a force or a source. Needs numpy and scipy only."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from data_gen.grids.periodic import PeriodicGrid, resize_modes

#: Modes that together are below this share of a field, in the root mean square, are rounding.
_ROUNDING = 1e-13


class FixedField:
    """A field in a law, in the place of a number.

    Args:
        values: ``(*N)``, real, on the points of a grid; or a function that reads them, called when they are first
            needed.
        name: of the parameter, for messages.
    """

    def __init__(self, values: np.ndarray | Callable[[], np.ndarray], name: str = "field") -> None:
        self._given, self.name = values, name
        self._modes: dict[PeriodicGrid, Any] = {}

    @cached_property
    def values(self) -> np.ndarray:
        """``(*N)``, float64.

        Raises:
            ValueError: they are not real and finite.
        """
        given = np.asarray(self._given() if callable(self._given) else self._given)
        if given.dtype.kind not in "fiu" or not np.isfinite(given).all():
            raise ValueError(f"`{self.name}` must have real, finite values; got others in an array of {given.dtype}.")
        return given.astype(np.float64)

    def values_on(self, shape: tuple[int, ...]) -> np.ndarray:
        """The values, on points of this shape.

        Raises:
            ValueError: they are of another shape.
        """
        if self.values.shape != shape:
            raise ValueError(f"`{self.name}` must have the grid's shape {shape}; got {self.values.shape}.")
        return self.values

    def modes_on(self, grid: PeriodicGrid) -> Any:
        """``(*K)``, the modes of the periodic field on a grid of any number of points, where the grid has its arrays.

        Raises:
            ValueError: the field has another number of dimensions.
        """
        if grid not in self._modes:
            own = self._grid_of(grid)
            modes = resize_modes(own.to_modes(self.values), own.shape, grid.shape, own.num_dims)
            self._modes[grid] = grid.asarray(modes)
        return self._modes[grid]

    def highest_mode(self, grid: PeriodicGrid) -> int:
        """The largest wavenumber of the field, in periods of the longest axis of a grid (see ``highest_mode``)."""
        return highest_mode(self.values, self._grid_of(grid), grid)

    def _grid_of(self, grid: PeriodicGrid) -> PeriodicGrid:
        """The grid of the values, of the extent of another."""
        shape = self.values.shape
        if len(shape) != grid.num_dims:
            axes = ", ".join(["n"] * grid.num_dims)
            raise ValueError(f"`{self.name}` must have shape ({axes}); got {shape}.")
        return PeriodicGrid.by_axis(shape, grid.extents)


def highest_mode(u: np.ndarray, own: PeriodicGrid, grid: PeriodicGrid) -> int:
    """The largest wavenumber of fields along an axis, without those of rounding.

    Args:
        u: ``(..., *N)``.
        own: the grid of the fields.
        grid: the one whose longest axis counts: the modes of a shorter one are as many times higher as it has fewer
            points.
    """
    power = ((np.abs(own.to_modes(u)) * own.mode_weights) ** 2).reshape(-1, *own.modes_shape).max(axis=0)
    highest = 0
    for axis, k in enumerate(own.wavevector):
        counts = np.broadcast_to(np.rint(np.abs(k) * own.extents[axis] / (2 * np.pi)).astype(int), power.shape)
        above = np.cumsum(np.bincount(counts.ravel(), weights=power.ravel())[::-1])[::-1]
        mode = int(np.flatnonzero(above > _ROUNDING**2 * max(above[0], np.finfo(float).tiny)).max(initial=0))
        highest = max(highest, grid.count_on_longest(mode, axis))
    return highest
