"""Grids of cells between walls, for the problems that are not periodic. Needs numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_gen.errors import check_count, check_positive


@dataclass(frozen=True)
class CellGrid:
    """Centres of equal cells between walls: x_j = (j + 1/2) * extent / num_points.

    Args:
        num_points: cells along each axis.
        extent: length L of each axis, in the units of x.
        num_dims: number of axes, all alike.
    Raises:
        ValueError: a count below 1 (2 for the cells), or an extent that is not a finite positive number.
    """

    num_points: int
    extent: float = 1.0
    num_dims: int = 2

    def __post_init__(self) -> None:
        check_count("CellGrid", "num_points", self.num_points, minimum=2)
        check_positive("CellGrid", "extent", self.extent)
        check_count("CellGrid", "num_dims", self.num_dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a field on the grid."""
        return (self.num_points,) * self.num_dims

    @property
    def spacing(self) -> float:
        """Width of a cell."""
        return self.extent / self.num_points

    @cached_property
    def points(self) -> np.ndarray:
        """(num_points,), the centres along one axis."""
        return (np.arange(self.num_points) + 0.5) * self.extent / self.num_points
