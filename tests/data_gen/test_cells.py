"""Cells between walls: where their centres are."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import CellGrid


def test_cells_fill_the_box_between_the_walls() -> None:
    grid = CellGrid(4, 2.0)
    np.testing.assert_allclose(grid.points, [0.25, 0.75, 1.25, 1.75], rtol=1e-13)
    assert grid.shape == (4, 4) and grid.spacing == 0.5
    np.testing.assert_allclose(grid.points, (2.0 - grid.points)[::-1], rtol=1e-13)
    coarse = CellGrid(4).points
    np.testing.assert_allclose(CellGrid(8).points.reshape(4, 2).mean(axis=1), coarse, rtol=1e-13)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_points": 1}, "CellGrid: `num_points` must be an integer of at least 2; got 1"),
        ({"num_points": 8, "extent": 0.0}, "CellGrid: `extent` must be a finite number above 0"),
        ({"num_points": 8, "num_dims": 0}, "CellGrid: `num_dims` must be an integer of at least 1"),
    ],
)
def test_cells_refuse_bad_sizes(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CellGrid(**settings)
