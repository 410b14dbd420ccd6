"""Results of a method of Figure 2 at the settings that came second in its selection.

The selection judges one seed after few epochs, and where its winner then fails with other seeds, as l2-Adam's does at
batch size 512, the table shows the winner's failure. This trains the runner-up as the winner was, beside the grid.

    python -m benchmarks.figure2_runner_up --folder figure2      # where `sciml-cf study figure2 --preset full` ran
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.common import RESULTS, write_result
from data_gen import DatasetSpec
from sciml_cf.studies.figure2 import run as figure2
from sciml_cf.studies.harness.grid import TRIAL_FOLDER, Workers, run_trials
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.training import make_data, train_trial


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        method: method of the cell in benchmarks/results/figure2.json.
        batch_size: batch size of the cell.
    """

    method: str = "l2-Adam"
    batch_size: int = 512


def main(config: Config, folder: Path = Path("figure2_runner_up")) -> Path:
    """Train the runner-up of the last round with every seed and write the result file.

    Args:
        config: which cell.
        folder: for the data and the trials.
    """
    result = read_result(RESULTS / "figure2.json")
    scale = figure2.PRESETS[result["config"]["preset"]]
    cell = result["figures"][f"{config.method} batch {config.batch_size}"]
    last = [entry for entry in cell["selection"] if entry["epochs"] == scale.rungs[-1].epochs]
    second = sorted(last, key=lambda entry: entry["best_validation_mse"])[1]["settings"]
    folder.mkdir(exist_ok=True)
    spec = DatasetSpec(samples=scale.samples, resolution=scale.stored_resolution, dtype="float32")
    make_data(folder, "burgers", spec)
    trials = [
        figure2._trial(scale, config.method, config.batch_size, second, scale.epochs, seed) for seed in scale.seeds
    ]
    found = run_trials(trials, train_trial, folder / TRIAL_FOLDER, workers=Workers(1), label=f"{config.method}, second")
    runs = [
        {"seed": seed, **({"diverged": run["diverged"]} if "diverged" in run else {"test": run["test"]})}
        for seed, run in zip(scale.seeds, found, strict=True)
    ]
    figures = {"settings": second, "won": cell["chosen"], "runs": runs}
    return write_result("figure2_runner_up", config=config, seeds=scale.seeds, figures=figures)


if __name__ == "__main__":
    print(tyro.cli(main))
