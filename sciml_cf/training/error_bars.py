"""The error bars that a finished training leaves in its run folder."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import Dataset, Subset

from sciml_cf.datasets.items import calibration_samples
from sciml_cf.errors import CheckpointError, NotPositiveDefinite
from sciml_cf.head.posterior import posterior
from sciml_cf.model_outputs import Predict
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.distributed import is_first_process
from sciml_cf.training.run_folder import plain_state_dict, save_posterior
from sciml_cf.training.units import NormalizedItems, Units

_LOG = logging.getLogger(__name__)
Items = Dataset[dict[str, Tensor]]


def save_error_bars(
    predict: Predict, train: Items, validation: Items, units: Units, head: nn.Module | str | None, out: Path
) -> None:
    """Write the error bars of the best weights, and leave the model unchanged; all processes call this together.

    A model whose prediction is not its last layer's output goes without, and one line says why.
    """
    model = predict.model
    if getattr(train, "known", None) is not None:
        _LOG.info("fit: no error bars: targets have missing values, which they are not made for")
        return
    last = plain_state_dict(model)
    held_out = Subset(validation, calibration_samples(validation))
    data = [NormalizedItems(part, units) for part in (train, held_out)]
    try:
        model.load_state_dict(read_tensors(out / "weights_best.pt"))
        found = posterior(model, *data, head=head, prediction=predict.entry, shared=True)
        if is_first_process():
            save_posterior(found, out)
    except (ValueError, TypeError, NotPositiveDefinite, CheckpointError) as error:
        _LOG.info("fit: no error bars for this model: %s", error)
    finally:
        model.load_state_dict(last)
