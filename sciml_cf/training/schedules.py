"""Learning rates and early stopping, as functions of the step and of the validation errors so far.

Nothing here has a state of its own: a training that resumes from its history gets the same rates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

from sciml_cf.training.config import FitConfig


def learning_rate(
    config: FitConfig, step: int, steps_per_epoch: int, errors: Sequence[float], *, rate: float | None = None
) -> float:
    """The rate of one step of the backbone's optimizer.

    ::

        rate = learning_rate * decay * min(1, (step + 1) / warmup)

        constant   decay = 1
        cosine     decay = (1 + cos(pi step / steps)) / 2                 steps = epochs * steps_per_epoch
        step       decay = factor ** floor(epoch / period)                epoch = floor(step / steps_per_epoch)
        plateau    decay = factor ** (number of plateaus so far)

    Args:
        config: with the defaults written out (``FitConfig.resolved``).
        step: steps taken before this one.
        steps_per_epoch: steps in one epoch.
        errors: validation errors of the epochs so far.
        rate: the peak rate in place of the configuration's.
    """
    rate = cast(float, config.learning_rate) if rate is None else rate
    if config.schedule == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps_per_epoch)))
    elif config.schedule == "step":
        rate *= config.factor ** (step // steps_per_epoch // config.period)
    elif config.schedule == "plateau":
        rate *= config.factor ** count_plateaus(errors, config.period)
    return rate * min(1.0, (step + 1) / max(config.warmup or 0, 1))


def count_plateaus(errors: Sequence[float], period: int) -> int:
    """How often ``period`` epochs in a row did not lower the validation error; each plateau starts a new count."""
    best, waited, plateaus = math.inf, 0, 0
    for error in errors:
        waited = 0 if error < best else waited + 1
        best = min(best, error)
        if waited == period:
            waited, plateaus = 0, plateaus + 1
    return plateaus


def should_stop(errors: Sequence[float], patience: int | None) -> bool:
    """Whether the last ``patience`` epochs did not lower the validation error; never, if ``patience`` is None."""
    if patience is None or not errors:
        return False
    return len(errors) - 1 - errors.index(min(errors)) >= patience
