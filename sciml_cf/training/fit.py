"""Training any model with a closed-form head, or without one."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from data_gen.files.places import followed
from data_gen.files.whole import said
from sciml_cf.errors import check_count
from sciml_cf.head import Objective
from sciml_cf.model_outputs import Entry, carrying, check_entry, entry_of
from sciml_cf.models.coordinates import positions
from sciml_cf.training.config import FitConfig
from sciml_cf.training.history import History
from sciml_cf.training.hooks import Hooks, Measure, OnEpoch
from sciml_cf.training.loop import Training
from sciml_cf.training.optimizers import MakeOptimizer, MakeSchedule, check_optimizer
from sciml_cf.training.pools import workers_named
from sciml_cf.training.run_start import only_writer, undone_if_refused
from sciml_cf.training.tensorboard import check_tensorboard

__all__ = ["History", "fit"]


def fit(
    model: nn.Module,
    train: Dataset[Any],
    validation: Dataset[Any],
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
    prediction: Entry | None = None,
    loader_workers: int = 0,
    optimizer: MakeOptimizer | None = None,
    schedule: MakeSchedule | None = None,
    on_epoch: OnEpoch | None = None,
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
        model: maps x to y; its last linear layer is the head. Where no other parameter requires a gradient (a frozen
            backbone), the head alone is solved.
        train: items ``{"x": (C, *N), "y": (C', *N)}`` or (x, y), such as a TensorDataset has.
        validation: items of the same kind.
        config: see FitConfig.
        out: run folder to write (see sciml_cf.training.run_folder).
        head: the layer to solve, or its dotted name; by default the last linear layer that runs on the first sample.
        resume: go on from the folder's checkpoint; ends in the same weights, bit for bit, as without interruption.
        overwrite: replace a run that is already there.
        describe: {"model": ..., "data": ...} stored in run.json, so that ``load`` can build the model again. A model
            from a builder of ``sciml_cf.models`` needs no description.
        progress: show a progress bar on standard error.
        tensorboard: write the metrics of history.csv to the folder ``tensorboard`` of the run as well.
        until: stop after this epoch though ``config.epochs`` is higher; the run can be resumed.
        measure: ``measure(model, epoch)`` is called after each validation, with the evaluated weights and in evaluation
            mode; the figures it returns, the same names every time, join the epoch's row. Its time is not counted.
        objective: what the prediction is judged by, such as ``sciml_cf.head.CrossEntropy()``; by default the squared
            error of ``config.loss``. There are no error bars then, and ``describe`` should name it.
        prediction: which entry of the model's return value is the prediction, where that is no tensor: a key, an index,
            or a function from the return value to the tensor. The model carries it from then on, for ``predict``,
            ``adapt`` and the rest; ``load`` restores a key or an index.
        loader_workers: processes that read samples ahead; 0 reads in this one. The order is the same with any number. A
            script with some must call this under ``if __name__ == "__main__":``.
        optimizer: makes the optimizer of the backbone from its parameters, for instance
            ``lambda parameters: torch.optim.NAdam(parameters, lr=1e-3)``, in place of the one that the configuration
            names; its rates are the peaks of the configuration's schedule. Complex parameters come to it as real ones
            of shape ``(..., 2)`` in the same memory. L-BFGS evaluates the loss several times a step, each time with the
            head solved anew from the one before the step.
        schedule: makes a schedule of torch's from the optimizer, in place of the configuration's; it advances with
            every step.
        on_epoch: ``on_epoch(record)`` is called with the ``EpochRecord`` of each epoch once the epoch is stored, for
            instance to log it elsewhere; under torchrun in the first process alone. What it returns is ignored. An
            exception in it stops the training and passes to the caller; ``resume=True`` then goes on with the next
            epoch. Epochs that a resumed run already had are not handed on again.

    Returns:
        History.

    Raises:
        ValueError, TypeError: a setting, the model or the data cannot be used; a sample that is not finite is named.
            Where the folder was not there before, there is none after that.
        TrainingDiverged: the loss left the finite range; the folder keeps the last good checkpoint.
        CheckpointError, FileExistsError, FileNotFoundError: the run folder cannot be used.
        DatasetError: a data file that is read meanwhile cannot be, or has changed; or a process that reads died.
        OutputError: the operating system refuses to write into the run folder.
        ImportError: ``tensorboard`` or the optimizer "soap" was asked for and is not installed.
    """
    if tensorboard:
        check_tensorboard()
    if until is not None:
        check_count("fit", "until", until)
    check_entry("fit", prediction)
    entry = entry_of(model) if prediction is None else prediction
    out = followed(Path(out))
    if optimizer is None:
        check_optimizer(config.optimizer)
    else:
        _check_left_out(config)
    options = (out, head, progress, objective, entry, loader_workers, optimizer, schedule)
    training = Training(model, train, validation, config.resolved(), *options)
    training.last_epoch, training.hooks = min(config.epochs, until or config.epochs), Hooks(measure, on_epoch)
    writer = only_writer(out) if training.fabric.is_global_zero else nullcontext()
    refused = undone_if_refused(out, training.has_learned) if training.fabric.is_global_zero else nullcontext()
    with (
        said("fit", out, "the same command with --resume goes on"),
        writer,
        refused,
        carrying(model, entry),
        training.core_units(),
        positions(model, getattr(train, "positions", None)),
        workers_named(),
    ):
        training.start(resume=resume, overwrite=overwrite, describe=describe or {})
        return training.run(tensorboard=tensorboard)


def _check_left_out(config: FitConfig) -> None:
    """Raise for settings that belong to the optimizer that the caller makes."""
    for name in ("learning_rate", "weight_decay", "betas"):
        if getattr(config, name) is not None:
            raise ValueError(
                f"fit: `{name}` must be left out of the configuration with an optimizer of your own; got "
                f"{getattr(config, name)!r}. Give it to the optimizer."
            )
