"""The file: readable by others, rows and strides as asked for, and every bad file refused in one line."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen import DatasetSpec, PeriodicGrid, open_dataset
from data_gen.errors import DatasetError
from data_gen.storage.dataset import create_file
from data_gen.storage.journal import partial_path


@pytest.fixture
def copy(small_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(small_file, tmp_path / "copy.h5"))


def test_open_gives_the_description(small_file: Path, small_spec: DatasetSpec) -> None:
    with open_dataset(small_file) as data:
        assert data.path == small_file and data.spec == small_spec
        assert (data.num_samples, data.resolution, data.times) == (300, 64, (0.0, 1.0))
        assert data.grid == PeriodicGrid(64, 2 * np.pi)
        assert (data.input_name, data.target_name, data.dtype) == ("a", "u", np.float64)
        assert data.parameters == {"viscosity": 0.1} and data.equation.name == "burgers"
        assert re.fullmatch("[0-9a-f]{64}", data.checksum)


@pytest.mark.parametrize("rows", [None, slice(0, 5), slice(120, 290, 7), slice(-3, None), slice(5, 5)])
@pytest.mark.parametrize("stride", [1, 16])
def test_read_gives_rows_and_strides(small_file: Path, rows: slice | None, stride: int) -> None:
    with h5py.File(small_file) as file:
        everything = file["u"][()]
    with open_dataset(small_file) as data:
        found = data.read("u", rows, stride)
    np.testing.assert_array_equal(found[:, 0], everything[rows or slice(None)][:, ::stride])


def test_read_takes_increasing_indices(small_file: Path) -> None:
    rows = np.array([0, 3, 127, 128, 131, 299])
    with open_dataset(small_file) as data:
        np.testing.assert_array_equal(data.read("a", rows), data.read("a")[rows])
        assert data.read("a", np.array([], dtype=int)).shape == (0, 1, 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("b",), "`name` must be 'a' or 'u'; got 'b'"),
        (("a", None, 3), "`stride` must divide the resolution 64; got 3"),
        (("a", None, 0), "`stride` must divide"),
        (("a", np.array([3, 1])), "`rows` must increase and lie in 0..299"),
        (("a", np.array([300])), "`rows` must increase and lie in 0..299"),
        (("a", np.array([0.5])), "`rows` must be a slice or one axis of integers"),
    ],
)
def test_read_refuses_bad_arguments(small_file: Path, arguments: tuple, message: str) -> None:
    with open_dataset(small_file) as data, pytest.raises(ValueError, match=message):
        data.read(*arguments)


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_opens_the_file(small_file: Path, engine: str) -> None:
    with xr.open_dataset(small_file, engine=engine) as found, open_dataset(small_file) as data:
        assert dict(found.sizes) == {"sample": 300, "time": 2, "x": 64}
        assert found["u"].dims == ("sample", "x") and found["tensor"].dims == ("sample", "time", "x")
        np.testing.assert_array_equal(found["a"].to_numpy(), data.read("a")[:, 0])
        np.testing.assert_array_equal(found["tensor"].to_numpy()[:, 1], data.read("u")[:, 0])
        np.testing.assert_array_equal(found["x"], data.grid.points)
        assert found["u"].attrs["units"] == "1" and "solution" in found["u"].attrs["long_name"]
        assert found.attrs["viscosity"] == 0.1 and found.attrs["scheme"] == "etdrk4" and found.attrs["seed"] == 0


def test_file_holds_what_pdebench_and_the_well_look_for(small_file: Path) -> None:
    with h5py.File(small_file) as file:
        assert file["tensor"].is_virtual and file["tensor"].shape == (300, 2, 64)
        assert file.attrs["Nu"] == pytest.approx(0.1 * np.pi)
        np.testing.assert_array_equal(file["x-coordinate"], file["x"])
        np.testing.assert_array_equal(file["t-coordinate"], [0.0, 1.0])
        assert file["t0_fields/u"] == file["tensor"] and file["dimensions/x"] == file["x"]
        assert (
            list(file["t0_fields"].attrs["field_names"]) == ["u"] and len(file["t1_fields"].attrs["field_names"]) == 0
        )
        assert file["dimensions/time"].attrs["time_varying"] and not file["dimensions/x"].attrs["time_varying"]
        assert file["boundary_conditions/x_periodic"].attrs["bc_type"] == "PERIODIC"
        assert file.attrs["n_trajectories"] == 300 and list(file.attrs["simulation_parameters"]) == ["viscosity"]
        assert file["u"].chunks is None and file["u"].compression is None


def test_open_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.h5 does not exist\. Check the path"):
        open_dataset(tmp_path / "none.h5")


def test_open_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is a folder"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"x" * 100_000])
def test_open_refuses_a_file_that_is_not_hdf5(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.h5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"text\.h5 is not an HDF5 file"):
        open_dataset(path)


@pytest.mark.parametrize("size", [200, 20_000, 200_000])
def test_open_refuses_a_truncated_file(copy: Path, size: int) -> None:
    with open(copy, "r+b") as file:
        file.truncate(size)
    with pytest.raises(DatasetError, match=r"copy\.h5 is truncated"):
        open_dataset(copy)


def test_open_refuses_a_foreign_layout(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["tensor"] = np.zeros((2, 3))
    with pytest.raises(DatasetError, match=r"foreign\.h5 is HDF5 but not a dataset of this layout"):
        open_dataset(tmp_path / "foreign.h5")


def test_open_refuses_an_unfinished_file(tmp_path: Path, small_spec: DatasetSpec) -> None:
    path = tmp_path / "data.h5"
    create_file(partial_path(path), small_spec)
    with pytest.raises(DatasetError, match=r"is incomplete: generation was interrupted\. Resume it \(--resume\)"):
        open_dataset(partial_path(path))
    with pytest.raises(DatasetError, match=r"data\.h5 does not exist\. An unfinished one is there: resume it"):
        open_dataset(path)


def test_open_refuses_a_changed_description(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["spec"] = file.attrs["spec"].replace('"seed":0', '"seed":1')
    with pytest.raises(DatasetError, match="has a description that does not match its hash"):
        open_dataset(copy)


def test_open_refuses_a_damaged_header(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["spec"] = "not json"
    with pytest.raises(DatasetError, match=r"copy\.h5 has a damaged header"):
        open_dataset(copy)
    with h5py.File(copy, "r+") as file:
        del file.attrs["header"]
    with pytest.raises(DatasetError, match=r"copy\.h5 has a damaged header"):
        open_dataset(copy)


def test_open_refuses_a_newer_layout(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["layout_version"] = 99
    with pytest.raises(DatasetError, match="layout version 99, newer than 1"):
        open_dataset(copy)


def test_open_refuses_fields_kept_elsewhere(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        del file["u"]
        layout = h5py.VirtualLayout((300, 64), dtype="f8")
        layout[...] = h5py.VirtualSource("/etc/other.h5", "u", shape=(300, 64))
        file.create_virtual_dataset("u", layout)
    with pytest.raises(DatasetError, match="keeps u in another file, which is refused"):
        open_dataset(copy)
    with h5py.File(copy, "r+") as file:
        del file["u"]
    with pytest.raises(DatasetError, match="has no dataset u"):
        open_dataset(copy)
