"""Seeded random initial conditions: one random stream a sample, drawn mode by mode."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Literal

import numpy as np

from data_gen.errors import check_count, check_positive
from data_gen.grid import PeriodicGrid


def sample_stream(seed: int, index: int) -> np.random.Generator:
    """Random generator of sample ``index``: independent of batch size, order, and number of workers."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(index,))))


def gaussian_random_field(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    gamma: Annotated[float, "decay exponent of the covariance"] = 2.0,
    tau: Annotated[float, "inverse correlation length (in the convention of `laplacian`)"] = 5.0,
    sigma: Annotated[float, "amplitude of the covariance"] = 25.0,
    laplacian: Annotated[Literal["unit", "domain"], "Laplacian of the unit interval, stretched, or of (0, L)"] = "unit",
) -> np.ndarray:
    """Zero-mean Gaussian random fields with covariance sigma^2 (-Laplacian + tau^2 I)^-gamma.

        u(x) = sum_{k=1}^{N/2-1} s_k (a_k cos(2 pi k x / L) + b_k sin(2 pi k x / L)),   a_k, b_k ~ N(0, 1)
        s_k = sqrt(2) sigma (kappa_k^2 + tau^2)^(-gamma / 2),   kappa_k = 2 pi k ("unit") or 2 pi k / L ("domain")

    The stream of sample i is SeedSequence(seed, spawn_key=(i,)) and gives a_1, b_1, a_2, b_2, ...: a sample is the
    same in any batch, and its low modes are the same at any resolution. The Nyquist mode is left out.

    Args:
        grid: the (one-dimensional) grid.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        gamma, tau, sigma: parameters of the law; 2, 5, 25 give a standard deviation of 0.59.
        laplacian: "unit" takes the eigenvalues (2 pi k)^2 of the unit interval whatever the extent.
    Returns:
        (B, 1, N), float64.
    Raises:
        ValueError: a parameter out of range or a grid of several dimensions.
    Source: Li et al. (2020), Fourier Neural Operator, arXiv:2010.08895, section 5.1 (Burgers' equation).
    """
    check_gaussian(gamma=gamma, tau=tau, sigma=sigma, laplacian=laplacian)
    check_count("gaussian_random_field", "seed", seed, minimum=0)
    if grid.num_dims != 1:
        raise ValueError(f"gaussian_random_field: `grid` must have one dimension; got {grid.num_dims}.")
    num_modes = (grid.num_points - 1) // 2
    k = np.arange(1, num_modes + 1)
    kappa = 2 * np.pi * k / (1.0 if laplacian == "unit" else grid.extent)
    std = np.sqrt(2.0) * sigma * (kappa**2 + tau**2) ** (-gamma / 2)
    indices = list(indices)
    modes = np.zeros((len(indices), 1, grid.num_points // 2 + 1), dtype=np.complex128)
    for row, index in enumerate(indices):
        draws = sample_stream(seed, index).standard_normal(2 * num_modes)
        modes[row, 0, 1 : num_modes + 1] = std * (draws[0::2] - 1j * draws[1::2])
    modes *= grid.num_points / 2
    return grid.to_points(modes)


def check_gaussian(*, gamma: float, tau: float, sigma: float, laplacian: str) -> None:
    """Raise ValueError unless the parameters of ``gaussian_random_field`` are usable."""
    check_positive("gaussian_random_field", "gamma", gamma)
    check_positive("gaussian_random_field", "tau", tau)
    check_positive("gaussian_random_field", "sigma", sigma)
    if laplacian not in ("unit", "domain"):
        raise ValueError(f'gaussian_random_field: `laplacian` must be "unit" or "domain"; got {laplacian!r}.')


#: Name of an initial condition -> (its function, the check of its parameters).
INITIAL_CONDITIONS: Mapping[str, tuple[Callable[..., np.ndarray], Callable[..., None]]] = {
    "gaussian_random_field": (gaussian_random_field, check_gaussian),
}
