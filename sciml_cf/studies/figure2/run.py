"""The paper's Figure 2: Burgers, test error on the full grid against iteration, for every method and batch size.

References:
    Closed-Form Last Layer Optimization (arXiv:2510.04606), section 6.1 and Figure 2.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from data_gen import DatasetSpec
from sciml_cf.errors import BenchmarkError, check_choice, check_count
from sciml_cf.models import FNOConfig, describe
from sciml_cf.studies.figure2.flags import Figure2
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, trial_runner
from sciml_cf.studies.harness.results import RESULT_FILE, read_result
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, is_found, over_seeds, select_and_report
from sciml_cf.studies.harness.training import make_data, train_trial
from sciml_cf.training.optimizers import check_optimizer

NAME = "figure2"
_DATA = "burgers"
Candidates = list[dict[str, Any]]
Cells = Mapping[str, Mapping[str, Any]]


def _rates(*rates: float) -> Candidates:
    return combinations(learning_rate=rates)


_SGD = {"optimizer": "sgd", "schedule": "constant"}
_ADAM = {"optimizer": "adam", "schedule": "cosine", "warmup": 0}
_SOAP = {**_ADAM, "optimizer": "soap"}
_STRENGTHS = (1e-3, 1e-2, 1e-1)
_PROXIMAL = combinations(learning_rate=(0.7, 2.0, 6.0), strength=_STRENGTHS)
# name: (what defines the method, nine candidates for what is tuned)
METHODS: dict[str, tuple[dict[str, Any], Candidates]] = {
    "l2-SGD": ({**_SGD, "method": "l2"}, _rates(0.01, 0.03, 0.06, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)),
    "l2-Adam": ({**_ADAM, "method": "l2"}, _rates(3e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2)),
    "ridge": (
        {**_SGD, "method": "ridge", "algorithm": 1},
        combinations(learning_rate=(0.3, 1.0, 3.0), strength=(1e-6, 1e-4, 1e-2)),
    ),
    "proximal-1": (
        {**_SGD, "method": "proximal", "algorithm": 1},
        combinations(learning_rate=(0.7, 2.0, 6.0), strength=_STRENGTHS),
    ),
    "proximal-2": (
        {**_SGD, "method": "proximal", "algorithm": 2},
        combinations(learning_rate=(0.7, 2.0, 6.0), strength=_STRENGTHS),
    ),
    "proximal-Adam": (
        {**_ADAM, "method": "proximal", "algorithm": 2},
        combinations(learning_rate=(1e-3, 3e-3, 1e-2), strength=_STRENGTHS),
    ),
    "kalman-Adam": (
        {**_ADAM, "method": "kalman", "algorithm": 2},
        combinations(learning_rate=(1e-3, 3e-3, 1e-2), forgetting=(0.8, 0.9, 0.97)),
    ),
    "l2-SOAP": ({**_SOAP, "method": "l2"}, _rates(3e-4, 5e-4, 1e-3, 1.5e-3, 2e-3, 3e-3, 5e-3, 1e-2, 2e-2)),
    "proximal-SOAP": (
        {**_SOAP, "method": "proximal", "algorithm": 2},
        combinations(learning_rate=(1e-3, 3e-3, 1e-2), strength=_STRENGTHS),
    ),
}


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        samples: samples of the dataset, viscosity 0.1.
        stored_resolution: its stored points, at which the test error is measured.
        resolution: grid points to train at.
        width: of the Fourier neural operator.
        modes: of the Fourier neural operator.
        layers: of the Fourier neural operator.
        batch_sizes: samples a step.
        epochs: of a reported training.
        rungs: the selection's rounds.
        seeds: of the reported trainings; the selection has its own, 0, and with few steps an epoch two more.
        curve: epochs at which the test error is measured, on the first `curve_samples` test samples.
    """

    samples: int
    stored_resolution: int
    resolution: int
    width: int
    modes: int
    layers: int
    batch_sizes: tuple[int, ...]
    epochs: int
    rungs: tuple[Rung, ...]
    seeds: tuple[int, ...]
    curve: tuple[int, ...]
    curve_samples: int


