"""Comparison of rules and strengths: three questions, whose answers fill docs/results_rules.md.

Burgers: every rule of a list at three learning rates and its strengths, three seeds, 20 epochs with Adam: validation
error and test error on the full grid. Scales: the strength that a rule finds by itself against the best of a grid of
fixed ones, with the head's input multiplied by 1e-2, 1 and 100. Rows: what a solve on fewer rows than features costs.

Finished trainings are kept in WORK, and the result file is written anew after each round (one seed of all rules), so
that an interrupted run loses little and goes on where it stopped.

    OMP_NUM_THREADS=1 python -m benchmarks.rules [--work DIR]
"""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common import run_grid, write_result

# In order of interest: an interrupted round has the first ones.
RATES = (3e-3, 1e-2, 1e-3)
RULES: tuple[tuple[str, tuple[float | None, ...]], ...] = (
    ("kalman", (None,)),
    ("proximal", (1e-2,)),
    ("l2", (None,)),
    ("automatic", (None,)),
    ("proximal", (1e-3, 1e-1)),
    ("streaming", (None,)),
    ("per-feature", (None,)),
)


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        work: folder for the data and the trainings.
        samples: samples of the dataset.
        epochs: epochs of a training.
        batch_size: samples a step.
        resolution: grid points to train at; errors are measured on 8192.
        seeds: seeds of the trainings.
        scales: numbers that the head's input is multiplied by, in the second question.
        strengths: fixed strengths there, relative to the square of the scale.
        noises: standard deviations of the noise of the targets there.
        steps: steps of the second question.
        rows: rows a step there.
        width: features there.
        wide: features of the third question.
        few: rows of the third question.
        rounds: turns of each way to solve there.
        parts: which questions to answer.
    """

    work: Path = Path("runs/rules")
    samples: int = 2048
    epochs: int = 20
    batch_size: int = 32
    resolution: int = 256
    seeds: tuple[int, ...] = (1, 2, 3)
    scales: tuple[float, ...] = (1e-2, 1.0, 1e2)
    strengths: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    noises: tuple[float, ...] = (0.0, 0.05)
    steps: int = 400
    rows: int = 64
    width: int = 64
    wide: int = 4096
    few: int = 256
    rounds: int = 3
    parts: tuple[str, ...] = field(default=("few_rows", "scales", "burgers"))


# Burgers.


def train_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """One training, its validation errors and its test error on the full grid."""
    import torch

    from sciml_cf.errors import TrainingDiverged
    from sciml_cf.evaluate.run import evaluate_run
    from sciml_cf.training.config import FitConfig
    from sciml_cf.training.on_file import train_on_file

    torch.set_num_threads(1)
    data, out = Path(trial["data"]), Path(trial["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    config = FitConfig(
        accelerator="cpu", normalize="none", optimizer="adam", schedule="cosine", algorithm=2, **trial["fit"]
    )
    try:
        history = train_on_file(data, out, config, resolution=trial["resolution"], resume=True)
    except TrainingDiverged as error:
        return {"name": trial["name"], "fit": trial["fit"], "diverged": str(error).split("The checkpoint")[0]}
    errors = evaluate_run(out, data, [8192], which="best")
    return {
        "name": trial["name"],
        "fit": trial["fit"],
        "best_validation_mse": history.best["validation_mse"],
        "last_validation_mse": history.rows[-1]["validation_mse"],
        "test_mse_8192": float(errors["mse"].sel(resolution=8192, output="native")),
        "seconds": sum(row["seconds"] for row in history.rows),
    }


def burgers_trials(config: Config, data: Path, seed: int) -> list[dict[str, Any]]:
    """All rules, strengths and learning rates with one seed."""
    kinds = [(method, strength) for method, strengths in RULES for strength in strengths]
    trials = []
    for rate in RATES:
        for method, strength in kinds:
            name = f"{method}, strength {strength}, rate {rate}, seed {seed}"
            fit = {"method": method, "learning_rate": rate, "strength": strength, "seed": seed}
            trials.append(
                {
                    "name": name,
                    "fit": {**fit, "batch_size": config.batch_size, "epochs": config.epochs},
                    "data": str(data),
                    "out": str(config.work / "runs" / name),
                    "resolution": config.resolution,
                }
            )
    return trials


def summary(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each rule, strength and learning rate: errors over the seeds that are there."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for result in results:
        key = tuple(result["fit"][name] for name in ("method", "strength", "learning_rate"))
        groups.setdefault(key, []).append(result)
    rows = []
    for (method, strength, rate), runs in groups.items():
        sound = [run for run in runs if "diverged" not in run]
        row: dict[str, Any] = {"method": method, "strength": strength, "learning_rate": rate}
        row |= {"runs": len(runs), "diverged": len(runs) - len(sound)}
        if sound:
            row["validation_mse"] = statistics.fmean(run["best_validation_mse"] for run in sound)
            row["test_mse_8192"] = statistics.fmean(run["test_mse_8192"] for run in sound)
            row["test_mse_8192_of_seeds"] = {str(run["fit"]["seed"]): run["test_mse_8192"] for run in sound}
        rows.append(row)
    return rows


# Scales of the features.


def scale_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """Test error over the variance of a small network whose features are multiplied by a number: fresh rows a step."""
    import torch
    from torch import nn

    from sciml_cf.head import ClosedFormLoss
    from sciml_cf.head.registry import rule_named

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(trial["seed"])
    waves, amplitude = torch.randn(4, 64, generator=generator) / 2, torch.randn(64, 1, generator=generator) / 8
    shift = 2 * math.pi * torch.rand(64, generator=generator)

    def draw(rows: int) -> Any:
        x = torch.randn(rows, 4, generator=generator)
        return x, torch.cos(x @ waves + shift) @ amplitude

    class Times(nn.Module):
        def forward(self, x: Any) -> Any:
            return trial["scale"] * x

    test_x, test_y = draw(4096)
    torch.manual_seed(trial["seed"])
    width, steps = trial["width"], trial["steps"]
    hidden = (nn.Linear(4, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), Times())
    model = nn.Sequential(*hidden, nn.Linear(width, 1))
    loss_of = ClosedFormLoss(model[-1], rule_named(trial["rule"]).make("rules", **trial["settings"]))
    optimizer = torch.optim.Adam((p for p in model.parameters() if p.requires_grad), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x, y = draw(trial["rows"])
        optimizer.zero_grad()
        loss_of(model(x), y + trial["noise"] * torch.randn(y.shape, generator=generator)).backward()
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        error = nn.functional.mse_loss(model(test_x), test_y) / test_y.var()
    return {"name": trial["name"], "test_mse_over_variance": error.item()}


def scales(config: Config) -> list[dict[str, Any]]:
    """A row for each noise and scale: the fixed strengths, the rules that need none, and their ratio to the best."""
    free: dict[str, tuple[str, dict[str, Any]]] = {
        name: (name, {})
        for name in ("automatic", "sampled-gcv", "per-feature", "kalman", "streaming", "moving-average")
    }
    rows = []
    for noise in config.noises:
        for scale in config.scales:
            rules = {f"proximal {s:g}": ("proximal", {"strength": s * scale**2}) for s in config.strengths} | free
            errors = {
                name: [_scale_error(config, noise, scale, seed, name, *rule) for seed in config.seeds]
                for name, rule in rules.items()
            }
            means = {name: statistics.fmean(values) for name, values in errors.items()}
            best = min((name for name in means if name not in free), key=lambda name: means[name])
            ratios = {name: means[name] / means[best] for name in free}
            row = {"noise": noise, "scale": scale, "best": best, "over_best": ratios}
            rows.append({**row, "test_mse_over_variance": means, "of_seeds": errors})
            print(row, flush=True)
    return rows


def _scale_error(
    config: Config, noise: float, scale: float, seed: int, name: str, rule: str, settings: dict[str, Any]
) -> float:
    trial = {"name": name, "noise": noise, "scale": scale, "seed": seed, "rule": rule, "settings": settings}
    trial |= {"steps": config.steps, "rows": config.rows, "width": config.width}
    return scale_trial(trial)["test_mse_over_variance"]


# Fewer rows than features.


def few_rows(config: Config) -> dict[str, Any]:
    """Moments and solve of few rows of many features: the system of the rows against that of the features."""
    import torch

    from benchmarks.head_steps import against, take_turns
    from sciml_cf.head import Moments
    from sciml_cf.head.solve import solve_head

    torch.set_num_threads(1)
    torch.manual_seed(0)
    features, targets = torch.randn(config.few, config.wide), torch.randn(config.few, 1)
    previous = torch.randn(config.wide, 1, dtype=torch.float64)
    heads: dict[str, Any] = {}

    def by_rows() -> None:
        moments = Moments.from_batch(features, targets)
        heads["rows"] = solve_head(moments, penalty=1e-2, previous=previous).head

    def by_features() -> None:
        moments = Moments.from_batch(features, targets)
        products = Moments(moments.gram, moments.cross, moments.target_square, moments.weight)
        heads["features"] = solve_head(products, penalty=1e-2, previous=previous).head

    figures = against(take_turns({"rows": by_rows, "features": by_features}, config.rounds, "cpu"), "rows")
    difference = (heads["rows"] - heads["features"]).norm() / heads["features"].norm()
    return {"features": config.wide, "rows": config.few, **figures, "relative_difference": difference.item()}


def main(config: Config) -> None:
    """Answer, writing the result file after each question and each round."""
    import json

    from benchmarks.common import RESULTS

    path = RESULTS / "rules.json"
    figures: dict[str, Any] = json.loads(path.read_text())["figures"] if path.exists() else {}
    for name, question in {"few_rows": few_rows, "scales": scales}.items():
        if name in config.parts:
            figures[name] = question(config)
            write_result("rules", config=config, seeds=config.seeds, figures=figures)
    if "burgers" in config.parts:
        data = _generate(config)
        trials = [trial for seed in config.seeds for trial in burgers_trials(config, data, seed)]
        folder = config.work / "trials"
        for trial in trials:
            run_grid([trial], train_trial, folder=folder, processes=1)
            done = [other for other in trials if (folder / f"{other['name']}.json").exists()]
            found = run_grid(done, train_trial, folder=folder, processes=1)
            figures["burgers"] = {"summary": summary(found), "runs": found, "trials": len(trials)}
            write_result("rules", config=config, seeds=config.seeds, figures=figures)


def _generate(config: Config) -> Path:
    from data_gen import DatasetSpec, generate

    config.work.mkdir(parents=True, exist_ok=True)
    data = config.work / "burgers.h5"
    if not data.exists():
        generate(DatasetSpec(samples=config.samples, dtype="float32"), data, resume=True)
    return data


if __name__ == "__main__":
    main(tyro.cli(Config))
