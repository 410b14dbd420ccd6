"""Positions of the points of a dataset's items: grid, boundaries, and every k-th point of the file's own grid."""

from __future__ import annotations

from typing import Any

import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.formats import Source
from data_gen.grids.periodic import PeriodicGrid
from data_gen.grids.positions import Placement, relative_positions, stride_to
from data_gen.header import Header
from sciml_cf.errors import check_count


class Geometry:
    """The grid of fields that were taken from a file at every k-th of its points.

    Attributes:
        resolution: points along the last axis of the items' grid.
        stored_resolution: points along the last axis of the file's own grid.
        coordinates: points along each axis of the items' grid.
        masked: whether values may be missing.
    """

    resolution: int
    stored_resolution: int
    masked: bool
    _header: Header
    _equation: Equation | None
    _stride: int

    def _take_grid(self, function: str, header: Header, equation: Equation | None, resolution: int | None) -> None:
        """Every k-th point of the grid of a header, so that the last axis has ``resolution`` points; None takes all.

        Raises:
            ValueError: the resolution does not divide the stored one, or not all axes by one factor; of nodes from end
                to end it may divide the steps between them.
        """
        self._header, self._equation, self.stored_resolution = header, equation, header.shape[-1]
        self.resolution = self.stored_resolution if resolution is None else resolution
        check_resolution(function, self.resolution, self.stored_resolution, header.placements[-1])
        stride = stride_to(header.shape, self.resolution, header.placements)
        self._stride = 1 if stride is None else stride
        if stride is None:
            shape = " x ".join(map(str, header.shape))
            raise ValueError(
                f"{function}: `resolution` must make all axes of {shape} points coarser by one factor; got "
                f"{self.resolution}."
            )

    def _grid_in_words(self) -> str:
        """Points and boundary, and of what grid the points are taken where that is another."""
        points = " x ".join(str(-(-n // self._stride)) for n in self._header.shape)
        finer = "" if self._stride == 1 else f" (every {self._stride}. of {self.stored_resolution})"
        return f"{points} points{finer}, {self._header.boundary}"

    @property
    def coordinates(self) -> tuple[np.ndarray, ...]:
        return tuple(points[:: self._stride] for points in self._header.coordinates)

    @property
    def grid(self) -> PeriodicGrid:
        """The grid of the items.

        Raises:
            ValueError: it is not periodic with axes that are alike.
        """
        header = self._header
        if not self.periodic:
            raise ValueError(
                f"FieldDataset: `grid` must be periodic with axes that are alike; got {header.boundary} ends and "
                f"{header.shape} points on {header.extents}."
            )
        return PeriodicGrid(self.resolution, header.extents[0], header.num_dims)

    @property
    def points(self) -> np.ndarray:
        """``(N,)``, coordinates of the items' grid points along the last axis."""
        return self.coordinates[-1]

    @property
    def periodic(self) -> bool:
        """Whether the grid is periodic, with axes that are alike and equally spaced."""
        header = self._header
        alike = len(set(zip(header.shape, header.extents, strict=True))) == 1
        return header.boundary == "periodic" and header.evenly_spaced and alike and not self.masked

    @property
    def wraps(self) -> bool:
        """Whether the boundaries of the axes are periodic, whatever their lengths and points."""
        return self._header.boundary == "periodic"

    @property
    def boundary(self) -> str:
        """What lies at the boundary of the domain: "periodic", "wall" or "open"."""
        return self._header.boundary

    @property
    def problem(self) -> dict[str, Any]:
        """The equation and its domain for run.json, see ``problem_of``."""
        return problem_of(self._header)

    @property
    def equation(self) -> Equation | None:
        """The law of the data, if it is known."""
        return self._equation

    def is_same_in_mirror(self, *, exchanged: bool = False) -> bool | None:
        """Whether the law of the first sample is, see ``Equation.is_same_in_mirror``; None where it is not known."""
        law = self._first_law()
        return None if law is None else law.is_same_in_mirror(exchanged=exchanged)

    def _first_law(self) -> Equation | None:
        """The law of the first sample, also where its parameters vary or are fields."""
        return self._equation

    @property
    def positions(self) -> tuple[np.ndarray, ...]:
        """Position of the items' points along each axis as a fraction of the domain's length: j / n, on cells
        (j + 1/2) / n, on nodes from end to end j / (n - 1), from the coordinates where they are unequal, and every k-th
        of these on a coarser grid.
        """
        header = self._header
        axes = zip(
            header.shape, self.placements, header.positions, header.points or (None,) * header.num_dims, strict=True
        )
        found = (
            relative_positions((n,), cells=kind == "cells", right_end=kind == "nodes")[0] if own is None else place
            for n, kind, place, own in axes
        )
        return tuple(axis[:: self._stride] for axis in found)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Of each axis whether its points are periodic, cells, or nodes from end to end, by ``facts`` or the file."""
        return self._header.placements

    @property
    def ends(self) -> dict[str, str]:
        """What run.json says of ends that are not periodic, so that ``predict`` does not take them for periodic."""
        return {} if self.wraps else {"boundary": self._header.boundary}

    @property
    def extents(self) -> tuple[float, ...]:
        """Length of each axis."""
        return self._header.extents


def law_of_one(found: Equation | SampleEquations | None) -> Equation | None:
    """The first of the laws of some samples."""
    return found[0] if isinstance(found, SampleEquations) else found


def problem_of(header: Header) -> dict[str, Any]:
    """The equation, its parameters, the extents along each axis, the boundary, and the duration from input to target
    of pairs.
    """
    pair = {"duration": header.times[1] - header.times[0]} if len(header.times) == 2 else {}
    return {
        "equation": header.name,
        "parameters": dict(header.parameters),
        "extents": list(header.extents),
        "boundary": header.boundary,
        **pair,
    }


class SourceGeometry(Geometry):
    """The grid of a source's fields at every k-th point.

    Args:
        source: open for reading.
        resolution: points along the last axis, a divisor of the source's; None takes all.
        function: who asks, for messages.

    Raises:
        ValueError: the resolution does not divide the source's, or not all axes by one factor.
    """

    masked = False

    def __init__(self, source: Source, resolution: int | None, *, function: str) -> None:
        self._take_grid(function, source.header, source.equation, resolution)

    @property
    def stride(self) -> int:
        """Points of the source's grid from one of this grid to the next."""
        return self._stride


def check_resolution(function: str, resolution: int, stored: int, placement: Placement = "periodic") -> None:
    """Raise ValueError unless ``resolution`` divides the stored one, or on nodes keeps both ends."""
    check_count(function, "resolution", resolution)
    if stride_to((stored,), resolution, (placement,)) is None:
        options = [str(n) for n in range(stored, 0, -1) if stride_to((stored,), n, (placement,))][:10]
        raise ValueError(
            f"{function}: `resolution` must divide the stored resolution {stored}; got {resolution}. "
            f"For instance {', '.join(options)}."
        )
