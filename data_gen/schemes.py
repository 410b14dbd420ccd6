"""The time-stepping schemes by name: what each attempts in one step, and how its error estimate is to be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from data_gen.adams import POINTS, Weights, adams_step, phi_functions, weights
from data_gen.equations import Equation
from data_gen.etdrk import Coefficients, coefficients, etdrk4_step
from data_gen.grid import PeriodicGrid
from data_gen.lawson import Factors, factors, lawson_step

Nonlinear = Callable[[np.ndarray], np.ndarray]

#: Slopes of a multistep scheme closer than this part of a step are one: their difference is mostly rounding.
CLOSEST = 0.05


@dataclass(frozen=True)
class Scheme:
    """A scheme with an error estimate; one of several steps starts with another.

    Args:
        name: its name as a ``method``.
        attempt: (symbol, step, modes, slope, nonlinear) -> modes after the step and the estimated error of them; a
            scheme with a memory is handed the past as well, (step taken from there, slope there), newest first.
        order: the estimate divided by the step falls as step^order; what is kept is better by one order.
        share: factor of the allowance below; measured, so that every sample of the tests keeps to the tolerance.
        memory: past points that it needs; until there are so many, ``starter`` steps.
        starter: name of the scheme without memory that makes the first steps.
        look_every: steps between two looks at what the coarse grid misses.
    """

    name: str
    attempt: Callable[..., tuple[np.ndarray, np.ndarray]]
    order: int
    share: float
    memory: int = 0
    starter: str = ""
    look_every: int = 4

    def allowance(self, tolerance: float) -> float:
        """What the estimates of a march may add up to: share * tolerance^(order / (order + 1)).

        They are of the lower order, E = c h^order, and the error of what is kept is of the next, C h^(order + 1), so
        that it falls faster than its estimate as the tolerance does.
        """
        return self.share * tolerance ** (self.order / (self.order + 1))


def fastest_scheme(equation: Equation) -> str:
    """The fastest scheme proven for an equation.

    "lawson7" where the symbol is real and of second order at most. An imaginary part turns the integrating factor into
    an oscillation, and damping as k^4 into a decay, that its steps would have to follow; "adams6" integrates both
    exactly, with a fifth to a twentieth of the evaluations of "etdrk4" there.
    """
    if equation.nonlinear is None:
        return "etdrk4"
    low, high = (equation.symbol(*PeriodicGrid(n, equation.extent, equation.num_dims).wavevector) for n in (256, 512))
    second_order = np.abs(high).max() <= 5 * np.abs(low).max()
    return "lawson7" if np.isrealobj(high) and second_order else "adams6"


def _attempt_etdrk4(
    symbol: np.ndarray, step: float, modes: np.ndarray, slope: np.ndarray, nonlinear: Nonlinear
) -> tuple[np.ndarray, np.ndarray]:
    """Two half steps improved by Richardson's extrapolation with a whole one."""
    whole, half = _step_pair(symbol.tobytes(), symbol.dtype.str, step)
    once = etdrk4_step(modes, slope, nonlinear, whole)
    twice = etdrk4_step(modes, slope, nonlinear, half)
    twice = etdrk4_step(twice, nonlinear(twice), nonlinear, half)
    error = np.subtract(twice, once, out=once)
    error /= 15
    twice += error
    return twice, error


def _attempt_lawson(
    symbol: np.ndarray, step: float, modes: np.ndarray, slope: np.ndarray, nonlinear: Nonlinear
) -> tuple[np.ndarray, np.ndarray]:
    return lawson_step(modes, slope, nonlinear, _step_factors(symbol.tobytes(), symbol.dtype.str, step))


def _attempt_adams(
    symbol: np.ndarray,
    step: float,
    modes: np.ndarray,
    slope: np.ndarray,
    nonlinear: Nonlinear,
    past: Sequence[tuple[float, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """A step through the last slopes; one too close to the next to tell them apart is left out."""
    nodes, slopes, place = [0.0], [slope], 0.0
    for taken, old in past:
        place -= taken / step
        if nodes[-1] - place >= CLOSEST:
            nodes.append(place)
            slopes.append(old)
    w = _step_weights(symbol.tobytes(), symbol.dtype.str, step, tuple(nodes))
    return adams_step(modes, slopes, nonlinear, w)


@lru_cache(maxsize=256)
def _step_weights(symbol: bytes, dtype: str, step: float, nodes: tuple[float, ...]) -> Weights:
    return weights(step * np.frombuffer(symbol, dtype=dtype), _step_phi(symbol, dtype, step), step, nodes)


@lru_cache(maxsize=64)
def _step_phi(symbol: bytes, dtype: str, step: float) -> np.ndarray:
    return phi_functions(step * np.frombuffer(symbol, dtype=dtype), POINTS + 1)


@lru_cache(maxsize=256)
def _step_pair(symbol: bytes, dtype: str, step: float) -> tuple[Coefficients, Coefficients]:
    values = np.frombuffer(symbol, dtype=dtype)
    return coefficients(values, step), coefficients(values, step / 2)


@lru_cache(maxsize=64)
def _step_factors(symbol: bytes, dtype: str, step: float) -> Factors:
    return factors(np.frombuffer(symbol, dtype=dtype), step)


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "lawson7": Scheme("lawson7", _attempt_lawson, order=6, share=2.8),
        "etdrk4": Scheme("etdrk4", _attempt_etdrk4, order=4, share=0.2),
        "adams6": Scheme(
            "adams6", _attempt_adams, order=POINTS, share=2.0, memory=POINTS - 1, starter="etdrk4", look_every=16
        ),
    }
)
