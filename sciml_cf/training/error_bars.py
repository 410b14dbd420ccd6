"""The error bars that a finished training leaves in its run folder."""

from __future__ import annotations

import logging
from pathlib import Path

from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.errors import CheckpointError, NotPositiveDefinite
from sciml_cf.head.posterior import posterior
from sciml_cf.model_outputs import Predict
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.run_folder import plain_state_dict, save_posterior
from sciml_cf.training.units import NormalizedItems, Units

_LOG = logging.getLogger(__name__)
Items = Dataset[dict[str, Tensor]]


def save_error_bars(
    predict: Predict, train: Items, validation: Items, units: Units, head: nn.Module | str | None, out: Path
) -> None:
    """Write the error bars of the best weights, and leave the model as it is.

    A model whose prediction is not its last layer's output goes without, and one line says why.
    """
    model = predict.model
    if getattr(train, "known", None) is not None:
        _LOG.info("fit: no error bars: targets have missing values, which they are not made for")
        return
    last = plain_state_dict(model)
    data = [NormalizedItems(part, units) for part in (train, validation)]
    try:
        model.load_state_dict(read_tensors(out / "weights_best.pt"))
        save_posterior(posterior(model, *data, head=head, prediction=predict.entry), out)
    except (ValueError, TypeError, NotPositiveDefinite, CheckpointError) as error:
        _LOG.info("fit: no error bars for this model: %s", error)
    finally:
        model.load_state_dict(last)
