"""Common parts of grids of points, cells and nodes: shape, lengths and coordinates. Needs numpy only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Self

import numpy as np

from data_gen.errors import check_count, check_positive


@dataclass(frozen=True)
class Grid:
    """A grid on a box. Axes are in the order of a field's, x last.

    Args:
        num_points: points along each axis; along the longest one (of most points) where ``counts`` has others.
        extent: length L of each axis, in the units of x; the largest where ``lengths`` has others.
        num_dims: number of axes.
        counts: points of each axis where they are not alike; else empty. Another ``num_points`` changes all in
            proportion, rounded up to even numbers.
        lengths: length of each axis where they are not alike; else empty.

    Raises:
        ValueError: a count below 1 (2 for the points), or an extent that is not a finite positive number.
    """

    num_points: int
    extent: float = 1.0
    num_dims: int = 1
    counts: tuple[int, ...] = ()
    lengths: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        name = type(self).__name__
        for points in (self.num_points, *self.counts):
            check_count(name, "num_points", points, minimum=2)
        for extent in (self.extent, *self.lengths):
            check_positive(name, "extent", extent)
        check_count(name, "num_dims", self.num_dims)
        for values in (self.counts, self.lengths):
            if values and len(values) != self.num_dims:
                raise ValueError(f"{name}: there must be one number an axis, {self.num_dims}; got {values}.")

    @classmethod
    def by_axis(cls, shape: Sequence[int], extents: Sequence[float]) -> Self:
        """The grid of so many points along each axis, on these lengths."""
        counts = tuple(map(int, shape)) if len(set(shape)) > 1 else ()
        lengths = tuple(map(float, extents)) if len(set(extents)) > 1 else ()
        return cls(int(max(shape)), float(max(extents)), len(shape), counts, lengths)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of a field on the grid."""
        if not self.counts:
            return (self.num_points,) * self.num_dims
        return tuple(_in_proportion(self.num_points, count, max(self.counts)) for count in self.counts)

    @property
    def extents(self) -> tuple[float, ...]:
        """Length of each axis."""
        return self.lengths or (self.extent,) * self.num_dims

    @property
    def size(self) -> int:
        """Number of points."""
        return prod(self.shape)

    @property
    def alike(self) -> bool:
        """Whether all axes have as many points and one length."""
        return not self.counts and not self.lengths

    @property
    def spacings(self) -> tuple[float, ...]:
        """Distance between neighboring points of each axis."""
        return tuple(extent / self._steps(points) for points, extent in zip(self.shape, self.extents, strict=True))

    @property
    def spacing(self) -> float:
        """Distance between neighboring points; the smallest of the axes."""
        return min(self.spacings)

    @cached_property
    def axis_points(self) -> tuple[np.ndarray, ...]:
        """The coordinates along each axis."""
        parts = zip(self.shape, self.extents, strict=True)
        return tuple((np.arange(points) + self._first) * extent / self._steps(points) for points, extent in parts)

    @property
    def points(self) -> np.ndarray:
        """The coordinates along the last axis, x; where axes are alike, along each."""
        return self.axis_points[-1]

    def count_on_longest(self, mode: int, axis: int) -> int:
        """The mode of the longest axis that is as high, relative to the points, as a mode of another axis."""
        return -(-mode * self.num_points // self.shape[axis])

    @property
    def _first(self) -> float:
        """The first coordinate, in spacings."""
        return 0.0

    def _steps(self, points: int) -> int:
        """Spacings on the length of an axis."""
        return points


def each_axis(function: str, argument: str, value: Any, num_dims: int) -> tuple[Any, ...]:
    """One number an axis from one number, or from as many as there are axes.

    Raises:
        ValueError: there are others.
    """
    values = tuple(value) if isinstance(value, tuple | list | np.ndarray) else (value,) * num_dims
    if len(values) != num_dims:
        raise ValueError(
            f"{function}: `{argument}` must be one number, or one for each of {num_dims} axes (x last); got {value!r}."
        )
    return values


def one_if_alike(values: tuple[Any, ...]) -> Any:
    """One number where all axes have it, else the tuple."""
    return values[0] if len(set(values)) == 1 else values


def _in_proportion(points: int, count: int, longest: int) -> int:
    """Points of an axis that had ``count`` where the longest had ``longest`` and now has ``points``."""
    if points * count % longest == 0:
        return max(points * count // longest, 2)
    return 2 * -(-points * count // (2 * longest))
