"""Classification of images with a head in closed form: the paper's CIFAR and ImageNet recipes, and digits at once.

References:
    Closed-Form Last Layer Optimization (arXiv:2510.04606), section 6, Figures 4 and 5, and appendix E.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.classification import CLASSIFIERS, ClassImages, FolderImages, read_cifar, read_digits
from sciml_cf.classification.images import channel_statistics, picture_transforms, small_image_transforms
from sciml_cf.classification.methods import check_method, has_probabilities, method_of
from sciml_cf.classification.metrics import expected_calibration_error, reliability, top_k_accuracy
from sciml_cf.errors import DatasetError, check_count, check_positive
from sciml_cf.head import Objective, strength_from_paper
from sciml_cf.models import describe
from sciml_cf.studies.classification.flags import Classification
from sciml_cf.studies.harness.folder import check_folder, command_of, make_folder, store_result
from sciml_cf.training.batches import sequential_batches
from sciml_cf.training.choices import Schedule
from sciml_cf.training.config import FitConfig
from sciml_cf.training.distributed import is_first_process, process_rank, total
from sciml_cf.training.fit import fit

NAME = "classification"
# The paper's sweeps (appendix E); coefficients on sums over the batch, see strength_from_paper.
BATCH_SIZES = (32, 128, 1024, 4096)
CIFAR_RATES = (10.0, 5.0, 2.0, 1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.01, 0.005, 0.001, 0.0005)
CIFAR_COEFFICIENTS = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0, 1000.0)
IMAGENET_RATES = (0.1, 1.0, 1.6, 2.0, 5.0)
IMAGENET_COEFFICIENTS = (*CIFAR_COEFFICIENTS, 10000.0)
_EVALUATED = 256  # images of a forward pass in evaluation
_TEST_SHARE, _VALIDATION_SHARE = 0.2, 0.2


@dataclass(frozen=True)
class Recipe:
    """How a data set is trained on; what a flag names wins.

    Args:
        model: a name in ``sciml_cf.classification.CLASSIFIERS``.
        batch_size: see FitConfig and CrossEntropy.
        epochs: see FitConfig and CrossEntropy.
        learning_rate: see FitConfig and CrossEntropy.
        schedule: see FitConfig and CrossEntropy.
        smoothing: see FitConfig and CrossEntropy.
        adaptive_clip: see FitConfig and CrossEntropy.
        warmup_epochs: over which the rate rises.
        coefficients: of methods on sums over a batch; others have their rule's own strength.
        rates: of methods whose rate differs.
    """

    model: str
    batch_size: int
    epochs: int
    learning_rate: float
    schedule: Schedule = "constant"
    warmup_epochs: int = 0
    smoothing: float = 0.0
    adaptive_clip: float | None = None
    coefficients: Mapping[str, float] | None = None
    rates: Mapping[str, float] | None = None


# Appendix E names the sweeps of CIFAR but not their winners: 0.1 and 10 are from the middle of them. The rates, lambda
# and beta of ImageNet are the paper's; epochs, warm-up, smoothing and clipping Brock et al.'s (arXiv:2102.06171).
RECIPES = {
    "digits": Recipe(
        "perceptron",
        128,
        20,
        0.1,
        coefficients={"proximal": 10.0, "cross-entropy-closed-form": 1.0, "hybrid": 10.0},
        rates={"hybrid": 0.01},
    ),
    "cifar10": Recipe("resnet18", 128, 100, 0.1, coefficients={"proximal": 10.0}),
    "cifar100": Recipe("resnet18", 128, 100, 0.1, coefficients={"proximal": 10.0}),
    "imagenet": Recipe(
        "nfnet-f0", 4096, 360, 1.6, "cosine", 5, 0.1, 0.01, {"proximal": 10000.0, "ridge": 0.01}, {"l2": 1.0}
    ),
}


class Parts(NamedTuple):
    """What is trained on, validated and tested with, and its classes; images (channels, size, size)."""

    train: Dataset[dict[str, Tensor]]
    validation: Dataset[dict[str, Tensor]]
    test: Dataset[dict[str, Tensor]]
    classes: int
    channels: int
    size: int


def run(config: Classification, command: str = "") -> Path | str:
    """Train, measure and write OUT; the result file, or no text in processes after the first."""
    check_method(NAME, config.method)
    recipe = RECIPES[config.data]
    check_folder(NAME, config.out)
    parts = load_parts(config)
    builder = _builder(config, recipe, parts)
    model = builder.build(seed=config.seed)
    fit_config, objective = settings(config, recipe, len(cast(Any, parts.train)))
    make_folder(NAME, config.out)
    history = fit(
        model,
        parts.train,
        parts.validation,
        config=fit_config,
        out=config.out / "run",
        resume=config.resume,
        overwrite=config.overwrite,
        describe={
            "model": describe(builder),
            "data": {"name": config.data, "method": config.method, "objective": repr(objective)}
            | {"augment": config.augment, "image_size": config.image_size},
        },
        objective=objective,
        measure=lambda model, _: measure(model, parts.test, probabilities=has_probabilities(config.method)),
    )
    curve = {}
    if has_probabilities(config.method):  # of the weights that fit leaves, those of the last row
        outputs, labels = predictions(model.eval(), parts.test)
        curve = {"reliability": reliability(outputs.softmax(1), labels).plain()}
    if not is_first_process():
        return ""
    rows = [{name: value for name, value in row.items() if name != "seconds"} for row in history.rows]
    figures = {"rows": rows, "classes": parts.classes, "objective": repr(objective), "fit": fit_config.to_dict()}
    figures |= curve or {}
    if config.resume or config.overwrite:  # how the folder was met is no part of what was run
        command = command_of(NAME, replace(config, resume=False, overwrite=False))
    return store_result(NAME, config, command, settings=asdict(config), seeds=[config.seed], figures=figures)


def settings(config: Classification, recipe: Recipe, samples: int) -> tuple[FitConfig, Objective]:
    """The training and its objective, from the flags and, where they are silent, from the recipe."""
    _check_numbers(config)
    kind, rule = method_of(config.method)
    batch = min(recipe.batch_size if config.batch_size is None else config.batch_size, samples)
    coefficient = _coefficient(config, recipe, solved=rule is not None)
    rate = config.learning_rate
    if rate is None and config.optimizer != "adam":  # the rates of the recipes are those of SGD
        rate = (recipe.rates or {}).get(config.method, recipe.learning_rate)
    fit_config = FitConfig(
        normalize="none",
        method=rule or "l2",
        algorithm=config.algorithm,
        optimizer=config.optimizer,
        learning_rate=rate,
        schedule=recipe.schedule,
        warmup=recipe.warmup_epochs * (samples // batch),
        strength=None if coefficient is None else strength_from_paper(coefficient, rows=batch),
        batch_size=batch,
        epochs=recipe.epochs if config.epochs is None else config.epochs,
        adaptive_clip=recipe.adaptive_clip,
        seed=config.seed,
        accelerator=config.accelerator,
    )
    return fit_config, kind(smoothing=recipe.smoothing)  # pyright: ignore[reportCallIssue]


def _check_numbers(config: Classification) -> None:
    for name, count in (("epochs", config.epochs), ("batch_size", config.batch_size)):
        if count is not None:
            check_count(NAME, name, count)
    if config.learning_rate is not None:
        check_positive(NAME, "learning_rate", config.learning_rate)


def _coefficient(config: Classification, recipe: Recipe, *, solved: bool) -> float | None:
    """lambda or beta of the flags, else of the recipe; None where the rule has its own strength."""
    if config.coefficient is None:
        return (recipe.coefficients or {}).get(config.method)
    if not solved:
        raise ValueError(
            f"classification: `coefficient` must be left out with method {config.method!r}, which solves no head; got "
            f"{config.coefficient!r}."
        )
    return config.coefficient


def load_parts(config: Classification) -> Parts:
    """Images to train, validate and test with.

    Raises:
        DatasetError: files are missing or damaged.
        ValueError: ``folder`` is missing, or given for digits.
    """
    if (config.folder is None) != (config.data == "digits"):
        state = "be left out with" if config.data == "digits" else "be given for"
        raise ValueError(f"classification: `folder` must {state} data {config.data!r}; got {config.folder}.")
    if config.data == "imagenet":
        folder, size = cast(Path, config.folder), config.image_size
        train = FolderImages(folder / "train", picture_transforms(size, augment=config.augment))
        held_out = FolderImages(folder / "val", picture_transforms(round(size * 4 / 3), augment=False))
        if train.classes != held_out.classes:
            raise DatasetError(
                f"classification: `folder` must have the same classes in train and val; {folder} has "
                f"{len(train.classes)} and {len(held_out.classes)}, or other names."
            )
        return Parts(train, held_out, held_out, len(train.classes), 3, size)
    if config.data == "digits":
        x, labels = read_digits()
        rest, held_out = _split(len(labels), _TEST_SHARE, config.seed)
        images, test = x.reshape(-1, 1, 8, 8), ClassImages(x[held_out].reshape(-1, 1, 8, 8), labels[held_out])
        own, checked = _split(len(rest), _VALIDATION_SHARE, config.seed + 1)
        train, validation = (ClassImages(images[rest[part]], labels[rest[part]]) for part in (own, checked))
        return Parts(train, validation, test, 10, 1, 8)
    (x, labels), (x_test, labels_test) = (
        read_cifar(cast(Path, config.folder), config.data, split) for split in ("train", "test")
    )
    own, checked = _split(len(labels), _VALIDATION_SHARE, config.seed)
    statistics = channel_statistics(x[own])
    plain = small_image_transforms(*statistics, augment=False)
    train = ClassImages(x[own], labels[own], small_image_transforms(*statistics, augment=config.augment))
    validation, test = ClassImages(x[checked], labels[checked], plain), ClassImages(x_test, labels_test, plain)
    return Parts(train, validation, test, 10 if config.data == "cifar10" else 100, 3, 32)


def measure(model: nn.Module, data: Dataset[dict[str, Tensor]], *, probabilities: bool) -> dict[str, float]:
    """Accuracy, that among the five largest, and with probabilities their calibration error, on all of the data."""
    outputs, labels = predictions(model, data)
    figures = {
        "test_accuracy": top_k_accuracy(outputs, labels, k=1).mean().item(),
        "test_top5": top_k_accuracy(outputs, labels, k=5).mean().item(),
    }
    if probabilities:
        figures["test_calibration_error"] = expected_calibration_error(outputs.softmax(1), labels)
    return figures


def predictions(model: nn.Module, data: Dataset[dict[str, Tensor]]) -> tuple[Tensor, Tensor]:
    """Outputs ``(S, classes)`` float64 and labels ``(S,)`` of all data; each process evaluates its share."""
    count, device = len(cast(Any, data)), next(model.parameters()).device
    rank, world = process_rank()
    outputs = labels = torch.empty(0)
    with torch.no_grad():
        for indices in sequential_batches(count, _EVALUATED, rank=rank, world=world):
            items = [data[index] for index in indices]
            found = model(torch.stack([item["x"] for item in items]).to(device)).double()
            if len(outputs) == 0:
                outputs = found.new_zeros(count, found.shape[1])
                labels = torch.zeros(count, dtype=torch.int64, device=device)
            outputs[indices], labels[indices] = found, torch.stack([item["y"] for item in items]).to(device)
    return total(outputs), total(labels)


def _builder(config: Classification, recipe: Recipe, parts: Parts) -> Any:
    kind = CLASSIFIERS[config.model or recipe.model]
    more: dict[str, Any] = {"image_size": parts.size} if config.model == "perceptron" or parts.size == 8 else {}
    if kind is CLASSIFIERS["resnet18"]:
        more = {"stem": "imagenet" if parts.size > 64 else "cifar"}
    elif kind is not CLASSIFIERS["perceptron"]:
        more = {}
    return kind(classes=parts.classes, in_channels=parts.channels, bias=config.bias, **more)


def _split(count: int, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of the rest and of a random share."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = round(share * count)
    return order[held_out:], order[:held_out]
