import pathlib
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate, open_dataset, resample
from data_gen.convert import convert
from data_gen.formats import Facts
from data_gen.header import Header
from sciml_cf.datasets import FieldDataset, split_indices
from sciml_cf.errors import DatasetError
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from tests.data_gen.test_layout import write
from tests.edits import edited


def test_paper_split_has_the_papers_sizes():
    parts = split_indices(2048)
    assert {name: len(part) for name, part in parts.items()} == {"train": 1448, "validation": 200, "test": 400}


@pytest.mark.parametrize("num_samples", [3, 4, 7, 40, 512])
def test_split_is_a_partition_fixed_by_its_seed(num_samples):
    parts = split_indices(num_samples)
    assert sorted(np.concatenate(list(parts.values()))) == list(range(num_samples))
    assert all(len(part) >= 1 for part in parts.values())
    again = split_indices(num_samples)
    assert all(np.array_equal(parts[name], again[name]) for name in parts)
    if num_samples > 10:
        assert not np.array_equal(parts["test"], split_indices(num_samples, seed=1)["test"])


def test_too_few_samples_to_split_are_refused():
    with pytest.raises(ValueError, match="at least 3; got 2"):
        split_indices(2)


def test_items_are_the_stored_fields(burgers_file):
    data = FieldDataset(burgers_file, "test")
    with open_dataset(burgers_file) as stored:
        a, u = stored.read("a")[:, 0], stored.read("u")[:, 0]
    assert len(data) == len(split_indices(40)["test"])
    for index, row in enumerate(split_indices(40)["test"]):
        np.testing.assert_array_equal(data[index]["x"][0], a[row].astype(np.float32))
        np.testing.assert_array_equal(data[index]["y"][0], u[row].astype(np.float32))


def test_strided_points_lie_on_the_coarse_grid(burgers_file):
    fine, coarse = FieldDataset(burgers_file, "train"), FieldDataset(burgers_file, "train", resolution=32)
    assert torch.equal(coarse.x, fine.x[..., ::8]) and torch.equal(coarse.y, fine.y[..., ::8])
    np.testing.assert_allclose(coarse.points, fine.points[::8], rtol=1e-13)


def test_fourier_sampling_cuts_the_spectrum(burgers_file):
    fine = FieldDataset(burgers_file, "train")
    coarse = FieldDataset(burgers_file, "train", resolution=32, sampling="fourier")
    np.testing.assert_allclose(coarse.x, resample(fine.x.numpy(), 32), atol=1e-6)
    assert (coarse.x - fine.x[..., ::8]).abs().max() > 1e-3  # the input has modes that 32 points cannot hold


def test_several_input_channels(burgers_file):
    data = FieldDataset(burgers_file, "validation", inputs=("a", "u"), targets=("u",))
    assert data.x.shape[1] == 2 and torch.equal(data.x[:, 1:], data.y)


def test_float64_follows_the_default_dtype(burgers_file):
    torch.set_default_dtype(torch.float64)
    try:
        assert FieldDataset(burgers_file, "test").x.dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resolution": 100}, "`resolution` must divide the stored resolution 256; got 100. For instance 256, 128"),
        ({"resolution": 512}, "must divide"),
        ({"resolution": 0}, "at least 1; got 0"),
        ({"sampling": "linear"}, "`sampling` must be one of"),
        ({"split": "dev"}, "`split` must be one of"),
    ],
)
def test_bad_arguments_are_refused(burgers_file, settings, message):
    with pytest.raises(ValueError, match=message):
        FieldDataset(burgers_file, **{"split": "train", **settings})


def test_nan_in_the_file_is_named(burgers_file, tmp_path):

    path = tmp_path / "nan.h5"
    path.write_bytes(burgers_file.read_bytes())
    row = int(split_indices(40)["train"][3])
    with edited(path) as file:
        file["u"][row, 8] = np.nan
    with pytest.raises(DatasetError, match=f"sample {row} of .* holds NaN"):
        FieldDataset(path, "train", resolution=32)


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    """12 samples of the heat equation at three output times."""
    spec = DatasetSpec(equation="heat", samples=12, resolution=64, times=(0.25, 0.5, 1.0))
    return generate(spec, tmp_path_factory.mktemp("data") / "trajectories.h5", progress=False)


def test_trajectories_give_the_start_and_the_last_time(trajectories):
    data = FieldDataset(trajectories, "all")
    with open_dataset(trajectories) as stored:
        whole = torch.from_numpy(stored.read_trajectory()).float()
    assert torch.equal(data.x, whole[:, 0]) and torch.equal(data.y, whole[:, -1])
    assert (data.linear_solution() - data.y).abs().max() < 1e-6
    picked = FieldDataset(trajectories, "all", input_time=0.25, target_time=0.5, resolution=32)
    assert torch.equal(picked.x, whole[:, 1, :, ::2]) and torch.equal(picked.y, whole[:, 2, :, ::2])
    assert (picked.linear_solution() - picked.y).abs().max() < 1e-6


@pytest.mark.parametrize("setting", [{"input_time": 0.3}, {"target_time": 2.0}])
def test_times_that_are_not_stored_are_refused(trajectories, setting):
    with pytest.raises(ValueError, match=r"`time` of u must be one of 0\.0, 0\.25, 0\.5, 1\.0; got"):
        FieldDataset(trajectories, "train", **setting)


