"""The resolution monitor: whether the adaptive grid resolves the solution, and the grid to go on with."""

from __future__ import annotations

import numpy as np

from data_gen.errors import UnresolvedError, with_parameters
from data_gen.grids.periodic import tail_start
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
from data_gen.solvers.discretization import Discretization
from data_gen.solvers.settings import Settings
from data_gen.solvers.states import Checkpoint, Dropped, PastStep, State
from data_gen.solvers.step_controller import ROUNDING
from data_gen.stepping.device import namespace, to_host

#: Share of the tolerance that the modes dropped may take.
TAIL_SHARE = 0.1
#: Share of that for each adaptive grid: they add up, and the field they are relative to may decay later.
GRID_SHARE = 0.25
#: A difference of nonlinear terms below this multiple of the effect of rounding u is rounding, not truncation error.
ROUNDING_MARGIN = 16
#: Share of it for the modes that a smaller grid would drop, so that it need not grow again at once.
NEGLIGIBLE = 0.05


class ResolutionMonitor:
    """Estimates the truncation error of the adaptive grid, and exchanges the grid where it is too large or too small.

    Args:
        law: the equation on the data's grid.
        modes: those of the initial condition there, (b, C, M).
        outputs: output times above 0.
        settings: tolerance, and whether to go on unresolved.
        names: (b,), numbers of the samples in messages.

    Attributes:
        truncation_error: the estimate so far, for each mode of the finer grid, as the linear part damps it.
    """

    checkpoint: Checkpoint
    truncation_error: np.ndarray
    dropped: Dropped

    def __init__(
        self,
        law: Discretization,
        modes: np.ndarray,
        outputs: tuple[float, ...],
        settings: Settings,
        names: np.ndarray,
    ) -> None:
        self.data, self.given, self.given_slope = law, modes, law.nonlinear(modes)
        self.first_output, self.last = outputs[0], outputs[-1]
        self.settings, self.names = settings, names
        self.defaults = DIMENSION_DEFAULTS[law.grid.num_dims]
        self.check_every = max(self.defaults.check_every, settings.scheme.check_every)
        self.limit = max(GROWTH_LIMIT * law.grid.num_points, self.defaults.min_limit)
        self.budget = TAIL_SHARE * settings.tolerance

    def start(self, points: int) -> tuple[Discretization, State]:
        """The law and the initial state on the smallest grid from ``points`` up that resolves it well enough.

        The grid never shrinks below ``points`` again: an integration restarted on more points must not end on fewer.

        Raises:
            UnresolvedError: the data's grid does not resolve the initial condition, or no grid allowed does.
        """
        self.smallest, self.may_shrink, self.shrunk = points, True, False
        if not self.settings.allow_unresolved:
            self._check_given()
        while True:
            law = self.data.on(min(points, self.limit))
            state = law.state(0.0, resized(self.given, self.data.grid, law.grid))
            self._drop(law, state)
            missed = self._missed(law, state, self.first_output) + self._dropped_left(state, self.first_output)
            if self._within(law, missed, GRID_SHARE):
                break
            points = self._more_points(law, state, missed)
        self._keep(law, state)
        return law, state

    def check(self, law: Discretization, state: State, output: float) -> tuple[Discretization, State]:
        """Add up the truncation error since the last check, as the linear part damps it.

        Returns:
            The law and the state to continue from. They are the same, those on a smaller grid, or those of the last
            check on a larger one.

        Raises:
            UnresolvedError: no grid allowed resolves the solution.
        """
        elapsed, before = state.time - self.checkpoint.state.time, self.checkpoint
        rate = self._truncation_rate(law, state, before.noise)
        left = namespace(law.fine_damping).exp(law.fine_damping * elapsed)
        lasting = lasting_share(law, elapsed)
        self.truncation_error = self.truncation_error * left + 0.5 * lasting * (before.truncation_rate + rate)
        missed, tail = self._missed(law, state, output), self._tail_at_landing(law, state, output)
        if not (self._within(law, missed, GRID_SHARE) and self._within(law, tail, 1.0)):
            return self._grow(law, self._more_points(law, state, np.maximum(missed, tail)))
        smaller = self._points_enough(law, state) if self.may_shrink else law.grid.num_points
        if smaller < law.grid.num_points:
            return self._shrink(law, state, smaller)
        self.checkpoint = Checkpoint(state, rate, before.noise)
        return law, state

    def check_output(self, law: Discretization, state: State) -> None:
        """Start again on a larger grid unless the top eighth of the modes is small at an output.

        Raises:
            TailTooLarge: it is not.
        """
        tail = self._tail(law, state, state.time)
        if not self._within(law, tail, 1.0):
            raise TailTooLarge(self._more_points(law, state, tail))

    # ---- the initial condition ------------------------------------------------------------------------------------

    def _check_given(self) -> None:
        """Refuse an initial condition that its grid does not resolve, where nothing damps its top modes."""
        grid, equation = self.data.grid, self.data.equation
        left = undamped_tail(to_host(self.given), self.data.symbol, grid, self.last)
        sample = int(np.argmax(left))
        if left[sample] > self.settings.tolerance:
            raise UnresolvedError(
                f"solve: `u0` must be resolved by its grid, as {equation.name} does not damp its top modes; got "
                f"{grid.num_points} points, and the top eighth of the modes of sample {self.names[sample]} "
                f"has {left[sample]:.1e} of it (tolerance {self.settings.tolerance:.1e}). Use a smoother initial "
                f"condition, more points, a larger tolerance, or allow unresolved data."
            )

    def _drop(self, law: Discretization, state: State) -> None:
        """Account for the modes of the initial condition above this grid.

        They are missing at the outputs as far as the linear part leaves them. Their effect on the other modes is the
        difference of the nonlinear terms now, for as long as the slowest of them lives.
        """
        data, above = self.data.grid, self.data.grid.modes_from(law.grid.num_points // 2)
        self.truncation_error = _no_truncation_error(law, state)
        self.dropped = Dropped(abs(state.modes[..., :0]), law.damping[..., :0])
        if data.num_points <= law.grid.num_points:
            return
        sizes = abs(self.given[..., above]) * (2 / data.size)
        sizes[sizes < ROUNDING * state.scale] = 0
        if not sizes.any():
            return
        growth = np.real(symbol_on(law.equation, data))[..., above]
        self.dropped = Dropped(sizes, law.grid.asarray(growth))
        life = min(self.last, 0.5 / max(-float(growth.max()), 0.5 / self.last))
        self.truncation_error = abs(resized(self.given_slope, data, law.fine) - law.to_fine(state.slope)) * life

    def _dropped_left(self, state: State, time: float) -> np.ndarray:
        """(b, C), the modes dropped at the start as the linear part leaves them at ``time``, relative to the field."""
        sizes, growth = self.dropped.sizes, self.dropped.growth
        return to_host((sizes * namespace(growth).exp(growth * time) / state.scale).sum(axis=-1))

    # ---- the truncation error -------------------------------------------------------------------------------------

    def _keep(self, law: Discretization, state: State) -> None:
        """Keep the first state on a grid as the one to go back to."""
        fine = law.to_fine(state.modes)
        slope = law.nonlinear_on_fine(fine)
        noise = abs(law.nonlinear_on_fine(_rounded(fine, law)) - slope)
        self._check_rounding(law, state, to_host(noise) / ROUNDING_MARGIN)
        noise = noise.sum(axis=-1, keepdims=True)
        self.checkpoint = Checkpoint(state, _rate(abs(slope - law.to_fine(state.slope)), noise), noise)

    def _truncation_rate(self, law: Discretization, state: State, noise: np.ndarray) -> np.ndarray:
        """``|nonlinear term on twice as many points - nonlinear term here|``, for each mode of the finer grid.

        It has the modes that this grid cannot represent, and the aliasing errors in the others. Rounding, which no grid
        makes smaller, is subtracted: nothing may damp it, and it grows as the grids do.
        """
        slope = law.nonlinear_on_fine(law.to_fine(state.modes))
        return _rate(abs(slope - law.to_fine(state.slope)), noise)

    def _missed(self, law: Discretization, state: State, output: float) -> np.ndarray:
        """(b, C), the truncation error so far as the linear part leaves it at ``output``, relative to the field."""
        left = self.truncation_error * namespace(law.fine_damping).exp(law.fine_damping * (output - state.time))
        return to_host((left / (state.scale * (0.5 * law.fine.size))).sum(axis=-1))

    def _check_rounding(self, law: Discretization, state: State, noise: np.ndarray) -> None:
        """Refuse a tolerance below the rounding that adds up in this grid's modes for as long as they live."""
        damping = -to_host(law.fine_damping)
        life = -np.expm1(-damping * self.last) / np.where(damping > 0, damping, 1)
        life = np.where(damping > 0, life, self.last)
        sizes = noise * life / to_host(state.scale) / (0.5 * law.fine.size)
        sizes[..., law.fine.modes_from(law.grid.num_points // 2)] = 0
        total = float(sizes.sum(axis=-1).max())
        if total > self.settings.tolerance and not self.settings.allow_unresolved:
            raise ValueError(
                f"solve: `tolerance` must be at least {2 * total:.0e} for {law.equation.name} up to t = "
                f"{self.last:.3g}: so far rounding adds up there; got {self.settings.tolerance:.1e}."
            )

    def _tail(self, law: Discretization, state: State, time: float) -> np.ndarray:
        """The top eighth of the modes and the rest of those dropped at the start, relative to the field."""
        top = law.grid.modes_from(tail_start(law.grid.num_points))
        sizes = law.sizes(state.modes, state.scale)[..., top]
        return to_host(sizes.sum(axis=-1)) + self._dropped_left(state, time)

    def _tail_at_landing(self, law: Discretization, state: State, output: float) -> np.ndarray:
        """The tail at an output, else zeros: going back to the last check is enough, as the truncation error was small.

        In one dimension a restart costs little, and is more cautious.
        """
        if law.grid.num_dims == 1 or state.time < output:
            return np.zeros(state.modes.shape[:-1])
        return self._tail(law, state, output)

    # ---- the grid -------------------------------------------------------------------------------------------------

    def _grow(self, law: Discretization, points: int) -> tuple[Discretization, State]:
        """Go back to the last check, on a larger grid."""
        self.may_shrink &= not self.shrunk
        kept, old, law = self.checkpoint.state, law.grid, law.on(points)
        earlier = [(point.size, resized(point.modes, old, law.grid)) for point in kept.past]
        past = tuple(PastStep(size, modes, law.nonlinear(modes)) for size, modes in earlier)
        state = law.state(kept.time, resized(kept.modes, old, law.grid), past)
        self.truncation_error = _no_truncation_error(law, state)
        self._keep(law, state)
        return law, state

    def _shrink(self, law: Discretization, state: State, points: int) -> tuple[Discretization, State]:
        """Drop the modes above a smaller grid: with the error above its finer grid they are truncation error."""
        old, law = law, law.on(points)
        above = old.grid.modes_from(points // 2)
        lost = namespace(state.modes).zeros_like(state.modes)
        lost[..., above] = state.modes[..., above]
        error = self.truncation_error + abs(old.to_fine(lost))
        alike = (points / old.grid.num_points) ** old.grid.num_dims
        share = law.grid.size / old.grid.size if law.grid.counts else alike
        beyond = error[..., old.fine.modes_from(points + 1)].sum(axis=-1) * share
        self.truncation_error = resized(error, old.fine, law.fine)
        self.truncation_error[..., law.fine.shape[-1] // 2] += (
            beyond  # of all modes of the top shell, those along an axis are damped least
        )
        self.shrunk = True
        past = tuple(
            PastStep(p.size, resized(p.modes, old.grid, law.grid), resized(p.slope, old.grid, law.grid))
            for p in state.past
        )
        state = law.state(state.time, resized(state.modes, old.grid, law.grid), past)
        self._keep(law, state)
        return law, state

    def _points_enough(self, law: Discretization, state: State) -> int:
        """Points of the smallest grid whose top eighth of modes, and all above it, are negligible now."""
        shells = by_shell(to_host(law.sizes(state.modes, state.scale)), law.grid)
        above = np.cumsum(shells[..., ::-1], axis=-1).max(axis=(0, 1))[::-1]
        points = self.smallest
        while points < law.grid.num_points and not above[tail_start(points)] <= NEGLIGIBLE * self.budget:
            points = next_points(points)
        return points

    def _within(self, law: Discretization, missed: np.ndarray, share: float) -> bool:
        """Whether the error is within this share of the budget; the largest grid may take all of it."""
        largest = law.grid.num_points == self.limit
        return (largest and self.settings.allow_unresolved) or bool(
            missed.max() <= (1 if largest else share) * self.budget
        )

    def _more_points(self, law: Discretization, state: State, missed: np.ndarray) -> int:
        """Points of the next larger grid.

        Raises:
            UnresolvedError: there is none.
        """
        points, equation = law.grid.num_points, law.equation
        if points < self.limit:
            return min(self.limit, next_points(points))
        worst = missed.max(axis=-1)
        sample = int(np.argmax(np.where(np.isnan(worst), np.inf, worst)))
        raise UnresolvedError(
            f"solve: `grid` must resolve the solution of {equation.name}"
            f"{with_parameters(equation.parameters_of(sample))}; got {self.data.grid.num_points} points, and "
            f"{points} still leave {worst[sample]:.1e} of sample "
            f"{self.names[sample]} in their top modes at t = {state.time:.3g} (tolerance "
            f"{self.settings.tolerance:.1e}). Use at least {points} points, a larger tolerance, or allow unresolved "
            f"data."
        )


def lasting_share(law: Discretization, elapsed: float) -> np.ndarray | float:
    """Result of a rate of 1 over the time elapsed, damped by the linear part: (1 - e^(-d t)) / d.

    In one dimension the damping is left out: the checks are many, and a grid too large for a while costs less than one
    grown late.
    """
    if law.grid.num_dims == 1:
        return elapsed
    decay = (-law.fine_damping * elapsed).clip(1e-8)
    return -namespace(decay).expm1(-decay) / decay * elapsed


def _no_truncation_error(law: Discretization, state: State) -> np.ndarray:
    return namespace(state.scale).zeros_like(state.scale * law.fine_damping)


def _rate(difference: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The difference of two nonlinear terms without the part that is rounding."""
    total = difference.sum(axis=-1, keepdims=True) + np.finfo(float).tiny
    return difference * (1 - noise / total).clip(0)


def _rounded(fine: np.ndarray, law: Discretization) -> np.ndarray:
    """Modes on the finer grid of the field with each value wrong by a multiple of half a unit in its last place."""
    signs = np.random.default_rng(0).choice([-1.0, 1.0], law.fine.shape)
    factors = law.grid.asarray(1 + ROUNDING_MARGIN * np.finfo(float).eps / 2 * signs)
    return law.fine.to_modes(law.fine.to_points(unflattened(fine, law.fine)) * factors).reshape(fine.shape)
