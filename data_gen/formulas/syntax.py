"""The text of an equation, u_t = -u*u_x + nu*u_xx, read into trees of the operations that are allowed in one."""

from __future__ import annotations

import ast
import itertools
import math
import re
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

#: Longest text, deepest nest, largest power of a field, and highest order of a derivative.
MOST_CHARACTERS, MOST_DEPTH, MOST_POWER, MOST_ORDER = 2000, 100, 12, 20
#: What an expression depends on: nothing but parameters, the place, or a field. The largest of its parts counts.
CONSTANT, PLACE, FIELD = 0, 1, 2
FUNCTIONS = ("sin", "cos", "exp")
_AXES = "xyz"
_TAKEN = {*FUNCTIONS, *_AXES, "lap", "pi", "L", "t"}
#: Names that a file or a command has for something else.
_NO_PARAMETER = {"boundary", "equation_name", "num_dims"}
_OTHER_CHARACTER = re.compile(r"[^A-Za-z0-9_.+\-*/^()=; ]")
_LEFT = re.compile(r"([A-Za-z][A-Za-z0-9]*)_t")
_DERIVATIVE = re.compile(r"([A-Za-z][A-Za-z0-9]*)_([xyz]+)")
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*")
_OPERATORS: dict[type, str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Pow: "^"}
_GRAMMAR = "sums, products and powers of numbers, names, derivatives, sin, cos, exp and lap"


@dataclass(frozen=True)
class Expression:
    """An operation on other expressions, or a name or number.

    Args:
        operation: "number", "parameter", "axis", "length", "field", "+", "-", ``"*"``, "/", "^", "negative",
            "derivative", "lap", or one of ``FUNCTIONS``.
        parts: what it is applied to.
        value: the number, the parameter's name, the axis, the field's number, or the exponent of a field's power.
        orders: of a field or a derivative how often along x, y and z.
        depends: ``CONSTANT``, ``PLACE`` or ``FIELD``.
        words: the piece of text that it stands for.
    """

    operation: str
    parts: tuple[Expression, ...] = ()
    value: float | int | str | None = None
    orders: tuple[int, int, int] = (0, 0, 0)
    depends: int = CONSTANT
    words: str = field(default="", compare=False)


@dataclass(frozen=True)
class Formula:
    """What a text says.

    Args:
        text: it, with single spaces.
        fields: names of the fields, in the order of their equations.
        sides: their right-hand sides.
        parameters: names of the parameters, in the order of the text.
        least_dims: the smallest number of dimensions that has its axes.
    """

    text: str
    fields: tuple[str, ...]
    sides: tuple[Expression, ...]
    parameters: tuple[str, ...]
    least_dims: int

    @property
    def dims(self) -> tuple[int, ...]:
        """The numbers of dimensions that it can be solved in, the usual one first."""
        return tuple(range(self.least_dims, len(_AXES) + 1))

    def check_use(self, parameters: Collection[str], num_dims: object) -> None:
        """Raise ValueError unless the parameters have these names, and it can be solved in so many dimensions."""
        if num_dims not in self.dims:
            known = ", ".join(map(str, self.dims))
            raise ValueError(f"Equation.parse: `num_dims` of {self.text} must be one of {known}; got {num_dims!r}.")
        if set(parameters) != set(self.parameters):
            raise ValueError(
                f"Equation.parse: `parameters` of {self.text} must be {', '.join(self.parameters) or 'none'}; got "
                f"{', '.join(parameters) or 'none'}. Give a number for each name that is no field."
            )


def is_typed(name: str) -> bool:
    """Whether a name of an equation is the text of one."""
    return "=" in name


@lru_cache(maxsize=256)
def read_formula(text: str) -> Formula:
    """What the text of an equation says, ``u_t = -u*u_x + nu*u_xx``; several equations are separated by ``;``.

    Python's ``ast`` parses it, and nothing in it is evaluated.

    Raises:
        ValueError: it is no such text; one line names the place.
    """
    text = " ".join(text.split())
    wrong = _OTHER_CHARACTER.search(text) or re.search(r"\. ?_\w*", text)
    if len(text) > MOST_CHARACTERS:
        raise ValueError(
            f"Equation.parse: `text` must have at most {MOST_CHARACTERS} characters; got {len(text)}, from "
            f"{text[:20]!r} on."
        )
    if wrong:
        _refuse(text, wrong.start(), wrong.end(), f"consist of {_GRAMMAR}")
    starts = [0, *(match.end() for match in re.finditer(";", text))]
    pieces = list(zip(starts, text.split(";"), strict=True))
    if len(pieces) > 1 and not pieces[-1][1].strip():
        pieces.pop()
    begins: dict[str, int] = {}
    for start, piece in pieces:
        name, place, begin = _left_side(text, start, piece)
        if name in begins:
            _refuse(text, place, place + len(name) + 2, f"have one equation for {name}")
        begins[name] = begin
    reader = _Reader(text, tuple(begins))
    rights = [piece.partition("=")[2] for _, piece in pieces]
    sides = tuple(map(reader.read, begins.values(), rights))
    return Formula(text, reader.fields, sides, tuple(reader.parameters), reader.least_dims)


