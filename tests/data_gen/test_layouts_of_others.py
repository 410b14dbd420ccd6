"""PDEBench's generators, variables by name in netCDF, HDF5 and Zarr, folders, and parameters of each sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen import validate
from data_gen.convert import convert
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from data_gen.info import dataset_facts, facts_text
from tests.data_gen.test_formats import fields, well_file

X = np.arange(16) / 16
TIMES = np.array([0.0, 0.5, 1.0, 1.5])


def dataset_file(path: Path, coords: dict[str, Any] | None = None, **variables: tuple[tuple[str, ...], Any]) -> Path:
    found = xr.Dataset(variables, coords={"x": X, "time": TIMES} if coords is None else coords)
    found.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("points", [(16, 16), (16, 8)])
def test_what_vx_carries_moves_along_x_at_every_shape(tmp_path: Path, points: tuple[int, int]) -> None:
    x, y = ((np.arange(n) + 0.5) / n for n in points)
    grid = np.meshgrid(x, y, indexing="ij")
    bumps = [np.exp(-((np.sin(np.pi * (grid[0] - 0.25 - t)) ** 2 + np.sin(np.pi * (grid[1] - 0.5)) ** 2) * 20)) for t in
             (0.0, 0.25, 0.5)]  # fmt: skip
    with h5py.File(tmp_path / "2D_CFD_periodic.hdf5", "w") as file:
        for name, value in {"density": np.array(bumps)[None], "Vx": np.ones((1, 3, *points))}.items():
            file[name] = value.astype("f4")
        file["x-coordinate"], file["y-coordinate"], file["t-coordinate"] = x, y, np.array([0, 0.25, 0.5, 0.75])
    with open_source(tmp_path / "2D_CFD_periodic.hdf5") as data:
        density = data.read_trajectory()[0, :, 0]
        peaks = [np.unravel_index(int(one.argmax()), one.shape) for one in density]
        assert len({peak[0] for peak in peaks}) == 1 and [peak[1] for peak in peaks] == [3, 7, 11]
        np.testing.assert_allclose(data.header.coordinates[1], x)
    with open_source(tmp_path / "2D_CFD_periodic.hdf5", overrides=Overrides(target_name="Vx")) as data:
        assert data.header.channels == ("u",)


def test_squares_of_version_0_1_keep_their_axes(tmp_path: Path) -> None:
    """They have their boundary and no ``axes``, and y first."""
    stored = fields(3, 4, 8, 8)
    with h5py.File(tmp_path / "old.hdf5", "w") as file:
        file.attrs.update(equation_name="any", boundary="periodic", components="u")
        for i in range(3):
            file[f"{i:04d}/data"] = stored[i][..., None]
            file.update({f"{i:04d}/grid/{axis}": np.arange(8) / 8 for axis in "xy"} | {f"{i:04d}/grid/t": TIMES})
    with open_source(tmp_path / "old.hdf5") as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], stored)


def dam_break(path: Path, *, grid: float = 1.0) -> np.ndarray:
    """Unpadded groups, a configuration each, one of them perhaps on another grid."""
    stored = fields(12, 3, 8, 8)
    with h5py.File(path, "w") as file:
        for i in range(12):
            group = file.create_group(str(i))
            group["data"], points = stored[i][..., None], (np.arange(8) + 0.5) / 8 * 5 - 2.5
            group["grid/x"], group["grid/y"], group["grid/t"] = points, points * (grid if i == 5 else 1), TIMES[:3]
            group.attrs["config"] = f"sim:\n  T_end: 1.0\n  dam_radius: {0.3 + 0.01 * i:.2f}\n"
    return stored


def test_groups_come_in_the_order_of_their_numbers_with_a_table(tmp_path: Path) -> None:
    stored = dam_break(tmp_path / "rdb.h5")
    convert(tmp_path / "rdb.h5", tmp_path / "ours.h5")
    assert validate(tmp_path / "ours.h5").ok
    radii = [round(0.3 + 0.01 * i, 2) for i in range(12)]
    for name in ("rdb.h5", "ours.h5"):
        with open_source(tmp_path / name) as data:
            np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], stored.swapaxes(2, 3))
            assert dict(data.header.parameters) == {"T_end": 1.0}
            np.testing.assert_allclose(data.table["dam_radius"], radii)
    text = facts_text(dataset_facts(tmp_path / "ours.h5"))
    assert "dam_radius from 0.3 to 0.41, 12 values" in text
    for out in ("there.nc", "there", "there.hdf5"):
        convert(tmp_path / "ours.h5", tmp_path / out)
        with open_source(tmp_path / out) as data:
            np.testing.assert_allclose(data.table["dam_radius"], radii)


def test_groups_on_different_grids_are_refused(tmp_path: Path) -> None:
    dam_break(tmp_path / "rdb.h5", grid=3.0)
    with pytest.raises(DatasetError, match="samples on different grids: grid/y of 5 is not that of 0"):
        open_source(tmp_path / "rdb.h5")


def test_incompressible_fluids_of_pdebench(tmp_path: Path) -> None:
    velocity, particles, force = fields(2, 5, 8, 8, 2), fields(2, 5, 8, 8, 1), fields(2, 8, 8, 2)
    with h5py.File(tmp_path / "ns_incom.h5", "w") as file:
        file.update({"velocity": velocity, "particles": particles, "force": force})
        file["t"] = np.tile(np.linspace(0, 1, 5), (2, 1))
    said = Overrides(extent=(1.0,))
    with open_source(tmp_path / "ns_incom.h5", overrides=said) as data:
        assert data.header.channels == ("velocity_x", "velocity_y", "particles") and len(data.times) == 5
        expected = np.concatenate([velocity, particles], axis=-1).transpose(0, 1, 4, 3, 2)
        np.testing.assert_array_equal(data.read_trajectory(), expected)
    said = Overrides(extent=(1.0,), input_name="force", target_name="particles")
    with open_source(tmp_path / "ns_incom.h5", overrides=said) as data:
        np.testing.assert_array_equal(data.read(data.input_name), force.transpose(0, 3, 2, 1))
        np.testing.assert_array_equal(data.read(data.target_name), particles[:, -1].transpose(0, 3, 2, 1))
    with h5py.File(tmp_path / "ns_incom.h5", "r+") as file:
        file["t"][1] += 1
    with pytest.raises(DatasetError, match="times that differ from sample to sample"):
        open_source(tmp_path / "ns_incom.h5", overrides=Overrides(extent=(1.0,)))


def test_a_name_means_that_variable_and_no_other(tmp_path: Path) -> None:
    nu, w = fields(5, 16), fields(5, 4, 16)
    w[:, 0] = 0
    path = dataset_file(tmp_path / "f.nc", nu=(("sample", "x"), nu), w=(("sample", "time", "x"), w))
    for time, index in ((None, -1), (0.5, 1)):
        said = Overrides(input_name="nu", target_name="w", target_time=time)
        with open_source(path, overrides=said) as data:
            assert (data.header.inputs, data.header.channels) == (("nu",), ("w",))
            np.testing.assert_array_equal(data.read(data.input_name)[:, 0], nu)
            np.testing.assert_array_equal(data.read("w")[:, 0], w[:, index])
        convert(path, tmp_path / "out.h5", overrides=said, overwrite=True)
        with open_source(tmp_path / "out.h5") as data:
            np.testing.assert_array_equal(data.read(data.input_name)[:, 0], nu)
    with pytest.raises(DatasetError, match="it has nu, w, and no kappa"):
        open_source(path, overrides=Overrides(input_name="kappa", target_name="w"))


def test_two_variables_with_times(tmp_path: Path) -> None:
    u, v, dims = fields(3, 4, 16), fields(3, 4, 16), ("sample", "time", "x")
    path = dataset_file(tmp_path / "f.nc", u=(dims, u), v=(dims, v))
    with open_source(path, overrides=Overrides(target_name="u")) as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], u)
    with open_source(path, overrides=Overrides(input_name="u", target_name="v")) as data:
        np.testing.assert_array_equal(data.read("u")[:, 0], u[:, 0])
        np.testing.assert_array_equal(data.read("v")[:, 0], v[:, -1])
    times = {"input_time": 0.5, "target_time": 1.0}
    with open_source(path, overrides=Overrides(input_name="u", target_name="v", **times)) as data:
        np.testing.assert_array_equal(data.read("u")[:, 0], u[:, 1])
        np.testing.assert_array_equal(data.read("v")[:, 0], v[:, 2])
    with open_source(path, overrides=Overrides(target_name="u,v")) as data:
        assert data.header.channels == ("u", "v")
        np.testing.assert_array_equal(data.read_trajectory(), np.stack([u, v], axis=2))
    with pytest.raises(DatasetError, match="does not say which variables are input and target; it has u, v"):
        open_source(path)


def test_a_variable_without_samples_is_one(tmp_path: Path) -> None:
    w = fields(4, 16)
    with open_source(dataset_file(tmp_path / "f.nc", w=(("time", "x"), w))) as data:
        assert data.num_samples == 1
        np.testing.assert_array_equal(data.read_trajectory()[0, :, 0], w)


def test_packed_numbers_fill_values_and_their_defaults(tmp_path: Path) -> None:
    netcdf4 = pytest.importorskip("netCDF4")
    values = fields(3, 4, 16)
    with netcdf4.Dataset(tmp_path / "f.nc", "w") as file:
        for name, size in (("sample", 3), ("time", 4), ("x", 16)):
            file.createDimension(name, size)
        file.createVariable("time", "f8", ("time",))[:] = TIMES
        file.createVariable("x", "f8", ("x",))[:] = X
        plain = file.createVariable("plain", "f4", ("sample", "time", "x"))
        plain[:] = values
        plain[1, 2, :5] = np.ma.masked
        packed = file.createVariable("packed", "i2", ("sample", "time", "x"), fill_value=-32000)
        packed.setncatts({"scale_factor": 0.001, "add_offset": 0.5})
        packed[:] = values
        packed[0, 0, 0] = np.ma.masked
    for name, missing in (("plain", 5), ("packed", 1)):
        with open_source(tmp_path / "f.nc", overrides=Overrides(target_name=name)) as data:
            found = data.read_trajectory()[:, :, 0]
            assert np.isnan(found).sum() == missing
        with netcdf4.Dataset(tmp_path / "f.nc") as file:
            expected = file[name][:]
        np.testing.assert_array_equal(np.isnan(found), np.ma.getmaskarray(expected))
        np.testing.assert_allclose(found[~np.isnan(found)], expected.compressed(), rtol=1e-12)


def hdf5_groups(path: Path) -> dict[str, np.ndarray]:
    stored = {"group/a": fields(6, 16), "group/b": fields(6, 16), "deep/er/c": fields(6, 16)}
    with h5py.File(path, "w") as file:
        file.update({**stored, "group/x": X, "group/viscosity": np.arange(6.0), "group/other": np.zeros(3)})
        file.attrs["rate"] = 2.0
    return stored


def test_hdf5_by_the_paths_of_variables(tmp_path: Path) -> None:
    stored = hdf5_groups(tmp_path / "f.h5")
    said = Overrides(input_name="group/a", target_name="group/b,deep/er/c", times=(0.0, 1.0))
    with open_source(tmp_path / "f.h5", overrides=said) as data:
        assert data.header.channels == ("b", "c") and data.header.extents == (1.0,)
        assert dict(data.header.parameters) == {"rate": 2.0}
        np.testing.assert_array_equal(data.table["viscosity"], np.arange(6.0))
        np.testing.assert_array_equal(data.read("a")[:, 0], stored["group/a"])
        np.testing.assert_array_equal(data.read(data.target_name)[:, 1], stored["deep/er/c"])
    with pytest.raises(DatasetError, match="has no variable a; it has deep/er/c, group/a"):
        open_source(tmp_path / "f.h5", overrides=Overrides(input_name="a", target_name="group/b"))
    with pytest.raises(DatasetError, match=r"HDF5 of no known layout; it has deep/er/c, group/a.*--target-name"):
        open_source(tmp_path / "f.h5")


def test_scales_of_hdf5_name_the_axes(tmp_path: Path) -> None:
    """A handler of simulations: tasks/u (t, x, y) and scales in another group."""
    u = fields(5, 16, 8)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["tasks/u"] = u
        scales = {"sim_time": np.linspace(0, 1, 5), "x": X, "y": np.arange(8) / 8}
        for i, (name, points) in enumerate(scales.items()):
            file[f"scales/{name}"] = points
            file[f"scales/{name}"].make_scale(name)
            file["tasks/u"].dims[i].attach_scale(file[f"scales/{name}"])
    with open_source(tmp_path / "f.h5", overrides=Overrides(target_name="tasks/u")) as data:
        assert data.num_samples == 1 and data.header.shape == (8, 16) and data.times[-1] == 1.0
        np.testing.assert_array_equal(data.read_trajectory()[0, :, 0], u.swapaxes(1, 2))


def test_zarr_is_read_as_netcdf_is(tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    u = fields(3, 4, 16)
    found = xr.Dataset({"u": (("sample", "time", "x"), u)}, coords={"x": X, "time": TIMES})
    found.to_zarr(tmp_path / "f.zarr", consolidated=False)
    with open_source(tmp_path / "f.zarr") as data:
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], u)
    (tmp_path / "f.zarr" / "more").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="keeps more in another file, which is refused"):
        open_source(tmp_path / "f.zarr")


def test_a_folder_and_a_pattern_are_one_dataset(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    u = fields(12, 4, 16)
    for i in range(12):
        found = xr.Dataset({"u": (("time", "x"), u[i])}, coords={"x": X, "time": TIMES}, attrs={"nu": float(i)})
        found.to_netcdf(tmp_path / "runs" / f"run_{i}.nc")
    for place in (tmp_path / "runs", tmp_path / "runs" / "run_*.nc"):
        with open_source(place) as data:
            assert data.num_samples == 12 and not data.splits
            np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], u)
            np.testing.assert_array_equal(data.read("u", np.array([2, 11]))[:, 0], u[[2, 11], -1])
            np.testing.assert_array_equal(data.table["nu"], np.arange(12.0))
    dataset_file(tmp_path / "runs" / "run_12.nc", {"x": X, "time": TIMES + 1}, u=(("time", "x"), u[0]))
    with pytest.raises(DatasetError, match=r"files that differ: times of run_12\.nc"):
        open_source(tmp_path / "runs")


def test_the_split_of_a_folder_is_kept(tmp_path: Path) -> None:
    from sciml_cf.datasets import FieldDataset

    for split, count in (("train", 5), ("valid", 2), ("test", 3)):
        well_file(tmp_path / f"set/data/{split}/part.hdf5", count, alpha=count)
    convert(tmp_path / "set", tmp_path / "set.h5")
    for place in (tmp_path / "set", tmp_path / "set.h5"):
        with open_source(place) as data:
            np.testing.assert_array_equal(data.table["alpha"], [5] * 5 + [2] * 2 + [3] * 3)
            assert dict(data.header.parameters) == {"zeta": 2.0}
        parts = {split: FieldDataset(place, split).indices.tolist() for split in ("train", "validation", "test")}
        assert parts == {"train": [0, 1, 2, 3, 4], "validation": [5, 6], "test": [7, 8, 9]}
    assert "split       train 5, validation 2, test 3" in facts_text(dataset_facts(tmp_path / "set.h5"))


def test_a_split_without_validation_takes_it_from_the_training_samples(tmp_path: Path) -> None:
    from sciml_cf.datasets import FieldDataset

    for split, count in (("train", 8), ("test", 3)):
        well_file(tmp_path / f"set/data/{split}/part.hdf5", count)
    train, validation, test = (
        set(FieldDataset(tmp_path / "set", split).indices.tolist()) for split in ("train", "validation", "test")
    )
    assert train | validation == set(range(8)) and not train & validation and test == {8, 9, 10}


def test_a_constant_field_of_the_well_is_an_input_by_its_name(tmp_path: Path) -> None:
    scalar, _ = well_file(tmp_path / "one.hdf5")
    with open_source(tmp_path / "one.hdf5", overrides=Overrides(input_name="wall", target_name="mass")) as data:
        assert data.header.inputs == ("wall",)
        np.testing.assert_array_equal(data.read("u")[:, 0], scalar[:, -1].swapaxes(1, 2))
        with h5py.File(tmp_path / "one.hdf5") as file:
            np.testing.assert_array_equal(data.read("wall")[1, 0], file["t0_fields/wall"][()].T)


def test_boundaries_of_each_axis(tmp_path: Path) -> None:
    well_file(tmp_path / "one.hdf5")
    with h5py.File(tmp_path / "one.hdf5", "r+") as file:
        file["boundary_conditions/y_periodic"].attrs["bc_type"] = "WALL"
    convert(tmp_path / "one.hdf5", tmp_path / "ours.h5")
    convert(tmp_path / "ours.h5", tmp_path / "there.nc")
    convert(tmp_path / "ours.h5", tmp_path / "there")
    for name in ("one.hdf5", "ours.h5", "there.nc", "there"):
        with open_source(tmp_path / name) as data:
            assert data.header.axis_boundaries == ("wall", "periodic") and data.header.boundary == "open"
    said = Overrides(boundary=("periodic", "open"))
    with open_source(tmp_path / "one.hdf5", overrides=said) as data:
        assert data.header.axis_boundaries == ("periodic", "open")
    with pytest.raises(ValueError, match="`boundary` must have one value or one for each of the 2 axes"):
        open_source(tmp_path / "one.hdf5", overrides=Overrides(boundary=("wall", "wall", "open")))


def test_unequal_and_falling_axes_go_through_every_format(tmp_path: Path) -> None:
    points = np.cos(np.pi * np.arange(17) / 16)
    u = fields(6, 4, 17)
    dataset_file(tmp_path / "f.nc", {"x": points, "time": TIMES}, u=(("sample", "time", "x"), u))
    convert(tmp_path / "f.nc", tmp_path / "ours.h5")
    assert "with coordinates of its own" in facts_text(dataset_facts(tmp_path / "ours.h5"))
    for out in ("there.nc", "there.hdf5", "there", "there.mat"):
        convert(tmp_path / "ours.h5", tmp_path / out)
        with open_source(tmp_path / out) as data:
            np.testing.assert_array_equal(data.header.coordinates[0], points)
            np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], u)


def test_a_field_of_the_well_is_a_mask(tmp_path: Path) -> None:
    scalar, _ = well_file(tmp_path / "one.hdf5")
    with h5py.File(tmp_path / "one.hdf5", "r+") as file:
        wall = np.random.default_rng(0).random((8, 6)) > 0.5
        file["t0_fields/wall"][...] = wall
    said = Overrides(target_name="mass", mask="wall")
    with open_source(tmp_path / "one.hdf5", overrides=said) as data:
        expected = np.where(wall, scalar, np.nan).swapaxes(2, 3)
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], expected)


@pytest.mark.parametrize("content", [b"neither", b"PK\x03\x04 damaged", b""])
def test_a_file_of_a_folder_of_no_known_format_is_named(tmp_path: Path, content: bytes) -> None:
    fields = np.random.default_rng(0).normal(size=(4, 16))
    np.savez(tmp_path / "a.npz", x=fields, y=fields)
    (tmp_path / "b.npz").write_bytes(content)
    with pytest.raises(DatasetError, match=r"b\.npz is of no known format. Take it out of the folder"):
        open_source(tmp_path, overrides=Overrides(extent=(1.0,), times=(0.0, 1.0)))


def test_a_file_of_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(size=(4, 16))
    np.savez(tmp_path / "a.npz", x=fields, y=fields)
    np.savez(tmp_path / "b.npz", x=fields, y=fields)
    whole = (tmp_path / "b.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(whole[:100] + b"\x00" * 50 + whole[150:])
    with pytest.raises(DatasetError, match=r"b\.npz"):
        open_source(tmp_path, overrides=Overrides(extent=(1.0,), times=(0.0, 1.0))).read_target(slice(0, 8))


def test_an_empty_file_of_a_folder_is_named(tmp_path: Path) -> None:
    fields = np.random.default_rng(0).normal(size=(4, 16))
    np.savez(tmp_path / "a.npz", x=fields, y=fields)
    with h5py.File(tmp_path / "b.h5", "w"):
        pass
    with pytest.raises(DatasetError, match=r"b\.h5 is HDF5 of no known layout"):
        open_source(tmp_path, overrides=Overrides(extent=(1.0,), times=(0.0, 1.0)))
