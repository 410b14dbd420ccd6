"""Spots of one substance in another: where reaction and diffusion of two substances start from."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import Annotated

import numpy as np

from data_gen.errors import UnresolvedError, check_count, check_positive
from data_gen.grids.periodic import PeriodicGrid
from data_gen.random_fields.streams import channel_streams, check_periodic

#: Points a width needs: then the top eighth of the modes has less than 1e-8 of ten spots.
POINTS_PER_WIDTH = 4.0


def spots(
    grid: PeriodicGrid,
    indices: Iterable[int],
    *,
    seed: int,
    channels: int = 2,
    count: Annotated[int, "number of spots m"] = 10,
    width: Annotated[float, "width w of a spot, a share of L"] = 0.032,
    height: Annotated[float, "share h of the first that is replaced, at most 1"] = 0.5,
) -> np.ndarray:
    """Smooth spots at random places, in which a first substance is partly replaced by a second.

    ::

        u = 1 - h b,   v = h b,   b(x) = 1 - prod_{i=1}^{m} (1 - g(x / L - s_i)),   s_i ~ U(0, 1) along each axis
        g(z) = prod over the axes of exp((cos(2 pi z) - 1) / (2 pi w)^2), about exp(-|z|^2 / (2 w^2))

    So 0 <= b <= 1, and where spots overlap they merge. All places come from the stream of the sample.

    Args:
        grid: the grid, of one to three dimensions and at least 4 / w points along each.
        indices: the indices of the samples wanted, B of them.
        seed: non-negative integer shared by all samples.
        channels: 2.
        count: m, the number of spots.
        width: w, their width as a fraction of L.
        height: h, the share of the first substance that is replaced.

    Returns:
        ``(B, 2, *N)``, float64.

    Raises:
        ValueError: a parameter out of range, not two channels, or a grid of more than three dimensions.
        TypeError: a grid that is not periodic.
        UnresolvedError: the grid does not resolve a spot.

    References:
        Pearson (1993), Science 261, 189-192, who starts from one square without smooth edges.
    """
    check_spots(count=count, width=width, height=height)
    check_periodic("spots", grid, seed, channels)
    if channels != 2:
        raise ValueError(f"spots: `channels` must be 2, the two substances; got {channels}. Use it for gray_scott.")
    needed = math.ceil(POINTS_PER_WIDTH / width)
    if min(grid.shape) < needed:
        raise UnresolvedError(
            f"spots: `grid` must have at least {needed} points to resolve spots of width {width:g}; got "
            f"{min(grid.shape)}."
        )
    indices = list(indices)
    places = [x / extent for x, extent in zip(grid.axis_points, grid.extents, strict=True)]
    fields = np.empty((len(indices), 2, *grid.shape))
    for (row, _), stream in channel_streams(seed, indices, 1):
        centres = stream.random((count, grid.num_dims))
        empty = np.ones(grid.shape)
        for centre in centres:
            angles = [2 * np.pi * (place - at) for place, at in zip(places, centre, strict=True)]
            bump = [np.exp((np.cos(angle) - 1) / (2 * np.pi * width) ** 2) for angle in angles]
            empty *= 1 - functools.reduce(np.multiply.outer, bump)
        fields[row, 0], fields[row, 1] = 1 - height * (1 - empty), height * (1 - empty)
    return fields


def check_spots(*, count: int, width: float, height: float) -> None:
    """Raise ValueError unless the parameters of ``spots`` are usable."""
    check_count("spots", "count", count)
    check_positive("spots", "width", width)
    check_positive("spots", "height", height)
    if height > 1:
        raise ValueError(f"spots: `height` must be at most 1; got {height!r}. Above, the first channel is negative.")
