"""Roll-outs: one-step models trained in several ways, each rolled out over times that training never saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from data_gen import DatasetSpec
from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset
from sciml_cf.errors import check_choice
from sciml_cf.evaluate.rollout import evaluate_rollout
from sciml_cf.models import build_from
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, trial_runner
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report
from sciml_cf.studies.harness.sizes import ModelSize, Scale
from sciml_cf.studies.harness.training import DATA_FOLDER, fit_trial, make_data
from sciml_cf.studies.rollouts.flags import ARMS, METHODS, PROBLEMS, Rollouts
from sciml_cf.training.config import FitConfig

NAME = "rollouts"
_STEPS_SEEN = 8  # of a training trajectory; its test is rolled out over more
_LOST = 10.0  # relative error at which a roll-out counts as lost
_FIT: dict[str, Any] = {"algorithm": 2, "optimizer": "adam", "schedule": "cosine", "warmup": 0, "residual": "yes"}
# As many candidates for every variant.
_CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "plain": combinations(learning_rate=(5e-4, 1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2)),
    "noise": combinations(learning_rate=(1e-3, 3e-3, 1e-2), noise=(0.01, 0.05)),
    "pushforward": combinations(learning_rate=(1e-3, 3e-3, 1e-2), unroll=(2, 4)),
    "unrolled": combinations(learning_rate=(1e-3, 3e-3, 1e-2), unroll=(2, 4), through_steps=(True,)),
}


@dataclass(frozen=True, kw_only=True)
class Size(ModelSize):
    """How large one problem is.

    Args:
        trajectories: number of trajectories.
        resolution: points of the data.
        step: time of one step.
        steps: of a test trajectory.
        width: see ``ModelSize``.
        modes: see ``ModelSize``.
        layers: see ``ModelSize``.
        batch_size: see ``ModelSize``; a batch is of pairs.
        passes: of every training pair through the model, of a plain training the epochs.
    """

    trajectories: int
    resolution: int
    step: float
    steps: int
    passes: int


_LINE = Size(
    trajectories=91, resolution=128, step=1.0, steps=40, width=32, modes=24, layers=4, batch_size=16, passes=40
)
_PLANE = Size(trajectories=91, resolution=32, step=0.5, steps=30, width=20, modes=8, layers=4, batch_size=16, passes=24)
PRESETS = {
    "full": Scale({"kuramoto_sivashinsky": _LINE, "navier_stokes": _PLANE}, share=0.4, seeds=(1, 2, 3)),
    "small": Scale(
        {
            "kuramoto_sivashinsky": replace(_LINE, trajectories=24, steps=12, width=12, modes=12, layers=2, passes=6),
            "navier_stokes": replace(_PLANE, trajectories=24, steps=12, width=8, modes=5, layers=2, passes=4),
        },
        share=0.5,
        seeds=(1, 2),
    ),
}


def run(config: Rollouts, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    scale, workers = PRESETS[config.preset], config.where()
    for name, known in (("problems", tuple(PROBLEMS)), ("methods", METHODS), ("arms", ARMS)):
        for value in getattr(config, name):
            check_choice(NAME, name, value, known)
    make_folder(NAME, config.out)
    for problem in config.problems:
        size = scale.sizes[problem]
        for name, steps in ((problem, _STEPS_SEEN), (_long(problem), size.steps)):  # of one seed: the same trajectories
            times = tuple(round(size.step * (step + 1), 6) for step in range(steps))
            spec = DatasetSpec(
                **PROBLEMS[problem], samples=size.trajectories, resolution=size.resolution, times=times, dtype="float32"
            )
            make_data(config.out, name, spec)
    asked = [(p, m, a) for p in config.problems for a in config.arms for m in config.methods]
    cells = {f"{problem} {method} {arm}": (problem, method, arm) for problem, method, arm in workers.own(asked)}

    def candidate(cell: str, options: Any, _: int) -> Trial:
        return _trial(scale, *cells[cell], options, SELECTION_SEED)

    def reports(cell: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        return [({"seed": seed}, _trial(scale, *cells[cell], options, seed)) for seed in scale.seeds]

    tried = {cell: _CANDIDATES[arm] for cell, (_, _, arm) in cells.items()}
    run_all = trial_runner(NAME, config.out, rollout_trial, workers)
    found = select_and_report(tried, (Rung(1, 1),), candidate, reports, run_all, scored=_scored)
    if config.shard is not None:
        return None
    keys = ("problem", "method", "arm")
    figures: dict[str, Any] = {
        cell: {**dict(zip(keys, names, strict=True)), **found[cell]} for cell, names in cells.items()
    }
    settings = {"preset": config.preset, **asdict(scale), "candidates": 6, "lyapunov": _lyapunov(config)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def rollout_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Train as ``settings`` say, and roll the last weights out from the start of the trajectories of a split.

    The keys of ``settings``:

    - data: the dataset's name
    - model: as a run folder stores it
    - fit: arguments of FitConfig
    - split: which trajectories are rolled out
    """
    torch.set_num_threads(1)
    data = scratch.parents[1] / DATA_FOLDER
    config = FitConfig(**{"accelerator": "cpu", **settings["fit"]})
    pairs: dict[str, Any] = {"facts": Facts(stride=1), "unroll": config.unroll}
    parts = {part: FieldDataset(data / f"{settings['data']}.h5", part, **pairs) for part in ("train", "validation")}
    model = build_from(settings["model"], seed=config.seed)
    history = fit_trial(model, parts["train"], parts["validation"], config=config, out=scratch)
    if isinstance(history, str):
        return {"diverged": history}
    path, test = data / f"{_long(settings['data'])}.h5", settings["split"] == "test"
    found = evaluate_rollout(model, path, split=settings["split"], baselines=test)
    errors = np.minimum(np.asarray(found["sample_relative_l2"]), _LOST)
    result: dict[str, Any] = {
        "rollout": float(errors.mean()),
        "seconds": sum(row["seconds"] for row in history.rows),
        "steps": history.rows[-1]["steps"],
        "one_step": float(found["one_step_relative_l2"][0]),
    }
    if test:
        names = ("relative_l2", "correlation", "persistence_relative_l2", "linear_relative_l2")
        result["curves"] = {"time": found["time"].values.tolist()} | {n: _bounded(found[n].values) for n in names}
        result["correlation_time"] = _times(found["correlation_time"].values, float(found["time"][-1]))
        result["left_finite"] = int((found["finite_until"] < found["time"][-1]).sum())
    return result


