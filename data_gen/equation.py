"""An equation: a linear symbol, a nonlinear term, and the settings a dataset of it starts from."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data_gen.errors import check_finite
from data_gen.formulas.operators import NonlinearTerm, amplifies, check_well_posed, split, symbol_of
from data_gen.formulas.syntax import read_formula
from data_gen.formulas.terms import has_places, multiplied_out

if TYPE_CHECKING:
    from data_gen.grids.fixed_field import FixedField
    from data_gen.grids.periodic import PeriodicGrid


#: Numbers of dimensions of an equation that has all of them: a keyword ``num_dims`` of its function.
Dims = Literal[1, 2, 3]
_AXES = ("x", "y", "z")
#: Largest ratio of the hardness of the samples that are computed together where their parameters vary.
MOST_SPREAD = 2.0


@dataclass(frozen=True)
class KnownSolution:
    """A random initial condition of one equation whose solution is known.

    Args:
        fields: ``(grid, indices, time, *, seed, **parameters)`` -> the solutions ``(B, C, *N)`` at that time, float64;
            at time 0 the initial conditions. Parameters have defaults, and their help in ``Annotated``. It raises
            ValueError where the solution is not known, such as on too small a box or for too long a time.
        check: raises ValueError unless the parameters are usable.
    """

    fields: Callable[..., np.ndarray]
    check: Callable[..., None]


@dataclass(frozen=True)
class Equation:
    """A law u_t = L u + N(u) on a periodic box, in Fourier space.

    Args:
        name: the name of its module and function.
        parameters: its numbers, by name; a field that takes the place of one is a ``FixedField``.
        symbol: (k, one array an axis) -> L(k), real or complex, broadcastable to the modes ``(C, *K)`` of a sample; the
            last axis of a field is x, the one before it y. Not called for a steady problem.
        nonlinear: (modes ``(B, C, *K)``, grid) -> the modes of N(u), the same shape; None for a linear equation.
        formula: the equation in words of ASCII.
        exact: (u0 ``(..., N)``, grid, time) -> the solution by another way than time stepping; None where there is
            none.
        exact_method: the name of that way, usable as a dataset's ``method``; empty when it is only a check.
        front_width: (u0, grid, time) -> w if the solution forms fronts tanh(x / w), else infinity; to refuse early.
        channels: the names of the C components.
        divergence_free: the components are a velocity without divergence; random starts are projected to such fields.
        input_channels: those of the input, where they are others (the coefficient of a steady problem).
        input_name: the input's name in a file.
        num_dims: dimensions in space.
        boundary: "periodic", or "wall" for a problem on cells with values given at the walls (see ``cells``).
        homogeneous: the law is the same at every place, so that its solution operator commutes with shifts; False for a
            fixed forcing or coefficient.
        chaotic: errors grow exponentially in time, so that the tolerance holds for short times only.
        highest_mode: (grid of the data) -> the largest wavenumber, in periods over the domain, of fields that are part
            of the law; the march's grid always has it. Those of the usual forcings are below all grids.
        amplifies: the nonlinear term feeds what the linear part damps, as in patterns that grow out of small
            differences; errors are then not taken for forgotten.
        steady: the solution does not depend on time: ``exact`` takes the input to it, under ``exact_method``.
        extent: the usual length of the domain.
        time: the usual final time.
        tolerance: the usual error of time stepping relative to ``max |u|``.
        initial_condition: the usual initial condition, a name of ``random_fields.INITIAL_CONDITIONS`` or of ``known``.
        initial_parameters: its usual parameters, where they are not that condition's own defaults.
        known: initial conditions of this equation alone whose solution is known at every time, by name.
    """

    name: str
    parameters: Mapping[str, float | FixedField]
    symbol: Callable[..., np.ndarray]
    nonlinear: Callable[[np.ndarray, PeriodicGrid], np.ndarray] | None
    formula: str = ""
    exact: Callable[[np.ndarray, Any, float], np.ndarray] | None = None
    exact_method: str = ""
    front_width: Callable[[np.ndarray, PeriodicGrid, float], float] = lambda u0, grid, time: math.inf
    channels: tuple[str, ...] = ("u",)
    divergence_free: bool = False
    input_channels: tuple[str, ...] | None = None
    input_name: str = "a"
    num_dims: int = 1
    boundary: Literal["periodic", "wall"] = "periodic"
    homogeneous: bool = True
    chaotic: bool = False
    highest_mode: Callable[[PeriodicGrid], int] = lambda grid: 0
    amplifies: bool = False
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

    @staticmethod
    def parse(
        text: str, parameters: Mapping[str, Any] = MappingProxyType({}), *, num_dims: int | None = None
    ) -> Equation:
        """The equation that a text says, such as ``u_t = -u*u_x + nu*u_xx``.

        ::

            u_t = ...; v_t = ...        one equation for each field, named by letters and digits
            u_x, u_xxy, (u^2/2)_x       derivatives of fields and of brackets; lap(u), the Laplacian
            + - * / ^                   with numbers, pi, and parameters, which are all other names
            sin cos exp                 of the places x, y, z, the length L of the domain, and parameters

        Derivatives of a field with constant coefficients in the field's own equation are the symbol. All else is
        computed on points, term by term: u*u_x stays a product, and (u^2/2)_x a derivative.

        Args:
            text: the equations; it is parsed, never run.
            parameters: the numbers that its names stand for, or ``(B, 1, 1)`` arrays with one for each sample.
            num_dims: dimensions in space; as many as its axes if None.

        Returns:
            The equation, named by its text; on 2 pi until time 1, from ``truncated_fourier``, unless a dataset says
            otherwise.

        Raises:
            ValueError: the text is none of this, parameters are missing, unknown or not finite, or short waves would
                grow without bound.
        """
        if not isinstance(text, str):
            raise ValueError(f"Equation.parse: `text` must be a text; got {text!r}. Write it as 'u_t = u_xx'.")
        formula = read_formula(text)
        dims = formula.least_dims if num_dims is None else num_dims
        formula.check_use(parameters, dims)
        for name, value in parameters.items():
            check_finite("Equation.parse", name, value)
        values = {name: coefficient(parameters[name]) for name in formula.parameters}
        terms = [multiplied_out(side, values, dims) for side in formula.sides]
        parts = [split(each, field) for field, each in enumerate(terms)]
        symbol = symbol_of([linear for linear, _ in parts], dims)
        check_well_posed(symbol, dims)
        others = [each for _, each in parts]
        nonlinear = NonlinearTerm(others, values, dims) if any(others) else None
        return Equation(
            name=formula.text,
            parameters=values,
            symbol=symbol,
            nonlinear=nonlinear,
            formula=formula.text,
            channels=formula.fields,
            num_dims=dims,
            homogeneous=not any(map(has_places, terms)),
            amplifies=amplifies(symbol, others, dims),
            highest_mode=nonlinear.highest_mode if nonlinear is not None else lambda grid: 0,
            tolerance=1e-10 if dims == 1 else 1e-8,
            initial_condition="truncated_fourier",
        )

    def is_same_in_mirror(self, *, exchanged: bool = False) -> bool:
        """Whether the solution of a mirrored input is the mirrored solution along every axis, and with ``exchanged``
        that of an input with its axes exchanged the solution with its axes exchanged; tried on a random field.

        The components are taken as scalars: a velocity, which changes its sign, has another law in the mirror.
        """
        fields, law = self._random_input()
        if exchanged and len(set(fields.shape[2:])) > 1:
            return False
        answer, last = law(fields), fields.ndim - 1
        axes = range(fields.ndim - self.num_dims, fields.ndim)
        shift = 1 if self.boundary == "periodic" else 0
        images = [functools.partial(_mirrored, axis=axis, shift=shift) for axis in axes]
        if exchanged:
            images += [functools.partial(np.swapaxes, axis1=axis, axis2=last) for axis in axes if axis < last]
        scale = 1e-8 * np.abs(answer).max()
        return all(np.allclose(law(image(fields)), image(answer), rtol=0, atol=scale) for image in images)

    def _random_input(self) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
        """A random input ``(1, C, *N)`` on a small grid, and what the law makes of it: its rates u_t, or the solution
        of a steady problem.
        """
        from data_gen.grids.cells import CellGrid
        from data_gen.grids.fixed_field import FixedField
        from data_gen.grids.periodic import PeriodicGrid

        rng, channels = np.random.default_rng(0), len(self.input_channels or self.channels)
        if self.steady:
            of_fields = [one.values.shape for one in self.parameters.values() if isinstance(one, FixedField)]
            shape = (of_fields or [(8,) * self.num_dims])[0]
            cells = CellGrid.by_axis(shape, (self.extent,) * self.num_dims)
            return np.exp(rng.standard_normal((1, channels, *cells.shape))), lambda u: self._steady(u, cells)
        least = PeriodicGrid(16, self.extent, self.num_dims)
        grid = PeriodicGrid(16 + 2 * self.highest_mode(least), self.extent, self.num_dims)
        modes = grid.to_modes(rng.standard_normal((1, channels, *grid.shape)))
        modes[..., grid.shells > 4] = 0

        def rates(u: np.ndarray) -> np.ndarray:
            modes = grid.to_modes(u)
            linear = self.symbol(*grid.wavevector) * modes
            return grid.to_points(linear if self.nonlinear is None else linear + self.nonlinear(modes, grid))

        return grid.to_points(modes), rates

    def _steady(self, u: np.ndarray, grid: Any) -> np.ndarray:
        if self.exact is None:
            raise ValueError(f"{self.name}: `exact` must be given, as the problem is steady.")
        return self.exact(u, grid, self.time)

    def parameters_of(self, row: int) -> dict[str, float | str]:
        """The parameters of one of the samples that the equation is made for (see ``SampleEquations``)."""
        return {k: _number_of(v, row) for k, v in self.parameters.items()}


def _mirrored(fields: np.ndarray, *, axis: int, shift: int) -> np.ndarray:
    """Fields at minus x along one axis; on a periodic one the first point stays, with a shift of 1."""
    return np.roll(np.flip(fields, axis), shift, axis)


def _number_of(value: Any, row: int) -> float | str:
    """A parameter of a sample, for messages."""
    if isinstance(value, float):
        return value
    return float(np.ravel(value)[row]) if isinstance(value, np.ndarray) else "a field"


def squared(k: Sequence[np.ndarray]) -> np.ndarray:
    """``|k|^2`` from one array an axis."""
    return functools.reduce(np.add, [one**2 for one in k])


def in_dims(num_dims: int, formula: str) -> str:
    """A formula in words, with the Laplacian of u written out for ``{u}``."""
    names = sorted({name for name in "uvw" if f"{{{name}}}" in formula})
    terms = {name: " + ".join(f"{name}_{axis}{axis}" for axis in _AXES[:num_dims]) for name in names}
    return formula.format(**{name: f"({term})" if num_dims > 1 else term for name, term in terms.items()})


def coefficient(value: Any) -> Any:
    """A parameter as an equation computes with it: a float, or an array that broadcasts over the samples' fields."""
    return value if isinstance(value, np.ndarray) and value.ndim else float(value)


