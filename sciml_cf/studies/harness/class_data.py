"""Data of classification: scikit-learn's digits, synthetic tasks with many classes, and a person's own file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor, nn

from sciml_cf.classification import read_digits
from sciml_cf.errors import DatasetError, check_choice

_SPLIT_SEED = 20_251_006  # of every split and of the synthetic data: no run's seed
FILE_SUFFIX = ".npz"
_FEWEST = 60  # samples of a file


@dataclass(frozen=True, eq=False)
class Task:
    """Inputs ``(S, columns)`` float32 and labels ``(S,)`` of the three parts, and widths of the perceptron."""

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
    """digits: 1797 images of 8 x 8 points in ten classes; others: see ``SYNTHETIC``; a name in .npz: ``read_task``."""
    if name == "digits":
        return digits()
    if name.endswith(FILE_SUFFIX):
        return read_task(Path(name))
    check_choice("study", "task", name, ("digits", *SYNTHETIC, f"FILE{FILE_SUFFIX}"))
    classes, samples, hidden = SYNTHETIC[name]
    return synthetic(classes, samples=samples, hidden=hidden)


def digits() -> Task:
    """scikit-learn's digits, scaled to 0 .. 1: 1097 samples to train, 300 to choose by, 400 to report on."""
    x, y = read_digits()
    return Task(_split(x, y, 300, 400), 10, (128, 64))


def synthetic(classes: int, *, samples: int, hidden: tuple[int, ...], noise: float = 0.6) -> Task:
    """Overlapping clouds around points of a space of 12 dimensions, seen through a random nonlinear map in 64.

    ::

        x = A tanh(B (u_c + noise e)) + 0.05 e',      u_c, e, e' standard normal

    The classes are balanced; no linear map of x separates them.
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


def read_task(path: Path) -> Task:
    """Samples of a file of numpy.savez: two thirds to train, a sixth to choose by, a sixth to report on.

    Args:
        path: its ``x`` ``(S, ...)`` are numbers, made flat and divided by their standard deviation; its ``y`` ``(S,)``
            are labels, whole numbers from 0 to classes - 1, each of them present.

    Raises:
        DatasetError: it cannot be read, or has not these.
    """
    x, y = _arrays_of(path)
    if y.ndim != 1 or len(x) != len(y) or len(y) < _FEWEST or x.ndim < 2 or x.dtype.kind not in "iufb":
        raise DatasetError(
            f"study: `task` must have numbers x (S, ...) and labels y (S,), S at least {_FEWEST}; {path} has {x.dtype} "
            f"{x.shape} and {y.shape}."
        )
    if y.dtype.kind not in "iu" or len(found := np.unique(y)) < 2 or found[0] != 0 or found[-1] != len(found) - 1:
        raise DatasetError(
            f"study: `task` must have labels y that are whole numbers from 0 on, each of them present, two at least; "
            f"{path} has {y.dtype}. numpy.unique(y, return_inverse=True)[1] makes such."
        )
    flat = torch.from_numpy(x.reshape(len(x), -1).astype(np.float32))
    deviation = flat.std()
    if not (torch.isfinite(deviation) and deviation > 0):
        raise DatasetError(f"study: `task` must have finite x that are not all the same; {path} has others.")
    sixth = len(y) // 6
    return Task(_split(flat / deviation, torch.from_numpy(y.astype(np.int64)), sixth, sixth), len(found), (128, 64))


def _arrays_of(path: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with np.load(path) as content:
            return content["x"], content["y"]
    except (OSError, KeyError, ValueError, EOFError, BadZipFile) as error:
        raise DatasetError(f"study: `task` must be a file with x and y; {path} cannot be read so ({error}).") from error


def _split(x: Tensor, y: Tensor, validation: int, test: int) -> dict[str, tuple[Tensor, Tensor]]:
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(_SPLIT_SEED))
    first, second = len(x) - validation - test, len(x) - test
    places = {"train": order[:first], "validation": order[first:second], "test": order[second:]}
    return {name: (x[place], y[place]) for name, place in places.items()}
