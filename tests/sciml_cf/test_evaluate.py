import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from data_gen import DatasetSpec, generate, open_dataset
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import CheckpointError
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.evaluate.prediction import predict
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.models import FNOConfig
from sciml_cf.report import compare_runs, report_run
from sciml_cf.training.run_folder import load, read_evaluation, read_history, save_evaluation


class HeatOperator(nn.Module):
    """The exact solution operator of u_t = 0.1 u_xx on (0, 2 pi) over t = 1, at any resolution."""

    def __init__(self, offset=0):
        super().__init__()
        self.unused, self.offset = nn.Parameter(torch.zeros(())), offset

    def forward(self, x):
        k = torch.arange(x.shape[-1] // 2 + 1)
        u = torch.fft.irfft(torch.exp(-0.1 * k**2) * torch.fft.rfft(x), n=x.shape[-1])
        return torch.roll(u, self.offset, dims=-1)


class Zero(HeatOperator):
    def forward(self, x):
        return 0 * x


def test_exact_operator_has_no_error_at_any_resolution_by_either_output(heat_file):
    result = evaluate_transfer(HeatOperator(), heat_file, resolutions=(64, 128, 256), split="all")
    assert (result["mse"] < 1e-6).all()  # what is left is the input's aliasing on coarse grids
    assert float(result["mse"].sel(resolution=256).max()) < 1e-12


def test_output_off_by_one_point_shows(heat_file):
    result = evaluate_transfer(HeatOperator(offset=1), heat_file, resolutions=(64, 256), split="all")
    assert (result["mse"] > 1e-5).all()


def test_figures_agree_with_plain_numpy(heat_file):
    result = evaluate_transfer(Zero(), heat_file, resolutions=(64, 256))
    truth = FieldDataset(heat_file, "test").y.double().numpy()[:, 0]
    at_64 = result.sel(resolution=64, output="native")
    assert float(at_64["mse"]) == pytest.approx((truth[:, ::4] ** 2).mean(), rel=1e-12)
    assert float(result["mse"].sel(resolution=64, output="fourier")) == pytest.approx((truth**2).mean(), rel=1e-12)
    assert float(at_64["max_error"]) == pytest.approx(np.abs(truth[:, ::4]).max(), rel=1e-12)
    np.testing.assert_allclose(result["relative_l2"], 1.0, rtol=1e-12)
    np.testing.assert_allclose(result["relative_l2_std"], 0.0, atol=1e-12)
    np.testing.assert_allclose(result["band_mse"].sum("band"), result["mse"], rtol=1e-10)
    assert float(result["baseline_mse"].sel(baseline="zero")) == pytest.approx((truth**2).mean(), rel=1e-12)


def test_baselines(heat_file, burgers_file):
    linear = evaluate_transfer(Zero(), heat_file, resolutions=(256,))["baseline_mse"].sel(baseline="linear_part")
    assert float(linear) < 1e-12  # the heat equation is its own linear part
    result = evaluate_transfer(Zero(), burgers_file, resolutions=(256,))
    train, test = (FieldDataset(burgers_file, split).y.double() for split in ("train", "test"))
    mean = (train.mean(0) - test).square().mean()
    assert float(result["baseline_mse"].sel(baseline="training_mean")) == pytest.approx(float(mean), rel=1e-5)


def test_another_file_than_the_runs_own_is_said(run_folder, burgers_file, tmp_path, caplog):
    run = shutil.copytree(run_folder, tmp_path / "run")
    with open_dataset(burgers_file) as known:
        spec = replace(known.spec, seed=7)
    generate(spec, tmp_path / "other.h5", progress=False)
    evaluate_run(run, tmp_path / "other.h5", (64,))
    assert "may hold samples seen in training" in caplog.text and "of another problem" not in caplog.text
    assert f"the evaluation of {run} on {burgers_file.name} is replaced" in caplog.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"parameters": {"viscosity": 0.5}}, "viscosity 0.5, not 0.1"),
        ({"extent": 1.0}, "extent 1, not 6.283"),
        ({"times": (0.5,)}, "duration 0.5, not 1"),
        ({"equation": "heat"}, "equation heat, not burgers"),
    ],
)
def test_another_problem_than_the_runs_own_is_said(changes, words, run_folder, tmp_path, caplog):
    run = shutil.copytree(run_folder, tmp_path / "run")
    generate(DatasetSpec(**{"samples": 20, "resolution": 128, **changes}), tmp_path / "other.h5", progress=False)
    evaluate_run(run, tmp_path / "other.h5", (64,))
    assert f"is of another problem than {run} was trained on: {words}." in caplog.text
    assert "may hold samples" not in caplog.text


