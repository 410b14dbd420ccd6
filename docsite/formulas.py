"""The formulas of equations, which are words of ASCII, as LaTeX."""

from __future__ import annotations

import re
from collections.abc import Collection

#: Letters of the parameters; the texts of an equation's flags have the same.
LETTERS = {
    "diffusivity": "D",
    "diffusivity_u": "D_u",
    "diffusivity_v": "D_v",
    "dispersion": "d",
    "drag": "m",
    "feed": "F",
    "forcing": "A",
    "growth": "r",
    "kill": "k",
    "mobility": "M",
    "nonlinearity": "a",
    "offset": "k",
    "rate": "r",
    "source": "f",
    "speed": "c",
    "speed_y": "c_y",
    "speed_z": "c_z",
    "stiffness": "g",
    "viscosity": r"\nu",
}
_WORDS = {
    "Lap": r"\Delta",
    "cos": r"\cos",
    "div": r"\nabla\cdot",
    "grad": r"\nabla",
    "on the walls": r"\;\text{on the walls}",
    "pi": r"\pi",
    "sin": r"\sin",
}
_SIGNS = {"*": r"\,", ".": r"\cdot"}
_TOKEN = re.compile(
    r"on the walls|(?P<derivative>[A-Za-z]_[txyz]+\b)|(?P<outer>\)_[txyz]+\b)|[A-Za-z]\w*|\d+(?:\.\d+)?|\^\d+|\s+|."
)


def latex(formula: str, parameters: Collection[str] = ()) -> list[str]:
    """One formula in LaTeX for each law of a system.

    Args:
        formula: in words, such as ``Equation.formula``; laws are separated by commas outside of brackets.
        parameters: the names of its parameters.
    """
    return [_one(law.strip(), parameters) for law in re.split(r",\s+(?![^(]*\))", formula)]


def _one(law: str, parameters: Collection[str]) -> str:
    return re.sub(r"\s+", " ", "".join(_token(match, parameters) for match in _TOKEN.finditer(law))).strip()


def _token(match: re.Match[str], parameters: Collection[str]) -> str:
    token = match[0]
    if match["derivative"] or match["outer"]:
        name, _, axes = token.partition("_")
        return f"{name}_{{{axes}}}"
    if token in parameters:
        return letter(token) + " "
    if token in _WORDS:
        return _WORDS[token] + " "
    return rf"\text{{{token}}} " if len(token) > 1 and token[0].isalpha() else _SIGNS.get(token, token)


def letter(parameter: str) -> str:
    """The letter of a parameter, or its name."""
    return LETTERS.get(parameter, rf"\text{{{parameter.replace('_', ' ')}}}")


def legend(parameters: dict[str, float]) -> str:
    """The letters of the parameters and their values, in Markdown."""
    return ", ".join(f"${letter(name)}$ `{name}` = {value:g}" for name, value in parameters.items())