def _left_side(text: str, start: int, piece: str) -> tuple[str, int, int]:
    """The field of an equation, the place of its name, and that of the right-hand side."""
    left, equals, right = piece.partition("=")
    place = start + len(left) - len(left.lstrip())
    found = _LEFT.fullmatch(left.strip())
    if not found or not equals or found[1] in _TAKEN:
        _refuse(text, place, place + max(1, len(left.strip())), "have NAME_t = ... for each field, as in u_t = u_xx")
    after = start + len(left) + 1
    if "=" in right:
        _refuse(
            text, after + right.index("="), after + right.index("=") + 1, "have a ; between equations, and one = each"
        )
    if not right.strip():
        _refuse(text, place, after, "have a right-hand side")
    return found[1], place, after


def _refuse(text: str, start: int, stop: int, requirement: str) -> NoReturn:
    """Raise ValueError with the piece of the text that is wrong, and its place."""
    piece = repr(text[start:stop].strip()[:60]) if text[start:stop].strip() else "its end"
    around = text if len(text) <= 80 else f"...{text[max(0, start - 30) : start + 30]}..."
    raise ValueError(
        f"Equation.parse: `text` must {requirement}; got {piece} at character {start + 1} of {around!r}."
    ) from None


class _Reader:
    """Right-hand sides of one text.

    Args:
        text: all of it.
        fields: names of its fields.

    Attributes:
        parameters: names found so far that stand for numbers.
        least_dims: dimensions of the axes found so far.
    """

    def __init__(self, text: str, fields: tuple[str, ...]) -> None:
        self.text, self.fields = text, fields
        self.parameters: dict[str, None] = {}
        self.least_dims = 1
        self.places: list[int] = []

    def read(self, start: int, side: str) -> Expression:
        """The right-hand side that begins at a place of the text."""
        code, self.places = _python_of(side, start)
        open_brackets = itertools.accumulate((c == "(") - (c == ")") for c in code)
        if max(open_brackets) > MOST_DEPTH // 2:
            _refuse(self.text, self.places[0], start + len(side), f"nest at most {MOST_DEPTH // 2} brackets")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                tree = ast.parse(code, mode="eval")
        except SyntaxError as error:
            place = min((error.offset or len(code) + 1) - 1, len(code))  # 0 stands for the end
            self._refuse_at(
                place, max(place + 1, (error.end_offset or 0) - 1), f"be {_GRAMMAR}, with * between factors"
            )
        except (RecursionError, MemoryError, ValueError):
            _refuse(self.text, self.places[0], start + len(side), "have shorter numbers and fewer signs in a row")
        return self._expression(tree.body, 0)

    def _refuse_at(self, start: int, stop: int, requirement: str) -> NoReturn:
        last = self.places[-1] + 1
        places = [*self.places, last]
        _refuse(self.text, places[min(start, len(self.places))], places[min(stop, len(self.places))], requirement)

    def _refuse(self, node: ast.AST, requirement: str) -> NoReturn:
        start, stop = getattr(node, "col_offset", 0), getattr(node, "end_col_offset", 0)
        self._refuse_at(start, stop, requirement)

    def _expression(self, node: ast.AST, depth: int) -> Expression:
        if depth > MOST_DEPTH:
            self._refuse(node, f"nest at most {MOST_DEPTH} operations")
        read: dict[type, Callable[..., Expression]] = {
            ast.Constant: self._number,
            ast.Name: self._name,
            ast.UnaryOp: self._signed,
            ast.BinOp: self._operation,
            ast.Call: self._call,
            ast.Attribute: self._derivative,
        }
        if type(node) not in read:
            self._refuse(node, f"be {_GRAMMAR}")
        return read[type(node)](node, depth + 1)

    def _made(self, node: ast.expr, operation: str, *parts: Expression, **others: object) -> Expression:
        depends = max([part.depends for part in parts], default=CONSTANT)
        words = self.text[self.places[node.col_offset] : self.places[(node.end_col_offset or 1) - 1] + 1]
        return Expression(operation, parts, **{"depends": depends, "words": words, **others})  # type: ignore[arg-type]

    def _number(self, node: ast.Constant, depth: int) -> Expression:
        try:
            usable = isinstance(node.value, int | float) and not isinstance(node.value, bool)
            value = float(node.value) if usable else math.nan  # type: ignore[arg-type]
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self._refuse(node, "have finite real numbers")
        return self._made(node, "number", value=value)

    def _name(self, node: ast.Name, depth: int) -> Expression:
        name = node.id
        if name in self.fields:
            return self._made(node, "field", value=self.fields.index(name), depends=FIELD)
        found = _DERIVATIVE.fullmatch(name)
        if found:
            if found[1] not in self.fields:
                self._refuse(node, f"have an equation {found[1]}_t = ... for the derivative {name}")
            orders = self._orders(node, found[2])
            return self._made(node, "field", value=self.fields.index(found[1]), orders=orders, depends=FIELD)
        if name in _AXES:
            self._use_axes(name)
            return self._made(node, "axis", value=_AXES.index(name), depends=PLACE)
        if name == "L":
            return self._made(node, "length", depends=PLACE)
        if name == "pi":
            return self._made(node, "number", value=math.pi)
        if name.partition("_")[0] in self.fields:
            self._refuse(node, f"have derivatives along x, y and z, such as {name.partition('_')[0]}_xx")
        if name in _TAKEN:
            self._refuse(node, "have no time in it" if name == "t" else f"have brackets after {name}")
        if name in _NO_PARAMETER or not _PARAMETER.fullmatch(name):
            self._refuse(node, "have parameters of letters, digits and single _, with other names")
        self.parameters[name] = None
        return self._made(node, "parameter", value=name)

    def _orders(self, node: ast.AST, axes: str) -> tuple[int, int, int]:
        if len(axes) > MOST_ORDER:
            self._refuse(node, f"have derivatives of order {MOST_ORDER} at most")
        self._use_axes(axes)
        return axes.count("x"), axes.count("y"), axes.count("z")

    def _use_axes(self, axes: str) -> None:
        self.least_dims = max(self.least_dims, *(_AXES.index(axis) + 1 for axis in axes))

    def _signed(self, node: ast.UnaryOp, depth: int) -> Expression:
        if not isinstance(node.op, ast.USub | ast.UAdd):
            self._refuse(node, f"be {_GRAMMAR}")
        part = self._expression(node.operand, depth)
        return self._made(node, "negative", part) if isinstance(node.op, ast.USub) else part

    def _operation(self, node: ast.BinOp, depth: int) -> Expression:
        operator = _OPERATORS.get(type(node.op))
        if operator is None:
            self._refuse(node, "have + - * / and ^ only")
        left, right = self._expression(node.left, depth), self._expression(node.right, depth)
        if operator == "/" and right.depends == FIELD:
            self._refuse(node.right, "divide by no field")
        if operator == "^" and left.depends == FIELD:
            power = right.value if right.operation == "number" else None
            if power not in range(MOST_POWER + 1):
                self._refuse(node.right, f"have whole powers of fields, 0 to {MOST_POWER}")
            return self._made(node, "^", left, right, value=int(power))  # type: ignore[arg-type]
        if operator == "^" and right.depends != CONSTANT:
            self._refuse(node.right, "have constant exponents")
        return self._made(node, operator, left, right)

    def _call(self, node: ast.Call, depth: int) -> Expression:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in (*FUNCTIONS, "lap"):
            self._refuse(node.func, f"have brackets after {', '.join(FUNCTIONS)} and lap only, and * between factors")
        if len(node.args) != 1 or node.keywords:
            self._refuse(node, f"have one argument for {name}")
        part = self._expression(node.args[0], depth)
        if name == "lap":
            return self._made(node, name, part, depends=FIELD)
        if part.depends == FIELD:
            self._refuse(node.args[0], f"have {name} of places and parameters, not of fields")
        return self._made(node, name, part)

    def _derivative(self, node: ast.Attribute, depth: int) -> Expression:
        """(...)_x, which ``_python_of`` has made an attribute."""
        axes = node.attr.removeprefix("_")
        if not node.attr.startswith("_") or not axes or set(axes) - set(_AXES):
            self._refuse(node, "have no dots but in numbers, and derivatives of brackets along x, y and z: (u^2)_x")
        part = self._expression(node.value, depth)
        return self._made(node, "derivative", part, orders=self._orders(node, axes), depends=FIELD)


def _python_of(side: str, start: int) -> tuple[str, list[int]]:
    """A right-hand side as Python spells it, ``**`` for ^ and (...)._x for (...)_x, and the place of each character."""
    code, places = [], []
    for i, character in enumerate(side):
        if not code and character == " ":
            continue
        spelled = "**" if character == "^" else "._" if character == "_" and code[-1:] == [")"] else character
        code += spelled
        places += [start + i] * len(spelled)
    return "".join(code), places