def test_a_run_that_does_not_say_its_problem_is_compared_with_nothing(run_folder, heat_file, tmp_path, caplog):
    run = shutil.copytree(run_folder, tmp_path / "run")
    settings = json.loads((run / "run.json").read_text())
    del settings["data"]["problem"]
    (run / "run.json").write_text(json.dumps(settings))
    (run / "manifest.json").unlink()
    evaluate_run(run, heat_file, (64,))
    assert "may hold samples seen in training" in caplog.text and "of another problem" not in caplog.text


def test_native_and_fourier_agree_on_the_reference_grid(run_folder):
    at_full = read_evaluation(run_folder)["mse"].sel(resolution=256)
    assert float(at_full.sel(output="native")) == pytest.approx(float(at_full.sel(output="fourier")), rel=1e-12)


def test_evaluation_at_the_training_resolution_repeats_the_history(run_folder, burgers_file):
    result = evaluate_transfer(load(run_folder), burgers_file, resolutions=(64,), split="validation")
    best = min(row["validation_mse"] for row in read_history(run_folder))
    assert float(result["mse"].sel(resolution=64, output="native")) == pytest.approx(best, rel=1e-5)


def test_examples_run_from_the_lowest_to_the_highest_error(run_folder):
    result = read_evaluation(run_folder)
    difference = result["example_prediction"] - result["example_target"]
    relative = np.sqrt((difference**2).sum(("x", "channel")) / (result["example_target"] ** 2).sum(("x", "channel")))
    assert (np.diff(relative) > 0).all()
    samples = result["sample_relative_l2"].sel(resolution=256, output="native")
    np.testing.assert_allclose([relative[0], relative[-1]], [samples.min(), samples.max()], rtol=1e-5)


def test_spectrum_sums_to_the_mean_square(run_folder):
    result = read_evaluation(run_folder)
    error = result["spectrum"].sel(curve="error").values.copy()
    error[1:-1] *= 2
    assert error.sum() == pytest.approx(float(result["mse"].sel(resolution=256, output="native")), rel=1e-5)


def test_results_file_opens_with_xarray_and_says_what_it_is(run_folder):
    with xr.open_dataset(run_folder / "evaluation.nc") as result:
        assert result["mse"].dims == ("resolution", "output")
        assert list(result["output"].values) == ["native", "fourier", "linear"]
        assert result.attrs["split"] == "test" and result.attrs["trained_at"] == 64


class Failing(HeatOperator):
    def forward(self, x):
        raise RuntimeError("weight of size [8, 2, 1], expected input[1, 1, 256] to have 2 channels")


class TwoChannels(HeatOperator):
    def forward(self, x):
        return torch.cat([x, x], dim=1)


@pytest.mark.parametrize(
    ("model", "resolutions", "message"),
    [
        (Zero(), (), "`resolutions` must name at least one"),
        (Zero(), (96,), "`resolutions` must divide the reference resolution 256; got 96"),
        (Zero(), (-4,), "`resolutions` must be an integer of at least 1; got -4"),
        (Failing(), (64,), r"`model` must accept inputs \(1, 256\)"),
        (TwoChannels(), (64,), r"`model` must return \(1, 256\).*got \(2, 256\)"),
    ],
)
def test_bad_arguments_are_refused(heat_file, model, resolutions, message):
    with pytest.raises(ValueError, match=message):
        evaluate_transfer(model, heat_file, resolutions=resolutions)


