"""Files in the layouts that others publish, written here by hand, and what is said of those that cannot be read."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import xarray as xr
from scipy.io import savemat

from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source

RANDOM = np.random.default_rng(0)


def fields(*shape: int, dtype: str = "float64") -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(dtype)


def matlab_7(path: Path, **variables: np.ndarray) -> None:
    """As MATLAB writes version 7.3: HDF5 behind 512 bytes, every axis reversed, chunked."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in variables.items():
            data = file.create_dataset(name, data=value.T, chunks=True)
            data.attrs["MATLAB_class"] = np.bytes_("double")
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file, Platform: PCWIN64".ljust(116) + bytes(8) + b"\x00\x02IM")


MATLAB: dict[str, Callable[..., None]] = {"5": lambda path, **v: savemat(path, v), "7.3": matlab_7}


@pytest.mark.parametrize("version", MATLAB)
def test_burgers_as_li_et_al_publish_it(tmp_path: Path, version: str) -> None:
    """burgers_data_R10.mat: a, u and smoothed variants, ``(samples, points)``, and nothing else."""
    stored = {name: fields(6, 32) for name in ("a", "a_smooth", "a_smooth_x", "a_x", "u")}
    path = tmp_path / "burgers_data_R10.mat"
    MATLAB[version](path, **stored)
    with pytest.raises(DatasetError, match="has no grid: give --extent, the length of the domain"):
        open_source(path)
    with pytest.raises(DatasetError, match=r"has no times: give --times, 2 numbers, the input's first"):
        open_source(path, overrides=Overrides(extent=(1.0,)))
    overrides = Overrides(extent=(1.0,), times=(0.0, 1.0), equation="burgers", parameters={"viscosity": 0.1})
    with open_source(path, overrides=overrides) as data:
        np.testing.assert_array_equal(data.read("a"), stored["a"][:, None])
        np.testing.assert_array_equal(data.read("u", np.array([1, 4]), 8), stored["u"][[1, 4], None, ::8])
        assert data.equation is not None and data.equation.parameters == {"viscosity": 0.1}
        assert (data.grid.num_points, data.grid.extent, data.times) == (32, 1.0, (0.0, 1.0))
    smooth = Overrides(extent=(1.0,), times=(0.0, 1.0), input_name="a_smooth", target_name="a_smooth_x")
    with open_source(path, overrides=smooth) as data:
        np.testing.assert_array_equal(data.read("a_smooth_x")[:, 0], stored["a_smooth_x"])
    with pytest.raises(DatasetError, match="has no variable b; it has a, a_smooth, a_smooth_x, a_x, u"):
        open_source(path, overrides=Overrides(input_name="b"))
    with pytest.raises(DatasetError, match=r"has no viscosity of burgers: give --parameters viscosity=VALUE"):
        open_source(path, overrides=Overrides(extent=(1.0,), times=(0.0, 1.0), equation="burgers"))


