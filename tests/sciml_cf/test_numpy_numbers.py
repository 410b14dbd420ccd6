"""Numbers of numpy and torch as settings, as they come from np.logspace, a grid or a table."""

from __future__ import annotations

import io
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from torch import nn

from data_gen import DatasetSpec, generate
from sciml_cf import ClosedFormLoss, FitConfig, evaluate_transfer, fit, load
from sciml_cf.errors import is_finite
from sciml_cf.head.registry import describe_rule, rule_named, rule_names
from sciml_cf.models import FNOConfig
from sciml_cf.plain import plain_json
from tests.problems import Shifted

SINGLE = np.float32


def of_numpy(value: Any) -> Any:
    """A setting as numpy has it; floats in single precision."""
    if isinstance(value, tuple):
        return np.array(value, dtype=SINGLE)
    return np.int64(value) if isinstance(value, int) and not isinstance(value, bool) else SINGLE(value)


def in_numpy(name: str) -> Any:
    kind = rule_named(name).kind
    usual = kind()
    numbers = {one.name: getattr(usual, one.name) for one in fields(usual) if one.init}
    kinds = (int, float, tuple)
    return kind(**{key: of_numpy(value) for key, value in numbers.items() if isinstance(value, kinds)})


@pytest.mark.parametrize("width", [4, 120])  # heads that numpy solves, and that torch solves
@pytest.mark.parametrize("name", rule_names())
def test_every_rule_takes_them(name: str, width: int) -> None:
    torch.manual_seed(0)
    x, y = torch.rand(64, 3), torch.rand(64, 2)
    model = nn.Sequential(nn.Linear(3, width), nn.Tanh(), nn.Linear(width, 2))
    loss_of = ClosedFormLoss(model[-1], in_numpy(name))
    for _ in range(3):
        value = loss_of(model(x), y)
        value.backward()
    assert torch.isfinite(value)
    kept = io.BytesIO()
    torch.save(loss_of.state_dict(), kept)
    kept.seek(0)
    loss_of.load_state_dict(torch.load(kept, weights_only=True))
    stored = describe_rule(in_numpy(name))
    assert json.loads(json.dumps(stored)) == stored
    usual = rule_named(name).kind()
    for key, value in stored["settings"].items():  # as numbers, not as the text of numpy's
        assert value == pytest.approx(getattr(usual, key))


def train(out: Path, *, resume: bool = False, describe: dict[str, Any] | None = None, **settings: Any) -> None:
    model = FNOConfig(width=np.int64(4), modes=np.int32(3), layers=np.int64(1)).build(seed=np.int64(2))
    config = FitConfig(epochs=np.int64(2), accelerator="cpu", **settings)
    data = Shifted(16, points=8), Shifted(4, points=8, seed=1)
    fit(model, *data, config=config, out=out, resume=resume, describe=describe, progress=False)


@pytest.mark.parametrize("method", ["proximal", "rule", "l2"])
def test_fit_stores_resumes_and_loads_a_run_of_them(tmp_path: Path, method: str) -> None:
    settings: dict[str, Any] = {
        "method": in_numpy("proximal") if method == "rule" else method,
        "batch_size": np.int64(4),
        "learning_rate": np.logspace(-3, -2, 3)[1],
        "clip": SINGLE(1),
        "betas": np.array([0.9, 0.99]),
        "seed": np.uint8(3),
        "noise": torch.tensor(0.0),
    }
    train(tmp_path / "run", **settings)
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (stored["fit"]["batch_size"], stored["fit"]["betas"], stored["fit"]["seed"]) == (4, [0.9, 0.99], 3)
    assert stored["model"]["arguments"]["width"] == 4
    train(tmp_path / "run", resume=True, **settings)
    plain = {**settings, "batch_size": 4, "learning_rate": 10**-2.5, "clip": 1.0, "betas": (0.9, 0.99), "seed": 3}
    train(tmp_path / "run", resume=True, **{**plain, "noise": 0.0})
    assert sum(one.numel() for one in load(tmp_path / "run").parameters()) > 0


def test_what_cannot_be_stored_is_refused_and_the_run_before_stays(tmp_path: Path) -> None:
    train(tmp_path / "run")
    before = (tmp_path / "run" / "run.json").read_bytes()
    with pytest.raises(ValueError, match=r"`describe` must hold text, numbers, lists and dictionaries.* a Linear\.$"):
        train(tmp_path / "run", resume=True, describe={"data": {"layer": nn.Linear(1, 1)}})
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    assert [one.name for one in tmp_path.iterdir()] == ["run"]


def test_settings_as_json_stores_them() -> None:
    given = {
        "file": Path("a.h5"),
        "points": np.arange(2),
        "share": SINGLE(0.5),
        "none": None,
        "pair": (1, torch.ones(1)),
    }
    assert plain_json(given, "f") == {"file": "a.h5", "points": [0, 1], "share": 0.5, "none": None, "pair": [1, [1.0]]}


def test_a_number_is_pythons_or_numpys_and_no_bool() -> None:
    good = (1, 0.5, SINGLE(0.5), np.int8(3), np.float64(2))
    bad = (True, np.bool_(True), np.nan, np.inf, "1", None, 1j, [1])
    assert all(map(is_finite, good)) and not any(map(is_finite, bad))


def test_evaluate_transfer_takes_an_array_one_number_and_a_run(tmp_path: Path) -> None:
    spec = DatasetSpec("heat", samples=np.int64(12), resolution=np.int64(16), times=np.array([0.5]), dtype="float32")
    generate(spec, tmp_path / "data.h5")
    train(tmp_path / "run", normalize="none")
    run, data = tmp_path / "run", tmp_path / "data.h5"

    def errors(model: Any, resolutions: Any) -> xr.DataArray:
        return evaluate_transfer(model, data, resolutions=resolutions, fitted_baselines=False).mse

    xr.testing.assert_identical(errors(run, np.array([8, 16])), errors(load(run), [8, 16]))
    assert errors(str(run), np.int64(8)).resolution == [8]
    with pytest.raises(ValueError, match=r"`resolutions` must be an integer of at least 1; got '16'"):
        errors(run, "16")
