"""Equations in one to three dimensions: what varies along one axis is the equation on a line, and files keep names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, Equation, PeriodicGrid, generate, open_dataset, solve, validate
from data_gen.cli.generate import generate_command
from data_gen.equations import equation_dims, equation_in, equation_names
from data_gen.random_fields import gaussian_random_field, truncated_fourier

IN_ALL = [
    "advection",
    "allen_cahn",
    "burgers",
    "cahn_hilliard",
    "fisher_kpp",
    "fitzhugh_nagumo",
    "gray_scott",
    "heat",
    "swift_hohenberg",
]


def along_x(line: np.ndarray, num_dims: int) -> np.ndarray:
    """``(C, N)`` on a line as fields that vary along the last axis of a space."""
    shape = (line.shape[0], *(line.shape[1],) * num_dims)
    return np.broadcast_to(line.reshape(line.shape[0], *(1,) * (num_dims - 1), -1), shape).copy()


def start_of(equation: Equation, grid: PeriodicGrid) -> np.ndarray:
    """``(C, N)``, a smooth field between 0.2 and 0.8."""
    angle = 2 * np.pi / grid.extent * grid.points
    return 0.5 + 0.3 * np.stack([np.sin(angle + i) for i in range(len(equation.channels))])


@pytest.mark.parametrize("num_dims", [2, 3])
@pytest.mark.parametrize("name", IN_ALL)
def test_what_varies_along_x_is_the_equation_on_a_line(name: str, num_dims: int) -> None:
    line, space = equation_in(name, 1)(), equation_in(name, num_dims)()
    grid, time = PeriodicGrid(16, line.extent), 0.1 * min(line.time, 1.0)
    start = start_of(line, grid)
    field = np.zeros((1, len(space.channels), *(16,) * num_dims))
    field[0, : len(start)] = along_x(start, num_dims)
    on_line = solve(line, grid, start[None], [time], method="etdrk4", tolerance=1e-9)[0, 0]
    box = PeriodicGrid(16, line.extent, num_dims)
    in_space = solve(space, box, field, [time], method="etdrk4", tolerance=1e-9)[0, 0]
    assert np.abs(in_space[: len(start)] - along_x(on_line, num_dims)).max() < 1e-8
    assert np.abs(in_space[len(start) :]).max(initial=0.0) < 1e-12


@pytest.mark.parametrize("name", IN_ALL)
def test_axes_may_be_exchanged_in_space(name: str) -> None:
    """With its components, for a velocity: none of the axes is treated otherwise than the others."""
    equation = equation_in(name, 3)()
    assert equation.nonlinear is None or equation.num_dims == 3
    if equation.nonlinear is None:
        return
    grid = PeriodicGrid(8, 1.0, 3)
    u = np.random.default_rng(0).normal(size=(1, len(equation.channels), 8, 8, 8))
    turned = np.moveaxis(u, (2, 3, 4), (4, 2, 3))  # z, y, x become y, x, z
    velocity = len(equation.channels) == 3
    if velocity:
        turned = turned[:, [2, 0, 1]]
    rate = grid.to_points(equation.nonlinear(grid.to_modes(u), grid))
    again = grid.to_points(equation.nonlinear(grid.to_modes(turned), grid))
    expected = np.moveaxis(rate, (2, 3, 4), (4, 2, 3))
    np.testing.assert_allclose(again, expected[:, [2, 0, 1]] if velocity else expected, atol=1e-11 * np.abs(rate).max())


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in ("advection", "heat", "fisher_kpp") else pytest.mark.slow)
        for name in IN_ALL
    ],
)
def test_data_in_space_are_made_and_validated(tmp_path: Path, name: str) -> None:
    resolution = 32 if name == "gray_scott" else 16
    spec = DatasetSpec(
        name, num_dims=3, samples=2, times=(0.05,), tolerance=1e-5, allow_unresolved=True, resolution=resolution
    )
    path = generate(spec, tmp_path / "space.h5", progress=False)
    assert validate(path, truth=True).ok
    with open_dataset(path) as data:
        assert data.header.name == name and data.header.num_dims == 3 and data.equation is not None
        assert data.equation.num_dims == 3 and data.spec == spec and "num_dims" in spec.to_dict()


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in equation_names() if 3 in (equation_dims(name) or ())])
def test_the_usual_samples_in_space_are_resolved(tmp_path: Path, name: str) -> None:
    path = generate(DatasetSpec(name, num_dims=3, samples=1), tmp_path / "space.h5", progress=False)
    with open_dataset(path) as data:
        assert np.isfinite(data.read("u")).all()


def test_an_older_name_is_the_equation_in_the_plane(tmp_path: Path) -> None:
    settings = {"samples": 1, "resolution": 32, "times": (0.05,), "tolerance": 1e-6}
    old = generate(DatasetSpec("burgers_2d", **settings), tmp_path / "old.h5", progress=False)
    new = generate(DatasetSpec("burgers", num_dims=2, **settings), tmp_path / "new.h5", progress=False)
    with open_dataset(old) as before, open_dataset(new) as after:
        assert before.checksum == after.checksum
        assert (before.header.name, after.header.name) == ("burgers_2d", "burgers")
    assert "num_dims" not in DatasetSpec("burgers_2d").to_dict()
    assert DatasetSpec("burgers", num_dims=1) == DatasetSpec("burgers")


def test_other_numbers_of_dimensions_are_refused() -> None:
    with pytest.raises(ValueError, match="`num_dims` of heat must be one of 1, 2, 3; got 4"):
        DatasetSpec("heat", num_dims=4)
    with pytest.raises(ValueError, match="`num_dims` of kdv must be 1; got 2"):
        DatasetSpec("kdv", num_dims=2)


def test_dimensions_from_the_command_line(tmp_path: Path) -> None:
    words = ["heat", "--num-dims", "3", "--samples", "2", "--resolution", "8", "--out", str(tmp_path / "a.h5")]
    assert "grid        8 x 8 x 8 points" in generate_command(words)


@pytest.mark.parametrize("law", [gaussian_random_field, truncated_fourier])
def test_fields_in_space_share_their_low_modes(law: object) -> None:
    coarse, fine = (law(PeriodicGrid(n, 1.0, 3), [3], seed=1) for n in (12, 24))
    assert coarse.shape == (1, 1, 12, 12, 12) and abs(coarse.mean()) < 1e-12
    low = [np.fft.rfftn(u[0, 0])[:3, :3, :3] / u.size for u in (coarse, fine)]
    np.testing.assert_allclose(low[0], low[1], atol=1e-12)
