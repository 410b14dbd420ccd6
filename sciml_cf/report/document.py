"""Evaluations as plain documents for programs: the numbers of the printed tables and more, with names that stay."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import xarray as xr

from sciml_cf.report.comparison import run_names
from sciml_cf.report.verdict import run_verdict
from sciml_cf.training.run_folder import read_evaluation, read_rollout, read_settings

_FIT = ("method", "algorithm", "strength", "optimizer", "learning_rate", "batch_size", "epochs", "seed")


def run_document(run: Path | str) -> dict[str, Any]:
    """The evaluation of a run as plain values.

    Args:
        run: a run folder that was evaluated.

    Returns:
        The keys run, verdict, the attributes of evaluation.nc such as split and num_samples, and lists of rows: errors
        (one a resolution and output, "native" or brought to the reference grid), baselines (one a baseline on that
        grid), native_baselines (one a resolution and baseline), and rollout (one a time), which is None without one.

    Raises:
        CheckpointError: the run has no evaluation, or a file of it is unreadable.
    """
    found, rolled = read_evaluation(run), read_rollout(run)
    return {
        "run": Path(run),
        "verdict": run_verdict(run),
        **{name: value for name, value in found.attrs.items() if not name.startswith("version_")},
        "errors": _rows(found, "resolution", "output"),
        "baselines": _rows(found, "baseline", prefix="baseline_"),
        "native_baselines": _rows(found, "resolution", "baseline", prefix="native_baseline_"),
        "rollout": None if rolled is None else _rows(rolled, "time"),
    }


def comparison_document(runs: Sequence[Path | str]) -> dict[str, Any]:
    """The evaluations of several runs under the key runs, each with its name and settings, as plain values.

    Args:
        runs: run folders that were evaluated.

    Raises:
        CheckpointError: a run has no evaluation, or a file of it is unreadable.
    """
    documents = []
    for name, run in run_names([Path(run) for run in runs]).items():
        fit = read_settings(run)["fit"]
        documents.append({"name": name, "fit": {key: fit.get(key) for key in _FIT}, **run_document(run)})
    return {"runs": documents}


def _rows(data: xr.Dataset, *axes: str, prefix: str = "") -> list[dict[str, Any]]:
    """One row for each point of the axes, with every variable that has these axes and no other, without ``prefix``."""
    names = [str(name) for name, values in data.data_vars.items() if values.dims == axes]
    if not names:
        return []
    stacked = data[names].stack(row=axes)
    points = list(product(*(data[axis].values.tolist() for axis in axes)))
    values = {name.removeprefix(prefix): stacked[name].values.tolist() for name in names}
    return [
        dict(zip(axes, point, strict=True)) | {name: column[at] for name, column in values.items()}
        for at, point in enumerate(points)
    ]
