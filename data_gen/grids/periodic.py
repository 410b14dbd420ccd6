"""Periodic grids: points, wavenumbers, transforms, and Fourier resampling.

In several dimensions the transforms are those of ``scipy.fft``, and its backends take effect: with mkl_fft installed,
``scipy.fft.set_global_backend(mkl_fft.interfaces.scipy_fft)``. In one, numpy's give the same bits with fewer calls.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.fft

from data_gen.errors import check_count
from data_gen.grids.grid import Grid

_fft: Any = scipy.fft  # its annotations are those of its backends' dispatcher


@dataclass(frozen=True)
class PeriodicGrid(Grid):
    """Equispaced points on a periodic box, the right end excluded: x_j = j * extent / num_points.

    Args:
        num_points: points along each axis; along the longest one where ``counts`` has others.
        extent: length L of each axis, in the units of x; the largest where ``lengths`` has others.
        num_dims: number of axes.
        counts: points of each axis, where axes differ; see ``by_axis``.
        lengths: length of each axis, where axes differ.

    Raises:
        ValueError: a count below 1 (2 for the points), or an extent that is not a finite positive number.
    """

    @property
    def modes_shape(self) -> tuple[int, ...]:
        """Shape of a field's ``rfftn`` coefficients: the last axis is halved."""
        return (*self.shape[:-1], self.shape[-1] // 2 + 1)

    @cached_property
    def wavenumbers(self) -> np.ndarray:
        """(N // 2 + 1,), angular wavenumbers 2 pi k / L of the last axis, in ``rfft`` order."""
        return 2 * np.pi / self.extents[-1] * np.arange(self.shape[-1] // 2 + 1)

    @cached_property
    def wavevector(self) -> tuple[np.ndarray, ...]:
        """One array an axis, broadcastable to ``modes_shape``: angular wavenumbers, signed but for the last axis."""
        others = zip(self.shape[:-1], self.extents, strict=False)
        axes = [2 * np.pi / extent * np.fft.fftfreq(points, 1 / points) for points, extent in others]
        axes.append(self.wavenumbers)
        return tuple(k.reshape((-1,) + (1,) * (self.num_dims - 1 - i)) for i, k in enumerate(axes))

    @cached_property
    def derivative(self) -> tuple[np.ndarray, ...]:
        """One array an axis: i k, with the Nyquist mode zero (its first derivative vanishes on the grid)."""
        factors = []
        for k, points, extent in zip(self.wavevector, self.shape, self.extents, strict=True):
            factor = 1j * k
            if points % 2 == 0:
                factor[np.abs(k) > 2 * np.pi / extent * (points // 2 - 0.5)] = 0
            factors.append(factor)
        return tuple(factors)

    @cached_property
    def dealias_mask(self) -> np.ndarray:
        """Boolean, ``modes_shape``: True where ``|k| < N/3`` on every axis (the 2/3 rule for quadratic terms)."""
        mask = np.ones(self.modes_shape, dtype=bool)
        for k, points, extent in zip(self.wavevector, self.shape, self.extents, strict=True):
            mask &= np.abs(k) < 2 * np.pi / extent * points / 3
        return mask

    @cached_property
    def shells(self) -> np.ndarray:
        """Integer, ``modes_shape``: the largest ``|k|`` of a mode over the axes, those of a shorter axis as many times
        higher as it has fewer points.
        """
        parts = zip(self.wavevector, self.extents, self.shape, strict=True)
        counts = [np.abs(k) * (extent / (2 * np.pi)) * (self.num_points / points) for k, extent, points in parts]
        return functools.reduce(np.maximum, [np.rint(count).astype(np.int64) for count in counts])

    @cached_property
    def mode_weights(self) -> np.ndarray:
        """``modes_shape``: the amplitude of a mode is its weight times ``|c_k|``; one with k > 0 counts for -k too."""
        weights = np.full(self.modes_shape, 2.0 / self.size)
        weights[..., 0] /= 2
        return weights

    @property
    def host(self) -> PeriodicGrid:
        """The same grid with numpy's arrays: this one, unless it is on a device (see ``device.TorchGrid``)."""
        return self

    def asarray(self, values: np.ndarray) -> np.ndarray:
        """``values`` as the arrays that the transforms take."""
        return values

    def modes_from(self, shell: int) -> np.ndarray | slice:
        """Index of the modes of this shell and above, over the mode axes flattened into one."""
        return slice(shell, None) if self.num_dims == 1 else np.flatnonzero(self.shells >= shell)

    def to_modes(self, u: np.ndarray) -> np.ndarray:
        """``(..., *shape)`` real -> ``(..., *modes_shape)`` complex: ``rfftn`` over the grid axes."""
        if self.num_dims == 1:
            return np.fft.rfft(u)
        return _fft.rfftn(u, axes=tuple(range(-self.num_dims, 0)))

    def to_points(self, modes: np.ndarray, *, overwrite: bool = False) -> np.ndarray:
        """``(..., *modes_shape)`` complex -> ``(..., *shape)`` real: inverse of ``to_modes``, which may use up
        ``modes``.
        """
        if self.num_dims == 1:
            return np.fft.irfft(modes, self.shape[-1])
        for axis in range(-self.num_dims, -1):  # one by one: irfftn takes almost twice as long where memory is new
            modes = _fft.ifft(modes, axis=axis, overwrite_x=overwrite or axis > -self.num_dims)
        return _fft.irfft(modes, self.shape[-1])


#: Points along each axis: one number, or one an axis.
Points = int | tuple[int, ...]


def resize_modes(modes: np.ndarray, num_points: Points, new_points: Points, num_dims: int = 1) -> np.ndarray:
    """Coefficients of ``rfftn`` on ``num_points`` an axis turned into those of the same field on ``new_points``.

    Modes are dropped or zero-padded. On a larger grid the old Nyquist modes are split over +-n/2 (halved); on a smaller
    one the two that meet at a new Nyquist mode are added, so a band-limited field is sampled exactly both ways.

    Args:
        modes: ``(..., *K)``, complex, K the last ``num_dims`` axes, those of ``PeriodicGrid.modes_shape``.
        num_points: points along each axis of the old grid; one number, or one an axis.
        new_points: points of the new grid, likewise.
        num_dims: number of axes of the grid.

    Returns:
        ``(..., *K')``, complex, scaled by the ratio of the numbers of points, new to old.
    """
    old, new = _by_axis(num_points, num_dims), _by_axis(new_points, num_dims)
    if old == new:
        return 1 * modes
    resized = modes if old[-1] == new[-1] else _resize_halved(modes, old[-1], new[-1], num_dims)
    for axis in range(-num_dims, -1):
        if old[axis] != new[axis]:
            resized = _resize_signed(resized, old[axis], new[axis], axis)
    return resized


def _by_axis(points: Points, num_dims: int) -> tuple[int, ...]:
    return (points,) * num_dims if isinstance(points, int | np.integer) else tuple(points)


def _resize_halved(modes: Any, num_points: int, new_points: int, num_dims: int) -> Any:
    """``resize_modes`` along the last axis."""
    kept = min(num_points, new_points) // 2 + 1
    resized = _zeros_like(modes, (*modes.shape[:-1], new_points // 2 + 1))
    resized[..., :kept] = modes[..., :kept] * (new_points / num_points)
    if min(num_points, new_points) % 2 == 0:
        pair = resized[..., kept - 1] + _mirrored(resized[..., kept - 1], num_dims - 1)
        resized[..., kept - 1] = 0.25 * pair if new_points > num_points else pair
    return resized


def _zeros_like(modes: Any, shape: tuple[int, ...]) -> Any:
    """Zeros of the kind of ``modes``, which may be a tensor on a device."""
    return np.zeros(shape, dtype=modes.dtype) if isinstance(modes, np.ndarray) else modes.new_zeros(shape)


def _mirrored(modes: Any, num_dims: int) -> Any:
    """conj c(-k) at k, over the last ``num_dims`` axes, all of them signed."""
    for axis in range(-num_dims, 0):
        modes = modes[(..., -np.arange(modes.shape[axis]), *[slice(None)] * (-axis - 1))]
    return modes.conj()


def _resize_signed(modes: Any, num_points: int, new_points: int, axis: int) -> Any:
    """``resize_modes`` along one axis of both signs."""
    shape = list(modes.shape)
    shape[axis] = new_points
    resized = _zeros_like(modes, tuple(shape))
    old, new = modes.swapaxes(axis, 0), resized.swapaxes(axis, 0)
    kept, scale = min(num_points, new_points), new_points / num_points
    nyquist = kept // 2
    new[: kept - nyquist] = old[: kept - nyquist] * scale
    new[new_points - nyquist :] = old[num_points - nyquist :] * scale
    if kept % 2 == 0 and new_points > num_points:
        new[-nyquist] *= 0.5
        new[nyquist] = new[-nyquist]
    elif kept % 2 == 0:
        new[nyquist] += old[nyquist] * scale
    return resized


def resample(u: np.ndarray, num_points: Points, num_dims: int = 1) -> np.ndarray:
    """Periodic field on another number of points, by Fourier interpolation along the last axes.

    Exact for a field without modes above min(n, m) / 2; then going down equals taking every (n / m)-th point.

    Args:
        u: ``(..., n)`` or ``(..., n, n)``, float32 or float64, on x_j = j L / n (right end excluded).
        num_points: m, the new number of points along each axis; or one an axis.
        num_dims: how many of the last axes are those of the grid, all of n points if m is one number.

    Returns:
        (..., m) or (..., m, m), of the dtype of ``u`` (computed in float64).

    Raises:
        TypeError: ``u`` is not a real floating array.
        ValueError: ``u`` has no points or not as many along each axis, or a count is below 1.
    """
    u = np.asarray(u)
    if u.dtype.kind != "f":
        raise TypeError(f"resample: `u` must be a real floating array; got dtype {u.dtype}. Convert it with astype.")
    check_count("resample", "num_dims", num_dims)
    if u.ndim < num_dims or u.shape[-1] == 0:
        where = "axis" if num_dims == 1 else f"{num_dims} axes"
        raise ValueError(f"resample: `u` must have points along its last {where}; got shape {u.shape}.")
    new, old = _by_axis(num_points, num_dims), u.shape[u.ndim - num_dims :]
    if len(set(old)) > 1 and not isinstance(num_points, tuple):
        raise ValueError(f"resample: `u` must have as many points along each of {num_dims} axes; got shape {u.shape}.")
    for points in new:
        check_count("resample", "num_points", points)
    if old == new:
        return u.copy()
    axes = tuple(range(-num_dims, 0))
    modes = _fft.rfftn(u.astype(np.float64, copy=False), axes=axes)
    modes = resize_modes(modes, old, new, num_dims)
    return _fft.irfftn(modes, new, axes=axes).astype(u.dtype, copy=False)


def spectral_tail(u: np.ndarray, num_dims: int = 1) -> np.ndarray:
    """Share of a field carried by the top eighth of its modes: ``sum |c_k|`` over them / ``max |u|``, along the last
    axes.

    It bounds the error of interpolating between the points, as long as the spectrum decays. In several dimensions they
    are the modes whose largest wavenumber is in the top eighth of an axis.

    Args:
        u: ``(..., *N)``, real.
        num_dims: how many of the last axes are those of the grid.

    Returns:
        (...), float64; 0 where the field is zero.
    """
    grid = PeriodicGrid.by_axis(u.shape[u.ndim - num_dims :], (1.0,) * num_dims)
    sizes = np.abs(grid.to_modes(u.astype(np.float64, copy=False))) * grid.mode_weights
    tail = sizes.reshape(*u.shape[: u.ndim - num_dims], -1)[..., grid.modes_from(tail_start(grid.num_points))].sum(
        axis=-1
    )
    scale = np.abs(u).max(axis=tuple(range(-num_dims, 0)))
    return np.where(scale > 0, tail / np.where(scale > 0, scale, 1), 0.0)


def tail_start(num_points: int) -> int:
    """First mode of the top eighth of the modes of a grid of ``num_points``."""
    return num_points // 2 - num_points // 16
