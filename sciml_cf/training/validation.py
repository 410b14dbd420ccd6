"""The error of a model over the validation samples."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sciml_cf.head import ClosedFormLoss
from sciml_cf.metrics import mse, over_known, relative_l2
from sciml_cf.training.units import Units


def validation_sums(
    model: nn.Module, batches: Iterable[dict[str, Tensor]], units: Units, judge: ClosedFormLoss | None
) -> tuple[float, float, float]:
    """Sums that a mean over all batches is made of, over this process's batches.

    Args:
        model: in the units it trains in; left in evaluation mode.
        batches: items in the data's own units.
        units: of the training.
        judge: the loss of an objective, which the rows are judged by; None for the mean squared error of samples.
    Returns:
        (error, count, relative): summed mean squared errors of samples in the data's units, their number, and their
        summed relative L2 errors (NaN where a target is zero); or those of the objective, and NaN.
    """
    model.eval()
    error, count, relative = 0.0, 0.0, 0.0 if judge is None else math.nan
    with torch.no_grad():
        for batch in batches:
            prediction = model(units.inputs(batch["x"]))
            if judge is None:
                physical = units.physical(prediction)
                known = batch["weights"] > 0 if "weights" in batch else None
                error += over_known(mse, physical, batch["y"], known).double().sum().item()
                relative += over_known(relative_l2, physical, batch["y"], known).double().sum().item()
                count += len(batch["x"])
            else:
                part, share = judge.sums(prediction, batch["y"])
                error, count = error + part.item(), count + share.item()
    return error, count, relative
