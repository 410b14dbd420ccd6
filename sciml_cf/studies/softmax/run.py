"""The explicit softmax layer: its one setting, as a start of training, and as a language model.

`sciml-cf study softmax`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.layerwise import explicit_softmax, warm_start_layers
from sciml_cf.studies.harness.grid import GridFlags, Trial, Workers, run_trials
from sciml_cf.studies.harness.images import accuracy, load_images
from sciml_cf.studies.harness.results import RESULT_FILE, write_result
from sciml_cf.studies.harness.training import TRIAL_FOLDER
from sciml_cf.studies.softmax.text import law_trial, text_start_trial, text_trial

_SMOOTHING = 1e-2


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        norms: K to try on the pictures; 0 stands for the mean norm.
        smoothings: on the pictures, in units of the mean co-occurrence.
        batches, rates: of Adam, from a warm and from a cold start.
        epochs: of those trainings.
        vocabulary, contexts: of the language models.
        text_smoothings: what each chooses from, on the validation part.
        seeds: of splits, draws and orders.
        text_epochs: of the language models that are trained.
        laws: how the tokens of made-up texts are distributed, and how many steps of a chain keep the group.
    """

    norms: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 0.0, 40.0, 1000.0)
    smoothings: tuple[float, ...] = (1e-4, 1e-2, 1e-1, 1.0)
    batches: tuple[int, ...] = (32, 128)
    rates: tuple[float, ...] = (1e-3, 1e-2)
    epochs: int = 50
    vocabulary: int = 1000
    contexts: tuple[int, ...] = (1, 2, 4, 8)
    text_smoothings: tuple[float, ...] = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
    seeds: tuple[int, ...] = (1, 2, 3)
    text_epochs: int = 5
    laws: tuple[tuple[str, float], ...] = tuple((law, kept) for law in ("zipf", "uniform") for kept in (0.0, 0.5, 0.9))