def test_saving_keeps_the_old_file_until_the_new_one_is_whole(run_folder, tmp_path):
    result = read_evaluation(run_folder)
    path = save_evaluation(result, tmp_path)
    xr.testing.assert_identical(read_evaluation(tmp_path), result)
    assert sorted((entry.name for entry in tmp_path.iterdir()), reverse=True) == ["manifest.json", path.name]
    (tmp_path / "manifest.json").unlink()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="must be a whole netCDF file"):
        read_evaluation(tmp_path)
    with pytest.raises(CheckpointError, match="sciml-cf evaluate"):
        read_evaluation(tmp_path / "nothing")


# predict


def test_predict_names_a_wrong_number_of_channels(run_folder):
    with pytest.raises(ValueError, match="1 input channel, as the run .* got 1 dimension and 2 input channels"):
        predict(run_folder, np.zeros((3, 2, 64)))


@pytest.mark.parametrize("name", ["run.json", "history.csv", "evaluation.nc", "weights_best.pt"])
def test_damaged_files_of_a_run_are_named(run_folder, tmp_path, name):
    run = shutil.copytree(run_folder, tmp_path / "run")
    if name == "weights_best.pt":
        torch.save([1, 2], run / name)
    else:
        (run / name).write_text("[1]" if name == "run.json" else "a,b\n1,x\n")
    with pytest.raises(CheckpointError, match=name):
        load(run)
        report_run(run)


def test_predict_equals_the_model(run_folder):
    fields = np.random.default_rng(0).normal(size=(3, 64))
    expected = load(run_folder)(torch.tensor(fields[:, None], dtype=torch.float32)).detach().numpy()
    np.testing.assert_array_equal(predict(run_folder, fields), expected[:, 0])
    np.testing.assert_array_equal(predict(run_folder, fields[:, None]), expected)


def test_predict_at_another_resolution_interpolates_the_input(heat_file):
    data = FieldDataset(heat_file, "all").x[:, 0].double().numpy()
    smooth = predict(HeatOperator(), data[:, ::4])
    finer = predict(HeatOperator(), data[:, ::4], resolution=256)
    assert finer.shape == (24, 256)
    np.testing.assert_allclose(finer[:, ::4], smooth, atol=1e-6)


def test_predict_knows_fields_in_the_plane():
    model = FNOConfig(width=4, modes=3, layers=1, num_dims=2).build(seed=0).eval()
    x = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    fields = np.sin(x)[:, None] * np.cos(x + np.arange(3)[:, None, None])
    expected = model(torch.tensor(fields[:, None], dtype=torch.float32)).detach().numpy()
    np.testing.assert_array_equal(predict(model, fields[:, None]), expected)
    np.testing.assert_array_equal(predict(model, fields, num_dims=2), expected[:, 0])
    finer = predict(model, fields, num_dims=2, resolution=32)
    np.testing.assert_allclose(finer[:, ::2, ::2], expected[:, 0], atol=1e-5)
    with pytest.raises(ValueError, match=r"axes of unlike points; got 32 for 8 x 16"):
        predict(model, fields[:, None, ::2], resolution=32)
    with pytest.raises(ValueError, match=r"real \(samples, points, points\)"):
        predict(model, fields[0], num_dims=2)


@pytest.mark.parametrize(
    ("fields", "settings", "message"),
    [
        (np.zeros(8), {}, r"real \(samples, points\)"),
        (np.array([["a"]]), {}, "real"),
        (np.array([[0, np.inf]]), {}, "`fields` must be finite; got NaN, Inf or a value beyond float32 in sample 0"),
        (np.zeros((2, 8)), {"resolution": 0}, "`resolution`"),
        (np.zeros((0, 8)), {}, "real"),
        (np.full((1, 8), 1e200), {}, "beyond float32"),
    ],
)
def test_predict_refuses_bad_fields(fields, settings, message):
    with pytest.raises(ValueError, match=message):
        predict(Zero(), fields, **settings)


def test_runs_that_share_no_resolution_are_not_compared(run_folder, burgers_file, tmp_path):
    other = shutil.copytree(run_folder, tmp_path / "other")
    evaluate_run(other, burgers_file, (32,))
    with pytest.raises(ValueError, match="`runs` must share a resolution; got small at 64, 256; other at 32. Evaluate"):
        compare_runs([run_folder, other], tmp_path / "compared")
    assert not (tmp_path / "compared").exists()
