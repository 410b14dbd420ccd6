"""Steady flow through a porous square by finite volumes and a direct solve, and an exact solution to check it by."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import SuperLU, splu

from data_gen.errors import SolverDiverged, check_finite
from data_gen.grids.cells import CellGrid

#: Largest |b - A u| / (|A| |u| + |b|), entry by entry, that is accepted.
BACKWARD_ERROR = 1e-12


def darcy_solve(coefficient: np.ndarray, grid: CellGrid, *, source: float | np.ndarray = 1.0) -> np.ndarray:
    """Solution of Darcy's equation on the square with the value 0 at its walls.

        -div(a grad u) = f,   u = 0 on the walls

    Integrated over each cell of width h: the flux through the face of two cells is a_f (u_1 - u_2) / h with the
    harmonic mean a_f = 2 a_1 a_2 / (a_1 + a_2), so that layers of constant a are taken exactly, and 2 a u / h through a
    wall, half a cell away. The system is symmetric positive definite; it is solved directly, with one step of
    refinement. Order 2 for a smooth coefficient, and across straight jumps of a that lie on faces.

    Args:
        coefficient: a, (..., N, N), above 0, at the centres of the cells.
        grid: the grid of cells, of two dimensions.
        source: f, one number, or an array at the centres that broadcasts to ``coefficient``.
    Returns:
        u, of the shape of ``coefficient``, float64.
    Raises:
        TypeError: ``grid`` is not one of cells.
        ValueError: shapes disagree, or a value is not finite or not above 0.
        SolverDiverged: the solution does not satisfy the equations to rounding.
    Source: Patankar (1980), Numerical Heat Transfer and Fluid Flow, section 4.2-3; Arioli, Demmel and Duff (1989), SIAM
        J. Matrix Anal. Appl. 10, Eq. (1.3) for the error that is checked.
    """
    a = _checked_coefficient(coefficient, grid)
    f = _checked_source(source, a.shape)
    fields = np.empty(a.shape)
    for index in np.ndindex(a.shape[:-2]):
        fields[index] = _solve_one(a[index], f[index] * grid.spacing**2, index)
    return fields


def _solve_one(a: np.ndarray, load: np.ndarray, index: tuple[int, ...]) -> np.ndarray:
    matrix, right = _matrix(a), load.ravel()
    factors = _factors(matrix)
    u = factors.solve(right)
    u += factors.solve(right - matrix @ u)
    error = np.abs(right - matrix @ u)
    size = abs(matrix) @ np.abs(u) + np.abs(right)
    relative = float((error / np.where(size > 0, size, 1)).max())
    if not relative <= BACKWARD_ERROR:
        raise SolverDiverged(
            f"darcy_solve: field {index} leaves a residual of {relative:.1e}. Check the contrast of `coefficient`: it "
            f"goes from {a.min():.1e} to {a.max():.1e}."
        )
    return u.reshape(a.shape)


def _factors(matrix: sparse.csc_array) -> SuperLU:
    """Factors without pivoting, which a symmetric positive definite matrix does not need: a third of COLAMD's fill."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _matrix(a: np.ndarray) -> sparse.csc_array:
    """(N^2, N^2), from u in all cells to the flux out of each."""
    cells = np.arange(a.size).reshape(a.shape)
    total = np.zeros(a.shape)
    for wall in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        total[wall] += 2 * a[wall]
    rows, columns, values = [], [], []
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        conductance = 2 / (1 / a[here] + 1 / a[there])
        total[here] += conductance
        total[there] += conductance
        for row, column in ((here, there), (there, here)):
            rows.append(cells[row].ravel())
            columns.append(cells[column].ravel())
            values.append(-conductance.ravel())
    where = (np.concatenate([cells.ravel(), *rows]), np.concatenate([cells.ravel(), *columns]))
    return sparse.csc_array((np.concatenate([total.ravel(), *values]), where))


def _checked_coefficient(coefficient: np.ndarray, grid: CellGrid) -> np.ndarray:
    if not isinstance(grid, CellGrid):
        raise TypeError(f"darcy_solve: `grid` must be a CellGrid; got {type(grid).__name__}. u is given at walls.")
    if grid.num_dims != 2:
        raise ValueError(f"darcy_solve: `grid` must have two dimensions; got {grid.num_dims}.")
    a = np.asarray(coefficient, dtype=np.float64)
    if a.shape[-2:] != grid.shape:
        n = grid.num_points
        raise ValueError(f"darcy_solve: `coefficient` must have shape (..., {n}, {n}) like the grid; got {a.shape}.")
    if not (np.isfinite(a).all() and (a > 0).all()):
        worst = a.min() if np.isfinite(a).all() else "NaN or infinity"
        raise ValueError(f"darcy_solve: `coefficient` must be finite and above 0; got {worst}.")
    return a


def _checked_source(source: float | np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if np.ndim(source) == 0:
        check_finite("darcy_solve", "source", source)
    values = np.asarray(source, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("darcy_solve: `source` must be finite; got NaN or infinity.")
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(
            f"darcy_solve: `source` must broadcast to the coefficient's shape {shape}; got {values.shape}."
        ) from None


def darcy_manufactured(
    grid: CellGrid, *, contrast: float = 1.0, modes: tuple[int, int] = (1, 2)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth coefficient, a source, and the exact solution of Darcy's equation with them.

        u = sin(p pi x / L) sin(q pi y / L),   a = exp(g),   g = c cos(pi x / L + 1/2) cos(2 pi y / L - 1/3)
        f = -div(a grad u) = a (((p^2 + q^2) pi^2 / L^2) u - grad g . grad u)

    Args:
        grid: the grid of cells, of two dimensions.
        contrast: c; a goes from exp(-|c|) to exp(|c|).
        modes: p and q, 1 or more.
    Returns:
        (coefficient, source, solution), each (N, N), float64, at the centres of the cells.
    Raises:
        ValueError: ``contrast`` is not finite, a mode below 1, or a grid not of two dimensions.
    Source: Roache (2002), J. Fluids Eng. 124, 4-10, for the method.
    """
    check_finite("darcy_manufactured", "contrast", contrast)
    if len(modes) != 2 or min(modes) < 1:
        raise ValueError(f"darcy_manufactured: `modes` must be two integers of at least 1; got {modes!r}.")
    if grid.num_dims != 2:
        raise ValueError(f"darcy_manufactured: `grid` must have two dimensions; got {grid.num_dims}.")
    unit = np.pi / grid.extent
    y, x = unit * grid.points[:, None], unit * grid.points
    p, q = modes
    u = np.sin(p * x) * np.sin(q * y)
    u_x, u_y = unit * p * np.cos(p * x) * np.sin(q * y), unit * q * np.sin(p * x) * np.cos(q * y)
    phase_x, phase_y = x + 1 / 2, 2 * y - 1 / 3
    g_x = -contrast * unit * np.sin(phase_x) * np.cos(phase_y)
    g_y = -contrast * 2 * unit * np.cos(phase_x) * np.sin(phase_y)
    a = np.exp(contrast * np.cos(phase_x) * np.cos(phase_y))
    return a, a * (unit**2 * (p**2 + q**2) * u - g_x * u_x - g_y * u_y), u
