"""The smallest nonlinear problem with a hidden cause: one number as treatment, one as instrument."""

from __future__ import annotations

from typing import Any

import numpy as np

from sciml_cf.causal.data import InstrumentalData, StructuralData
from sciml_cf.errors import check_count

_LAW = "Z ~ U(-3, 3), U, e1, e2 ~ N(0, 1), X = Z + 1.2 U + 0.3 e1, Y = f(X) + 4 U + 0.1 e2, f(x) = 2 sin x + 0.5 x"


def sine_toy(*, samples: int = 2000, seed: int = 0) -> InstrumentalData:
    """Samples of a sine with a slope, whose treatment and outcome share a strong hidden cause.

    ::

        Z ~ U(-3, 3),   U, e1, e2 ~ N(0, 1)
        X = Z + 1.2 U + 0.3 e1,   Y = f(X) + 4 U + 0.1 e2,   f(x) = 2 sin x + x / 2

    Regression of Y on X finds f(x) plus E[4 U | x], a slope of its own that is no effect of X. The first samples of a
    larger set are those of a smaller one of the same seed.

    Args:
        samples: how many.
        seed: of the draws.

    Returns:
        InstrumentalData: float64, treatment ``(n, 1)``, instrument ``(n, 1)``, outcome and structural ``(n,)``.

    Raises:
        ValueError: samples or seed are unusable.

    References:
        none; made for tests and examples.
    """
    check_count("sine_toy", "samples", samples)
    check_count("sine_toy", "seed", seed, minimum=0)
    random = [np.random.default_rng([seed, stream]) for stream in range(4)]
    instrument = random[0].uniform(-3, 3, samples)
    hidden, first, second = (stream.standard_normal(samples) for stream in random[1:])
    treatment = instrument + 1.2 * hidden + 0.3 * first
    structural = sine_structural(treatment)
    return InstrumentalData(
        treatment=treatment[:, None],
        instrument=instrument[:, None],
        outcome=structural + 4 * hidden + 0.1 * second,
        structural=structural,
        law=_LAW,
        parameters={"design": "sine", "samples": samples},
        seed=seed,
    )


def sine_test(*, points: int = 601) -> StructuralData:
    """Equally spaced treatments from -3 to 3, where most of those of ``sine_toy`` lie, and f there.

    Returns:
        StructuralData: treatment ``(points, 1)`` and structural ``(points,)``.

    Raises:
        ValueError: fewer than 2 points.
    """
    check_count("sine_test", "points", points, minimum=2)
    treatment = np.linspace(-3, 3, points)
    return StructuralData(
        treatment=treatment[:, None],
        structural=sine_structural(treatment),
        law=_LAW,
        parameters={"design": "sine", "points": points},
    )


def sine_structural(treatment: Any) -> np.ndarray:
    """The structural function of ``sine_toy``, f(x) = 2 sin x + x / 2, of an array of any shape."""
    values = np.asarray(treatment, dtype=np.float64)
    return 2 * np.sin(values) + values / 2
