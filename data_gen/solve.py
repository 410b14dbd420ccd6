"""March a batch of fields through a list of times, with control of the step and of the resolution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from data_gen.equations import Equation
from data_gen.errors import SolverDiverged, UnresolvedError, check_positive
from data_gen.etdrk import Coefficients, coefficients, etdrk4_step
from data_gen.grid import PeriodicGrid, resize_modes, tail_start

DEFAULT_TOLERANCE = 1e-10
#: Samples marched together: fits the cache, and all of them take the step of the hardest.
CHUNK = 16
#: Coarse grids are tried from this many points.
FIRST_POINTS = 128
#: The coarse grid may outgrow the data's own up to this factor, or up to MIN_LIMIT points on small grids.
GROWTH_LIMIT = 2
MIN_LIMIT = 1024
#: Steps are STEP_RATIO^-j of the whole time, so that their coefficients can be shared by chunks.
STEP_RATIO = 2**0.25
SMALLEST_STEP = 2.0**-30
#: Share of the tolerance left to the error of time stepping; the rest is for the dropped modes.
STEP_SHARE = 5
#: Share of the tolerance that the modes dropped may take.
TAIL_SHARE = 0.1


def solve(
    equation: Equation,
    grid: PeriodicGrid,
    u0: np.ndarray,
    times: Sequence[float],
    *,
    tolerance: float | None = None,
    max_step: float | None = None,
    allow_unresolved: bool = False,
    first_sample: int = 0,
) -> np.ndarray:
    """Solution of an equation at the times asked for.

    A linear equation is solved exactly, mode by mode, in one step. Otherwise ETDRK4 marches chunks of 16 samples,
    sorted by amplitude, on a coarse Fourier grid. Each step is compared with two of half its size; the difference
    controls the step and, by Richardson's extrapolation, improves the result. The coarse grid grows until neither the
    top eighth of the modes at the output times nor what they have fed to the others matters at the tolerance. Modes
    above it are zero in the result.

    Args:
        equation: what to solve.
        grid: the grid of ``u0``.
        u0: (B, C, *N), real, at time 0; all its modes are used as far as they matter.
        times: T increasing times, 0 or later, in the equation's units.
        tolerance: largest allowed error relative to max |u|, about; 1e-10 if None.
        max_step: upper bound of the time step; none if None.
        allow_unresolved: march on the largest grid allowed even if it does not hold the solution.
        first_sample: number of ``u0[0]`` in messages.
    Returns:
        (B, T, C, *N), float64.
    Raises:
        ValueError: shapes, times, tolerance or values are unusable.
        UnresolvedError: the largest grid allowed does not hold the solution at the tolerance.
        SolverDiverged: the step fell to nothing or the solution lost finiteness.
    Source: Cox and Matthews (2002), J. Comput. Phys. 176; Hairer, Norsett and Wanner (1993), Solving ODEs I, II.4.
    """
    u0 = _checked_fields(equation, grid, u0)
    times = _checked_times(times)
    tolerance = DEFAULT_TOLERANCE if tolerance is None else tolerance
    check_positive("solve", "tolerance", tolerance)
    if max_step is not None:
        check_positive("solve", "max_step", max_step)
    result = np.empty((u0.shape[0], len(times), *u0.shape[1:]))
    if equation.nonlinear is None:
        modes, symbol = grid.to_modes(u0), equation.symbol(*grid.wavevector)
        for i, time in enumerate(times):
            result[:, i] = grid.to_points(np.exp(symbol * time) * modes)
        return result
    if grid.num_dims != 1:
        raise ValueError(f"solve: `grid` must have one dimension for a nonlinear equation; got {grid.num_dims}.")
    settings = _Settings(tolerance, max_step, allow_unresolved)
    by_size = np.argsort(np.abs(u0).reshape(u0.shape[0], -1).max(axis=-1), kind="stable")
    for start in range(0, u0.shape[0], CHUNK):
        rows = by_size[start : start + CHUNK]
        result[rows] = _solve_chunk(equation, grid, u0[rows], times, settings, first_sample + rows)
    return result


@dataclass(frozen=True)
class _Settings:
    tolerance: float
    max_step: float | None
    allow_unresolved: bool


class _TailTooLarge(Exception):
    """The coarse grid has to grow; carries the share of the top modes and the sample."""

    def __init__(self, tail: float, sample: int, time: float) -> None:
        self.tail, self.sample, self.time = tail, sample, time


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
    return u0


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
    settings: _Settings,
    names: np.ndarray,
) -> np.ndarray:
    """(b, T, C, N): one chunk, on coarse grids of growing size."""
    modes = grid.to_modes(u0)
    limit = max(GROWTH_LIMIT * grid.num_points, MIN_LIMIT)
    points = FIRST_POINTS
    while True:
        coarse = PeriodicGrid(points, grid.extent)
        march = _March(equation, coarse, resize_modes(modes, grid.num_points, points), settings, names)
        march.forced = settings.allow_unresolved and points == limit
        try:
            march.drop(modes, grid, times[-1])
            outputs = [u0 if t == 0 else _sampled(march.advance(t, times[-1]), points, grid) for t in times]
            return np.stack(outputs, axis=1)
        except _TailTooLarge as tail:
            if points == limit:
                raise UnresolvedError(
                    f"solve: `grid` must resolve the solution of {equation.name} with {dict(equation.parameters)}; got "
                    f"{grid.num_points} points, and {points} still leave {tail.tail:.1e} of sample {tail.sample} in "
                    f"their top modes at t = {tail.time:.3g} (tolerance {settings.tolerance:.1e}). Use at least "
                    f"{points} points, a larger tolerance, or allow unresolved data."
                ) from None
        points = min(limit, points * 3 // 2 if points & (points - 1) == 0 else points * 4 // 3)


def _sampled(modes: np.ndarray, points: int, grid: PeriodicGrid) -> np.ndarray:
    """The field of coarse ``modes`` at the grid's points: padded with zeros, or sampled where they are finer."""
    finer = grid.num_points * -(-points // grid.num_points)
    u = np.fft.irfft(resize_modes(modes, points, finer), finer)
    return u[..., :: finer // grid.num_points]


class _March:
    """The state of one chunk on one coarse grid: modes, time, step, and the estimated effect of the dropped modes."""

    def __init__(
        self, equation: Equation, grid: PeriodicGrid, modes: np.ndarray, settings: _Settings, names: np.ndarray
    ) -> None:
        nonlinear = equation.nonlinear
        if nonlinear is None:
            raise ValueError("solve: a linear equation needs no time stepping.")
        self.nonlinear, self.slope_of = nonlinear, lambda u: nonlinear(u, grid)
        self.equation, self.grid, self.settings, self.names = equation, grid, settings, names
        self.symbol = equation.symbol(*grid.wavevector)
        self.growth = np.minimum(np.real(self.symbol), 0)
        self.weights = np.full(grid.num_points // 2 + 1, 2 / grid.num_points)
        self.weights[0] /= 2
        self.tail = tail_start(grid.num_points)
        self.modes, self.time = modes, 0.0
        self.level: int | None = None
        self.fine = PeriodicGrid(2 * grid.num_points, grid.extent)
        self.fine_growth = np.minimum(np.real(equation.symbol(*self.fine.wavevector)), 0)
        self.leak = np.zeros((*modes.shape[:-1], grid.num_points + 1))
        self.dropped, self.dropped_growth = np.zeros((*modes.shape[:-1], 0)), np.zeros(0)
        self.forced = False

    def drop(self, modes: np.ndarray, fine: PeriodicGrid, last: float) -> None:
        """Account for what the initial condition, ``modes`` on the grid ``fine``, has above this grid.

        Its modes themselves are missing at the outputs as far as the linear part leaves them. What they do to the
        others is the difference of the nonlinear terms now, for as long as the slowest of them lives.
        """
        kept = self.grid.num_points // 2
        if fine.num_points <= self.grid.num_points or not np.abs(modes[..., kept:]).any():
            return
        self.dropped = np.abs(modes[..., kept:]) * (2 / fine.num_points)
        self.dropped_growth = np.real(self.equation.symbol(*fine.wavevector))[kept:]
        exact = resize_modes(self.nonlinear(modes, fine), fine.num_points, self.fine.num_points)
        life = min(last, 0.5 / max(-float(self.dropped_growth.max()), 0.5 / last))
        self.leak = np.abs(exact - self._refined_modes(self.slope_of(self.modes))) * life

    @np.errstate(over="ignore", invalid="ignore")  # a step that overflows is refused
    def advance(self, time: float, last: float) -> np.ndarray:
        """Modes at ``time``; ``last`` is the end of the whole march, the scale of its steps."""
        self._check_tail(self._dropped_tail(time))
        slope = self.slope_of(self.modes)
        self.level = self._first_level(slope, last) if self.level is None else self.level
        leak_rate = self._leak_rate(slope)
        while self.time < time:
            step = last * STEP_RATIO**-self.level
            remaining = time - self.time
            landing = step >= remaining * (1 - 1e-12)
            c, half = _step_pair(self.equation.symbol, self.grid, remaining if landing else step)
            once = etdrk4_step(self.modes, slope, self.slope_of, c)
            twice = etdrk4_step(self.modes, slope, self.slope_of, half)
            twice = etdrk4_step(twice, self.slope_of(twice), self.slope_of, half)
            error = twice - once
            ratio = self._error_ratio(error, c.step / last, remaining)
            if not ratio <= 1:
                level = self._level_of(remaining / last) if landing else self.level
                self.level = self._refined(level, ratio)
                continue
            error /= 15
            error += twice
            self.modes = error
            self.time = time if landing else self.time + c.step
            slope = self.slope_of(self.modes)
            leak_rate = self._account(slope, leak_rate, c.step, time)
            if not landing:
                self.level = self._coarsened(self.level, ratio, last)
        self._check_tail(self._sizes(self.modes)[..., self.tail :].sum(axis=-1) + self._dropped_tail(time))
        return self.modes

    def _dropped_tail(self, time: float) -> np.ndarray:
        """What the linear part leaves of the initial condition's dropped modes at ``time``, relative to the field."""
        return (self.dropped * np.exp(self.dropped_growth * time) / self._scale()).sum(axis=-1)

    def _sizes(self, modes: np.ndarray) -> np.ndarray:
        """Amplitude of each mode relative to the sample's root mean square, so that their sum bounds max |u|."""
        sizes = np.abs(modes)
        sizes *= self.weights
        return sizes / self._scale()

    def _scale(self) -> np.ndarray:
        power = (np.abs(self.modes * self.weights) ** 2).sum(axis=(-2, -1), keepdims=True) / 2
        return np.sqrt(power) + np.finfo(float).tiny

    def _first_level(self, slope: np.ndarray, last: float) -> int:
        """Level of a step over which the nonlinear term changes u by about a thousandth."""
        rate = self._sizes(slope).sum(axis=-1).max()
        rate = rate + 1 / last if np.isfinite(rate) else 1 / last
        return max(self._lowest_level(last), self._level_of(1e-3 / (last * rate)))

    @staticmethod
    def _level_of(fraction: float) -> int:
        """Level of the longest step of at most this fraction of the whole time."""
        return max(0, int(np.ceil(-np.log(fraction) / np.log(STEP_RATIO) - 1e-9)))

    def _error_ratio(self, error: np.ndarray, fraction: float, remaining: float) -> float:
        """Error of a step over what it may have: the tolerance in proportion to the time it covers.

        A steady source of errors r in a mode damped at the rate d leaves r / d there instead of r times the remaining
        time, so each mode counts with 1 / (1 + d * remaining).
        """
        size = (self._sizes(error) / (1 - self.growth * remaining)).sum(axis=-1).max() / 15
        return float(size / (STEP_SHARE * self.settings.tolerance * fraction))

    def _refined(self, level: int, ratio: float) -> int:
        """Level of a smaller step after a step refused."""
        shrink = 8 if not np.isfinite(ratio) else int(np.ceil(np.log(ratio / 0.5) / 4 / np.log(STEP_RATIO)))
        level += min(max(1, shrink), 16)
        if STEP_RATIO**-level < SMALLEST_STEP:
            sizes = np.abs(self.modes).max(axis=(-2, -1))
            raise SolverDiverged(
                f"solve: {self.equation.name} diverged at t = {self.time:.6g} near sample "
                f"{self.names[np.argmax(sizes)]}: no step is small enough for `tolerance` "
                f"{self.settings.tolerance:.1e}. Either the solution blows up or the tolerance is below rounding."
            )
        return level

    def _coarsened(self, level: int, ratio: float, last: float) -> int:
        """Level of the step that should follow one accepted, within a factor of two."""
        grow = int(np.floor(np.log(0.7 / max(ratio, 1e-8)) / 4 / np.log(STEP_RATIO)))
        return max(self._lowest_level(last), level - min(max(grow, -4), 4))

    def _lowest_level(self, last: float) -> int:
        """Level of the longest step allowed."""
        if self.settings.max_step is None:
            return 0
        return self._level_of(self.settings.max_step / last)

    def _refined_modes(self, modes: np.ndarray) -> np.ndarray:
        """The same field's modes on the grid of twice as many points."""
        return resize_modes(modes, self.grid.num_points, self.fine.num_points)

    def _leak_rate(self, slope: np.ndarray) -> np.ndarray:
        """|what the nonlinear term is on twice as many points, less what it is here|, for each of the finer modes.

        It holds the modes that this grid cannot take, and what they do to the others here by aliasing.
        """
        return np.abs(self.nonlinear(self._refined_modes(self.modes), self.fine) - self._refined_modes(slope))

    def _account(self, slope: np.ndarray, previous: np.ndarray, step: float, output: float) -> np.ndarray:
        """Add a step's leak, damped as the linear part damps it, and grow the grid if it will matter at the output."""
        rate = self._leak_rate(slope)
        self.leak = self.leak * np.exp(self.fine_growth * step) + 0.5 * step * (previous + rate)
        left = self.leak * np.exp(self.fine_growth * (output - self.time))
        self._check_tail((left / (self._scale() * self.grid.num_points)).sum(axis=-1))
        return rate

    def _check_tail(self, tail: np.ndarray) -> None:
        worst = tail.max(axis=-1)
        if not self.forced and not worst.max() <= TAIL_SHARE * self.settings.tolerance:
            sample = int(np.argmax(np.where(np.isnan(worst), np.inf, worst)))
            raise _TailTooLarge(float(worst[sample]), int(self.names[sample]), self.time)


@lru_cache(maxsize=256)
def _cached_pair(key: bytes, dtype: str, step: float) -> tuple[Coefficients, Coefficients]:
    symbol = np.frombuffer(key, dtype=dtype)
    return coefficients(symbol, step), coefficients(symbol, step / 2)


def _step_pair(
    symbol_of: Callable[..., np.ndarray], grid: PeriodicGrid, step: float
) -> tuple[Coefficients, Coefficients]:
    symbol = np.ascontiguousarray(symbol_of(*grid.wavevector))
    return _cached_pair(symbol.tobytes(), symbol.dtype.str, step)
