"""Costs and gains of the default normalization on periodic Burgers in the paper's setting, seed by seed.

    python -m benchmarks.normalization [--epochs 20] [--work runs/normalization]

Each seed is trained twice by the default method, on normalized fields and on the fields as given; the test error is
measured on the training grid of 256 points and on the stored one of 8192. It can be interrupted and goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

from benchmarks.common import run_grid, write_result
from data_gen import DatasetSpec, generate
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file


@dataclass(frozen=True)
class Config:
    """Size of the measurement.

    Args:
        work: folder of the data and the runs.
        samples: samples of the data.
        epochs: epochs of a training.
        seeds: trainings of each kind.
        processes: trials at once.
    """

    work: Path = Path("runs/normalization")
    samples: int = 2048
    epochs: int = 20
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    processes: int = 1


def train(trial: dict[str, Any]) -> dict[str, Any]:
    """One training and its test errors."""
    torch.set_num_threads(1)
    out, data = Path(trial["work"]) / trial["name"], Path(trial["data"])
    config = FitConfig(epochs=trial["epochs"], seed=trial["seed"], normalize=trial["normalize"], accelerator="cpu")
    history = train_on_file(data, out, config, resolution=256, overwrite=True)
    result = evaluate_run(out, data, (256, 8192))
    native = result["relative_l2"].sel(output="native")
    return {
        "relative_l2": [float(value) for value in native],
        "mse": [float(value) for value in result["mse"].sel(output="native")],
        "seconds": sum(row["seconds"] for row in history.rows),
    }


def main(config: Config) -> None:
    """Train what is missing, write the result."""
    config.work.mkdir(parents=True, exist_ok=True)
    data = config.work / "burgers.h5"
    if not data.exists():
        generate(DatasetSpec(samples=config.samples, dtype="float32"), data, resume=True, progress=False)
    trials = [
        {"name": f"{normalize}_{seed}", "normalize": normalize, "seed": seed, "epochs": config.epochs}
        | {"work": str(config.work), "data": str(data)}
        for seed in config.seeds
        for normalize in ("auto", "none")
    ]
    results = run_grid(trials, train, folder=config.work / "trials", processes=config.processes)
    runs = {trial["name"]: result for trial, result in zip(trials, results, strict=True)}
    ratios = [
        [auto / none for auto, none in zip(runs[f"auto_{seed}"]["mse"], runs[f"none_{seed}"]["mse"], strict=True)]
        for seed in config.seeds
    ]
    figures = {
        "runs": runs,
        "resolutions": [256, 8192],
        "mse_ratio_by_seed": ratios,
        "mean_mse_ratio": np.mean(ratios, axis=0).tolist(),
        "geometric_mean_mse_ratio": np.exp(np.log(ratios).mean(0)).tolist(),
    }
    print(write_result("normalization", config=config, seeds=config.seeds, figures=figures))


if __name__ == "__main__":
    main(tyro.cli(Config))
