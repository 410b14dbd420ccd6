"""All that is done with a run after its training gives the same fields in other units, in one and two dimensions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

from data_gen.formats import Facts
from sciml_cf import ClosedFormLoss, Proximal, adapt, evaluate_rollout, load, predict, read_posterior
from sciml_cf.evaluate import evaluate_transfer
from sciml_cf.head import find_head
from sciml_cf.normalization import core_units
from sciml_cf.training import FitConfig
from sciml_cf.training.on_file import train_on_file

SHAPES = {1: (32,), 2: (12, 12)}
FACTS = Facts(extent=(1.0,), times=(0.0, 1.0))
UNITS = {"plain": (1.0, 1.0, 0.0), "other": (1e-4, 10.0, 1e5)}  # inputs a x, targets b y + c


def fields(dims: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(40, *SHAPES[dims]))
    for axis in range(1, dims + 1):
        x = x + np.roll(x, 1, axis) + np.roll(x, -1, axis)
    return x, np.roll(x, 1, -1) + 0.3 * x**2


def _measured(run: Path, data: Path, points: int) -> tuple[xr.Dataset, xr.Dataset]:
    errors = evaluate_transfer(load(run), data, resolutions=[points], facts=FACTS)
    return errors, evaluate_rollout(run, data, facts=FACTS)


@pytest.fixture(scope="module", params=list(SHAPES))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What each path gives in either unit, brought to the plain one."""
    dims, results = request.param, {}
    x, y = fields(dims)
    for name, (a, b, c) in UNITS.items():
        folder: Path = tmp_path_factory.mktemp(name)
        for file, values in (("x", a * x), ("y", c + b * y), ("moved", c + b * (2 * y + 3))):
            np.save(folder / f"{file}.npy", values)
        data, run = Path(f"{folder}/x.npy,{folder}/y.npy"), folder / "run"
        config = FitConfig(epochs=3, batch_size=8, accelerator="cpu")
        shape = {"width": 6, "modes": 3, "layers": 2}
        train_on_file(data, run, config, model=shape, facts=FACTS)
        mean, std = predict(run, a * x[:, None], std=True)
        errors, rolled = _measured(run, data, SHAPES[dims][-1])
        model, items = load(run), [{"x": a * x[i : i + 1], "y": c + b * (2 * y[i : i + 1] + 3)} for i in range(40)]
        tensors = [{key: torch.from_numpy(value) for key, value in item.items()} for item in items]
        adapt(model, tensors, prior=read_posterior(run), strength=1e-3)  # pyright: ignore[reportArgumentType]
        results[name] = {
            "predict": (mean.astype(float) - c) / b,
            "std": std / b,
            "evaluate": errors["mse"].sel(output="native").values / b**2,
            "rollout": rolled["mse"].values / b**2,
            "vrmse": rolled["vrmse"].values,
            "adapt": (predict(model, a * x[:, None]).astype(float) - c) / b,
            "run": run,
        }
    return results


@pytest.mark.parametrize("path", ["predict", "std", "evaluate", "rollout", "vrmse", "adapt"])
def test_a_path_gives_the_same_in_other_units(found: dict[str, dict[str, Any]], path: str) -> None:
    plain, other = found["plain"][path], found["other"][path]
    np.testing.assert_allclose(other, plain, rtol=2e-2, atol=2e-3 * np.abs(plain).max())


def test_a_loaded_model_in_a_loop_of_ones_own_is_trained_in_its_own_units(found: dict[str, dict[str, Any]]) -> None:
    """Its last step is no layer, so the head is refused in one line; inside ``core_units`` it is the layer."""
    model = load(found["other"]["run"]).train()
    x, y = (torch.from_numpy(values)[:, None] for values in fields(1 if found["other"]["predict"].ndim == 3 else 2))
    x, y = 1e-4 * x, 1e5 + 10 * y
    with pytest.raises(ValueError, match="de-normalizer; move it to the targets"):
        ClosedFormLoss(find_head(model), Proximal())(model(x), y)
    with core_units(model) as normalization:
        assert normalization is not None
        loss_of = ClosedFormLoss(find_head(model), Proximal(), initial="keep")
        prediction = model(normalization.inputs(x))
        loss = loss_of(prediction.flatten(2), normalization.targets(y).flatten(2))
    assert loss.item() < 1.5  # of normalized targets, whose variance is 1
    assert (model.eval()(x) - y).square().mean() < 1.5 * y.var()
