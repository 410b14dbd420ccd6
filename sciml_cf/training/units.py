"""Preparation of a batch for the model: normalized fields, and a weight for each sample."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence, Sized
from functools import cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.datasets.items import check_finite, items_at, reads_in_blocks
from sciml_cf.datasets.steps import steps_of
from sciml_cf.normalization import Normalization, dtype_of, measure_normalization, normalization_of
from sciml_cf.training.choices import Loss
from sciml_cf.training.config import FitConfig
from sciml_cf.training.losses import sample_weights
from sciml_cf.training.progress import Watched

_LOG = logging.getLogger(__name__)
_SMALL_INCREMENTS = 0.5  # of the states' variance, below which increments are learned


class Batch(NamedTuple):
    """Inputs and targets as the model trains on them, and weights: ``(B, 1, ...)``, ``(B, *N)`` of points, or None."""

    x: Tensor
    y: Tensor
    weights: Tensor | None


def choose_normalization(
    model: nn.Module,
    data: Dataset[Any],
    config: FitConfig,
    *,
    has_objective: bool,
    validation: Dataset[Any],
    shown: bool = False,
) -> Normalization | None:
    """The normalization of a training: the one that the model carries, else that of the data; None without one.

    Labels have no units: with an objective nothing is normalized. With ``shown`` there is a bar while samples are read
    from files for it.

    Raises:
        ValueError: it was measured, and a sample of either dataset is not finite; or increments are to be learned of
            data that are no states, or by a model that carries a normalization of the fields themselves.
    """
    if has_objective:
        return None
    carried = normalization_of(model)
    if config.normalize != "none" and carried is not None:
        if config.residual != "auto" and bool(carried.residual) != (config.residual == "yes"):
            raise ValueError(
                f"fit: `residual` must be as the model was trained before; got {config.residual} for a model whose "
                f"normalization is of {'increments' if carried.residual else 'fields'}."
            )
        _LOG.info("fit: the model's own normalization is kept (%s)", carried.summary())
        return carried
    lazily = reads_in_blocks(data) or reads_in_blocks(validation)

    @cache
    def measured_for(residual: tuple[int, ...]) -> Normalization:
        seen = Watched(data, "normalize", shown=shown and lazily)
        return measure_normalization(seen, residual=residual, function="fit", argument="train")

    residual = _residual_of(data, config, measured_for)
    if config.normalize == "none":
        return _increments_alone(data, residual) if residual else None
    measured = measured_for(residual)
    check_finite("fit", "validation", Watched(validation, "check", shown=shown and lazily))
    _LOG.info("fit: normalized by the training samples (%s)", measured.summary())
    return measured


def _residual_of(
    data: Dataset[Any], config: FitConfig, measured_for: Callable[[tuple[int, ...]], Normalization]
) -> tuple[int, ...]:
    """The input channel that each increment starts from; empty where the fields themselves are learned."""
    if config.residual == "yes":
        return steps_of("fit", data).residual
    if config.residual == "no" or not getattr(data, "windows", None):
        return ()
    residual = steps_of("fit", data).residual
    share = measured_for(residual).loss_scale / measured_for(()).loss_scale
    learned = share < _SMALL_INCREMENTS
    _LOG.info(
        "fit: %s are learned: those from the last state to the next ones have %.2g of the states' variance (--residual "
        "changes it)", "increments" if learned else "states themselves, not increments,", share,
    )  # fmt: skip
    return residual if learned else ()


def _increments_alone(data: Dataset[Any], residual: tuple[int, ...]) -> Normalization:
    """Increments in the data's own units: the affine maps are the identity."""
    channels = data[0]["x"].shape[0]
    zeros, ones = (0.0,) * channels, (1.0,) * channels
    return Normalization(zeros, ones, (0.0,) * len(residual), (1.0,) * len(residual), residual=residual)


class Units:
    """From the data's own units to those a model trains in, and back.

    Args:
        normalization: None leaves fields as they are, but in the model's precision.
        loss: see FitConfig.
        dtype: precision of the model.
    """

    def __init__(self, normalization: Normalization | None, loss: Loss, dtype: torch.dtype) -> None:
        self.normalization, self._dtype = normalization, dtype
        self._loss: Loss = loss

    @classmethod
    def of(cls, model: nn.Module, normalization: Normalization | None, loss: Loss) -> Units:
        """Units for a model's own precision."""
        return cls(normalization, loss, dtype_of(model))

    def inputs(self, x: Tensor) -> Tensor:
        """Inputs for the model."""
        return self._cast(x) if self.normalization is None else self.normalization.inputs(x, self._dtype)

    def batch(self, items: dict[str, Tensor]) -> Batch:
        """A batch as the model trains on it. Relative losses weigh by the physical target in units of its deviation."""
        y, known = items["y"], items.get("weights")
        scaled = self._cast(y) if self.normalization is None else self.normalization.in_deviations(y)
        weights = sample_weights(scaled if known is None else scaled * known[:, None], self._loss)
        if weights is not None and self.normalization is not None:
            weights = weights.to(self._dtype)
        if known is not None:
            each = 1.0 if weights is None else weights.reshape(-1, *[1] * (y.ndim - 2))
            weights = (each * known).to(self._dtype)
        if self.normalization is None:
            return Batch(self.inputs(items["x"]), self._cast(y), weights)
        return Batch(self.inputs(items["x"]), self.normalization.targets(y, self._dtype, x=items["x"]), weights)

    def physical(self, prediction: Tensor, x: Tensor) -> Tensor:
        """The model's outputs in the data's units, for inputs x in them."""
        return prediction if self.normalization is None else self.normalization.outputs(prediction, x)

    def forward(self, predict: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """Outputs in the data's units for inputs x in them, of a model in the units that it trains in."""
        return self.physical(predict(self.inputs(x)), x)

    def deviations(self, x: Tensor) -> Tensor:
        """``(1, C, 1, ...)`` deviations of the channels of normalized inputs; 1 without a normalization."""
        if self.normalization is None:
            return torch.ones(1, x.shape[1], *[1] * (x.ndim - 2))
        return self.normalization.input_deviations(x)

    @property
    def loss_scale(self) -> float:
        """What turns a mean squared error of the model's outputs into one in the data's units."""
        return 1.0 if self.normalization is None else self.normalization.loss_scale

    def _cast(self, values: Tensor) -> Tensor:
        return values.to(self._dtype) if values.dtype == torch.float64 != self._dtype else values


class NormalizedItems(Dataset[dict[str, Tensor]]):
    """A dataset's items as the model trains on them."""

    def __init__(self, data: Dataset[dict[str, Tensor]], units: Units) -> None:
        self._data, self._units = data, units

    def __len__(self) -> int:
        return len(cast(Sized, self._data))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self._normalized(self._data[index])

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Tensor]]:
        """Items by their numbers."""
        return [self._normalized(item) for item in items_at(self._data, numbers)]

    def _normalized(self, item: dict[str, Tensor]) -> dict[str, Tensor]:
        x, y, _ = self._units.batch({"x": item["x"][None], "y": item["y"][None]})
        return {"x": x[0], "y": y[0]}
