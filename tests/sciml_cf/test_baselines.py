"""Errors of predictions without a trained model, as an evaluation reports them."""

import shutil

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, Facts, generate
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate import baselines, evaluate_transfer, fit_linear_map
from sciml_cf.evaluate.baselines import baseline_errors, nearest_samples
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.metrics import mse, relative_l2


class Same(torch.nn.Module):
    """Returns what it is given."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(()))

    def forward(self, x):
        return x


@pytest.fixture(scope="module")
def pair_file(tmp_path_factory):
    """30 samples of 2 x 12 x 16 points between walls whose output is the square of the input."""
    folder = tmp_path_factory.mktemp("pairs")
    x = np.random.default_rng(0).normal(size=(30, 2, 12, 16))
    np.savez(folder / "pairs.npz", x=x, y=x**2)
    return folder / "pairs.npz", Facts(boundary="wall", extent=(1.0, 1.0), times=(0.0,))


def test_figures_agree_with_their_definitions_at_every_resolution(burgers_file):
    result = evaluate_transfer(Same(), burgers_file, resolutions=(32, 256))
    train, test = (FieldDataset(burgers_file, split) for split in ("train", "test"))
    assert list(result["baseline"].values) == [
        "zero", "training_mean", "identity", "linear_part", "nearest_sample", "linear_map",
    ]  # fmt: skip
    assert result.attrs["baseline_samples"] == len(train)
    linear = test.linear_solution()
    for n in (32, 256):
        step = 256 // n
        x, y, seen_x, seen_y = (part[..., ::step].double() for part in (test.x, test.y, train.x, train.y))
        nearest = [(seen_x - one).flatten(1).norm(dim=1).argmin() for one in x]
        guesses = {
            "zero": 0 * y,
            "training_mean": seen_y.mean(0).expand_as(y),
            "identity": x,
            "linear_part": linear[..., ::step].double(),
            "nearest_sample": seen_y[torch.stack(nearest)],
            "linear_map": fit_linear_map(seen_x, seen_y)(x),
        }
        found = result.sel(resolution=n)
        for name, guess in guesses.items():
            of = found.sel(baseline=name)
            assert float(of["native_baseline_mse"]) == pytest.approx(float(mse(guess, y).mean()), rel=1e-4), name
            assert float(of["native_baseline_relative_l2"]) == pytest.approx(
                float(relative_l2(guess, y).mean()), rel=1e-4
            ), name
    for name in ("mse", "relative_l2"):
        np.testing.assert_allclose(result[f"baseline_{name}"], found[f"native_baseline_{name}"])
    identity = float(result["native_baseline_mse"].sel(resolution=32, baseline="identity"))
    assert identity == pytest.approx(float(result["mse"].sel(resolution=32, output="native")), rel=1e-5)


def test_the_reference_grid_is_reported_where_it_is_not_evaluated(burgers_file):
    whole = evaluate_transfer(Same(), burgers_file, resolutions=(64, 256))
    coarse = evaluate_transfer(Same(), burgers_file, resolutions=(64,))
    np.testing.assert_allclose(coarse["baseline_relative_l2"], whole["baseline_relative_l2"], rtol=1e-6)
    assert list(coarse["linear_map_rank"]["resolution"].values) == [64]


def test_fields_cut_in_the_spectrum_are_so_for_baselines_too(burgers_file):
    result = baseline_errors(FieldDataset(burgers_file, "test"), (16,), "fourier")
    expected = evaluate_transfer(Same(), burgers_file, resolutions=(16,), sampling="fourier")["mse"]
    found = result["native_baseline_mse"].sel(resolution=16, baseline="identity")
    assert float(found) == pytest.approx(float(expected.sel(resolution=16, output="native")), rel=1e-5)


def test_fitted_baselines_can_be_left_out(burgers_file):
    truth = FieldDataset(burgers_file, "test")
    whole, few = (baseline_errors(truth, (64,), "strided", fitted=fitted) for fitted in (True, False))
    assert list(whole["baseline"].values) == [*few["baseline"].values, "nearest_sample", "linear_map"]
    assert "linear_map_rank" in whole and "linear_map_rank" not in few
    np.testing.assert_allclose(few["baseline_mse"], whole["baseline_mse"][:-2], rtol=1e-6)


def test_a_sample_is_not_its_own_neighbor(burgers_file):
    errors = baseline_errors(FieldDataset(burgers_file, "train"), (64,), "strided")["native_baseline_relative_l2"]
    train = FieldDataset(burgers_file, "train")
    x, y = (part[..., ::4].flatten(1).double() for part in (train.x, train.y))
    nearest = torch.cdist(x, x).fill_diagonal_(torch.inf).argmin(1)
    expected = ((y[nearest] - y).norm(dim=1) / y.norm(dim=1)).mean()
    assert float(errors.sel(resolution=64, baseline="nearest_sample")) == pytest.approx(float(expected), rel=1e-5)


def test_nearest_samples_do_not_drown_in_an_offset(monkeypatch):
    rng = np.random.default_rng(0)
    known, x = (torch.tensor(1e6 + rng.normal(size=(size, 2, 7))) for size in (40, 25))
    expected = torch.stack([(known - one).flatten(1).norm(dim=1).argmin() for one in x])
    assert torch.equal(nearest_samples(known, x), expected)
    monkeypatch.setattr(baselines, "_NUMBERS", 100)
    assert torch.equal(nearest_samples(known, x), expected)


def test_blocks_change_nothing(pair_file, monkeypatch):
    path, facts = pair_file
    truth = FieldDataset(path, "all", facts=facts)
    whole = baseline_errors(truth, (4, 16), "strided")
    monkeypatch.setattr(baselines, "_NUMBERS", 500)
    parts = baseline_errors(truth, (4, 16), "strided")
    for name in whole:
        np.testing.assert_allclose(parts[name], whole[name], rtol=1e-6, err_msg=str(name))


def test_an_output_of_another_kind_is_not_compared_with_the_input(pair_file, tmp_path):
    path, facts = pair_file  # steady: one time
    names = baseline_errors(FieldDataset(path, "test", facts=facts), (16,), "strided")["baseline"].values
    assert list(names) == ["zero", "training_mean", "nearest_sample", "linear_map"]
    darcy = generate(DatasetSpec(equation="darcy", samples=8, resolution=8), tmp_path / "darcy.h5", progress=False)
    assert "identity" not in baseline_errors(FieldDataset(darcy, "test"), (8,), "strided")["baseline"].values


def test_an_evaluation_of_a_run_says_whose_samples_the_baselines_saw(run_folder, burgers_file, heat_file, tmp_path):
    run = shutil.copytree(run_folder, tmp_path / "run")
    assert evaluate_run(run, burgers_file, (64,)).attrs["own_data"] == 1
    result = evaluate_run(run, heat_file, (64,))
    assert result.attrs["own_data"] == 0
    exact = result["native_baseline_relative_l2"].sel(resolution=64, baseline="linear_part")
    assert float(exact) < 1e-5  # the heat equation's own


@pytest.mark.parametrize("shape", [(12,), (6, 8), (4, 4, 6)])
def test_constant_fields_of_any_dimension(tmp_path, shape):
    x = np.random.default_rng(0).normal(size=(10, *shape))
    np.savez(tmp_path / "data.npz", x=x, y=np.full_like(x, 3.0))
    facts = Facts(boundary="open", extent=(1.0,) * len(shape), times=(0.0,))
    truth = FieldDataset(tmp_path / "data.npz", "test", facts=facts)
    errors = baseline_errors(truth, (truth.resolution,), "strided")["baseline_mse"]
    assert float(errors.sel(baseline="zero")) == pytest.approx(9.0)
    assert float(errors.sel(baseline="linear_map")) < 1e-10
