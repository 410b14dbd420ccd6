"""The exponential Adams pair, and the order of every scheme on every equation."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest

from data_gen import (
    Equation,
    PeriodicGrid,
    allen_cahn,
    burgers,
    fisher_kpp,
    kdv,
    kdv_solitons,
    kuramoto_sivashinsky,
    solve,
)
from data_gen.errors import UnresolvedError
from data_gen.random_fields import piecewise_constant
from data_gen.solvers.schemes import SCHEMES, fastest_scheme
from data_gen.stepping.exponential_adams import adams_step, lagrange, phi_functions, weights


@pytest.mark.parametrize("z", [0.0, 1e-9, -0.3, 1.99, -2.01, -40.0, -3e4, 0.7j, -25j, 1e3j, -2 + 3j])
def test_phi_functions_equal_their_closed_forms(z: complex) -> None:
    """``phi_k(z) = (e^z - sum_{j<k} z^j / j!) / z^k`` with 120 digits; weights are k! ``phi_{k+1}``, of order one."""
    with mpmath.workdps(120):
        w = mpmath.mpc(z) + mpmath.mpf(10) ** -15
        expected = [
            complex(mpmath.factorial(k) * (mpmath.exp(w) - sum(w**j / mpmath.factorial(j) for j in range(k))) / w**k)
            for k in range(7)
        ]
    found = phi_functions(np.array([z]), 6)[:, 0] * [float(mpmath.factorial(k)) for k in range(7)]
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=3e-13)
    assert np.iscomplexobj(found) == isinstance(z, complex)


@pytest.mark.parametrize("nodes", [(0.0,), (0.0, -1.0, -2.0), (0.0, -0.06, -1.5, -1.7, -4.0)])
@pytest.mark.parametrize("z", [-0.7, -30.0, 0.4j, 40j])
def test_weights_integrate_polynomials_exactly(nodes: tuple[float, ...], z: complex) -> None:
    """The prediction is exact for slopes of degree n - 1 in time, the correction for degree n."""
    h, symbol = 0.3, np.array([z])
    w = weights(symbol, phi_functions(symbol, len(nodes) + 1), h, nodes)
    for degree in range(len(nodes) + 1):
        exact = complex(mpmath.quad(lambda s, d=degree: h * mpmath.exp((1 - s) * z) * s**d, mpmath.linspace(0, 1, 9)))
        predicted = sum(a * node**degree for a, node in zip(w.predictor[:, 0], nodes, strict=True))
        corrected = w.corrector[0] - sum(a * node**degree for a, node in zip(w.known[:, 0], nodes, strict=True))
        if degree < len(nodes) - 3 * (abs(z.imag) > 1.5):
            np.testing.assert_allclose(predicted, exact, atol=1e-12)
            np.testing.assert_allclose(predicted + corrected, exact, atol=1e-12)
        elif abs(z.imag) < 1.5:
            assert abs(predicted - exact) > 1e-4
            np.testing.assert_allclose(predicted + corrected, exact, atol=1e-12)


def test_lagrange_polynomials_are_one_at_their_node() -> None:
    nodes = [1.0, 0.0, -0.3, -2.0]
    np.testing.assert_allclose(lagrange(nodes) @ np.vander(nodes, increasing=True).T, np.eye(4), atol=1e-12)


def test_step_is_exact_for_a_linear_equation() -> None:
    grid = PeriodicGrid(32, 2 * np.pi)
    for symbol in (-(grid.wavenumbers**2), 1j * grid.wavenumbers**3):
        modes, nodes = grid.to_modes(np.sin(3 * grid.points))[None, None], (0.0, -1.0, -2.0)
        w = weights(0.2 * symbol, phi_functions(0.2 * symbol, 4), 0.2, nodes)
        new, error = adams_step(modes, [np.zeros_like(modes)] * 3, np.zeros_like, w)
        np.testing.assert_allclose(new, np.exp(0.2 * symbol) * modes, atol=1e-12)
        np.testing.assert_array_equal(error, 0)


PROBLEMS: dict[str, tuple[Equation, PeriodicGrid, float, float]] = {
    "burgers": (burgers(viscosity=0.1), PeriodicGrid(32, 2 * np.pi), 0.4, 0.2),
    "kdv": (kdv(nonlinearity=0.7, dispersion=0.3), PeriodicGrid(32, 12.0), 1.0, 0.0),
    "kuramoto_sivashinsky": (kuramoto_sivashinsky(), PeriodicGrid(16, 40.0), 4.0, 0.0),
    "fisher_kpp": (fisher_kpp(diffusivity=0.1, rate=1.5), PeriodicGrid(32, 2 * np.pi), 0.6, 1.0),
    "allen_cahn": (allen_cahn(diffusivity=0.1, rate=2.0), PeriodicGrid(32, 2 * np.pi), 0.6, 0.0),
}


#: Steps from which each scheme is halved: short enough for its order to show, too long for rounding to.
STEPS = {"lawson7": 10, "etdrk4": 20, "adams6": 40}
KDV_STEPS = {"lawson7": 40, "etdrk4": 80, "adams6": 40}


def march(scheme: str, name: str, steps: int) -> np.ndarray:
    """The field at the problem's time after so many equal steps; a past is made by steps of an eighth."""
    equation, grid, time, mean = PROBLEMS[name]
    chosen, step, x = SCHEMES[scheme], time / steps, 2 * np.pi / grid.extent * grid.points
    symbol, u0 = equation.symbol(grid.wavenumbers), mean + 0.8 * np.cos(x) + 0.4 * np.sin(2 * x)
    modes, past, taken = grid.to_modes(u0)[None, None], [], 0

    def slope(m: np.ndarray) -> np.ndarray:
        return equation.nonlinear(m, grid)

    while taken < steps:
        before = (step, slope(modes))
        if taken < chosen.memory:
            for _ in range(8):
                modes, _ = SCHEMES["etdrk4"].attempt(symbol, step / 8, modes, slope(modes), slope)
        else:
            handed = (past[: chosen.memory],) if chosen.memory else ()
            modes, _ = chosen.attempt(symbol, step, modes, before[1], slope, *handed)
        past, taken = [before, *past], taken + 1
    return grid.to_points(modes)[0, 0]


