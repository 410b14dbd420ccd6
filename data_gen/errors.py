"""Typed errors of data generation and of dataset files, and the argument checks that raise them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any


class DatasetError(Exception):
    """A dataset file is missing, unreadable, incomplete, corrupt, or not of the expected layout."""


class OutputError(DatasetError, OSError):
    """An output cannot be written: another process writes it, the disk is full, or the operating system refuses.

    ``errno`` is that of the operating system, where it was the cause.
    """


class SolverDiverged(Exception):
    """A time integration lost finiteness or did not reach the requested tolerance."""


class UnresolvedError(ValueError):
    """The grid is too coarse for the requested solution; the message gives the modes needed."""


def check_positive(function: str, argument: str, value: object, hint: str = "") -> None:
    """Raise ValueError unless ``value`` is a finite real number above zero, or an array of such numbers."""
    value = _first_outside(value, 0.0)
    if not is_finite(value) or value <= 0:  # type: ignore[operator]
        raise ValueError(_line(function, argument, "be a finite number above 0", value, hint))


def check_finite(function: str, argument: str, value: object, hint: str = "") -> None:
    """Raise ValueError unless ``value`` is a finite real number, or an array of such numbers."""
    value = _first_outside(value, -math.inf)
    if not is_finite(value):
        raise ValueError(_line(function, argument, "be a finite number", value, hint))


def check_count(function: str, argument: str, value: object, *, minimum: int = 1, hint: str = "") -> None:
    """Raise ValueError unless ``value`` is an integer of at least ``minimum``."""
    if not hasattr(value, "__index__") or isinstance(value, bool) or int(value) < minimum:  # type: ignore[call-overload]
        raise ValueError(_line(function, argument, f"be an integer of at least {minimum}", value, hint))


def _first_outside(value: Any, low: float) -> object:
    """The first entry of an array that is not above ``low`` and finite, else any; other values unchanged."""
    if not getattr(value, "ndim", 0):
        return value
    return next((float(one) for one in value.flat if not low < one < math.inf), float(value.flat[0]))


def is_finite(value: object) -> bool:
    """Whether a value is a finite real number, Python's or numpy's, and no bool."""
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _line(function: str, argument: str, requirement: str, value: object, hint: str) -> str:
    return f"{function}: `{argument}` must {requirement}; got {value!r}.{' ' + hint if hint else ''}"


def in_one_line(owner: object, describe: Callable[[], str]) -> str:
    """``Name(text)`` for a ``__repr__``, on one line; ``Name(incomplete)`` where the description raises.

    A debugger shows objects that are half made, so no error may leave a ``__repr__``.

    Args:
        owner: the object; the name of its class comes first.
        describe: returns the text. It must not read data.
    """
    try:
        text = " ".join(describe().split())
    except Exception:
        text = "incomplete"
    return f"{type(owner).__name__}({text})"


def with_parameters(parameters: Mapping[str, Any]) -> str:
    """The parameters of an equation for a message, such as " with viscosity 0.1"; empty where it has none."""
    numbers = {
        name: f"{value:g}" if isinstance(value, float | int) else str(value) for name, value in parameters.items()
    }
    words = ", ".join(f"{name} {value}" for name, value in numbers.items())
    return f" with {words}" if words else ""
