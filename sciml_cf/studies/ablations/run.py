"""The paper's ablations of the closed-form head: the effect of each choice, each setting at its own best."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np

from sciml_cf.studies.ablations.flags import Ablations, Part
from sciml_cf.studies.harness.class_data import FILE_SUFFIX, load_task
from sciml_cf.studies.harness.class_grid import ClassGrid, known_figures
from sciml_cf.studies.harness.class_training import MARKS
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.results import RESULT_FILE

Cells = dict[str, dict[str, Any]]
NAME = "ablations"
_BASE = "proximal"  # zeros, a bias, sgd
# What is compared: question: {what a line is called: its variant}. The first is what the others are compared with.
QUESTIONS: dict[str, dict[str, str]] = {
    "bias": {"a bias": _BASE, "no bias": "no bias"},
    "initial": {
        "zeros": _BASE,
        "torch's default": "torch's default",
        "LeCun": "LeCun",
        "Xavier": "Xavier",
        "He": "He",
        "first batch": "first batch",
    },
    "optimizer": {"sgd": _BASE, "adam": "adam"},
}
# variant: what of its settings is not that of proximal
DESIGNS: dict[str, dict[str, Any]] = {
    _BASE: {},
    "no bias": {"bias": False},
    "torch's default": {"initial": "keep"},
    "LeCun": {"initial": "lecun"},
    "Xavier": {"initial": "xavier"},
    "He": {"initial": "he"},
    "first batch": {"initial": "first batch"},
    "adam": {"optimizer": "adam"},
}
METHODS = ("l2", "cross-entropy", "ridge", _BASE, "kalman")
_GRADIENTS = ("l2", "cross-entropy")  # no head to solve: one algorithm
_SWEPT = ("ridge", _BASE)


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        seeds: of reported trainings; choosing has its own, 0.
        batch_sizes: batch sizes of the trainings.
        iterations: iterations of each training.
        first: iterations for which every candidate is trained.
        keep: how many of the best are trained to the end.
        rates: candidate learning rates by optimizer; methods without a strength get as many rates.
        strengths: candidate strengths by optimizer, each with each rate.
        sweep_rates: learning rates of the sweeps.
        sweep_strengths: strengths of the sweeps.
    """

    seeds: tuple[int, ...]
    batch_sizes: tuple[int, ...]
    iterations: int
    first: int
    keep: int
    rates: Mapping[str, tuple[float, ...]]
    strengths: tuple[float, ...]
    sweep_rates: tuple[float, ...]
    sweep_strengths: tuple[float, ...]


_RATES = {"sgd": (0.01, 0.03, 0.1, 0.3, 1.0, 3.0), "adam": (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)}
PRESETS = {
    "full": Scale(
        seeds=(1, 2, 3),
        batch_sizes=(32, 128, 1024),
        iterations=200,
        first=50,
        keep=6,
        rates=_RATES,
        strengths=(1e-4, 1e-3, 1e-2, 1e-1, 1.0),
        sweep_rates=(0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0),
        sweep_strengths=(1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0),
    ),
    "small": Scale(
        seeds=(1, 2),
        batch_sizes=(32, 128),
        iterations=100,
        first=25,
        keep=3,
        rates={name: rates[1:-1] for name, rates in _RATES.items()},
        strengths=(1e-3, 1e-2, 1e-1),
        sweep_rates=(0.03, 0.1, 0.3, 1.0, 3.0),
        sweep_strengths=(1e-4, 1e-2, 1.0, 100.0),
    ),
}


