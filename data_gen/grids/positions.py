"""Positions of grid points in their domain, as fractions of its length. Needs numpy only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

#: Periodic points j L / n, centres of cells (j + 1/2) L / n, or nodes from end to end j L / (n - 1).
Placement = Literal["periodic", "cells", "nodes"]
_CLOSE = 1e-6  # of a spacing


def relative_positions(shape: Sequence[int], *, cells: bool = False, right_end: bool = False) -> tuple[np.ndarray, ...]:
    """Positions along each axis of a grid of these points, for j = 0 .. n - 1.

    ::

        s_j = j / n        on cells (j + 1/2) / n        with the right end included j / (n - 1)

    Args:
        shape: points along each axis.
        cells: whether the points are centres of cells between walls.
        right_end: whether the last point is the right end of the domain; not together with ``cells``.
    """
    return tuple(relative_axis(np.arange(n), n, cells=cells, right_end=right_end) for n in shape)


def relative_axis(indices: Any, points: int, *, cells: bool, right_end: bool) -> Any:
    """Positions of these points of one axis, see ``relative_positions``; an array or tensor as ``indices`` are."""
    return (indices + 0.5 * cells) / (points - 1 if right_end and points > 1 else points)


def placement_of(points: int, extent: float, first: float, boundary: str) -> Placement:
    """Where the points of an axis lie, from its first coordinate and the boundary.

    Points from 0 on are nodes, and from half a spacing on cells. Of an axis that begins elsewhere, the ends of the
    domain are those of nodes or of cells that are round numbers; walls have cells, and open ends nodes, if both are.

    Args:
        points: number of points.
        extent: spacing times points.
        first: first coordinate.
        boundary: "periodic", "wall" or "open".
    """
    if boundary == "periodic":
        return "periodic"
    step = extent / points
    if abs(first) <= _CLOSE * step:
        return "nodes"
    if abs(first - step / 2) <= _CLOSE * step:
        return "cells"
    nodes = _is_round(first) and _is_round(first + extent - step)
    cells = _is_round(first - step / 2) and _is_round(first - step / 2 + extent)
    if nodes != cells:
        return "nodes" if nodes else "cells"
    return "cells" if boundary == "wall" else "nodes"


def stride_to(shape: Sequence[int], wanted: int, placements: Sequence[Placement]) -> int | None:
    """Every how many-th point of each axis leaves ``wanted`` points along the last one; None if there is no such grid.

    k divides the n points; or of nodes from end to end the n - 1 steps between them, so that (n - 1) / k + 1 are left
    and both ends are among them.
    """
    last, found = shape[-1], []
    if wanted > 0 and last % wanted == 0:
        found.append(last // wanted)
    if placements[-1] == "nodes" and wanted > 1 and (last - 1) % (wanted - 1) == 0:
        found.append((last - 1) // (wanted - 1))
    return next((stride for stride in found if is_stride(shape, stride, placements)), None)


def is_stride(shape: Sequence[int], stride: int, placements: Sequence[Placement]) -> bool:
    """Whether every k-th point of each axis makes a grid of the same kind, or on nodes one without its last point."""
    axes = zip(shape, placements, strict=True)
    return all(n % stride == 0 or (kind == "nodes" and n > 1 and (n - 1) % stride == 0) for n, kind in axes)


def coarser(points: int, stride: int) -> int:
    """Number of points of every ``stride``-th one, the first among them."""
    return -(-points // stride)


def axis_of(points: int, extent: float, placement: Placement) -> tuple[float, float]:
    """Spacing times points, and the first coordinate, of an axis of this length."""
    if placement == "nodes":
        return extent * points / (points - 1), 0.0
    return extent, 0.5 * extent / points if placement == "cells" else 0.0


def length_of(points: int, extent: float, placement: Placement) -> float:
    """Length of the domain of an axis whose spacing times its points is ``extent``."""
    return extent * (points - 1) / points if placement == "nodes" else extent


def _is_round(value: float) -> bool:
    """Whether an end is a number that people write: of three digits, or so many times pi."""
    return any(abs(v - float(f"{v:.3g}")) <= _CLOSE * max(abs(v), 1e-12) for v in (value, value / math.pi))
