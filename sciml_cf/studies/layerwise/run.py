"""Whole networks by least squares: accuracy and cost of one sweep, and the time until it is reached.

`sciml-cf study layerwise`
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sciml_cf.layerwise import LayerwiseReport, draw_weights, fit_least_squares
from sciml_cf.studies.harness.extension import at_edge
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import (
    TRIAL_FOLDER,
    Trial,
    Work,
    Workers,
    combinations,
    run_parts,
    trial_runner,
    trials_over,
)
from sciml_cf.studies.harness.images import (
    OPTIMIZERS,
    Images,
    Stopwatch,
    accuracy,
    first_at,
    load_images,
    perceptron,
    thinned,
    train_by_gradients,
)
from sciml_cf.studies.harness.selection import Rung, select
from sciml_cf.studies.layerwise.flags import Layerwise
from sciml_cf.studies.layerwise.toys import ACTIVATIONS, toy_trial

NAME = "layerwise"
_SELECTION_SEEDS = (0, 1000, 2000)
_REPEATS = 3  # of each timed run, the same to the bit but for its time; other programs only ever add to it
RATES = {
    "adam": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1),
    "sgd": (3e-2, 1e-1, 3e-1, 1.0, 3.0, 1e1),
    "nag": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "adagrad": (3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0),
}
_BATCHES = (16, 32, 128, 512)
# The candidates of each method, as many for each.
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "sweep": [
        {"bound": bound, "strength": strength, "top": top, "every": every}
        for bound in (0.3, 0.5, 0.7, 1.0) for strength in (1e-6, 1e-5)
        for top, every in ((False, 1), (True, 1), (True, 4))
    ],
    "random features": combinations(bound=(0.3, 0.5, 0.7, 1.0, 1.5, 2.0), strength=(1e-6, 1e-5, 1e-4, 1e-3)),
    **{name: combinations(rate=rates, batch=_BATCHES) for name, rates in RATES.items()},
}  # fmt: skip
# Forms of a sweep on the pictures: settings of fit_least_squares, and the bound of the first weights (None: torch's).
FORMS: dict[str, tuple[dict[str, Any], float | None]] = {
    "closest and top": ({}, 1.0),
    "closest and top and every 4th row below": ({"every": 4}, 1.0),
    "closest": ({"top": False}, 1.0),
    "shortest and top": ({"targets": "minnorm"}, 1.0),
    "shortest": ({"targets": "minnorm", "top": False}, 1.0),
    "closest and top from torch weights": ({}, None),
    "reweight": ({"iterations": 10}, 1.0),
    "misclassified": ({"iterations": 10, "iterate": "misclassified"}, 1.0),
    "proximal": ({"iterations": 10, "iterate": "proximal"}, 1.0),
}


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        timed: hidden units of the networks whose time is taken.
        widths: hidden units of those whose accuracy is.
        depths: numbers of hidden layers, of 100 units each, of the networks whose conditioning is measured.
        bounds: bounds of the draws of their weights.
        mark: accuracy to pass.
        epochs: passes of each gradient method.
        seeds: of the reported runs; the selection has its own, 0.
        toys: repetitions of each problem with a known answer.
    """

    timed: tuple[int, ...] = (100, 500)
    widths: tuple[int, ...] = (100, 500)
    depths: tuple[int, ...] = (1, 2, 3, 4)
    bounds: tuple[float, ...] = (0.3, 1.0)
    mark: float = 0.95
    epochs: int = 30
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    toys: int = 50


PRESETS = {"full": Scale(), "small": replace(Scale(), seeds=(1, 2, 3), epochs=10, toys=10, widths=(100,), timed=(100,))}


