"""One chunk of samples through time: the step follows the error estimate, the grid follows the solution."""

from __future__ import annotations

import numpy as np

from data_gen.equation import Equation
from data_gen.errors import SolverDiverged
from data_gen.grids.periodic import PeriodicGrid
from data_gen.solvers.adaptive_grid import unflattened
from data_gen.solvers.discretization import Discretization
from data_gen.solvers.resolution_monitor import ResolutionMonitor
from data_gen.solvers.schemes import SCHEMES, Scheme
from data_gen.solvers.settings import Settings
from data_gen.solvers.states import PastStep, State
from data_gen.solvers.step_controller import Step, StepController
from data_gen.stepping.device import to_host


class Integrator:
    """u_t = L u + N(u) for one chunk of samples.

    A scheme attempts a step, the controller accepts or rejects it, and every few steps the monitor checks the grid.

    Args:
        equation: an equation with a nonlinear term.
        grid: the grid of ``u0``.
        u0: ``(b, C, *N)``.
        times: increasing output times, the last one above 0.
        settings: scheme and limits.
        names: (b,), numbers of the samples in messages.

    Attributes:
        law: the equation on the adaptive grid.
        state: the samples at the time reached.
    """

    law: Discretization
    state: State

    def __init__(
        self,
        equation: Equation,
        grid: PeriodicGrid,
        u0: np.ndarray,
        times: tuple[float, ...],
        settings: Settings,
        names: np.ndarray,
    ) -> None:
        self.scheme, self.names = settings.scheme, names
        outputs = tuple(t for t in times if t > 0)
        self.controller = StepController(settings, times[-1])
        modes = grid.to_modes(grid.asarray(u0)).reshape(*u0.shape[:2], -1)
        self.monitor = ResolutionMonitor(Discretization(equation, grid), modes, outputs, settings, names)

    @np.errstate(over="ignore", invalid="ignore")
    def start(self, points: int) -> None:
        """Go to time 0, on the smallest grid from ``points`` up that resolves the initial condition well enough."""
        self.law, self.state = self.monitor.start(points)
        self.exponent: int | None = None
        self.steps = 0

    @np.errstate(over="ignore", invalid="ignore")  # a step that overflows is rejected
    def advance(self, time: float) -> np.ndarray:
        """``(b, C, *K)``, modes at ``time`` on the adaptive grid, which may have grown."""
        while self.state.time < time:
            law, state, scheme = self.law, self.state, self._scheme_from(self.state)
            exponent = self.controller.first_exponent(law, state) if self.exponent is None else self.exponent
            step = self.controller.step(exponent, time - state.time)
            modes, error = self._attempt(scheme, step.size)
            ratio = self.controller.error_ratio(law, state, scheme, error, step)
            if not ratio <= 1:
                self.exponent = self._refined(step, ratio, scheme)
                continue
            self.state = self._after(step, modes, time)
            self.exponent = self.controller.coarsened(step, ratio, self._scheme_from(self.state))
            self.steps += 1
            if step.landing or self.steps >= self.monitor.check_every:
                self.law, self.state = self.monitor.check(law, self.state, time)
                self.steps = 0
        self.monitor.check_output(self.law, self.state)
        return unflattened(self.state.modes, self.law.grid)

    def _scheme_from(self, state: State) -> Scheme:
        """The scheme of the next step: the starter until there are as many past points as the requested one needs."""
        return self.scheme if len(state.past) >= self.scheme.memory else SCHEMES[self.scheme.starter]

    def _attempt(self, scheme: Scheme, size: float) -> tuple[np.ndarray, np.ndarray]:
        """u(t + h), and its estimated error."""
        law, state = self.law, self.state
        past = ([(point.size, point.slope) for point in state.past],) if scheme.memory else ()
        return scheme.attempt(law.symbol, size, state.modes, state.slope, law.nonlinear, *past)

    def _after(self, step: Step, modes: np.ndarray, output: float) -> State:
        """The state after an accepted step."""
        state = self.state
        past = (PastStep(step.size, state.modes, state.slope), *state.past)[: self.scheme.memory]
        return self.law.state(output if step.landing else state.time + step.size, modes, past)

    def _refined(self, step: Step, ratio: float, scheme: Scheme) -> int:
        """Exponent of a smaller step after a rejected one.

        Raises:
            SolverDiverged: there is none.
        """
        exponent = self.controller.refined(step, ratio, scheme)
        if exponent is None:
            sizes = to_host(abs(self.state.modes)).max(axis=(-2, -1))
            raise SolverDiverged(
                f"solve: {self.law.equation.name} diverged at t = {self.state.time:.6g} near sample "
                f"{self.names[np.argmax(sizes)]}: no step is small enough for `tolerance` "
                f"{self.controller.settings.tolerance:.1e}. Either the solution blows up or the tolerance is below "
                f"rounding."
            )
        return exponent
