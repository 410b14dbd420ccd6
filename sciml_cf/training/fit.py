"""Training any model with a closed-form head, or without one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.errors import check_count
from sciml_cf.head import Objective
from sciml_cf.models.coordinates import positions
from sciml_cf.training.config import FitConfig
from sciml_cf.training.history import History
from sciml_cf.training.loop import Measure, Training
from sciml_cf.training.run_start import only_writer
from sciml_cf.training.tensorboard import check_tensorboard

__all__ = ["History", "fit"]


def fit(
    model: nn.Module,
    train: Dataset[dict[str, Tensor]],
    validation: Dataset[dict[str, Tensor]],
    *,
    config: FitConfig,
    out: Path | str,
    head: nn.Module | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    describe: dict[str, Any] | None = None,
    progress: bool = True,
    tensorboard: bool = False,
    until: int | None = None,
    measure: Measure | None = None,
    objective: Objective | None = None,
) -> History:
    """Train ``model`` to map x to y under the mean squared error; leaves it with the weights of the last epoch.

    With ``config.normalize`` "auto" the model trains on fields of mean 0 and deviation 1 and carries its normalization
    from then on: called by itself, by ``predict`` or as ``load`` returns it, it maps fields in the data's own units to
    fields in the data's own units (see sciml_cf.normalization). A model that carries one already keeps it.

    With an objective of classes y are labels, and both the training and the validation are of its loss.

    Before each validation under Algorithm 2, the head is solved once more on the batch that comes next, so that it
    matches the backbone it is evaluated with; training then goes on from the head it had (arXiv:2510.04606,
    Algorithm 2, line 10). With ``config.average`` the same is done for the averaged backbone, under both algorithms.

    Under torchrun every process takes its share of each batch: gradients are averaged (distributed data parallel) and
    moments merged, so that k processes do what one does with the same ``batch_size``. All must see the run folder.

    Args:
        model: maps x to y; its last linear layer is the head.
        train, validation: items {"x": (C, *N), "y": (C', *N)}.
        config: see FitConfig.
        out: run folder to write (see sciml_cf.training.run_folder).
        head: the layer to solve, or its dotted name; by default the last linear layer of the model.
        resume: go on from the folder's checkpoint; ends in the same weights, bit for bit, as without interruption.
        overwrite: replace a run that is already there.
        describe: {"model": ..., "data": ...} stored in run.json, so that ``load`` can build the model again.
        progress: show a progress bar on standard error.
        tensorboard: write the figures of history.csv to the folder ``tensorboard`` of the run as well.
        until: stop after this epoch though ``config.epochs`` is higher; the run can be resumed.
        measure: ``measure(model, epoch)`` is called after each validation, with the evaluated weights and in evaluation
            mode; the figures it returns, the same names every time, join the epoch's row. Its time is not counted.
        objective: what the prediction is judged by, such as ``sciml_cf.head.CrossEntropy()``; by default the squared
            error of ``config.loss``. There are no error bars then, and ``describe`` should name it.
    Returns:
        History.
    Raises:
        TrainingDiverged: the loss left the finite range; the folder keeps the last good checkpoint.
        CheckpointError, FileExistsError, FileNotFoundError: the run folder cannot be used.
        ImportError: ``tensorboard`` was asked for and is not installed.
    """
    if tensorboard:
        check_tensorboard()
    if until is not None:
        check_count("fit", "until", until)
    training = Training(model, train, validation, config.resolved(), Path(out), head, progress, objective)
    training.last_epoch, training.measure = min(config.epochs, until or config.epochs), measure
    writer = only_writer(Path(out)) if training.fabric.is_global_zero else nullcontext()
    with writer, training.core_units(), positions(model, getattr(train, "positions", None)):
        training.start(resume=resume, overwrite=overwrite, describe=describe or {})
        return training.run(tensorboard=tensorboard)