def _long(problem: str) -> str:
    return f"{problem}-long"


def _scored(result: dict[str, Any]) -> Mapping[str, Any]:
    return result if "diverged" in result else {**result, "best_validation_mse": result["rollout"]}


def _bounded(values: np.ndarray) -> list[float]:
    return np.minimum(np.nan_to_num(values, nan=_LOST, posinf=_LOST), _LOST).tolist()


def _times(values: np.ndarray, last: float) -> list[float]:
    """Times at which the correlation falls; of samples where it does not, the last time."""
    return np.where(np.isfinite(values), values, last).tolist()


def _trial(scale: Scale[Size], problem: str, method: str, arm: str, options: Mapping[str, Any], seed: int) -> Trial:
    """One training: of a candidate, or to report."""
    size, selects = scale.sizes[problem], seed == SELECTION_SEED
    told = " ".join(f"{name}={value:g}" for name, value in options.items() if name != "through_steps")
    passes = size.passes * (scale.share if selects else 1.0)
    settings = {
        "data": problem,
        "model": size.operator(2 if problem == "navier_stokes" else 1),
        "fit": {**_FIT, **options, "method": method, "batch_size": size.batch_size, "seed": seed,
                "epochs": epochs_of(passes, options)},
        "split": "validation" if selects else "test",
    }  # fmt: skip
    return Trial(f"{problem} {method} {arm} {told} " + ("selection" if selects else f"seed {seed}"), settings)


def epochs_of(passes: float, options: Mapping[str, Any]) -> int:
    """Epochs of as much computing as ``passes`` of a plain training.

    An epoch of k steps in a row has (T - k + 1) / T of the windows; each takes k passes with a gradient and k - 1 more
    to make the states, which cost a third without a gradient.
    """
    k = options.get("unroll", 1)
    cost = k + (k - 1) * (1.0 if options.get("through_steps") else 1 / 3)
    return max(1, round(passes * _STEPS_SEEN / ((_STEPS_SEEN - k + 1) * cost)))


def _lyapunov(config: Rollouts) -> dict[str, float]:
    """Largest Lyapunov exponents that are known: of Kuramoto-Sivashinsky on a long domain.

    References:
        Edson, Bunder, Mattner and Roberts (2019), Lyapunov exponents of the Kuramoto-Sivashinsky PDE, ANZIAM J. 61,
        270: about 0.09 for lengths from 60 on.
    """
    return {"kuramoto_sivashinsky": 0.09} if "kuramoto_sivashinsky" in config.problems else {}
