"""Suite: train with gradients and with the closed-form head on many problems, each equally tuned."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from data_gen import DatasetSpec
from data_gen.terminal.outcome import Outcome
from sciml_cf.errors import check_choice, check_count
from sciml_cf.studies.harness.folder import finish, make_folder, store_result
from sciml_cf.studies.harness.grid import Trial, combinations, trial_runner
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.harness.selection import SELECTION_SEED, Rung, select_and_report
from sciml_cf.studies.harness.sizes import ModelSize, Scale
from sciml_cf.studies.harness.training import make_data
from sciml_cf.studies.suite.flags import (
    CHANGES,
    METHODS,
    MODELS,
    OF_THE_HEAD,
    OPTIMIZERS,
    PEERS,
    PROBLEMS,
    PUBLISHED,
    Suite,
)
from sciml_cf.studies.suite.own_file import describe_file
from sciml_cf.studies.suite.sentences import sentence
from sciml_cf.studies.suite.summary import comparisons
from sciml_cf.studies.suite.trial import Settings, linear_trial, suite_trial
from sciml_cf.training.optimizers import check_optimizer

NAME = "suite"
_RATES = (1e-3, 3e-3, 1e-2)
_SEEDS = {"train": 0, "validation": 1, "test": 2}  # of the data: the parts are files of their own
_PLANES = ("darcy", "darcy-log-normal", "navier_stokes", "gray_scott", "burgers-2d")


@dataclass(frozen=True, kw_only=True)
class Size(ModelSize):
    """How large the training on one problem is.

    Args:
        width, modes, layers, batch_size: of the Fourier neural operator, see ``ModelSize``; others follow from it.
        resolution: points along each axis to train and test at.
        epochs: of a reported training.
    """

    resolution: int
    epochs: int


_LINE = Size(width=64, modes=16, layers=4, batch_size=16, resolution=256, epochs=40)
_PLANE = Size(width=20, modes=8, layers=4, batch_size=16, resolution=32, epochs=40)
_SMALL_LINE = replace(_LINE, width=12, modes=12, layers=2, batch_size=8, epochs=6)
_SMALL_PLANE = replace(_PLANE, width=8, modes=5, layers=2, batch_size=8, epochs=6)


def _scale(line: Size, plane: Size, share: float, seeds: tuple[int, ...]) -> Scale[Size]:
    return Scale({name: plane if name in _PLANES else line for name in PROBLEMS}, share=share, seeds=seeds)


PRESETS = {
    "full": _scale(_LINE, _PLANE, 0.25, (1, 2, 3, 4, 5)),
    "small": _scale(_SMALL_LINE, _SMALL_PLANE, 0.5, (1, 2)),
}
#: Samples for training, if none are given, for validation and for the test.
SAMPLES = {"full": (512, 128, 256), "small": (64, 32, 32)}
#: Of a user's file: sizes by the number of dimensions, and the seeds.
OWN = {
    "full": ({1: _LINE, 2: _PLANE}, (1, 2, 3, 4, 5)),
    "small": ({1: replace(_SMALL_LINE, epochs=20), 2: replace(_SMALL_PLANE, epochs=20)}, (1, 2, 3)),
}


@dataclass(frozen=True)
class Plan:
    """How problems are trained and measured.

    Args:
        scale: sizes, the share of the epochs in a selection, and the seeds.
        samples: for training, if none are given, for validation and for the test.
        fit: further arguments of FitConfig, for every method.
    """

    scale: Scale[Size]
    samples: tuple[int, int, int]
    fit: dict[str, Any] = field(default_factory=dict)


_PUBLISHED = Size(width=32, modes=12, layers=4, batch_size=20, resolution=85, epochs=50)
_SMALL_PUBLISHED = replace(_SMALL_PLANE, resolution=85)
PUBLISHED_PLANS = {
    "full": Plan(Scale({"darcy-85": _PUBLISHED}, 0.2, (1, 2, 3)), (1000, 100, 200), {"loss": "relative"}),
    "small": Plan(Scale({"darcy-85": _SMALL_PUBLISHED}, 0.5, (1, 2)), (32, 16, 16), {"loss": "relative"}),
}


@dataclass(frozen=True)
class Cell:
    """One training to choose and to report.

    Args:
        problem, samples, model, optimizer, method, change: see ``Suite``; the samples are those for training.
    """

    problem: str
    samples: int
    model: str
    optimizer: str
    method: str
    change: str = "none"

    @property
    def name(self) -> str:
        usual = f"{self.problem} {self.samples} {self.model} {self.optimizer} {self.method}"
        return usual if self.change == "none" else f"{usual} {self.change}"

    @property
    def is_trained(self) -> bool:
        """Whether there is such a training: gradients have no settings of the head, peers none that is changed, and
        not every law is the same in the mirror.
        """
        if "augment" in CHANGES[self.change] and not _has_symmetries(self.problem):
            return False
        if self.method in PEERS:
            return (self.model, self.optimizer, self.change) == ("fno", "adam", "none")
        return self.method != "l2" or not any(name in OF_THE_HEAD for name in CHANGES[self.change])


@cache
def _has_symmetries(problem: str) -> bool:
    """Whether the law is the same in the mirror and with axes exchanged; of a user's file the training asks."""
    described = {**PROBLEMS, **PUBLISHED}.get(problem)
    if described is None:
        return True
    return DatasetSpec(**described, samples=1).make_equation().is_same_in_mirror(exchanged=True)


