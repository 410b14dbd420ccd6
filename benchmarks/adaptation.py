"""Adaptation in one pass and error bars, which only a closed form gives, measured on Burgers' equation.

One model is trained at viscosity 0.1. Its head is solved again for 4, 16 and 64 samples of viscosity 0.05, and of the
training law itself, over many random draws of those samples; errors are means over 400 samples that none of the draws
contains. Peers are gradient descent on the last layer alone and on the whole model, each given the better of several
rates in hindsight and at least the time of the closed form. Error bars are calibrated on the validation samples and
measured in distribution and outside, at 256 and 8192 points. Interrupted, it goes on with the trained model.

    python -m benchmarks.adaptation [--work DIR] [--draws N]
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import nn
from torch.utils.data import Subset

from benchmarks.common import write_result
from data_gen import DatasetSpec, generate
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate.adaptation import adapt, adapted_posterior
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.head import find_head
from sciml_cf.head.posterior import LEVEL_IN_STD, Posterior, apply_with_std, relative_leverage
from sciml_cf.training.checkpoints import write_atomically
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import load, read_posterior


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        work: folder for the data and the trained models.
        epochs: epochs of the training at viscosity 0.1.
        l2_epochs: epochs of a second model, trained by gradients alone, whose error bars are measured too.
        resolution: grid points to train and adapt at.
        draws: random draws of the few samples, for each number of them.
        other_draws: draws on which other ways to choose are measured.
        peer_draws: draws on which the peers are run as well.
        bar_draws: draws on which the error bars of adapted heads are measured.
        few: numbers of samples to adapt to.
        test: samples that errors are measured on.
        fine: other grid points to measure error bars at (of the first model).
        fine_test: samples that error bars at 8192 points are measured on.
        seed: seed of training and of the draws.
    """

    work: Path = Path("runs/adaptation")
    epochs: int = 40
    l2_epochs: int = 40
    resolution: int = 256
    draws: int = 200
    other_draws: int = 50
    peer_draws: int = 1
    bar_draws: int = 5
    few: tuple[int, ...] = (4, 16, 64)
    test: int = 400
    fine: tuple[int, ...] = (8192,)
    fine_test: int = 100
    seed: int = 0


# name: settings of the file. Seeds other than the training file's 0, so that no sample is shared with it.
FILES: dict[str, dict[str, Any]] = {
    "training law": {"samples": 1024, "seed": 1},
    "viscosity 0.05": {"samples": 1024, "seed": 1, "parameters": {"viscosity": 0.05}},
    "amplitude x2": {"samples": 400, "seed": 2, "initial_parameters": {"sigma": 50.0}},
    "literal Laplacian": {"samples": 400, "seed": 2, "initial_parameters": {"laplacian": "domain"}},
}
TIMES = (1, 50)  # of the closed form
LAST_LAYER_RATES, WHOLE_RATES = (1e-3, 1e-2), (3e-4, 1e-3)


def make_data(config: Config) -> dict[str, Path]:
    """The training file and the four others."""
    config.work.mkdir(parents=True, exist_ok=True)
    paths = {}
    for name, settings in {"train": {"samples": 2048}, **FILES}.items():
        paths[name] = config.work / f"{name.replace(' ', '_')}.h5"
        if not paths[name].exists():
            generate(DatasetSpec(dtype="float32", **settings), paths[name], resume=True, progress=False)
    return paths


def main(config: Config) -> None:
    """Train, adapt, measure, write the result."""
    torch.set_num_threads(1)
    paths = make_data(config)
    figures: dict[str, Any] = {}
    for method, epochs in (("proximal", config.epochs), ("l2", config.l2_epochs)):
        run = config.work / f"run_{method}"
        fit_config = FitConfig(method=method, epochs=epochs, seed=config.seed, accelerator="cpu", normalize="none")
        train_on_file(paths["train"], run, fit_config, resolution=config.resolution, resume=True)
        model, known = load(run), read_posterior(run)
        parts = [error_bars] if method == "l2" else [error_bars, adaptation, peers, forms, adapted_error_bars]
        options = config if method == "proximal" else replace(config, fine=())
        figures[method] = {part.__name__: _once(part, method, model, known, paths, options) for part in parts}
    print(write_result("adaptation", config=config, seeds=[config.seed], figures=figures))


def _once(part: Callable[..., Any], method: str, *arguments: Any) -> Any:
    """What a part measures, from the work folder if it was measured there before."""
    path = arguments[-1].work / "parts" / f"{method}_{part.__name__}.json"
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        write_atomically(path, json.dumps(part(*arguments)))
    return json.loads(path.read_text())


def _split(path: Path, config: Config) -> tuple[FieldDataset, int]:
    data = FieldDataset(path, "all", resolution=config.resolution)
    return data, len(data) - config.test


