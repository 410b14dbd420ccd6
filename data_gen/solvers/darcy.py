"""Steady flow through a porous rectangle by finite volumes or differences and a direct solve; and an exact solution."""

from __future__ import annotations

import math

import numpy as np
import scipy.sparse as sparse
from scipy.sparse.linalg import SuperLU, splu

from data_gen.errors import SolverDiverged, check_finite
from data_gen.grids.cells import CellGrid, NodeGrid

#: Largest |b - A u| / (|A| |u| + |b|), entry by entry, that is accepted.
BACKWARD_ERROR = 1e-12


def darcy_solve(coefficient: np.ndarray, grid: CellGrid | NodeGrid, *, source: float | np.ndarray = 1.0) -> np.ndarray:
    """Solution of Darcy's equation on a rectangle with the value 0 at its walls.

    ::

        -div(a grad u) = f,   u = 0 on the walls

    On cells it is integrated over each cell: the flux through the face of two cells is a_f (u_1 - u_2) / h with the
    harmonic mean a_f = 2 a_1 a_2 / (a_1 + a_2), so that layers of constant a are taken exactly, and 2 a u / h through a
    wall, half a cell away. Order 2 for a smooth coefficient, and across straight jumps of a that lie on faces.

    On nodes it is the difference of second order of Li et al., with the arithmetic mean a_f = (a_1 + a_2) / 2 between
    two nodes, and u = 0 at the nodes on the walls. Order 2 for a smooth coefficient.

    The system is symmetric positive definite; it is solved directly, with one step of refinement.

    Args:
        coefficient: a, ``(..., *N)``, above 0, at the centres of the cells or at the nodes.
        grid: the grid of cells or nodes, of two dimensions.
        source: f, one number, or an array at the same points that broadcasts to ``coefficient``.

    Returns:
        u, of the shape of ``coefficient``, float64.

    Raises:
        TypeError: ``grid`` is not one of cells or nodes.
        ValueError: shapes disagree, or a value is not finite or not above 0.
        SolverDiverged: the solution does not satisfy the equations to rounding.

    References:
        Patankar (1980), Numerical Heat Transfer and Fluid Flow, section 4.2-3; Li et al. (2021), Fourier Neural
        Operator, arXiv:2010.08895, section 5.2, and solve_gwf.m published with it, for the nodes; Arioli, Demmel and
        Duff (1989), SIAM J. Matrix Anal. Appl. 10, Eq. (1.3) for the error that is checked.
    """
    a = _checked_coefficient(coefficient, grid)
    f = _checked_source(source, a.shape)
    nodes = isinstance(grid, NodeGrid)
    inside = np.s_[1:-1, 1:-1] if nodes else np.s_[:, :]
    area = grid.spacing**2 if grid.alike else math.prod(grid.spacings)
    stretch = 1.0 if grid.alike else grid.spacings[1] / grid.spacings[0]
    fields = np.zeros(a.shape)
    for index in np.ndindex(a.shape[:-2]):
        matrix = (_matrix_on_nodes if nodes else _matrix_on_cells)(a[index], stretch)
        fields[index][inside] = _solve_one(matrix, (f[index] * area)[inside], index, a[index])
    return fields


def _solve_one(matrix: sparse.csc_array, load: np.ndarray, index: tuple[int, ...], a: np.ndarray) -> np.ndarray:
    right = load.ravel()
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
    return u.reshape(load.shape)


def _factors(matrix: sparse.csc_array) -> SuperLU:
    """Factors without pivoting, which a symmetric positive definite matrix does not need: a third of COLAMD's fill."""
    return splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})


def _matrix_on_cells(a: np.ndarray, stretch: float) -> sparse.csc_array:
    """``(N, N)``, from u in all cells to the flux out of each; ``stretch`` is the width of a cell over its height."""
    total = np.zeros(a.shape)
    for wall, factor in ((np.s_[0], stretch), (np.s_[-1], stretch), (np.s_[:, 0], 1 / stretch),
                         (np.s_[:, -1], 1 / stretch)):  # fmt: skip
        total[wall] += 2 * a[wall] * factor
    along_y = stretch * 2 / (1 / a[1:] + 1 / a[:-1])
    along_x = 1 / stretch * 2 / (1 / a[:, 1:] + 1 / a[:, :-1])
    for here, there, conductance in ((*_Y, along_y), (*_X, along_x)):
        total[here] += conductance
        total[there] += conductance
    return _assembled(total, along_y, along_x)


