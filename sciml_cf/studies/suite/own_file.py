"""A user's file as a problem of the suite: its contents, and its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from data_gen.formats import open_source
from sciml_cf.datasets import FieldDataset
from sciml_cf.studies.suite.trial import Settings
from sciml_cf.training.place import default_resolution

_MOST_DIMS = 2


@dataclass(frozen=True)
class OwnFile:
    """Contents of a data file.

    Attributes:
        name: of the problem, fit for a file's name.
        samples: for training.
        resolution: points along the last axis to train at.
        shape: points along each axis of that grid.
        settings: the settings of a trial that describe the data.
    """

    name: str
    samples: int
    resolution: int
    shape: tuple[int, ...]
    settings: Settings

    @property
    def num_dims(self) -> int:
        """Dimensions in space."""
        return len(self.shape)

    @property
    def fewest_points(self) -> int:
        """Points along the shortest axis."""
        return min(self.shape)

    @property
    def grid(self) -> str:
        """The grid in words."""
        return " x ".join(map(str, self.shape))


def describe_file(path: Path) -> OwnFile:
    """Read the contents of a file, with its default split and its default resolution.

    Raises:
        ValueError: it has more than two dimensions, or its training samples are fewer than four.
        DatasetError: it cannot be read.
    """
    with open_source(path) as source:
        header = source.header
    if header.num_dims > _MOST_DIMS:
        raise ValueError(f"suite: `data` must have one or two dimensions in space; got {header.num_dims} in {path}.")
    resolution = default_resolution(header.shape, header.placements)
    train = FieldDataset(path, "train", resolution=resolution)
    if len(train) < 4:
        raise ValueError(f"suite: `data` must have at least four training samples; got {len(train)} in {path}.")
    parts: Settings = {part: [str(path.absolute()), part] for part in ("train", "validation", "test")}
    settings = {**parts, "resolution": resolution, "times": None, "checksum": train.checksum}
    name = re.sub(r"[^\w.+=-]", "_", path.name)
    return OwnFile(name, len(train), resolution, tuple(train.x.shape[2:]), settings)
