"""Equations by name, one module each, and those typed as text (``Equation.parse``), whose name is the text.

A new equation is one new module in this package whose function of the same name returns an ``Equation``; it is found by
name when it is asked for, and nothing else has to change.
"""

from __future__ import annotations

import inspect
import pkgutil
import typing
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache, partial
from importlib import import_module
from typing import Any

from data_gen.equation import Equation
from data_gen.formulas.syntax import is_typed, read_formula
from data_gen.grids.fixed_field import FixedField

__all__ = [
    "Equation",
    "Parameter",
    "equation_dims",
    "equation_in",
    "equation_named",
    "equation_names",
    "equation_parameters",
    "is_determined",
    "is_known",
    "is_typed",
    "parameters_in",
]

#: Names of version 0.1 that stand for an equation in two dimensions, see ``_older_names``.
OLDER_NAMES = ("allen_cahn_2d", "burgers_2d", "heat_2d")
_DIMS = "num_dims"


@dataclass(frozen=True)
class Parameter:
    """One keyword of an equation's function: its name, default (None if it must be given) and one line of help.

    ``takes_field`` says whether a field can take the place of the number.
    """

    name: str
    default: float | None
    help: str = field(default="")
    takes_field: bool = False


def equation_names() -> tuple[str, ...]:
    """The names of all known equations, sorted; imports none of them."""
    modules = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
    return tuple(sorted([*modules, *OLDER_NAMES]))


def is_known(name: str) -> bool:
    """Whether a name is that of an equation, or the text of one."""
    if not is_typed(name):
        return name in equation_names()
    try:
        read_formula(name)
    except ValueError:
        return False
    return True


@lru_cache
def equation_named(name: str) -> Callable[..., Equation]:
    """The function that makes the equation called ``name``.

    Raises:
        ValueError: no such equation; the message lists the known ones, or names the mistake in the text of one.
    """
    if is_typed(name):
        read_formula(name)
        return partial(_typed, name)
    known = equation_names()
    if name not in known:
        raise ValueError(f"equation_named: `name` must be one of {', '.join(known)}; got {name!r}.")
    module = "_older_names" if name in OLDER_NAMES else name
    return getattr(import_module(f"{__name__}.{module}"), name)


def equation_in(name: str, num_dims: int | None) -> Callable[..., Equation]:
    """The function of an equation in so many dimensions; in its usual number if None, or if it has no other.

    Raises:
        ValueError: no such equation, or it does not exist in so many dimensions.
    """
    make, dims = equation_named(name), equation_dims(name)
    if num_dims is None or dims is None:
        return make
    if num_dims not in dims:
        known = ", ".join(map(str, dims))
        raise ValueError(f"equation_in: `num_dims` of {name} must be one of {known}; got {num_dims!r}.")
    return partial(make, num_dims=num_dims)


@lru_cache
def equation_dims(name: str) -> tuple[int, ...] | None:
    """The numbers of dimensions that an equation exists in, the usual one first; None if it has no choice."""
    if is_typed(name):
        return read_formula(name).dims
    factory = equation_named(name)
    parameter = inspect.signature(factory).parameters.get(_DIMS)
    if parameter is None:
        return None
    known = typing.get_args(typing.get_type_hints(factory)[_DIMS])
    return tuple(sorted(known, key=lambda dims: (dims != parameter.default, dims)))


def equation_parameters(name: str) -> tuple[Parameter, ...]:
    """The keyword parameters of the equation called ``name``, from its annotated signature, without ``num_dims``."""
    if is_typed(name):
        return tuple(Parameter(parameter, None) for parameter in read_formula(name).parameters)
    factory = equation_named(name)
    hints: dict[str, Any] = typing.get_type_hints(factory, include_extras=True)
    found = []
    for parameter in inspect.signature(factory).parameters.values():
        if parameter.name == _DIMS:
            continue
        default = None if parameter.default is inspect.Parameter.empty else parameter.default
        hint = hints[parameter.name]
        kinds, notes = typing.get_args(typing.get_args(hint)[0]), getattr(hint, "__metadata__", ("",))
        found.append(Parameter(parameter.name, default, str(notes[0]), FixedField in kinds))
    return tuple(found)


@lru_cache
def parameters_in(name: str, num_dims: int) -> frozenset[str] | None:
    """Names of the parameters that the equation has in so many dimensions; None if it does not exist in these."""
    dims = equation_dims(name)
    if dims is not None and num_dims not in dims:
        return None
    given = {parameter.name: 1.0 for parameter in equation_parameters(name) if parameter.default is None}
    return frozenset(equation_in(name, num_dims)(**given).parameters)


def is_determined(name: str, num_dims: int, given: Collection[str]) -> bool:
    """Whether parameters of these names, and no others, make an equation of so many dimensions that is known here."""
    needed = parameters_in(name, num_dims) if is_known(name) else None
    return needed is not None and needed <= {*given} <= {one.name for one in equation_parameters(name)}


def _typed(text: str, /, *, num_dims: int | None = None, **parameters: Any) -> Equation:
    """The equation that a text says, see ``Equation.parse``."""
    return Equation.parse(text, parameters, num_dims=num_dims)