@pytest.mark.parametrize("version", MATLAB)
def test_navier_stokes_as_li_et_al_publish_it(tmp_path: Path, version: str) -> None:
    """ns_V1e-3_N5000_T50.mat: a (N, x, y), u (N, x, y, T), t ``(1, T)``; a is at time 0."""
    a, u, t = fields(4, 8, 8), fields(4, 8, 8, 5), np.arange(1.0, 6.0)[None]
    MATLAB[version](tmp_path / "ns.mat", a=a, u=u, t=t)
    with open_source(tmp_path / "ns.mat", overrides=Overrides(extent=(1.0,))) as data:
        assert data.times == (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
        np.testing.assert_array_equal(data.read("a")[:, 0], a)
        np.testing.assert_array_equal(data.read("u", time=3.0)[:, 0], u[..., 2])
        whole = np.concatenate([a[:, None], np.moveaxis(u, -1, 1)], axis=1)[:, :, None]
        np.testing.assert_array_equal(data.read_trajectory(slice(1, 3)), whole[1:3])
    picked = Overrides(extent=(1.0,), input_time=2.0, target_time=5.0)
    with open_source(tmp_path / "ns.mat", overrides=picked) as data:
        assert data.times == (2.0, 5.0) and not data.header.trajectories
        np.testing.assert_array_equal(data.read("a", stride=2)[:, 0], u[..., 1][:, ::2, ::2])
        np.testing.assert_array_equal(data.read("u")[:, 0], u[..., 4])
    for wrong, message in [((2.5, 5.0), "`input_time` must be one of 0, 1"), ((5.0, 2.0), "`target_time` must come")]:
        with pytest.raises(ValueError, match=message):
            open_source(
                tmp_path / "ns.mat", overrides=Overrides(extent=(1.0,), input_time=wrong[0], target_time=wrong[1])
            )


@pytest.mark.parametrize("version", MATLAB)
def test_darcy_as_li_et_al_publish_it(tmp_path: Path, version: str) -> None:
    """piececonst_r421_N1024_smooth1.mat: coeff, Kcoeff, ..., sol ``(N, 421, 421)``, the walls among the points."""
    coeff, sol = np.where(fields(3, 21, 21) > 0, 12.0, 3.0), fields(3, 21, 21)
    MATLAB[version](tmp_path / "darcy.mat", coeff=coeff, Kcoeff=coeff, Kcoeff_x=coeff, sol=sol)
    with open_source(tmp_path / "darcy.mat", overrides=Overrides(extent=(1.0,))) as data:
        assert data.header.steady and data.header.boundary == "wall" and data.equation is None
        np.testing.assert_array_equal(data.read("coefficient")[:, 0], coeff)
        np.testing.assert_array_equal(data.read("u")[:, 0], sol)
        np.testing.assert_allclose(data.header.coordinates[0], np.linspace(0, 1, 21), atol=1e-13)


def test_burgers_as_pdebench_publishes_it(tmp_path: Path) -> None:
    """1D_Burgers_Sols_Nu0.1.hdf5: float32, cell centres, one more time than the tensor has, viscosity Nu / pi."""
    tensor = fields(5, 11, 64, dtype="float32")
    with h5py.File(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5", "w") as file:
        file["tensor"] = tensor
        file["x-coordinate"] = ((np.arange(64) + 0.5) / 64).astype("float32")
        file["t-coordinate"] = (np.arange(12) * 0.01).astype("float32")
        file.attrs["Nu"] = 0.1
    with open_source(tmp_path / "1D_Burgers_Sols_Nu0.1.hdf5") as data:
        header = data.header
        assert header.name == "burgers" and header.parameters["viscosity"] == pytest.approx(0.1 / math.pi, rel=1e-13)
        assert header.extents == (1.0,) and header.offsets == pytest.approx((0.5 / 64,))
        assert data.times == tuple(round(0.01 * i, 2) for i in range(11)) and data.dtype == np.float32
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], tensor)
        np.testing.assert_array_equal(data.read("u", time=0.05, stride=4)[:, 0], tensor[:, 5, ::4])
        assert data.equation is not None


def test_old_pdebench_files_have_their_own_interval(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "old.hdf5", "w") as file:
        file["tensor"] = fields(2, 3, 16, dtype="float32")
        file["x-coordinate"] = (-1 + (np.arange(16) + 0.5) / 8).astype("float32")
        file["t-coordinate"] = np.arange(4.0)
        file.attrs["beta"] = 0.4
    with open_source(tmp_path / "old.hdf5") as data:
        assert (data.header.extents, data.header.offsets) == ((2.0,), (-1 + 1 / 16,))
        assert data.header.name == "advection" and data.header.parameters == {"speed": 0.4}


def test_darcy_as_pdebench_publishes_it(tmp_path: Path) -> None:
    """2D_DarcyFlow_beta1.0_Train.hdf5: tensor ``(N, 1, X, Y)``, nu ``(N, X, Y)``."""
    tensor, nu = fields(4, 1, 8, 8, dtype="float32"), fields(4, 8, 8, dtype="float32")
    points = ((np.arange(8) + 0.5) / 8).astype("float32")
    with h5py.File(tmp_path / "darcy.hdf5", "w") as file:
        file.update({"tensor": tensor, "nu": nu, "x-coordinate": points, "y-coordinate": points})
        file["t-coordinate"] = np.zeros(1)
        file.attrs["beta"] = 1.0
    with open_source(tmp_path / "darcy.hdf5") as data:
        assert data.header.steady and data.header.boundary == "wall" and data.header.parameters == {"beta": 1.0}
        np.testing.assert_array_equal(data.read("coefficient")[:, 0], nu.swapaxes(1, 2))
        np.testing.assert_array_equal(data.read("u"), tensor.swapaxes(2, 3))
        np.testing.assert_allclose(data.header.coordinates[0], points)


