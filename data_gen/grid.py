"""Periodic grids: points, wavenumbers, transforms, and Fourier resampling. Needs numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from data_gen.errors import check_count, check_positive


@dataclass(frozen=True)
class PeriodicGrid:
    """Equispaced points on a periodic box, the right end excluded: x_j = j * extent / num_points.

    Args:
        num_points: points along each axis.
        extent: length L of each axis, in the units of x.
        num_dims: number of axes, all alike.
    Raises:
        ValueError: a count below 1 (2 for the points), or an extent that is not a finite positive number.
    """

    num_points: int
    extent: float = 1.0
    num_dims: int = 1

    def __post_init__(self) -> None:
        check_count("PeriodicGrid", "num_points", self.num_points, minimum=2)
        check_positive("PeriodicGrid", "extent", self.extent)
        check_count("PeriodicGrid", "num_dims", self.num_dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of a field on the grid."""
        return (self.num_points,) * self.num_dims

    @property
    def modes_shape(self) -> tuple[int, ...]:
        """Shape of a field's ``rfftn`` coefficients: the last axis is halved."""
        return (self.num_points,) * (self.num_dims - 1) + (self.num_points // 2 + 1,)

    @property
    def spacing(self) -> float:
        """Distance between neighbouring points."""
        return self.extent / self.num_points

    @cached_property
    def points(self) -> np.ndarray:
        """(num_points,), the coordinates along one axis."""
        return np.arange(self.num_points) * self.extent / self.num_points

    @cached_property
    def wavenumbers(self) -> np.ndarray:
        """(num_points // 2 + 1,), angular wavenumbers 2 pi k / L of the last axis, in ``rfft`` order."""
        return 2 * np.pi / self.extent * np.arange(self.num_points // 2 + 1)

    @cached_property
    def wavevector(self) -> tuple[np.ndarray, ...]:
        """One array an axis, broadcastable to ``modes_shape``: angular wavenumbers, signed but for the last axis."""
        signed = 2 * np.pi / self.extent * np.fft.fftfreq(self.num_points, 1 / self.num_points)
        axes = [signed] * (self.num_dims - 1) + [self.wavenumbers]
        return tuple(k.reshape((-1,) + (1,) * (self.num_dims - 1 - i)) for i, k in enumerate(axes))

    @cached_property
    def derivative(self) -> tuple[np.ndarray, ...]:
        """One array an axis: i k, with the Nyquist mode zero (its first derivative vanishes on the grid)."""
        nyquist = self.num_points // 2
        factors = []
        for k in self.wavevector:
            factor = 1j * k
            if self.num_points % 2 == 0:
                factor[np.abs(k) > 2 * np.pi / self.extent * (nyquist - 0.5)] = 0
            factors.append(factor)
        return tuple(factors)

    @cached_property
    def dealias_mask(self) -> np.ndarray:
        """Boolean, ``modes_shape``: True where |k| < N/3 on every axis (the 2/3 rule for quadratic terms)."""
        limit = 2 * np.pi / self.extent * self.num_points / 3
        mask = np.ones(self.modes_shape, dtype=bool)
        for k in self.wavevector:
            mask &= np.abs(k) < limit
        return mask

    def to_modes(self, u: np.ndarray) -> np.ndarray:
        """(..., *shape) real -> (..., *modes_shape) complex: ``rfftn`` over the grid axes."""
        if self.num_dims == 1:
            return np.fft.rfft(u)
        return np.fft.rfftn(u, axes=tuple(range(-self.num_dims, 0)))

    def to_points(self, modes: np.ndarray) -> np.ndarray:
        """(..., *modes_shape) complex -> (..., *shape) real: the inverse of ``to_modes``."""
        if self.num_dims == 1:
            return np.fft.irfft(modes, self.num_points)
        return np.fft.irfftn(modes, self.shape, axes=tuple(range(-self.num_dims, 0)))


def resize_modes(modes: np.ndarray, num_points: int, new_points: int) -> np.ndarray:
    """Coefficients of ``rfft`` on ``num_points`` turned into those of the same field on ``new_points``.

    Modes are dropped or zero-padded. On a larger grid the old Nyquist mode is split over +-n/2 (halved); on a smaller
    one the two that meet at the new Nyquist mode are added (twice the real part), so a band-limited field is sampled
    exactly both ways.

    Args:
        modes: (..., num_points // 2 + 1), complex.
        num_points, new_points: points of the old and the new grid.
    Returns:
        (..., new_points // 2 + 1), complex, scaled by new_points / num_points.
    """
    if new_points == num_points:
        return modes.copy()
    kept = min(num_points, new_points) // 2 + 1
    resized = np.zeros((*modes.shape[:-1], new_points // 2 + 1), dtype=modes.dtype)
    resized[..., :kept] = modes[..., :kept] * (new_points / num_points)
    if new_points > num_points and num_points % 2 == 0:
        resized[..., kept - 1] = 0.5 * np.real(resized[..., kept - 1])
    elif new_points < num_points and new_points % 2 == 0:
        resized[..., kept - 1] = 2 * np.real(resized[..., kept - 1])
    return resized


def resample(u: np.ndarray, num_points: int) -> np.ndarray:
    """Periodic field on another number of points, by Fourier interpolation along the last axis.

    Exact for a field without modes above min(n, m) / 2; then going down equals taking every (n / m)-th point.

    Args:
        u: (..., n), float32 or float64, on x_j = j L / n (right end excluded).
        num_points: m, the new number of points.
    Returns:
        (..., m), of the dtype of ``u`` (computed in float64).
    Raises:
        TypeError: ``u`` is not a real floating array.
        ValueError: ``u`` has no points, or ``num_points`` is below 1.
    """
    u = np.asarray(u)
    if u.dtype.kind != "f":
        raise TypeError(f"resample: `u` must be a real floating array; got dtype {u.dtype}. Convert it with astype.")
    if u.ndim == 0 or u.shape[-1] == 0:
        raise ValueError(f"resample: `u` must have points along its last axis; got shape {u.shape}.")
    check_count("resample", "num_points", num_points)
    if u.shape[-1] == num_points:
        return u.copy()
    modes = resize_modes(np.fft.rfft(u.astype(np.float64, copy=False)), u.shape[-1], num_points)
    return np.fft.irfft(modes, num_points).astype(u.dtype, copy=False)


def spectral_tail(u: np.ndarray) -> np.ndarray:
    """Share of a field carried by the top eighth of its modes: sum |c_k| over them / max |u|, along the last axis.

    It bounds the error of interpolating between the points, as long as the spectrum decays.

    Args:
        u: (..., n), real.
    Returns:
        (...), float64; 0 where the field is zero.
    """
    num_points = u.shape[-1]
    modes = np.abs(np.fft.rfft(u.astype(np.float64, copy=False)))
    tail = modes[..., tail_start(num_points) :].sum(axis=-1) * (2 / num_points)
    scale = np.abs(u).max(axis=-1)
    return np.where(scale > 0, tail / np.where(scale > 0, scale, 1), 0.0)


def tail_start(num_points: int) -> int:
    """First mode of the top eighth of the modes of a grid of ``num_points``."""
    return num_points // 2 - num_points // 16
