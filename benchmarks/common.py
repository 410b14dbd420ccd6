"""Shared parts of benchmarks: the schema of a result file, a grid of trials, and tables in pages of the guide."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sciml_cf.studies.harness import results
from sciml_cf.studies.harness.grid import Trial, Workers, run_trials

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"


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


def largest_error(u: np.ndarray, truth: np.ndarray) -> float:
    """Largest error of a sample relative to its largest value, over the samples; infinity if anything is not finite."""
    axes = tuple(range(1, u.ndim))
    error = float((np.abs(u - truth).max(axis=axes) / np.abs(truth).max(axis=axes)).max())
    return error if np.isfinite(error) else np.inf


def between(text: str, name: str, content: str) -> str:
    """A page with this content between the comments ``NAME: ...`` and ``end of NAME``."""
    pattern = re.compile(rf"(<!-- {name}: [^\n]* -->\n).*?(<!-- end of {name} -->)", re.DOTALL)
    return pattern.sub(lambda match: f"{match[1]}{content}\n{match[2]}", text)


def fill_pages(pages: Mapping[Path, Callable[[str], str]]) -> None:
    """Write each page with its tables made anew; with ``--check`` on the command line only see whether they are so.

    Args:
        pages: for each the function that makes its text from the present one.

    Raises:
        SystemExit: under ``--check`` always, with a message and status 1 at the first page that is not up to date.
    """
    for page, filled in pages.items():
        text = page.read_text()
        if "--check" not in sys.argv:
            page.write_text(filled(text))
        elif filled(text) != text:
            raise SystemExit(f"{page.relative_to(ROOT)} is not up to date")
    if "--check" in sys.argv:
        raise SystemExit(0)
