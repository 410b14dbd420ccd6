"""Fields of constant pieces."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import numpy as np

from data_gen.errors import check_count, check_finite
from data_gen.grids.periodic import PeriodicGrid
from data_gen.random_fields.streams import channel_streams, check_periodic


def piecewise_constant(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 1,
    pieces: Annotated[int, "number of pieces, at least 2"] = 4,
    low: Annotated[float, "smallest value"] = -1.0,
    high: Annotated[float, "largest value"] = 1.0,
) -> np.ndarray:
    """Fields of constant pieces at random places.

    ::

        one dimension:    u(x) = v_i for x / L in [s_i, s_{i+1}), cyclically,   s_1 < ... < s_m ~ U(0, 1) sorted
        two dimensions:   u(x) = v_i where s_i is the nearest of s_1 .. s_m ~ U((0, 1)^2) to x / L on the torus

    with v_i ~ U(low, high); in two dimensions the pieces are the cells of a Voronoi diagram. A field is sampled at the
    points, without smoothing; an equation without diffusion cannot be solved from it.

    Args:
        grid: the grid, of one or two dimensions.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: C, independent fields of a sample.
        pieces: m, the number of pieces of a field.
        low: the lowest value.
        high: the highest value.

    Returns:
        ``(B, C, *N)``, float64.

    Raises:
        ValueError: a parameter out of range or a grid of more than two dimensions.
        TypeError: a grid that is not periodic.
    """
    check_pieces(pieces=pieces, low=low, high=high)
    check_periodic("piecewise_constant", grid, seed, channels, most=2)
    places = [x / extent for x, extent in zip(grid.axis_points, grid.extents, strict=True)]
    indices = list(indices)
    fields = np.empty((len(indices), channels, *grid.shape))
    for where, stream in channel_streams(seed, indices, channels):
        if grid.num_dims == 1:
            edges, values = np.sort(stream.random(pieces)), stream.uniform(low, high, pieces)
            fields[where] = values[np.searchsorted(edges, places[0], side="right") - 1]
        else:
            centres, values = stream.random((pieces, 2)), stream.uniform(low, high, pieces)
            apart = [np.abs(place - centres[:, axis, None]) for axis, place in enumerate(places)]
            along_y, along_x = (np.minimum(away, 1 - away) ** 2 for away in apart)
            fields[where] = values[np.argmin(along_y[:, :, None] + along_x[:, None, :], axis=0)]
    return fields


def check_pieces(*, pieces: int, low: float, high: float) -> None:
    """Raise ValueError unless the parameters of ``piecewise_constant`` are usable."""
    check_count("piecewise_constant", "pieces", pieces, minimum=2)
    check_finite("piecewise_constant", "low", low)
    check_finite("piecewise_constant", "high", high)
    if not low < high:
        raise ValueError(f"piecewise_constant: `low` must be below `high`; got {low!r} and {high!r}.")
