"""Terms as they are computed: the symbol of the linear part in Fourier space, and the nonlinear term on points."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from data_gen.formulas.terms import NONE, Derivative, Factor, Flux, Orders, Product, Profile, Terms, added, evaluated
from data_gen.grids.fixed_field import highest_mode
from data_gen.grids.periodic import PeriodicGrid

#: A fixed function may differ by so much, relative to its maximum, from itself one length of the domain further.
PERIODIC_WITHIN = 1e-9
#: Grids on which fixed functions are looked at: points of the first; of the last, by dimensions, in quarters, if the
#: data have fewer; how far they are shifted, of a spacing; and how well a resolved function is interpolated.
FIRST_POINTS, SEEN_POINTS, SHIFT, PROFILE_WITHIN = 16, {1: 1024, 2: 256, 3: 64}, 0.3819660112501051, 1e-10
_PHASES = (1.0, 1j, -1.0, -1j)  # i^n
Linear = list[tuple[Any, Orders]]


def split(terms: Terms, field: int) -> tuple[Linear, Terms]:
    """The terms of a field's equation that are derivatives of the field itself, and all others."""
    linear: Linear = []
    others: Terms = {}
    for product, number in terms.items():
        only = product[0] if len(product) == 1 else None
        if isinstance(only, Derivative) and only.field == field:
            linear.append((number, only.orders))
        else:
            others[product] = number
    return linear, others


def symbol_of(linear: Sequence[Linear], num_dims: int) -> Callable[..., np.ndarray]:
    """L(k) = sum c (i k_x)^a (i k_y)^b (i k_z)^c of each field, real where all orders are even."""

    def symbol(*k: np.ndarray) -> np.ndarray:
        base = 0.0 * functools.reduce(np.add, k)
        rows = []
        for terms in linear:
            total = base
            for number, orders in terms:
                waves = _PHASES[sum(orders) % 4] * _power(k, orders)
                total = total + number * waves
            rows.append(total)
        if len(rows) == 1:
            return rows[0]
        rows = [row[None] if row.ndim == num_dims else row for row in rows]
        return np.concatenate(np.broadcast_arrays(*rows), axis=-1 - num_dims)

    return symbol


def _power(axes: Sequence[Any], orders: Orders) -> Any:
    """The product of one array an axis, x last, each to its power; 1 for none."""
    factors = [axes[-1 - axis] ** order for axis, order in enumerate(orders) if order]
    return functools.reduce(lambda a, b: a * b, factors) if factors else 1.0


def check_well_posed(symbol: Callable[..., np.ndarray], num_dims: int) -> None:
    """Raise ValueError where the linear part makes short waves grow without bound."""
    for direction in itertools.product((-2.0, -1.0, 0.0, 1.0, 2.0), repeat=num_dims):
        with np.errstate(all="ignore"):
            rates = [symbol(*(np.full((1,) * num_dims, scale * one) for one in direction)) for scale in (1e4, 1e5)]
        if not np.isfinite(rates).all():
            raise ValueError(
                "Equation.parse: `text` must have a linear part that can be computed; got one that overflows for short "
                "waves. Use smaller coefficients."
            )
        long, short = (float(np.real(rate).max()) for rate in rates)
        if short > 0 and short > 2 * long:
            raise ValueError(
                f"Equation.parse: `text` must not make short waves grow without bound; its linear part lets those of "
                f"wavenumbers {', '.join(f'{1e5 * one:g}' for one in reversed(direction))} grow at the rate "
                f"{short:.3g}. Change the sign of the derivative of highest order."
            )


def amplifies(linear: Callable[..., np.ndarray], others: Sequence[Terms], num_dims: int) -> bool:
    """Whether the terms other than the linear part may feed what that damps, so that errors are not forgotten.

    Reactions may, such as u v^2. Those that damp the field themselves, such as -u^3 or Lap u^3, do not on a line, where
    the grid is chosen with more care. Convection may where the linear part lets waves grow or a force drives them, and
    where dispersion keeps waves apart for longer than their damping takes.

    Args:
        linear: the symbol.
        others: the terms of each field's equation that are not in it.
        num_dims: dimensions in space.
    """
    carried, forced = False, False
    for field, terms in enumerate(others):
        forced = forced or any(_is_fixed({product: number}) for product, number in terms.items())
        for product, number, orders in _products(terms):
            if _carries(product, orders):
                carried = True
            elif num_dims > 1 or not _damps(field, product, number, orders):
                return True
    return carried and (forced or _grows(linear, num_dims) or _damps_and_disperses(linear, num_dims))


def _products(terms: Terms, outer: float = 1.0, orders: Orders = NONE) -> Iterator[tuple[Product, Any, Orders]]:
    """The products with a field, those under derivatives too: each with its coefficient and the orders of these."""
    for product, number in terms.items():
        only = product[0] if len(product) == 1 else None
        if isinstance(only, Flux):
            yield from _products(only.terms, outer * number, added(orders, only.orders))
        elif len(product) > 1 and not _is_fixed({product: number}):
            yield product, outer * number, orders