def _error(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    return float((apply_in_batches(model, x, batch_size=32) - y).double().square().mean())


# Adaptation.


def adaptation(model: nn.Module, known: Posterior, paths: dict[str, Path], config: Config) -> list[dict[str, Any]]:
    """A row for each law, number of samples, and way of choosing: ratios of the test error over the draws."""
    rows = []
    ways: dict[str, dict[str, Any]] = {
        "default": {"prior": known},
        "identity": {},
        "gcv": {"prior": known, "choose": "gcv"},
    }
    for law in ("viscosity 0.05", "training law"):
        data, pool = _split(paths[law], config)
        # The test error of any head follows from the moments of the test samples: as exact, and far less work.
        test = adapt(copy.deepcopy(model), Subset(data, range(pool, len(data))), strength=torch.inf)
        before = test.training_error(test.previous)
        for few in config.few:
            for way, options in ways.items():
                draws = config.draws if way == "default" else config.other_draws
                drawn = [_draw(pool, few, config, index) for index in range(draws)]
                results = [_adapted(model, Subset(data, chosen), options) for chosen in drawn]
                ratios = [test.training_error(result.head) / before for result, _ in results]
                rows.append(
                    {
                        "law": law,
                        "samples": few,
                        "way": way,
                        "mse_before": before,
                        "draws": len(ratios),
                        "ratio_median": float(np.median(ratios)),
                        "ratio_mean": float(np.mean(ratios)),
                        "ratio_90": float(np.quantile(ratios, 0.9)),
                        "ratio_max": max(ratios),
                        "share_over_0.5": float(np.mean(np.array(ratios) > 0.5)),
                        "share_over_1.2": float(np.mean(np.array(ratios) > 1.2)),
                        "share_unchanged": float(np.mean([not result.changed for result, _ in results])),
                        "freedom_median": float(np.median([result.degrees_of_freedom for result, _ in results])),
                        "seconds_median": float(np.median([seconds for _, seconds in results])),
                    }
                )
                print(rows[-1], flush=True)
    return rows


def _draw(pool: int, few: int, config: Config, index: int) -> list[int]:
    return np.random.default_rng([config.seed, few, index]).permutation(pool)[:few].tolist()


def _adapted(model: nn.Module, data: Any, options: dict[str, Any]) -> tuple[Any, float]:
    copied = copy.deepcopy(model)
    start = time.process_time()
    return adapt(copied, data, **options), time.process_time() - start


# Peers: gradient descent from the same weights, on the same samples.


def peers(model: nn.Module, known: Posterior, paths: dict[str, Path], config: Config) -> list[dict[str, Any]]:
    """Errors at viscosity 0.05 after Adam on the last layer or on all, beside the closed form on the same draws."""
    data, pool = _split(paths["viscosity 0.05"], config)
    x, y = data.x[pool:], data.y[pool:]
    rows = []
    _adapted(model, Subset(data, range(4)), {"prior": known})  # the first call of a process sets libraries up
    for few in config.few:
        drawn = [_draw(pool, few, config, index) for index in range(config.peer_draws)]
        ours = []
        for chosen in drawn:
            copied = copy.deepcopy(model)
            start = time.process_time()
            adapt(copied, Subset(data, chosen), prior=known)
            seconds = time.process_time() - start
            ours.append((_error(copied, x, y), seconds))
        mean, seconds = (float(np.mean([value[place] for value in ours])) for place in (0, 1))
        rows.append({"samples": few, "peer": "closed form", "seconds": seconds, "mse": mean})
        for peer, rates in (("last layer, Adam", LAST_LAYER_RATES), ("whole model, Adam", WHOLE_RATES)):
            for times in TIMES:
                found = []
                for rate in rates:
                    errors = [_descend(model, data, one, rate, peer, times * seconds, x, y) for one in drawn]
                    found.append((float(np.mean(errors)), rate))
                error, rate = min(found)
                rows.append({"samples": few, "peer": peer, "seconds": times * seconds, "mse": error, "rate": rate})
        print(rows, flush=True)
    return rows


def _descend(
    model: nn.Module, data: FieldDataset, chosen: list[int], rate: float, peer: str, seconds: float, x: Any, y: Any
) -> float:
    """The test error after Adam for this process time on batches of at most 32 samples."""
    copied = copy.deepcopy(model).train()
    layer = find_head(copied)
    parameters = list(layer.parameters() if peer.startswith("last") else copied.parameters())
    for parameter in copied.parameters():
        parameter.requires_grad_(any(parameter is one for one in parameters))
    optimizer = torch.optim.Adam(parameters, lr=rate)
    inputs, targets = data.x[chosen], data.y[chosen]
    start, step = time.process_time(), 0
    while time.process_time() - start < seconds:
        batch = torch.arange(step * 32, step * 32 + min(32, len(chosen))) % len(chosen)
        optimizer.zero_grad()
        nn.functional.mse_loss(copied(inputs[batch]), targets[batch]).backward()
        optimizer.step()
        step += 1
    return _error(copied, x, y)


# Error bars.


def error_bars(model: nn.Module, known: Posterior, paths: dict[str, Path], config: Config) -> list[dict[str, Any]]:
    """Coverage of the 90 % interval and its width, in distribution and outside, at two resolutions."""
    rows = []
    for resolution in (config.resolution, *config.fine):
        sets = {"held out": FieldDataset(paths["train"], "test", resolution=resolution)}
        for name in FILES:
            sets[name] = FieldDataset(paths[name], "all", resolution=resolution)
        for name, data in sets.items():
            count = config.test if resolution == config.resolution else config.fine_test
            x, y = data.x[-count:], data.y[-count:]
            mean, std = apply_with_std(model, x, known, batch_size=8)
            rows.append({"inputs": name, "resolution": resolution, "samples": count, **_figures(mean - y, std)})
            print(rows[-1], flush=True)
    return rows


def adapted_error_bars(
    model: nn.Module, known: Posterior, paths: dict[str, Path], config: Config
) -> list[dict[str, Any]]:
    """The same at viscosity 0.05 for adapted heads with error bars of their own, mean over a few draws."""
    data, pool = _split(paths["viscosity 0.05"], config)
    rows = []
    for few in config.few:
        found = []
        for index in range(config.bar_draws):
            copied, chosen = copy.deepcopy(model), Subset(data, _draw(pool, few, config, index))
            result = adapt(copied, chosen, prior=known)
            own = adapted_posterior(copied, chosen, result, prior=known)
            mean, std = apply_with_std(copied, data.x[pool:], own)
            found.append(_figures(mean - data.y[pool:], std))
        rows.append({"samples": few, **{name: float(np.mean([one[name] for one in found])) for name in found[0]}})
        print(rows[-1], flush=True)
    return rows


def _figures(error: torch.Tensor, std: torch.Tensor) -> dict[str, float]:
    inside = (error.abs() <= LEVEL_IN_STD * std).double().flatten(1).mean(1)
    return {
        "coverage": float(inside.mean()),
        "width": float(2 * LEVEL_IN_STD * std.double().mean()),
        "rmse": float(error.double().square().mean().sqrt()),
        "samples_covered_half": float((inside >= 0.5).double().mean()),
    }


def forms(model: nn.Module, known: Posterior, paths: dict[str, Path], config: Config) -> list[dict[str, Any]]:
    """Other forms with one number, std^2 = a (c + leverage): what the constant c does to coverage and width."""
    sets = {
        "validation": FieldDataset(paths["train"], "validation", resolution=config.resolution),
        "held out": FieldDataset(paths["train"], "test", resolution=config.resolution),
    }
    for name in ("amplitude x2", "literal Laplacian"):
        sets[name] = FieldDataset(paths[name], "all", resolution=config.resolution)
    seen = {name: _errors_and_leverage(model, known, data) for name, data in sets.items()}
    rows = []
    rows_behind = float(known.weight)
    constants = {"0": 0.0, "1": 1.0, "samples / F": rows_behind / config.resolution / len(known.gram)}
    constants["rows / F"] = rows_behind / len(known.gram)
    for name, constant in constants.items():
        std = {key: (constant + leverage).sqrt() for key, (_, leverage) in seen.items()}
        ratio = (seen["validation"][0].abs() / std["validation"]).numpy()
        scale = float(np.quantile(ratio, 0.9)) / LEVEL_IN_STD
        row: dict[str, Any] = {"constant": name}
        for key, (error, _) in seen.items():
            row[f"coverage {key}"] = float((error.abs() <= LEVEL_IN_STD * scale * std[key]).double().mean())
            row[f"width {key}"] = float(std[key].mean() / std["validation"].mean())
        held = scale * std["held out"]
        row["negative log-likelihood"] = float((held.log() + 0.5 * (seen["held out"][0] / held).square()).mean())
        rows.append(row)
        print(row, flush=True)
    return rows


def _errors_and_leverage(model: nn.Module, known: Posterior, data: FieldDataset) -> tuple[torch.Tensor, torch.Tensor]:
    caught: list[torch.Tensor] = []
    hook = find_head(model).register_forward_hook(
        lambda _, inputs, __: caught.append(relative_leverage(known.factor, inputs[0].movedim(1, -1)))
    )
    prediction = apply_in_batches(model, data.x, batch_size=32)
    hook.remove()
    return (prediction - data.y).double().flatten(), torch.cat(caught).flatten()


if __name__ == "__main__":
    main(tyro.cli(Config))
