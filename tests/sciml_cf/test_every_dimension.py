"""Every model in one, two and three dimensions and at every boundary: from training to the report, on the command line.

A third of the combinations is run in the fast suite, so chosen that each two of model, dimension and boundary meet.
"""

import math

import numpy as np
import pytest
import xarray as xr

from data_gen.formats import Facts
from sciml_cf import evaluate_rollout, load, predict, read_posterior
from sciml_cf.normalization import normalization_of
from sciml_cf.training.run_folder import read_history
from tests.sciml_cf.test_cli import call

MODELS, BOUNDARIES = ("fno", "tfno", "uno", "conv", "unet", "deeponet"), ("periodic", "wall", "open")
SHAPES = {1: (64,), 2: (32, 128), 3: (8, 8, 8)}
SAMPLES = 24
REPORTED = {("fno", 1), ("tfno", 2), ("conv", 3)}  # drawing takes most of the time


def fast(model, dims, boundary):
    return (MODELS.index(model) + dims + BOUNDARIES.index(boundary)) % len(BOUNDARIES) == 0


CASES = [
    pytest.param(model, dims, boundary, marks=() if fast(model, dims, boundary) else pytest.mark.slow)
    for model in MODELS
    for dims in SHAPES
    for boundary in BOUNDARIES
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """For each number of dimensions a pair INPUT.npy,TARGET.npy: smooth noise, and its shifted square."""
    folder, rng = tmp_path_factory.mktemp("pairs"), np.random.default_rng(0)
    for dims, shape in SHAPES.items():
        x = rng.normal(size=(SAMPLES, *shape))
        for axis in range(1, dims + 1):
            x = (x + np.roll(x, 1, axis) + np.roll(x, -1, axis)) / 3
        np.save(folder / f"x{dims}.npy", x)
        np.save(folder / f"y{dims}.npy", np.roll(x, 1, -1) ** 2)
    return {dims: f"{folder}/x{dims}.npy,{folder}/y{dims}.npy" for dims in SHAPES}


def run(capsys, *words):
    status, out, error = call(capsys, *words)
    assert status == 0, (words, error)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("model", "dims", "boundary"), CASES)
def test_from_training_to_report(capsys, tmp_path, pairs, model, dims, boundary):
    shape, data, folder = SHAPES[dims], pairs[dims], tmp_path / "run"
    facts = ("--extent", 1, "--times", 0, 1, "--boundary", boundary)
    sizes = (
        "--width",
        4,
        *(("--modes", 3) if model in MODELS[:3] else ()),
        *(() if model == "uno" else ("--layers", 2)),
    )
    train = ("--model", model, "--epochs", 2, "--batch-size", 8, "--resolution", shape[-1], *sizes)
    run(capsys, "train", "--data", data, "--out", folder, *train, *facts)
    last = read_history(folder)[-1]
    for name in ("train_loss", "validation_mse", "condition", "degrees_of_freedom", "gain"):
        assert math.isfinite(last[name]), name

    run(capsys, "evaluate", folder, "--data", data, "--resolutions", shape[-1] // 2, shape[-1], *facts)
    with xr.open_dataset(folder / "evaluation.nc") as measured:
        assert ("fourier" in measured["output"].values) == (boundary == "periodic" and dims != 2)
        assert np.isfinite(measured["mse"]).all() and measured["example_prediction"].shape[2:] == shape
    rolled = evaluate_rollout(folder, data, facts=Facts(extent=(1.0,), times=(0.0, 1.0), boundary=boundary))
    native = measured["mse"].sel(resolution=shape[-1], output="native")
    np.testing.assert_allclose(rolled["mse"], [float(native)], rtol=1e-3)

    mean, std = tmp_path / "mean.npy", tmp_path / "std.npy"
    run(capsys, "predict", folder, "--input", data, "--output", mean, "--std", std, *facts)
    _check_error_bars(folder, np.load(data.split(",")[0]), np.load(mean), np.load(std))

    out = run(capsys, "adapt", folder, "--data", data, "--out", tmp_path / "new", "--strength", 0.1, *facts)
    assert "head moved with strength 0.1" in out and "no error bars" not in out
    run(capsys, "predict", tmp_path / "new", "--input", data, "--output", mean, "--std", std, "--overwrite", *facts)
    _check_error_bars(tmp_path / "new", np.load(data.split(",")[0]), np.load(mean), np.load(std))
    (folder / "posterior.pt").unlink()
    run(capsys, "posterior", folder, "--data", data, *facts)

    if (model, dims) in REPORTED:
        run(capsys, "report", folder)
        assert (folder / "report" / "predictions.png").stat().st_size > 10_000
        run(capsys, "compare", folder, folder, "--out", tmp_path / "both")


def _check_error_bars(folder, fields, mean, std):
    """Same shapes; the mean is the prediction without error bars, and they are those that the posterior gives."""
    assert mean.shape == std.shape == (SAMPLES, 1, *fields.shape[1:])
    plain = predict(folder, fields[:, None])
    np.testing.assert_allclose(mean, plain, rtol=1e-3, atol=1e-4 * np.abs(plain).max())
    assert np.isfinite(std).all() and (std > 0).all()
    known, model, seen = read_posterior(folder), load(folder), []
    layer = [module for module in model.modules() if getattr(module, "kernel_size", None)][-1]
    watch = layer.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].detach()))
    predict(model, fields[:3, None])
    watch.remove()
    phi = seen[0].movedim(1, -1).reshape(3, *fields.shape[1:], -1)  # the points in their order, as they enter the head
    (unit,) = normalization_of(model).target_scale
    np.testing.assert_allclose(std[:3, 0], unit * known.std(phi)[..., 0].numpy(), rtol=1e-2)
