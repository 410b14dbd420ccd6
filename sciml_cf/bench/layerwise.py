"""Whole networks by least squares: what one sweep reaches, what it costs, and how soon it is there.

`sciml-cf bench layerwise`
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from sciml_cf.bench.grid import GridFlags, Trial, Workers, run_trials
from sciml_cf.bench.images import (
    OPTIMISERS,
    Images,
    Watch,
    accuracy,
    first_at,
    load_images,
    perceptron,
    train_by_gradients,
)
from sciml_cf.bench.layerwise_toys import ACTIVATIONS, toy_trial
from sciml_cf.bench.results import RESULT_FILE, write_result
from sciml_cf.bench.selection import Rung, at_edge, select
from sciml_cf.bench.training import TRIAL_FOLDER
from sciml_cf.layerwise import draw_weights, fit_least_squares

_SELECTION_SEED = 0
RATES = {
    "adam": (1e-3, 3e-3, 1e-2, 3e-2, 1e-1),
    "sgd": (1e-1, 3e-1, 1.0, 3.0, 1e1),
    "nag": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
    "adagrad": (1e-2, 3e-2, 1e-1, 3e-1, 1.0),
}
# Forms of a sweep on the pictures: settings of fit_least_squares, and the bound of the first weights (None: torch's).
FORMS: dict[str, tuple[dict[str, Any], float | None]] = {
    "closest and top": ({}, 1.0),
    "closest": ({"top": False}, 1.0),
    "shortest and top": ({"targets": "minnorm"}, 1.0),
    "shortest": ({"targets": "minnorm", "top": False}, 1.0),
    "closest and top from torch weights": ({}, None),
    "reweight": ({"iterations": 10}, 1.0),
    "misclassified": ({"iterations": 10, "iterate": "misclassified"}, 1.0),
    "proximal": ({"iterations": 10, "iterate": "proximal"}, 1.0),
}
ARMS = ("sweep", "sweep without re-fit", "random features", *OPTIMISERS)


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        width: hidden units of the network whose time is taken.
        widths: hidden units of those whose accuracy is.
        depths: hidden layers of those whose conditioning is.
        mark: accuracy to pass.
        epochs, batches: passes of each gradient method, and the batch sizes it chooses from.
        seeds: of the reported runs; the selection has its own, 0.
        toys: repetitions of each problem with a known answer.
    """

    width: int = 200
    widths: tuple[int, ...] = (100, 500)
    depths: tuple[int, ...] = (1, 2, 3, 4)
    mark: float = 0.95
    epochs: int = 30
    batches: tuple[int, ...] = (32, 128)
    seeds: tuple[int, ...] = (1, 2, 3, 4, 5)
    toys: int = 50


PRESETS = {"full": Scale(), "small": replace(Scale(), seeds=(1, 2, 3), epochs=15, toys=10, widths=(100,))}


@dataclass(frozen=True, kw_only=True)
class Layerwise(GridFlags):
    """Layer-wise least squares beside tuned gradient methods and random features, on digits and on known answers.

    Every gradient method chooses among as many learning rates and batch sizes, once for the time to the mark and once
    for the accuracy at the end, on a validation part of its own. Timed runs come one at a time, seed by seed and arm by
    arm, on one thread; time is the processor's, and measuring stops it. Some minutes of one core.

    Args:
        out: folder for the trials, the result file and the page.
        preset: how large; see above.
        images: folder of MNIST or Fashion-MNIST idx files; by default scikit-learn's digits.
    """

    out: Path = Path("layerwise")
    preset: Literal["small", "full"] = "small"
    images: Path | None = None


def run(config: Layerwise, command: str) -> Path | None:
    """Run what is missing; returns the result file, None if only a shard of the grid was run."""
    scale, workers, folder = PRESETS[config.preset], config.where(), config.out / TRIAL_FOLDER
    common = {"images": None if config.images is None else str(config.images), "width": scale.width}
    toys = [Trial(f"toy {name}", {"toy": name, "count": scale.toys}) for name in ("linear", "xor", *ACTIVATIONS)]
    forms = [
        Trial(f"form {form} width {width} seed {seed}", {**common, "form": form, "width": width, "seed": seed})
        for form in FORMS for width in scale.widths for seed in scale.seeds
    ]  # fmt: skip
    depths = [
        Trial(f"depth {depth} {mode} seed {seed}", {**common, "depth": depth, "mode": mode, "seed": seed, "width": 100})
        for depth in scale.depths for mode in ("closest", "minnorm") for seed in scale.seeds
    ]  # fmt: skip
    untimed = [*((toy_trial, trial) for trial in toys), *((form_trial, t) for t in forms)]
    untimed += [(depth_trial, trial) for trial in depths]
    if config.shard is not None:
        for work, trial in workers.own(untimed):
            run_trials([trial], work, folder, workers=Workers(1), label="layerwise")
        return None
    found = {
        "toys": _results(toys, toy_trial, folder, workers),
        "forms": _results(forms, form_trial, folder, workers),
        "depths": _results(depths, depth_trial, folder, workers),
    }
    figures = {**found, "time": _time(scale, common, folder, workers)}
    return write_result(
        config.out / RESULT_FILE,
        benchmark="layerwise",
        command=command,
        config={"preset": config.preset, "images": common["images"], **asdict(scale)},
        seeds=scale.seeds,
        figures=figures,
    )


