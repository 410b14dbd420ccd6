"""Darcy's problem on nodes from wall to wall: its order, a series, the same fields as on cells, and coarser nodes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_gen import CellGrid, DatasetSpec, darcy_manufactured, darcy_solve, generate, open_dataset, validate
from data_gen.cli.generate import generate_command
from data_gen.errors import DatasetError
from data_gen.grids.cells import NodeGrid
from data_gen.plot import plot_dataset
from data_gen.random_fields import log_normal, two_valued
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate.grids import Grids, default_resolutions


@pytest.mark.parametrize("kind", [NodeGrid, CellGrid])
@pytest.mark.parametrize(
    ("extents", "shape"), [((1.0, 1.0), (1, 1)), ((3.0, 3.0), (1, 1)), ((1.0, 2.0), (1, 2)), ((2.0, 1.0), (1, 1))]
)
def test_order_two_to_a_manufactured_solution(kind, extents, shape) -> None:
    errors = []
    for n in (32, 64, 128):
        grid = kind.by_axis(tuple(factor * n + (kind is NodeGrid) for factor in shape), extents)
        a, f, u = darcy_manufactured(grid)
        errors.append(np.abs(darcy_solve(a, grid, source=f) - u).max())
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2, atol=0.06)
    assert 1e-6 < errors[-1] < 3e-3


def test_a_constant_coefficient_has_the_known_series() -> None:
    """u = 16 / (pi^4 a) sum over odd p, q of sin(p pi x) sin(q pi y) / (p q (p^2 + q^2))."""
    errors = []
    for n in (21, 41, 81):
        grid = NodeGrid(n)
        odd = np.arange(1, 400, 2)
        sines = np.sin(np.pi * np.outer(odd, grid.points))
        weights = 16 / np.pi**4 / np.outer(odd, odd) / np.add.outer(odd**2, odd**2) / 5
        series = sines.T @ weights @ sines
        u = darcy_solve(np.full(grid.shape, 5.0), grid)
        errors.append(np.abs(u - series).max())
        assert series[n // 2, n // 2] == pytest.approx(0.0736713532814 / 5, rel=1e-6)
        assert not u[[0, -1]].any() and not u[:, [0, -1]].any()
    np.testing.assert_allclose(np.log2(np.array(errors[:-1]) / errors[1:]), 2, atol=0.1)


def test_smooth_coefficients_converge_to_those_of_cells_and_to_themselves() -> None:
    """Self-convergence of order 2 for a smooth coefficient, and the same field and solution on cells."""
    law = {"seed": 0, "gamma": 4.0, "sigma": 27.0}
    draws = {n: log_normal(NodeGrid(n), [0], **law)[0, 0] for n in (17, 33, 65, 129)}
    # fields of more points have more modes, which are small: the coarse nodes are within the fine ones
    np.testing.assert_allclose(draws[65], draws[129][::2, ::2], rtol=2e-2)
    a = draws[129]
    u = {k: darcy_solve(a[::k, ::k], NodeGrid(128 // k + 1)) for k in (1, 2, 4, 8)}
    steps = [np.abs(u[k] - u[k // 2][::2, ::2]).max() for k in (8, 4, 2)]
    assert 3 < steps[0] / steps[1] < 5 and 3.3 < steps[1] / steps[2] < 5
    cells = CellGrid(128)
    on_cells = darcy_solve(log_normal(cells, [0], **law)[0, 0], cells)
    middle = (on_cells[1:, 1:] + on_cells[:-1, 1:] + on_cells[1:, :-1] + on_cells[:-1, :-1]) / 4
    np.testing.assert_allclose(middle, u[1][1:-1, 1:-1], atol=2e-2 * u[1].max())


def test_the_published_scheme_at_a_jump() -> None:
    """The matrix of solve_gwf.m, written out as loops: arithmetic means of a at the half steps, (K - 1)^2."""
    grid = NodeGrid(7)
    a = two_valued(grid, [3], seed=1)[0, 0]
    inner = [(i, j) for i in range(1, 6) for j in range(1, 6)]
    matrix = np.zeros((25, 25))
    for row, (i, j) in enumerate(inner):
        for k, m in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
            half = 36 * (a[i, j] + a[k, m]) / 2
            matrix[row, row] += half
            if (k, m) in inner:
                matrix[row, inner.index((k, m))] -= half
    np.testing.assert_allclose(darcy_solve(a, grid)[1:-1, 1:-1].ravel(), np.linalg.solve(matrix, np.ones(25)))


def test_a_file_of_nodes_has_both_ends_and_coarser_nodes_within(tmp_path: Path) -> None:
    out = tmp_path / "darcy.h5"
    text = generate_command(
        ["darcy", "--placement", "nodes", "--resolution", "61", "--samples", "3", "--out", str(out)]
    )
    assert "61 x 61 points on 1 x 1, wall" in text and "x from 0 to 1 in steps of 0.01667" in text
    assert validate(out, truth=True).ok and plot_dataset(out).exists()
    with open_dataset(out) as data:
        assert isinstance(data.grid, NodeGrid) and data.header.placements == ("nodes", "nodes")
        np.testing.assert_allclose(data.header.coordinates[0], np.linspace(0, 1, 61), atol=1e-12)
        u, every_third = data.read("u"), data.read("u", stride=3)
        np.testing.assert_array_equal(every_third, u[..., ::3, ::3])
        assert data.spec is not None and data.spec == DatasetSpec.from_dict(data.spec.to_dict())
        with pytest.raises(ValueError, match="`stride` must divide the resolution 61 x 61; got 7"):
            data.read("u", stride=7)
    for resolution, stride in ((61, 1), (31, 2), (21, 3), (13, 5)):
        coarse = FieldDataset(out, "train", resolution=resolution)
        assert coarse.x.shape[-2:] == (resolution, resolution)
        np.testing.assert_allclose(coarse.positions[0], np.linspace(0, 1, resolution), atol=1e-12)
        grids = Grids.of(FieldDataset(out, "train"))
        assert grids.stride(resolution) == stride
    with pytest.raises(ValueError, match="must divide the stored resolution 61; got 30. For instance 61, 31"):
        FieldDataset(out, "train", resolution=30)
    assert default_resolutions((421, 421), 85, ("nodes", "nodes")) == (85, 211, 421)


def test_own_coefficients_on_nodes(tmp_path: Path) -> None:
    a = np.exp(np.random.default_rng(0).normal(size=(2, 21, 21)))
    np.save(tmp_path / "a.npy", a)
    words = {"samples": 2, "placement": "nodes", "initial_condition": str(tmp_path / "a.npy")}
    path = generate(DatasetSpec("darcy", resolution=11, **words), tmp_path / "b.h5", progress=False)
    with open_dataset(path) as data:
        np.testing.assert_array_equal(data.read("coefficient")[:, 0], a[:, ::2, ::2])
    with pytest.raises(DatasetError, match="must have 12 nodes along each axis, or a multiple of 11 plus 1; got"):
        generate(DatasetSpec("darcy", resolution=12, **words), tmp_path / "c.h5", progress=False)


def test_nodes_are_part_of_the_description_and_cells_the_default() -> None:
    cells, nodes = DatasetSpec("darcy"), DatasetSpec("darcy", placement="nodes")
    assert cells == DatasetSpec("darcy", placement="cells") and "placement" not in cells.to_dict()
    assert nodes.config_hash != cells.config_hash and nodes.to_dict()["placement"] == "nodes"
    with pytest.raises(ValueError, match="`placement` must be one of periodic; got 'nodes'"):
        DatasetSpec("heat", placement="nodes")
    with pytest.raises(ValueError, match="`placement` must be one of cells, nodes; got 'faces'"):
        DatasetSpec("darcy", placement="faces")  # pyright: ignore
    with pytest.raises(ValueError, match="NodeGrid: `num_points` must be at least 3; got 2"):
        NodeGrid(2)