PRESETS = {
    "full": Scale(),
    "small": replace(
        Scale(), norms=(1.0, 0.0), smoothings=(1e-2,), batches=(128,), rates=(1e-2,), epochs=5, contexts=(1, 4),
        text_smoothings=(1e-2, 1e-1), seeds=(1,), text_epochs=1, laws=(("zipf", 0.5),),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Softmax(GridFlags):
    """The explicit softmax layer on digits and on text: its norm, warm against cold starts, perplexity, its premise.

    Some minutes of one core.

    Args:
        out: folder for the trials, the result file and the page.
        preset: how large; see above.
        images: folder of MNIST or Fashion-MNIST idx files; by default scikit-learn's digits.
        text: folder of a corpus in BabyLM's layout (files *.train, *.dev, *.test); by default the topics of Python's
            own help.
    """

    out: Path = Path("softmax")
    preset: Literal["small", "full"] = "small"
    images: Path | None = None
    text: Path | None = None


Work = Callable[[dict[str, Any], Path], dict[str, Any]]


def run(config: Softmax, command: str) -> Path | None:
    """Run what is missing; returns the result file, None if only a shard of the grid was run."""
    scale, workers, folder = PRESETS[config.preset], config.where(), config.out / TRIAL_FOLDER
    sources = {name: None if path is None else str(path) for name, path in _sources(config).items()}
    parts = _trials(scale, sources)
    if config.shard is not None:
        flat = [(work, trial) for work, trials in parts.values() for trial in trials]
        for work, trial in workers.own(flat):
            run_trials([trial], work, folder, workers=Workers(1), label="softmax")
        return None
    figures = {}
    for name, (work, trials) in parts.items():
        results = run_trials(trials, work, folder, workers=workers, label=f"softmax: {name}")
        figures[name] = [{**one.settings, **result} for one, result in zip(trials, results, strict=True)]
    return write_result(
        config.out / RESULT_FILE,
        benchmark="softmax",
        command=command,
        config={"preset": config.preset, **sources, **asdict(scale)},
        seeds=scale.seeds,
        figures=figures,
    )


def _sources(config: Softmax) -> dict[str, Path | None]:
    return {"images": config.images, "text": config.text}


def _trials(scale: Scale, sources: dict[str, str | None]) -> dict[str, tuple[Work, list[Trial]]]:
    """For each part of the study its work and its trials."""
    seeds, images, text = scale.seeds, {"images": sources["images"]}, {"text": sources["text"]}
    starts = ("warm", "cold")
    text |= {"vocabulary": scale.vocabulary, "smoothings": list(scale.text_smoothings)}
    models = [("sum", k) for k in scale.contexts] + [("concat", k) for k in scale.contexts if k > 1]
    return {
        "priming": (priming_trial, [
            Trial(f"priming {k:g} {s:g} seed {seed}", {**images, "norm": k, "smoothing": s, "seed": seed})
            for k in scale.norms for s in scale.smoothings for seed in seeds
        ]),
        "start": (start_trial, [
            Trial(
                f"start {start} {batch} {rate:g} seed {seed}",
                {**images, "start": start, "batch": batch, "rate": rate, "seed": seed, "epochs": scale.epochs},
            )
            for start in starts for batch in scale.batches for rate in scale.rates for seed in seeds
        ]),
        "local": (local_trial, [Trial(f"local seed {seed}", {**images, "seed": seed}) for seed in seeds]),
        "text": (text_trial, [
            Trial(f"text {split} {kind} {k} seed {seed}",
                  {**text, "split": split, "aggregate": kind, "context": k, "seed": seed})
            for split in ("blocks", "documents") for kind, k in models for seed in seeds
        ]),
        "text start": (text_start_trial, [
            Trial(f"text start {start} {k} {rate:g} seed {seed}",
                  {**text, "start": start, "context": k, "rate": rate, "seed": seed, "epochs": scale.text_epochs})
            for start in starts for k in (1, 4) for rate in scale.rates for seed in seeds
        ]),
        "laws": (law_trial, [
            Trial(f"law {law} {kept:g} {k} seed {seed}", {"law": law, "kept": kept, "context": k, "seed": seed})
            for law, kept in scale.laws for k in (1, 2, 4) for seed in seeds
        ]),
    }  # fmt: skip


def priming_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Test accuracy and cross-entropy of the explicit layer at one K and one smoothing."""
    torch.set_num_threads(1)
    images = load_images(_folder(settings), settings["seed"])
    weights = explicit_softmax(
        images.x, images.labels, norm=settings["norm"] or "mean", smoothing=settings["smoothing"]
    )
    scores = images.x_test.double() @ weights
    return {
        "mean_norm": images.x.double().sum(dim=1).mean().item(),
        "accuracy": (scores.argmax(dim=1) == images.labels_test).double().mean().item(),
        "cross_entropy": nn.functional.cross_entropy(scores, images.labels_test).item(),
    }


def start_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """A softmax layer without bias trained by Adam from explicit or from random weights: one row an epoch."""
    torch.set_num_threads(1)
    images = load_images(_folder(settings), settings["seed"])
    explicit = explicit_softmax(images.x, images.labels, smoothing=_SMOOTHING)
    torch.manual_seed(settings["seed"])
    layer = nn.Linear(images.x.shape[1], images.classes, bias=False)
    if settings["start"] == "warm":
        layer.weight.data = explicit.T.float().contiguous()
    stepper = torch.optim.Adam(layer.parameters(), lr=settings["rate"])
    generator = torch.Generator().manual_seed(settings["seed"])
    rows = []
    for epoch in range(settings["epochs"] + 1):
        with torch.no_grad():
            losses = [
                nn.functional.cross_entropy(layer(x), labels).item()
                for x, labels in ((images.x, images.labels), (images.x_test, images.labels_test))
            ]
        share = accuracy(layer, images.x_test, images.labels_test)
        rows.append(
            {"epoch": epoch, "accuracy": share, "train_cross_entropy": losses[0], "test_cross_entropy": losses[1],
             **distances(layer.weight.detach().T, explicit)}
        )  # fmt: skip
        order = torch.randperm(len(images.x), generator=generator)
        for some in order.split(settings["batch"]) if epoch < settings["epochs"] else ():
            stepper.zero_grad()
            nn.functional.cross_entropy(layer(images.x[some]), images.labels[some]).backward()
            stepper.step()
    return {"rows": rows}


def distances(weights: Tensor, explicit: Tensor) -> dict[str, float]:
    """Relative distance and cosine of two softmax layers (F, C), each row less its mean, which softmax does not see."""
    ours, theirs = (value.double() - value.double().mean(dim=1, keepdim=True) for value in (weights, explicit))
    return {
        "distance": ((ours - theirs).norm() / theirs.norm()).item(),
        "cosine": ((ours * theirs).sum() / (ours.norm() * theirs.norm()).clamp(min=1e-300)).item(),
    }


def local_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Two layers, each solved for the labels by itself, beside one."""
    torch.set_num_threads(1)
    images = load_images(_folder(settings), settings["seed"])
    classes = images.classes
    network = nn.Sequential(nn.Linear(images.x.shape[1], classes), nn.Softmax(dim=-1), nn.Linear(classes, classes))
    warm_start_layers(network, [(images.x, images.labels)])
    one = nn.Sequential(network[0])
    return {
        "one_layer": accuracy(one, images.x_test, images.labels_test),
        "two_layers": accuracy(network, images.x_test, images.labels_test),
        "one_layer_cross_entropy": _cross_entropy(one, images.x_test, images.labels_test),
        "two_layers_cross_entropy": _cross_entropy(network, images.x_test, images.labels_test),
    }


@torch.no_grad()
def _cross_entropy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    return nn.functional.cross_entropy(network(x), labels).item()


def _folder(settings: dict[str, Any]) -> Path | None:
    return None if settings["images"] is None else Path(settings["images"])