def _damps(field: int, product: Product, number: Any, orders: Orders) -> bool:
    """Whether it is an odd power of the field, under even derivatives if any, with the sign that damps."""
    own = all(isinstance(factor, Derivative) and factor.field == field and factor.orders == NONE for factor in product)
    even = all(order % 2 == 0 for order in orders)
    return own and even and len(product) % 2 == 1 and bool(np.all(number * (-1) ** (sum(orders) // 2) < 0))


def _carries(product: Product, orders: Orders) -> bool:
    """Whether it has a derivative of odd order, as convection has."""
    inner = [factor.orders for factor in product if not isinstance(factor, Profile)]
    return any(sum(one) % 2 for one in (orders, *inner))


def _grows(symbol: Callable[..., np.ndarray], num_dims: int) -> bool:
    """Whether a wave grows."""
    return any(float(np.real(rates).max()) > 0 for rates in _along_axes(symbol, num_dims))


def _damps_and_disperses(symbol: Callable[..., np.ndarray], num_dims: int) -> bool:
    """Whether waves are damped and their speeds depend on their lengths."""
    single, double = (list(_along_axes(symbol, num_dims, scale)) for scale in (1.0, 2.0))
    damps = any(float(np.real(rates).min()) < 0 for rates in single)
    return damps and any(
        float(np.abs(np.imag(b - 2 * a)).max()) > 1e-9 * float(np.abs(np.imag(b)).max())
        for a, b in zip(single, double, strict=True)
    )


def _along_axes(symbol: Callable[..., np.ndarray], num_dims: int, scale: float = 1.0) -> Iterator[np.ndarray]:
    """The symbol along each axis and diagonal, at wavenumbers from 0.001 to 1000 times the scale."""
    sizes = scale * np.geomspace(1e-3, 1e3, 61).reshape((1,) * (num_dims - 1) + (-1,))
    for direction in itertools.product((0.0, 1.0), repeat=num_dims):
        yield np.asarray(symbol(*(one * sizes for one in direction)), dtype=complex)


class NonlinearTerm:
    """N(u) of all terms but the linear part, evaluated on points as they are written.

    Args:
        sides: the terms of each field's equation.
        values: the parameters.
        num_dims: dimensions in space.
    """

    def __init__(self, sides: Sequence[Terms], values: Mapping[str, Any], num_dims: int) -> None:
        self.values, self.num_dims = values, num_dims
        self.points = (slice(None),) * num_dims
        self.mean = (slice(0, 1),) * num_dims
        self.sides = [self._by_orders(terms) for terms in sides]
        self.profiles: dict[tuple[Profile, PeriodicGrid], Any] = {}

    def __call__(self, modes: np.ndarray, grid: PeriodicGrid) -> np.ndarray:
        """``(B, C, *K)`` -> the same shape."""
        rate, known = 0 * modes, {}
        for field, (constant, waves, products) in enumerate(self.sides):
            for number, one in waves:
                rate[(..., slice(field, field + 1), *self.points)] += number * self._differentiated(modes, one, grid)
            for orders, terms in products.items():
                change = grid.to_modes(self._sum(terms, modes, grid, known))
                if orders != NONE:
                    change *= _power(grid.derivative, orders)
                rate[(..., slice(field, field + 1), *self.points)] += change
            if np.any(constant):
                rate[(..., slice(field, field + 1), *self.mean)] += constant * grid.size
        return rate

    def highest_mode(self, grid: PeriodicGrid) -> int:
        """The largest wavenumber along an axis of the fixed functions in the text, in periods over the domain."""
        return max((self._highest_of(profile, grid) for profile in self._all_profiles()), default=0)

    def _all_profiles(self) -> set[Profile]:
        """The fixed functions of all sides."""
        found: set[Profile] = set()
        left = [terms for _, _, products in self.sides for terms in products.values()]
        while left:
            for factor in itertools.chain.from_iterable(left.pop()):
                if isinstance(factor, Profile):
                    found.add(factor)
                elif isinstance(factor, Flux):
                    left.append(factor.terms)
        return found

    def _highest_of(self, profile: Profile, grid: PeriodicGrid) -> int:
        """Of one fixed function; half of the finest grid's points if none resolves it.

        A grid resolves it if interpolating its values gives those at shifted points: a wave that all points take for
        another one fails there.
        """
        finest = 4 * max(grid.num_points, SEEN_POINTS[self.num_dims])
        own = replace(grid, num_points=FIRST_POINTS)
        while own.num_points < finest:
            shift = tuple(SHIFT * spacing for spacing in own.spacings)
            values = self._values(profile, own)
            phases = [np.exp(1j * moved * k) for moved, k in zip(shift, own.wavevector, strict=True)]
            turned = functools.reduce(np.multiply, phases)
            missed = own.to_points(own.to_modes(values) * turned) - self._values(profile, own, shift)
            if np.abs(missed).max() <= PROFILE_WITHIN * np.abs(values).max():
                return highest_mode(values, own, own)
            own = replace(own, num_points=2 * own.num_points)
        return finest // 2

    @staticmethod
    def _by_orders(terms: Terms) -> tuple[Any, list[tuple[Any, Derivative]], dict[Orders, Terms]]:
        """The constant, derivatives of other fields, and products by the derivative that is taken of their sum."""
        constant: Any = 0.0
        waves, products = [], {}
        for product, number in terms.items():
            only = product[0] if len(product) == 1 else None
            if not product:
                constant = number
            elif isinstance(only, Derivative):
                waves.append((number, only))
            elif isinstance(only, Flux):
                inner = products.setdefault(only.orders, {})
                for each, factor in only.terms.items():
                    inner[each] = inner.get(each, 0.0) + number * factor
            else:
                inner = products.setdefault(NONE, {})
                inner[product] = inner.get(product, 0.0) + number
        return constant, waves, products

    def _differentiated(self, modes: np.ndarray, one: Derivative, grid: PeriodicGrid) -> np.ndarray:
        own = modes[(..., slice(one.field, one.field + 1), *self.points)]
        return 1 * own if one.orders == NONE else _power(grid.derivative, one.orders) * own

    def _sum(self, terms: Terms, modes: np.ndarray, grid: PeriodicGrid, known: dict[Factor, Any]) -> np.ndarray:
        """``(B, 1, *N)``, the sum of products on points."""
        total: Any = 0.0
        for product, number in terms.items():
            total = total + number * self._product(product, modes, grid, known)
        return total + 0 * self._on_points(Derivative(0, NONE), modes, grid, known) if _is_fixed(terms) else total

    def _product(self, product: Product, modes: np.ndarray, grid: PeriodicGrid, known: dict[Factor, Any]) -> Any:
        factors = [self._on_points(factor, modes, grid, known) for factor in product]
        return functools.reduce(lambda a, b: a * b, factors) if factors else 1.0

    def _on_points(self, factor: Factor, modes: np.ndarray, grid: PeriodicGrid, known: dict[Factor, Any]) -> Any:
        if isinstance(factor, Profile):
            return self._profile(factor, grid)
        if factor not in known:
            if isinstance(factor, Derivative):
                waves = self._differentiated(modes, factor, grid)
            else:
                waves = grid.to_modes(self._sum(factor.terms, modes, grid, known))
                waves *= _power(grid.derivative, factor.orders)
            known[factor] = grid.to_points(waves)
        return known[factor]

    def _profile(self, profile: Profile, grid: PeriodicGrid) -> Any:
        """A fixed function on the grid, computed once.

        Raises:
            ValueError: it is not periodic on the domain.
        """
        key = (profile, grid)
        if key not in self.profiles:
            axes = self._axes(grid.host)
            value = self._values(profile, grid.host)
            for axis in range(self.num_dims):
                length = grid.extents[-1 - axis]
                further = tuple(x + length * (i == axis) for i, x in enumerate(axes))
                again = evaluated(profile.expression, self.values, further, grid.extents[-1])
                if np.abs(again - value).max() > PERIODIC_WITHIN * max(np.abs(value).max(), np.finfo(float).tiny):
                    raise ValueError(
                        f"Equation.parse: `text` must have functions of the place that are periodic on the domain, of "
                        f"length {length:.6g}; got {profile.expression.words!r}. Use sin(2*pi*x/L), where L is "
                        f"that length, or another --extent."
                    )
            self.profiles[key] = grid.asarray(np.ascontiguousarray(value))
        return self.profiles[key]

    def _axes(self, grid: PeriodicGrid, shift: Sequence[float] = ()) -> list[np.ndarray]:
        """The coordinates, x first."""
        parts = zip(grid.axis_points[::-1], tuple(shift)[::-1] or (0.0,) * grid.num_dims, strict=True)
        return [(x + moved).reshape((-1,) + (1,) * axis) for axis, (x, moved) in enumerate(parts)]

    def _values(self, profile: Profile, grid: PeriodicGrid, shift: Sequence[float] = ()) -> np.ndarray:
        """A fixed function at the points, moved along each axis."""
        value = evaluated(profile.expression, self.values, tuple(self._axes(grid, shift)), grid.extents[-1])
        return np.broadcast_to(value, np.broadcast_shapes(np.shape(value), grid.shape))


def _is_fixed(terms: Terms) -> bool:
    """Whether no product has a field, so that its shape is not that of the samples."""
    return all(isinstance(factor, Profile) for product in terms for factor in product)
