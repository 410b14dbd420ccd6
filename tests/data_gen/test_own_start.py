"""Samples that start from fields of one's own: a file, coefficients of Darcy's problem, or a Python function."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_gen import DatasetSpec, PeriodicGrid, generate, open_dataset, validate
from data_gen.cli.generate import generate_command
from data_gen.errors import DatasetError
from data_gen.info import dataset_facts
from data_gen.random_fields import sample_stream

LINE = PeriodicGrid(64, 2 * np.pi)


def bump(rng: np.random.Generator, grid: PeriodicGrid) -> np.ndarray:
    """A random bump."""
    return np.exp(np.cos(2 * np.pi * grid.points / grid.extent - 6 * rng.random()))


@pytest.fixture
def starts(tmp_path: Path) -> Path:
    """Five fields on 64 points."""
    path = tmp_path / "start.npy"
    np.save(path, np.stack([np.sin((i + 1) * LINE.points) for i in range(5)]))
    return path


@pytest.mark.parametrize(("points", "change"), [(64, False), (128, True)])
def test_samples_start_from_a_file(
    tmp_path: Path, starts: Path, points: int, change: bool, caplog: pytest.LogCaptureFixture
) -> None:
    out = tmp_path / "a.h5"
    words = ["burgers", "--initial-condition", str(starts), "--samples", "7", "--resolution", str(points)]
    assert "initial     file" in generate_command([*words, "--out", str(out)])
    with open_dataset(out) as data:
        a = data.read("a")
    x = PeriodicGrid(points, 2 * np.pi).points
    for row in range(7):
        np.testing.assert_allclose(a[row, 0], np.sin((row % 5 + 1) * x), atol=1e-13)
    assert validate(out, truth=True).ok
    assert ("taking its fields to 128 changes them by" in caplog.text) == change
    facts = dataset_facts(out)["initial"]["parameters"]
    assert facts["path"] == str(starts) and len(facts["sha256"]) == 64


def test_fields_of_an_hdf5_file_are_chosen_by_name(tmp_path: Path) -> None:
    path = tmp_path / "start.h5"
    with h5py.File(path, "w") as file:
        file["group/w"] = np.stack([np.cos(LINE.points)] * 2)[:, None]
        file["other"] = np.ones((2, 3))
    spec = DatasetSpec("heat", samples=2, resolution=64, initial_condition=f"{path}:group/w")
    with open_dataset(generate(spec, tmp_path / "a.h5", progress=False)) as data:
        np.testing.assert_array_equal(data.read("a")[1, 0], np.cos(LINE.points))
    nameless = DatasetSpec("heat", samples=2, resolution=64, initial_condition=str(path))
    with pytest.raises(DatasetError, match="must be followed by :NAME, one of its fields: group/w, other"):
        generate(nameless, tmp_path / "b.h5", progress=False)
    assert not (tmp_path / "b.h5.partial").exists()


def test_a_coefficient_of_ones_own_for_darcy(tmp_path: Path) -> None:
    coefficients = np.where(np.random.default_rng(0).random((2, 8, 8)) > 0.5, 12.0, 3.0)
    np.save(tmp_path / "a.npy", coefficients)
    spec = DatasetSpec("darcy", samples=2, resolution=16, initial_condition=str(tmp_path / "a.npy"))
    path = generate(spec, tmp_path / "darcy.h5", progress=False)
    with open_dataset(path) as data:
        np.testing.assert_array_equal(data.read("coefficient")[:, 0, ::2, 1::2], coefficients)
    assert validate(path, truth=True).ok
    np.save(tmp_path / "a.npy", -coefficients)
    negative = DatasetSpec("darcy", samples=2, resolution=16, initial_condition=str(tmp_path / "a.npy"))
    with pytest.raises(ValueError, match="`coefficient` must be finite and above 0"):
        generate(negative, tmp_path / "b.h5", progress=False)


def test_a_function_is_an_initial_condition(tmp_path: Path) -> None:
    spec = DatasetSpec("burgers", samples=130, resolution=64, tolerance=1e-6, initial_condition=bump, seed=4)
    one = generate(spec, tmp_path / "one.h5", progress=False)
    two = generate(spec, tmp_path / "two.h5", workers=2, progress=False)
    assert one.read_bytes() == two.read_bytes() and pickle.loads(pickle.dumps(spec)) == spec
    with open_dataset(one) as data:
        np.testing.assert_array_equal(data.read("a")[129, 0], bump(sample_stream(4, 129), LINE))
        assert data.spec is not None and data.spec.initial_parameters["name"] == "bump"
    assert validate(one, truth=True).ok
    again = DatasetSpec.from_dict(json.loads(spec.to_json()))
    assert again == spec and again.config_hash == spec.config_hash
    with pytest.raises(DatasetError, match="start from the Python function bump, which a file cannot keep"):
        generate(again, tmp_path / "c.h5", progress=False)
    changed = DatasetSpec("burgers", samples=130, resolution=64, initial_condition=lambda rng, grid: grid.points)
    assert changed.config_hash != spec.config_hash


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.ones((2, 3, 64)), r"must have shape \(samples, n\); got samples of \(3, 64\)"),
        (np.full((2, 64), np.nan), "must have finite values"),
        (np.ones(64), "with an axis of samples first"),
        (np.ones((2, 64), dtype=complex), "must have real numbers"),
    ],
)
def test_unusable_fields_are_refused_before_anything_is_written(
    tmp_path: Path, values: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "a.npy", values)
    spec = DatasetSpec("heat", samples=2, resolution=64, initial_condition=str(tmp_path / "a.npy"))
    with pytest.raises(DatasetError, match=message):
        generate(spec, tmp_path / "b.h5", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_another_file_than_the_described_one_is_refused(tmp_path: Path, starts: Path) -> None:
    spec = DatasetSpec("heat", samples=2, resolution=64, initial_condition=str(starts))
    np.save(starts, np.ones((5, 64)))
    with pytest.raises(DatasetError, match="is not the file that the description names: its checksum differs"):
        generate(spec, tmp_path / "a.h5", progress=False)
    starts.unlink()
    with pytest.raises(DatasetError, match="does not exist"):
        generate(spec, tmp_path / "a.h5", progress=False)
    with pytest.raises(ValueError, match="`initial_condition` must be a file that exists"):
        DatasetSpec("heat", initial_condition=str(starts))
    with pytest.raises(ValueError, match="`initial_condition` must be FILE.npy without a name after it"):
        DatasetSpec("heat", initial_condition=f"{starts}:u")


def test_a_function_that_returns_another_shape_is_refused(tmp_path: Path) -> None:
    spec = DatasetSpec("heat", samples=2, resolution=64, initial_condition=lambda rng, grid: np.ones(3))
    with pytest.raises(ValueError, match=r"must return finite values of shape \(1, 64\); got \(3,\)"):
        generate(spec, tmp_path / "a.h5", progress=False)
    assert list(tmp_path.iterdir()) == []