FEW_STEPS = 5  # steps of an epoch, below which one seed ranks candidates by chance
_FURTHER_SEEDS = (10, 11)  # of the selection there
_CURVE = (*range(1, 10), *range(10, 30, 2), *range(30, 101, 5))
PRESETS = {
    "full": Scale(
        samples=2048,
        stored_resolution=8192,
        resolution=256,
        width=64,
        modes=16,
        layers=4,
        batch_sizes=(8, 32, 128, 512),
        epochs=100,
        rungs=(Rung(5, 3), Rung(20, 1)),
        seeds=(1, 2, 3),
        curve=_CURVE,
        curve_samples=100,
    ),
    "small": Scale(
        samples=512,
        stored_resolution=1024,
        resolution=128,
        width=32,
        modes=16,
        layers=3,
        batch_sizes=(8, 32, 128),
        epochs=20,
        rungs=(Rung(2, 3), Rung(6, 1)),
        seeds=(1, 2, 3),
        curve=tuple(range(1, 21)),
        curve_samples=100,
    ),
}


def run(config: Figure2, command: str = "") -> Path | None:
    """Run what is missing of the grid; the result file, or None after one part of it."""
    for method in config.methods:
        check_choice(NAME, "methods", method, tuple(METHODS))
        check_optimizer(METHODS[method][0]["optimizer"])
    given = {name: _given(config, name) for name in config.methods}
    scale, workers = _scale(config), config.where()
    training = round(scale.samples * 1448 / 2048)
    for size in config.batch_sizes:
        check_count(NAME, "batch_sizes", size)
        if size > training:
            raise ValueError(f"{NAME}: `batch_sizes` must be at most {training}, the training samples; got {size}.")
    before = {} if config.earlier is None else _read_earlier(config.earlier, scale)["figures"]
    earlier = _asked(config, scale, training, before)
    make_folder(NAME, config.out)
    spec = DatasetSpec(samples=scale.samples, resolution=scale.stored_resolution, dtype="float32")
    make_data(config.out, _DATA, spec)
    pairs = [(method, size) for size in config.batch_sizes or scale.batch_sizes for method in config.methods]
    cells = {_cell(method, size): (method, size) for method, size in workers.own(pairs)}

    def candidate(cell: str, options: Any, epochs: int) -> Trial:
        return _trial(scale, *cells[cell], options, scale.rungs[-1].epochs, SELECTION_SEED, until=epochs)

    def reports(cell: str, options: Any) -> list[tuple[dict[str, Any], Trial]]:
        return [({"seed": seed}, _trial(scale, *cells[cell], options, scale.epochs, seed)) for seed in scale.seeds]

    tried = {cell: given[method] or METHODS[method][1] for cell, (method, _) in cells.items()}
    run_all = over_seeds(
        trial_runner(NAME, config.out, train_trial, workers),
        lambda trial: _repeats(trial, training // trial.settings["fit"]["batch_size"]),
    )
    found = select_and_report(tried, scale.rungs, candidate, reports, run_all, extend=2, earlier=earlier)
    if config.shard is not None:
        return None
    figures = dict(before) if _writes_over_earlier(config) else {}  # those not asked for stay
    for cell, (method, size) in cells.items():
        judges = _selection_seeds(training // size) if scale.rungs else []
        figures[cell] = {"method": method, "batch_size": size, "selection_seeds": judges, **found[cell]}
    settings = {"preset": config.preset, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _selection_seeds(steps: int) -> list[int]:
    """The seeds that judge a candidate: one alone, or several where an epoch has few steps."""
    return [SELECTION_SEED, *(_FURTHER_SEEDS if steps < FEW_STEPS else ())]


def _repeats(trial: Trial, steps: int) -> list[Trial]:
    """A candidate with the seeds that judge it; a report alone."""
    if trial.settings["until"] is None:
        return [trial]
    settings = trial.settings
    others = [
        Trial(
            f"{trial.name} seed {seed}",
            {**settings, "fit": {**settings["fit"], "seed": seed}, "run": f"{settings['run']} seed {seed}"},
        )
        for seed in _selection_seeds(steps)[1:]
    ]
    return [trial, *others]


def _given(config: Figure2, method: str) -> Candidates:
    """The one candidate that the flags give for a method; none where it is chosen.

    Raises:
        ValueError: a setting is given without a learning rate, or is none of this method's.
    """
    own = {"learning_rate", *METHODS[method][1][0]}
    flags = {name: getattr(config, name) for name in ("learning_rate", "strength", "forgetting")}
    found = {name: value for name, value in flags.items() if value is not None}
    for name in found:
        if "learning_rate" not in found:
            raise ValueError(f"{NAME}: `{name}` must come with `learning_rate`; got it alone. Give both, or neither.")
        if name not in own:
            raise ValueError(f"{NAME}: `{name}` must be left out for {method}, which has none; got {found[name]}.")
    return [found] if found else []


def _asked(config: Figure2, scale: Scale, training: int, before: Cells) -> Cells:
    """The earlier cells that are asked for, without a selection that other seeds judged than now.

    Raises:
        BenchmarkError: one of these cells is not whole.
    """
    kept = {}
    for size, method in itertools.product(config.batch_sizes or scale.batch_sizes, config.methods):
        if (one := before.get(cell := _cell(method, size))) is None:
            continue
        if not is_found(one, METHODS[method][1], scale.rungs[-1].epochs):
            raise BenchmarkError(
                f"{NAME}: `earlier` must hold what was chosen, tried and run of each cell; {config.earlier} does not "
                f"of {cell}. Take the file as the study wrote it."
            )
        judged_alike = one.get("selection_seeds", [SELECTION_SEED]) == _selection_seeds(training // size)
        kept[cell] = one if judged_alike else {**one, "selection": []}
    return kept


def _writes_over_earlier(config: Figure2) -> bool:
    path = config.out / RESULT_FILE
    return config.earlier is not None and path.exists() and path.samefile(config.earlier)


def _read_earlier(path: Path, scale: Scale) -> dict[str, Any]:
    """The result in this file.

    Raises:
        BenchmarkError: it is none.
        ValueError: it is of another study or of other settings, batch sizes apart, or nothing is chosen.
    """
    if not scale.rungs:
        raise ValueError(f"{NAME}: `earlier` must come without `learning_rate`; got both. A given rate is not chosen.")
    found, ours = read_result(path, argument="earlier"), json.loads(json.dumps(asdict(scale)))
    differs = [name for name, value in ours.items() if name != "batch_sizes" and found["config"].get(name) != value]
    if found["benchmark"] != NAME or differs:
        what = f"other {' and '.join(differs)}" if found["benchmark"] == NAME else f"results of {found['benchmark']}"
        raise ValueError(
            f"{NAME}: `earlier` must be a result file of {NAME} with these settings; got {path} with {what}. "
            "Give the flags of that study."
        )
    return found


def _scale(config: Figure2) -> Scale:
    """The scale of the preset with the epochs and seeds of the flags; without rounds where nothing is chosen."""
    scale = PRESETS[config.preset]
    if config.epochs is not None:
        check_count(NAME, "epochs", config.epochs)
        scale = replace(scale, epochs=config.epochs)
    rungs = scale.rungs if config.learning_rate is None else ()
    return replace(scale, rungs=rungs, seeds=config.seeds or scale.seeds)


def _cell(method: str, batch_size: int) -> str:
    return f"{method} batch {batch_size}"


def _trial(
    scale: Scale,
    method: str,
    batch_size: int,
    options: dict[str, Any],
    epochs: int,
    seed: int,
    until: int | None = None,
) -> Trial:
    """One training: of a candidate (up to epoch ``until``), or to report."""
    fixed = dict(METHODS[method][0])
    if fixed["optimizer"] == "sgd":  # two epochs, as small first features are thrown far by a high rate
        steps = max(1, round(scale.samples * 1448 / 2048) // batch_size)
        fixed["warmup"] = max(2 * steps, 10)
    words = " ".join(f"{key}={value:g}" for key, value in options.items())
    name = f"{_cell(method, batch_size)} {words} " + ("selection" if until else f"seed {seed}")
    model = FNOConfig(width=scale.width, modes=scale.modes, layers=scale.layers)
    settings = {
        "data": _DATA,
        "resolution": scale.resolution,
        "model": describe(model),
        "fit": {**fixed, **options, "batch_size": batch_size, "epochs": epochs, "seed": seed},
        "run": f"run {name}",
        "until": until,
        "curve": [] if until else [epoch for epoch in scale.curve if epoch <= epochs],
        "curve_samples": scale.curve_samples,
        "test": [] if until else [scale.resolution, scale.stored_resolution],
    }
    return Trial(f"{name} epoch {until}" if until else name, settings)
