"""Missing values: weights of targets in the solve, the loss and the metrics; zeros and a channel for inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from data_gen.cli.flags import UsageError
from data_gen.convert import convert
from data_gen.formats import Overrides, open_source
from sciml_cf import metrics
from sciml_cf.cli.predict import predict_command
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import DatasetError
from sciml_cf.evaluate.transfer import evaluate_transfer
from sciml_cf.training.config import FitConfig
from sciml_cf.training.losses import weighted_mse
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import load
from sciml_cf.training.units import Units

POINTS, SAMPLES = 16, 40
SAID: dict[str, Any] = {"input_name": "a", "target_name": "u", "times": (0.0, 1.0)}


def file_with_land(path: Path, *, holes: bool, beneath: float = np.nan) -> dict[str, np.ndarray]:
    """A field and its square, on land ``beneath`` and in the file's mask 0; with holes of NaN in single samples."""
    random = np.random.default_rng(1)
    x = np.arange(POINTS) / POINTS
    a = 280 + np.sin(2 * np.pi * x + random.uniform(0, 6, (SAMPLES, 1))) * random.uniform(1, 2, (SAMPLES, 1))
    u = (a - 280) ** 2
    land = (x > 0.3) & (x < 0.5)
    a[:, land] = u[:, land] = beneath
    if holes:
        u[::3, 2] = np.nan
    sea = np.where(land, 0, 1).astype("int8")
    found = xr.Dataset({"a": (("sample", "x"), a), "u": (("sample", "x"), u), "sea": (("x",), sea)}, {"x": x})
    found.to_netcdf(path, engine="h5netcdf")
    return {"a": a, "u": u, "sea": sea}


def test_without_the_flag_missing_values_are_counted_and_refused(tmp_path: Path) -> None:
    stored = file_with_land(tmp_path / "f.nc", holes=True)
    count = int(np.isnan(stored["a"]).sum())
    with pytest.raises(DatasetError, match=f"{count} missing values in all. Take them as missing with --mask fill"):
        convert(tmp_path / "f.nc", tmp_path / "out.h5", overrides=Overrides(**SAID))
    with pytest.raises(DatasetError, match=r"\d+ values of this split are missing.*--mask fill"):
        FieldDataset(tmp_path / "f.nc", "train", facts=Overrides(**SAID))


@pytest.mark.parametrize("mask", ["fill", "sea"])
def test_items_have_zeros_a_mask_and_weights(tmp_path: Path, mask: str) -> None:
    stored = file_with_land(tmp_path / "f.nc", holes=True, beneath=np.nan if mask == "fill" else 1e9)
    data = FieldDataset(tmp_path / "f.nc", "train", facts=Overrides(**SAID, mask=mask))
    land, rows = stored["sea"] == 0, data.indices
    assert data.x.shape == (len(rows), 2, POINTS) and not data.periodic and data.known is not None
    np.testing.assert_array_equal(data.x[:, 1].numpy(), np.broadcast_to(~land, (len(rows), POINTS)))
    assert (data.x[:, 0, land] == 0).all() and torch.isfinite(data.y).all()
    known = ~land & ~(np.isnan(stored["u"][rows]))
    np.testing.assert_array_equal(data.known.numpy(), known)
    np.testing.assert_allclose(data.y[:, 0].numpy()[known], stored["u"][rows][known], rtol=1e-6)
    np.testing.assert_array_equal(data[0]["weights"].numpy(), known[0])


def test_a_mask_survives_conversion(tmp_path: Path) -> None:
    file_with_land(tmp_path / "f.nc", holes=True, beneath=1e9)
    convert(tmp_path / "f.nc", tmp_path / "ours.h5", overrides=Overrides(**SAID, mask="sea"))
    first = FieldDataset(tmp_path / "f.nc", "test", facts=Overrides(**SAID, mask="sea"))
    again = FieldDataset(tmp_path / "ours.h5", "test", facts=Overrides(mask="fill"))
    assert torch.equal(first.x, again.x) and torch.equal(first.y, again.y)
    with pytest.raises(DatasetError, match="give --mask fill"):
        open_source(tmp_path / "ours.h5", overrides=Overrides(mask="sea"))


