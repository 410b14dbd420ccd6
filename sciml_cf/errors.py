"""Typed errors and warnings of `sciml_cf`. Argument checks are shared with `data_gen.errors`."""

from __future__ import annotations

from data_gen.errors import (
    DatasetError,
    SolverDiverged,
    UnresolvedError,
    check_count,
    check_positive,
    in_one_line,
    is_finite,
)

__all__ = [
    "BenchmarkError",
    "CheckpointError",
    "DatasetError",
    "HeadWarning",
    "InterpolatingHeadWarning",
    "JitterWarning",
    "MovedHeadWarning",
    "NotPositiveDefinite",
    "OscillatingHeadWarning",
    "SolverDiverged",
    "StuckHeadWarning",
    "TrainingDiverged",
    "UnresolvedError",
    "UnsolvedHeadWarning",
    "check_choice",
    "check_count",
    "check_positive",
    "in_one_line",
    "is_finite",
]


class NotPositiveDefinite(ArithmeticError):
    """The head's linear system has no Cholesky factor, even with the largest jitter, or is not finite."""


class CheckpointError(Exception):
    """A run folder or checkpoint is missing, unreadable, or belongs to another configuration."""


class BenchmarkError(Exception):
    """A benchmark's folder holds something else than its results, or its workers were lost."""


class TrainingDiverged(Exception):
    """The training loss left the finite range; the last good checkpoint is kept."""


class HeadWarning(UserWarning):
    """The solves of a closed-form head show a fault; docs/diagnostics.md says which figures tell of it."""


class JitterWarning(HeadWarning):
    """Cholesky needed a diagonal shift: the features are linearly dependent at the strength in use."""


class OscillatingHeadWarning(HeadWarning):
    """The head fits each batch and not the next one, and its changes undo each other: too weak a pull."""


class StuckHeadWarning(HeadWarning):
    """The head gains next to nothing of what its solves could: too strong a pull."""


class InterpolatingHeadWarning(HeadWarning):
    """The head has about as many degrees of freedom as its batch has rows, and fits the noise of each."""


class UnsolvedHeadWarning(HeadWarning):
    """A backward pass reached the loss of a head that was not solved, as in evaluation mode: it is not trained."""


class MovedHeadWarning(HeadWarning):
    """The layer does not have the head that the last solve wrote: an optimizer moves it as well."""


def check_choice(function: str, argument: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{function}: `{argument}` must be one of {listed}; got {value!r}.")
