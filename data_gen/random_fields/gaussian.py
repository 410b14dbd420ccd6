"""Gaussian random fields with the covariance of a power of a shifted Laplacian."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np

from data_gen.errors import check_positive
from data_gen.grids.periodic import PeriodicGrid
from data_gen.random_fields.streams import check_periodic, fourier_series, wave_vectors


def gaussian_random_field(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 1,
    gamma: Annotated[float, "decay exponent of the covariance"] = 2.0,
    tau: Annotated[float, "inverse correlation length (in the convention of `laplacian`)"] = 5.0,
    sigma: Annotated[float, "amplitude of the covariance"] = 25.0,
    laplacian: Annotated[Literal["unit", "domain"], "Laplacian of the unit box, stretched, or of (0, L)"] = "unit",
) -> np.ndarray:
    """Zero-mean Gaussian random fields with covariance sigma^2 (-Laplacian + tau^2 I)^-gamma.

    ::

        u(x) = sum_k s_k (a_k cos(2 pi k.x / L) + b_k sin(2 pi k.x / L)),   a_k, b_k ~ N(0, 1)
        s_k = sqrt(2) sigma (|kappa|^2 + tau^2)^(-gamma / 2),   kappa = 2 pi k ("unit") or 2 pi k / L ("domain")

    over one of each pair +-k with ``|k| < N / 2`` along each axis, k = 0 left out. In one dimension k = 1, 2, ...; in
    two they are drawn in shells of the largest ``|k|``. The stream of sample i is SeedSequence(seed, spawn_key=(i,)),
    that of its channel c > 0 has the key (i, c), and gives a_1, b_1, a_2, b_2, ...: a sample is the same in any batch,
    and its low modes are the same at any resolution.

    The vorticity from which Li et al. start Navier-Stokes, N(0, 7^(3/2) (-Laplacian + 49 I)^-2.5) on the unit torus, is
    gamma = 2.5, tau = 7, sigma = 7^(3/4) as written, for sigma^2 is the factor of the covariance; the generator
    they published multiplies the coefficients by 7^(3/2) instead, which is sigma = 7^(3/2) here.

    Args:
        grid: the grid, of one to three dimensions.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: C, independent fields of a sample.
        gamma: exponent of the covariance; 2, 5, 25 for the three give a standard deviation of 0.59 in one dimension.
        tau: inverse length of the covariance.
        sigma: factor of the field.
        laplacian: "unit" takes the eigenvalues ``|2 pi k|^2`` of the unit box whatever the extent.

    Returns:
        ``(B, C, *N)``, float64.

    Raises:
        ValueError: a parameter out of range or a grid of more than three dimensions.
        TypeError: a grid that is not periodic.

    References:
        Li et al. (2020), Fourier Neural Operator, arXiv:2010.08895, sections 5.1 (Burgers' equation) and 5.3.
    """
    check_gaussian(gamma=gamma, tau=tau, sigma=sigma, laplacian=laplacian)
    check_periodic("gaussian_random_field", grid, seed, channels)
    max_mode = (grid.num_points - 1) // 2
    kappa = 2 * np.pi * wave_vectors(grid.num_dims, max_mode) / (1.0 if laplacian == "unit" else np.array(grid.extents))
    std = np.sqrt(2.0) * sigma * ((kappa**2).sum(axis=1) + tau**2) ** (-gamma / 2)
    return fourier_series(grid, indices, seed=seed, channels=channels, max_mode=max_mode, std=std, mean=0.0)


def check_gaussian(*, gamma: float, tau: float, sigma: float, laplacian: str) -> None:
    """Raise ValueError unless the parameters of ``gaussian_random_field`` are usable."""
    check_positive("gaussian_random_field", "gamma", gamma)
    check_positive("gaussian_random_field", "tau", tau)
    check_positive("gaussian_random_field", "sigma", sigma)
    if laplacian not in ("unit", "domain"):
        raise ValueError(f'gaussian_random_field: `laplacian` must be "unit" or "domain"; got {laplacian!r}.')
