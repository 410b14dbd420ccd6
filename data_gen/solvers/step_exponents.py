"""Step exponents: steps are STEP_RATIO^-j of the whole time, so that chunks can share their coefficients."""

from __future__ import annotations

import numpy as np

STEP_RATIO = 2**0.25
SMALLEST_STEP = 2.0**-30


def exponent_of(fraction: float) -> int:
    """Exponent of the longest step of at most this fraction of the whole time."""
    return max(0, int(np.ceil(-np.log(fraction) / np.log(STEP_RATIO) - 1e-9)))


def after_rejection(exponent: int, ratio: float, order: int) -> int:
    """Exponent of a smaller step after a rejected one.

    Args:
        exponent: that of the step.
        ratio: its estimated error over the error allowed; it need not be finite.
        order: power of the step that the ratio falls with.
    """
    shrink = 8 if not np.isfinite(ratio) else int(np.ceil(np.log(ratio / 0.5) / order / np.log(STEP_RATIO)))
    return exponent + min(max(1, shrink), 16)


def after_acceptance(exponent: int, ratio: float, order: int) -> int:
    """Exponent of the step after an accepted one, within a factor of two; arguments as in ``after_rejection``."""
    grow = int(np.floor(np.log(0.7 / max(ratio, 1e-8)) / order / np.log(STEP_RATIO)))
    return exponent - min(max(grow, -4), 4)
