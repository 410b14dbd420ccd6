"""Flags of `sciml-cf study classification`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Classification:
    """Train a classifier of images with a head in closed form or without, by the paper's recipes.

    Digits come with scikit-learn; CIFAR and ImageNet are read from where they were put, nothing is downloaded. A fifth
    of the training images validates, except for ImageNet, whose validation images are the test too, as in the paper.

    Args:
        out: folder for the run, its result file and its page.
        data: "digits", "cifar10", "cifar100" or "imagenet"; the recipe follows from it.
        folder: of the CIFAR python batches, or with a folder `train` and `val` of pictures by class.
        model: "perceptron", "resnet18" or "nfnet-f0"; by default the recipe's.
        method: what is solved for the head, and what the backbone descends.
        algorithm: 1 or 2 of the paper; 2 needs one forward pass a step.
        batch_size: images a step, over all processes.
        epochs: passes over the training images.
        optimizer: of the backbone; "sgd" has Nesterov momentum 0.9.
        learning_rate: its peak.
        coefficient: lambda or beta as in the paper, on the sum over a batch; the strength is this over the batch size.
        bias: whether the head has one.
        image_size: points along each side that pictures of folders are trained at.
        augment: random crops and flips of what is trained on; digits have none.
        seed: of the weights, the order of images and the split.
        accelerator: "cpu", "cuda" or "auto".
        resume: continue what is in OUT.
        overwrite: replace what is in OUT.
    """

    out: Path = Path("classification")
    data: Literal["digits", "cifar10", "cifar100", "imagenet"] = "digits"
    folder: Path | None = None
    model: Literal["perceptron", "resnet18", "nfnet-f0"] | None = None
    method: Literal["l2", "ridge", "proximal", "kalman", "cross-entropy", "cross-entropy-closed-form", "hybrid"] = (
        "proximal"
    )
    algorithm: Literal[1, 2] = 2
    batch_size: int | None = None
    epochs: int | None = None
    optimizer: Literal["sgd", "adam"] = "sgd"
    learning_rate: float | None = None
    coefficient: float | None = None
    bias: bool = True
    image_size: int = 192
    augment: bool = True
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"
    resume: bool = False
    overwrite: bool = False
