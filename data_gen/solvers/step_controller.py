"""The step controller: the size of the next step from the error estimate of the last one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from data_gen.solvers.discretization import Discretization
from data_gen.solvers.schemes import Scheme
from data_gen.solvers.settings import Settings
from data_gen.solvers.states import State
from data_gen.solvers.step_exponents import SMALLEST_STEP, STEP_RATIO, after_acceptance, after_rejection, exponent_of

#: Below this, relative to the field, an estimate or a mode of the initial condition is taken for rounding.
ROUNDING = 16 * float(np.finfo(float).eps)


class Step(NamedTuple):
    """A step to be tried.

    Args:
        size: h.
        exponent: that of the step which the controller wants; a landing may be shorter.
        landing: whether it ends at the output time.
    """

    size: float
    exponent: int
    landing: bool


@dataclass(frozen=True)
class StepController:
    """Chooses the steps h = T STEP_RATIO^-j of an integration to time T, j the step exponent.

    Args:
        settings: tolerance and largest step.
        duration: T.
    """

    settings: Settings
    duration: float

    def first_exponent(self, law: Discretization, state: State) -> int:
        """Exponent of a step over which the nonlinear term changes u by about a thousandth."""
        rate = float(law.sizes(state.slope, state.scale).sum(axis=-1).max())
        rate = rate + 1 / self.duration if np.isfinite(rate) else 1 / self.duration
        return max(self._lowest_exponent, exponent_of(1e-3 / (self.duration * rate)))

    def step(self, exponent: int, remaining: float) -> Step:
        """The step of an exponent, or the one that lands on the output time."""
        size = self.duration * STEP_RATIO**-exponent
        landing = size >= remaining * (1 - 1e-12)
        return Step(remaining if landing else size, exponent, landing)

    def error_ratio(self, law: Discretization, state: State, scheme: Scheme, error: np.ndarray, step: Step) -> float:
        """Estimated error of a step over the error allowed: its share of the tolerance for the time that it covers.

        A mode damped at the rate d forgets: an error r in each step adds up to r / (1 - e^(-d h)) and not to r T / h,
        so each mode counts with 1 / (1 + (1 - e^(-d h)) T / h). Rounding does not stop a landing.
        """
        sizes = law.sizes(error, state.scale)
        sizes /= law.forgetting(step.size, self.duration)
        size = sizes.sum(axis=-1).max()
        allowed = scheme.allowance(self.settings.tolerance) * step.size / self.duration
        ratio = float(size / allowed)
        return 0.0 if step.landing and ratio * allowed < ROUNDING else ratio

    def refined(self, step: Step, ratio: float, scheme: Scheme) -> int | None:
        """Exponent of a smaller step after a rejected one; None where there is none."""
        tried = exponent_of(step.size / self.duration) if step.landing else step.exponent
        exponent = after_rejection(tried, ratio, scheme.order)
        return None if STEP_RATIO**-exponent < SMALLEST_STEP else exponent

    def coarsened(self, step: Step, ratio: float, scheme: Scheme) -> int:
        """Exponent of the step after an accepted one, within a factor of two; a landing says nothing about it."""
        if step.landing:
            return step.exponent
        return max(self._lowest_exponent, after_acceptance(step.exponent, ratio, scheme.order))

    @property
    def _lowest_exponent(self) -> int:
        """Exponent of the longest step allowed."""
        largest = self.settings.max_step
        return 0 if largest is None else exponent_of(largest / self.duration)