@dataclass(frozen=True)
class SampleEquations:
    """One equation whose parameters vary by sample.

    Args:
        make: the function that makes the equation from its parameters.
        parameters: a number, or ``(B,)`` one for each sample, by name; at least one has them. Fields are an array of
            objects.
    """

    make: Callable[..., Equation]
    parameters: Mapping[str, Any]

    def __len__(self) -> int:
        return max(len(v) for v in self.parameters.values() if isinstance(v, np.ndarray))

    def __iter__(self) -> Iterator[Equation]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, row: int) -> Equation:
        return self.make(**{k: _entry(v, row) if isinstance(v, np.ndarray) else v for k, v in self.parameters.items()})

    def symbol_sizes(self, grid: PeriodicGrid) -> np.ndarray:
        """``(B,)``, the largest ``|L|`` of each sample's law on a grid, above 0."""
        sizes = [np.abs(law.symbol(*grid.host.wavevector)).max() for law in self]
        return np.array(sizes) + np.finfo(float).tiny

    def together(self, rows: np.ndarray) -> Equation:
        """One equation for a chunk of samples, in one dimension: its parameters are arrays (b, 1, 1)."""
        return self.make(
            **{k: v[rows].reshape(-1, 1, 1) if isinstance(v, np.ndarray) else v for k, v in self.parameters.items()}
        )


def _entry(values: np.ndarray, row: int) -> Any:
    """The number or the field of one sample."""
    return values[row] if values.dtype == object else float(values[row])


def similar_rows(values: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Row numbers in groups of at most ``most``, in increasing order of their values, which differ by less than
    ``MOST_SPREAD`` in a group.
    """
    order, start = np.argsort(values, kind="stable"), 0
    for stop in range(1, len(order) + 1):
        ended = stop == len(order) or stop - start == most
        if ended or values[order[stop]] / MOST_SPREAD > values[order[start]]:
            yield order[start:stop]
            start = stop
