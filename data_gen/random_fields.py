"""Seeded random initial conditions: one random stream a sample, so that it is the same in any batch."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any, Literal

import numpy as np

from data_gen.errors import UnresolvedError, check_count, check_finite, check_positive
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
    _check_call("gaussian_random_field", grid, seed)
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


def truncated_fourier(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    max_mode: Annotated[int, "highest mode K"] = 5,
    amplitude: Annotated[float, "standard deviation of u"] = 1.0,
    decay: Annotated[float, "exponent p of the decay k^-p of the amplitudes"] = 0.0,
    offset: Annotated[float, "mean of u"] = 0.0,
) -> np.ndarray:
    """Band-limited Gaussian random fields: a Fourier series cut after mode K.

        u(x) = offset + sum_{k=1}^{K} s_k (a_k cos(2 pi k x / L) + b_k sin(2 pi k x / L)),   a_k, b_k ~ N(0, 1)
        s_k = amplitude k^-p / (sum_{j=1}^{K} j^-2p)^(1/2)

    The stream of sample i gives a_1, b_1, a_2, b_2, ...: fields of another K or resolution share their draws.

    Args:
        grid: the (one-dimensional) grid, of more than 2 K points.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        max_mode, amplitude, decay, offset: parameters of the law.
    Returns:
        (B, 1, N), float64.
    Raises:
        ValueError: a parameter out of range or a grid of several dimensions.
        UnresolvedError: the grid cannot hold mode K.
    """
    check_truncated(max_mode=max_mode, amplitude=amplitude, decay=decay, offset=offset)
    _check_call("truncated_fourier", grid, seed, max_mode)
    k = np.arange(1, max_mode + 1, dtype=np.float64)
    std = amplitude * k**-decay / np.sqrt((k ** (-2 * decay)).sum())
    indices = list(indices)
    modes = np.zeros((len(indices), 1, grid.num_points // 2 + 1), dtype=np.complex128)
    modes[..., 0] = 2 * offset
    for row, index in enumerate(indices):
        draws = sample_stream(seed, index).standard_normal(2 * max_mode)
        modes[row, 0, 1 : max_mode + 1] = std * (draws[0::2] - 1j * draws[1::2])
    modes *= grid.num_points / 2
    return grid.to_points(modes)


def check_truncated(*, max_mode: int, amplitude: float, decay: float, offset: float) -> None:
    """Raise ValueError unless the parameters of ``truncated_fourier`` are usable."""
    check_count("truncated_fourier", "max_mode", max_mode)
    check_positive("truncated_fourier", "amplitude", amplitude)
    check_finite("truncated_fourier", "decay", decay)
    check_finite("truncated_fourier", "offset", offset)


def sines(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    waves: Annotated[int, "number of sines m"] = 2,
    max_mode: Annotated[int, "highest mode K"] = 8,
    amplitude: Annotated[float, "largest amplitude A of a sine"] = 1.0,
    bounds: Annotated[Literal["none", "unit"], "`unit` maps the sum into (0, 1)"] = "none",
) -> np.ndarray:
    """Sums of sines of random mode, amplitude and phase.

        u(x) = sum_{i=1}^{m} A_i sin(2 pi k_i x / L + phi_i),   k_i ~ {1..K},  A_i ~ U(0, A),  phi_i ~ U(0, 2 pi)
        bounds "unit":   u -> (1 + u / sum_i A_i) / 2

    The absolute values and windows that PDEBench applies to a tenth of its samples are left out: their kinks have no
    spectral accuracy. "unit" takes the place of its scaling by the extremes on the grid, and does not depend on one.

    Args:
        grid: the (one-dimensional) grid, of more than 2 K points.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        waves, max_mode, amplitude, bounds: parameters of the law.
    Returns:
        (B, 1, N), float64.
    Raises:
        ValueError: a parameter out of range or a grid of several dimensions.
        UnresolvedError: the grid cannot hold mode K.
    Source: Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix on the one-dimensional advection equation.
    """
    check_sines(waves=waves, max_mode=max_mode, amplitude=amplitude, bounds=bounds)
    _check_call("sines", grid, seed, max_mode)
    angle = 2 * np.pi / grid.extent * grid.points
    indices = list(indices)
    fields = np.zeros((len(indices), 1, grid.num_points))
    for row, index in enumerate(indices):
        stream, total = sample_stream(seed, index), 0.0
        for _ in range(waves):
            mode, size, phase = stream.integers(1, max_mode + 1), amplitude * stream.random(), stream.random()
            fields[row, 0] += size * np.sin(mode * angle + 2 * np.pi * phase)
            total += size
        if bounds == "unit":
            fields[row] = (1 + fields[row] / total) / 2
    return fields


def check_sines(*, waves: int, max_mode: int, amplitude: float, bounds: str) -> None:
    """Raise ValueError unless the parameters of ``sines`` are usable."""
    check_count("sines", "waves", waves)
    check_count("sines", "max_mode", max_mode)
    check_positive("sines", "amplitude", amplitude)
    if bounds not in ("none", "unit"):
        raise ValueError(f'sines: `bounds` must be "none" or "unit"; got {bounds!r}.')


def piecewise_constant(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    pieces: Annotated[int, "number of pieces, at least 2"] = 4,
    low: Annotated[float, "smallest value"] = -1.0,
    high: Annotated[float, "largest value"] = 1.0,
) -> np.ndarray:
    """Fields of constant pieces with jumps at random places.

        u(x) = v_i for x / L in [s_i, s_{i+1}), cyclically,   s_1 < ... < s_m ~ U(0, 1) sorted,   v_i ~ U(low, high)

    A field is sampled at the points, without smoothing; an equation without diffusion cannot be solved from it.

    Args:
        grid: the (one-dimensional) grid.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        pieces, low, high: parameters of the law.
    Returns:
        (B, 1, N), float64.
    Raises:
        ValueError: a parameter out of range or a grid of several dimensions.
    """
    check_pieces(pieces=pieces, low=low, high=high)
    _check_call("piecewise_constant", grid, seed)
    place = grid.points / grid.extent
    indices = list(indices)
    fields = np.empty((len(indices), 1, grid.num_points))
    for row, index in enumerate(indices):
        stream = sample_stream(seed, index)
        edges, values = np.sort(stream.random(pieces)), stream.uniform(low, high, pieces)
        fields[row, 0] = values[np.searchsorted(edges, place, side="right") - 1]
    return fields


def check_pieces(*, pieces: int, low: float, high: float) -> None:
    """Raise ValueError unless the parameters of ``piecewise_constant`` are usable."""
    check_count("piecewise_constant", "pieces", pieces, minimum=2)
    check_finite("piecewise_constant", "low", low)
    check_finite("piecewise_constant", "high", high)
    if not low < high:
        raise ValueError(f"piecewise_constant: `low` must be below `high`; got {low!r} and {high!r}.")


def _check_call(function: str, grid: PeriodicGrid, seed: int, max_mode: int = 0) -> None:
    check_count(function, "seed", seed, minimum=0)
    if grid.num_dims != 1:
        raise ValueError(f"{function}: `grid` must have one dimension; got {grid.num_dims}.")
    if 2 * max_mode >= grid.num_points:
        raise UnresolvedError(
            f"{function}: `grid` must have more than {2 * max_mode} points to hold mode {max_mode}; got "
            f"{grid.num_points}."
        )


#: Name of an initial condition -> (its function, the check of its parameters).
INITIAL_CONDITIONS: Mapping[str, tuple[Callable[..., np.ndarray], Callable[..., None]]] = {
    "gaussian_random_field": (gaussian_random_field, check_gaussian),
    "truncated_fourier": (truncated_fourier, check_truncated),
    "sines": (sines, check_sines),
    "piecewise_constant": (piecewise_constant, check_pieces),
}


def initial_defaults(name: str) -> dict[str, Any]:
    """The parameters of the initial condition called ``name``, with their defaults."""
    parameters = inspect.signature(INITIAL_CONDITIONS[name][0]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "seed"}
