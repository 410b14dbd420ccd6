"""Variables and components of input and target that have the same names."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_gen import convert, validate
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from tests.data_gen.test_formats import fields
from tests.data_gen.test_layouts_of_others import dataset_file

AXES = ("sample", "time", "x")
COORDINATES = {"x": np.arange(16) / 16, "time": np.array([0.0, 1.0])}


def trajectories(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(5, 2, 16))


@pytest.mark.parametrize("name", ["a", "u", "x", "nu", "time"])
@pytest.mark.parametrize("ending", [".h5", ".nc"])
def test_trajectories_may_have_any_name(tmp_path: Path, name: str, ending: str) -> None:
    values = trajectories()
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file[f"group/{name}"] = values
    said = Overrides(target_name=f"group/{name}", extent=(1.0,), times=(0.0, 1.0), axes=",".join(AXES))
    convert(tmp_path / "in.h5", tmp_path / f"out{ending}", overrides=said)
    with open_source(tmp_path / f"out{ending}") as data:
        assert data.header.input_name != data.header.target_name
        assert data.header.inputs == data.header.channels
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], values)


@pytest.mark.parametrize("both", ["u", "u,v"])
def test_a_variable_that_is_input_and_target_is_a_trajectory(tmp_path: Path, both: str) -> None:
    path = dataset_file(tmp_path / "t.nc", COORDINATES, u=(AXES, trajectories()), v=(AXES, trajectories(1)))
    with (
        open_source(path, overrides=Overrides(input_name=both, target_name=both)) as data,
        open_source(path, overrides=Overrides(target_name=both)) as usual,
    ):
        assert data.header == usual.header
        np.testing.assert_array_equal(data.read_trajectory(), usual.read_trajectory())


def test_a_variable_at_one_time_is_not_its_own_target(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", x=fields(5, 16), y=fields(5, 16))
    said = Overrides(input_name="y", target_name="y", extent=(1.0,), times=(0.0, 1.0))
    with pytest.raises(DatasetError, match=r"has y at one time, and --input-name and --target-name both name it"):
        open_source(tmp_path / "f.npz", overrides=said)


@pytest.mark.parametrize(("given", "wanted"), [("u", "u,v"), ("v", "u,v"), ("u,v", "u"), ("u,v", "v,u")])
def test_input_and_target_may_share_components(tmp_path: Path, given: str, wanted: str) -> None:
    path = dataset_file(tmp_path / "t.nc", COORDINATES, u=(AXES, trajectories()), v=(AXES, trajectories(1)))
    said = Overrides(input_name=given, target_name=wanted)
    convert(path, tmp_path / "t.h5", overrides=said)
    convert(tmp_path / "t.h5", tmp_path / "again.nc")
    assert validate(tmp_path / "t.h5").ok
    with open_source(path, overrides=said) as data:
        for name in ("t.h5", "again.nc"):
            with open_source(tmp_path / name) as other:
                assert other.checksum == data.checksum
    parts = {"u": trajectories(), "v": trajectories(1)}
    with h5py.File(tmp_path / "t.h5") as file:
        views, listed = file["t0_fields"], [str(name) for name in file["t0_fields"].attrs["field_names"]]
        assert sorted(views) == sorted(listed)
        for name in wanted.split(","):
            np.testing.assert_array_equal(views[name][..., -1, :] if views[name].ndim == 3 else views[name],
                                          parts[name][:, -1])  # fmt: skip
