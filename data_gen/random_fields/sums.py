"""Sums of sines of random waves."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

import numpy as np

from data_gen.errors import check_count, check_positive
from data_gen.grids.periodic import PeriodicGrid
from data_gen.random_fields.streams import channel_streams, check_periodic


def sines(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 1,
    waves: Annotated[int, "number of sines m"] = 2,
    max_mode: Annotated[int, "highest mode K along each axis"] = 8,
    amplitude: Annotated[float, "largest amplitude A of a sine"] = 1.0,
    bounds: Annotated[Literal["none", "unit"], "`unit` maps the sum into (0, 1)"] = "none",
) -> np.ndarray:
    """Sums of sines of random wave vector, amplitude and phase.

    ::

        u(x) = sum_{i=1}^{m} A_i sin(2 pi k_i.x / L + phi_i),   A_i ~ U(0, A),  phi_i ~ U(0, 2 pi)
        k_i ~ {1..K} in one dimension, {-K..K}^2 without (0, 0) in two
        bounds "unit":   u -> (1 + u / sum_i A_i) / 2

    The absolute values and windows that PDEBench applies to a tenth of its samples are left out: their kinks have no
    spectral accuracy. "unit" takes the place of its scaling by the extremes on the grid, and does not depend on one.

    Args:
        grid: the grid, of one or two dimensions and more than 2 K points along each.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: C, independent fields of a sample.
        waves: m, the number of waves.
        max_mode: K, the largest wavenumber along an axis.
        amplitude: A, the largest amplitude of a wave.
        bounds: "unit" maps the sum into (0, 1), see above; "none" leaves it.

    Returns:
        ``(B, C, *N)``, float64.

    Raises:
        ValueError: a parameter out of range or a grid of more than two dimensions.
        TypeError: a grid that is not periodic.
        UnresolvedError: the grid does not resolve mode K.

    References:
        Takamoto et al. (2022), PDEBench, arXiv:2210.07182, appendix on the one-dimensional advection equation.
    """
    check_sines(waves=waves, max_mode=max_mode, amplitude=amplitude, bounds=bounds)
    check_periodic("sines", grid, seed, channels, max_mode=max_mode, most=2)
    angles = [2 * np.pi / extent * x for x, extent in zip(grid.axis_points, grid.extents, strict=True)]
    indices = list(indices)
    fields = np.zeros((len(indices), channels, *grid.shape))
    for where, stream in channel_streams(seed, indices, channels):
        total = 0.0
        for _ in range(waves):
            vector = _random_vector(stream, max_mode, grid.num_dims)
            size, phase = amplitude * stream.random(), stream.random()
            place = vector[-1] * angles[-1] + 2 * np.pi * phase
            if grid.num_dims == 2:
                place = place + vector[0] * angles[0][:, None]
            fields[where] += size * np.sin(place)
            total += size
        if bounds == "unit":
            fields[where] = (1 + fields[where] / total) / 2
    return fields


def _random_vector(stream: np.random.Generator, max_mode: int, num_dims: int) -> tuple[int, ...]:
    if num_dims == 1:
        return (int(stream.integers(1, max_mode + 1)),)
    side = 2 * max_mode + 1
    number = int(stream.integers(0, side**2 - 1))
    number += number >= side**2 // 2  # the vector (0, 0) has the middle number
    return number // side - max_mode, number % side - max_mode


def check_sines(*, waves: int, max_mode: int, amplitude: float, bounds: str) -> None:
    """Raise ValueError unless the parameters of ``sines`` are usable."""
    check_count("sines", "waves", waves)
    check_count("sines", "max_mode", max_mode)
    check_positive("sines", "amplitude", amplitude)
    if bounds not in ("none", "unit"):
        raise ValueError(f'sines: `bounds` must be "none" or "unit"; got {bounds!r}.')
