"""The training loop of deep-feature instrumental variables: batches, alternating stages, history, checkpoint."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from data_gen.terminal.quiet import progress_bar
from sciml_cf.causal.nets import Batch, Nets
from sciml_cf.causal.settings import FUNCTION, Plan
from sciml_cf.causal.stages import Losses, Optimizers, StageHeads, refit, stage_covariates, stage_one, stage_two
from sciml_cf.errors import NotPositiveDefinite, TrainingDiverged
from sciml_cf.training.batches import epoch_batches, mix_seed

# Streams of random numbers, apart by purpose.
_SPLIT, _FIRST, _SECOND, _DROPOUT = range(4)


class Training:
    """The state of one training: what the checkpoint holds, and the loop that moves it."""

    def __init__(self, plan: Plan, modules: tuple[nn.Module, nn.Module, nn.Module | None], rows: Batch) -> None:
        self.plan = plan
        self.nets = Nets(FUNCTION, *copy.deepcopy(modules))
        parts = split_rows(len(rows), plan.split, seed=plan.seed)
        self.stages = rows.take(parts[0]), rows.take(parts[1])
        names = ("stage 1", "stage 2")
        self.sizes = [_size(*of) for of in zip(names, plan.batch_sizes, map(len, self.stages), strict=True)]
        some = self.stages[1].take(slice(0, 2)).to(self.nets.device)
        self.heads = StageHeads.start(plan.rules, self.nets, some)
        self.optimizers: Optimizers = {
            name: _optimizer(plan, parameters)
            for name, module in self.nets.modules.items()
            if (parameters := [one for one in module.parameters() if one.requires_grad])
        }
        self._rates = {name: [group["lr"] for group in one.param_groups] for name, one in self.optimizers.items()}
        self.iteration = 0
        self.rows: list[dict[str, float]] = []
        self._refitted: tuple[int, Tensor] | None = None

    def run(
        self,
        *,
        measure: Callable[[int], Mapping[str, float]] | None,
        save: Callable[[], None],
        save_every: int,
        progress: bool,
        scale: float,
    ) -> None:
        """All iterations that are left; ``scale`` brings the second loss into the outcome's own units."""
        last = self.plan.iterations
        with progress_bar(shown=progress, total=last, initial=self.iteration, desc="deep IV", unit="it") as bar:
            while self.iteration < last:
                start = time.perf_counter()
                losses = self._iterate()
                row = {
                    "iteration": self.iteration,
                    "loss_1": losses.first,
                    "loss_2": losses.second * scale**2,
                    "seconds": time.perf_counter() - start,
                }
                if measure is not None:
                    row.update(measure(self.iteration))
                self.rows.append(row)
                bar.update()
                if self.iteration % 10 == 0:
                    bar.set_postfix(loss_1=f"{row['loss_1']:.3g}", loss_2=f"{row['loss_2']:.3g}")
                if self.iteration % save_every == 0 or self.iteration == last:
                    save()
        for head in (self.heads.first, self.heads.inner, self.heads.second):
            head.check()

    def refitted(self) -> Tensor:
        """The second head by ridge on all rows, for the nets as they are."""
        if self._refitted is None or self._refitted[0] != self.iteration:
            head = refit(self.nets, *self.stages, strength=self.plan.refit_strength)[1]
            self._refitted = self.iteration, head
        return self._refitted[1]

    def content(self) -> dict[str, Any]:
        """What a checkpoint holds of the training: tensors and plain values."""
        return {
            "settings": self.plan.described(),
            "iteration": self.iteration,
            "nets": {name: module.state_dict() for name, module in self.nets.modules.items()},
            "heads": {name: dict(getattr(self.heads, name).state) for name in ("first", "inner", "second")},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "rows": self.rows,
        }

    def restore(self, content: dict[str, Any]) -> None:
        """Go back to a checkpoint's content."""
        self.iteration, self.rows = content["iteration"], list(content["rows"])
        for name, module in self.nets.modules.items():
            module.load_state_dict(content["nets"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(content["optimizers"][name])
        for name in ("first", "inner", "second"):
            head = getattr(self.heads, name)
            head.state = {key: value.to(self.nets.device) for key, value in content["heads"][name].items()}

    def _iterate(self) -> Losses:
        first, second = (self._batch(stage) for stage in (0, 1))
        plan, nets, heads, movers = self.plan, self.nets, self.heads, self.optimizers
        steps, gradients = plan.updates, plan.gradients
        factor = plan.rate_factor(self.iteration)
        for name, optimizer in movers.items():
            for group, rate in zip(optimizer.param_groups, self._rates[name], strict=True):
                group["lr"] = rate * factor
        with torch.random.fork_rng():  # dropout and the like depend on the seed and the iteration alone
            torch.manual_seed(mix_seed(plan.seed, self.iteration, _DROPOUT))
            try:
                heads.begin()
                loss_1 = stage_one(heads, nets, movers, first, updates=steps[0], gradients=gradients)
                if "covariate_net" in movers:
                    stage_covariates(heads, nets, movers, first, second, updates=steps[0], gradients=gradients)
                loss_2 = stage_two(heads, nets, movers, first, second, updates=steps[1], gradients=gradients)
            except NotPositiveDefinite as error:
                if "dependent" in str(error):  # a strength, not the rate
                    raise
                raise self._diverged(str(error)) from error
        self.iteration += 1
        if not (math.isfinite(loss_1) and math.isfinite(loss_2)):
            raise self._diverged(f"losses {loss_1:g} and {loss_2:g}")
        return Losses(loss_1, loss_2)

    def _batch(self, stage: int) -> Batch:
        rows, size = self.stages[stage], self.sizes[stage]
        if size == len(rows):
            return rows.to(self.nets.device)
        epoch, index = divmod(self.iteration, len(rows) // size)
        seed = mix_seed(self.plan.seed, epoch, _FIRST + stage)
        return rows.take(epoch_batches(len(rows), size, seed=seed)[index]).to(self.nets.device)

    def _diverged(self, what: str) -> TrainingDiverged:
        return TrainingDiverged(
            f"{FUNCTION}: `learning_rate` must keep the training stable; got {self.plan.learning_rate:g}, and at "
            f"iteration {self.iteration}: {what.rstrip('.')}. Try a third of it, or `scale_outcome=True`."
        )


def split_rows(count: int, share: float, *, seed: int) -> tuple[list[int], list[int]]:
    """Rows of stage 1 and of stage 2, in order: a random ``share`` of them, and the others."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(mix_seed(seed, 0, _SPLIT))).tolist()
    first = round(share * count)
    if not 2 <= first <= count - 2:
        raise ValueError(
            f"{FUNCTION}: `split` must leave each stage at least 2 rows; got {share:g} of {count} rows with weight."
        )
    return sorted(order[:first]), sorted(order[first:])


def _size(stage: str, asked: int | None, rows: int) -> int:
    if asked is not None and asked > rows:
        raise ValueError(
            f"{FUNCTION}: `batch_size` must be at most the {rows} rows of {stage}; got {asked}. None takes all."
        )
    return rows if asked is None else asked


def _optimizer(plan: Plan, parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    if not isinstance(plan.optimizer, str):
        return plan.optimizer(parameters)
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[plan.optimizer]
    return kind(parameters, lr=plan.learning_rate)
