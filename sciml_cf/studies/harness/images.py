"""Pictures to classify, and a network trained on them by gradients with its clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from sciml_cf.classification import read_digits, read_mnist
from sciml_cf.classification.metrics import accuracy as right

# name: (parameters, lr=rate) -> optimizer
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
    "nag": partial(torch.optim.SGD, momentum=0.9, nesterov=True),
    "adagrad": torch.optim.Adagrad,
}


@dataclass(frozen=True)
class Images:
    """Rows of pixels from 0 to 1, float32, and labels, to learn from and to measure with."""

    x: Tensor
    labels: Tensor
    x_test: Tensor
    labels_test: Tensor

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return int(torch.cat([self.labels, self.labels_test]).max()) + 1


def load_images(folder: Path | None, seed: int, *, validate: bool = False) -> Images:
    """scikit-learn's 1797 digits of 8 x 8 pixels, or the MNIST files of a folder.

    Args:
        folder: of idx files; None for the digits, of which a random fifth is the test.
        seed: of that choice.
        validate: split the training part once more, a tenth of it in the place of the test: so few rows
            are missing that settings tuned without them suit the whole.
    """
    order = torch.Generator().manual_seed(seed)
    if folder is None:
        x, labels = read_digits()
        images = _cut(x, labels, 0.8, order)
    else:
        (x, labels), (x_test, labels_test) = read_mnist(folder, "train"), read_mnist(folder, "test")
        images = Images(x.flatten(1), labels, x_test.flatten(1), labels_test)
    return _cut(images.x, images.labels, 0.9, order) if validate else images


def _cut(x: Tensor, labels: Tensor, share: float, generator: torch.Generator) -> Images:
    order = torch.randperm(len(x), generator=generator)
    first, rest = order[: int(share * len(x))], order[int(share * len(x)) :]
    return Images(x[first], labels[first], x[rest], labels[rest])


def perceptron(inputs: int, width: int, classes: int, activation: type[nn.Module], *, depth: int = 1) -> nn.Sequential:
    """Linear and activation, ``depth`` times, and a last Linear; weights by torch's own draw."""
    layers: list[nn.Module] = []
    for number in range(depth):
        layers += [nn.Linear(width if number else inputs, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, classes))


@torch.no_grad()
def accuracy(network: nn.Module, x: Tensor, labels: Tensor) -> float:
    """Share of rows whose largest output is that of the label."""
    return right(network(x), labels).double().mean().item()


class Stopwatch:
    """Processor seconds that were spent, stopped while something is measured."""

    def __init__(self) -> None:
        self.spent, self._since = 0.0, time.process_time()

    def stop(self) -> float:
        """Stop; the seconds spent until now."""
        self.spent += time.process_time() - self._since
        return self.spent

    def go(self) -> None:
        """Go on."""
        self._since = time.process_time()


def train_by_gradients(
    network: nn.Module, images: Images, *, optimizer: str, rate: float, batch: int, epochs: int, every: int, seed: int
) -> list[dict[str, float]]:
    """Cross-entropy training; rows of steps, processor seconds and test accuracy, measured every so many steps."""
    stepper = OPTIMIZERS[optimizer](network.parameters(), lr=rate)
    loss = nn.CrossEntropyLoss()
    generator = torch.Generator().manual_seed(seed)
    rows = [{"steps": 0.0, "seconds": 0.0, "accuracy": accuracy(network, images.x_test, images.labels_test)}]
    watch, steps = Stopwatch(), 0
    for _ in range(epochs):
        for some in torch.randperm(len(images.x), generator=generator).split(batch):
            stepper.zero_grad()
            loss(network(images.x[some]), images.labels[some]).backward()
            stepper.step()
            steps += 1
            if steps % every == 0:
                seconds = watch.stop()
                share = accuracy(network, images.x_test, images.labels_test)
                rows.append({"steps": float(steps), "seconds": seconds, "accuracy": share})
                watch.go()
    return rows


def first_at(rows: Sequence[dict[str, float]], mark: float) -> float:
    """Seconds when the accuracy first is at the threshold; infinite if it never is."""
    return next((row["seconds"] for row in rows if row["accuracy"] >= mark), float("inf"))


def thinned(rows: Sequence[dict[str, float]], mark: float, *, most: int = 40) -> list[dict[str, float]]:
    """Rows for a curve over the logarithm of time: ``most`` evenly apart, the first at the threshold, and the last."""
    last = len(rows) - 1
    kept = {round((last + 1) ** (index / most)) - 1 for index in range(most + 1)} | {last}
    first = next((index for index, row in enumerate(rows) if row["accuracy"] >= mark), last)
    return [rows[index] for index in sorted(kept | {first})]
