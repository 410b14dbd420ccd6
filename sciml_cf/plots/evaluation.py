"""Errors, baselines and their names from an evaluation, for figures, tables and verdicts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr

#: Baselines in words.
BASELINES = {
    "zero": "predicting zero",
    "training_mean": "the training mean",
    "identity": "the unchanged input",
    "linear_part": "the linear part of the equation",
    "nearest_sample": "the nearest training sample",
    "linear_map": "the best linear map",
}
_ALWAYS = ("training_mean", "linear_map")
_CLEARLY = 1.1  # errors within 10 % of each other are alike


def counted(evaluation: xr.Dataset) -> str:
    """What errors were measured on, in words: "39 test samples", or "36 test windows" of trajectories."""
    number, split = int(evaluation.attrs["num_samples"]), evaluation.attrs["split"]
    examples = evaluation.get("example_input")
    unit = "window" if examples is not None and "windows_of_a_trajectory" in examples.attrs else "sample"
    return f"{number} {'' if split == 'all' else f'{split} '}{unit}{'' if number == 1 else 's'}"


def upsampling(evaluation: xr.Dataset) -> str:
    """How outputs were brought to the reference grid: "fourier", or "linear" where the grid does not allow that."""
    return "fourier" if "fourier" in evaluation["output"].values else "linear"


def judged(evaluation: xr.Dataset) -> str:
    """The metric of verdict and figures: "relative_l2", or "mse" where some targets are zero."""
    return "relative_l2" if math.isfinite(native_errors(evaluation, "relative_l2")[judged_at(evaluation)]) else "mse"


def judged_at(evaluation: xr.Dataset) -> int:
    """The resolution of the verdict: that of the training, or else the highest that was evaluated."""
    sizes = [int(n) for n in evaluation["resolution"].values]
    trained = int(evaluation.attrs.get("trained_at", 0))
    return trained if trained in sizes else max(sizes)


def native_errors(evaluation: xr.Dataset, name: str, output: str = "native") -> dict[int, float]:
    """The model's error at every resolution; of "mse" the root."""
    values = evaluation[name].sel(output=output).values
    return {int(n): _root(name, float(value)) for n, value in zip(evaluation["resolution"].values, values, strict=True)}


def baseline_errors(evaluation: xr.Dataset, resolution: int, name: str) -> dict[str, float]:
    """Errors of the baselines at the same points, those that are known and finite; of "mse" the root."""
    if f"native_baseline_{name}" in evaluation:
        values = evaluation[f"native_baseline_{name}"].sel(resolution=resolution).values
    elif f"baseline_{name}" in evaluation and resolution == int(evaluation.attrs["reference_resolution"]):
        values = evaluation[f"baseline_{name}"].values
    else:
        return {}
    pairs = zip(evaluation["baseline"].values, values, strict=True)
    errors = {str(baseline): _root(name, float(value)) for baseline, value in pairs}
    return {baseline: error for baseline, error in errors.items() if math.isfinite(error)}


def quoted(baselines: Mapping[str, float]) -> list[str]:
    """The baselines that are named: the training mean, the best linear map, and the best one if that is another.

    Where zero is a better guess than the training mean, it takes its place, and a linear map that is worse than zero is
    not named.
    """
    zero = baselines.get("zero", math.inf)
    worse = [name for name in _ALWAYS if baselines.get(name, 0.0) > _CLEARLY * zero]
    found = ["zero" if name in worse else name for name in _ALWAYS if name in baselines]
    return list(dict.fromkeys(found + sorted(baselines, key=baselines.__getitem__)[:1]))


def _root(name: str, value: float) -> float:
    return math.sqrt(value) if name == "mse" else value
