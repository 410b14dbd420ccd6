"""What every benchmark shares: the schema of a result file, and a grid of trials that can be interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sciml_cf.studies.harness import results
from sciml_cf.studies.harness.grid import Trial, Workers, run_trials

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, *, config: Any, seeds: Sequence[int], figures: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json in the one schema of result files."""
    RESULTS.mkdir(exist_ok=True)
    return results.write_result(
        RESULTS / f"{name}.json",
        benchmark=name,
        command=f"python -m benchmarks.{name}",
        config=asdict(config),
        seeds=seeds,
        figures=figures,
    )


def run_grid(
    trials: Sequence[dict[str, Any]], work: Callable[[dict[str, Any]], dict[str, Any]], *, folder: Path, processes: int
) -> list[dict[str, Any]]:
    """Results of ``work`` for every trial, in order, as ``sciml_cf.studies.harness.grid.run_trials`` gives them.

    A trial is a plain dict with a unique "name". One whose result is in ``folder`` already is not run again; a result
    of other settings there is refused.
    """
    return run_trials(
        [Trial(trial["name"], trial) for trial in trials],
        partial(_settings_only, work),
        folder,
        workers=Workers(processes),
        label=folder.name,
    )


def _settings_only(work: Callable[[dict[str, Any]], dict[str, Any]], settings: dict[str, Any], _: Path) -> Any:
    return work(settings)
