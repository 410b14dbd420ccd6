"""Darcy flow: exact solutions, symmetry, and what no solution may do."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from data_gen import CellGrid, PeriodicGrid, darcy, darcy_manufactured, darcy_solve
from data_gen.errors import SolverDiverged
from data_gen.exact_solutions.by_equation import exact_solution
from data_gen.random_fields import log_normal, two_valued


@pytest.mark.parametrize(("contrast", "modes", "extent"), [(1.0, (1, 2), 1.0), (-2.5, (2, 1), 3.0)])
def test_darcy_converges_with_order_two_to_a_manufactured_solution(contrast, modes, extent) -> None:
    errors = []
    for n in (32, 64, 128):
        grid = CellGrid(n, extent)
        a, f, u = darcy_manufactured(grid, contrast=contrast, modes=modes)
        errors.append(np.abs(darcy_solve(a, grid, source=f) - u).max())
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2, atol=0.05)
    assert 1e-6 < errors[-1] < 1e-3


def test_manufactured_source_is_minus_the_divergence_of_the_flux() -> None:
    """Validity of the case above: sixth-order differences of its own a and u, away from the walls."""
    grid = CellGrid(256, 1.5)
    a, f, u = darcy_manufactured(grid, contrast=1.3, modes=(2, 1))
    weights = np.array([-1, 9, -45, 0, 45, -9, 1]) / (60 * grid.spacing)

    def slope(values: np.ndarray, axis: int) -> np.ndarray:
        return sum(w * np.roll(values, 3 - i, axis) for i, w in enumerate(weights))

    divergence = sum(slope(a * slope(u, axis), axis) for axis in (0, 1))
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(divergence + f)[inside].max() < 1e-7 * np.abs(f).max()
    assert a.max() / a.min() > 5 and np.abs(u).max() > 0.99


@pytest.mark.parametrize("upper", [1e-3, 1.0, 1e4])
def test_darcy_of_two_layers_is_exact(upper: float) -> None:
    """u = sin(pi x) sin(2 pi y) / a with a jump of a at y = 1/2 solves f = 5 pi^2 sin(pi x) sin(2 pi y).

    So does the scheme up to the eigenvalues of its second differences, whatever the jump: harmonic means are exact.
    """
    n, grid = 32, CellGrid(32)
    y, x = grid.points[:, None], grid.points
    a = np.where(y < 0.5, 1.0, upper) * np.ones((n, n))
    wave = np.sin(np.pi * x) * np.sin(2 * np.pi * y)
    eigenvalue = sum((2 * n * np.sin(p * np.pi / (2 * n))) ** 2 for p in (1, 2))
    u = darcy_solve(a, grid, source=5 * np.pi**2 * wave)
    np.testing.assert_allclose(u, 5 * np.pi**2 / eigenvalue * wave / a, rtol=1e-11, atol=1e-12 * np.abs(u).max())
    turned = darcy_solve(a.T, grid, source=5 * np.pi**2 * wave.T)
    np.testing.assert_allclose(turned, u.T, rtol=1e-11, atol=1e-12 * np.abs(u).max())


def test_darcy_operator_is_symmetric_and_positive() -> None:
    grid, rng = CellGrid(24), np.random.default_rng(0)
    a = log_normal(grid, [0], seed=3)[0, 0]
    f, g = rng.standard_normal((2, 24, 24))
    u, v = (darcy_solve(a, grid, source=s) for s in (f, g))
    assert (u * g).sum() == pytest.approx((v * f).sum(), rel=1e-10)
    assert (u * f).sum() > 0 and (v * g).sum() > 0
    np.testing.assert_allclose(darcy_solve(a, grid, source=2 * f - 3 * g), 2 * u - 3 * v, atol=1e-12)


def test_darcy_keeps_the_maximum_principle() -> None:
    """No source: nothing. A source somewhere: above 0 everywhere, largest where it is; more source or less a: more."""
    grid = CellGrid(32)
    a = two_valued(grid, [1], seed=0)[0, 0]
    assert not darcy_solve(a, grid, source=0.0).any()
    point = np.zeros((32, 32))
    point[5, 20] = 1.0
    u = darcy_solve(a, grid, source=point)
    assert u.min() > 0 and np.unravel_index(u.argmax(), u.shape) == (5, 20)
    whole = darcy_solve(a, grid)
    low, high = darcy_solve(np.full_like(a, 12.0), grid), darcy_solve(np.full_like(a, 3.0), grid)
    np.testing.assert_allclose(darcy_solve(5 * a, grid), whole / 5, rtol=1e-12)
    assert (low.sum() <= whole.sum() <= high.sum()) and whole.min() > 0


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_darcy_takes_coefficients_of_any_size_and_contrast(scale: float) -> None:
    grid = CellGrid(32)
    a = np.exp(6 * np.random.default_rng(0).standard_normal((32, 32)))
    assert a.max() / a.min() > 1e12
    u = darcy_solve(a, grid)
    assert u.min() > 0 and np.isfinite(u).all()
    np.testing.assert_allclose(scale * darcy_solve(scale * a, grid), u, rtol=1e-9)


def test_darcy_solves_each_field_of_a_batch_with_its_own_source() -> None:
    grid = CellGrid(16)
    a = log_normal(grid, range(4), seed=1)
    f = 1.0 + np.arange(4.0)[:, None, None, None]
    u = darcy_solve(a, grid, source=f)
    assert u.shape == (4, 1, 16, 16)
    for row in range(4):
        np.testing.assert_allclose(u[row, 0], (row + 1) * darcy_solve(a[row, 0], grid), rtol=1e-11)


def test_darcy_equation_takes_coefficients_to_solutions() -> None:
    equation, grid = darcy(source=2.0), CellGrid(16)
    a = two_valued(grid, range(20), seed=0)
    u = exact_solution(equation, grid, a, equation.time)
    np.testing.assert_array_equal(u, darcy_solve(a, grid, source=2.0))
    assert equation.steady and equation.boundary == "wall" and equation.parameters == {"source": 2.0}
    assert (equation.num_dims, equation.input_name, equation.input_channels) == (2, "coefficient", ("coefficient",))
    with pytest.raises(NotImplementedError, match="darcy: `symbol` must not be called"):
        equation.symbol(np.ones(3), np.ones(3))


def test_darcy_says_when_its_equations_are_not_satisfied(monkeypatch: pytest.MonkeyPatch) -> None:
    grid = CellGrid(8)
    monkeypatch.setattr(sys.modules["data_gen.solvers.darcy"], "_factors", lambda matrix: _Wrong())
    with pytest.raises(SolverDiverged, match=r"darcy_solve: field \(1,\) leaves a residual of 1\.0e\+00"):
        darcy_solve(np.ones((2, 8, 8)), grid, source=np.arange(2.0)[:, None, None])


class _Wrong:
    """Factors that solve nothing."""

    def solve(self, right: np.ndarray) -> np.ndarray:
        return np.zeros_like(right)


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        (
            {"grid": PeriodicGrid(8, 1.0, 2)},
            TypeError,
            "`grid` must be a CellGrid or NodeGrid; got PeriodicGrid",
        ),
        ({"grid": CellGrid(8, 1.0, 1)}, ValueError, "`grid` must have two dimensions; got 1"),
        ({"coefficient": np.ones((2, 8, 9))}, ValueError, r"`coefficient` must have shape \(..., 8, 8\)"),
        ({"coefficient": np.zeros((8, 8))}, ValueError, r"`coefficient` must be finite and above 0; got 0\.0"),
        ({"coefficient": np.full((8, 8), np.nan)}, ValueError, "must be finite and above 0; got NaN or infinity"),
        ({"source": np.inf}, ValueError, "darcy_solve: `source` must be a finite number; got inf"),
        ({"source": np.full((8, 8), np.nan)}, ValueError, "`source` must be finite; got NaN"),
        (
            {"source": np.ones(7)},
            ValueError,
            r"`source` must broadcast to the coefficient's shape \(8, 8\); got \(7,\)",
        ),
    ],
)
def test_darcy_refuses_bad_arguments(changes: dict, kind: type[Exception], message: str) -> None:
    settings = {"coefficient": np.ones((8, 8)), "grid": CellGrid(8), "source": 1.0, **changes}
    with pytest.raises(kind, match=message):
        darcy_solve(settings["coefficient"], settings["grid"], source=settings["source"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"contrast": np.nan}, "darcy_manufactured: `contrast` must be a finite number"),
        ({"modes": (0, 1)}, "`modes` must be two integers of at least 1"),
        ({"grid": CellGrid(8, 1.0, 1)}, "`grid` must have two dimensions"),
    ],
)
def test_darcy_manufactured_refuses_bad_arguments(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        darcy_manufactured(**{"grid": CellGrid(8), **changes})


def test_darcy_equation_refuses_a_bad_source() -> None:
    with pytest.raises(ValueError, match="darcy: `source` must be a finite number; got nan"):
        darcy(source=float("nan"))
