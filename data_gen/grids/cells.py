"""Grids between walls, for the problems that are not periodic: centres of cells, or nodes. Needs numpy only."""

from __future__ import annotations

from dataclasses import dataclass

from data_gen.grids.grid import Grid


@dataclass(frozen=True)
class CellGrid(Grid):
    """Centres of equal cells between walls: x_j = (j + 1/2) * extent / num_points.

    Args:
        num_points: cells along each axis; along the longest one where ``counts`` has others.
        extent: length L of each axis, in the units of x; the largest where ``lengths`` has others.
        num_dims: number of axes.
        counts: cells of each axis, where axes differ; see ``by_axis``.
        lengths: length of each axis, where axes differ.

    Raises:
        ValueError: a count below 1 (2 for the cells), or an extent that is not a finite positive number.
    """

    num_dims: int = 2

    @property
    def _first(self) -> float:
        return 0.5


@dataclass(frozen=True)
class NodeGrid(Grid):
    """Nodes from wall to wall, both ends included: x_j = j * extent / (num_points - 1).

    Args:
        num_points: points along each axis; along the longest one where ``counts`` has others.
        extent: length L of each axis, in the units of x; the largest where ``lengths`` has others.
        num_dims: number of axes.
        counts: points of each axis, where axes differ; see ``by_axis``.
        lengths: length of each axis, where axes differ.

    Raises:
        ValueError: as ``Grid``, or an axis has fewer than 3 nodes.
    """

    num_dims: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.shape) < 3:
            raise ValueError(f"NodeGrid: `num_points` must be at least 3; got {min(self.shape)}.")

    def _steps(self, points: int) -> int:
        return points - 1
