"""Random coefficients between walls: positive functions of a Gaussian random field on cells or nodes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated

import numpy as np
from scipy.fft import dctn, idctn

from data_gen.errors import check_finite, check_positive
from data_gen.grids.cells import CellGrid, NodeGrid
from data_gen.random_fields.streams import channel_streams, check_cells, cosine_vectors


def log_normal(
    grid: CellGrid | NodeGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 1,
    gamma: Annotated[float, "decay exponent of the covariance"] = 2.0,
    tau: Annotated[float, "inverse correlation length, a share of the side"] = 3.0,
    sigma: Annotated[float, "amplitude of the covariance"] = 3.0,
    mean: Annotated[float, "mean of the logarithm"] = 0.0,
) -> np.ndarray:
    """Exponentials of Gaussian random fields.

    ::

        a(x) = exp(mean + g(x)),   g ~ N(0, sigma^2 (-Laplacian + tau^2 I)^-gamma), no flux through the walls
        g(x) = sum_k s_k xi_k prod over the axes of c_k cos(pi k x / L),   xi_k ~ N(0, 1),   c_0 = 1, else sqrt(2)
        s_k = sigma (pi^2 |k|^2 + tau^2)^(-gamma / 2),   k = 0 .. N - 1 along each axis without k = 0

    The Laplacian is that of the unit square, whatever the extent. Modes are drawn in shells of the largest k: a sample
    is the same in any batch, and the low modes of g are the same at any resolution.

    Args:
        grid: the grid of cells or nodes, of one or two dimensions.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: C, independent fields of a sample.
        gamma: exponent of the covariance; in two dimensions Li et al. take 2, and 3 for tau and sigma.
        tau: inverse length of the covariance.
        sigma: factor of the covariance.
        mean: mean of g.

    Returns:
        ``(B, C, *N)``, float64, above 0.

    Raises:
        ValueError: a parameter out of range or a grid of more than two dimensions.
        TypeError: a grid that is not one of cells or nodes.

    References:
        Li et al. (2020), Fourier Neural Operator, arXiv:2010.08895, section 5.2 and the generator with it.
    """
    check_log_normal(gamma=gamma, tau=tau, sigma=sigma, mean=mean)
    check_cells("log_normal", grid, seed, channels)
    fields = _neumann_field(grid, indices, seed=seed, channels=channels, gamma=gamma, tau=tau)
    return np.exp(mean + sigma * fields)


def check_log_normal(*, gamma: float, tau: float, sigma: float, mean: float) -> None:
    """Raise ValueError unless the parameters of ``log_normal`` are usable."""
    check_positive("log_normal", "gamma", gamma)
    check_positive("log_normal", "tau", tau)
    check_positive("log_normal", "sigma", sigma)
    check_finite("log_normal", "mean", mean)


def two_valued(
    grid: CellGrid | NodeGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 1,
    gamma: Annotated[float, "decay exponent of the covariance"] = 2.0,
    tau: Annotated[float, "inverse correlation length, a share of the side"] = 3.0,
    low: Annotated[float, "value where the field is negative"] = 3.0,
    high: Annotated[float, "value elsewhere"] = 12.0,
) -> np.ndarray:
    """Two values, chosen by the sign of a Gaussian random field.

    ::

        a(x) = high where g(x) >= 0, else low,   g that of ``log_normal`` (its amplitude does not matter)

    The paper has the values 12 and 3; the generator that was published with it says 12 and 4.

    Args:
        grid: the grid of cells or nodes, of one or two dimensions.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: C, independent fields of a sample.
        gamma: of g, see ``log_normal``.
        tau: of g, see ``log_normal``.
        low: the value where g < 0.
        high: the value elsewhere.

    Returns:
        ``(B, C, *N)``, float64, of the values ``low`` and ``high``.

    Raises:
        ValueError: a parameter out of range or a grid of more than two dimensions.
        TypeError: a grid that is not one of cells or nodes.

    References:
        Li et al. (2020), Fourier Neural Operator, arXiv:2010.08895, section 5.2.
    """
    check_two_valued(gamma=gamma, tau=tau, low=low, high=high)
    check_cells("two_valued", grid, seed, channels)
    fields = _neumann_field(grid, indices, seed=seed, channels=channels, gamma=gamma, tau=tau)
    return np.where(fields >= 0, float(high), float(low))


def check_two_valued(*, gamma: float, tau: float, low: float, high: float) -> None:
    """Raise ValueError unless the parameters of ``two_valued`` are usable."""
    check_positive("two_valued", "gamma", gamma)
    check_positive("two_valued", "tau", tau)
    check_positive("two_valued", "low", low, "A coefficient is above 0.")
    check_positive("two_valued", "high", high, "A coefficient is above 0.")
    if not low < high:
        raise ValueError(f"two_valued: `low` must be below `high`; got {low!r} and {high!r}.")


def _neumann_field(
    grid: CellGrid | NodeGrid, indices: Iterable[int], *, seed: int, channels: int, gamma: float, tau: float
) -> np.ndarray:
    """``(B, channels, *N)``, g with sigma = 1: the same cosines on cells and on nodes. Orthonormal cosines on N cells
    are those on (0, 1), divided by sqrt(N).
    """
    vectors = cosine_vectors(grid.num_dims, max(grid.shape) - 1)
    std = (np.pi**2 * (vectors**2).sum(axis=1) + tau**2) ** (-gamma / 2)
    known = (vectors < np.array(grid.shape)).all(axis=1)
    places = tuple(vectors[known].T)
    indices = list(indices)
    modes = np.zeros((len(indices), channels, *grid.shape))
    for where, stream in channel_streams(seed, indices, channels):
        modes[where][places] = (std * stream.standard_normal(std.size))[known]
    axes = tuple(range(-grid.num_dims, 0))
    if isinstance(grid, NodeGrid):
        return _cosine_sums(modes, axes)
    return np.asarray(idctn(modes, axes=axes, norm="ortho", overwrite_x=True)) * math.sqrt(grid.size)


def _cosine_sums(modes: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """sum_k modes_k prod over the axes of c_k cos(pi k j / (N - 1)) at nodes j; c_0 = 1, else sqrt(2)."""
    for axis in axes:
        factors = np.full(modes.shape[axis], math.sqrt(2) / 2)  # the transform doubles all but the ends
        factors[0], factors[-1] = 1.0, math.sqrt(2)
        modes *= factors.reshape((-1,) + (1,) * (-1 - axis))
    return np.asarray(dctn(modes, type=1, axes=axes, overwrite_x=True))
