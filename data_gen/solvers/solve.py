"""A batch of fields integrated through a list of times, with control of the step and of the resolution."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from data_gen.equation import Equation, SampleEquations, similar_rows
from data_gen.errors import UnresolvedError, check_positive
from data_gen.grids.periodic import PeriodicGrid, resize_modes
from data_gen.grids.vectors import solenoidal
from data_gen.solvers.adaptive_grid import DIMENSION_DEFAULTS, GROWTH_LIMIT, TailTooLarge, next_points
from data_gen.solvers.integrator import Integrator
from data_gen.solvers.schemes import SCHEMES, Scheme, fastest_scheme
from data_gen.solvers.settings import Settings
from data_gen.stepping.device import grid_on, to_host

__all__ = ["DEFAULT_TOLERANCE", "GROWTH_LIMIT", "MIN_LIMIT", "chunk_size", "solve"]

DEFAULT_TOLERANCE = 1e-10
#: Points that the adaptive grid may have in one dimension, however small the data's own.
MIN_LIMIT = DIMENSION_DEFAULTS[1].min_limit
#: Share of a gradient in a field without divergence that passes for rounding to single precision.
DIVERGENCE = 1e-5


def chunk_size(num_dims: int, device: str | None = None) -> int:
    """Samples that ``solve`` integrates together: the bits of a sample depend on the others of its chunk.

    In two dimensions each is integrated alone, with a step and a grid of its own; on a device, which wants more work at
    a time, in chunks too.
    """
    return DIMENSION_DEFAULTS[1 if device not in (None, "cpu") else num_dims].chunk


def solve(
    equation: Equation | SampleEquations,
    grid: PeriodicGrid,
    u0: np.ndarray,
    times: Sequence[float],
    *,
    method: str = "auto",
    tolerance: float | None = None,
    max_step: float | None = None,
    allow_unresolved: bool = False,
    first_sample: int = 0,
    device: str | None = None,
) -> np.ndarray:
    """Solution of an equation at the requested times.

    A linear equation is solved exactly, mode by mode, in one step. Otherwise an exponential scheme integrates chunks
    of ``chunk_size`` samples, sorted by amplitude, on an adaptive Fourier grid; all take the linear part exactly::

        "etdrk4"   each step of ETDRK4 is compared with two of half its size; the difference controls the step and, by
                   Richardson's extrapolation, improves the result
        "lawson7"  an integrating factor and Verner's pair of orders 7 and 6; a third of the cost at 1e-10, for
                   equations whose symbol is real and of second order
        "adams6"   an exponential Adams pair of orders 5 and 6, begun with "etdrk4"; a fifth of the cost or less for
                   all others, by numpy only

    The adaptive grid grows until neither the top eighth of the modes at the output times nor the truncation error
    matters at the tolerance. Modes above it are zero in the result.

    Args:
        equation: the equation to solve; its parameters may vary by sample.
        grid: the grid of ``u0``.
        u0: ``(B, C, *N)``, real, at time 0; all its modes are used as far as they matter.
        times: T increasing times, 0 or later, in the equation's units.
        method: "etdrk4", "lawson7", "adams6", or "auto" for the fastest one proven for the equation.
        tolerance: largest allowed error relative to ``max |u|``, about; 1e-10 if None.
        max_step: upper bound of the time step; none if None.
        allow_unresolved: integrate on the largest grid allowed even if it does not resolve the solution.
        first_sample: number of ``u0[0]`` in messages.
        device: where time is stepped: "cpu" (or None) by numpy, else by torch, on "cuda" for example, or "torch" for
            the processor; results agree to rounding. The equation's ``nonlinear`` must then need no
            more than the grid's methods and operators on arrays.

    Returns:
        ``(B, T, C, *N)``, float64.

    Raises:
        ValueError: shapes, times, tolerance, values or the device are unusable; or the tolerance is below the rounding
            that adds up.
        UnresolvedError: the largest grid allowed does not resolve the solution at the tolerance, or the grid of ``u0``
            does not resolve ``u0``, where nothing damps its top modes.
        SolverDiverged: the step fell to nothing or the solution lost finiteness.

    References:
        Cox and Matthews (2002), J. Comput. Phys. 176; Lawson (1967), SIAM J. Numer. Anal. 4; Hochbruck and Ostermann
        (2011), BIT Numer. Math. 51; Hairer, Norsett and Wanner (1993), Solving ODEs I, II.4.
    """
    laws = equation if isinstance(equation, SampleEquations) else None
    law = equation[0] if isinstance(equation, SampleEquations) else equation
    u0 = _checked_fields(law, grid, u0)
    if laws is not None and len(laws) != len(u0):
        raise ValueError(f"solve: `equation` must have as many laws as `u0` has samples, {len(u0)}; got {len(laws)}.")
    times = _checked_times(times)
    if law.nonlinear is not None and grid.num_dims not in DIMENSION_DEFAULTS:
        raise ValueError(f"solve: `grid` must have at most {max(DIMENSION_DEFAULTS)} dimensions; got {grid.num_dims}.")
    scheme = _chosen_scheme(law, method, device)
    tolerance = DEFAULT_TOLERANCE if tolerance is None else tolerance
    check_positive("solve", "tolerance", tolerance)
    if max_step is not None:
        check_positive("solve", "max_step", max_step)
    result = np.empty((u0.shape[0], len(times), *u0.shape[1:]))
    if law.nonlinear is None:
        for rows, one in _linear_chunks(equation, len(u0)):
            result[rows] = _solve_linear(one, grid, u0[rows], times)
        return result
    settings = Settings(scheme, tolerance, max_step, allow_unresolved)
    placed = grid_on(grid, device)
    for rows in chunks(equation, grid, u0, device):
        one = law if laws is None else laws[rows[0]] if len(rows) == 1 else laws.together(rows)
        result[rows] = _solve_chunk(one, placed, u0[rows], times, settings, first_sample + rows)
    return result


def chunks(
    equation: Equation | SampleEquations, grid: PeriodicGrid, u0: np.ndarray, device: str | None = None
) -> Iterator[np.ndarray]:
    """Row numbers of the chunks that are integrated together.

    Samples are sorted by ``max |u0|``. Where the law varies by sample they are sorted by ``max |u0| / max |L|``, and a
    chunk has similar ones (``similar_rows``), for all samples of a chunk take the step and grid of the hardest; in
    several dimensions and on a device each sample is then a chunk.
    """
    size, most = np.abs(u0).reshape(u0.shape[0], -1).max(axis=-1), chunk_size(grid.num_dims, device)
    if not isinstance(equation, SampleEquations):
        order = np.argsort(size, kind="stable")
        yield from (order[start : start + most] for start in range(0, len(order), most))
        return
    hardness = size / equation.symbol_sizes(grid)
    together = chunk_size(grid.num_dims) > 1 and device in (None, "cpu")
    yield from similar_rows(hardness, most if together else 1)


def _linear_chunks(equation: Equation | SampleEquations, samples: int) -> Iterator[tuple[slice, Equation]]:
    """All samples, or where the law varies each by itself."""
    if isinstance(equation, SampleEquations):
        yield from ((slice(row, row + 1), equation[row]) for row in range(samples))
    else:
        yield slice(None), equation


def _checked_fields(equation: Equation, grid: PeriodicGrid, u0: np.ndarray) -> np.ndarray:
    u0 = np.asarray(u0, dtype=np.float64)
    expected = (len(equation.channels), *grid.shape)
    if equation.num_dims != grid.num_dims:
        raise ValueError(f"solve: `grid` must have {equation.num_dims} dimensions; got {grid.num_dims}.")
    if u0.ndim != 1 + len(expected) or u0.shape[1:] != expected:
        wanted = ", ".join(map(str, expected))
        raise ValueError(f"solve: `u0` must have shape (samples, {wanted}); got {u0.shape}. Axes are (B, C, *N).")
    if not np.isfinite(u0).all():
        bad = int(np.argwhere(~np.isfinite(u0))[0, 0])
        raise ValueError(f"solve: `u0` must be finite; got NaN or infinity in sample {bad}.")
    if equation.divergence_free:
        _check_divergence(equation, grid, u0)
    return u0


def _check_divergence(equation: Equation, grid: PeriodicGrid, u0: np.ndarray) -> None:
    for sample, field in enumerate(u0):
        modes = grid.to_modes(field[None])
        away = np.abs(grid.to_points(modes - solenoidal(modes, grid))).max() / max(np.abs(field).max(), 1e-300)
        if away > DIVERGENCE:
            raise ValueError(
                f"solve: `u0` of {equation.name} must have no divergence; got a sample {sample} of which {away:.1e} is "
                f"a gradient. Subtract it."
            )


def _chosen_scheme(equation: Equation, method: str, device: str | None) -> Scheme:
    """The scheme of a name, or the fastest one that the device has; one with a memory is for the host alone."""
    schemes = [name for name in SCHEMES if device in (None, "cpu") or not SCHEMES[name].memory]
    if method == "auto":
        fastest = fastest_scheme(equation)
        method = fastest if fastest in schemes else "etdrk4"
    if method not in schemes:
        where = "" if method not in SCHEMES else f" on {device}"
        raise ValueError(f"solve: `method` must be auto or one of {', '.join(schemes)}{where}; got {method!r}.")
    return SCHEMES[method]


def _solve_linear(equation: Equation, grid: PeriodicGrid, u0: np.ndarray, times: tuple[float, ...]) -> np.ndarray:
    """``(B, T, C, *N)``: each mode is multiplied by e^(L t)."""
    modes, symbol = grid.to_modes(u0), equation.symbol(*grid.wavevector)
    result = np.empty((u0.shape[0], len(times), *u0.shape[1:]))
    for i, time in enumerate(times):
        result[:, i] = grid.to_points(np.exp(symbol * time) * modes)
    return result


def _checked_times(times: Sequence[float]) -> tuple[float, ...]:
    values = tuple(float(t) for t in times)
    rising = all(b > a for a, b in itertools.pairwise(values))
    if not values or not rising or not values[0] >= 0 or not np.isfinite(values[-1]):
        raise ValueError(f"solve: `times` must be increasing, finite and not negative; got {values}.")
    return values


def _solve_chunk(
    equation: Equation,
    grid: PeriodicGrid,
    u0: np.ndarray,
    times: tuple[float, ...],
    settings: Settings,
    names: np.ndarray,
) -> np.ndarray:
    """``(b, T, C, *N)``: one chunk, on an adaptive grid."""
    if times[-1] == 0:
        return u0[:, None]
    integrator = Integrator(equation, grid, u0, times, settings, names)
    points = _first_points(equation, grid, integrator.monitor.limit, settings)
    while True:
        try:
            integrator.start(points)
            outputs = [u0 if t == 0 else _sampled(integrator.advance(t), integrator.law.grid, grid) for t in times]
            return np.stack(outputs, axis=1)
        except TailTooLarge as tail:
            points = tail.points


def _first_points(equation: Equation, grid: PeriodicGrid, limit: int, settings: Settings) -> int:
    """Points of the first grid that is tried: one that has the modes of the fields in the law.

    Raises:
        UnresolvedError: the largest grid does not have them.
    """
    points, highest = DIMENSION_DEFAULTS[grid.num_dims].first_points, equation.highest_mode(grid.host)
    while points <= 2 * highest:
        points = next_points(points)
    if highest >= limit and not settings.allow_unresolved:
        raise UnresolvedError(
            f"solve: `grid` must resolve the fields in the law of {equation.name}, with modes as high as {highest}; "
            f"got {grid.num_points} points. Use more points, smoother fields, or allow unresolved data."
        )
    return min(points, limit)


def _sampled(modes: np.ndarray, own: PeriodicGrid, grid: PeriodicGrid) -> np.ndarray:
    """The field of modes on their own grid at the points of another: padded with zeros, or sampled."""
    every = -(-own.num_points // grid.num_points)
    finer = replace(grid, num_points=every * grid.num_points)
    u = finer.to_points(resize_modes(modes, own.shape, finer.shape, grid.num_dims))
    return to_host(u)[(..., *[slice(None, None, every)] * grid.num_dims)]
