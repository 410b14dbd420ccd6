"""The time-stepping schemes by name: an attempt at one step, and the order of its error estimate."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from threading import Lock
from types import MappingProxyType
from typing import Generic, TypeVar

import numpy as np

from data_gen.equation import Equation
from data_gen.grids.periodic import PeriodicGrid
from data_gen.stepping.device import device_of, namespace, place
from data_gen.stepping.etdrk4 import Coefficients, coefficients, etdrk4_step
from data_gen.stepping.exponential_adams import POINTS, adams_step, phi_functions, weights
from data_gen.stepping.lawson import Factors, factors, lawson_step

Nonlinear = Callable[[np.ndarray], np.ndarray]
T = TypeVar("T")
P = TypeVar("P", Coefficients, Factors)
#: Bytes that the coefficients of one scheme's steps may take: 20 steps of ETDRK4 on 256 x 256 points.
CACHE_BYTES = 2**26

#: Slopes of a multistep scheme closer than this part of a step are one: their difference is mostly rounding.
CLOSEST = 0.05


@dataclass(frozen=True)
class Scheme:
    """A scheme with an error estimate; one of several steps starts with another.

    Args:
        name: its name as a ``method``.
        attempt: (symbol, step, modes, slope, nonlinear) -> modes after the step and the estimated error of them; a
            scheme with a memory is handed the past as well, (step taken from there, slope there), newest first.
        order: the estimate divided by the step falls as step^order; the result is better by one order.
        share: factor of the allowance below; measured, so that every sample of the tests meets the tolerance.
        memory: past points that it needs; until there are so many, ``starter`` steps.
        starter: name of the scheme without memory that makes the first steps.
        check_every: steps between two checks of the resolution.
    """

    name: str
    attempt: Callable[..., tuple[np.ndarray, np.ndarray]]
    order: int
    share: float
    memory: int = 0
    starter: str = ""
    check_every: int = 4

    def allowance(self, tolerance: float) -> float:
        """Largest sum of the error estimates: share * tolerance^(order / (order + 1)).

        They are of the lower order, E = c h^order, and the error of the result is of the next, C h^(order + 1), so that
        it falls faster than its estimate as the tolerance does.
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
    low, high = (_largest_waves(equation, n) for n in (256, 512))
    second_order = np.abs(high).max() <= 5 * np.abs(low).max()
    return "lawson7" if np.isrealobj(high) and second_order else "adams6"


def _largest_waves(equation: Equation, num_points: int) -> np.ndarray:
    """The symbol at every few modes of a grid, those of the largest wavenumbers among them."""
    waves = PeriodicGrid(num_points, equation.extent, equation.num_dims).wavevector
    return equation.symbol(*[k[:: num_points // 32] for k in waves])


def _attempt_etdrk4(
    symbol: np.ndarray, step: float, modes: np.ndarray, slope: np.ndarray, nonlinear: Nonlinear
) -> tuple[np.ndarray, np.ndarray]:
    """Two half steps improved by Richardson's extrapolation with a whole one."""
    whole, half = _step_pairs(symbol, step, device_of(modes))
    once = etdrk4_step(modes, slope, nonlinear, whole)
    twice = etdrk4_step(modes, slope, nonlinear, half)
    twice = etdrk4_step(twice, nonlinear(twice), nonlinear, half)
    error = namespace(modes).subtract(twice, once, out=once)
    error /= 15
    twice += error
    return twice, error


def _attempt_lawson(
    symbol: np.ndarray, step: float, modes: np.ndarray, slope: np.ndarray, nonlinear: Nonlinear
) -> tuple[np.ndarray, np.ndarray]:
    return lawson_step(modes, slope, nonlinear, _step_factors(symbol, step, device_of(modes)))


def _attempt_adams(
    symbol: np.ndarray,
    step: float,
    modes: np.ndarray,
    slope: np.ndarray,
    nonlinear: Nonlinear,
    past: Sequence[tuple[float, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray]:
    """A step through the last slopes; one too close to the next to be distinguishable is left out."""
    nodes, slopes, place = [0.0], [slope], 0.0
    for taken, old in past:
        place -= taken / step
        if nodes[-1] - place >= CLOSEST:
            nodes.append(place)
            slopes.append(old)
    return adams_step(modes, slopes, nonlinear, _step_weights(symbol, step, tuple(nodes)))


class StepCache(Generic[T]):
    """Coefficients ``make(symbol, step, ...)`` of steps; those used last are kept, up to ``limit`` bytes."""

    def __init__(self, make: Callable[..., T], limit: int = CACHE_BYTES) -> None:
        self.make, self.limit, self.lock = make, limit, Lock()
        self.kept: dict[tuple, T] = {}  # the one used last is last
        self.bytes = 0

    def __call__(self, symbol: np.ndarray, step: float, *others: Hashable) -> T:
        key = (symbol.tobytes(), symbol.dtype.str, symbol.shape, step, *others)
        with self.lock:
            value = self.kept.pop(key, None)
            if value is None:
                value = self.make(symbol, step, *others)
                self.bytes += symbol.nbytes + _array_bytes(value)
            self.kept[key] = value
            while self.bytes > self.limit and len(self.kept) > 1:
                oldest = next(iter(self.kept))
                self.bytes -= len(oldest[0]) + _array_bytes(self.kept.pop(oldest))
        return value


def _array_bytes(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    parts = value if isinstance(value, tuple) else (value,)
    return sum(getattr(array, "nbytes", 0) for part in parts for array in vars(part).values())


def _placed(found: P, device: str) -> P:
    """The same coefficients on a device."""
    if not device:
        return found
    arrays = {name: place(array, device) for name, array in vars(found).items() if isinstance(array, np.ndarray)}
    return replace(found, **arrays)


def _make_pair(symbol: np.ndarray, step: float, device: str) -> tuple[Coefficients, Coefficients]:
    """Coefficients of a step and of half of it; in two dimensions most values of a symbol occur several times."""
    values, places = np.unique(symbol, return_inverse=True)
    pair = []
    for size in (step, step / 2):
        found = coefficients(values, size)
        arrays = {f.name: getattr(found, f.name)[places].reshape(symbol.shape) for f in fields(found)[1:]}
        pair.append(_placed(Coefficients(size, **arrays), device))
    return pair[0], pair[1]


_step_pairs = StepCache(_make_pair)
_step_factors = StepCache(lambda symbol, step, device: _placed(factors(symbol, step), device))
_step_phi = StepCache(lambda symbol, step: phi_functions(step * symbol, POINTS + 1))
_step_weights = StepCache(
    lambda symbol, step, nodes: weights(step * symbol, _step_phi(symbol, step), step, nodes)  # device: the host alone
)


SCHEMES: Mapping[str, Scheme] = MappingProxyType(
    {
        "lawson7": Scheme("lawson7", _attempt_lawson, order=6, share=2.8),
        "etdrk4": Scheme("etdrk4", _attempt_etdrk4, order=4, share=0.2),
        "adams6": Scheme(
            "adams6", _attempt_adams, order=POINTS, share=2.0, memory=POINTS - 1, starter="etdrk4", check_every=16
        ),
    }
)
