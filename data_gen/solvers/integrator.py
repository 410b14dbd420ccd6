"""One chunk of samples through time: the step follows the error estimate, the grid follows the solution."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import SolverDiverged, UnresolvedError
from data_gen.grids.periodic import PeriodicGrid, tail_start
from data_gen.solvers.adaptive_grid import (
    DIMENSION_DEFAULTS,
    GROWTH_LIMIT,
    TailTooLarge,
    by_shell,
    next_points,
    resized,
    symbol_on,
    undamped_tail,
    unflattened,
)
from data_gen.solvers.schemes import SCHEMES, Scheme
from data_gen.solvers.settings import Settings
from data_gen.solvers.step_exponents import SMALLEST_STEP, STEP_RATIO, after_acceptance, after_rejection, exponent_of
from data_gen.stepping.device import namespace, to_host

#: Below this, relative to the field, an estimate or a mode of the initial condition is taken for rounding.
ROUNDING = 16 * float(np.finfo(float).eps)
#: Share of the tolerance that the modes dropped may take.
TAIL_SHARE = 0.1
#: Share of that for each adaptive grid: they add up, and the field they are relative to may decay later.
GRID_SHARE = 0.25
#: A difference of nonlinear terms below this multiple of the effect of rounding u is rounding, not truncation error.
ROUNDING_MARGIN = 16
#: Share of it for the modes that a smaller grid would drop, so that it need not grow again at once.
NEGLIGIBLE = 0.05


class Integrator:
    """The state of one chunk: modes, time, step, and the estimated truncation error of its adaptive grid.

    Modes are (b, C, M), the axes of the grid flattened into one; a shell is all modes of the same largest |k|.
    """

    def __init__(
        self,
        equation: Equation,
        grid: PeriodicGrid,
        u0: np.ndarray,
        times: tuple[float, ...],
        settings: Settings,
        names: np.ndarray,
    ) -> None:
        if equation.nonlinear is None:
            raise ValueError("Integrator: `equation` must have a nonlinear term; a linear one needs no time stepping.")
        self.equation, self.nonlinear, self.settings, self.names = equation, equation.nonlinear, settings, names
        self.data_grid, self.defaults = grid, DIMENSION_DEFAULTS[grid.num_dims]
        self.xp = namespace(grid.asarray(np.zeros(1)))
        self.given = grid.to_modes(grid.asarray(u0)).reshape(*u0.shape[:2], -1)
        self.given_slope = self._slope_on(self.given, grid)
        self.outputs = [t for t in times if t > 0]
        self.last = times[-1]
        self.limit = max(GROWTH_LIMIT * grid.num_points, self.defaults.min_limit)
        self.budget = TAIL_SHARE * settings.tolerance

    @np.errstate(over="ignore", invalid="ignore")
    def start(self, points: int) -> None:
        """Go to time 0, on the smallest grid from ``points`` up that resolves the initial condition well enough.

        The grid never shrinks below ``points`` again: an integration restarted on more points must not end on fewer.
        """
        self.smallest = points
        self.time, self.exponent, self.past = 0.0, None, ()
        self.may_shrink, self.shrunk = True, False
        if not self.settings.allow_unresolved:
            self._check_given()
        while True:
            self._use_grid(min(points, self.limit))
            self._set(resized(self.given, self.data_grid, self.grid), 0.0)
            self._drop()
            missed = self._missed(self.outputs[0]) + self._dropped_left(self.outputs[0])
            if self._within(missed, GRID_SHARE):
                break
            points = self._more_points(missed)
        self._keep_state()

    @np.errstate(over="ignore", invalid="ignore")  # a step that overflows is rejected
    def advance(self, time: float) -> np.ndarray:
        """(b, C, *K), modes at ``time`` on ``self.grid``, which may have grown."""
        while self.time < time:
            exponent = self._first_exponent() if self.exponent is None else self.exponent
            remaining = time - self.time
            landing = self._step_of(exponent) >= remaining * (1 - 1e-12)
            step = remaining if landing else self._step_of(exponent)
            new, error = self._attempt(step)
            ratio = self._error_ratio(error, step)
            if landing and ratio * self._allowed(step) < ROUNDING:
                ratio = 0.0
            if not ratio <= 1:
                self.exponent = self._refined(exponent_of(step / self.last) if landing else exponent, ratio)
                continue
            self.past = ((step, self.modes, self.slope), *self.past)[: self.settings.scheme.memory]
            self._set(new, time if landing else self.time + step)
            self.exponent = exponent if landing else self._coarsened(exponent, ratio)
            self.steps += 1
            if landing or self.steps >= max(self.defaults.check_every, self.settings.scheme.check_every):
                self._check_resolution(time)
        self._check_tail(time)
        return unflattened(self.modes, self.grid)

    @property
    def _scheme(self) -> Scheme:
        """The scheme of the next step: the starter until there are as many past points as the requested one needs."""
        scheme = self.settings.scheme
        return scheme if len(self.past) >= scheme.memory else SCHEMES[scheme.starter]

    def _attempt(self, step: float) -> tuple[np.ndarray, np.ndarray]:
        past = ([(taken, slope) for taken, _, slope in self.past],) if self._scheme.memory else ()
        return self._scheme.attempt(self.symbol, step, self.modes, self.slope, self._slope_of, *past)

    def _use_grid(self, points: int) -> None:
        self.grid, self.fine = (replace(self.data_grid, num_points=n) for n in (points, 2 * points))
        self.noise: np.ndarray | None = None
        self.symbol = self._symbol_on(self.grid)
        self.damping = self.grid.asarray(np.minimum(np.real(self.symbol), 0))
        self.weights = self.grid.asarray(self.grid.mode_weights.reshape(-1))
        self.fine_damping = self.grid.asarray(np.minimum(np.real(self._symbol_on(self.fine)), 0))

    def _set(self, modes: np.ndarray, time: float) -> None:
        self.modes, self.time = modes, time
        self.slope = self._slope_of(modes)
        power = (abs(modes * self.weights) ** 2).sum(axis=(-2, -1), keepdims=True) / 2
        self.scale = power**0.5 + np.finfo(float).tiny

    def _symbol_on(self, grid: PeriodicGrid) -> np.ndarray:
        return symbol_on(self.equation, grid)

    def _slope_on(self, modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        if grid.num_dims == 1:
            return self.nonlinear(modes, grid)
        return self.nonlinear(unflattened(modes, grid), grid).reshape(modes.shape)

    def _slope_of(self, modes: np.ndarray) -> np.ndarray:
        return self._slope_on(modes, self.grid)

    def _sizes(self, modes: np.ndarray) -> np.ndarray:
        """Amplitude of each mode relative to the sample's root mean square, so that their sum bounds max |u|."""
        sizes = abs(modes)
        sizes *= self.weights
        sizes /= self.scale
        return sizes

    # ---- the step -------------------------------------------------------------------------------------------------

    def _step_of(self, exponent: int) -> float:
        return self.last * STEP_RATIO**-exponent

    def _first_exponent(self) -> int:
        """Exponent of a step over which the nonlinear term changes u by about a thousandth."""
        rate = float(self._sizes(self.slope).sum(axis=-1).max())
        rate = rate + 1 / self.last if np.isfinite(rate) else 1 / self.last
        return max(self._lowest_exponent(), exponent_of(1e-3 / (self.last * rate)))

    def _error_ratio(self, error: np.ndarray, step: float) -> float:
        """Estimated error of a step over the error allowed: its share of the tolerance for the time that it covers.

        A mode damped at the rate d forgets: an error r in each step adds up to r / (1 - e^(-d step)) and not to
        r * last / step, so each mode counts with 1 / (1 + (1 - e^(-d step)) last / step).
        """
        forgotten = -self.xp.expm1(self.damping * step) * (self.last / step)
        size = (self._sizes(error) / (1 + forgotten)).sum(axis=-1).max()
        return float(size / self._allowed(step))

    def _allowed(self, step: float) -> float:
        return self._scheme.allowance(self.settings.tolerance) * step / self.last

    def _refined(self, exponent: int, ratio: float) -> int:
        """Exponent of a smaller step after a rejected one, unless there is none."""
        exponent = after_rejection(exponent, ratio, self._scheme.order)
        if STEP_RATIO**-exponent < SMALLEST_STEP:
            sizes = to_host(abs(self.modes)).max(axis=(-2, -1))
            raise SolverDiverged(
                f"solve: {self.equation.name} diverged at t = {self.time:.6g} near sample "
                f"{self.names[np.argmax(sizes)]}: no step is small enough for `tolerance` "
                f"{self.settings.tolerance:.1e}. Either the solution blows up or the tolerance is below rounding."
            )
        return exponent

    def _coarsened(self, exponent: int, ratio: float) -> int:
        """Exponent of the step after an accepted one, within a factor of two."""
        return max(self._lowest_exponent(), after_acceptance(exponent, ratio, self._scheme.order))

    def _lowest_exponent(self) -> int:
        """Exponent of the longest step allowed."""
        return 0 if self.settings.max_step is None else exponent_of(self.settings.max_step / self.last)

    # ---- the grid -------------------------------------------------------------------------------------------------

    def _check_given(self) -> None:
        """Refuse an initial condition that its grid does not resolve, where nothing damps its top modes."""
        left = undamped_tail(to_host(self.given), self._symbol_on(self.data_grid), self.data_grid, self.last)
        sample = int(np.argmax(left))
        if left[sample] > self.settings.tolerance:
            raise UnresolvedError(
                f"solve: `u0` must be resolved by its grid, as {self.equation.name} does not damp its top modes; got "
                f"{self.data_grid.num_points} points, and the top eighth of the modes of sample {self.names[sample]} "
                f"has {left[sample]:.1e} of it (tolerance {self.settings.tolerance:.1e}). Use a smoother initial "
                f"condition, more points, a larger tolerance, or allow unresolved data."
            )

    def _drop(self) -> None:
        """Account for the modes of the initial condition above this grid.

        They are missing at the outputs as far as the linear part leaves them. Their effect on the other modes is the
        difference of the nonlinear terms now, for as long as the slowest of them lives.
        """
        data, above = self.data_grid, self.data_grid.modes_from(self.grid.num_points // 2)
        self.truncation_error = self._no_truncation_error()
        self.dropped, self.dropped_growth = abs(self.modes[..., :0]), self.damping[..., :0]
        if data.num_points <= self.grid.num_points:
            return
        dropped = abs(self.given[..., above]) * (2 / data.num_points**data.num_dims)
        dropped[dropped < ROUNDING * self.scale] = 0
        if not dropped.any():
            return
        self.dropped, growth = dropped, np.real(self._symbol_on(data))[..., above]
        self.dropped_growth = self.grid.asarray(growth)
        life = min(self.last, 0.5 / max(-float(growth.max()), 0.5 / self.last))
        self.truncation_error = abs(resized(self.given_slope, data, self.fine) - self._on_fine(self.slope)) * life

    def _dropped_left(self, time: float) -> np.ndarray:
        """(b, C), the modes dropped at the start as the linear part leaves them at ``time``, relative to the field."""
        return to_host((self.dropped * self.xp.exp(self.dropped_growth * time) / self.scale).sum(axis=-1))

    def _missed(self, output: float) -> np.ndarray:
        """(b, C), the truncation error so far as the linear part leaves it at ``output``, relative to the field."""
        left = self.truncation_error * self.xp.exp(self.fine_damping * (output - self.time))
        return to_host((left / (self.scale * (0.5 * self.fine.num_points**self.fine.num_dims))).sum(axis=-1))

    def _no_truncation_error(self) -> np.ndarray:
        return self.xp.zeros_like(self.scale * self.fine_damping)

    def _on_fine(self, modes: np.ndarray) -> np.ndarray:
        """The same field's modes on the grid of twice as many points."""
        return resized(modes, self.grid, self.fine)

    def _truncation_rate(self) -> np.ndarray:
        """|nonlinear term on twice as many points - nonlinear term here|, for each mode of the finer grid.

        It has the modes that this grid cannot represent, and the aliasing errors in the others. Rounding, which no grid
        makes smaller, is subtracted: nothing may damp it, and it grows as the grids do.
        """
        fine = self._on_fine(self.modes)
        slope = self._slope_on(fine, self.fine)
        rate = abs(slope - self._on_fine(self.slope))
        if self.noise is None:
            noise = abs(self._slope_on(self._rounded(fine), self.fine) - slope)
            self._check_rounding(to_host(noise) / ROUNDING_MARGIN)
            self.noise = noise.sum(axis=-1, keepdims=True)
        total = rate.sum(axis=-1, keepdims=True) + np.finfo(float).tiny
        return rate * (1 - self.noise / total).clip(0)

    def _rounded(self, fine: np.ndarray) -> np.ndarray:
        """Modes on the finer grid of the field with each value wrong by a multiple of half a unit in its last place."""
        signs = np.random.default_rng(0).choice([-1.0, 1.0], self.fine.shape)
        factors = self.grid.asarray(1 + ROUNDING_MARGIN * np.finfo(float).eps / 2 * signs)
        return self.fine.to_modes(self.fine.to_points(unflattened(fine, self.fine)) * factors).reshape(fine.shape)

    def _check_rounding(self, noise: np.ndarray) -> None:
        """Refuse a tolerance below the rounding that adds up in this grid's modes for as long as they live."""
        damping = -to_host(self.fine_damping)
        life = -np.expm1(-damping * self.last) / np.where(damping > 0, damping, 1)
        life = np.where(damping > 0, life, self.last)
        sizes = noise * life / to_host(self.scale) / (0.5 * self.fine.num_points**self.fine.num_dims)
        sizes[..., self.fine.modes_from(self.grid.num_points // 2)] = 0
        total = float(sizes.sum(axis=-1).max())
        if total > self.settings.tolerance and not self.settings.allow_unresolved:
            raise ValueError(
                f"solve: `tolerance` must be at least {2 * total:.0e} for {self.equation.name} up to t = "
                f"{self.last:.3g}: so far rounding adds up there; got {self.settings.tolerance:.1e}."
            )

    def _check_resolution(self, output: float) -> None:
        """Add up the truncation error since the last check, as the linear part damps it; go back and grow if needed."""
        rate, elapsed = self._truncation_rate(), self.time - self.kept_time
        left = self.xp.exp(self.fine_damping * elapsed)
        self.truncation_error = self.truncation_error * left + 0.5 * self._lasting(elapsed) * (self.kept_rate + rate)
        missed, tail = self._missed(output), self._tail_at_landing(output)
        if self._within(missed, GRID_SHARE) and self._within(tail, 1.0):
            smaller = self._points_enough() if self.may_shrink else self.grid.num_points
            if smaller < self.grid.num_points:
                self._shrink(smaller)
            else:
                self._keep_state(rate)
            return
        self.may_shrink &= not self.shrunk
        points, old = self._more_points(np.maximum(missed, tail)), self.grid
        self._use_grid(points)
        self._set(resized(self.kept_modes, old, self.grid), self.kept_time)
        earlier = [(step, resized(modes, old, self.grid)) for step, modes, _ in self.kept_past]
        self.past = tuple((step, modes, self._slope_of(modes)) for step, modes in earlier)
        self.truncation_error = self._no_truncation_error()
        self._keep_state()

    def _lasting(self, elapsed: float) -> np.ndarray | float:
        """Result of a rate of 1 over the time elapsed, damped by the linear part: (1 - e^(-d t)) / d.

        In one dimension the damping is left out: the checks are many, and a grid too large for a while costs less than
        one grown late.
        """
        if self.grid.num_dims == 1:
            return elapsed
        decay = (-self.fine_damping * elapsed).clip(1e-8)
        return -self.xp.expm1(-decay) / decay * elapsed

    def _points_enough(self) -> int:
        """Points of the smallest grid whose top eighth of modes, and all above it, are negligible now."""
        shells = by_shell(to_host(self._sizes(self.modes)), self.grid)
        above = np.cumsum(shells[..., ::-1], axis=-1).max(axis=(0, 1))[::-1]
        points = self.smallest
        while points < self.grid.num_points and not above[tail_start(points)] <= NEGLIGIBLE * self.budget:
            points = next_points(points)
        return points

    def _shrink(self, points: int) -> None:
        """Drop the modes above a smaller grid: with the error above its finer grid they are truncation error."""
        old, old_fine, modes = self.grid, self.fine, self.modes
        above = old.modes_from(points // 2)
        lost = self.xp.zeros_like(modes)
        lost[..., above] = modes[..., above]
        error = self.truncation_error + abs(self._on_fine(lost))
        beyond = error[..., old_fine.modes_from(points + 1)].sum(axis=-1) * (points / old.num_points) ** old.num_dims
        self._use_grid(points)
        self.past = tuple((h, resized(m, old, self.grid), resized(n, old, self.grid)) for h, m, n in self.past)
        self.truncation_error = resized(error, old_fine, self.fine)
        self.truncation_error[..., points] += (
            beyond  # of all modes of the top shell, those along an axis are damped least
        )
        self.shrunk = True
        self._set(resized(modes, old, self.grid), self.time)
        self._keep_state()

    def _keep_state(self, rate: np.ndarray | None = None) -> None:
        """Keep the state as the one to go back to."""
        self.kept_modes, self.kept_time, self.kept_past, self.steps = self.modes, self.time, self.past, 0
        self.kept_rate = self._truncation_rate() if rate is None else rate

    def _within(self, missed: np.ndarray, share: float) -> bool:
        """Whether the error is within this share of the budget; the largest grid may take all of it."""
        largest = self.grid.num_points == self.limit
        return (largest and self.settings.allow_unresolved) or bool(
            missed.max() <= (1 if largest else share) * self.budget
        )

    def _more_points(self, missed: np.ndarray) -> int:
        """Points of the next larger grid."""
        points = self.grid.num_points
        if points < self.limit:
            return min(self.limit, next_points(points))
        worst = missed.max(axis=-1)
        sample = int(np.argmax(np.where(np.isnan(worst), np.inf, worst)))
        raise UnresolvedError(
            f"solve: `grid` must resolve the solution of {self.equation.name} with {dict(self.equation.parameters)}; "
            f"got {self.data_grid.num_points} points, and {points} still leave {worst[sample]:.1e} of sample "
            f"{self.names[sample]} in their top modes at t = {self.time:.3g} (tolerance "
            f"{self.settings.tolerance:.1e}). Use at least {points} points, a larger tolerance, or allow unresolved "
            f"data."
        )

    def _tail(self, time: float) -> np.ndarray:
        """The top eighth of the modes and the rest of those dropped at the start, relative to the field."""
        top = self.grid.modes_from(tail_start(self.grid.num_points))
        return to_host(self._sizes(self.modes)[..., top].sum(axis=-1)) + self._dropped_left(time)

    def _tail_at_landing(self, output: float) -> np.ndarray:
        """The tail at an output, else zeros: going back to the last check is enough, as the truncation error was small.

        In one dimension a restart costs little, and is more cautious.
        """
        if self.grid.num_dims == 1 or self.time < output:
            return np.zeros(self.modes.shape[:-1])
        return self._tail(output)

    def _check_tail(self, time: float) -> None:
        """Start again on a larger grid unless the top eighth of the modes is small at an output."""
        tail = self._tail(time)
        if not self._within(tail, 1.0):
            raise TailTooLarge(self._more_points(tail))
