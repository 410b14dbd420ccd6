"""Damaged bytes anywhere give one line, in every format, and so do paths that are none."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.io import savemat

from data_gen.convert import convert
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from tests.data_gen.test_formats import fields, matlab_7, well_file

X, TIMES = np.arange(16) / 16, np.arange(3.0)
PAIR = Overrides(extent=(1.0,), times=(0.0, 1.0))


def netcdf(path: Path, engine: Any = "h5netcdf") -> None:
    found = xr.Dataset({"u": (("sample", "time", "x"), fields(4, 3, 16))}, coords={"x": X, "time": TIMES})
    found.to_netcdf(path, engine=engine)


def ours(path: Path) -> None:
    netcdf(path.with_suffix(".nc"))
    convert(path.with_suffix(".nc"), path)


def tensor(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.update({"tensor": fields(4, 3, 16), "x-coordinate": X, "t-coordinate": np.arange(4.0)})


KINDS: dict[str, tuple[Callable[[Path], Any], Overrides | None]] = {
    "f.nc": (netcdf, None),
    "classic.nc": (lambda path: netcdf(path, "scipy"), None),
    "ours.h5": (ours, None),
    "tensor.hdf5": (tensor, None),
    "well.hdf5": (well_file, None),
    "five.mat": (lambda path: savemat(path, {"a": fields(5, 16), "u": fields(5, 16)}), PAIR),
    "seven.mat": (lambda path: matlab_7(path, a=fields(5, 16), u=fields(5, 16)), PAIR),
    "f.npz": (lambda path: np.savez_compressed(path, x=fields(5, 16), y=fields(5, 16)), PAIR),
    "f.pt": (lambda path: torch.save({"x": torch.rand(5, 16), "y": torch.rand(5, 16)}, path), PAIR),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_files_cut_short_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, said = KINDS[name]
    path = tmp_path / name
    make(path)
    whole = path.read_bytes()
    for share in (0.05, 0.3, 0.6, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(DatasetError) as caught, open_source(path, overrides=said) as data:
            data.read(data.input_name)
            data.read(data.target_name)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["classic.nc", "five.mat", "f.npz", "f.pt"])  # libhdf5 itself can crash on others
def test_damaged_bytes_are_read_or_refused_in_one_line(tmp_path: Path, name: str) -> None:
    make, said = KINDS[name]
    path, random = tmp_path / name, np.random.default_rng(5)
    make(path)
    whole = path.read_bytes()
    for attempt in range(12):
        damaged = bytearray(whole)
        reach = min(len(damaged), 3000) if attempt % 2 else len(damaged)
        for place in random.integers(0, reach, 3):
            damaged[place] ^= int(random.integers(1, 256))
        path.write_bytes(damaged)
        try:
            with open_source(path, overrides=said) as data:
                data.read(data.input_name)
                data.read(data.target_name)
        except DatasetError as error:
            assert "\n" not in str(error)
        except ValueError as error:
            assert "`" in str(error)
        except MemoryError:
            pass


def test_paths_that_are_none(tmp_path: Path) -> None:
    os.symlink(tmp_path / "b.nc", tmp_path / "a.nc")
    os.symlink(tmp_path / "a.nc", tmp_path / "b.nc")
    with pytest.raises(DatasetError, match="cannot be opened"):
        open_source(tmp_path / "a.nc")
    with pytest.raises(DatasetError, match="it has a NUL"):
        open_source(f"{tmp_path}/a\0b.nc")
    with pytest.raises(DatasetError, match="cannot be opened"):
        open_source(tmp_path / ("n" * 300 + ".nc"))


def test_shapes_beyond_the_memory_are_refused(tmp_path: Path) -> None:
    """A file of few bytes that claims terabytes: chunks that were never written."""
    with h5py.File(tmp_path / "bomb.hdf5", "w") as file:
        file.create_dataset("tensor", (2**40, 3, 1024), "f8", chunks=(1, 3, 1024))
        file.update({"x-coordinate": np.arange(1024) / 1024, "t-coordinate": np.arange(4.0)})
    refused = pytest.raises(DatasetError, match="more than the .* of memory that is free")
    with open_source(tmp_path / "bomb.hdf5") as data, refused:
        data.read("u")


def test_fields_of_the_well_of_other_shapes_than_told(tmp_path: Path) -> None:
    well_file(tmp_path / "f.hdf5")
    with h5py.File(tmp_path / "f.hdf5", "r+") as file:
        attributes = dict(file["t0_fields/mass"].attrs)
        del file["t0_fields/mass"]
        file["t0_fields/mass"] = np.zeros((3, 4, 8, 5), "f4")
        file["t0_fields/mass"].attrs.update(attributes)
    with pytest.raises(DatasetError, match=r"has t0_fields/mass of shape \(3, 4, 8, 5\) in f.hdf5"):
        open_source(tmp_path / "f.hdf5")
