"""Demand for airline tickets: prices that follow the demand, and the cost of fuel as an instrument."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from sciml_cf.causal.data import InstrumentalData, StructuralData
from sciml_cf.errors import check_count, is_finite

_STRUCTURAL = (
    "f(P, T, S) = 100 + (10 + P) S psi(T) - 2 P, psi(t) = 2 ((t - 5)^4 / 600 + exp(-4 (t - 5)^2) + t / 10 - 2)"
)
_LAW = (
    "C, V ~ N(0, 1), T ~ U(0, 10), S uniform on 1..7, P = 25 + (C + 3) psi(T) + V, e ~ N(r V, 1 - r^2), "
    f"Y = f(P, T, S) + d e, {_STRUCTURAL}"
)
_PRICES, _TIMES, _GROUPS = np.linspace(10, 25, 20), np.linspace(0, 10, 20), range(1, 8)


def demand(*, samples: int = 5000, correlation: float = 0.5, noise: float = 1.0, seed: int = 0) -> InstrumentalData:
    """Training samples of the demand design: sales of tickets by price, time of the year and group of customers.

    ::

        T ~ U(0, 10),   S uniform on {1, ..., 7},   C ~ N(0, 1),   V ~ N(0, 1)
        P = 25 + (C + 3) psi(T) + V
        Y = f(P, T, S) + d e,   e ~ N(r V, 1 - r^2),   f as in ``demand_structural``

    The price P is the treatment, the cost of fuel C the instrument, and the time T and the group S are covariates. The
    surprise V moves the price and, through the correlation r, the sales. The first samples of a larger set are those
    of a smaller one of the same seed.

    Args:
        samples: how many.
        correlation: r of V and e, from -1 to 1; the papers take 0.1 to 0.9.
        noise: d, the standard deviation of the sales around f, at least 0. Xu et al. take 1, which next to the
            deviation 158 of the sales hides hardly anything; the program of Hartford et al. adds unit noise to sales
            that it has divided by 158, which is a noise of 158.
        seed: of the draws.

    Returns:
        InstrumentalData: float64, treatment ``(n, 1)``, instrument ``(n, 1)``, covariates ``(n, 2)`` of time and
        group, outcome and structural ``(n,)``.

    Raises:
        ValueError: samples, correlation, noise or seed are unusable.

    References:
        Hartford, Lewis, Leyton-Brown and Taddy (2017), Deep IV, ICML; constants and the variance 1 - r^2 as in Xu et
        al. (2021), arXiv:2010.07154, and in the program published with it.
    """
    check_count("demand", "samples", samples)
    check_count("demand", "seed", seed, minimum=0)
    if not is_finite(correlation) or not -1 <= correlation <= 1:
        raise ValueError(f"demand: `correlation` must be a number from -1 to 1; got {correlation!r}.")
    if not is_finite(noise) or noise < 0:
        raise ValueError(f"demand: `noise` must be a finite number of at least 0, a standard deviation; got {noise!r}.")
    random = [np.random.default_rng([seed, stream]) for stream in range(5)]
    time, group = random[0].uniform(0, 10, samples), random[1].integers(1, 8, samples).astype(np.float64)
    cost, surprise, rest = (stream.standard_normal(samples) for stream in random[2:])
    price = 25 + (cost + 3) * _psi(time) + surprise
    structural = demand_structural(price, time, group)
    return InstrumentalData(
        treatment=price[:, None],
        instrument=cost[:, None],
        covariates=np.stack([time, group], axis=1),
        outcome=structural + noise * (correlation * surprise + math.sqrt(1 - correlation**2) * rest),
        structural=structural,
        law=_LAW,
        parameters={"design": "demand", "samples": samples, "correlation": correlation, "noise": noise},
        seed=seed,
    )


def demand_test() -> StructuralData:
    """The 2800 points that estimates of the demand design are judged on.

    A grid of 20 prices from 10 to 25, 20 times from 0 to 10, and the 7 groups, ends included.

    Returns:
        StructuralData: treatment ``(2800, 1)``, covariates ``(2800, 2)`` of time and group, structural ``(2800,)``.

    References:
        Xu et al. (2021), arXiv:2010.07154, and the program published with it.
    """
    price, time, group = np.array(list(itertools.product(_PRICES, _TIMES, _GROUPS))).T
    return StructuralData(
        treatment=price[:, None],
        covariates=np.stack([time, group], axis=1),
        structural=demand_structural(price, time, group),
        law=_STRUCTURAL,
        parameters={"design": "demand"},
    )


def demand_structural(price: Any, time: Any, group: Any) -> np.ndarray:
    """The structural function of the demand design.

    ::

        f(p, t, s) = 100 + (10 + p) s psi(t) - 2 p
        psi(t) = 2 ((t - 5)^4 / 600 + exp(-4 (t - 5)^2) + t / 10 - 2)

    Args:
        price: of a ticket; the three broadcast together.
        time: of the year.
        group: of customers.

    Returns:
        float64, of the broadcast shape.

    References:
        Hartford et al. (2017), Deep IV, ICML.
    """
    price, time, group = (np.asarray(value, dtype=np.float64) for value in (price, time, group))
    return 100 + (10 + price) * group * _psi(time) - 2 * price


def _psi(time: np.ndarray) -> np.ndarray:
    """The season: how much a ticket is wanted at a time of the year."""
    return 2 * ((time - 5) ** 4 / 600 + np.exp(-4 * (time - 5) ** 2) + time / 10 - 2)
