"""Vector fields in space by their modes: the curl, the product of two, and the part without divergence.

The components (u, v, w) of a field are along x, y and z, and its axes are (z, y, x).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from data_gen.grids.periodic import PeriodicGrid


def curl(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
    """``(B, 3, *K)`` -> the modes of (w_y - v_z, u_z - w_x, v_x - u_y), the same shape."""
    along, result = grid.derivative[::-1], 1 * modes
    for a, b, c in _CYCLES:
        result[:, a] = along[b] * modes[:, c] - along[c] * modes[:, b]
    return result


def cross(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The cross product of two fields on points, ``(B, 3, *N)``."""
    result = 1 * left
    for a, b, c in _CYCLES:
        result[:, a] = left[:, b] * right[:, c] - left[:, c] * right[:, b]
    return result


def solenoidal(modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
    """``(B, d, *K)`` -> the modes of the part without divergence, U - k (k . U) / ``|k|^2``, the same shape.

    That is Leray's projection. The mean flow stays, and so do modes that the grid's derivatives do not see.
    """
    along, result = grid.derivative[::-1], 1 * modes
    divergence = along[0] * modes[:, 0]
    for a in range(1, grid.num_dims):
        divergence = divergence + along[a] * modes[:, a]
    divergence *= _inverse_laplacian(grid)
    for a in range(grid.num_dims):
        result[:, a] -= along[a] * divergence
    return result


@lru_cache(maxsize=4)
def _inverse_laplacian(grid: PeriodicGrid) -> np.ndarray:
    """``modes_shape``: 1 / sum (i k)^2, by the grid's own derivatives; 0 where they vanish."""
    total = np.real(sum(d**2 for d in grid.host.derivative))
    return grid.asarray(np.where(total < 0, 1 / np.where(total < 0, total, 1), 0.0))


_CYCLES = ((0, 1, 2), (1, 2, 0), (2, 0, 1))
