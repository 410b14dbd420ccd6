"""Samples straight from the solver: new ones in every epoch, each determined by the seed and its number alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.equation import Equation
from data_gen.generate import compute_block
from data_gen.grids.periodic import resample
from data_gen.spec import DatasetSpec
from data_gen.storage.own_fields import equations_of
from sciml_cf.datasets.choices import Sampling
from sciml_cf.datasets.geometry import Geometry, law_of_one
from sciml_cf.datasets.reading import check_sampling, float32_holds
from sciml_cf.datasets.steps import Steps
from sciml_cf.errors import check_choice, check_count, in_one_line

#: Number of the first sample of each split. A file of the same description has samples from 0 on.
FIRST = {"test": 0, "validation": 2**19, "train": 2**20}
_MOST = 2**62  # samples of a description without an end
# What changes neither the law of the samples nor which ones are drawn.
_NOT_THE_LAW = ("samples", "dtype", "tolerance", "method", "device", "allow_unresolved", "resolution")


class StreamDataset(Geometry, Dataset[dict[str, Tensor]]):
    """Items ``{"x": (C, *N), "y": (C', *N)}`` that the solver of a description makes when they are asked for.

    The training samples of epoch e are those numbered FIRST + e S', S' the S samples of an epoch in whole blocks of the
    generator. Sample i is row i of a file that ``generate`` writes of the same description. The samples of
    validation and test are fixed, held in memory, and never among those of training; nor are those of files of up to
    2^19 samples among either of training and validation.

    Args:
        spec: description of the samples; its number of samples is that of an epoch.
        split: "train", or "validation" or "test", whose samples are fixed.
        samples: how many; by default those of the description, or of validation and test 200 and 400 for 1448.
        resolution, sampling: the grid, see ``FieldDataset``.

    Raises:
        ValueError: the resolution does not divide that of the description.
        UnresolvedError, SolverDiverged: a sample cannot be made.

    Attributes:
        x: ``(S, C, *N)``, inputs of validation and test.
        y: ``(S, C', *N)``, targets of validation and test.
        blocks: of training the numbers with which the generator's blocks start.
    """

    blocks: np.ndarray | None = None
    masked = False
    unroll = 1
    facts = None

    def __init__(
        self,
        spec: DatasetSpec,
        split: Literal["train", "validation", "test"] = "train",
        *,
        samples: int | None = None,
        resolution: int | None = None,
        sampling: Sampling = "strided",
    ) -> None:
        check_choice("StreamDataset", "split", split, tuple(FIRST))
        check_choice("StreamDataset", "sampling", sampling, ("strided", "fourier"))
        share = {"train": 1.0, "validation": 200 / 1448, "test": 400 / 1448}[split]
        self._count = max(1, round(spec.samples * share)) if samples is None else samples
        check_count("StreamDataset", "samples", self._count)
        self.spec, self.split, self.sampling = spec, split, sampling
        self._endless, self.lazy = replace(spec, samples=_MOST), split == "train"
        self._take_grid("StreamDataset", spec.header, _law(spec), resolution)
        check_sampling(sampling, self.periodic, self._header.boundary, self._header.shape)
        self._size, self._epoch = self._header.block_samples, 0
        first = self._made(np.arange(min(self._count, self._size)))
        self._dtypes = [_precision(part) for part in first]
        self.shapes = tuple(part.shape[1:] for part in first)
        if split == "train":
            self.blocks = np.arange(0, self._count, self._size)
        else:
            whole = self.batch(np.arange(self._count))
            self.x, self.y = whole["x"], whole["y"]

    def set_epoch(self, number: int) -> None:
        """Give the training samples of an epoch, counted from 0; those of validation and test stay."""
        self._epoch = number if self.split == "train" else 0

    def __len__(self) -> int:
        return self._count

    def __repr__(self) -> str:
        """Split, samples, shapes, fields, grid and precision; makes no sample."""

        def text() -> str:
            shapes = ", ".join(f"{name} {shape}" for name, shape in zip(("x", "y"), self.shapes, strict=True))
            types = " and ".join(dict.fromkeys(np.dtype(dtype).name for dtype in self._dtypes))
            count = f"{self._count} samples{' an epoch' if self.lazy else ''}"
            return (
                f"{self.split}, {count} of {self._header.name}: {shapes}; {self._header.fields_in_words}; "
                f"{self._grid_in_words()}; {types}; from the solver, seed {self.spec.seed}"
            )

        return in_one_line(self, text)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([range(self._count)[index]])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Tensor]]:
        """Items by their numbers, made together."""
        batch = self.batch(np.asarray(numbers))
        return [{name: values[place] for name, values in batch.items()} for place in range(len(numbers))]

    def batch(self, numbers: np.ndarray) -> dict[str, Tensor]:
        """Items by their numbers ``(B,)``, in any order, as one batch ``{"x": (B, C, *N), "y": (B, C', *N)}``."""
        if hasattr(self, "x"):
            rows = torch.from_numpy(np.asarray(numbers))
            return {"x": self.x[rows], "y": self.y[rows]}
        distinct, place = np.unique(numbers, return_inverse=True)
        order = torch.from_numpy(place.reshape(-1))
        parts = zip(("x", "y"), self._made(distinct), self._dtypes, strict=True)
        return {name: torch.from_numpy(part.astype(dtype, copy=False))[order] for name, part, dtype in parts}

    def indices_of(self, numbers: np.ndarray) -> np.ndarray:
        """``(B,)``, the rows of a file of the same description, long enough, that hold samples of the present epoch."""
        length = -(-self._count // self._size) * self._size
        return FIRST[self.split] + self._epoch * length + np.asarray(numbers)

    @property
    def steps(self) -> Steps | None:
        """How channels are arranged, for a model that maps states to later ones; None for others."""
        header = self._header
        same = header.inputs == header.channels and not header.steady
        return Steps(components=len(header.channels)) if same else None

    @property
    def described(self) -> dict[str, Any]:
        """Description of the samples for run.json."""
        step = {} if self.steps is None else {"time_step": float((self.spec.times or (0.0,))[-1])}
        made = {"generated": json.loads(self.spec.to_json()), "samples": self._count, "problem": self.problem}
        return {**made, **self.ends, **step}

    @property
    def checksum(self) -> str:
        """SHA-256 of the description without its number of samples."""
        values = {name: value for name, value in self.spec.to_dict().items() if name != "samples"}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def _made(self, numbers: np.ndarray) -> list[np.ndarray]:
        """Inputs and targets of samples with increasing numbers, in the precision of the description."""
        rows = self.indices_of(numbers)
        parts: list[list[np.ndarray]] = [[], []]
        for block in np.unique(rows // self._size):
            chosen = rows[rows // self._size == block] % self._size
            fields = compute_block(self._endless, int(block)).fields
            pair = (fields[0][:, 0], fields[0][:, -1]) if self._header.trajectories else fields
            for part, field in zip(parts, pair, strict=True):
                part.append(self._on_grid(field[chosen].astype(self.spec.dtype)))
        return [np.concatenate(part) for part in parts]

    def _on_grid(self, field: np.ndarray) -> np.ndarray:
        if self.sampling == "fourier":
            return resample(field, self.resolution, self._header.num_dims)
        return field[(..., *[slice(None, None, self._stride)] * self._header.num_dims)]

    def __getstate__(self) -> dict[str, Any]:
        made_anew = ("_header", "_equation", "_endless")
        return {name: value for name, value in self.__dict__.items() if name not in made_anew}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._endless = replace(self.spec, samples=_MOST)
        self._header, self._equation = self.spec.header, _law(self.spec)

    def _first_law(self) -> Equation | None:
        return law_of_one(equations_of(self.spec, np.arange(1)))


def of_one_law(spec: DatasetSpec, stored: dict[str, Any]) -> bool:
    """Whether samples of a description are drawn as those of another one, as run.json stores it."""
    found = json.loads(spec.to_json())
    return all(found.get(name) == stored.get(name) for name in {*found, *stored} if name not in _NOT_THE_LAW)


def _precision(fields: np.ndarray) -> type:
    default = np.float64 if torch.get_default_dtype() == torch.float64 else np.float32
    return default if fields.dtype != np.float64 or float32_holds(fields) else np.float64


def _law(spec: DatasetSpec) -> Equation | None:
    """The equation that all samples share; None where its parameters vary."""
    return None if spec.header.make_equation() is None else spec.make_equation()