def test_masks_of_arrays_by_name(tmp_path: Path) -> None:
    x, y = np.ones((5, 16)), np.ones((5, 16))
    np.savez(tmp_path / "f.npz", x=x, y=y, m=np.arange(16) > 3)
    said: dict[str, Any] = {"extent": (1.0,), "times": (0.0, 1.0)}
    with open_source(tmp_path / "f.npz", overrides=Overrides(**said, mask="m")) as data:
        assert np.isnan(data.read("u")).sum() == 20
    with pytest.raises(DatasetError, match="has no mask q"):
        open_source(tmp_path / "f.npz", overrides=Overrides(**said, mask="q"))


@pytest.mark.parametrize(("method", "loss"), [("proximal", "mse"), ("proximal", "relative"), ("l2", "relative")])
def test_what_lies_beneath_a_mask_has_no_influence(tmp_path: Path, method: str, loss: Any) -> None:
    """Two files that differ beneath their mask alone give the same run and the same errors."""
    results = []
    for beneath in (1e9, -5.0):
        file_with_land(tmp_path / "f.nc", holes=False, beneath=beneath)
        facts, out = Overrides(**SAID, mask="sea"), tmp_path / f"{beneath}"
        config = FitConfig(epochs=2, method=method, loss=loss, batch_size=8, seed=1)
        history = train_on_file(tmp_path / "f.nc", out, config, model={"width": 8, "modes": 4}, facts=facts)
        found = evaluate_transfer(load(out), tmp_path / "f.nc", resolutions=[POINTS], facts=facts)
        assert np.isfinite(found["mse"].values).all() and list(found["output"].values) == ["native", "linear"]
        results.append((history.best["validation_mse"], float(found["relative_l2"][0, 0])))
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    assert results[0][1] < 2


def test_losses_and_metrics_leave_missing_points_out() -> None:
    generator = torch.Generator().manual_seed(0)
    prediction, target = (torch.randn(3, 2, 8, generator=generator) for _ in range(2))
    known = torch.rand(3, 8, generator=generator) > 0.3
    wrong = torch.where(known[:, None], prediction, 1e6)
    expected = torch.cat([(prediction - target)[i][:, known[i]].square().flatten() for i in range(3)]).mean()
    assert weighted_mse(wrong, target, known.float()).item() == pytest.approx(expected.item(), rel=1e-5)
    for metric in metrics.FIELD_METRICS:
        values = metrics.over_known(metric, wrong, target, known)
        for i in range(3):
            alone = metric(prediction[i : i + 1, :, known[i]], target[i : i + 1, :, known[i]])[0]
            assert values[i].item() == pytest.approx(alone.item(), rel=1e-6)
    batch = Units(None, "relative", torch.float32).batch({"x": target, "y": target, "weights": known.float()})
    assert batch.weights is not None and batch.weights.shape == (3, 8) and not batch.weights[~known].any()


def masked_run(folder: Path) -> np.ndarray:
    """Train run on f.nc, whose inputs have missing values; returns these."""
    stored = file_with_land(folder / "f.nc", holes=True)
    config = FitConfig(epochs=1, method="proximal", batch_size=8, seed=1)
    facts = Overrides(**SAID, mask="fill")
    train_on_file(folder / "f.nc", folder / "run", config, model={"width": 8, "modes": 4}, facts=facts)
    return stored["a"]


def test_predict_takes_inputs_with_missing_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command gives for arrays and files what the model gives for zeros and a channel of the mask."""
    monkeypatch.chdir(tmp_path)
    a = masked_run(tmp_path)
    np.save("a.npy", a)
    np.save("channel.npy", a[:, None])
    with torch.no_grad():
        expected = load("run")(FieldDataset("f.nc", "all", facts=Overrides(**SAID, mask="fill")).x)
    words = ["--input-name", "a", "--target-name", "u", "--times", "0", "1"]
    for given, more in (("a.npy", []), ("channel.npy", []), ("f.nc", words)):
        predict_command(["run", "--input", given, "--output", "out.npy", "--mask", "fill", "--overwrite", *more])
        np.testing.assert_allclose(np.load("out.npy"), expected, rtol=1e-5, atol=1e-5)


def test_predict_without_the_flag_refuses_missing_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", masked_run(tmp_path))
    with pytest.raises(ValueError, match=r"^predict: `fields` must be finite.*--mask fill"):
        predict_command(["run", "--input", "a.npy", "--output", "out.npy"])
    with pytest.raises(UsageError, match=r"`mask` must be fill for a \.npy file; got sea"):
        predict_command(["run", "--input", "a.npy", "--output", "out.npy", "--mask", "sea"])
    assert not Path("out.npy").exists()
