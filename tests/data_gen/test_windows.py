"""Windows of trajectories: every value comes from its own trajectory, time and component."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen.convert import convert
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from sciml_cf.datasets import FieldDataset

SAMPLES, TIMES, POINTS = 12, 7, 8


def marked(folder: Path, *, channels: int = 2, points: tuple[int, ...] = (POINTS,), suffix: str = ".npy") -> Path:
    """Trajectories whose values say which trajectory, time, component and point they are of."""
    shape = (SAMPLES, TIMES, channels, *points)
    counts = np.meshgrid(*map(np.arange, shape), indexing="ij")
    fields = sum(count * 100.0 ** (2 - axis) for axis, count in enumerate(counts[:3])) + counts[-1] / 1000
    path = folder / "marked.npy"
    np.save(path, fields)
    if suffix != ".npy":
        convert(path, folder / f"marked{suffix}", overrides=said(points))
        return folder / f"marked{suffix}"
    return path


def said(points: tuple[int, ...] = (POINTS,), **more: Any) -> Overrides:
    axes = "sample,time,channel," + ",".join("zyx"[-len(points) :])
    times = tuple(0.5 * step for step in range(TIMES))
    return Overrides(extent=(1.0,) * len(points), times=times, axes=axes, **more)


def expected(trajectory: int, first: int, steps: int, channels: int) -> np.ndarray:
    """(steps * channels,), the values at point 0: by time, then by component."""
    return np.array([1e4 * trajectory + 100 * (first + step) + c for step in range(steps) for c in range(channels)])


@pytest.mark.parametrize("points", [(POINTS,), (4, 6), (4, 2, 6)])
@pytest.mark.parametrize(("n", "m", "stride"), [(1, 1, 1), (3, 1, 1), (1, 2, 3), (2, 2, 2), (4, 3, 1)])
def test_windows_of_marked_trajectories(tmp_path: Path, points: tuple[int, ...], n: int, m: int, stride: int) -> None:
    path = marked(tmp_path, points=points)
    starts = range(0, TIMES - n - m + 1, stride)
    with open_source(path, overrides=said(points, input_steps=n, output_steps=m, stride=stride)) as data:
        assert data.num_samples == SAMPLES * len(starts) and data.times == (0.0, 0.5 * m)
        some = np.unique(np.random.default_rng(n).integers(0, data.num_samples, 20))
        for name, first, steps in ((data.input_name, 0, n), (data.target_name, n, m)):
            read = data.read(name, some)
            assert read.shape == (len(some), 2 * steps, *points)
            for row, field in zip(some, read, strict=True):
                trajectory, start = divmod(int(row), len(starts))
                corner = field[(slice(None), *(0,) * len(points))]
                np.testing.assert_array_equal(corner, expected(trajectory, starts[start] + first, steps, 2))


def test_names_of_channels_say_the_step(tmp_path: Path) -> None:
    path = marked(tmp_path, suffix=".h5")
    with open_source(path, overrides=Overrides(input_steps=2)) as data:
        u, v = "u_1", "u_2"
        with open_source(path) as whole:
            u, v = whole.header.channels
        assert data.header.inputs == (f"{u}_t-1", f"{v}_t-1", f"{u}_t0", f"{v}_t0")
        assert data.header.channels == (f"{u}_t+1", f"{v}_t+1")
    with open_source(path, overrides=Overrides(stride=2)) as data:
        assert data.header.inputs == data.header.channels == (u, v)


@pytest.mark.parametrize("suffix", [".npy", ".h5", ".nc"])
def test_parts_of_a_split_share_no_trajectory(tmp_path: Path, suffix: str) -> None:
    path = marked(tmp_path, suffix=suffix)
    how: dict[str, Any] = {"input_steps": 2, "stride": 2}
    facts = said(**how) if suffix == ".npy" else Overrides(**how)
    seen: dict[str, set[int]] = {}
    for split in ("train", "validation", "test", "all"):
        data = FieldDataset(path, split, facts=facts)
        both = [(fields[:, 0, 0] // 1e4).int().tolist() for fields in (data.x, data.y)]
        assert both[0] == both[1]
        seen[split] = set(both[0])
    assert seen["train"] | seen["validation"] | seen["test"] == seen["all"] == set(range(SAMPLES))
    assert sum(map(len, seen.values())) == 2 * SAMPLES


def test_converted_windows_stay_in_their_part(tmp_path: Path) -> None:
    """A file of windows remembers the trajectory of each."""
    convert(marked(tmp_path), tmp_path / "pairs.h5", overrides=said(input_steps=3, output_steps=2))
    parts = [set((FieldDataset(tmp_path / "pairs.h5", s).x[:, 0, 0] // 1e4).int().tolist()) for s in ("train", "test")]
    assert not parts[0] & parts[1]


def test_a_table_goes_with_its_trajectory(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(size=(5, 4, 8))
    np.savez(tmp_path / "f.npz", u=fields, viscosity=np.arange(5) / 10)
    said = Overrides(target_name="u", axes="sample,time,x", extent=(1.0,), times=(0.0, 1.0, 2.0, 3.0), input_steps=2)
    with open_source(tmp_path / "f.npz", overrides=said) as data:
        for name, values in data.table.items():
            if name == "viscosity":
                np.testing.assert_array_equal(values, np.repeat(np.arange(5) / 10, 2))
        checksum = data.checksum
    with open_source(tmp_path / "f.npz", overrides=said) as data:
        assert data.checksum == checksum


@pytest.mark.parametrize(
    ("more", "match"),
    [
        ({"input_steps": 0}, "`input_steps` must be .*at least 1; got 0"),
        ({"stride": -1}, "`stride` must be .*at least 1; got -1"),
        ({"input_steps": 6, "output_steps": 2}, "must together be at most 7, the times of .*; got 8"),
        ({"output_steps": 1, "input_time": 0.5}, "`input_time` and `target_time` must be left out where windows"),
    ],
)
def test_impossible_windows_are_refused(tmp_path: Path, more: dict[str, Any], match: str) -> None:
    path = marked(tmp_path)
    with pytest.raises(ValueError, match=match):
        open_source(path, overrides=said(**more))


def test_only_trajectories_of_equal_steps_have_windows(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(size=(5, 4, 8))
    np.savez(tmp_path / "f.npz", u=fields)
    np.savez(tmp_path / "pair.npz", x=fields[:, 0], y=fields[:, 1])
    uneven = Overrides(target_name="u", axes="sample,time,x", extent=(1.0,), times=(0.0, 1.0, 2.0, 4.0), stride=1)
    with pytest.raises(DatasetError, match="must have equal time steps to cut windows; they are 1 to 2"):
        open_source(tmp_path / "f.npz", overrides=uneven)
    steady = Overrides(extent=(1.0,), times=(0.0,), input_steps=1)
    with pytest.raises(DatasetError, match="must hold trajectories to cut windows from; it has 1 time of"):
        open_source(tmp_path / "pair.npz", overrides=steady)
