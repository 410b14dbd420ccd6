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
        values: (*N), real, on the points of a grid; or a function that reads them, called when they are first needed.
        name: of the parameter, for messages.
    """

    def __init__(self, values: np.ndarray | Callable[[], np.ndarray], name: str = "field") -> None:
        self._given, self.name = values, name
        self._modes: dict[PeriodicGrid, Any] = {}

    @cached_property
    def values(self) -> np.ndarray:
        """(*N), float64.

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
        """(*K), the modes of the periodic field on a grid of any number of points, where the grid has its arrays.

        Raises:
            ValueError: the field has another number of dimensions, or unlike axes where the grid has like ones.
        """
        if grid not in self._modes:
            own = self._grid_of(grid)
            modes = resize_modes(own.to_modes(self.values), own.num_points, grid.num_points, own.num_dims)
            self._modes[grid] = grid.asarray(modes)
        return self._modes[grid]

    def highest_mode(self, grid: PeriodicGrid) -> int:
        """The largest wavenumber of the field along an axis, in periods over the domain, without rounding."""
        own = self._grid_of(grid)
        return highest_mode(self.values, own)

    def _grid_of(self, grid: PeriodicGrid) -> PeriodicGrid:
        """The grid of the values, of the extent of another."""
        shape = self.values.shape
        if len(shape) != grid.num_dims or len(set(shape)) > 1:
            axes = ", ".join(["n"] * grid.num_dims)
            raise ValueError(f"`{self.name}` must have shape ({axes}); got {shape}.")
        return PeriodicGrid(shape[0], grid.extent, grid.num_dims)


def highest_mode(u: np.ndarray, grid: PeriodicGrid) -> int:
    """The largest wavenumber of fields (..., *N) along an axis, in periods over the domain; without rounding."""
    power = ((np.abs(grid.to_modes(u)) * grid.mode_weights) ** 2).reshape(-1, grid.shells.size).max(axis=0)
    shells = np.bincount(grid.shells.ravel(), weights=power)
    above = np.cumsum(shells[::-1])[::-1]
    return int(np.flatnonzero(above > _ROUNDING**2 * max(above[0], np.finfo(float).tiny)).max(initial=0))
