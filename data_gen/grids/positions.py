"""Where the points of a grid lie in their domain, as fractions of its length. Needs numpy only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def relative_positions(shape: Sequence[int], *, cells: bool) -> tuple[np.ndarray, ...]:
    """Positions along each axis of a grid of these points: j / n, on cells (j + 1/2) / n, for j = 0 .. n - 1.

    Args:
        shape: points along each axis.
        cells: whether the points are centres of cells between walls.
    """
    return tuple((np.arange(points) + 0.5 * cells) / points for points in shape)
