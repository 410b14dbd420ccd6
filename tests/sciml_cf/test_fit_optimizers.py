"""Optimizers of the backbone: by name, of one's own, with schedules of torch's; resumed to the same bits."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau
from torch.utils.data import TensorDataset

from sciml_cf import FitConfig, fit
from sciml_cf.models import FNOConfig
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.real_views import RealViews
from sciml_cf.training.run_folder import read_history
from tests.sciml_cf.test_cli import call


def fno(seed: int = 0) -> nn.Module:
    """A Fourier neural operator, whose spectral weights are complex."""
    return FNOConfig(width=6, modes=4, layers=2).build(seed=seed)


def data(samples: int = 24, points: int = 16) -> TensorDataset:
    """Sums of three waves, and the same moved on by a quarter of the domain."""
    waves = torch.arange(1, 4)[:, None] * torch.arange(points) * (2 * torch.pi / points)
    strengths = torch.randn(samples, 2, 3, generator=torch.Generator().manual_seed(1))
    x = (strengths[:, 0] @ waves.sin() + strengths[:, 1] @ waves.cos())[:, None]
    return TensorDataset(x, x.roll(points // 4, -1))


def trained(out: Path, epochs: int = 3, until: int | None = None, **words: Any) -> dict[str, torch.Tensor]:
    """The last weights of a training of a small operator, resumed where the folder has a run."""
    known = [name for name in FitConfig.__dataclass_fields__ if name in words and not callable(words[name])]
    fields = {name: words.pop(name) for name in known}
    config = FitConfig(**{"epochs": epochs, "batch_size": 8, "accelerator": "cpu", **fields})
    fit(fno(), data(), data(8), config=config, out=out, progress=False, resume=out.exists(), until=until, **words)
    return read_tensors(out / "weights_last.pt")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


NAMED = [pytest.param({"optimizer": name}, id=name) for name in ("sgd", "adam", "adamw", "soap")]
OWN = [
    pytest.param({"optimizer": lambda p: torch.optim.NAdam(p, lr=3e-3)}, id="nadam"),
    pytest.param({"optimizer": lambda p: torch.optim.LBFGS(p, lr=0.5, max_iter=4)}, id="lbfgs"),
    pytest.param({"schedule": lambda o: OneCycleLR(o, 1e-2, total_steps=9)}, id="one cycle"),
]


@pytest.mark.parametrize("method", ["l2", "proximal"])
@pytest.mark.parametrize("words", [*NAMED, *OWN])
def test_a_training_descends_and_resumes_to_the_same_bits(tmp_path, words, method):
    if words.get("optimizer") == "soap":
        pytest.importorskip("pytorch_optimizer")
    own = {} if isinstance(words.get("optimizer"), str) else words
    words = {} if own else words
    rate = {"learning_rate": 1e-2} if words.get("optimizer") == "sgd" else {}
    whole = trained(tmp_path / "whole", method=method, **words, **own, **rate)
    trained(tmp_path / "parts", method=method, until=1, **words, **own, **rate)
    assert same(trained(tmp_path / "parts", method=method, **words, **own, **rate), whole)
    rows = read_history(tmp_path / "whole")
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]


def test_what_is_handed_over_is_real_and_moves_the_complex_parameters(tmp_path):
    seen: list[nn.Parameter] = []

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        seen.extend(parameters)
        return torch.optim.Adam(parameters, lr=3e-3)

    own = trained(tmp_path / "own", optimizer=make)
    assert seen and not any(one.is_complex() for one in seen)
    assert any(value.is_complex() for value in own.values())
    named = trained(tmp_path / "named")
    for name, value in named.items():
        torch.testing.assert_close(own[name], value, rtol=1e-4, atol=1e-6)
    settings = json.loads((tmp_path / "own" / "run.json").read_text())["fit"]
    assert settings["optimizer"] == "optim.adam.Adam" and settings["learning_rate"] == 3e-3


def test_clipping_reaches_complex_parameters():
    weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    views = RealViews([weight])
    (weight.abs() ** 2).sum().backward()
    views.take_gradients()
    nn.utils.clip_grad_norm_(views.parameters, 1e-3)
    assert weight.grad is not None and weight.grad.abs().max() < 1e-3
    torch.optim.SGD(views.parameters, lr=1.0).step()
    assert 0.99 < weight.abs().max() < 1.0


def test_lbfgs_minimises_at_the_head_solved_anew(tmp_path):
    words: Any = {"epochs": 8, "batch_size": 24, "normalize": "none"}
    own = {"optimizer": lambda p: torch.optim.LBFGS(p, max_iter=10, line_search_fn="strong_wolfe")}
    for method in ("l2", "proximal"):
        trained(tmp_path / f"lbfgs {method}", method=method, **words, **own)
        trained(tmp_path / f"adam {method}", method=method, **words)
        ours, theirs = (read_history(tmp_path / f"{one} {method}")[-1]["train_loss"] for one in ("lbfgs", "adam"))
        assert ours < 0.5 * theirs


def test_a_schedule_of_torchs_advances_with_every_step(tmp_path):
    trained(tmp_path / "run", schedule=lambda o: OneCycleLR(o, 1e-2, total_steps=9))
    other = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=3e-3)
    schedule, rates = OneCycleLR(other, 1e-2, total_steps=9), []
    for step in range(9):
        other.step()
        schedule.step() if step < 8 else None
        rates.append(other.param_groups[0]["lr"])
    assert read_history(tmp_path / "run")[0]["learning_rate"] == pytest.approx(rates[2])
    assert json.loads((tmp_path / "run" / "run.json").read_text())["fit"]["schedule"].endswith("OneCycleLR")


def test_rates_of_groups_follow_the_schedule(tmp_path):
    groups: list[dict[str, Any]] = []

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        made = torch.optim.SGD([{"params": parameters[:1], "lr": 1e-3}, {"params": parameters[1:], "lr": 1e-2}])
        groups.extend(made.param_groups)
        return made

    trained(tmp_path / "run", optimizer=make)
    first, second = (group["lr"] for group in groups)
    assert 0 < first < 1e-3 and second == pytest.approx(10 * first)


def test_weight_decay_is_said_not_to_reach_a_solved_head(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        decayed = trained(tmp_path / "decayed", optimizer="adamw", weight_decay=100.0)
    assert "weight decay acts on the backbone alone: the head is solved and has none" in caplog.text
    plain = trained(tmp_path / "plain", optimizer="adamw", weight_decay=0.0)
    name = next(name for name, value in plain.items() if value.is_complex())
    assert decayed[name].abs().mean() < 0.5 * plain[name].abs().mean()


def test_another_optimizer_is_not_resumed_with(tmp_path):
    trained(tmp_path / "run", until=1, optimizer=lambda p: torch.optim.NAdam(p, lr=3e-3))
    with pytest.raises(Exception, match="optimizer"):
        trained(tmp_path / "run", optimizer=lambda p: torch.optim.RAdam(p, lr=3e-3))


BAD = [
    ({"weight_decay": -1.0}, ValueError, r"`weight_decay` must be at least 0 and finite; got -1\.0"),
    ({"betas": (0.9, 1.0)}, ValueError, "`betas` must be two numbers"),
    ({"optimizer": "sgd", "betas": (0.9, 0.99)}, ValueError, "`betas` must be left out with optimizer 'sgd'"),
    ({"optimizer": "muon"}, ValueError, "`optimizer` must be one of 'sgd', 'adam', 'adamw', 'soap'; got 'muon'"),
]
BAD_OWN: list[tuple[dict[str, Any], dict[str, Any], type[Exception], str]] = [
    ({"optimizer": lambda p: None}, {}, TypeError, "must map parameters to a torch.optim.Optimizer; got a NoneType"),
    ({"optimizer": lambda p: torch.optim.SGD([nn.Parameter(torch.zeros(2))])}, {}, ValueError, "got 1 others"),
    ({"optimizer": torch.optim.NAdam}, {"learning_rate": 1e-3}, ValueError, "`learning_rate` must be left out of the"),
    ({"optimizer": torch.optim.NAdam}, {"weight_decay": 0.1}, ValueError, "`weight_decay` must be left out of the"),
    ({"schedule": lambda o: 3}, {}, TypeError, "LRScheduler; got a int"),
    ({"schedule": ReduceLROnPlateau}, {}, ValueError, "Use the configuration's schedule='plateau'"),
]


@pytest.mark.parametrize(("fields", "kind", "message"), BAD)
def test_bad_settings_are_refused(fields, kind, message):
    with pytest.raises(kind, match=message):
        FitConfig(**fields)


@pytest.mark.parametrize(("own", "fields", "kind", "message"), BAD_OWN)
def test_bad_makers_are_refused_before_anything_is_written(tmp_path, own, fields, kind, message):
    with pytest.raises(kind, match=message):
        trained(tmp_path / "run", **fields, **own)
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, capsys, burgers_file):
    monkeypatch.setitem(__import__("sys").modules, "pytorch_optimizer", None)
    with pytest.raises(ImportError, match=r"pip install 'sciml-cf\[soap\]'"):
        trained(tmp_path / "run", optimizer="soap")
    status, out, error = call(
        capsys, "train", "--data", burgers_file, "--out", tmp_path / "run", "--optimizer", "soap", "--epochs", 1
    )
    assert status == 2 and not out and "sciml-cf[soap]" in error and not (tmp_path / "run").exists()


def test_the_command_line_knows_them(tmp_path, capsys, burgers_file):
    words = ("train", "--data", burgers_file, "--out", tmp_path / "run", "--epochs", 1, "--width", 6, "--modes", 4)
    status, _, error = call(
        capsys, *words, "--optimizer", "adamw", "--weight-decay", 1e-3, "--betas", 0.8, 0.99, "--resolution", 64
    )
    assert status == 0, error
    settings = json.loads((tmp_path / "run" / "run.json").read_text())["fit"]
    assert (settings["optimizer"], settings["weight_decay"], settings["betas"]) == ("adamw", 1e-3, [0.8, 0.99])
    assert call(capsys, *words, "--optimizer", "adamw", "--weight-decay", 1e-3, "--betas", 0.8, 0.99,
                "--resolution", 64, "--resume")[0] == 0  # fmt: skip
