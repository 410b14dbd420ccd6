"""A grid of trainings of classifiers: each cell at its own best of equally many candidates, reported on the test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sciml_cf.studies.harness.class_training import class_trial
from sciml_cf.studies.harness.extension import at_edge
from sciml_cf.studies.harness.grid import TRIAL_FOLDER, Trial, Workers, run_trials
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select

_ALL_MARKS = 10**6  # iterations between looks: at the milestones only


class ClassGrid:
    """Runs trials and choices, each once.

    Args:
        out: folder of the benchmark; trials go into a folder in it.
        workers: where to run.
        label: what the progress bar says first.
    """

    def __init__(self, out: Path, workers: Workers, label: str) -> None:
        self.folder, self.workers, self.label = out / TRIAL_FOLDER, workers, label

    def run(self, trials: Sequence[Trial], label: str) -> list[dict[str, Any]]:
        """Their results, in order."""
        return run_trials(trials, class_trial, self.folder, workers=self.workers, label=f"{self.label}: {label}")

    def choose(
        self,
        cells: Mapping[str, Sequence[Mapping[str, Any]]],
        common: Mapping[str, Mapping[str, Any]],
        *,
        first: int,
        label: str,
        keep: int = 4,
    ) -> dict[str, dict[str, Any]]:
        """For each cell its best candidate, with "at_edge"; after ``first`` iterations ``keep`` of them go on.

        One part of a grid chooses for its own cells only.
        """
        cells = {cell: cells[cell] for cell in self.workers.own(list(cells))}

        def trial(cell: str, candidate: Mapping[str, Any], iterations: int) -> Trial:
            own = {**common[cell], **candidate, "part": "validation", "seed": SELECTION_SEED, "every": _ALL_MARKS}
            words = " ".join(f"{key}={value:g}" for key, value in candidate.items())
            return Trial(_file_name(f"{label} {cell} {words} its={iterations}"), {**own, "iterations": iterations})

        longest = max(one["iterations"] for one in common.values())
        rungs = (Rung(first, keep), Rung(longest, 1))
        chosen, _ = select(cells, rungs, trial, lambda trials, words: self.run(trials, f"{label}, {words}"))
        return {cell: {**found, "at_edge": at_edge(found, cells[cell])} for cell, found in chosen.items()}

    def report(
        self, chosen: Mapping[str, Mapping[str, Any]], common: Mapping[str, Mapping[str, Any]], seeds: Iterable[int],
        label: str, **further: Any,
    ) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
        """Trainings of every cell at its chosen settings, on the test part."""
        seeds = list(seeds)
        trials = [
            Trial(
                _file_name(f"{label} {cell} report seed {seed}"),
                {**common[cell], **_settings(found), "part": "test", "every": 5, "seed": seed, **further},
            )
            for cell, found in chosen.items()
            for seed in seeds
        ]
        results = iter(self.run(trials, f"{label}, report"))
        return {cell: [{"seed": seed, **_tell(next(results))} for seed in seeds] for cell in chosen}

    def sweep(
        self, cells: Mapping[str, Mapping[str, Any]], common: Mapping[str, Mapping[str, Any]], seeds: Iterable[int],
        label: str,
    ) -> dict[str, list[dict[str, Any]]]:  # fmt: skip
        """The same at given settings, and of each training its last accuracy only."""
        runs = self.report(cells, common, seeds, label, every=_ALL_MARKS)
        return {cell: [last(run) for run in each] for cell, each in runs.items()}


def known_figures(path: Path, **config: Any) -> dict[str, Any]:
    """The results of an earlier call whose configuration agrees; none where there is no such file."""
    if not path.exists():
        return {}
    known = read_result(path)
    same = all(known["config"].get(key) == value for key, value in config.items())
    return dict(known["figures"]) if same else {}


def last(run: dict[str, Any]) -> dict[str, Any]:
    """A run's last accuracy, or when it diverged."""
    accuracy = run["accuracy"][-1] if run["accuracy"] else math.nan
    return {"seed": run["seed"], **({"diverged": run["diverged"]} if "diverged" in run else {"accuracy": accuracy})}


def _file_name(words: str) -> str:
    return words.replace(",", "").replace("'", "")


def _settings(found: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in found.items() if key != "at_edge"}


def _tell(result: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in result.items() if key != "best_validation_mse"}
