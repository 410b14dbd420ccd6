"""Equations by name, one module each.

A new equation is one new module in this package whose function of the same name returns an ``Equation``; it is found by
name when it is asked for, and nothing else has to change.
"""

from __future__ import annotations

import inspect
import pkgutil
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from data_gen.equation import Equation

__all__ = ["Equation", "Parameter", "equation_named", "equation_names", "equation_parameters"]


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
