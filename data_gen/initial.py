"""The initial conditions that an equation may start from, by name: random fields, and those with a known solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from data_gen.equation import Equation
from data_gen.errors import is_finite
from data_gen.random_fields import INITIAL_CONDITIONS, ON_CELLS, law_defaults


def initial_names(equation: Equation) -> tuple[str, ...]:
    """Names of the initial conditions that an equation may start from."""
    on_cells = equation.boundary == "wall"
    return (*(name for name in INITIAL_CONDITIONS if (name in ON_CELLS) == on_cells), *equation.known)


def initial_defaults(equation: Equation, name: str) -> dict[str, Any]:
    """Parameters of an initial condition with their defaults; the equation's usual values where it is the usual one."""
    draw = equation.known[name].fields if name in equation.known else INITIAL_CONDITIONS[name][0]
    return {**law_defaults(draw), **(equation.initial_parameters if name == equation.initial_condition else {})}


def check_initial(equation: Equation, name: str, parameters: Mapping[str, Any]) -> None:
    """Raise ValueError unless the parameters of the initial condition called ``name`` are usable."""
    check: Callable[..., None] = equation.known[name].check if name in equation.known else INITIAL_CONDITIONS[name][1]
    check(**parameters)


def of_kind(value: Any, default: Any) -> Any:
    """2 as 2.0 where the default is a float, 2.0 as 2 where it is an integer; anything else unchanged."""
    if not is_finite(value):
        return value
    if isinstance(default, float):
        return float(value)
    return int(value) if isinstance(default, int) and float(value).is_integer() else value
