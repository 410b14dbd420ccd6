"""Checkpoints of deep-feature instrumental variables: written whole or not at all, read without running code.

A checkpoint goes on only with the same settings and data (but for the number of iterations), to the same bits.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sciml_cf.causal.checks import Shapes
from sciml_cf.causal.nets import Batch
from sciml_cf.causal.settings import FUNCTION
from sciml_cf.causal.training import Training
from sciml_cf.errors import CheckpointError
from sciml_cf.training.checkpoints import (
    CHECKPOINT_FILE,
    PREVIOUS_FILE,
    choose_checkpoint,
    read_tensors,
    save_checkpoint,
)

_KEYS = frozenset({"settings", "data", "iteration", "nets", "heads", "optimizers", "rows", "outcome", "shapes"})


def fingerprint(rows: Batch) -> int:
    """A checksum of all rows, to tell other data by."""
    total = 0
    for part in (rows.treatment, rows.instrument, rows.outcome, rows.covariates, rows.weights):
        if part is not None:
            numbers = part.cpu().resolve_neg().contiguous().reshape(-1)
            total = zlib.crc32(numbers.view(torch.uint8).numpy().data, total)
    return total


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """The newest whole checkpoint of a folder.

    Raises:
        CheckpointError: there is none.
    """
    return read_tensors(folder / choose_checkpoint(folder, _KEYS))


def start_checkpoint(folder: Path, training: Training, data: int, *, resume: bool) -> None:
    """Make the folder ready, and go back to its checkpoint if there is one and it is to be resumed.

    Raises:
        FileExistsError: there is a checkpoint and it is not to be resumed.
        FileNotFoundError: the folder that should hold this one is missing.
        CheckpointError: it belongs to other settings or data, or is beyond the iterations asked for.
    """
    if not folder.parent.is_dir() or folder.is_file():
        raise FileNotFoundError(f"{FUNCTION}: `out` must be a folder, or a new one in a folder; got {folder}.")
    folder.mkdir(exist_ok=True)
    if not any((folder / name).exists() for name in (CHECKPOINT_FILE, PREVIOUS_FILE)):
        return
    if not resume:
        raise FileExistsError(f"{FUNCTION}: `out` must be without a checkpoint; got {folder}. Use resume=True.")
    content = read_checkpoint(folder)
    mine = training.plan.described()
    changed = sorted(key for key, value in mine.items() if content["settings"].get(key) != value)
    if changed or content["data"] != data:
        what = ", ".join(changed) or "the data"
        raise CheckpointError(
            f"{FUNCTION}: `out` must hold a checkpoint of this training; {folder} differs in {what}. Use a new folder."
        )
    if content["iteration"] > training.plan.iterations:
        raise CheckpointError(
            f"{FUNCTION}: `iterations` must be at least {content['iteration']}, where {folder} stopped; got "
            f"{training.plan.iterations}."
        )
    restore(training, content, folder)


def restore(training: Training, content: dict[str, Any], folder: Path) -> None:
    """Go back to a checkpoint.

    Raises:
        CheckpointError: it is of other nets.
    """
    try:
        training.restore(content)
    except (RuntimeError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise CheckpointError(f"{FUNCTION}: `out` must hold a checkpoint of these nets; {folder}: {reason}") from error


def write_checkpoint(folder: Path, training: Training, extra: dict[str, Any]) -> None:
    """The present training, and the other values that a prediction needs, atomically."""
    save_checkpoint(folder, {**training.content(), **extra})


def described_shapes(shapes: Shapes) -> dict[str, Any]:
    """Plain values for a checkpoint."""
    covariates = None if shapes.covariates is None else list(shapes.covariates)
    return {
        "treatment": list(shapes.treatment),
        "covariates": covariates,
        "outputs": shapes.outputs,
        "flat": shapes.flat,
    }


def shapes_from(content: Mapping[str, Any]) -> Shapes:
    """The shapes in a checkpoint."""
    covariates = None if content["covariates"] is None else tuple(content["covariates"])
    return Shapes(tuple(content["treatment"]), covariates, content["outputs"], content["flat"])
