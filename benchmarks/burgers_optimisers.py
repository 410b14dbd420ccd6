"""The closed-form head against gradients in the paper's Burgers setting, each method at its best settings, three seeds.

Selection: every method gets the same number of trials (learning rate, and strength where it has one) with one seed
and half the epochs, judged on the validation set. Report: the winner with three other seeds, over all epochs, mean
squared error over the 400 test samples on the 8192-point grid. Interrupted, it goes on where it stopped.

    python -m benchmarks.burgers_optimisers [--work DIR] [--processes N]
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from benchmarks.common import run_grid, write_result


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        work: folder for the data and the runs.
        processes: trials at a time.
        samples: samples of the dataset.
        epochs: epochs of a reported run.
        selection_epochs: epochs of a trial.
        batch_size: samples a step.
        resolution: grid points to train at.
        seeds: seeds that report.
        selection_seed: the seed that selects.
    """

    work: Path = Path("runs/burgers_optimisers")
    processes: int = 1
    samples: int = 2048
    epochs: int = 40
    selection_epochs: int = 20
    batch_size: int = 32
    resolution: int = 256
    seeds: tuple[int, ...] = (1, 2, 3)
    selection_seed: int = 0


# Two epochs of warm-up for every SGD run: without it a high rate throws the small initial features far in the first
# steps on some seeds, and what follows is slow.
SGD = {"optimizer": "sgd", "schedule": "constant", "warmup": 90}
ADAM = {"optimizer": "adam", "schedule": "cosine"}


def _grid(rates: tuple[float, ...], strengths: tuple[float | None, ...]) -> list[dict[str, Any]]:
    return [{"learning_rate": rate, "strength": strength} for rate in rates for strength in strengths]


# name: (fixed settings, trials). Six trials for every method.
METHODS: dict[str, tuple[dict[str, Any], list[dict[str, Any]]]] = {
    "sgd l2": ({**SGD, "method": "l2"}, _grid((0.1, 0.2, 0.3, 0.5, 0.7, 1.0), (None,))),
    "sgd proximal": (
        {**SGD, "method": "proximal", "algorithm": 1},
        _grid((1.0, 2.0, 4.0), (1e-3, 1e-2)),
    ),
    "adam l2": ({**ADAM, "method": "l2"}, _grid((5e-4, 1e-3, 2e-3, 3e-3, 5e-3, 1e-2), (None,))),
    "adam proximal": (
        {**ADAM, "method": "proximal", "algorithm": 2},
        _grid((1e-3, 3e-3, 1e-2), (1e-3, 1e-2)),
    ),
}


