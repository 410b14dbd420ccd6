"""Description of a dataset, frozen, which determines every byte of its file; and the named presets."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.equations import equation_dims, equation_in, equation_parameters
from data_gen.errors import check_count, check_finite, check_positive
from data_gen.grids.cells import CellGrid, NodeGrid
from data_gen.grids.grid import each_axis, one_if_alike
from data_gen.grids.periodic import PeriodicGrid
from data_gen.grids.positions import Placement, axis_of
from data_gen.header import Header
from data_gen.initial import check_initial, initial_defaults, initial_names, of_kind
from data_gen.random_fields.own import OWN_PARAMETERS, FieldFile, StartFunction, field_file, own_start
from data_gen.random_fields.parameters import ParameterLaw, drawn_parameter, end_values, law_texts, parameter_law
from data_gen.solvers.schemes import SCHEMES, fastest_scheme

Method = Literal["auto", "lawson7", "adams6", "etdrk4", "cole-hopf", "direct"]
DType = Literal["float32", "float64"]
#: Points along each axis if none are given, by the number of dimensions.
USUAL_RESOLUTION = {1: 8192, 2: 256, 3: 32}
_NONE: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class _Description:
    """The values of a description, all of them filled in."""

    equation: str
    parameters: Mapping[str, float | str]
    samples: int
    resolution: int | tuple[int, ...]
    extent: float | tuple[float, ...]
    times: tuple[float, ...]
    initial_condition: str
    initial_parameters: Mapping[str, Any]
    seed: int
    method: Method
    tolerance: float
    dtype: DType
    allow_unresolved: bool
    device: str
    num_dims: int
    placement: Placement
    initial_function: StartFunction | None = field(default=None, compare=False, repr=False)


class DatasetSpec(_Description):
    """Description of a dataset; omitted values are filled in, so two equal descriptions are equal objects.

    Args:
        equation: name of the equation, or its text, "u_t = -u*u_x + nu*u_xx" (see ``Equation.parse``).
        parameters: its parameters by name; those left out take the equation's defaults. A text makes one vary by
            sample: "0.01:0.1" uniform, "log:0.001:0.1" with a uniform logarithm, "0.01,0.03,0.1" one of these. A file,
            FILE.npy or FILE.h5:NAME, makes a forcing or source a field: ``(*N)`` for all samples, or ``(samples, *N)``.
        samples: number of samples.
        resolution: grid points along each axis; 8192 in one dimension, 256 in two and 32 in three if None. A tuple has
            one number an axis, x last.
        extent: length of the domain, or of each axis, x last; the equation's usual one if None.
        times: output times above 0, increasing; the equation's usual final time if None. The file of several also
            has the initial condition in its trajectories. None for a steady equation.
        initial_condition: name of the random initial condition; the equation's usual one if None. Or your own: a file,
            FILE.npy or FILE.h5:NAME, with ``(samples, *N)`` or ``(samples, C, *N)`` fields, or a function of (random
            generator, grid) that returns ``(*N)`` or ``(C, *N)``. Stored as "file" or "function", with a checksum in
            the parameters.
        initial_parameters: its parameters by name; those left out take the equation's usual values for its usual
            initial condition, else their defaults.
        seed: non-negative integer; sample i depends on it and on i alone.
        method: "lawson7", "adams6" or "etdrk4" (see ``solve``), "cole-hopf" (Burgers), "direct" (Darcy), or "auto": the
            exact way where there is one, else the fastest scheme proven for the equation. Stored resolved.
        tolerance: largest relative error that time stepping may make; the equation's usual one if None.
        dtype: precision on disk; computing is in float64.
        allow_unresolved: store fields that the grid does not resolve.
        device: where time is stepped (see ``solve``); part of the description, as devices agree to rounding only.
        num_dims: dimensions in space; the equation's usual number if None.
        placement: of points between walls, "cells" (their centres) or "nodes" (from wall to wall); "cells" if None.
        initial_function: the function that a description with the initial condition "function" stands for.

    Raises:
        ValueError: any value is unusable or a name is unknown.
    """

    def __init__(
        self,
        equation: str = "burgers",
        parameters: Mapping[str, float | str] = _NONE,
        samples: int = 2048,
        resolution: int | Sequence[int] | None = None,
        extent: float | Sequence[float] | None = None,
        times: Sequence[float] | None = None,
        initial_condition: str | StartFunction | None = None,
        initial_parameters: Mapping[str, Any] = _NONE,
        seed: int = 0,
        method: Method = "auto",
        tolerance: float | None = None,
        dtype: DType = "float64",
        allow_unresolved: bool = False,
        device: str = "cpu",
        num_dims: int | None = None,
        initial_function: StartFunction | None = None,
        placement: Placement | None = None,
    ) -> None:
        check_count("DatasetSpec", "samples", samples)
        check_count("DatasetSpec", "seed", seed, minimum=0)
        _check_choice("dtype", dtype, get_args(DType))
        _check_choice("method", method, get_args(Method))
        given = _known_parameters(equation, parameters)
        laws = [equation_in(equation, num_dims)(**values) for values in end_values(given)]
        law = laws[0]
        if num_dims not in (None, law.num_dims):
            raise ValueError(f"DatasetSpec: `num_dims` of {equation} must be {law.num_dims}; got {num_dims!r}.")
        tolerance = law.tolerance if tolerance is None else tolerance
        check_positive("DatasetSpec", "tolerance", tolerance)
        shape, extents = _resolved_axes(law, resolution, extent)
        placement = _resolved_placement(law, placement)
        times = _resolved_times(law, times)
        if callable(initial_condition):
            initial_function = initial_condition
        initial, initial_parameters = own_start(initial_condition or law.initial_condition, initial_parameters)
        for each in laws:
            initial_parameters = _initial_parameters(each, initial, initial_parameters)
        method = _resolved_method(law, method)
        _check_device(law, method, device)
        super().__init__(
            equation=law.name,
            parameters=MappingProxyType(dict(sorted({**law.parameters, **law_texts(given)}.items()))),
            samples=int(samples),
            resolution=one_if_alike(shape),
            extent=one_if_alike(extents),
            times=times,
            initial_condition=initial,
            initial_parameters=initial_parameters,
            seed=int(seed),
            method=method,
            tolerance=float(tolerance),
            dtype=dtype,
            allow_unresolved=allow_unresolved,
            device=device,
            num_dims=law.num_dims,
            placement=placement,
            initial_function=initial_function,
        )

    def __hash__(self) -> int:
        return hash(self.config_hash)

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled, (self.to_dict(), self.initial_function)

    @property
    def header(self) -> Header:
        """Description of the file's content."""
        equation = self.make_equation()
        shape = each_axis("DatasetSpec", "resolution", self.resolution, self.num_dims)
        extents = each_axis("DatasetSpec", "extent", self.extent, self.num_dims)
        axes = [axis_of(points, extent, self.placement) for points, extent in zip(shape, extents, strict=True)]
        return Header(
            name=self.equation,
            num_samples=self.samples,
            shape=shape,
            extents=tuple(extent for extent, _ in axes),
            offsets=tuple(offset for _, offset in axes),
            times=(0.0, *self.times),
            channels=equation.channels,
            input_channels=equation.input_channels,
            input_name=equation.input_name,
            dtype=self.dtype,
            boundary=equation.boundary,
            formula=equation.formula,
            parameters={k: v for k, v in self.parameters.items() if not isinstance(v, str)},
        )

    @property
    def grid(self) -> PeriodicGrid | CellGrid | NodeGrid:
        """The grid of the stored fields."""
        return self.header.grid

    @property
    def periodic_grid(self) -> PeriodicGrid:
        """The grid of the stored fields of an equation that is integrated in time.

        Raises:
            ValueError: the equation is not periodic.
        """
        if not isinstance(self.grid, PeriodicGrid):
            raise ValueError(f"DatasetSpec: `equation` must be periodic to be marched in time; got {self.equation!r}.")
        return self.grid

    @property
    def config_hash(self) -> str:
        """SHA-256 of the description: equal for equal descriptions, on any machine."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def make_equation(self) -> Equation:
        """The equation with its parameters; of those that vary by sample with an end of their range."""
        return self._law

    @cached_property
    def _law(self) -> Equation:
        return equation_in(self.equation, self.num_dims)(**end_values(self.laws)[0])

    @cached_property
    def laws(self) -> Mapping[str, ParameterLaw | FieldFile | float]:
        """The parameters: numbers, the laws of those that vary by sample, and the files of those that are fields."""
        return _known_parameters(self.equation, self.parameters)

    def parameter_table(self, indices: Sequence[int] | np.ndarray) -> dict[str, np.ndarray]:
        """The parameters that vary, by name: (len(indices),) float64, the values of these samples."""
        varying = {name: law for name, law in self.laws.items() if isinstance(law, ParameterLaw)}
        return {
            name: np.array([drawn_parameter(law, name, seed=self.seed, index=int(i)) for i in indices], dtype=float)
            for name, law in varying.items()
        }

    @property
    def field_files(self) -> tuple[FieldFile, ...]:
        """The files of the parameters that are fields."""
        return tuple(law for law in self.laws.values() if isinstance(law, FieldFile))

    def equations(
        self,
        indices: Sequence[int] | np.ndarray,
        read: Callable[[FieldFile, int], np.ndarray] | None = None,
    ) -> Equation | SampleEquations:
        """The equation of these samples: one for all, or if parameters vary one for each.

        Parameters that are fields are read by ``read``, from the file and the number of a sample, when they are used.
        """
        table = self.parameter_table(indices)
        for file in self.field_files:
            table[file.name] = np.empty(len(indices), dtype=object)
            table[file.name][:] = [file.of_sample(int(index), read) for index in indices]
        if not table:
            return self.make_equation()
        return SampleEquations(equation_in(self.equation, self.num_dims), {**self.laws, **table})

    def to_dict(self) -> dict[str, Any]:
        """Plain dictionary of the description, fit for JSON."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "initial_function"}
        values["parameters"] = dict(self.parameters)
        values["initial_parameters"] = dict(self.initial_parameters)
        values["times"] = list(self.times)
        if self.num_dims == (equation_dims(self.equation) or (self.num_dims,))[0]:
            del values["num_dims"]  # version 0.1 had none, and its hashes stay
        if self.placement != "nodes":
            del values["placement"]
        for name in ("resolution", "extent"):
            values[name] = list(values[name]) if isinstance(values[name], tuple) else values[name]
        return values

    def to_json(self) -> str:
        """Canonical JSON of the description: sorted keys, shortest exact floats."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> DatasetSpec:
        """Description from ``to_dict``.

        Raises:
            ValueError: a key is unknown or a value is unusable.
        """
        unknown = sorted(set(values) - ({f.name for f in fields(DatasetSpec)} - {"initial_function"}))
        if unknown:
            raise ValueError(f"DatasetSpec.from_dict: `values` must have known keys only; got {', '.join(unknown)}.")
        times = values.get("times")
        return DatasetSpec(**{**values, "times": None if times is None else tuple(times)})


def _unpickled(values: Mapping[str, Any], function: StartFunction | None) -> DatasetSpec:
    return DatasetSpec(**{**values, "times": tuple(values["times"]) or None}, initial_function=function)


def _check_choice(argument: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"DatasetSpec: `{argument}` must be one of {', '.join(choices)}; got {value!r}.")


def _known_parameters(equation: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the laws that texts describe."""
    known = [p.name for p in equation_parameters(equation)]
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(
            f"DatasetSpec: `parameters` of {equation} must be among {', '.join(known)}; got {', '.join(unknown)}."
        )
    fields = {p.name for p in equation_parameters(equation) if p.takes_field}

    def law_of(name: str, text: str) -> ParameterLaw | FieldFile | float:
        return (field_file(name, text) if name in fields else None) or parameter_law(name, text)

    return {k: law_of(k, v) if isinstance(v, str) else v for k, v in parameters.items()}


