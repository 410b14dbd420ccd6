"""Detection of a last point that repeats the first one: by coordinates, beyond doubt, or as is said."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from data_gen.convert import convert
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, Source, open_source
from data_gen.header import Header

RANDOM = np.random.default_rng(3)
SAID = {"extent": (1.0,), "times": (0.0, 1.0)}


def waves(points: np.ndarray, samples: int = 8) -> np.ndarray:
    """Periodic fields of random phases, ``(samples, points)``."""
    phases = RANDOM.uniform(0, 6, (2, samples, 1))
    return np.sin(2 * np.pi * points + phases[0]) + 0.5 * np.sin(4 * np.pi * points + phases[1])


def pair(folder: Path, x: np.ndarray, y: np.ndarray, **words: object) -> Source:
    torch.save({"x": torch.from_numpy(x), "y": torch.from_numpy(y)}, folder / "f.pt")
    return open_source(folder / "f.pt", overrides=Overrides(**{**SAID, **words}))  # type: ignore[arg-type]


def test_without_coordinates_a_repeated_point_goes_only_beyond_doubt(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = np.linspace(0, 1, 33)
    for dtype in ("float64", "float32"):
        x, y = waves(points).astype(dtype), waves(points).astype(dtype)
        with pair(tmp_path, x, y) as data:
            assert data.resolution == 32
            np.testing.assert_array_equal(data.read("u")[:, 0], y[:, :-1])
    with pair(tmp_path, x, y, right_end="excluded") as data:
        assert data.resolution == 33
    caplog.clear()
    with pair(tmp_path, x[:2], y[:2]) as data:
        assert data.resolution == 33
    assert "say --right-end included if the last point is the first again" in caplog.text
    with pair(tmp_path, x[:2], y[:2], right_end="included") as data:
        assert data.resolution == 32
    with pair(tmp_path, waves(points), y) as data:  # the input alone
        assert data.resolution == 32
    with pair(tmp_path, RANDOM.standard_normal(y.shape), y) as data:
        assert data.resolution == 33


@pytest.mark.parametrize("axes", [1, 2])
def test_symmetric_fields_on_cells_keep_all_points(tmp_path: Path, axes: int) -> None:
    points = (np.arange(64) + 0.5) / 64
    bump = 1 + np.cos(2 * np.pi * (points - 0.5))
    shape = bump if axes == 1 else bump[:, None] * bump
    amplitudes = RANDOM.uniform(1, 2, (16, *(1,) * axes))
    with pair(tmp_path, amplitudes * shape, 0.5 * amplitudes * shape) as data:
        assert data.header.shape == (64,) * axes
    series = amplitudes.reshape(16, 1, 1) * np.stack([bump, bump / 2, bump / 3])
    found = xr.Dataset({"u": (("sample", "time", "x"), series)})
    found.assign_coords(x=points, time=[0.0, 1.0, 2.0]).to_netcdf(tmp_path / "f.nc")
    for extent in ((), (1.0,)):
        with open_source(tmp_path / "f.nc", overrides=Overrides(extent=extent)) as data:
            assert data.header.extents == (1.0,) and data.resolution == 64


def between_walls(points: np.ndarray, samples: int = 8) -> np.ndarray:
    """Fields that are zero at both ends, ``(samples, points)``."""
    bump = np.sin(np.pi * points)
    bump[[0, -1]] = 0
    return RANDOM.uniform(0.5, 1, (samples, 1)) * bump + RANDOM.uniform(0, 0.2, (samples, 1)) * bump**2 * points


def test_fields_that_are_fixed_at_both_ends_lie_between_walls(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.linspace(0, 1, 17)
    coefficient = np.where(RANDOM.random((8, 17, 17)) > 0.5, 12.0, 3.0)
    solution = between_walls(points)[..., None] * between_walls(points)[:, None]
    with pair(tmp_path, coefficient, solution, times=(0.0,), extent=(1.0, 2.0)) as data:
        np.testing.assert_array_equal(data.read("a")[:, 0], coefficient)
        assert data.header.axis_boundaries == ("wall", "wall") and data.header.placements == ("nodes", "nodes")
        np.testing.assert_allclose(data.header.coordinates[1], 2 * points)
    assert caplog.text.count("these are taken as walls, with a point on each") == 2  # once an axis
    with pair(tmp_path, solution, solution * 2) as data:
        assert data.header.shape == (17, 17) and data.header.boundary == "wall"
    with pair(tmp_path, 1 + solution, 1 + solution * 2) as data:  # at another value
        assert data.header.boundary == "wall"


def test_points_lie_on_walls_where_fields_are_fixed_there(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.linspace(0, 1, 17)
    fixed, free = between_walls(points), 1 + between_walls(points) * RANDOM.standard_normal((8, 17))
    free[:, 0] += RANDOM.standard_normal(8)
    for field, words, kind in (
        (fixed, {}, "nodes"), (fixed, {"right_end": "excluded"}, "cells"), (free, {}, "cells"),
    ):  # fmt: skip
        caplog.clear()
        with pair(tmp_path, field, field, boundary="wall", **words) as data:
            assert data.header.placements == (kind,) and data.header.boundary == "wall"
        assert ("taken to lie from wall to wall" in caplog.text) == (kind == "nodes")


@pytest.mark.parametrize("points", [np.linspace(0, 1, 17), np.linspace(-1, 1, 17), np.linspace(0, 1, 17) ** 2])
def test_walls_are_found_in_files_with_coordinates(tmp_path: Path, points: np.ndarray) -> None:
    u = np.stack([between_walls(np.linspace(0, 1, 17))] * 3, axis=1)
    found = xr.Dataset({"u": (("sample", "time", "x"), u)}, coords={"x": points, "time": [0.0, 1.0, 2.0]})
    found.to_netcdf(tmp_path / "f.nc")
    for said in (Overrides(), Overrides(boundary="wall")):
        with open_source(tmp_path / "f.nc", overrides=said) as data:
            assert data.resolution == 17 and data.header.boundary == "wall"
            np.testing.assert_allclose(data.header.coordinates[0], points)
    with open_source(tmp_path / "f.nc") as data:
        assert data.header.placements == ("nodes",)
        convert(tmp_path / "f.nc", tmp_path / "f.h5")
    with open_source(tmp_path / "f.h5") as data:
        assert data.header.boundary == "wall"


def test_walls_are_not_seen_where_there_are_none_or_others_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = np.arange(32) / 32
    pulses = RANDOM.uniform(1, 2, (8, 1)) * np.exp(-(((points - 0.5) / 0.05) ** 2))  # zero far around the ends
    odd = np.sin(2 * np.pi * points) * RANDOM.uniform(1, 2, (8, 1))  # zero at the first point alone
    for field in (pulses, odd, waves(points)):
        with pair(tmp_path, field, 2 * field) as data:
            assert data.header.boundary == "periodic" and data.resolution == 32
    walled = between_walls(np.linspace(0, 1, 33))
    for words in ({"boundary": "periodic"}, {"right_end": "excluded"}):
        with pair(tmp_path, walled, walled, **words) as data:
            assert data.header.boundary == "periodic"
    with pair(tmp_path, walled[:3], walled[:3]) as data:  # too few samples
        assert data.header.boundary == "periodic"
    assert "are taken as walls" not in caplog.text


@pytest.mark.parametrize("points", [np.linspace(0, 1, 32), (np.arange(32) + 0.5) / 32])
def test_fields_whose_ends_do_not_meet_have_an_open_boundary(
    tmp_path: Path, points: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    modes = np.cos(np.pi * np.arange(1, 4)[:, None] * points)  # slope zero at both ends
    u = RANDOM.standard_normal((8, 3)) @ modes
    with pair(tmp_path, u, 0.9 * u) as data:
        assert data.header.boundary == "open" and data.resolution == 32
    assert "its boundary is taken as open" in caplog.text
    for kind in ("periodic", "wall"):
        with pair(tmp_path, u, 0.9 * u, boundary=kind) as data:
            assert data.header.boundary == kind
    found = xr.Dataset({"u": (("sample", "time", "x"), np.stack([u, u, u], axis=1))})
    found.assign_coords(x=points, time=[0.0, 1.0, 2.0]).to_netcdf(tmp_path / "f.nc")
    with open_source(tmp_path / "f.nc") as data:
        assert data.header.boundary == "open"
        np.testing.assert_allclose(data.header.coordinates[0], points)


def test_channels_are_asked_one_by_one_and_the_target_alone(tmp_path: Path) -> None:
    points = np.linspace(0, 1, 17)
    flow = np.stack([between_walls(points), 2 + RANDOM.standard_normal((8, 17))], axis=1)  # velocity and pressure
    with pair(tmp_path, flow, flow, axes=("sample,channel,x",)) as data:
        assert data.header.boundary == "wall"
    place = np.broadcast_to(points, (8, 17))  # a channel of coordinates
    periodic = waves(np.arange(17) / 17)
    given = np.stack([periodic, place], axis=1)
    with pair(tmp_path, given, periodic[:, None], axes=("sample,channel,x",)) as data:
        assert data.header.boundary == "periodic"


def test_steep_and_rough_fields_stay_periodic(tmp_path: Path) -> None:
    step = np.stack([np.roll(np.arange(32) < 16, shift) for shift in RANDOM.integers(0, 32, 8)]).astype(float)
    for field in (step, RANDOM.standard_normal((8, 32)), np.cumsum(RANDOM.standard_normal((2, 32)), axis=1)):
        with pair(tmp_path, field, field, right_end="excluded") as data:
            assert data.header.boundary == "periodic"


def test_walls_along_one_axis_leave_the_other_periodic(tmp_path: Path) -> None:
    points = np.arange(16) / 16
    channel = between_walls(np.linspace(0, 1, 17))[:, :, None] * (2 + waves(points))[:, None]
    with pair(tmp_path, channel, 2 * channel, extent=(1.0, 1.0)) as data:
        assert data.header.shape == (17, 16) and data.header.axis_boundaries == ("wall", "periodic")
        assert data.header.placements == ("nodes", "periodic")


def test_what_is_said_wins_against_noise(tmp_path: Path) -> None:
    points = np.linspace(0, 1, 33)
    y = waves(points).astype("float32")
    y[:, -1] += 3e-5
    with pair(tmp_path, y, y, right_end="included") as data:
        assert data.resolution == 32 and data.header.extents == (1.0,)
    with pytest.raises(DatasetError, match="must repeat its first point at the right end of x"):
        pair(tmp_path, y, RANDOM.standard_normal(y.shape).astype("float32"), right_end="included")
    found = xr.Dataset({"u": (("sample", "time", "x"), np.stack([y, y, y], axis=1))})
    found.assign_coords(x=points, time=[0.0, 1.0, 2.0]).to_netcdf(tmp_path / "f.nc")
    with open_source(tmp_path / "f.nc", overrides=Overrides(extent=(1.0,))) as data:
        assert data.resolution == 32


def test_one_axis_is_periodic_and_the_other_has_walls(tmp_path: Path) -> None:
    points = np.linspace(0, 1, 17)
    fields = waves(points)[:, None] * np.sin(np.pi * points)[:, None]  # y between walls, x periodic
    words = {"boundary": ("wall", "periodic"), "right_end": "included", "extent": (1.0, 1.0)}
    with pair(tmp_path, fields, 2 * fields, **words) as data:
        assert data.header.shape == (17, 16) and data.header.axis_boundaries == ("wall", "periodic")
        np.testing.assert_array_equal(data.read("a")[:, 0], fields[..., :-1])
        np.testing.assert_allclose(data.header.coordinates[0], points)


COORDINATES = {"nodes": np.arange(33) / 32, "cells": (np.arange(33) + 0.5) / 33, "from 0.3": 0.3 + np.arange(33) * 0.37}


@pytest.mark.parametrize("out", ["out.h5", "out.nc", "out.hdf5", "out.mat", "well"])
@pytest.mark.parametrize("boundary", ["periodic", "wall", "open"])
@pytest.mark.parametrize("right_end", ["included", "excluded"])
@pytest.mark.parametrize("name", COORDINATES)
def test_what_is_said_at_convert_need_not_be_said_again(
    tmp_path: Path, name: str, right_end: Any, boundary: Any, out: str
) -> None:
    phases = np.random.default_rng(0).random((8, 3, 1))
    fields = np.sin(2 * np.pi * (np.arange(33) / 32 + phases))  # repeats, as a periodic field from end to end does
    found = xr.Dataset({"u": (("sample", "time", "x"), fields)}, {"x": COORDINATES[name], "time": np.arange(3.0)})
    found.to_netcdf(tmp_path / "in.nc", engine="h5netcdf")
    said = Overrides(right_end=right_end, boundary=boundary)
    convert(tmp_path / "in.nc", tmp_path / out, overrides=said)
    with open_source(tmp_path / "in.nc", overrides=said) as one, open_source(tmp_path / out) as other:
        first, second = one.header, other.header
        assert (first.shape, first.axis_boundaries) == (second.shape, second.axis_boundaries)
        assert first.placements == second.placements
        np.testing.assert_allclose(first.coordinates, second.coordinates, rtol=1e-12)
        np.testing.assert_allclose(first.extents, second.extents, rtol=1e-12)
        np.testing.assert_allclose(first.positions, second.positions, rtol=1e-12)


def test_header_keeps_what_was_said_of_right_ends() -> None:
    known = Header("any", 3, (8, 8), (1.0, 1.0), (0.0, 1.0), boundaries=("periodic", "wall"))
    same = dataclasses.replace(known, right_ends=("excluded", "included"))
    other = dataclasses.replace(known, right_ends=("excluded", "excluded"))
    assert same == known and "right_ends" not in same.to_json() and other.placements == ("periodic", "cells")
    assert Header.from_json(other.to_json()) == other
    with pytest.raises(ValueError, match="`right_ends` must be excluded or included for each axis"):
        dataclasses.replace(known, right_ends=("included",))