def _results(trials: Sequence[Trial], work: Any, folder: Path, workers: Workers) -> list[dict[str, Any]]:
    found = run_trials(trials, work, folder, workers=workers, label="layerwise")
    return [{**trial.settings, **result} for trial, result in zip(trials, found, strict=True)]


def _time(scale: Scale, common: dict[str, Any], folder: Path, workers: Workers) -> dict[str, Any]:
    """Choose each gradient method's settings for either end, then run all arms in turn."""
    cells = {name: [{"rate": r, "batch": b} for r in RATES[name] for b in scale.batches] for name in OPTIMISERS}

    def trial(name: str, chosen: Mapping[str, Any], epochs: int) -> Trial:
        settings = {**common, "arm": name, **chosen, "epochs": epochs, "seed": _SELECTION_SEED, "mark": scale.mark}
        return Trial(f"select {name} rate={chosen['rate']:g} batch={chosen['batch']}", {**settings, "validate": True})

    def work(trials: Sequence[Trial], label: str) -> list[dict[str, Any]]:
        return run_trials(trials, arm_trial, folder, workers=workers, label=f"layerwise: {label}")

    chosen = {
        end: select(cells, (Rung(scale.epochs, 1),), trial, work, score=score)[0]
        for end, score in (("time", "seconds_to_mark"), ("accuracy", "lost"))
    }
    runs: list[dict[str, Any]] = []
    trials: list[Trial] = []
    for seed in scale.seeds:
        for end in ("time", "accuracy"):
            for arm in ARMS if end == "time" else OPTIMISERS:
                own = {**chosen[end].get(arm, {}), "epochs": scale.epochs} if arm in OPTIMISERS else {}
                settings = {**common, "arm": arm, **own, "seed": seed, "mark": scale.mark, "validate": False}
                trials.append(Trial(f"report {end} {arm} seed {seed}", {**settings, "end": end}))
    for one, result in zip(trials, run_trials(
        trials, arm_trial, folder, workers=Workers(1), label="layerwise: report"), strict=True
    ):  # fmt: skip
        runs.append({**one.settings, **result})
    edges = {end: {arm: at_edge(own, cells[arm]) for arm, own in chosen[end].items()} for end in chosen}
    return {"chosen": chosen, "at_edge": edges, "runs": runs}


def arm_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """One network by one method with its clock: seconds to the mark, and test accuracy at the end."""
    torch.set_num_threads(1)
    images = load_images(_folder(settings), settings["seed"], validate=settings["validate"])
    arm, rows = settings["arm"], []
    for rehearsal in (True, False):  # the first run pays for what is loaded at first use
        network = _network(settings, images, own_weights=arm in OPTIMISERS)
        if arm in OPTIMISERS:
            options = {name: settings[name] for name in ("rate", "batch", "epochs", "seed")}
            options |= {"epochs": 1} if rehearsal else {}
            rows = train_by_gradients(network, images, optimizer=arm, every=10, **options)
        else:
            watch = Watch()
            least = {"sweep": {}, "sweep without re-fit": {"top": False}}
            if arm in least:
                fit_least_squares(network, images.x, images.labels, **least[arm])
            else:
                _solve_last(network, images)
            seconds = watch.stop()
            share = accuracy(network, images.x_test, images.labels_test)
            rows = [{"steps": 1.0, "seconds": seconds, "accuracy": share}]
    seconds = first_at(rows, settings["mark"])
    lost = 1 - rows[-1]["accuracy"]
    score = seconds if math.isfinite(seconds) else 1e6 * (1 + lost)  # a candidate that never passes still has a rank
    return {
        "seconds_to_mark": score,
        "passed": math.isfinite(seconds),
        "lost": lost,
        "seconds": rows[-1]["seconds"],
        "rows": rows,
    }


def form_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Accuracy of one form of a sweep on the pictures, and its solves."""
    torch.set_num_threads(1)
    images, (options, bound) = load_images(_folder(settings), settings["seed"]), FORMS[settings["form"]]
    network = _network(settings, images, own_weights=bound is None)
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
    """Accuracy and condition numbers of a deeper network."""
    torch.set_num_threads(1)
    images, depth = load_images(_folder(settings), settings["seed"]), settings["depth"]
    network = _network(settings, images, own_weights=False, depth=depth)
    report = fit_least_squares(network, images.x, images.labels, targets=settings["mode"], conditions=True)
    return {
        "test": accuracy(network, images.x_test, images.labels_test),
        "weight_solves": report.weight_solves,
        "solves": [asdict(solve) for solve in report.solves],
    }


def _network(settings: dict[str, Any], images: Images, *, own_weights: bool, depth: int = 1) -> nn.Sequential:
    torch.manual_seed(settings["seed"])
    network = perceptron(images.x.shape[1], settings["width"], images.classes, nn.Sigmoid, depth=depth)
    if not own_weights:
        draw_weights(network, seed=settings["seed"])
    return network


def _solve_last(network: nn.Sequential, images: Images) -> None:
    """Random features: the last layer alone, by the same solve."""
    with torch.no_grad():
        features = network[:-1](images.x)
    fit_least_squares(nn.Sequential(network[-1]), features, images.labels)


def _folder(settings: dict[str, Any]) -> Path | None:
    return None if settings["images"] is None else Path(settings["images"])
