"""Data of classification that need no file: scikit-learn's digits, and synthetic tasks with many classes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from torch import Tensor, nn

from sciml_cf.datasets import read_digits
from sciml_cf.errors import check_choice

_SPLIT_SEED = 20_251_006  # of every split and of the synthetic data: no run's seed


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs (S, columns) float32 and labels (S,) of the three parts, and the widths of the perceptron for it."""

    parts: dict[str, tuple[Tensor, Tensor]]
    classes: int
    hidden: tuple[int, ...]

    def model(self, *, bias: bool = True) -> nn.Sequential:
        """A perceptron from torch's present generator; its last layer is the head, with a bias or without.

        The backbone of a seed is the same with either.
        """
        widths = (self.parts["train"][0].shape[1], *self.hidden)
        layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(widths[-1], self.classes, bias=bias))


# Synthetic tasks by name: classes, samples of each, and widths of the perceptron, the last one the features.
SYNTHETIC: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "100 classes 64 features": (100, 120, (128, 64)),
    "100 classes 256 features": (100, 120, (128, 256)),
    "1000 classes 128 features": (1000, 40, (256, 128)),
}


@lru_cache(maxsize=4)
def load_task(name: str) -> Task:
    """digits: 1797 images of 8 x 8 points in ten classes; others: see ``SYNTHETIC`` and ``synthetic``."""
    if name == "digits":
        return digits()
    check_choice("bench digits", "task", name, ("digits", *SYNTHETIC))
    classes, samples, hidden = SYNTHETIC[name]
    return synthetic(classes, samples=samples, hidden=hidden)


def digits() -> Task:
    """scikit-learn's digits, scaled to 0 .. 1: 1097 samples to train, 300 to choose by, 400 to report on."""
    x, y = read_digits()
    return Task(_split(x, y, 300, 400), 10, (128, 64))


def synthetic(classes: int, *, samples: int, hidden: tuple[int, ...], noise: float = 0.6) -> Task:
    """Overlapping clouds around points of a space of 12 dimensions, seen through a random nonlinear map in 64.

        x = A tanh(B (u_c + noise e)) + 0.05 e',      u_c, e, e' standard normal

    The classes are balanced; no linear map of x tells them apart.
    """
    generator = torch.Generator().manual_seed(_SPLIT_SEED)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    labels = torch.arange(classes).repeat(samples)
    hidden_points = normal(classes, 12)[labels] + noise * normal(len(labels), 12)
    x = torch.tanh(hidden_points @ normal(12, 96) / 12**0.5) @ normal(96, 64) / 96**0.5
    x = x + 0.05 * normal(*x.shape)
    sixth = len(labels) // 6
    return Task(_split(x / x.std(), labels, sixth, sixth), classes, hidden)


def _split(x: Tensor, y: Tensor, validation: int, test: int) -> dict[str, tuple[Tensor, Tensor]]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    first, second = len(x) - validation - test, len(x) - test
    places = {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    return {name: (x[place], y[place]) for name, place in places.items()}