def test_groups_as_pdebench_publishes_them(tmp_path: Path) -> None:
    """2D_diff-react_NA_NA.h5: a group a seed with data ``(T, X, Y, C)``, its grid, and the settings as YAML."""
    data = fields(3, 5, 8, 8, 2, dtype="float32")
    points = (-1 + (np.arange(8) + 0.5) / 4).astype("float32")
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        for i in range(3):
            group = file.create_group(f"{i:04d}")
            group.create_dataset("data", data=data[i], compression="lzf")
            group.update({"grid/x": points, "grid/y": points, "grid/t": np.linspace(0, 5, 5, dtype="float32")})
            group.attrs["config"] = (
                f"sim:\n  Du: 0.001\n  Dv: 5e-3\n  k: 0.005\n  t: 5\n  tdim: 5\n  seed: {i}\nup: no\n"
            )
    with open_source(tmp_path / "groups.h5") as found:
        assert found.header.channels == ("u0", "u1") and found.header.extents == (2.0, 2.0)
        assert found.header.boundary == "open"
        assert found.header.parameters == {"Du": 0.001, "Dv": 0.005, "k": 0.005}
        np.testing.assert_array_equal(found.read_trajectory(), data.transpose(0, 1, 4, 3, 2))


def test_fluids_of_pdebench_with_axes_of_different_length_are_turned(tmp_path: Path) -> None:
    names, stored = ("density", "pressure", "Vx", "Vy"), fields(4, 2, 3, 8, 6, dtype="float32")
    with h5py.File(tmp_path / "fluid.hdf5", "w") as file:
        file.update(dict(zip(names, stored, strict=True)))
        file["x-coordinate"], file["y-coordinate"] = (np.arange(8) + 0.5) / 8, (np.arange(6) + 0.5) / 3
        file["t-coordinate"] = np.arange(4) * 0.1
    with open_source(tmp_path / "fluid.hdf5") as data:
        assert data.header.boundary == "periodic"
        assert data.header.channels == names and data.header.shape == (6, 8) and data.header.extents == (2.0, 1.0)
        np.testing.assert_array_equal(data.read_trajectory(), stored.transpose(1, 2, 0, 4, 3))
    (tmp_path / "fluid.hdf5").rename(tmp_path / "2D_CFD_Rand_trans_Train.hdf5")
    with open_source(tmp_path / "2D_CFD_Rand_trans_Train.hdf5") as data:
        assert data.header.boundary == "open"


