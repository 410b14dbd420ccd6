"""Functions of the caller that a training calls after each epoch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import nn

from sciml_cf.normalization import Normalization, physical_units

_APART = ("epoch", "learning_rate")


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch, as ``fit(on_epoch=...)`` gets it.

    Attributes:
        epoch: its number, from 1.
        metrics: the row of history.csv without epoch and learning rate, plain floats; a metric that has no value in
            this epoch is NaN.
        learning_rate: of its last step.
        model: in evaluation mode and with the weights that were validated, from fields to fields in the data's units.
            It must not be changed.
    """

    epoch: int
    metrics: dict[str, float]
    learning_rate: float
    model: nn.Module = field(repr=False)


Measure = Callable[[nn.Module, int], Mapping[str, float]]
OnEpoch = Callable[[EpochRecord], object]


@dataclass(frozen=True)
class Hooks:
    """Those of one training.

    Args:
        measure: adds metrics to the row of an epoch, before it is stored.
        on_epoch: gets the record of an epoch, once it is stored.
    """

    measure: Measure | None = None
    on_epoch: OnEpoch | None = None

    def measured(self, model: nn.Module, epoch: int, normalization: Normalization | None) -> Mapping[str, float]:
        """Metrics of the caller's own, of a model that maps normalized fields."""
        if self.measure is None:
            return {}
        with physical_units(model, normalization):
            return self.measure(model, epoch)

    def stored(self, model: nn.Module, row: Mapping[str, float], normalization: Normalization | None) -> None:
        """Hand on an epoch that is stored; what the function returns is ignored."""
        if self.on_epoch is None:
            return
        metrics = {name: float(value) for name, value in row.items() if name not in _APART}
        with physical_units(model, normalization):
            self.on_epoch(EpochRecord(int(row["epoch"]), metrics, float(row["learning_rate"]), model))
