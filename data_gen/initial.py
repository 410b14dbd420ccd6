"""The initial conditions of an equation by name: the general random fields, and those of it alone that are known."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from data_gen.equations import Equation
from data_gen.random_fields import INITIAL_CONDITIONS, ON_CELLS, law_defaults

if TYPE_CHECKING:
    from data_gen.spec import DatasetSpec


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


def initial_fields(spec: DatasetSpec, indices: np.ndarray) -> np.ndarray:
    """Initial conditions of some samples of a dataset, (B, C, *N), float64."""
    equation, name = spec.make_equation(), str(spec.initial_condition)
    if name in equation.known:
        return known_solution(spec, indices, 0.0)
    draw, channels = INITIAL_CONDITIONS[name][0], len(spec.header.inputs)
    return draw(spec.grid, indices.tolist(), seed=spec.seed, channels=channels, **spec.initial_parameters)


def known_solution(spec: DatasetSpec, indices: np.ndarray, time: float) -> np.ndarray:
    """Solutions of some samples of a dataset whose initial condition has a known one, (B, C, *N), float64.

    Raises:
        ValueError: it is not known for this initial condition, on this box or for so long a time.
    """
    known = spec.make_equation().known
    if spec.initial_condition not in known:
        names = ", ".join(known) or "none"
        raise ValueError(f"known_solution: `spec` must start from one of {names}; got {spec.initial_condition!r}.")
    fields = known[str(spec.initial_condition)].fields
    return fields(spec.grid, indices.tolist(), time, seed=spec.seed, **spec.initial_parameters)
