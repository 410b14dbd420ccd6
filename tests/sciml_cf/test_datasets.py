import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate, open_dataset, resample
from sciml_cf.datasets import FieldDataset, split_indices
from sciml_cf.errors import DatasetError


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
    np.testing.assert_allclose(coarse.points, fine.points[::8], rtol=1e-15)


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
    import h5py

    path = tmp_path / "nan.h5"
    path.write_bytes(burgers_file.read_bytes())
    row = int(split_indices(40)["train"][3])
    with h5py.File(path, "r+") as file:
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
