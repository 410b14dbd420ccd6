"""The error of a model over the validation samples."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial

import torch
from torch import Tensor

from sciml_cf.head import ClosedFormLoss
from sciml_cf.metrics import mse, over_known, relative_l2
from sciml_cf.model_outputs import Predict
from sciml_cf.training.units import Units
from sciml_cf.training.unroll import Unroll


def validation_sums(
    predict: Predict,
    batches: Iterable[dict[str, Tensor]],
    units: Units,
    judge: ClosedFormLoss | None,
    unroll: Unroll,
) -> tuple[float, float, float]:
    """Sums that a mean over all batches is made of, over this process's batches.

    Args:
        predict: the prediction of the model, which is in evaluation mode, in the units that it trains in.
        batches: items in the data's own units.
        units: of the training.
        unroll: how many outputs a target holds; the model is applied to its own output as often.
        judge: the loss of an objective, which the rows are judged by; None for the mean squared error of samples.

    Returns:
        The summed mean squared errors of samples in the data's units, their number, and their summed relative L2 errors
        (NaN where a target is zero); or those of the objective, and NaN.
    """
    error, count, relative = 0.0, 0.0, 0.0 if judge is None else math.nan
    with torch.no_grad():
        for batch in batches:
            if judge is None:
                physical = unroll.roll(partial(units.forward, predict), batch["x"])
                target = batch["y"] if batch["y"].is_floating_point() else batch["y"].to(physical.dtype)
                known = batch["weights"] > 0 if "weights" in batch else None
                error += over_known(mse, physical, target, known).double().sum().item()
                relative += over_known(relative_l2, physical, target, known).double().sum().item()
                count += len(batch["x"])
            else:
                part, share = judge.sums(predict(units.inputs(batch["x"])), batch["y"])
                error, count = error + part.item(), count + share.item()
    return error, count, relative