def well_file(path: Path, samples: int = 3, *, alpha: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """A file of The Well with a scalar, a constant and a vector field on x (8 points) and y (6)."""
    scalar, vector = fields(samples, 4, 8, 6, dtype="float32"), fields(samples, 4, 8, 6, 2, dtype="float32")
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file.attrs.update(dataset_name="active_matter", grid_type="cartesian", n_spatial_dims=2, alpha=alpha, zeta=2.0)
        file.attrs.update(n_trajectories=samples, simulation_parameters=["alpha", "zeta"])
        dimensions = file.create_group("dimensions")
        dimensions.attrs["spatial_dims"] = ["x", "y"]
        values = {"time": np.arange(4) * 0.25, "x": np.arange(8) / 8, "y": np.arange(6) / 3}
        for name, points in values.items():
            dimensions.create_dataset(name, data=points.astype("float32")).attrs["sample_varying"] = False
        walls = file.create_group("boundary_conditions")
        for axis in "xy":
            walls.create_group(f"{axis}_periodic").attrs["bc_type"] = "PERIODIC"
        groups = {"t0_fields": ["mass", "wall"], "t1_fields": ["velocity"], "t2_fields": []}
        stored = {"mass": scalar, "wall": fields(8, 6, dtype="float32"), "velocity": vector}
        for group, names in groups.items():
            file.create_group(group).attrs["field_names"] = np.array(names, dtype=h5py.string_dtype())
            for name in names:
                data = file[group].create_dataset(name, data=stored[name])
                timed = name != "wall"
                data.attrs.update(dim_varying=[True, True], sample_varying=timed, time_varying=timed)
    return scalar, vector


def test_the_well_with_vectors_and_constant_fields(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    scalar, vector = well_file(tmp_path / "one.hdf5")
    with open_source(tmp_path / "one.hdf5") as data:
        assert data.header.channels == ("mass", "velocity_x", "velocity_y") and data.header.shape == (6, 8)
        assert data.header.extents == (2.0, 1.0) and data.times == (0.0, 0.25, 0.5, 0.75)
        assert data.header.name == "active_matter" and data.header.parameters == {"alpha": 0.5, "zeta": 2.0}
        expected = np.concatenate([scalar[:, :, None], np.moveaxis(vector, -1, 2)], axis=2).swapaxes(-1, -2)
        np.testing.assert_array_equal(data.read_trajectory(), expected)
        np.testing.assert_array_equal(data.read("u", np.array([0, 2]), 2, time=0.5), expected[[0, 2], 2, :, ::2, ::2])
    assert "the constant fields wall are left out" in caplog.text
    with open_source(tmp_path / "one.hdf5", overrides=Overrides(target_name="velocity")) as data:
        assert data.header.channels == ("velocity_x", "velocity_y")


def test_a_folder_of_the_well_is_one_dataset(tmp_path: Path) -> None:
    parts = [well_file(tmp_path / f"set/data/{split}/part.hdf5", n, alpha=n)[0] for split, n in
             (("train", 3), ("valid", 1), ("test", 2))]  # fmt: skip
    with open_source(tmp_path / "set") as data:
        assert data.num_samples == 6 and data.header.parameters == {"zeta": 2.0}
        whole = np.concatenate(parts).swapaxes(-1, -2)
        np.testing.assert_array_equal(data.read("u", slice(2, 5))[:, 0], whole[2:5, -1])
    with h5py.File(tmp_path / "set/data/test/part.hdf5", "r+") as file:
        file["dimensions/x"][0] = 7.0
    with pytest.raises(DatasetError, match="files of different grids, times or fields"):
        open_source(tmp_path / "set")


def test_neuralop_tensors(tmp_path: Path) -> None:
    """darcy_train_16.pt: x ``(N, 16, 16)`` of booleans, y ``(N, 16, 16)`` float32."""
    x, y = torch.rand(5, 16, 16) > 0.5, torch.rand(5, 16, 16)
    torch.save({"x": x, "y": y}, tmp_path / "darcy_train_16.pt")
    overrides = Overrides(extent=(1.0,), times=(0.0,), boundary="wall")
    with open_source(tmp_path / "darcy_train_16.pt", overrides=overrides) as data:
        assert data.header.steady and data.dtype == np.float32 and data.header.num_dims == 2
        np.testing.assert_array_equal(data.read("a")[:, 0], x.numpy().astype("float32"))
        np.testing.assert_array_equal(data.read("u")[:, 0], y.numpy())
    torch.save({"inputs": x}, tmp_path / "other.pt")
    with pytest.raises(DatasetError, match="has no tensor x; it has inputs"):
        open_source(tmp_path / "other.pt", overrides=overrides)
    torch.save(torch.nn.Linear(2, 2), tmp_path / "code.pt")
    with pytest.raises(DatasetError, match="has objects that are no tensors"):
        open_source(tmp_path / "code.pt", overrides=overrides)


@pytest.mark.parametrize("engine", ["h5netcdf", "scipy", "netcdf4"])
def test_netcdf_of_xarray_with_dimensions_in_any_order(tmp_path: Path, engine: Any) -> None:
    values = fields(8, 3, 4, 6)  # x, time, ensemble, y
    found = xr.Dataset({"vorticity": (("x", "time", "ensemble", "y"), values)}, attrs={"reynolds": 40.0})
    found = found.assign_coords(x=np.arange(8) / 8, y=np.arange(6) / 3, time=[0.0, 0.5, 1.0])
    found.to_netcdf(tmp_path / "file.nc", engine=engine)
    with open_source(tmp_path / "file.nc") as data:
        assert data.header.shape == (6, 8) and data.header.extents == pytest.approx((2.0, 1.0))
        assert data.header.parameters == {"reynolds": 40.0} and data.target_name == "vorticity"
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], values.transpose(2, 1, 3, 0))


def test_netcdf_of_two_variables(tmp_path: Path) -> None:
    x, y = fields(5, 16), fields(5, 16)
    dims = ("sample", "x")
    xr.Dataset({"before": (dims, x), "after": (dims, y)}, coords={"x": np.arange(16) / 16}).to_netcdf(tmp_path / "f.nc")
    with open_source(tmp_path / "f.nc", overrides=Overrides(times=(0.0, 1.0))) as data:
        np.testing.assert_array_equal(data.read("before")[:, 0], x)
        np.testing.assert_array_equal(data.read("after")[:, 0], y)
    with pytest.raises(DatasetError, match="which variables are input and target; it has before, after"):
        open_source(tmp_path / "f.nc", overrides=Overrides(input_name="none"))


