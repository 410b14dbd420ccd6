"""What every benchmark shares: the schema of a result file, and a grid of trials that can be interrupted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from sciml_cf.bench.results import machine
from sciml_cf.runs import versions, write_atomically

RESULTS = Path(__file__).parent / "results"


def write_result(name: str, *, config: Any, seeds: Sequence[int], figures: dict[str, Any]) -> Path:
    """Write benchmarks/results/NAME.json in the one schema: config, versions, machine, seeds, figures."""
    RESULTS.mkdir(exist_ok=True)
    content = {
        "benchmark": name,
        "config": json.loads(json.dumps(asdict(config), default=str)),
        "versions": versions(),
        "machine": machine(),
        "seeds": list(seeds),
        "figures": figures,
    }
    path = RESULTS / f"{name}.json"
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return path


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
