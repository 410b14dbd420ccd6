"""Content of a dataset file, whoever made it: its fields, grid, times and equation. Needs no HDF5."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Literal, get_args

import numpy as np

from data_gen.equation import Equation
from data_gen.equations import equation_in, is_determined
from data_gen.errors import check_count, check_finite, check_positive
from data_gen.grids.cells import CellGrid, NodeGrid
from data_gen.grids.periodic import PeriodicGrid
from data_gen.grids.positions import Placement, length_of, placement_of, relative_positions

Boundary = Literal["periodic", "wall", "open"]
RightEnd = Literal["excluded", "included"]
#: Most samples of a block, and most bytes of the fields of one, by the number of dimensions.
BLOCK = 128
BLOCK_BYTES = {1: 2**25, 2: 2**22, 3: 2**24}
_AXES = ("z", "y", "x")
# Fields that version 0.1 did not have: they are in the JSON only where they are used.
_LATER = ("boundaries", "points", "right_ends")
_SEQUENCES = (
    "shape",
    "extents",
    "times",
    "offsets",
    "channels",
    "input_channels",
    "boundaries",
    "points",
    "right_ends",
)
_OPTIONAL = ("offsets", "input_channels", "boundaries", "points", "right_ends")  # None is the default


@dataclass(frozen=True)
class Header:
    """The fields of a dataset and their metadata.

    A dataset of one time is steady (an input and its solution), one of two times has pairs (the input at the first, the
    target at the second), one of more has trajectories, whose start is the input.

    Args:
        name: the equation's name; any other word for data of unknown origin.
        num_samples: number of samples.
        shape: points along each axis, ``(n,)``, (ny, nx) or (nz, ny, nx); the last axis is x.
        extents: spacing times points along each axis: the length of the domain, but n / (n - 1) of it where the
            points are nodes from end to end.
        offsets: first coordinate along each axis; 0 on a periodic grid, half a spacing on cells. Zeros if None.
        times: the stored times, increasing.
        channels: names of the components of the target.
        input_channels: those of the input; the target's if None. Trajectories have no others.
        input_name: name of the input field.
        target_name: name of the target field.
        dtype: their precision.
        boundary: kind of boundary of the domain; "open" where the axes differ.
        boundaries: kind of each axis, where they differ; else None.
        points: coordinates of each axis that is not equally spaced or that falls, None of the others; None if there is
            no such axis.
        right_ends: of each axis whether its last point is the right end of the domain, where that was said and does
            not follow from the coordinates; else None. On a periodic axis it never is.
        formula: the equation in words.
        parameters: its numbers, by name.

    Raises:
        ValueError: any value is unusable.
    """

    name: str
    num_samples: int
    shape: tuple[int, ...]
    extents: tuple[float, ...]
    times: tuple[float, ...]
    offsets: tuple[float, ...] | None = None
    channels: tuple[str, ...] = ("u",)
    input_channels: tuple[str, ...] | None = None
    input_name: str = "a"
    target_name: str = "u"
    dtype: str = "float64"
    boundary: Boundary = "periodic"
    formula: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    boundaries: tuple[Boundary, ...] | None = None
    points: tuple[tuple[float, ...] | None, ...] | None = None
    right_ends: tuple[RightEnd, ...] | None = None

    def __post_init__(self) -> None:
        check_count("Header", "num_samples", self.num_samples)
        for name in _SEQUENCES:
            self._fill(**{name: _sequence(name, getattr(self, name))})
        self._fill(offsets=self.offsets if self.offsets is not None else (0.0,) * len(self.shape))
        self._check_axes()
        _require("dtype", self.dtype in ("float32", "float64"), "be float32 or float64", self.dtype)
        _require("boundary", self.boundary in get_args(Boundary), "be periodic, wall or open", self.boundary)
        self._check_each_axis()
        self._fill(input_channels=self.channels if self.input_channels is None else self.input_channels)
        self._check_names()
        self._fill(parameters=MappingProxyType(dict(sorted(self.parameters.items()))))

    def _check_axes(self) -> None:
        """Refuse a shape, lengths, offsets or times that are no grid in space and time."""
        for points in self.shape:
            check_count("Header", "shape", points, minimum=2)
        for extent in self.extents:
            check_positive("Header", "extents", extent)
        for value in (*self.times, *(self.offsets or ())):
            check_finite("Header", "times or offsets", value)
        _require("shape", 1 <= len(self.shape) <= len(_AXES), "have one to three axes", self.shape)
        for name in ("extents", "offsets"):
            values = getattr(self, name)
            _require(name, len(values) == len(self.shape), f"have one entry an axis of {self.shape}", values)
        rising = all(later > earlier for earlier, later in itertools.pairwise(self.times))
        _require("times", bool(self.times) and rising, "be one time or several that increase", self.times)

    def _check_each_axis(self) -> None:
        """Refuse boundaries and coordinates that do not fit the axes."""
        if self.boundaries is not None:
            known = set(self.boundaries) <= set(get_args(Boundary)) and len(self.boundaries) == len(self.shape)
            _require("boundaries", known, "be periodic, wall or open for each axis", self.boundaries)
            if len(set(self.boundaries)) == 1:
                self._fill(boundary=self.boundaries[0], boundaries=None)
            else:
                self._fill(boundary="open")
        self._check_right_ends()
        if self.points is None:
            return
        fits = len(self.points) == len(self.shape) and all(
            axis is None or (len(axis) == count and _is_monotone(axis))
            for axis, count in zip(self.points, self.shape, strict=False)
        )
        _require("points", fits, f"increase or decrease along each axis of {self.shape}", "others")
        self._fill(points=None if not any(self.points) else self.points)

    def _check_right_ends(self) -> None:
        """Refuse words that do not fit the axes; those that follow from the coordinates are left out."""
        if self.right_ends is None:
            return
        known = set(self.right_ends) <= set(get_args(RightEnd)) and len(self.right_ends) == len(self.shape)
        _require("right_ends", known, "be excluded or included for each axis", self.right_ends)
        if self.placements == self._usual_placements:
            self._fill(right_ends=None)

    def _check_names(self) -> None:
        """Refuse names of components and fields that are missing, double, or others than those of trajectories."""
        for argument, names in (("channels", self.channels), ("input_channels", self.inputs)):
            named = bool(names) and all(isinstance(name, str) and name for name in names)
            _require(argument, named and len(set(names)) == len(names), "be names, each once", names)
        for argument in ("name", "input_name", "target_name"):
            word = getattr(self, argument)
            _require(argument, isinstance(word, str) and bool(word), "be a word", word)
        same = self.inputs == self.channels
        _require("input_channels", same or len(self.times) < 3, "be those of the trajectories", self.inputs)
        _require("input_name", self.input_name != self.target_name, "differ from the target's", self.input_name)

    def _fill(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def num_dims(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes: x, or y and x, or z, y and x."""
        return _AXES[-self.num_dims :]

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the components of the input."""
        return self.input_channels or ()

    @property
    def steady(self) -> bool:
        """Whether there is one time only."""
        return len(self.times) == 1

    @property
    def trajectories(self) -> bool:
        """Whether there are more than two times, stored together in the target."""
        return len(self.times) > 2

    @property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        """Points along each axis, equally spaced unless ``points`` has others."""
        parts = zip(self.shape, self.extents, self.offsets or (), self.points or (None,) * self.num_dims, strict=True)
        return tuple(
            start + np.arange(points) * extent / points if axis is None else np.array(axis)
            for points, extent, start, axis in parts
        )

    @property
    def evenly_spaced(self) -> bool:
        """Whether the points of every axis are equally spaced and increase."""
        return self.points is None

    @property
    def axis_boundaries(self) -> tuple[Boundary, ...]:
        """Kind of boundary of each axis."""
        return self.boundaries or (self.boundary,) * self.num_dims

    @property
    def positions(self) -> tuple[np.ndarray, ...]:
        """Position of the points along each axis as a fraction of the domain's length: j / n, on cells (j + 1/2) / n,
        on nodes j / (n - 1), and (x_j - x_0) / L where they are not equally spaced.
        """
        parts = zip(self.shape, self.placements, self.points or (None,) * self.num_dims, self.extents, strict=True)
        return tuple(
            relative_positions((n,), cells=kind == "cells", right_end=kind == "nodes")[0]
            if axis is None
            else np.abs(np.array(axis) - axis[0]) / extent
            for n, kind, axis, extent in parts
        )

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Of each axis whether its points are periodic, cells, or nodes from end to end."""
        usual = self._usual_placements
        if self.right_ends is None:
            return usual
        pairs = zip(usual, self.right_ends, strict=True)
        return tuple(kind if kind == "periodic" else "nodes" if end == "included" else "cells" for kind, end in pairs)

    @property
    def _usual_placements(self) -> tuple[Placement, ...]:
        """Those that follow from the coordinates."""
        parts = zip(self.shape, self.extents, self.offsets or (), self.axis_boundaries, strict=True)
        return tuple(placement_of(*axis) for axis in parts)

    @property
    def grid(self) -> PeriodicGrid | CellGrid | NodeGrid:
        """The grid of the fields.

        Raises:
            ValueError: an axis is not equally spaced.
        """
        if not self.evenly_spaced:
            raise ValueError("grid: the points must be equally spaced and increase; they do not along some axis.")
        if set(self.placements) == {"nodes"} and min(self.shape) > 2:
            return NodeGrid.by_axis(self.shape, tuple(map(length_of, self.shape, self.extents, self.placements)))
        kind = PeriodicGrid if self.boundary == "periodic" else CellGrid
        return kind.by_axis(self.shape, self.extents)

    @property
    def fields_in_words(self) -> str:
        """Names of input and target with their components and times, such as ``a -> u, t = 0 to 1``."""
        known = ((self.input_name,), (self.target_name,))  # their only component is called like them
        given, found = (
            name if components in known else f"{name} ({', '.join(components)})"
            for name, components in ((self.input_name, self.inputs), (self.target_name, self.channels))
        )
        when = "steady" if self.steady else f"t = {self.times[0]:g} to {self.times[-1]:g}"
        steps = f" in {len(self.times)} times" if self.trajectories else ""
        return f"{given} -> {found}, {when}{steps}"

    @property
    def stored_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of the stored fields of a sample, by name: the target with all times, or input and target.

        A field of one component has no axis for it.
        """
        target = (*_channel_axis(self.channels), *self.shape)
        if self.trajectories:
            return {self.target_name: (len(self.times), *target)}
        return {self.input_name: (*_channel_axis(self.inputs), *self.shape), self.target_name: target}

    def stored_axes(self, name: str) -> tuple[str, ...]:
        """Names of the axes of a stored field, the sample's first."""
        names = self.inputs if name == self.input_name else self.channels
        label = "channel" if names == self.channels else "input_channel"
        time = ("time",) if self.trajectories and name == self.target_name else ()
        return ("sample", *time, *((label,) if len(names) > 1 else ()), *self.axes)

    @property
    def row_bytes(self) -> int:
        """Bytes of the stored fields of one sample."""
        return sum(math.prod(shape) for shape in self.stored_shapes.values()) * np.dtype(self.dtype).itemsize

    @property
    def block_samples(self) -> int:
        """Samples of a block, the unit of writing, of resuming and of checksums: a power of two."""
        most = max(1, BLOCK_BYTES[self.num_dims] // self.row_bytes)
        return min(BLOCK, 2 ** int(math.log2(most)))

    def make_equation(self) -> Equation | None:
        """The equation, if this package knows it and its parameters are known."""
        if not is_determined(self.name, self.num_dims, self.parameters):
            return None
        return equation_in(self.name, self.num_dims)(**self.parameters)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, shortest exact floats."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values = {name: value for name, value in values.items() if value is not None or name not in _LATER}
        values["parameters"] = dict(self.parameters)
        return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @staticmethod
    def from_json(text: str) -> Header:
        """Header from ``to_json``.

        Raises:
            ValueError: a key is unknown or a value is unusable.
        """
        values: dict[str, Any] = json.loads(text)
        unknown = sorted(set(values) - {f.name for f in fields(Header)})
        if unknown:
            raise ValueError(f"Header.from_json: `text` must have known keys only; got {', '.join(unknown)}.")
        for key, value in values.items():
            values[key] = _tuples(value)
        return Header(**values)


def _tuples(value: Any) -> Any:
    """Lists, and lists in them, as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _sequence(name: str, values: Any) -> Any:
    """A sequence as a tuple; None, which stands for a default, unchanged where there is one."""
    if values is None and name in _OPTIONAL:
        return None
    values = values.tolist() if isinstance(values, np.ndarray) else values
    _require(name, isinstance(values, list | tuple), "be a tuple", values)
    return _tuples(list(values))


def _is_monotone(points: tuple[float, ...]) -> bool:
    """Whether numbers are finite and all increase or all decrease."""
    steps = np.diff(np.array(points, dtype=np.float64))
    return bool(np.isfinite(steps).all() and ((steps > 0).all() or (steps < 0).all()))


def _channel_axis(names: tuple[str, ...]) -> tuple[int, ...]:
    return (len(names),) if len(names) > 1 else ()


def _require(argument: str, satisfied: bool, requirement: str, value: object) -> None:
    if not satisfied:
        raise ValueError(f"Header: `{argument}` must {requirement}; got {value!r}.")
