"""Each public name says what it is: summary, arguments, shapes, errors and source, where they apply.

Public is what the packages' lazy tables and ``__all__`` offer, as `docsite.reference` lists it. What applies is
read from the code: an argument of the signature has to be named; an array has to have its shape; what the body
raises has to be under Raises; a formula has to have its Source.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import typing

import numpy as np
import pytest

from docsite.docstrings import sections
from docsite.reference import public_objects

PACKAGES = ("data_gen", "sciml_cf", "sciml_cf.head")
#: (B, C, N), (S,), (*N), (..., N), () or words about a shape.
SHAPE = re.compile(r"\((?:[A-Z]'?|\*\w+|\.\.\.)(?:, [^()]*|,)?\)|\(\)|\bshapes? ")
OBJECTS = [(f"{package}.{name}", value) for package, name, value in public_objects(PACKAGES) if callable(value)]


def faults(value: object) -> list[str]:
    """What is missing in the docstring of a public function or class."""
    if typing.get_origin(value) is typing.Literal:
        return []
    text = inspect.cleandoc(value.__doc__ or "")
    found = [] if re.match(r"[A-Z][^\n]*", text) else ["no summary"]
    if inspect.isclass(value) and issubclass(value, BaseException):
        return found
    found += [f"argument {name} not named" for name in arguments(value) if not re.search(rf"\b{name}\b", text)]
    if has_arrays(value) and not SHAPE.search(text):
        found.append("no shape of an array")
    titles = {title for title, _ in sections(text.splitlines())}
    if raises(value) and "Raises" not in titles:
        found.append("no Raises")
    if formulas(text) and "Source" not in titles:
        found.append("a formula without Source")
    return found


def arguments(value: object) -> list[str]:
    """Arguments that the docstring has to name: those without a text of their own in ``Annotated``."""
    hints = inspect.get_annotations(value.__init__ if inspect.isclass(value) else value)
    return [
        name
        for name, parameter in inspect.signature(value).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and "Annotated" not in str(hints.get(name, ""))
    ]


def has_arrays(value: object) -> bool:
    """Whether an argument or the result is an array (not only a function of arrays)."""
    hints = inspect.get_annotations(value.__init__ if inspect.isclass(value) else value)
    return any(re.match(r"(np\.ndarray|Tensor)\b", str(hint)) for hint in hints.values())


def raises(value: object) -> bool:
    """Whether the body raises, or checks an argument: of a class, while it is made."""
    if inspect.isclass(value):
        made = [vars(value)[name] for name in ("__init__", "__post_init__") if name in vars(value)]
        return any(
            raises(function) for function in made if inspect.getsourcefile(function) == inspect.getsourcefile(value)
        )
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError):
        return False
    checks = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {getattr(check, "id", getattr(check, "attr", "")) for check in checks}
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree)) or any(
        re.match(r"_?check_", name) for name in names
    )


def formulas(text: str) -> bool:
    """Whether the prose holds an indented formula: a line with an equals sign between blanks, outside of code."""
    for title, lines in sections(text.splitlines()):
        code = False
        for line in lines if title is None else ():
            code = line.rstrip().endswith("::") or (code and (not line.strip() or line.startswith(" ")))
            if line.startswith("    ") and not code and re.search(r" (=|<-) ", line):
                return True
    return False


@pytest.mark.parametrize(("name", "value"), OBJECTS, ids=[name for name, _ in OBJECTS])
def test_public_name_is_documented(name: str, value: object) -> None:
    assert faults(value) == [], name


def well(x: np.ndarray, *, strength: float) -> np.ndarray:
    """Ridge of rows.

        w = x / (1 + strength)

    Args:
        x: (B, N).
        strength: above 0.
    Raises:
        ValueError: ``strength`` is not.
    Source: Hoerl and Kennard (1970).
    """
    if strength <= 0:
        raise ValueError
    return x / (1 + strength)


@pytest.mark.parametrize(
    ("cut", "fault"),
    [
        ("Ridge of rows.", "no summary"),
        ("    strength: above 0.\n", "argument strength not named"),
        ("(B, N)", "no shape of an array"),
        ("Raises:\n    ValueError: ``strength`` is not.\n", "no Raises"),
        ("Source: Hoerl and Kennard (1970).", "a formula without Source"),
    ],
)
def test_each_fault_is_found(cut: str, fault: str) -> None:
    assert faults(well) == []
    text = inspect.cleandoc(well.__doc__ or "")
    assert cut in text
    kept = text.replace(cut, "")
    if fault.startswith("argument"):
        kept = kept.replace("strength", "s")

    def worse(x: np.ndarray, *, strength: float) -> np.ndarray:
        if strength <= 0:
            raise ValueError
        return x

    worse.__doc__ = kept
    assert fault in faults(worse)
