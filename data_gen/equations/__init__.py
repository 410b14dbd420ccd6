"""Equations as data: a linear symbol, a nonlinear term, and the settings a dataset of it starts from.

A new equation is one new module in this package whose function of the same name returns an ``Equation``; it is found by
name when it is asked for, and nothing else has to change.
"""

from __future__ import annotations

import inspect
import math
import pkgutil
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    from data_gen.grid import PeriodicGrid
    from data_gen.known import KnownSolution


@dataclass(frozen=True)
class Equation:
    """A law u_t = L u + N(u) on a periodic box, in Fourier space.

    Args:
        name: the name of its module and function.
        parameters: its numbers, by name.
        symbol: (k, one array an axis) -> L(k), real or complex, broadcastable to the modes (C, *K) of a sample; the
            last axis of a field is x, the one before it y. Not called for a steady problem.
        nonlinear: (modes (B, C, *K), grid) -> the modes of N(u), the same shape; None for a linear equation.
        formula: the equation in words of ASCII.
        exact: (u0 (..., N), grid, time) -> the solution by another way than time stepping; None where there is none.
        exact_method: the name of that way, usable as a dataset's ``method``; empty when it is only a check.
        front_width: (u0, grid, time) -> w if the solution forms fronts tanh(x / w), else infinity; to refuse early.
        channels: the names of the C components.
        input_channels: those of the input, where they are others (the coefficient of a steady problem).
        input_name: the input's name in a file.
        num_dims: dimensions in space.
        boundary: "periodic", or "wall" for a problem on cells with values given at the walls (see ``cells``).
        steady: the solution does not depend on time: ``exact`` takes the input to it, under ``exact_method``.
        extent, time, tolerance: the usual domain length, final time, and error of time stepping relative to max |u|.
        initial_condition: the usual initial condition, a name of ``random_fields.INITIAL_CONDITIONS`` or of ``known``.
        initial_parameters: its usual parameters, where they are not that condition's own defaults.
        known: initial conditions of this equation alone whose solution is known at every time, by name.
    """

    name: str
    parameters: Mapping[str, float]
    symbol: Callable[..., np.ndarray]
    nonlinear: Callable[[np.ndarray, PeriodicGrid], np.ndarray] | None
    formula: str = ""
    exact: Callable[[np.ndarray, Any, float], np.ndarray] | None = None
    exact_method: str = ""
    front_width: Callable[[np.ndarray, PeriodicGrid, float], float] = lambda u0, grid, time: math.inf
    channels: tuple[str, ...] = ("u",)
    input_channels: tuple[str, ...] | None = None
    input_name: str = "a"
    num_dims: int = 1
    boundary: Literal["periodic", "wall"] = "periodic"
    steady: bool = False
    extent: float = 2 * math.pi
    time: float = 1.0
    tolerance: float = 1e-10
    initial_condition: str = "gaussian_random_field"
    initial_parameters: Mapping[str, Any] = field(default_factory=dict)
    known: Mapping[str, KnownSolution] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("parameters", "initial_parameters", "known"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


@dataclass(frozen=True)
class Parameter:
    """One keyword of an equation's function: its name, default (None if it must be given) and one line of help."""

    name: str
    default: float | None
    help: str = field(default="")


def equation_names() -> tuple[str, ...]:
    """The names of all known equations, sorted; imports none of them."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")))


def equation_named(name: str) -> Callable[..., Equation]:
    """The function that makes the equation called ``name``.

    Raises:
        ValueError: no such equation; the message lists the known ones.
    """
    known = equation_names()
    if name not in known:
        raise ValueError(f"equation_named: `name` must be one of {', '.join(known)}; got {name!r}.")
    return getattr(import_module(f"{__name__}.{name}"), name)


def equation_parameters(name: str) -> tuple[Parameter, ...]:
    """The keyword parameters of the equation called ``name``, from its annotated signature."""
    factory = equation_named(name)
    hints: dict[str, Any] = typing.get_type_hints(factory, include_extras=True)
    found = []
    for parameter in inspect.signature(factory).parameters.values():
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        notes = getattr(hints[parameter.name], "__metadata__", ("",))
        found.append(Parameter(parameter.name, default, str(notes[0])))
    return tuple(found)
