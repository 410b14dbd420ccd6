"""The loop behind ``fit``, on Lightning Fabric: its steps are those of the paper's algorithm boxes."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.errors import NotPositiveDefinite, TrainingDiverged
from sciml_cf.head import ClosedFormLoss, Objective, check_solved
from sciml_cf.head.algorithms import make_algorithm, solve_on
from sciml_cf.model_outputs import Entry, Predict, stored_entry
from sciml_cf.models import description_of
from sciml_cf.normalization import attach_normalization, detach_normalization
from sciml_cf.training.averaging import WeightAverage
from sciml_cf.training.batches import mix_seed
from sciml_cf.training.checkpoints import choose_checkpoint, read_tensors, save_checkpoint, save_tensors
from sciml_cf.training.config import FitConfig
from sciml_cf.training.distributed import make_fabric, mean, share_buffers, total
from sciml_cf.training.error_bars import save_error_bars
from sciml_cf.training.feed import Feed
from sciml_cf.training.head import make_losses
from sciml_cf.training.history import History, validation_error
from sciml_cf.training.hooks import Hooks
from sciml_cf.training.losses import weighted_mse
from sciml_cf.training.optimizers import Descent, MakeOptimizer, MakeSchedule
from sciml_cf.training.pools import set_epoch
from sciml_cf.training.progress import Progress
from sciml_cf.training.run_folder import (
    RUN_FILE,
    TENSORBOARD_FOLDER,
    drop_evaluation,
    plain_state_dict,
    read_normalization,
    read_settings,
    save_normalization,
    write_history,
)
from sciml_cf.training.run_start import ADDED_SINCE, diverged, finish_run, start_run
from sciml_cf.training.samples import bad_sample
from sciml_cf.training.schedules import should_stop
from sciml_cf.training.tensorboard import ScalarWriter
from sciml_cf.training.units import Batch, Units, choose_normalization
from sciml_cf.training.unroll import Unroll
from sciml_cf.training.validation import validation_sums

_LOG = logging.getLogger(__name__)
_CHECK_EVERY = 20  # steps between looks at the loss
_DROPOUT = 1  # purpose of a seed
_AVERAGE_BATCHES = 8  # on which the head of an averaged backbone is solved
_CHECKPOINT_KEYS = frozenset(
    {"epoch", "best", "first_loss", "rows", "model", "optimizer", "head", "trajectory", "average"}
)


class Training:
    """The state of one training: what the checkpoint holds, and the loop that moves it."""

    def __init__(
        self,
        model: nn.Module,
        train: Dataset[Any],
        validation: Dataset[Any],
        config: FitConfig,
        out: Path,
        head: nn.Module | str | None,
        progress: bool,
        objective: Objective | None = None,
        prediction: Entry | None = None,
        loader_workers: int = 0,
        optimizer: MakeOptimizer | None = None,
        schedule: MakeSchedule | None = None,
    ) -> None:
        self.raw_model, self.config, self.out, self.progress = model, config, out, progress
        self.head, self.objective, self.entry = head, objective, prediction
        if objective is not None and config.loss != "mse":
            raise ValueError(f"fit: `loss` must be left out with an objective; got {config.loss!r}.")
        self.judged = "validation_mse" if objective is None else "validation_loss"
        self.fabric = make_fabric(config.accelerator)
        sizes = {"batch_size": config.batch_size, "seed": config.seed, "augment": config.augment}
        self.feed = Feed(self.fabric, train, validation, workers=loader_workers, **sizes)
        self.steps_per_epoch = self.feed.steps_per_epoch
        self.unroll = Unroll.of(self.feed.train, config)
        single = self.unroll.single(self.feed.train)
        judged = {"has_objective": objective is not None, "validation": self.feed.validation}
        shown = progress and self.fabric.is_global_zero
        chosen = choose_normalization(model, single, config, **judged, shown=shown)
        chosen = self.fabric.broadcast(chosen)  # a dataset may draw its items, in each process others
        self.units = Units.of(model, chosen, config.loss)
        self.loss, self.plain = make_losses(model, head, single, config, objective)
        self.descent = Descent(self.fabric, model, config, optimizer, schedule)
        self.model = self.descent.model
        if self.loss is not None:
            self.loss.to(self.fabric.device)
        self._predict = Predict("fit", self.model, prediction)
        self._evaluate = Predict("fit", model, prediction, replaceable=chosen is not None)
        self.algorithm = None
        if self.plain is not None:
            self.algorithm = make_algorithm(config.algorithm, self.model, self.plain, forward=self._predict)
        self.average = None if config.average is None else WeightAverage(model, config.average)
        self.stepped = False
        self.epoch, self.best, self.first_loss, self.rows = 0, math.inf, math.nan, []
        self.last_epoch = config.epochs
        self.hooks = Hooks()

    @contextmanager
    def core_units(self) -> Iterator[None]:
        """Inside, the model maps normalized fields; after it physical ones. An error leaves it as it was."""
        before = detach_normalization(self.raw_model)
        try:
            yield
            before = self.units.normalization
        finally:
            if before is not None:
                attach_normalization(self.raw_model, before)

    def start(self, *, resume: bool, overwrite: bool, describe: dict[str, Any]) -> None:
        """Make the run folder ready, or go back to its checkpoint."""
        if resume:
            self._take_stored_normalization()
        normalization = self.units.normalization
        settings = {
            "fit": {**self.config.to_dict(), **self.descent.described},
            "model": describe.get("model") or description_of(self.raw_model),
            "data": describe.get("data"),
            "normalization": None if normalization is None else normalization.to_dict(),
        }
        if self.entry is not None:
            settings["prediction"] = stored_entry(self.entry)
        checkpoint = None
        if self.fabric.is_global_zero:
            if start_run(self.out, settings, resume=resume, overwrite=overwrite):
                checkpoint = choose_checkpoint(self.out, _CHECKPOINT_KEYS)
            else:
                if normalization is not None:
                    save_normalization(normalization, self.out)
                self._save(improved=False)
        checkpoint = self.fabric.broadcast(checkpoint)
        if checkpoint:
            self._load(self.out / checkpoint)

    def _take_stored_normalization(self) -> None:
        """That of the run to go on with; a run of version 0.1 has none."""
        if not (self.out / RUN_FILE).is_file():
            return
        stored = read_settings(self.out)
        if "normalization" not in stored:
            self.config = replace(self.config, normalize="none")
        if "residual" not in stored["fit"]:
            self.config = replace(self.config, residual="no")
        if {**ADDED_SINCE, **stored["fit"]}["normalize"] == self.config.normalize:
            self.units = Units.of(self.raw_model, read_normalization(stored), self.config.loss)

    def run(self, *, tensorboard: bool) -> History:
        """All epochs that are left."""
        first = self.fabric.is_global_zero
        writer = ScalarWriter(self.out / TENSORBOARD_FOLDER, epoch=self.epoch) if tensorboard and first else None
        bar = Progress(
            f"train {self.config.label()}",
            epochs=self.last_epoch,
            steps_per_epoch=self.steps_per_epoch,
            done=self.epoch,
            shown=self.progress and first,
        )
        with closing(bar), closing(writer) if writer else nullcontext():
            while not self._done():
                with torch.random.fork_rng():  # dropout and the like depend on the seed and the epoch alone
                    own = () if first else (self.fabric.global_rank,)
                    torch.manual_seed(mix_seed(self.config.seed, self.epoch, _DROPOUT, *own))
                    self._one_epoch(bar)
                if writer:
                    writer.write(self.rows[-1])
                bar.epoch(self.rows[-1])
        if self.loss is not None:
            self.loss.head.detach()
        if self._complete():
            self.fabric.barrier()  # the best weights are written
            if self.objective is None:
                set_epoch(self.feed.train, 0)
                train, held_out = self.unroll.single(self.feed.train), self.unroll.single(self.feed.validation)
                save_error_bars(self._evaluate, train, held_out, self.units, self.head, self.out)
            if first:
                finish_run(self.out)
        self.fabric.barrier()
        return History(tuple(self.rows), self.feed.num_held_out)

    def _one_epoch(self, bar: Progress) -> None:
        start = time.perf_counter()
        before = None if self.loss is None else self.loss.head.state()["head"]
        losses, last = self._steps(bar), (self.epoch + 1) * self.steps_per_epoch - 1
        self._check(losses, last)
        self._check_solved(last)
        metrics = {} if self.loss is None else self.loss.head.figures()  # before another solve, for evaluation
        with self._solving(last):
            own = self._take_evaluated_weights()
        self._check_solved(last)
        error, relative = self._validate()
        if not math.isfinite(error):
            raise self._diverged(last, f"validation error {error}")
        self.epoch += 1
        row = self._row(losses, error, relative)
        if self.loss is not None:
            state = self.loss.head.state()
            row["head_change"] = (state["head"] - cast(Tensor, before)).norm().item()
            row.update({"jitter": state["jitter"].item(), **metrics})
        row["seconds"] = time.perf_counter() - start
        row.update(self.hooks.measured(self.raw_model, self.epoch, self.units.normalization))
        self.rows.append(row)
        improved, self.best = error < self.best, min(error, self.best)
        if self.fabric.is_global_zero:
            self._save(improved=improved, own=own)
            self.hooks.stored(self.raw_model, row, self.units.normalization)
        if not self._done():
            self._go_back(own)

    def has_learned(self, error: Exception) -> bool:
        """Whether the folder holds more than the weights before the first step, after an error.

        A sample that cannot be trained on is found in the course of the first epoch at the latest.
        """
        return self.epoch > 0 or (self.stepped and not isinstance(error, (ValueError, TypeError)))

    def _steps(self, bar: Progress) -> list[Tensor]:
        """The steps of one epoch; their losses."""
        self.model.train()
        losses: list[Tensor] = []
        for index, batch in enumerate(self._batches(self.epoch)):
            step = self.epoch * self.steps_per_epoch + index
            self.descent.set_rate(step, self.steps_per_epoch, self._errors())
            with self._solving(step):
                losses.append(self._step(batch).clone())  # a view would keep the rows of the whole batch
            self.stepped = True
            if self.average is not None:
                self.average.update()
            if len(losses) % _CHECK_EVERY == 0:
                self._check(losses[-_CHECK_EVERY:], step)
            bar.step()
        return losses

    def _row(self, losses: Sequence[Tensor], error: float, relative: float) -> dict[str, float]:
        """The row of the history of the epoch that is done, without the head's metrics."""
        row = {
            "epoch": self.epoch,
            "steps": self.epoch * self.steps_per_epoch,
            "learning_rate": self.descent.rate,
            "train_loss": mean(torch.stack(list(losses)).mean()).item() * self.units.loss_scale,
            self.judged: error,
        }
        return row if self.objective is not None else {**row, "validation_relative_l2": relative}

    def _step(self, batch: Batch) -> Tensor:
        """The loss that the backbone descended on a batch, detached."""
        x, y, weights = batch
        if self.descent.asks_again:
            return self._minimise(x, y, weights)
        if self.algorithm is not None:
            return self.algorithm.step(x, y, weights, descend=self.descent)
        loss = weighted_mse(self._predict(x), y, weights)
        self.descent(loss)
        return loss.detach()

    def _minimise(self, x: Tensor, y: Tensor, weights: Tensor | None) -> Tensor:
        """A step that evaluates the loss several times, each at the head solved anew from the one before the step."""
        if self.plain is None:
            return self.descent.minimise(lambda: weighted_mse(self._predict(x), y, weights))
        loss_of, before = self.plain, self.plain.head.state()

        def loss_at() -> Tensor:
            loss_of.head.restore(before)
            return loss_of(self._predict(x), y, weights)

        loss = self.descent.minimise(loss_at)
        loss_of.head.restore(before)
        solve_on(self.raw_model, loss_of, [(x, y, weights)], forward=self._predict)
        return loss

    def _take_evaluated_weights(self) -> dict[str, Any]:
        """Put the weights to evaluate into the model; returns those that training goes on from, for ``_go_back``."""
        share_buffers(self.raw_model)
        own: dict[str, Any] = {"head": None if self.loss is None else self.loss.head.state(), "weights": None}
        if self.average is not None:
            own["weights"] = self.average.swap_in()
        if self.loss is not None and (self.average is not None or self.config.algorithm == 2):
            self.loss.head._accept()  # an average has its own
            self.raw_model.eval()
            count = 1 if self.average is None else _AVERAGE_BATCHES
            ahead = self._batches(self.epoch + 1, ahead=count)  # for evaluation, on the batches that come next
            solve_on(self.raw_model, self.loss, ahead, forward=self._evaluate)
        return own

    def _go_back(self, own: dict[str, Any]) -> None:
        if own["weights"] is not None:
            self.raw_model.load_state_dict(own["weights"])
        if own["head"] is not None:
            cast(ClosedFormLoss, self.loss).head.restore(own["head"])

    def _validate(self) -> tuple[float, float]:
        """The mean over all validation samples, or over an objective's rows, whatever their order and processes, and
        the mean relative L2 error.
        """
        judge = None if self.objective is None else cast(ClosedFormLoss, self.plain)
        self.raw_model.eval()
        sums = validation_sums(self._evaluate, self.feed.held_out(), self.units, judge, self.unroll)
        error, count, relative = total(torch.tensor(sums, dtype=torch.float64, device=self.fabric.device)).tolist()
        if count == 0:
            raise ValueError("fit: `validation` must hold a sample whose class has a weight above 0; got none.")
        return error / count, relative / count

    def _check(self, losses: Sequence[Tensor], step: int) -> None:
        """Raise TrainingDiverged in every process alike: what is judged is the loss of the whole batch."""
        values = mean(torch.stack(list(losses)))
        if math.isnan(self.first_loss):
            self.first_loss = values[0].item()
        worst = values.max().item() if bool(torch.isfinite(values).all()) else math.nan
        if not worst <= 1e6 * max(self.first_loss, 1e-300):
            raise self._diverged(step, f"training loss {worst}")

    def _check_solved(self, step: int) -> None:
        """Raise for a solve whose success was still being computed on the device."""
        if self.loss is not None:
            with self._solving(step):
                check_solved(self.loss.head.state())

    @contextmanager
    def _solving(self, step: int) -> Iterator[None]:
        """Inside this block a solve that fails is blamed on a sample, on the data or the strength, or on the rate."""
        try:
            yield
        except NotPositiveDefinite as error:
            found = self._diverged(step, str(error))
            not_the_rate = "dependent" in str(error) or not (self.stepped or self.epoch)
            if not_the_rate and isinstance(found, TrainingDiverged):
                raise
            raise found from error

    def _done(self) -> bool:
        return self.epoch >= self.last_epoch or self._complete()

    def _complete(self) -> bool:
        return self.epoch >= self.config.epochs or should_stop(self._errors(), self.config.patience)

    def _errors(self) -> list[float]:
        return [validation_error(row) for row in self.rows]

    def _diverged(self, step: int, what: str) -> Exception:
        """The error of a loss that is not finite or too large: that of the sample to blame, or of the rate."""
        return bad_sample(self.feed.train, self.feed.validation) or diverged(
            self.out, self.descent.peak_rate, step, self.epoch, what
        )

    def _batches(self, epoch: int, *, ahead: int | None = None) -> Iterator[Batch]:
        """The batches of one epoch as the model trains on them, this process's share of each, made one at a time."""
        for items in self.feed.epoch(epoch, ahead=ahead):
            yield self.units.batch(self.unroll.rows(items, self._evaluate, self.units))

    def _save(self, *, improved: bool, own: dict[str, Any] | None = None) -> None:
        weights = plain_state_dict(self.raw_model)
        own = own or {"head": None if self.loss is None else self.loss.head.state(), "weights": None}
        content: dict[str, Any] = {
            "epoch": self.epoch,
            "best": self.best,
            "first_loss": self.first_loss,
            "rows": self.rows,
            "model": weights,
            "trajectory": own["weights"],
            "average": None if self.average is None else self.average.state(),
            **self.descent.state(),
            "head": own["head"],
        }
        write_history(self.out, self.rows)
        if self.epoch:
            save_tensors(self.out / "weights_last.pt", weights)
        if improved:
            save_tensors(self.out / "weights_best.pt", weights)
        # Last, so that a checkpoint never runs ahead of the files it belongs to.
        save_checkpoint(self.out, content)

    def _load(self, path: Path) -> None:
        content = read_tensors(path)
        self.raw_model.load_state_dict(content["model"])
        self.descent.restore(content)
        if self.average is not None:
            self.average.restore(content["average"])
        self.epoch, self.best, self.first_loss = content["epoch"], content["best"], content["first_loss"]
        self.rows = content["rows"]
        if self._done():  # nothing is left to do: the weights as they were evaluated
            return
        head = content["head"] and {name: value.to(self.fabric.device) for name, value in content["head"].items()}
        self._go_back({"weights": content["trajectory"], "head": head})
        if self.fabric.is_global_zero:
            drop_evaluation(self.out)
