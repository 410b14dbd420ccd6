"""Random streams common to all laws: one a sample and channel, and the order in which modes are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from data_gen.errors import UnresolvedError, check_count
from data_gen.grids.cells import CellGrid, NodeGrid
from data_gen.grids.periodic import PeriodicGrid


def sample_stream(seed: int, index: int, channel: int = 0) -> np.random.Generator:
    """Random generator of a channel of sample ``index``: independent of batch size, order, and number of workers."""
    key = (index,) if channel == 0 else (index, channel)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def channel_streams(
    seed: int, indices: Iterable[int], channels: int
) -> Iterator[tuple[tuple[int, int], np.random.Generator]]:
    """((row, channel), its stream) for the samples ``indices`` and their channels, in this order."""
    for row, index in enumerate(indices):
        for channel in range(channels):
            yield (row, channel), sample_stream(seed, index, channel)


def fourier_series(
    grid: PeriodicGrid, indices: Iterable[int], *, seed: int, channels: int, max_mode: int, std: np.ndarray, mean: float
) -> np.ndarray:
    """Real Fourier series with independent normal coefficients.

    ::

        u(x) = mean + sum_k s_k (a_k cos(2 pi k.x / L) + b_k sin(2 pi k.x / L)),   a_k, b_k ~ N(0, 1)

    over the ``wave_vectors`` k. The stream gives a and b of the first, of the second, ...: a sample is the same in any
    batch, and its low modes are the same at any resolution.

    Args:
        grid: of more than 2 ``max_mode`` points.
        indices: indices of the samples.
        seed: seed shared by all samples.
        channels: C, independent fields of a sample.
        max_mode: largest ``|k|`` along an axis.
        std: ``(M,)``, the s_k, in the order of the vectors.
        mean: of u.

    Returns:
        ``(B, channels, *N)``, float64.
    """
    known, places, mirrored = _places(grid.shape, max_mode)
    indices = list(indices)
    modes = np.zeros((len(indices), channels, *grid.modes_shape), dtype=np.complex128)
    flat = modes.reshape(len(indices), channels, -1)
    flat[..., 0] = 2 * mean
    for where, stream in channel_streams(seed, indices, channels):
        draws = stream.standard_normal(2 * std.size)
        flat[where][places] = (std * (draws[0::2] - 1j * draws[1::2]))[known]
    flat[..., mirrored[1]] = np.conj(flat[..., mirrored[0]])
    modes *= grid.size / 2
    return grid.to_points(modes)


@lru_cache(maxsize=8)
def wave_vectors(num_dims: int, max_mode: int) -> np.ndarray:
    """``(M, num_dims)``, integers, one of each pair +-k with ``0 < |k| <= max_mode`` along each axis; the last axis is
    x.

    They come shell by shell (1 = the largest ``|k|`` of the axes, then 2, ...), each in a fixed order, so that the
    vectors of a smaller ``max_mode`` are the first of those of a larger one. The array is shared: do not write to it.
    """
    one = np.arange(-max_mode, max_mode + 1)
    vectors = np.stack(np.meshgrid(*[one] * num_dims, indexing="ij"), axis=-1).reshape(-1, num_dims)
    kept = np.zeros(len(vectors), dtype=bool)
    for axis in range(num_dims):  # the last entry that is not 0 is positive
        kept |= (vectors[:, axis] > 0) & (vectors[:, axis + 1 :] == 0).all(axis=1)
    return _by_shell(vectors[kept])


@lru_cache(maxsize=8)
def cosine_vectors(num_dims: int, max_mode: int) -> np.ndarray:
    """(M, num_dims), all k with 0 <= k <= ``max_mode`` along each axis but k = 0, in the order of ``wave_vectors``."""
    one = np.arange(max_mode + 1)
    vectors = np.stack(np.meshgrid(*[one] * num_dims, indexing="ij"), axis=-1).reshape(-1, num_dims)
    return _by_shell(vectors[1:])


def _by_shell(vectors: np.ndarray) -> np.ndarray:
    keys = (*vectors.T, np.abs(vectors).max(axis=1, initial=0))
    vectors = vectors[np.lexsort(keys)]
    vectors.flags.writeable = False
    return vectors


@lru_cache(maxsize=8)
def _places(shape: tuple[int, ...], max_mode: int) -> tuple[Any, np.ndarray, np.ndarray]:
    """Which wave vectors the grid has, where they lie in the flattened modes, and (2, m) pairs k, -k of those that are
    both in them.
    """
    vectors = wave_vectors(len(shape), max_mode)
    known = (2 * np.abs(vectors) < np.array(shape)).all(axis=1)
    vectors = vectors[known]
    halved = (*shape[:-1], shape[-1] // 2 + 1)
    weights = np.array([math.prod(halved[axis + 1 :]) for axis in range(len(shape))])
    places = (vectors % shape) @ weights
    on_axis = vectors[:, -1] == 0
    mirrored = (-vectors[on_axis] % shape) @ weights
    return slice(None) if known.all() else known, places, np.stack([places[on_axis], mirrored])


def check_periodic(function: str, grid: object, seed: int, channels: int, *, max_mode: int = 0, most: int = 3) -> None:
    """Raise an error unless a law of periodic fields of at most so many dimensions can be drawn on the grid."""
    check_count(function, "seed", seed, minimum=0)
    check_count(function, "channels", channels)
    if not isinstance(grid, PeriodicGrid):
        raise TypeError(
            f"{function}: `grid` must be a PeriodicGrid, the law is periodic; got {type(grid).__name__}. "
            f"Between walls use log_normal or two_valued."
        )
    _check_dims(function, grid.num_dims, most)
    if 2 * max_mode >= min(grid.shape):
        raise UnresolvedError(
            f"{function}: `grid` must have more than {2 * max_mode} points to resolve mode {max_mode}; got "
            f"{min(grid.shape)}."
        )


def check_cells(function: str, grid: object, seed: int, channels: int) -> None:
    """Raise an error unless a law of fields between walls can be drawn on the grid."""
    check_count(function, "seed", seed, minimum=0)
    check_count(function, "channels", channels)
    if not isinstance(grid, CellGrid | NodeGrid):
        raise TypeError(
            f"{function}: `grid` must be a CellGrid or NodeGrid, the law is one between walls; got "
            f"{type(grid).__name__}. On a periodic box use gaussian_random_field."
        )
    _check_dims(function, grid.num_dims, 2)


def _check_dims(function: str, num_dims: int, most: int) -> None:
    if num_dims > most:
        known = "one or two" if most == 2 else "one to three"
        raise ValueError(f"{function}: `grid` must have {known} dimensions; got {num_dims}.")
