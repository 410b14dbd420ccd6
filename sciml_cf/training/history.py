"""The history of a training: one row an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class History:
    """One row an epoch: epoch, steps, learning_rate, train_loss, validation_mse, validation_relative_l2 (the mean over
    samples), seconds, and metrics of the head. Errors are in the data's units; with several target channels and
    normalization, train_loss is the loss of the normalized fields times the mean variance of the channels.

    Where ``fit`` was given an objective, validation_loss stands in the place of validation_mse.

    Those are, unless the method is l2: head_change (over the epoch), jitter, the means over the epoch's solves
    head_step, gain, rebound and turn (see ``sciml_cf.head.Steps``), and of its last solve condition,
    degrees_of_freedom and feature_scale (see ``sciml_cf.head.Diagnostics``).

    Attributes:
        rows: a dict an epoch, of the names above.
        validation_samples: how many samples were validated.
    """

    rows: tuple[dict[str, float], ...]
    validation_samples: int = 0

    @property
    def best(self) -> dict[str, float]:
        """The row with the lowest validation error."""
        return min(self.rows, key=validation_error)


def validation_error(row: Mapping[str, float]) -> float:
    """The figure that was validated: validation_mse, or validation_loss of an objective."""
    return row["validation_mse"] if "validation_mse" in row else row["validation_loss"]