def run(config: Layerwise, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of the grid, which leaves out what is timed."""
    scale, workers, folder = PRESETS[config.preset], config.where(), config.out / TRIAL_FOLDER
    make_folder(NAME, config.out)
    common = {"images": None if config.images is None else str(config.images)}
    found: dict[str, Any] = run_parts(_untimed(scale, common), folder, workers=workers, label=NAME)
    if config.shard is not None:
        return None
    found["time"] = [_time(scale, {**common, "width": width}, config.out, workers) for width in scale.timed]
    settings = {"preset": config.preset, **common, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=found)


def _untimed(scale: Scale, common: dict[str, Any]) -> dict[str, tuple[Work, list[Trial]]]:
    """The parts of the study whose time does not count: for each its work and its trials."""
    forms = {"form": FORMS, "width": scale.widths, "seed": scale.seeds}
    modes = ("closest", "minnorm", "random features")
    depths = {"depth": scale.depths, "mode": modes, "bound": scale.bounds, "seed": scale.seeds, "width": (100,)}
    return {
        "toys": (toy_trial, trials_over("toy {toy}", {}, toy=("linear", "xor", *ACTIVATIONS), count=(scale.toys,))),
        "forms": (form_trial, trials_over("form {form} width {width} seed {seed}", common, **forms)),
        "depths": (depth_trial, trials_over("depth {depth} {mode} from {bound:g} seed {seed}", common, **depths)),
    }


def _time(scale: Scale, common: dict[str, Any], out: Path, workers: Workers) -> dict[str, Any]:
    """Choose each method's settings, for the time and for the accuracy, then run all methods in turn."""
    common = {**common, "mark": scale.mark, "epochs": scale.epochs}

    def trial(arm: str, chosen: Mapping[str, Any], epochs: int) -> Trial:
        words = " ".join(f"{name}={value:g}" for name, value in chosen.items())
        settings = {**common, "arm": arm, **chosen, "seeds": list(_SELECTION_SEEDS), "repeats": 1, "validate": True}
        return Trial(f"select width {common['width']} {arm} {words}", settings)

    work = trial_runner(NAME, out, arm_trial, workers)
    chosen = {
        end: select(CANDIDATES, (Rung(scale.epochs, 1),), trial, work, score=score)[0]
        for end, score in (("time", "seconds_to_mark"), ("accuracy", "lost"))
    }
    reported = {"repeats": _REPEATS, "validate": False}
    trials = [
        Trial(
            f"report width {common['width']} {end} {arm} seed {seed}",
            {**common, "end": end, "arm": arm, **chosen[end][arm], **reported, "seeds": [seed]},
        )
        for seed in scale.seeds for end in chosen for arm in CANDIDATES
    ]  # fmt: skip
    alone = Workers(1)  # what is timed runs by itself
    runs = run_parts({"report": (arm_trial, trials)}, out / TRIAL_FOLDER, workers=alone, label=NAME)["report"]
    edges = {end: {arm: at_edge(own, CANDIDATES[arm]) for arm, own in chosen[end].items()} for end in chosen}
    return {"width": common["width"], "chosen": chosen, "at_edge": edges, "runs": runs}


def arm_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One method with its clock, on one or several splits: mean seconds to the threshold and final errors."""
    torch.set_num_threads(1)
    found = []
    for seed in settings["seeds"]:
        images = load_images(_folder(settings), seed, validate=settings["validate"])
        _rows_of_arm({**settings, "epochs": 1}, seed, images)  # pays for what is loaded at first use
        repeats = [_rows_of_arm(settings, seed, images) for _ in range(settings["repeats"])]
        found.append(min(repeats, key=lambda rows: rows[-1]["seconds"]))
    seconds = [first_at(rows, settings["mark"]) for rows in found]
    lost = sum(1 - rows[-1]["accuracy"] for rows in found) / len(found)
    missed = sum(not math.isfinite(one) for one in seconds)  # a candidate that misses the threshold still has a rank
    return {
        "seconds_to_mark": sum(one for one in seconds if math.isfinite(one)) / len(found) + 1e6 * missed,
        "passed": len(found) - missed,
        "lost": lost,
        "seconds": sum(rows[-1]["seconds"] for rows in found) / len(found),
        "rows": thinned(found[0], settings["mark"]) if not settings["validate"] else [],
    }


def _rows_of_arm(settings: dict[str, Any], seed: int, images: Images) -> list[dict[str, float]]:
    arm = settings["arm"]
    network = _network(settings, images, seed, bound=settings.get("bound"))
    if arm in OPTIMIZERS:
        options = {name: settings[name] for name in ("rate", "batch", "epochs")}
        return train_by_gradients(network, images, optimizer=arm, every=5, seed=seed, **options)
    watch = Stopwatch()
    if arm == "sweep":
        options = {name: settings[name] for name in ("strength", "top", "every")}
        fit_least_squares(network, images.x, images.labels, **options)
    else:
        _solve_last(network, images, strength=settings["strength"])
    seconds = watch.stop()
    return [{"steps": 1.0, "seconds": seconds, "accuracy": accuracy(network, images.x_test, images.labels_test)}]


def form_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Accuracy of one form of a sweep on the pictures, and its solves."""
    torch.set_num_threads(1)
    images, (options, bound) = load_images(_folder(settings), settings["seed"]), FORMS[settings["form"]]
    network = _network(settings, images, settings["seed"], bound=bound)
    report = fit_least_squares(network, images.x, images.labels, **options)
    return {
        "train": accuracy(network, images.x, images.labels),
        "test": accuracy(network, images.x_test, images.labels_test),
        "weight_solves": report.weight_solves,
        "target_solves": report.target_solves,
        "sweeps": report.sweeps,
        "last_sweep": report.accuracy[-1] if report.accuracy else None,
    }


def depth_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Accuracy and condition numbers of a deeper network, or of its last layer solved alone."""
    torch.set_num_threads(1)
    images, depth = load_images(_folder(settings), settings["seed"]), settings["depth"]
    network = _network(settings, images, settings["seed"], bound=settings["bound"], depth=depth)
    if settings["mode"] == "random features":
        report = _solve_last(network, images, conditions=True)
    else:
        report = fit_least_squares(network, images.x, images.labels, targets=settings["mode"], conditions=True)
    return {
        "test": accuracy(network, images.x_test, images.labels_test),
        "weight_solves": report.weight_solves,
        "solves": [asdict(solve) for solve in report.solves],
    }


def _solve_last(network: nn.Sequential, images: Images, **settings: Any) -> LayerwiseReport:
    """Random features: the last layer alone, by the same solve."""
    with torch.no_grad():
        features = network[:-1](images.x)
    return fit_least_squares(nn.Sequential(network[-1]), features, images.labels, **settings)


def _network(
    settings: dict[str, Any], images: Images, seed: int, *, bound: float | None, depth: int = 1
) -> nn.Sequential:
    torch.manual_seed(seed)
    network = perceptron(images.x.shape[1], settings["width"], images.classes, nn.Sigmoid, depth=depth)
    if bound is not None:
        draw_weights(network, seed=seed, bound=bound)
    return network


def _folder(settings: dict[str, Any]) -> Path | None:
    return None if settings["images"] is None else Path(settings["images"])