def test_a_persons_own_arrays(tmp_path: Path) -> None:
    x, y = fields(5, 2, 16, dtype="float32"), fields(5, 16)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    np.savez(tmp_path / "both.npz", x=x, y=y)
    overrides = Overrides(extent=(2.0,), times=(0.0, 1.0))
    for place in (f"{tmp_path}/x.npy,{tmp_path}/y.npy", tmp_path / "both.npz"):
        with open_source(place, overrides=overrides) as data:
            assert data.header.inputs == ("a0", "a1") and data.header.channels == ("u",) and data.dtype == np.float64
            np.testing.assert_array_equal(data.read("a"), x)
            np.testing.assert_array_equal(data.read("u")[:, 0], y)
    np.save(tmp_path / "z.npy", fields(5, 3, 2, 16))
    with open_source(
        f"{tmp_path}/x.npy,{tmp_path}/z.npy", overrides=Overrides(extent=(1.0,), times=(0, 1, 2, 3))
    ) as data:
        assert data.read_trajectory().shape == (5, 4, 2, 16)
        np.testing.assert_array_equal(data.read("a"), x)
    with pytest.raises(DatasetError, match="is 1 array; an input and a target are needed"):
        open_source(tmp_path / "x.npy", overrides=overrides)
    with pytest.raises(DatasetError, match=r"of the same samples and points; got \(5, 2, 16\) and \(5, 3, 2, 16\)"):
        open_source(f"{tmp_path}/x.npy,{tmp_path}/z.npy", overrides=overrides)
    with pytest.raises(DatasetError, match="has fields at 4 times; --times gives 6"):
        open_source(f"{tmp_path}/x.npy,{tmp_path}/z.npy", overrides=Overrides(extent=(1.0,), times=(0, 1, 2, 3, 4, 5)))


def netcdf(path: Path, points: np.ndarray, values: np.ndarray, **attributes: Any) -> Path:
    coords = {"x": points, "time": np.arange(values.shape[1])}
    xr.Dataset({"u": (("sample", "time", "x"), values)}, coords=coords, attrs=attributes).to_netcdf(path)
    return path


def test_a_right_end_that_repeats_the_first_point_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points = np.linspace(0, 2 * np.pi, 33)
    values = np.sin(points + RANDOM.uniform(0, 6, (4, 3, 1)))
    path = netcdf(tmp_path / "f.nc", points, values)
    with open_source(path) as data:
        assert data.resolution == 32 and data.header.extents == pytest.approx((2 * np.pi,), rel=1e-13)
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], values[..., :-1])
        assert data.read("u", stride=4).shape == (4, 1, 8)
    assert "the right end of x is included and repeats the first point; it is left out" in caplog.text
    with open_source(path, overrides=Overrides(boundary="wall")) as data:
        assert data.resolution == 33
        np.testing.assert_allclose(data.header.coordinates[0], points, rtol=1e-12)


def test_a_right_end_that_does_not_repeat_is_refused_or_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = netcdf(tmp_path / "f.nc", np.linspace(0, 1, 33), fields(4, 3, 33))
    with open_source(path) as data:
        assert data.header.extents[0] == pytest.approx(33 / 32)
    assert "as if the right end were included" in caplog.text
    with pytest.raises(DatasetError, match="must repeat its first point at the right end of x"):
        open_source(path, overrides=Overrides(extent=(1.0,)))
    with pytest.raises(DatasetError, match=r"span 1\.03125 \(or 1 if the right end is one of them\), not --extent 3"):
        open_source(path, overrides=Overrides(extent=(3.0,)))


@pytest.mark.parametrize(
    "points",
    [np.cos(np.pi * np.arange(33) / 32)[::-1], np.arange(33.0)[::-1], np.geomspace(1, 10, 33)],
    ids=["chebyshev", "falling", "geometric"],
)
def test_grids_that_are_not_equally_spaced_are_kept(tmp_path: Path, points: np.ndarray) -> None:
    values = fields(2, 3, 33)
    path = netcdf(tmp_path / "f.nc", points, values)
    with open_source(path) as data:
        assert data.header.boundary == "open" and not data.header.evenly_spaced
        np.testing.assert_array_equal(data.header.coordinates[0], points)
        np.testing.assert_array_equal(data.read_trajectory()[:, :, 0], values)
        with pytest.raises(ValueError, match="the points must be equally spaced and increase"):
            _ = data.grid
    wild = points.copy()
    wild[[3, 4]] = wild[[4, 3]]
    with pytest.raises(DatasetError, match="x coordinates that neither increase nor decrease throughout"):
        open_source(netcdf(tmp_path / "g.nc", wild, values))


