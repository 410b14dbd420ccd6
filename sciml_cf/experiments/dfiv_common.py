"""What the two studies of deep-feature instrumental variables share: methods by name, trials, and their ends."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sciml_cf.bench.results import read_result
from sciml_cf.causal import InstrumentalData, StageRules, StructuralData
from sciml_cf.causal.deep import HeadName
from sciml_cf.head import Kalman, Proximal, SampledGCV, strength_from_paper
from sciml_cf.report.bench_page import write_bench_page

DATA_FOLDER, TRIAL_FOLDER = "data", "trials"
HEADS: tuple[HeadName, ...] = ("current", "refit")
SELECTION_SEED = 0
Candidates = list[dict[str, Any]]


def grid(**values: Sequence[Any]) -> Candidates:
    """Every combination of these settings."""
    found: Candidates = [{}]
    for name, choices in values.items():
        found = [{**one, name: choice} for one in found for choice in choices]
    return found


def rules_of(settings: Mapping[str, Any], *, rows: int) -> StageRules:
    """Stage rules from plain settings: a name, and the paper's coefficients on sums over a batch of so many rows."""
    first, second, inner = (
        strength_from_paper(settings.get(f"lambda_{stage}", settings["lambda_1"]), rows=rows) for stage in (1, 2, 12)
    )
    if settings["rule"] == "streaming":
        return StageRules(Proximal(first), Proximal(second), Kalman(settings["forgetting"], inner))
    if settings["rule"] == "gcv":
        return StageRules(Proximal(first), Proximal(second), SampledGCV())
    make = {"proximal": StageRules.proximal, "ridge": StageRules.ridge}[settings["rule"]]
    return make(first, second, inner)


def settled(values: Sequence[float]) -> float:
    """The median of the last four measurements: a current head differs from batch to batch."""
    return float(np.median(values[-4:]))


def mean_square(prediction: Any, part: StructuralData) -> float:
    """Mean squared error against the structural function."""
    return float(np.square(np.asarray(prediction) - part.structural).mean())


@lru_cache(maxsize=1)
def load_training(path: Path) -> InstrumentalData:
    """A file of training samples; trials of one seed, one after another in a process, share what was read."""
    return InstrumentalData.load(path)


@lru_cache(maxsize=2)
def load_structural(path: Path) -> StructuralData:
    """A file of validation or test points, read once in a process."""
    return StructuralData.load(path)


def make_folder(study: str, out: Path) -> None:
    """The study's folder, made if the one that should hold it is there."""
    if out.parent.is_dir() and not out.is_file():
        out.mkdir(exist_ok=True)
    if not out.is_dir():
        raise FileNotFoundError(f"{study}: `out` must be a folder, or a new one in a folder; got {out}.")


def command_of(study: str, config: Any) -> str:
    """The command line that a configuration stands for: the flags that are not the defaults."""
    words = ["sciml-cf", "run", study]
    for one in fields(config):
        value = getattr(config, one.name)
        if isinstance(value, bool) and value != one.default:
            words.append(f"--{'' if value else 'no-'}{one.name.replace('_', '-')}")
        elif value != one.default and value is not None:
            words += [f"--{one.name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def finish(path: Path) -> str:
    """Write the page of a result file; its tables and the paths as text."""
    tables, paths = write_bench_page(read_result(path), path.parent)
    return "\n\n".join([*(table.text() for table in tables), "\n".join(map(str, [path, *paths]))])


def part_done(out: Path) -> str:
    """What a study says after one part of its grid."""
    return f"{out}: this part of the grid is done. Run the same command without --shard to collect all parts."
