"""Foreign HDF5 files that lead to other files are refused in every format; --follow-links takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from tests.data_gen.test_formats import fields, matlab_7, well_file

SHAPE = (4, 3, 16)


def external(file: h5py.File, name: str, other: Path) -> None:
    file[name] = h5py.ExternalLink(other.name, "/secret")


def soft(file: h5py.File, name: str, other: Path) -> None:
    file["somewhere/deep"] = h5py.ExternalLink(other.name, "/secret")
    file[name] = h5py.SoftLink("/somewhere/deep")


def soft_group(file: h5py.File, name: str, other: Path) -> None:
    file["group"] = h5py.ExternalLink(other.name, "/")
    file[name] = h5py.SoftLink("/group/secret")


def raw(file: h5py.File, name: str, other: Path) -> None:
    file.create_dataset(name, SHAPE, "f8", external=[(str(other), 0, h5py.h5f.UNLIMITED)])


def virtual(file: h5py.File, name: str, other: Path) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f8")
    layout[...] = h5py.VirtualSource(other.name, "secret", shape=SHAPE)
    file.create_virtual_dataset(name, layout)


def virtual_over_raw(file: h5py.File, name: str, other: Path) -> None:
    raw(file, "raw", other)
    layout = h5py.VirtualLayout(SHAPE, "f8")
    layout[...] = h5py.VirtualSource(".", "raw", shape=SHAPE)
    file.create_virtual_dataset(name, layout)


WAYS: list[Callable[..., None]] = [external, soft, soft_group, raw, virtual, virtual_over_raw]


def a_file(folder: Path, kind: str) -> tuple[Path, str, Overrides]:
    """A whole file of a format, the variable to be replaced, and what is said about it."""
    path, said = folder / "f.hdf5", Overrides()
    if kind == "pdebench":
        with h5py.File(path, "w") as file:
            file.update({"tensor": fields(*SHAPE), "x-coordinate": np.arange(16) / 16, "t-coordinate": np.arange(4.0)})
        return path, "tensor", said
    if kind == "netcdf":
        dims, coords = ("sample", "time", "x"), {"x": np.arange(16) / 16, "time": np.arange(3.0)}
        xr.Dataset({"u": (dims, fields(*SHAPE))}, coords=coords).to_netcdf(path, engine="h5netcdf")
        return path, "u", said
    if kind == "the_well":
        well_file(path)
        return path, "t0_fields/mass", said
    if kind == "mat":
        matlab_7(folder / "f.mat", a=fields(4, 16), u=fields(4, 16, 3), t=np.arange(1.0, 4.0))
        return folder / "f.mat", "u", Overrides(extent=(1.0,))
    with h5py.File(path, "w") as file:
        file["deep/u"] = fields(*SHAPE)
    return path, "deep/u", Overrides(target_name="deep/u", extent=(1.0,), times=(0.0, 1.0, 2.0), axes="sample,time,x")


@pytest.mark.parametrize("way", WAYS, ids=[way.__name__ for way in WAYS])
@pytest.mark.parametrize("kind", ["pdebench", "netcdf", "the_well", "mat", "hdf5"])
def test_no_file_leads_elsewhere(tmp_path: Path, kind: str, way: Callable[..., None]) -> None:
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["secret"] = np.full(SHAPE, 42.0)
    path, name, said = a_file(tmp_path, kind)
    with open_source(path, overrides=said):
        pass
    with h5py.File(path, "r+") as file:
        del file[name]
        way(file, name, other)
    with pytest.raises(DatasetError, match=r"in another file, which is refused. Give --follow-links"):
        open_source(path, overrides=said, format=kind)


def test_links_of_ones_own_are_followed(tmp_path: Path) -> None:
    secret = fields(*SHAPE)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = secret
    path, name, _ = a_file(tmp_path, "pdebench")
    with h5py.File(path, "r+") as file:
        del file[name]
        external(file, name, tmp_path / "other.h5")
    with open_source(path, overrides=Overrides(follow_links=True)) as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], secret)


def test_links_within_a_file_are_read(tmp_path: Path) -> None:
    path, name, _ = a_file(tmp_path, "pdebench")
    with h5py.File(path, "r+") as file:
        file["store/values"] = file[name]
        del file[name]
        file["alias"] = h5py.SoftLink("/store")
        file[name] = h5py.SoftLink("/alias/values")
        file["store/loop"] = h5py.SoftLink("/store/loop")
        file["store/again"] = file["store"]
        expected = file["store/values"][()]
    with open_source(path) as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], expected)
