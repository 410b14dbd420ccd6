"""A grid and the coarser ones within it: fields taken to them and brought back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from data_gen.grids.periodic import resample
from data_gen.grids.positions import Placement, coarser, is_stride, stride_to
from sciml_cf.datasets import FieldDataset

Output = Literal["native", "fourier", "linear"]


@dataclass(frozen=True)
class Grids:
    """The reference grid of N points an axis, and the coarser ones of every k-th point of it.

    Args:
        resolution: points along the last axis of the reference grid.
        coordinates: its points along each axis.
        extents: length of each axis.
        wraps: whether the boundaries are periodic.
        fourier: whether Fourier interpolation is right: periodic boundaries and axes that are alike.
        relative: positions of the reference grid's points along each axis, as fractions of the domain's length.
        placements: of each axis whether its points are periodic, cells or nodes; empty if that does not matter.
    """

    resolution: int
    coordinates: tuple[np.ndarray, ...]
    extents: tuple[float, ...]
    wraps: bool
    fourier: bool
    relative: tuple[np.ndarray, ...] = ()
    placements: tuple[Placement, ...] = ()

    @classmethod
    def of(cls, data: FieldDataset) -> Grids:
        """The grids of a dataset's items."""
        return cls(
            data.resolution, data.coordinates, data.extents, data.wraps, data.periodic, data.positions, data.placements
        )

    def positions(self, resolution: int) -> tuple[np.ndarray, ...]:
        """Positions of the points of a coarser grid along each axis, as fractions of the domain's length."""
        stride = self.stride(resolution)
        return tuple(axis[::stride] for axis in self.relative)

    def stride(self, resolution: int) -> int:
        """Points of the reference grid from one point of a coarser one to the next.

        Raises:
            ValueError: no such grid is within the reference grid.
        """
        shape = [points.size for points in self.coordinates]
        found = stride_to(shape, resolution, self.placements or ("periodic",) * len(shape))
        if found is None:
            raise ValueError(
                f"evaluate_transfer: `resolutions` must divide the reference resolution {self.resolution}; got "
                f"{resolution}."
            )
        return found

    @property
    def num_dims(self) -> int:
        """Spatial dimensions."""
        return len(self.coordinates)

    @property
    def outputs(self) -> tuple[Output, ...]:
        """The ways to measure an output: unchanged, and interpolated to the reference grid."""
        return ("native", "fourier", "linear") if self.fourier else ("native", "linear")

    def take(self, fields: Tensor, resolution: int, sampling: Literal["strided", "fourier"]) -> Tensor:
        """Fields of the reference grid on a coarser one: every k-th point, or the spectrum cut."""
        if sampling == "fourier":
            return torch.from_numpy(resample(fields.numpy(), resolution, self.num_dims))
        stride = self.stride(resolution)
        return fields[(..., *[slice(None, None, stride)] * self.num_dims)]

    def interpolate(self, fields: Tensor, resolution: int, new: int, how: Output) -> Tensor:
        """Fields on the grid of ``resolution`` points brought to one of ``new`` points, both within the reference."""
        if how == "fourier":
            return torch.from_numpy(resample(fields.numpy(), new, self.num_dims))
        old_points, new_points = ([points[:: self.stride(n)] for points in self.coordinates] for n in (resolution, new))
        return torch.from_numpy(
            linear_resample(fields.numpy(), old_points, new_points, periods=self.extents if self.wraps else None)
        )


def default_resolutions(
    shape: tuple[int, ...], trained: int | None, placements: Sequence[Placement] = ()
) -> tuple[int, ...]:
    """Resolutions to evaluate a run at: where it was trained, the file's own, and one between.

    All are points along the last axis. The first is the divisor of the file's resolution nearest to that of the
    training, the third the one nearest to the geometric mean of the two others, in ratio; of two as near the lower.
    Each leaves two points or more along every axis.

    Args:
        shape: points of the file along each axis.
        trained: resolution that the run was trained at, or None if it is unknown.
        placements: of each axis; periodic if empty.

    Returns:
        One to three resolutions, increasing; the last is the file's own.
    """
    own = shape[-1]
    strides = range(1, max(1, min(shape) // 2) + 1)
    kinds = placements or ("periodic",) * len(shape)
    allowed = sorted({coarser(own, stride) for stride in strides if is_stride(shape, stride, kinds)})
    low = _nearest(allowed, Fraction((trained or own) ** 2))
    between = [n for n in allowed if low < n < own]
    middle = [_nearest(between, Fraction(low * own))] if between else []
    return tuple(sorted({low, *middle, own}))


def _nearest(numbers: Sequence[int], square: Fraction) -> int:
    """The number nearest in ratio to the root of ``square``; of two as near the lower."""
    return min(numbers, key=lambda n: (max(n * n / square, square / (n * n)), n))


def linear_resample(
    u: np.ndarray,
    points: Sequence[np.ndarray],
    new_points: Sequence[np.ndarray],
    *,
    periods: Sequence[float] | None = None,
) -> np.ndarray:
    """Fields interpolated linearly along each of the last axes.

    ::

        u(x) = (1 - w) u_j + w u_{j+1},   w = (x - x_j) / (x_{j+1} - x_j)

    Args:
        u: ``(..., *N)``, floating.
        points: for each grid axis its N coordinates, increasing or decreasing.
        new_points: for each grid axis the M coordinates wanted.
        periods: for each axis its length, if the last point is followed by the first; None extends the outermost
            straight pieces beyond the ends.

    Returns:
        ``(..., *M)``.

    Raises:
        ValueError: an axis has other points than ``u``, or a single one without a period.
    """
    dims = len(points)
    if u.shape[u.ndim - dims :] != tuple(axis.size for axis in points):
        raise ValueError(
            f"linear_resample: `points` must be those of the last axes of `u`, {u.shape[-dims:]}; got "
            f"{tuple(axis.size for axis in points)}."
        )
    for number, (old, new) in enumerate(zip(points, new_points, strict=True)):
        axis = u.ndim - dims + number
        if old.size > 1 and old[1] < old[0]:
            old, new = -old, -np.asarray(new)
        if periods is not None:
            old = np.append(old, old[0] + periods[number])
            u = np.concatenate([u, u.take([0], axis)], axis)
        if old.size < 2:
            raise ValueError("linear_resample: `points` must be two or more along each axis without periods; got one.")
        left = np.clip(np.searchsorted(old, new, side="right") - 1, 0, old.size - 2)
        weight = ((new - old[left]) / (old[left + 1] - old[left])).astype(u.dtype)
        weight = weight.reshape((-1,) + (1,) * (u.ndim - axis - 1))
        u = (1 - weight) * u.take(left, axis) + weight * u.take(left + 1, axis)
    return u