def _resolved_axes(
    law: Equation, resolution: int | Sequence[int] | None, extent: float | Sequence[float] | None
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Points and length of each axis."""
    extents = each_axis("DatasetSpec", "extent", law.extent if extent is None else extent, law.num_dims)
    for length in extents:
        check_positive("DatasetSpec", "extent", length)
    resolution = USUAL_RESOLUTION[law.num_dims] if resolution is None else resolution
    shape = each_axis("DatasetSpec", "resolution", resolution, law.num_dims)
    for points in shape:
        check_count("DatasetSpec", "resolution", points, minimum=4)
    return tuple(map(int, shape)), tuple(map(float, extents))


def _resolved_placement(law: Equation, placement: Placement | None) -> Placement:
    known: tuple[Placement, ...] = ("cells", "nodes") if law.boundary == "wall" else ("periodic",)
    placement = known[0] if placement is None else placement
    _check_choice("placement", placement, known)
    return placement


def _resolved_times(equation: Equation, times: Any) -> tuple[float, ...]:
    if equation.steady:
        if times:
            raise ValueError(f"DatasetSpec: `times` must be None for {equation.name}, which is steady; got {times!r}.")
        return ()
    return _checked_times((equation.time,) if times is None else times)


def _checked_times(times: Any) -> tuple[float, ...]:
    values = tuple(times) if hasattr(times, "__iter__") else (times,)
    for value in values:
        check_finite("DatasetSpec", "times", value)
    rising = all(later > earlier for earlier, later in itertools.pairwise(values))
    if not values or not rising or not values[0] > 0:
        raise ValueError(f"DatasetSpec: `times` must be one time above 0 or several that increase; got {values}.")
    return tuple(float(v) for v in values)


def _initial_parameters(equation: Equation, name: str, given: Mapping[str, Any]) -> Mapping[str, Any]:
    if name in OWN_PARAMETERS:
        if set(given) != OWN_PARAMETERS[name] or not all(isinstance(value, str) for value in given.values()):
            wanted = ", ".join(sorted(OWN_PARAMETERS[name]))
            raise ValueError(f"DatasetSpec: `initial_parameters` of {name} must be {wanted}.")
        return MappingProxyType(dict(sorted(given.items())))
    if name not in initial_names(equation):
        known = ", ".join(initial_names(equation))
        raise ValueError(f"DatasetSpec: `initial_condition` must be one of {known}; got {name!r}.")
    known = initial_defaults(equation, name)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(
            f"DatasetSpec: `initial_parameters` of {name} must be among {', '.join(known)}; got {', '.join(unknown)}."
        )
    values = {key: of_kind(given.get(key, default), default) for key, default in known.items()}
    check_initial(equation, name, values)
    return MappingProxyType(dict(sorted(values.items())))


def _resolved_method(equation: Equation, method: Method) -> Method:
    if method == "auto":
        return cast(Method, equation.exact_method or fastest_scheme(equation))
    schemes = () if equation.steady else tuple(SCHEMES)
    if method not in (*schemes, equation.exact_method):
        ways = " or ".join(w for w in ("auto", *schemes, equation.exact_method) if w)
        raise ValueError(f"DatasetSpec: `method` of {equation.name} must be {ways}; got {method!r}.")
    return method


def _check_device(equation: Equation, method: str, device: str) -> None:
    if device != "cpu" and (equation.nonlinear is None or method not in SCHEMES):
        raise ValueError(
            f'DatasetSpec: `device` must be "cpu" for {equation.name} by {method}, which steps no time; got {device!r}.'
        )


#: Named datasets: `burgers_8192` is that of the papers (u at t = 1 on (0, 2 pi), from a Gaussian random field).
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "burgers_8192": {"equation": "burgers", "parameters": {"viscosity": 0.1}, "samples": 2048, "resolution": 8192},
}


def preset(name: str, **changes: Any) -> DatasetSpec:
    """A named dataset, with changes.

    Raises:
        ValueError: no such preset, or an unusable change.
    """
    if name not in PRESETS:
        raise ValueError(f"preset: `name` must be one of {', '.join(PRESETS)}; got {name!r}.")
    return DatasetSpec.from_dict({**PRESETS[name], **changes})