@pytest.mark.parametrize("name", PROBLEMS)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_scheme_has_its_order(scheme: str, name: str) -> None:
    """What is kept is of one order more than the estimate; the truth is a march of another scheme."""
    truth = march("lawson7" if scheme != "lawson7" else "etdrk4", name, 640)
    steps = KDV_STEPS[scheme] if name == "kdv" else STEPS[scheme]
    errors = [np.abs(march(scheme, name, n) - truth).max() for n in (steps, 2 * steps)]
    assert errors[1] > 4e-13 and errors[0] < 1e-5, "neither rounding nor long steps must decide"
    assert np.log2(errors[0] / errors[1]) > SCHEMES[scheme].order + 1 - 0.3


def test_scheme_names_are_their_keys_and_starters_need_no_past() -> None:
    for name, scheme in SCHEMES.items():
        assert scheme.name == name
        assert not scheme.memory or SCHEMES[scheme.starter].memory == 0
    assert fastest_scheme(kuramoto_sivashinsky()) == "adams6"


def test_kdv_keeps_to_tight_tolerances_and_names_the_one_attainable() -> None:
    """Rounding in modes that nothing damps was once taken for a grid too coarse, on any grid."""
    grid, solitons = PeriodicGrid(512, 32.0), {"speeds": [4.0, 8.0], "centres": [14.0, 12.0]}
    u0, truth = (
        sum(kdv_solitons(grid.points + m * grid.extent, t, **solitons) for m in (-1, 0, 1)) for t in (0.0, 0.5)
    )
    for tolerance in (1e-10, 2e-12):
        u = solve(kdv(), grid, u0[None, None], [0.5], tolerance=tolerance)[0, 0, 0]
        assert np.abs(u - truth).max() < tolerance * truth.max()
    with pytest.raises(ValueError, match=r"`tolerance` must be at least \d+e-1\d for kdv up to t = 0.5: .*got 2.0e-14"):
        solve(kdv(), grid, u0[None, None], [0.5], tolerance=2e-14)


def test_kdv_is_refused_from_jumps_that_nothing_smooths() -> None:
    grid = PeriodicGrid(1024, 32.0)
    u0 = piecewise_constant(grid, range(2), seed=0)
    with pytest.raises(UnresolvedError, match="`u0` must be resolved by its grid, as kdv does not damp its top modes"):
        solve(kdv(), grid, u0, [0.1], tolerance=1e-4)
    smoothed = solve(kuramoto_sivashinsky(), grid, u0, [1.0], tolerance=1e-4)
    assert np.isfinite(smoothed).all()


def test_adams_and_runge_kutta_agree_through_outputs_at_odd_times() -> None:
    """Short steps to the outputs, past points close together, and a grid that grows while there is a past."""
    grid = PeriodicGrid(256, 22.0)
    x = 2 * np.pi / grid.extent * grid.points
    u0, times = (0.3 * np.cos(x) + 2 * np.sin(2 * x))[None, None], [1e-5, 0.7, 0.7 + 1e-9, 0.701, 3.0]
    found = [solve(kuramoto_sivashinsky(), grid, u0, times, method=m, tolerance=1e-9) for m in ("adams6", "etdrk4")]
    np.testing.assert_allclose(found[0], found[1], atol=3e-9)