def broken(folder: Path, name: str) -> tuple[Path, Overrides]:
    """A file with one thing wrong, and what is said about it."""
    path, overrides = folder / name, Overrides(extent=(1.0,), times=(0.0, 1.0))
    if name in ("text.h5", "text.mat", "text.nc", "text.pt", "text.npz"):
        path.write_text("to be or not to be, that is the question\n" * 40)
    elif name == "cut.hdf5":
        well_file(path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif name == "cut5.mat":
        savemat(path, {"a": fields(5, 64), "u": fields(5, 64)})
        path.write_bytes(path.read_bytes()[:1500])
    elif name == "cut.pt":
        torch.save({"x": torch.rand(9, 99), "y": torch.rand(9, 99)}, path)
        path.write_bytes(path.read_bytes()[:3000])
    elif name == "shapes.mat":
        savemat(path, {"a": fields(5, 64), "u": fields(5, 32)})
    elif name == "complex.mat":
        savemat(path, {"a": fields(5, 64) + 1j, "u": fields(5, 64)})
    elif name in ("unknown.h5", "outside.hdf5"):
        with h5py.File(path, "w") as file:
            file["velocity/east"] = np.zeros(3)
            if name == "outside.hdf5":
                file["x-coordinate"] = np.arange(4.0)
                file["tensor"] = h5py.ExternalLink("other.h5", "tensor")
                h5py.File(folder / "other.h5", "w")["tensor"] = np.zeros((2, 3, 4))
    elif name in ("empty", "folder"):
        path.mkdir()
        if name == "folder":
            (path / "some.h5").write_text("no data")
    return path, overrides


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.mat", "does not exist. Check the path"),
        ("empty", "is a folder"),
        ("folder", "is a folder"),
        ("text.h5", "is not an HDF5 file, nor of another known format"),
        ("text.mat", "nor of another known format"),
        ("text.nc", "nor of another known format"),
        ("text.npz", "nor of another known format"),
        ("text.pt", "cannot be read as tensors"),
        ("cut.hdf5", "is truncated"),
        ("cut5.mat", "cannot be read as a MATLAB file"),
        ("cut.pt", "cannot be read as tensors"),
        ("shapes.mat", r"both fields on the same points; got 64 in a and 32 in u"),
        ("complex.mat", "has fields of complex128; real numbers are needed"),
        ("unknown.h5", "is HDF5 of no known layout; it has velocity/east"),
        ("outside.hdf5", "keeps tensor in another file, which is refused"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(tmp_path: Path, name: str, message: str) -> None:
    path, overrides = broken(tmp_path, name)
    with pytest.raises(DatasetError, match=message) as caught:
        open_source(path, overrides=overrides)
    assert "\n" not in str(caught.value)


def test_arguments_are_checked(tmp_path: Path) -> None:
    np.savez(tmp_path / "f.npz", x=fields(5, 16), y=fields(5, 16))
    with pytest.raises(ValueError, match="`format` must be one of sciml_cf, mat"):
        open_source(tmp_path / "f.npz", format="parquet")
    with pytest.raises(DatasetError, match="cannot be opened as HDF5"):
        open_source(tmp_path / "f.npz", format="pdebench")
    with pytest.raises(ValueError, match="`extent` must be a finite number above 0; got -1"):
        Overrides(extent=(-1.0,))
    with pytest.raises(ValueError, match="`boundary` must be one of periodic, wall, open; got 'round'"):
        Overrides(boundary="round")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`equation` must be one of advection"):
        open_source(tmp_path / "f.npz", overrides=Overrides(extent=(1.0,), times=(0.0, 1.0), equation="burger"))
    with open_source(tmp_path / "f.npz", overrides=Overrides(extent=(1.0,), times=(0.0, 1.0))) as data:
        with pytest.raises(ValueError, match="`name` must be 'a' or 'u'; got 'b'"):
            data.read("b")
        with pytest.raises(ValueError, match="`stride` must divide the resolution 16; got 3"):
            data.read("a", stride=3)
        with pytest.raises(ValueError, match=r"`rows` must increase and lie in 0\.\.4"):
            data.read("a", np.array([3, 1]))
        with pytest.raises(ValueError, match="`time` of u must be one of"):
            data.read("u", time=0.5)