def run(config: Suite, command: str = "") -> Path | str | None:
    """Run what is missing of the grid; the result file, None after one part of it, or the words on the user's file."""
    _check(config)
    make_folder(NAME, config.out)
    if config.data is not None:
        return _run_own(config, config.data, command)
    plan = _plan(config)
    counts = config.samples or plan.samples[:1]
    cells = config.where().own(_cells(config, itertools.product(config.problems, counts)))
    data = {}
    for problem, samples in dict.fromkeys((cell.problem, cell.samples) for cell in cells):
        data[problem, samples] = _make_data(config, plan, problem, samples)
    path = _measure(config, command, cells, data, plan)
    return None if config.shard is not None else path


def _plan(config: Suite) -> Plan:
    """That of the problems which are asked for, by preset."""
    if set(config.problems) <= set(PUBLISHED):
        return PUBLISHED_PLANS[config.preset]
    return Plan(PRESETS[config.preset], SAMPLES[config.preset])


def _run_own(config: Suite, data: Path, command: str) -> Path | str | None:
    """The same on a file, as the only problem, and in a sentence."""
    sizes, seeds = OWN[config.preset]
    file = describe_file(data)
    usual = sizes[file.num_dims]
    size = replace(
        usual,
        resolution=file.resolution,
        modes=max(2, min(usual.modes, file.fewest_points // 2)),
        batch_size=max(1, min(usual.batch_size, file.samples // 4)),
    )
    scale = Scale({file.name: size}, share=PRESETS[config.preset].share, seeds=seeds)
    plan = Plan(scale, (file.samples, *SAMPLES[config.preset][1:]))
    cells = config.where().own(_cells(config, [(file.name, file.samples)]))
    path = _measure(config, command, cells, {(file.name, file.samples): file.settings}, plan)
    if path is None or config.shard is not None:
        return None
    done, found = finish(path), comparisons(read_result(path))
    words = [sentence(data.name, one, several=len(found) > 1) for one in found]
    chosen = (
        f"Chosen for {data.name}: {file.samples} training samples at {file.grid} points, width {size.width}, "
        f"{size.modes} modes, {size.layers} layers, batches of {size.batch_size}, {size.epochs} epochs, "
        f"{len(seeds)} seeds ({config.preset} preset)."
    )
    return Outcome("\n\n".join([str(done), chosen, *words]), following=done.following)


def _cells(config: Suite, data: Iterable[tuple[str, int]]) -> list[Cell]:
    """Every training that is asked for on these problems and numbers of samples."""
    asked = itertools.product(data, config.models, config.optimizers, config.methods, config.changes)
    return [cell for one, *rest in asked if (cell := Cell(*one, *rest)).is_trained]


def _measure(
    config: Suite,
    command: str,
    cells: Sequence[Cell],
    data: Mapping[tuple[str, int], Settings],
    plan: Plan,
) -> Path | None:
    """Choose and report every cell, and fit the linear maps; the result file, None on one part of the grid."""
    workers, by_name, scale = config.where(), {cell.name: cell for cell in cells}, plan.scale

    def trial(name: str, options: Mapping[str, Any], seed: int) -> Trial:
        cell = by_name[name]
        return _trial(cell, data[cell.problem, cell.samples], options, seed, plan)

    tried = dict.fromkeys(by_name, combinations(learning_rate=_RATES))
    found = select_and_report(
        tried,
        (Rung(1, 1),),
        lambda name, options, _: trial(name, options, SELECTION_SEED),
        lambda name, options: [({"seed": seed}, trial(name, options, seed)) for seed in scale.seeds],
        trial_runner(NAME, config.out, suite_trial, workers),
        extend=2,
    )
    linear = [Trial(f"{problem} {samples} linear map", {"data": parts}) for (problem, samples), parts in data.items()]
    maps = trial_runner(NAME, config.out, linear_trial, workers)(linear, "linear maps")
    if config.shard is not None:
        return None
    figures = {
        "cells": {name: {**asdict(cell), **found[name]} for name, cell in by_name.items()},
        "linear": {" ".join(map(str, key)): one for key, one in zip(data, maps, strict=True)},
    }
    used = {cell.problem: asdict(scale.sizes[cell.problem]) for cell in cells}
    settings = {
        "preset": config.preset, "sizes": used, "share": scale.share, "seeds": scale.seeds, "rates": _RATES,
        "held_out": plan.samples[1:] if config.data is None else None,
        "file": None if config.data is None else config.data.name,
        **({"fit": dict(plan.fit)} if plan.fit else {}),
    }  # fmt: skip
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _check(config: Suite) -> None:
    known = {
        "problems": (*PROBLEMS, *PUBLISHED), "models": MODELS, "optimizers": OPTIMIZERS, "methods": METHODS + PEERS,
        "changes": tuple(CHANGES),
    }  # fmt: skip
    for name, choices in known.items():
        for value in getattr(config, name):
            check_choice(NAME, name, value, choices)
    _check_published(config)
    for samples in config.samples:
        check_count(NAME, "samples", samples, minimum=16)
    for optimizer in config.optimizers:
        check_optimizer(optimizer)
    if config.data is not None and (config.samples or config.problems != tuple(PROBLEMS)):
        raise ValueError(
            "suite: `data` must be given without --problems and --samples; got both. The file says what there is."
        )
    if config.data is not None and "none" not in config.changes:
        raise ValueError(f"suite: `changes` must hold none where `data` is given; got {' '.join(config.changes)}.")
    if not _cells(config, [(problem, 0) for problem in config.problems]):
        raise ValueError(
            "suite: `methods` must hold proximal for changes of the head alone; peers go with fno, adam and no change, "
            f"and symmetries with {', '.join(filter(_has_symmetries, [*PROBLEMS, *PUBLISHED]))}; got "
            f"{' '.join(config.methods)} with {' '.join(config.models)}, {' '.join(config.optimizers)} and changes "
            f"of {', '.join(config.changes)}."
        )


def _check_published(config: Suite) -> None:
    problems = config.problems
    published = [name for name in problems if name in PUBLISHED]
    if published and len(published) < len(problems):
        raise ValueError(
            f"suite: `problems` must hold {published[0]} alone, or not; got {' '.join(problems)}. Its samples "
            "and seeds are others: run it into a folder of its own."
        )
    own = _plan(config).fit.items()
    for change in config.changes if published else ():
        if CHANGES[change] and CHANGES[change].items() <= own:
            raise ValueError(
                f"suite: `changes` must differ from the usual training; got {change}, with which {published[0]} is "
                "trained anyway. Leave it out."
            )


def _make_data(config: Suite, plan: Plan, problem: str, samples: int) -> Settings:
    """Make the files of a problem, and the settings of a trial that describe them."""
    counts = dict(zip(_SEEDS, (samples, *plan.samples[1:]), strict=True))
    described = {**{**PROBLEMS, **PUBLISHED}[problem], "dtype": "float32"}
    settings: Settings = {"resolution": plan.scale.sizes[problem].resolution, "times": None}
    for part, count in counts.items():
        name = f"{problem}-{part}" + (f"-{samples}" if part == "train" else "")
        spec = DatasetSpec(**described, samples=count, seed=_SEEDS[part])
        make_data(config.out, name, spec)
        settings[part] = [f"{name}.h5", "all"]
        if len(spec.times) > 1:
            settings["times"] = list(spec.times)
    return settings


def _trial(cell: Cell, data: Settings, options: Mapping[str, Any], seed: int, plan: Plan) -> Trial:
    """One training: of a candidate, or to report."""
    size, selects = plan.scale.sizes[cell.problem], seed == SELECTION_SEED
    share = plan.scale.share if selects else 1.0
    settings = {
        "data": data,
        "model": _model(cell.model, size),
        "fit": {**plan.fit, **options, "optimizer": cell.optimizer, "method": cell.method, "seed": seed,
                "batch_size": size.batch_size, "epochs": max(1, round(size.epochs * share)), **CHANGES[cell.change]},
        "test": not selects,
    }  # fmt: skip
    kind = "selection" if selects else f"seed {seed}"
    return Trial(f"{cell.name} rate={options['learning_rate']:g} {kind}", settings)


def _model(name: str, size: Size) -> Settings:
    """A model of about the cost of the Fourier neural operator of this size."""
    sizes = {
        "uno": {"modes": size.modes // 2 + 1, "layers": max(4, size.layers + 1)},
        "conv": {"layers": size.layers},
        "unet": {"width": max(4, size.width // 2), "layers": 2},
        "deeponet": {"width": 2 * size.width, "layers": 3},
    }
    usual = {"modes": size.modes, "layers": size.layers}
    return {"builder": name, "width": size.width, **sizes.get(name, usual)}
