"""The explicit softmax layer: its one setting, as a start of training, and as a language model.

`sciml-cf study softmax`
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.layerwise import explicit_softmax, warm_start_layers
from sciml_cf.studies.harness.folder import make_folder, store_result
from sciml_cf.studies.harness.grid import TRIAL_FOLDER, Trial, Work, run_parts, trials_over
from sciml_cf.studies.harness.images import accuracy, load_images
from sciml_cf.studies.softmax.flags import Softmax
from sciml_cf.studies.softmax.text import law_trial, text_start_trial, text_trial

NAME = "softmax"
_SMOOTHING = 1e-2
_STARTS = ("warm", "cold")


@dataclass(frozen=True)
class Scale:
    """How large the benchmark is.

    Args:
        norms: K to try on the pictures; 0 means the mean norm.
        smoothings: on the pictures, in units of the mean co-occurrence.
        batches: batches of Adam, from a warm and from a cold start.
        rates: learning rates of Adam.
        epochs: of those trainings.
        vocabulary: number of tokens of the language models.
        contexts: their context lengths.
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


Parts = dict[str, tuple[Work, list[Trial]]]


def run(config: Softmax, command: str = "") -> Path | None:
    """Run what is missing; the result file, or None after one part of the grid."""
    scale, workers = PRESETS[config.preset], config.where()
    make_folder(NAME, config.out)
    sources = {"images": _text_of(config.images), "text": _text_of(config.text)}
    parts = {**_of_images(scale, {"images": sources["images"]}), **_of_texts(scale, {"text": sources["text"]})}
    figures = run_parts(parts, config.out / TRIAL_FOLDER, workers=workers, label=NAME)
    if config.shard is not None:
        return None
    settings = {"preset": config.preset, **sources, **asdict(scale)}
    return store_result(NAME, config, command, settings=settings, seeds=scale.seeds, figures=figures)


def _text_of(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _of_images(scale: Scale, images: dict[str, Any]) -> Parts:
    """The parts of the study on pictures: for each its work and its trials."""
    seeds = scale.seeds
    priming = {"norm": scale.norms, "smoothing": scale.smoothings, "seed": seeds}
    start = {"start": _STARTS, "batch": scale.batches, "rate": scale.rates, "seed": seeds, "epochs": (scale.epochs,)}
    return {
        "priming": (priming_trial, trials_over("priming {norm:g} {smoothing:g} seed {seed}", images, **priming)),
        "start": (start_trial, trials_over("start {start} {batch} {rate:g} seed {seed}", images, **start)),
        "local": (local_trial, trials_over("local seed {seed}", images, seed=seeds)),
    }


def _of_texts(scale: Scale, text: dict[str, Any]) -> Parts:
    """The parts of the study on texts, and on made-up ones."""
    seeds = scale.seeds
    text = {**text, "vocabulary": scale.vocabulary, "smoothings": list(scale.text_smoothings)}
    contexts = {"sum": scale.contexts, "concat": tuple(k for k in scale.contexts if k > 1)}
    models = [
        trial
        for split in ("blocks", "documents")
        for kind in contexts
        for trial in trials_over(
            "text {split} {aggregate} {context} seed {seed}",
            text, split=(split,), aggregate=(kind,), context=contexts[kind], seed=seeds,
        )
    ]  # fmt: skip
    start = {"start": _STARTS, "context": (1, 4), "rate": scale.rates, "seed": seeds, "epochs": (scale.text_epochs,)}
    laws = [
        trial
        for law, kept in scale.laws
        for trial in trials_over(
            "law {law} {kept:g} {context} seed {seed}", {}, law=(law,), kept=(kept,), context=(1, 2, 4), seed=seeds
        )
    ]
    return {
        "text": (text_trial, models),
        "text start": (
            text_start_trial,
            trials_over("text start {start} {context} {rate:g} seed {seed}", text, **start),
        ),
        "laws": (law_trial, laws),
    }


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
    """Relative distance and cosine of two softmax layers ``(F, C)``, each row less its mean, which softmax does not
    see.
    """
    ours, theirs = (value.double() - value.double().mean(dim=1, keepdim=True) for value in (weights, explicit))
    return {
        "distance": ((ours - theirs).norm() / theirs.norm()).item(),
        "cosine": ((ours * theirs).sum() / (ours.norm() * theirs.norm()).clamp(min=1e-300)).item(),
    }


def local_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Two layers, each solved for the labels by itself, and one."""
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
