"""Training: one explicit loop, readable beside the paper's algorithm boxes, on Lightning Fabric."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sized
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from sciml_cf.errors import NotPositiveDefinite, TrainingDiverged, check_choice
from sciml_cf.fit_config import FitConfig
from sciml_cf.head import ClosedFormLoss, find_head
from sciml_cf.metrics import mse
from sciml_cf.runs import (
    CHECKPOINT_FILE,
    drop_evaluation,
    finish_run,
    plain_state_dict,
    read_tensors,
    replaced_run,
    save_tensors,
    start_run,
    write_history,
)

_CHECK_EVERY = 20  # steps between looks at the loss


@dataclass(frozen=True)
class History:
    """One row an epoch: epoch, steps, learning_rate, train_loss, validation_mse, jitter, head_change, seconds."""

    rows: tuple[dict[str, float], ...]

    @property
    def best(self) -> dict[str, float]:
        """The row with the lowest validation error."""
        return min(self.rows, key=lambda row: row["validation_mse"])


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
) -> History:
    """Train ``model`` to map x to y under the mean squared error; leaves it with the weights of the last epoch.

    Before each validation under Algorithm 2, the head is solved once more on the batch that comes next, so that it
    matches the backbone it is evaluated with; training then goes on from the head it had (arXiv:2510.04606,
    Algorithm 2, line 10).

    Args:
        model: maps x to y; its last linear layer is the head.
        train, validation: items {"x": (C, *N), "y": (C', *N)}.
        config: see FitConfig.
        out: run folder to write (see sciml_cf.runs).
        head: the layer to solve, or its dotted name; by default the last linear layer of the model.
        resume: go on from the folder's checkpoint; ends in the same weights, bit for bit, as without interruption.
        overwrite: replace a run that is already there.
        describe: {"model": ..., "data": ...} stored in run.json, so that ``load`` can build the model again.
        progress: show a progress bar on standard error.
    Returns:
        History.
    Raises:
        TrainingDiverged: the loss left the finite range; the folder keeps the last good checkpoint.
        CheckpointError, FileExistsError, FileNotFoundError: the run folder cannot be used.
    """
    return _Training(model, train, validation, config.resolved(), Path(out), head, progress).run(
        resume=resume, overwrite=overwrite, describe=describe or {}
    )


class _Training:
    """The state of one training: what the checkpoint holds, and the loop that moves it."""

    def __init__(
        self,
        model: nn.Module,
        train: Dataset[dict[str, Tensor]],
        validation: Dataset[dict[str, Tensor]],
        config: FitConfig,
        out: Path,
        head: nn.Module | str | None,
        progress: bool,
    ) -> None:
        self.raw_model, self.config, self.out, self.progress = model, config, out, progress
        self.data, self.num_samples = train, len(cast(Sized, train))
        if min(self.num_samples, len(cast(Sized, validation))) == 0:
            raise ValueError("fit: `train` and `validation` must each hold at least one sample; got an empty dataset.")
        self.fabric = _make_fabric(config.accelerator)
        self.batch_size = min(config.batch_size, self.num_samples)
        self.steps_per_epoch = self.num_samples // self.batch_size
        self.loss = self._make_loss(head)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.model, self.optimizer = self.fabric.setup(model, _make_optimizer(parameters, config))
        if self.loss is not None:
            self.loss.to(self.fabric.device)
        self.validation = self._loader(
            validation, [list(part) for part in _chunks(range(len(cast(Sized, validation))), max(self.batch_size, 32))]
        )
        if config.batch_size % self.fabric.world_size:
            raise ValueError(
                f"fit: `batch_size` must be a multiple of the number of processes, {self.fabric.world_size}; "
                f"got {config.batch_size}."
            )
        self.epoch, self.best, self.first_loss, self.rows = 0, math.inf, math.nan, []

    def run(self, *, resume: bool, overwrite: bool, describe: dict[str, Any]) -> History:
        settings = {"fit": asdict(self.config), "model": describe.get("model"), "data": describe.get("data")}
        found = False
        if self.fabric.is_global_zero:
            found = start_run(self.out, settings, resume=resume, overwrite=overwrite)
        if self.fabric.broadcast(found):
            self._load()
        elif self.fabric.is_global_zero:
            self._save(improved=False)
        steps = self.config.epochs * self.steps_per_epoch
        bar = tqdm(
            total=steps,
            initial=self.epoch * self.steps_per_epoch,
            desc=f"train {self.config.method}",
            unit="step",
            disable=not (self.progress and self.fabric.is_global_zero),
        )
        with bar:
            while self.epoch < self.config.epochs:
                with torch.random.fork_rng():  # dropout and the like depend on the seed and the epoch alone
                    torch.manual_seed(self._seed(1))
                    self._one_epoch(bar)
                bar.set_postfix(epoch=self.epoch, validation_mse=f"{self.rows[-1]['validation_mse']:.3g}")
        if self.loss is not None:
            self.loss.head.detach()
        if self.fabric.is_global_zero:
            finish_run(self.out)
        self.fabric.barrier()
        return History(tuple(self.rows))

    def _one_epoch(self, bar: Any) -> None:
        start = time.perf_counter()
        self.model.train()
        losses: list[Tensor] = []
        before = None if self.loss is None else self.loss.head.state()["head"]
        for index, batch in enumerate(self._batches(self.epoch)):
            step = self.epoch * self.steps_per_epoch + index
            self._set_learning_rate(step)
            try:
                losses.append(self._step(batch["x"], batch["y"]))
            except NotPositiveDefinite as error:
                if index == self.epoch == 0 or "dependent" in str(error):  # the data or the strength, not the rate
                    raise
                raise self._diverged(step, str(error)) from error
            if len(losses) % _CHECK_EVERY == 0:
                self._check(losses[-_CHECK_EVERY:], step)
            bar.update()
        self._check(losses, (self.epoch + 1) * self.steps_per_epoch - 1)
        trajectory = self._solve_ahead()
        error = self._validate()
        if not math.isfinite(error):
            raise self._diverged((self.epoch + 1) * self.steps_per_epoch - 1, f"validation error {error}")
        self.epoch += 1
        row = {
            "epoch": self.epoch,
            "steps": self.epoch * self.steps_per_epoch,
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "train_loss": cast(Tensor, self.fabric.all_reduce(torch.stack(losses).mean())).item(),
            "validation_mse": error,
        }
        if self.loss is not None:
            state = self.loss.head.state()
            row["head_change"] = (state["head"] - cast(Tensor, before)).norm().item()
            row["jitter"] = state["jitter"].item()
        row["seconds"] = time.perf_counter() - start
        self.rows.append(row)
        improved, self.best = error < self.best, min(error, self.best)
        if self.fabric.is_global_zero:
            self._save(improved=improved, head=trajectory)
        if trajectory is not None and self.loss is not None and self.epoch < self.config.epochs:
            self.loss.head.restore(trajectory)

    # One step of each method: the mean squared error of the batch, detached.

    def _step(self, x: Tensor, y: Tensor) -> Tensor:
        if self.loss is None:
            return self._descend(nn.functional.mse_loss(self.model(x), y))
        prediction = self.model(x)
        if self.config.algorithm == 2:
            return self._descend(self.loss(prediction, y))
        self.loss.head.prove(prediction)
        value = self._descend(nn.functional.mse_loss(prediction, y))
        with torch.no_grad():
            self.loss.head.update(y, prediction=self.model(x))
        return value

    def _descend(self, loss: Tensor) -> Tensor:
        self.optimizer.zero_grad()
        if loss.requires_grad:
            self.fabric.backward(loss)
            self.optimizer.step()
        return loss.detach()

    def _solve_ahead(self) -> dict[str, Tensor] | None:
        """Solve the head on the next batch for evaluation; returns the state to go back to (Algorithm 2 only)."""
        if self.loss is None or self.config.algorithm == 1:
            return None
        head = self.loss.head
        trajectory = head.state()
        batch = next(iter(self._batches(self.epoch + 1)))
        self.model.eval()
        with torch.no_grad(), head.recording():
            head.update(batch["y"], prediction=self.model(batch["x"]))
        return trajectory

    def _validate(self) -> float:
        self.model.eval()
        total, count = 0.0, 0
        with torch.no_grad():
            for batch in self.validation:
                total += mse(self.model(batch["x"]), batch["y"]).double().sum().item()
                count += len(batch["x"])
        return total / count

    def _check(self, losses: list[Tensor], step: int) -> None:
        values = torch.stack(losses)
        if math.isnan(self.first_loss):
            self.first_loss = values[0].item()
        worst = values.max().item() if bool(torch.isfinite(values).all()) else math.nan
        if not worst <= 1e6 * max(self.first_loss, 1e-300):
            raise self._diverged(step, f"training loss {worst}")

    def _diverged(self, step: int, what: str) -> TrainingDiverged:
        old = replaced_run(self.out)
        return TrainingDiverged(
            f"fit: `learning_rate` must keep the training stable; got {self.config.learning_rate:g}, and by step "
            f"{step + 1} (epoch {self.epoch + 1}): {what.rstrip('.')}. Try a third of it. The checkpoint of epoch "
            f"{self.epoch} is kept in {self.out}" + (f", the run before in {old}." if old.exists() else ".")
        )

    def _set_learning_rate(self, step: int) -> None:
        rate = cast(float, self.config.learning_rate)
        if self.config.schedule == "cosine":
            rate *= 0.5 * (1 + math.cos(math.pi * step / (self.config.epochs * self.steps_per_epoch)))
        rate *= min(1.0, (step + 1) / max(self.config.warmup or 0, 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _make_loss(self, head: nn.Module | str | None) -> ClosedFormLoss | None:
        if self.config.method == "l2":
            return None
        if head is None:
            head = find_head(self.raw_model)
        elif isinstance(head, str):
            names = [name for name, _ in self.raw_model.named_modules()]
            check_choice("fit", "head", head, tuple(name for name in names if name))
            head = self.raw_model.get_submodule(head)
        return ClosedFormLoss(cast(Any, head), self.config.rule())

    def _batches(self, epoch: int) -> Iterator[dict[str, Tensor]]:
        """The batches of one epoch, in an order that depends on the seed and the epoch alone."""
        size, world, rank = self.batch_size, self.fabric.world_size, self.fabric.global_rank
        generator = torch.Generator().manual_seed(self._seed(0, epoch))
        order = torch.randperm(self.num_samples, generator=generator).tolist()
        batches = [order[start : start + size] for start in range(0, self.steps_per_epoch * size, size)]
        return iter(self._loader(self.data, [batch[rank::world] for batch in batches]))

    def _seed(self, purpose: int, epoch: int | None = None) -> int:
        """A seed for one purpose (0 the order of samples, 1 randomness in the model) in one epoch."""
        words = [self.config.seed, self.epoch if epoch is None else epoch, purpose]
        return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _loader(self, data: Dataset[dict[str, Tensor]], batches: list[list[int]]) -> Any:
        loader = DataLoader(data, batch_sampler=batches)
        return self.fabric.setup_dataloaders(loader, use_distributed_sampler=False)

    def _save(self, *, improved: bool, head: dict[str, Tensor] | None = None) -> None:
        weights = plain_state_dict(self.raw_model)
        content: dict[str, Any] = {
            "epoch": self.epoch,
            "best": self.best,
            "first_loss": self.first_loss,
            "rows": self.rows,
            "model": weights,
            "optimizer": self.optimizer.state_dict(),
            "head": None if self.loss is None else (head or self.loss.head.state()),
        }
        write_history(self.out, self.rows)
        if self.epoch:
            save_tensors(self.out / "weights_last.pt", weights)
        if improved:
            save_tensors(self.out / "weights_best.pt", weights)
        # Last, so that a checkpoint never runs ahead of the files it belongs to.
        save_tensors(self.out / CHECKPOINT_FILE, content)

    def _load(self) -> None:
        content = read_tensors(self.out / CHECKPOINT_FILE)
        self.raw_model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        if self.loss is not None:
            self.loss.head.restore({name: value.to(self.fabric.device) for name, value in content["head"].items()})
        self.epoch, self.best, self.first_loss = content["epoch"], content["best"], content["first_loss"]
        self.rows = content["rows"]
        if self.epoch >= self.config.epochs:  # nothing is left to do: the weights as they were evaluated
            self.raw_model.load_state_dict(content["model"])
        elif self.fabric.is_global_zero:
            drop_evaluation(self.out)


def _make_optimizer(parameters: list[nn.Parameter], config: FitConfig) -> torch.optim.Optimizer:
    rate = cast(float, config.learning_rate)
    if config.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=rate)
    return torch.optim.SGD(parameters, lr=rate, momentum=0.9, nesterov=True)


def _chunks(indices: range, size: int) -> Iterator[range]:
    return (indices[start : start + size] for start in range(0, len(indices), size))


def _make_fabric(accelerator: str) -> Fabric:
    """One device, or under torchrun the device of this process."""
    launched = torch.distributed.is_available() and torch.distributed.is_torchelastic_launched()
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ValueError("fit: `accelerator` must be one that this machine has; got 'cuda' without a CUDA GPU.")
    fabric = Fabric(accelerator=accelerator, devices=int(os.environ["LOCAL_WORLD_SIZE"]) if launched else 1)
    fabric.launch()
    return fabric