def run(config: Ablations, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of the grid."""
    scale, data, label = PRESETS[config.preset], _data(config.task), _label(config.task)
    grid = ClassGrid(config.out, config.where(), NAME)
    make_folder(NAME, config.out)
    common = {name: cell | data for part in config.parts for name, cell in _cells(part, scale).items()}
    trainings = {name: _trained(cell) for name, cell in common.items()}
    candidates = {name: _candidates(cell, scale) for name, cell in trainings.items()}
    found = grid.choose(candidates, trainings, first=scale.first, keep=scale.keep, label=label)
    figures = known_figures(config.out / RESULT_FILE, preset=config.preset, **data)
    for part in config.parts:
        figures[part] = _measure(part, common, found, scale, grid, label)
    if config.shard is not None:
        return None
    settings = {"preset": config.preset, **data, "classes": load_task(config.task).classes, "questions": QUESTIONS}
    settings |= {"candidates": _count(scale), "marks": [mark for mark in MARKS if mark <= scale.iterations]}
    return store_result(
        NAME,
        config,
        command,
        settings={**settings, **asdict(scale)},
        seeds=scale.seeds,
        figures={part: figures[part] for part in get_args(Part) if part in figures},
    )


def _measure(
    part: Part, cells: Cells, found: Mapping[str, Mapping[str, Any]], scale: Scale, grid: ClassGrid, label: str
) -> Cells:
    """A part's cells with their runs at the settings that were found, or with one of those settings changed."""
    own = {name: cells[name] for name in _cells(part, scale) if name in found}
    sound = {name: cell for name, cell in own.items() if "learning_rate" in found[name]}  # of others all diverged
    if part in ("strength", "rate"):
        return _sweep(part, sound, found, scale, grid, label)
    trainings = {name: _trained(cell) for name, cell in sound.items()}
    runs = grid.report({name: found[name] for name in sound}, trainings, scale.seeds, label)
    return {name: {**cell, "chosen": found[name], "runs": runs.get(name, [])} for name, cell in own.items()}


def _label(task: str) -> str:
    """The beginning of the names of trials."""
    return re.sub(r"[^\w .=+-]", "_", Path(task).stem) if task.endswith(FILE_SUFFIX) else task


def _data(task: str) -> dict[str, Any]:
    """Settings that decide the data of each training; a file that has changed is refused."""
    load_task(task)
    return {"task": task} | ({"crc": zlib.crc32(Path(task).read_bytes())} if task.endswith(FILE_SUFFIX) else {})


def _cells(part: Part, scale: Scale) -> Cells:
    """The cells of a part by name; those of several parts that are alike have one name, and are trained once."""
    arms = {"design": tuple(DESIGNS), "methods": METHODS, "strength": _SWEPT, "rate": METHODS}[part]
    cells = {}
    for size in scale.batch_sizes:
        for arm in arms:
            for algorithm in (2,) if arm in _GRADIENTS else (1, 2):
                name = f"{arm}, {size}" if arm in _GRADIENTS else f"{arm}, Alg. {algorithm}, {size}"
                method = {"method": _BASE if arm in DESIGNS else arm, "optimizer": "sgd", **DESIGNS.get(arm, {})}
                size_of = {"batch_size": size, "iterations": scale.iterations}
                cells[name] = {"arm": arm, "algorithm": algorithm, **size_of, **method}
    return cells


def _trained(cell: dict[str, Any]) -> dict[str, Any]:
    """The settings of a cell that decide its training."""
    return {key: value for key, value in cell.items() if key != "arm"}


def _candidates(cell: dict[str, Any], scale: Scale) -> list[dict[str, float]]:
    """As many for each cell: rates by strengths, or rates alone over the same range."""
    rates = scale.rates[cell["optimizer"]]
    if cell["method"] in _GRADIENTS:
        fine = np.geomspace(rates[0], rates[-1], _count(scale))
        return [{"learning_rate": float(f"{rate:.3g}")} for rate in fine]
    return [{"learning_rate": rate, "strength": strength} for rate in rates for strength in scale.strengths]


def _count(scale: Scale) -> int:
    return len(scale.rates["sgd"]) * len(scale.strengths)


def _sweep(
    part: Part, own: Cells, chosen: Mapping[str, Mapping[str, Any]], scale: Scale, grid: ClassGrid, label: str
) -> Cells:
    """The last accuracies when one of the chosen settings is changed."""
    name = {"strength": "strength", "rate": "learning_rate"}[part]
    values = scale.sweep_strengths if part == "strength" else scale.sweep_rates
    points = {
        f"{cell}, {part} {value:g}": (cell, {**chosen[cell], name: value, "at_edge": []})
        for cell in own
        for value in values
    }
    trained = {point: _trained(own[cell]) for point, (cell, _) in points.items()}
    settings = {point: setting for point, (_, setting) in points.items()}
    runs = grid.sweep(settings, trained, scale.seeds, label)
    return {
        cell: {
            **own[cell],
            "chosen": chosen[cell],
            "values": list(values),
            "runs": [runs[f"{cell}, {part} {value:g}"] for value in values],
        }
        for cell in own
    }
