"""The metrics of every epoch for TensorBoard; the only place that knows of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path


class ScalarWriter:
    """Writes the rows of the history as TensorBoard scalars.

    Args:
        folder: where the event files go.
        epoch: the last epoch that is already finished; later ones that a killed training left there are hidden.

    Raises:
        ImportError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, *, epoch: int = 0) -> None:
        check_tensorboard()
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=epoch + 1)

    def write(self, row: Mapping[str, float]) -> None:
        """One epoch: each figure under its name in history.csv, at its epoch; those that are NaN are left out."""
        for name, value in row.items():
            if name != "epoch" and not math.isnan(value):
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        """Flush and close the event file."""
        self._writer.close()


def check_tensorboard() -> None:
    """Raise ImportError, saying what to install, unless TensorBoard can be imported."""
    try:
        import torch.utils.tensorboard  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"fit: `tensorboard` must be installed to write its files; it is not ({error}). "
            'Run pip install "sciml-cf[tensorboard]", or train without it: history.csv holds the same figures.'
        ) from error
