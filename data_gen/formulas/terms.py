"""Right-hand sides multiplied out into terms: those of the linear part, and all others."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from data_gen.formulas.syntax import CONSTANT, FUNCTIONS, MOST_ORDER, PLACE, Expression

#: Most terms of a right-hand side that is multiplied out, and most factors of one.
MOST_TERMS, MOST_FACTORS = 200, 16
Orders = tuple[int, int, int]
NONE: Orders = (0, 0, 0)
_TWICE: tuple[Orders, ...] = ((2, 0, 0), (0, 2, 0), (0, 0, 2))


@dataclass(frozen=True)
class Derivative:
    """A field, or a derivative of it.

    Args:
        field: its number.
        orders: how often it is differentiated along x, y and z.
    """

    field: int
    orders: Orders


@dataclass(frozen=True)
class Profile:
    """A fixed function of the place.

    Args:
        expression: what it is.
    """

    expression: Expression


@dataclass(frozen=True, eq=False)
class Flux:
    """A derivative of products.

    Args:
        orders: how often they are differentiated along x, y and z.
        terms: the products.
    """

    orders: Orders
    terms: Terms


Factor = Derivative | Profile | Flux
Product = tuple[Factor, ...]
#: Coefficients, numbers or one for each sample, by the product of factors that they multiply.
Terms = dict[Product, Any]


def multiplied_out(side: Expression, values: Mapping[str, Any], num_dims: int) -> Terms:
    """The terms of a right-hand side.

    Products are not differentiated: (u^2)_x stays a derivative of a product, and u*u_x a product.

    Args:
        side: it.
        values: the parameters, numbers or arrays with one for each sample.
        num_dims: dimensions of the Laplacian.

    Raises:
        ValueError: a number is not finite, or terms, factors or orders are too many.
    """
    if side.depends == CONSTANT:
        return {(): evaluated(side, values)}
    if side.depends == PLACE:
        return {(Profile(side),): 1.0}
    if side.operation == "field":
        return {(Derivative(int(side.value or 0), side.orders),): 1.0}
    parts = [multiplied_out(part, values, num_dims) for part in side.parts]
    return _checked(side, _combined(side, parts, values, num_dims))


def _combined(side: Expression, parts: list[Terms], values: Mapping[str, Any], num_dims: int) -> Terms:
    """The terms of an operation on expressions of these terms."""
    first, *others = parts
    match side.operation:
        case "lap":
            return _sum(*(_differentiated(first, _TWICE[axis]) for axis in range(num_dims)))
        case "derivative":
            return _differentiated(first, side.orders)
        case "negative":
            return _scaled(first, -1.0)
        case "+":
            return _sum(first, others[0])
        case "-":
            return _sum(first, _scaled(others[0], -1.0))
        case "*":
            return _product(first, others[0], side)
        case "/":
            return _product(first, _reciprocal(side.parts[1], values), side)
        case _:
            return _power(first, int(side.value or 0), side)


def evaluated(
    expression: Expression, values: Mapping[str, Any], place: tuple[np.ndarray, ...] = (), extent: float = 1.0
) -> Any:
    """The value of an expression without fields.

    Args:
        expression: it.
        values: the parameters.
        place: x, y and z as far as there are such axes.
        extent: length of the domain.

    Raises:
        ValueError: it is not finite.
    """
    with np.errstate(all="ignore"):
        value = _value(expression, values, place, extent)
    if not np.isfinite(value).all():
        _refuse(expression, "have finite real values")
    return float(value) if not np.ndim(value) else value


def _value(expression: Expression, values: Mapping[str, Any], place: tuple[np.ndarray, ...], extent: float) -> Any:
    operation, value = expression.operation, expression.value
    if operation == "number":
        return np.float64(value)  # type: ignore[arg-type]
    if operation == "parameter":
        return np.asarray(values[str(value)], dtype=float)[()]
    if operation == "axis":
        return place[int(value or 0)]
    if operation == "length":
        return np.float64(extent)
    parts = [_value(part, values, place, extent) for part in expression.parts]
    if operation in FUNCTIONS:
        return getattr(np, operation)(parts[0])
    if operation == "negative":
        return -parts[0]
    apply = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide, "^": np.power}[operation]
    return apply(parts[0], parts[1])


def _reciprocal(divisor: Expression, values: Mapping[str, Any]) -> Terms:
    one = Expression("number", value=1.0)
    inverse = Expression("/", (one, divisor), depends=divisor.depends, words=f"1/({divisor.words})")
    if divisor.depends == CONSTANT:
        return {(): evaluated(inverse, values)}
    return {(Profile(inverse),): 1.0}


def _sum(*parts: Terms) -> Terms:
    total: Terms = {}
    for part in parts:
        for product, number in part.items():
            total[product] = total[product] + number if product in total else number
    return total


def _scaled(terms: Terms, by: float) -> Terms:
    return {product: by * number for product, number in terms.items()}


def _product(left: Terms, right: Terms, side: Expression) -> Terms:
    if len(left) * len(right) > MOST_TERMS:
        _refuse(side, f"have at most {MOST_TERMS} terms when it is multiplied out")
    return _sum(
        *({tuple(sorted(one + other, key=repr)): a * b} for one, a in left.items() for other, b in right.items())
    )


def _power(terms: Terms, exponent: int, side: Expression) -> Terms:
    power: Terms = {(): 1.0}
    for _ in range(exponent):
        power = _checked(side, _product(power, terms, side))
    return power


def _differentiated(terms: Terms, orders: Orders) -> Terms:
    """Each field and each derivative is differentiated further; all products together become one ``Flux``."""
    found: Terms = {}
    products: Terms = {}
    for product, number in terms.items():
        only = product[0] if len(product) == 1 else None
        if isinstance(only, Derivative):
            found = _sum(found, {(Derivative(only.field, added(only.orders, orders)),): number})
        elif isinstance(only, Flux):
            found[(Flux(added(only.orders, orders), only.terms),)] = number
        elif product:
            products[product] = number
    if products:
        found[(Flux(orders, products),)] = 1.0
    return found


def added(one: Orders, other: Orders) -> Orders:
    """The orders of a derivative of a derivative."""
    return one[0] + other[0], one[1] + other[1], one[2] + other[2]


def _checked(side: Expression, terms: Terms) -> Terms:
    if not all(np.isfinite(number).all() for number in terms.values()):
        _refuse(side, "have finite real coefficients")
    if len(terms) > MOST_TERMS:
        _refuse(side, f"have at most {MOST_TERMS} terms when it is multiplied out")
    if any(len(product) > MOST_FACTORS for product in terms):
        _refuse(side, f"have at most {MOST_FACTORS} factors in a term")
    if any(map(_is_too_steep, itertools.chain.from_iterable(terms))):
        _refuse(side, f"have derivatives of order {MOST_ORDER} at most")
    return {product: number for product, number in terms.items() if np.any(number)}


def _is_too_steep(factor: Factor) -> bool:
    return not isinstance(factor, Profile) and sum(factor.orders) > MOST_ORDER


def _refuse(expression: Expression, requirement: str) -> NoReturn:
    raise ValueError(f"Equation.parse: `text` must {requirement}; got {expression.words!r}.")


def has_places(terms: Terms) -> bool:
    """Whether a term has a fixed function of the place."""
    return any(
        isinstance(factor, Profile) or (isinstance(factor, Flux) and has_places(factor.terms))
        for product in terms
        for factor in product
    )