def test_a_foreign_file_gives_the_items_of_ours(burgers_file, tmp_path):
    """Train and evaluate read other formats as they read ours, down to the checksum that ties a run to its data."""
    ours = FieldDataset(burgers_file, "test", resolution=64)
    facts = Facts(extent=(2 * np.pi,), times=(0.0, 1.0), equation="burgers", parameters={"viscosity": 0.1})
    for name, said in [("data.hdf5", None), ("data.mat", None), ("data.pt", facts)]:
        convert(burgers_file, tmp_path / name)
        for sampling in ("strided", "fourier"):
            kinds = {"resolution": 64, "sampling": sampling}
            theirs = FieldDataset(tmp_path / name, "test", facts=said, **kinds)
            mine = FieldDataset(burgers_file, "test", **kinds)
            assert torch.equal(theirs.x, mine.x) and torch.equal(theirs.y, mine.y)
        assert theirs.checksum == ours.checksum
        np.testing.assert_allclose(theirs.points, ours.points, rtol=1e-14)
        np.testing.assert_allclose(theirs.linear_solution(), mine.linear_solution(), rtol=1e-6)
    assert FieldDataset(tmp_path / "data.pt", "test", facts=replace(facts, equation=None)).linear_solution() is None


def test_two_dimensions_are_strided_along_both_axes(tmp_path):
    header = Header("any", 6, (8, 16), (1.0, 2.0), (0.0, 1.0), channels=("p", "q"))
    fields = write(tmp_path / "data.h5", header)
    data = FieldDataset(tmp_path / "data.h5", "all", resolution=4)
    np.testing.assert_array_equal(data.x, fields["a"][:, :, ::4, ::4].astype("float32"))
    np.testing.assert_array_equal(data[2]["y"], fields["u"][2, :, ::4, ::4].astype("float32"))
    np.testing.assert_array_equal(data.coordinates[0], [0.0, 0.5])
    np.testing.assert_array_equal(data.points, [0.0, 0.5, 1.0, 1.5])
    assert data.linear_solution() is None
    with pytest.raises(ValueError, match="`resolution` must make all axes of 8 x 16 points coarser by one factor"):
        FieldDataset(tmp_path / "data.h5", "all", resolution=1)
    with pytest.raises(ValueError, match="`sampling` must be 'strided' for periodic ends and 8 x 16 points"):
        FieldDataset(tmp_path / "data.h5", "all", resolution=4, sampling="fourier")
    with pytest.raises(ValueError, match="`grid` must be periodic with axes that are alike"):
        _ = data.grid


def test_facts_pick_a_pair_of_times(trajectories):
    picked = FieldDataset(trajectories, "all", facts=Facts(input_time=0.25, target_time=0.5))
    same = FieldDataset(trajectories, "all", input_time=0.25, target_time=0.5)
    assert torch.equal(picked.x, same.x) and torch.equal(picked.y, same.y)
    assert torch.equal(picked.linear_solution(), same.linear_solution())
    with pytest.raises(DatasetError, match="is a dataset file, which has its own metadata"):
        FieldDataset(trajectories, "all", facts=Facts(extent=(1.0,)))


def test_cutting_the_spectrum_between_walls_is_refused(tmp_path):
    write(tmp_path / "wall.h5", Header("any", 12, (8,), (1.0,), (0.0, 1.0), boundary="wall"))
    with pytest.raises(ValueError, match="`sampling` must be 'strided' for wall ends"):
        train_on_file(tmp_path / "wall.h5", tmp_path / "run", FitConfig(), resolution=4, sampling="fourier")
    with pytest.raises(ValueError, match="`sampling` must be 'strided' for fields without periodic boundaries"):
        evaluate_transfer(torch.nn.Identity(), tmp_path / "wall.h5", resolutions=[8], sampling="fourier")


def test_fourier_sampling_in_the_plane_keeps_a_band_limited_field(tmp_path):
    spec = DatasetSpec(
        equation="navier_stokes",
        parameters={"forcing": 0.0, "viscosity": 0.01},
        samples=4,
        resolution=32,
        times=(0.5,),
        initial_condition="vortices",
        initial_parameters={"max_mode": 3},
    )
    path = generate(spec, tmp_path / "flow.h5", progress=False)
    strided, cut = (FieldDataset(path, "all", resolution=16, sampling=s) for s in ("strided", "fourier"))
    assert strided.x.shape == (4, 1, 16, 16) and strided.y.abs().max() > 0.1
    torch.testing.assert_close(cut.x, strided.x, atol=1e-5, rtol=0)
    torch.testing.assert_close(cut.y, strided.y, atol=1e-5, rtol=0)


@pytest.mark.parametrize("falling", [False, True])
def test_unequal_axes_have_coordinates_and_no_fourier(tmp_path: pathlib.Path, falling: bool) -> None:
    import xarray as xr

    from sciml_cf.evaluate.grids import Grids, linear_resample

    points = np.cos(np.pi * np.arange(16) / 15) if falling else np.geomspace(1, 10, 16)
    values = np.random.default_rng(0).standard_normal((8, 3, 16))
    found = xr.Dataset({"u": (("sample", "time", "x"), values)}, coords={"x": points, "time": np.arange(3.0)})
    found.to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    data = FieldDataset(tmp_path / "f.nc", "train", resolution=8)
    assert not data.periodic and data.ends == {"boundary": "open"} and Grids.of(data).outputs == ("native", "linear")
    np.testing.assert_array_equal(data.coordinates[0], points[::2])
    (place,) = data.positions
    assert place[0] == 0 and (np.diff(place) > 0).all() and place[-1] < 1
    with pytest.raises(ValueError, match="`sampling` must be 'strided'"):
        FieldDataset(tmp_path / "f.nc", "train", resolution=8, sampling="fourier")
    linear = 3 * points - 1
    np.testing.assert_allclose(linear_resample(linear[None, ::2], [points[::2]], [points])[0], linear, atol=1e-12)