def _matrix_on_nodes(a: np.ndarray, stretch: float) -> sparse.csc_array:
    """``(N, N)``, from u at the nodes inside to the flux out of each; ``stretch`` as on cells."""
    along_y = stretch * 0.5 * (a[1:, 1:-1] + a[:-1, 1:-1])
    along_x = 1 / stretch * 0.5 * (a[1:-1, 1:] + a[1:-1, :-1])
    total = along_y[1:] + along_y[:-1] + along_x[:, 1:] + along_x[:, :-1]
    return _assembled(total, along_y[1:-1], along_x[:, 1:-1])


#: A point and its neighbor along each axis.
_Y, _X = (np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])


def _assembled(total: np.ndarray, along_y: np.ndarray, along_x: np.ndarray) -> sparse.csc_array:
    """The matrix of the conductances from each point to all others and walls, and between neighbors."""
    numbers = np.arange(total.size).reshape(total.shape)
    rows, columns, values = [], [], []
    for here, there, conductance in ((*_Y, along_y), (*_X, along_x)):
        for row, column in ((here, there), (there, here)):
            rows.append(numbers[row].ravel())
            columns.append(numbers[column].ravel())
            values.append(-conductance.ravel())
    where = (np.concatenate([numbers.ravel(), *rows]), np.concatenate([numbers.ravel(), *columns]))
    return sparse.csc_array((np.concatenate([total.ravel(), *values]), where))


def _checked_coefficient(coefficient: np.ndarray, grid: CellGrid | NodeGrid) -> np.ndarray:
    if not isinstance(grid, CellGrid | NodeGrid):
        raise TypeError(
            f"darcy_solve: `grid` must be a CellGrid or NodeGrid; got {type(grid).__name__}. u is given at walls."
        )
    if grid.num_dims != 2:
        raise ValueError(f"darcy_solve: `grid` must have two dimensions; got {grid.num_dims}.")
    a = np.asarray(coefficient, dtype=np.float64)
    if a.shape[-2:] != grid.shape:
        shape = ", ".join(map(str, grid.shape))
        raise ValueError(f"darcy_solve: `coefficient` must have shape (..., {shape}) like the grid; got {a.shape}.")
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
    grid: CellGrid | NodeGrid, *, contrast: float = 1.0, modes: tuple[int, int] = (1, 2)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A smooth coefficient, a source, and the exact solution of Darcy's equation with them.

    ::

        u = sin(p pi x / L) sin(q pi y / H),   a = exp(g),   g = c cos(pi x / L + 1/2) cos(2 pi y / H - 1/3)
        f = -div(a grad u) = a ((p^2 / L^2 + q^2 / H^2) pi^2 u - grad g . grad u)

    Args:
        grid: the grid of cells or nodes, of two dimensions.
        contrast: c; a goes from ``exp(-|c|)`` to ``exp(|c|)``.
        modes: p and q, 1 or more.

    Returns:
        (coefficient, source, solution), each of the grid's shape, float64, at its points.

    Raises:
        ValueError: ``contrast`` is not finite, a mode below 1, or a grid not of two dimensions.

    References:
        Roache (2002), J. Fluids Eng. 124, 4-10, for the method.
    """
    check_finite("darcy_manufactured", "contrast", contrast)
    if len(modes) != 2 or min(modes) < 1:
        raise ValueError(f"darcy_manufactured: `modes` must be two integers of at least 1; got {modes!r}.")
    if grid.num_dims != 2:
        raise ValueError(f"darcy_manufactured: `grid` must have two dimensions; got {grid.num_dims}.")
    up, unit = (np.pi / extent for extent in grid.extents)
    y, x = up * grid.axis_points[0][:, None], unit * grid.axis_points[1]
    p, q = modes
    u = np.sin(p * x) * np.sin(q * y)
    u_x, u_y = unit * p * np.cos(p * x) * np.sin(q * y), up * q * np.sin(p * x) * np.cos(q * y)
    phase_x, phase_y = x + 1 / 2, 2 * y - 1 / 3
    g_x = -contrast * unit * np.sin(phase_x) * np.cos(phase_y)
    g_y = -contrast * 2 * up * np.cos(phase_x) * np.sin(phase_y)
    a = np.exp(contrast * np.cos(phase_x) * np.cos(phase_y))
    return a, a * ((unit**2 * p**2 + up**2 * q**2) * u - g_x * u_x - g_y * u_y), u
