"""Band-limited Gaussian random fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np

from data_gen.errors import check_count, check_finite, check_positive
from data_gen.grids.periodic import PeriodicGrid
from data_gen.random_fields.streams import check_periodic, fourier_series, wave_vectors


def truncated_fourier(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 1,
    max_mode: Annotated[int, "highest mode K along each axis"] = 5,
    amplitude: Annotated[float, "standard deviation of u"] = 1.0,
    decay: Annotated[float, "exponent p of the decay |k|^-p of the amplitudes"] = 0.0,
    offset: Annotated[float, "mean of u"] = 0.0,
) -> np.ndarray:
    """Band-limited Gaussian random fields: a Fourier series cut after mode K.

    ::

        u(x) = offset + sum_k s_k (a_k cos(2 pi k.x / L) + b_k sin(2 pi k.x / L)),   a_k, b_k ~ N(0, 1)
        s_k = amplitude |k|^-p / (sum_j |j|^-2p)^(1/2)

    over one of each pair +-k with ``|k| <= K`` along each axis, k = 0 left out: k = 1 .. K in one dimension, 2 K (K +
    1) vectors in two, and so on in three. The stream gives a_1, b_1, a_2, b_2, ... in the order of
    ``gaussian_random_field``: fields of another K or resolution share their draws.

    Args:
        grid: the grid, of one to three dimensions and more than 2 K points along each.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: C, independent fields of a sample.
        max_mode: K, the largest mode along an axis.
        amplitude: factor of the s_k.
        decay: p, the exponent of the decay.
        offset: mean of the field.

    Returns:
        ``(B, C, *N)``, float64.

    Raises:
        ValueError: a parameter out of range or a grid of more than three dimensions.
        TypeError: a grid that is not periodic.
        UnresolvedError: the grid does not resolve mode K.
    """
    check_truncated(max_mode=max_mode, amplitude=amplitude, decay=decay, offset=offset)
    check_periodic("truncated_fourier", grid, seed, channels, max_mode=max_mode)
    k = np.sqrt((wave_vectors(grid.num_dims, max_mode) ** 2).sum(axis=1))
    std = amplitude * k**-decay / np.sqrt((k ** (-2 * decay)).sum())
    return fourier_series(grid, indices, seed=seed, channels=channels, max_mode=max_mode, std=std, mean=offset)


def check_truncated(*, max_mode: int, amplitude: float, decay: float, offset: float) -> None:
    """Raise ValueError unless the parameters of ``truncated_fourier`` are usable."""
    check_count("truncated_fourier", "max_mode", max_mode)
    check_positive("truncated_fourier", "amplitude", amplitude)
    check_finite("truncated_fourier", "decay", decay)
    check_finite("truncated_fourier", "offset", offset)
