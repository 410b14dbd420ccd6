"""Settings of a training from its data file: coordinates of the points, and the resolution of the grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from data_gen.grids.positions import Placement, coarser, is_stride
from sciml_cf.datasets import FieldDataset, StreamDataset
from sciml_cf.models.coordinates import Coordinates
from sciml_cf.training.run_folder import RUN_FILE, read_settings

# Most points along an axis that a model is trained at by default, by the number of dimensions.
_POINTS = {1: 256, 2: 64, 3: 32}
_NUMBERS = 2**22  # of a field that are held in float64
# The mean target field varies in space by this many times its sampling error where the law depends on the place.
_BEYOND_SAMPLING = 8.0


@dataclass(frozen=True)
class Place:
    """The model's information on the place, and the reason for it.

    Args:
        coordinates: argument of a builder (see FNOConfig).
        cells: argument of a builder (see FNOConfig).
        right_end: argument of a builder (see FNOConfig).
        padding: argument of a builder (see FNOConfig).
        reason: one line for a person.
    """

    coordinates: Coordinates
    cells: bool
    right_end: bool
    padding: float
    reason: str

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments for a builder; only those that are not its defaults."""
        names = {"coordinates": "none", "cells": False, "right_end": False, "padding": 0.0}
        given, usual = {name: getattr(self, name) for name in names}, names
        return {name: value for name, value in given.items() if value != usual[name]}


def choose_place(
    data: FieldDataset | StreamDataset,
    coordinates: Literal["auto", "none", "linear", "periodic"],
    padding: float | str,
) -> Place:
    """The model's information on the place; "auto" reads it from the data.

    Walls and open boundaries, and periodic ones with a law that depends on the place, give coordinates. A file of
    known law says so itself. For an unknown law on periodic boundaries the mean target field is looked at: over many
    samples it is the same everywhere, up to its sampling error, where neither law nor inputs know a place.

    Raises:
        ValueError: periodic coordinates are asked for where the boundary is not periodic, or a padding out of range.
    """
    boundary = "periodic" if data.wraps else data.boundary
    share = _checked_padding(padding)
    if coordinates == "periodic" and not data.wraps:
        raise ValueError(
            f"train: `coordinates` must be 'linear' or 'none' where the boundary is not periodic; got 'periodic' for "
            f"{boundary} boundaries of {getattr(data, 'path', 'the generator')}."
        )
    chosen, why = _chosen(data) if coordinates == "auto" else (coordinates, "as asked")
    cells, nodes = (chosen != "none" and set(data.placements) == {kind} for kind in ("cells", "nodes"))
    return Place(chosen, cells, nodes, share, f"coordinates: {chosen} ({why}); padding: {share or 'none'}")


def _chosen(data: FieldDataset | StreamDataset) -> tuple[Coordinates, str]:
    if not data.wraps:
        return "linear", f"the file has {data.boundary} boundaries"
    equation = data.equation
    if equation is not None:
        if equation.homogeneous:
            return "none", "periodic, and the law is the same everywhere"
        return "periodic", f"the law of {equation.name} depends on the place"
    ratio = variation_of_mean(data.y)
    if ratio > _BEYOND_SAMPLING:
        return "periodic", f"the mean target field varies {ratio:.0f} times more than its sampling error"
    return "none", "periodic, and the mean target field varies no more than its sampling error"


def variation_of_mean(y: Tensor) -> float:
    """Variance in space of the mean field over its sampling variance, for the channel where it is largest.

    ::

        mean_x (m - <m>)^2 / mean_x (var_samples y / S)        about 1 or less where all places are alike

    Args:
        y: ``(S, C, *N)``.
    """
    if len(y) < 2:
        return 0.0
    size = max(1, _NUMBERS // y.shape[1:].numel())
    parts = [slice(start, start + size) for start in range(0, len(y), size)]
    mean, squares = torch.zeros(()), torch.zeros(())
    for part in parts:
        mean = mean + y[part].double().flatten(2).sum(0) / len(y)
    for part in parts:
        squares = squares + (y[part].double().flatten(2) - mean).square().sum(0)
    spread = mean.var(1, correction=0)
    sampling = squares.mean(1) / (len(y) - 1) / len(y)
    ratio = torch.where(sampling > 0, spread / sampling.clamp_min(1e-300), torch.zeros_like(spread))
    return ratio.max().item()


def _checked_padding(padding: float | str) -> float:
    if padding in ("auto", "none"):  # no benchmark here shows a gain over coordinates alone
        return 0.0
    try:
        share = float(padding)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise ValueError(
            f"train: `padding` must be 'auto', 'none', or a share of the domain above 0 and below 1; got {padding!r}. "
            "Try 0.125."
        )
    return share


def default_resolution(shape: tuple[int, ...], placements: Sequence[Placement] = ()) -> int:
    """Points along the last axis to train at: all of them, or the largest divisor within what a laptop trains on.

    At most 256 points an axis in one dimension, 64 in two and 32 in three; all axes are taken coarser by one factor;
    of nodes from end to end (``placements``) with both ends if that is possible.
    """
    most = _POINTS.get(len(shape), min(_POINTS.values()))
    kinds = placements or ("periodic",) * len(shape)
    for stride in range(1, min(shape) // 2 + 1):
        if is_stride(shape, stride, kinds) and coarser(max(shape), stride) <= most:
            return coarser(shape[-1], stride)
    return shape[-1]


def stored_place(out: Path) -> dict[str, Any] | None:
    """The builder's arguments of a run that is to be resumed; None where there is none."""
    if not (out / RUN_FILE).is_file():
        return None
    return (read_settings(out).get("model") or {}).get("arguments")