def train_trial(trial: dict[str, Any]) -> dict[str, Any]:
    """One training; its validation errors, and for a reported run the test errors too."""
    import torch

    from sciml_cf.errors import TrainingDiverged
    from sciml_cf.evaluate.run import evaluate_run
    from sciml_cf.training.config import FitConfig
    from sciml_cf.training.on_file import train_on_file

    torch.set_num_threads(1)
    data, out = Path(trial["data"]), Path(trial["out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    config = FitConfig(accelerator="cpu", normalize="none", **trial["fit"])
    try:
        history = train_on_file(data, out, config, resolution=trial["resolution"], resume=True)
    except TrainingDiverged as error:
        return {**_named(trial), "diverged": str(error).split("kept in")[0]}
    result = {
        **_named(trial),
        "best_validation_mse": history.best["validation_mse"],
        "last_validation_mse": history.rows[-1]["validation_mse"],
        "seconds": sum(row["seconds"] for row in history.rows),
    }
    if trial["evaluate"]:
        for which in ("last", "best"):
            errors = evaluate_run(out, data, trial["evaluate"], which=which)
            result[f"test_{which}"] = [
                {
                    "resolution": int(n),
                    "output": str(output),
                    "mse": float(errors["mse"].sel(resolution=n, output=output)),
                }
                for n in errors["resolution"].values
                for output in errors["output"].values
            ]
            result["baseline_mse"] = {
                str(name): float(errors["baseline_mse"].sel(baseline=name)) for name in errors["baseline"].values
            }
    return result


def _named(trial: dict[str, Any]) -> dict[str, Any]:
    return {"name": trial["name"], "fit": trial["fit"]}


def main(config: Config) -> None:
    """Generate, select, report, write the result."""
    from data_gen import DatasetSpec, generate

    config.work.mkdir(parents=True, exist_ok=True)
    data = config.work / "burgers.h5"
    if not data.exists():
        generate(DatasetSpec(samples=config.samples, dtype="float32"), data, resume=True)

    def trial(name: str, settings: dict[str, Any], epochs: int, seed: int, evaluate: list[int]) -> dict[str, Any]:
        fit = {**settings, "batch_size": config.batch_size, "epochs": epochs, "seed": seed}
        out = str(config.work / "runs" / name)
        return {
            "name": name,
            "fit": fit,
            "data": str(data),
            "out": out,
            "resolution": config.resolution,
            "evaluate": evaluate,
        }

    selection = {
        method: [
            trial(f"select {method} {index}", {**fixed, **options}, config.selection_epochs, config.selection_seed, [])
            for index, options in enumerate(options_of)
        ]
        for method, (fixed, options_of) in METHODS.items()
    }
    folder = config.work / "trials"
    run_grid(
        [t for trials in selection.values() for t in trials], train_trial, folder=folder, processes=config.processes
    )
    selected, reports = {}, {}
    for method, trials in selection.items():
        results = run_grid(trials, train_trial, folder=folder, processes=1)
        sound = [result for result in results if "diverged" not in result]
        best = min(sound, key=lambda result: result["best_validation_mse"])
        selected[method] = {"learning_rate": best["fit"]["learning_rate"], "strength": best["fit"]["strength"]}
        reports[method] = [
            trial(
                f"report {method} seed {seed}",
                {**METHODS[method][0], **selected[method]},
                config.epochs,
                seed,
                [config.resolution, 8192],
            )
            for seed in config.seeds
        ]
    run_grid([t for trials in reports.values() for t in trials], train_trial, folder=folder, processes=config.processes)
    figures = {
        "selection": {m: run_grid(t, train_trial, folder=folder, processes=1) for m, t in selection.items()},
        "selected": selected,
        "reports": {m: run_grid(t, train_trial, folder=folder, processes=1) for m, t in reports.items()},
    }
    figures["summary"] = summary(figures["reports"])
    print(write_result("burgers_optimisers", config=config, seeds=config.seeds, figures=figures))


def summary(reports: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Mean and range over seeds of the test error at 8192 points, and the ratios that the question is about."""
    table: dict[str, Any] = {}
    for method, runs in reports.items():
        errors = [_at(run["test_best"], 8192, "native") for run in runs if "diverged" not in run]
        table[method] = {
            "mse_8192_mean": statistics.fmean(errors),
            "mse_8192": errors,
            "diverged": len(runs) - len(errors),
            "mse_8192_last_epoch": [_at(run["test_last"], 8192, "native") for run in runs if "diverged" not in run],
            "native_8192_over_native_256": [
                _at(run["test_best"], 8192, "native") / _at(run["test_best"], 256, "native")
                for run in runs
                if "diverged" not in run
            ],
            "fourier_256_over_native_256": [
                _at(run["test_best"], 256, "fourier") / _at(run["test_best"], 256, "native")
                for run in runs
                if "diverged" not in run
            ],
        }
    for optimizer in ("sgd", "adam"):
        ours, theirs = table[f"{optimizer} proximal"], table[f"{optimizer} l2"]
        table[f"{optimizer} proximal over l2"] = ours["mse_8192_mean"] / theirs["mse_8192_mean"]
    return table


def _at(rows: list[dict[str, Any]], resolution: int, output: str) -> float:
    (row,) = [row for row in rows if row["resolution"] == resolution and row["output"] == output]
    return row["mse"]


if __name__ == "__main__":
    main(tyro.cli(Config))
