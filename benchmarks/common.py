"""What every benchmark shares: the schema of a result file, and a grid of trials that can be interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sciml_cf.bench import results
from sciml_cf.runs import write_atomically

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
    """Results of ``work`` for every trial, in order; a trial whose result is already in ``folder`` is not run again.

    A trial is a plain dict with a unique "name". Each runs in its own process with the threads of the environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [trial for trial in trials if not (folder / f"{trial['name']}.json").exists()]
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        for trial, result in zip(missing, pool.map(work, missing), strict=True):
            write_atomically(folder / f"{trial['name']}.json", json.dumps(result, indent=1) + "\n")
            print(f"{trial['name']}: {result}", flush=True)
    return [json.loads((folder / f"{trial['name']}.json").read_text()) for trial in trials]
