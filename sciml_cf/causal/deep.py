"""Deep-feature instrumental variables: both stages linear in learned features, their heads in closed form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from sciml_cf.causal.checkpoint import (
    described_shapes,
    fingerprint,
    read_checkpoint,
    shapes_from,
    start_checkpoint,
    write_checkpoint,
)
from sciml_cf.causal.checks import Observations, as_given, check_fitted, check_inputs, check_observations
from sciml_cf.causal.estimator import Estimator
from sciml_cf.causal.nets import Batch, Nets
from sciml_cf.causal.settings import FUNCTION, BatchSize, OptimizerMaker, OptimizerName, Plan, Schedule
from sciml_cf.causal.stage_rules import Gradients, StageRules, stage_rules
from sciml_cf.causal.stages import stage_two_features
from sciml_cf.causal.training import Training
from sciml_cf.errors import CheckpointError, check_choice, check_count

HeadName = Literal["current", "refit"]


class DeepFeatureIV(Estimator):
    """Structural function f of E[y - f(x, o) | z, o] = 0, linear in learned features of the treatment.

    ::

        f(x, o) = w^T ((psi(x), 1) x (xi(o), 1))        W^T (phi(z, o), 1) ~ E[psi(x) | z, o]

    Two stages alternate on batches of two halves of the rows, each with a linear head that is solved in closed form and
    features that move by gradients, see ``sciml_cf.causal.stages``. The nets are copied and the copies trained, on the
    device they live on. Rows of weight zero are left out; weights count rows in all losses and solves (batch norm does
    not know them).

    Args:
        treatment_net: psi, maps treatments ``(n, ...)`` to features ``(n, F)``.
        instrument_net: phi, maps instruments to ``(n, D)``; with covariates both side by side (n, k + m), or as two
            arguments if one of them is no table.
        covariate_net: xi, maps covariates to ``(n, E)``; without it covariates are their own features.
        rule: "proximal" (Algorithm 3), "ridge" (DFIV), another rule by its name, or StageRules with strengths of your
            own.
        gradients: where the features' gradients are taken. "previous": the first of a batch at the head before it
            (Algorithm 3); "solved": at the head solved on the batch, held fixed (Theorem 1); "through": backward
            through all solves, penalty included, as DFIV does. The last two give the same gradients for "ridge".
        iterations: pairs of batches.
        batch_size: rows of a batch, one number or one a stage; None takes all rows of a stage.
        updates: gradient steps a pair of batches in stages 1 and 2 (T1, T2); the covariate net makes T1 too.
        optimizer: "sgd", "adam", or a function from a list of parameters to an optimizer, called for each net.
        learning_rate: of both stages, for a named optimizer.
        schedule: "constant", or "cosine": all rates fall to nearly zero over the iterations, which settles the heads.
        split: share of the rows for stage 1.
        scale_outcome: train on outcomes less their mean, over their standard deviation; predictions are in the
            outcome's own units either way. False is the algorithm as printed.
        heads: what ``predict`` uses. "current": the head of the last batch; "refit": both heads solved again by ridge
            on all rows.
        refit_strength: of that ridge, on mean squares.
        seed: of the split, the batches and dropout; the nets come with their own weights.
        measure: (estimator, iteration) -> figures for the history, after every iteration; it may call ``predict``.
        progress: show a progress bar on standard error.
        out: folder for checkpoints, or None.
        save_every: iterations between checkpoints.
        resume: go on from the checkpoint in ``out``, if there is one; to the same bits as without a stop.

    Attributes:
        history_: one row an iteration: iteration, loss_1, loss_2 (mean squares of the last update of each stage),
            seconds, and what ``measure`` gave.
        head_: ``((F + 1) (E + 1), q)`` float64, the second head, in the units trained in.
        refit_head_: the second head after the refit, likewise.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithm 3; Xu et al. (arXiv:2010.07154).
    """

    def __init__(
        self,
        treatment_net: nn.Module,
        instrument_net: nn.Module,
        *,
        covariate_net: nn.Module | None = None,
        rule: str | StageRules = "proximal",
        gradients: Gradients = "previous",
        iterations: int = 1000,
        batch_size: BatchSize = 128,
        updates: tuple[int, int] = (20, 1),
        optimizer: OptimizerName | OptimizerMaker = "sgd",
        learning_rate: float = 0.01,
        schedule: Schedule = "constant",
        split: float = 0.5,
        scale_outcome: bool = True,
        heads: HeadName = "current",
        refit_strength: float = 0.01,
        seed: int = 0,
        measure: Callable[[DeepFeatureIV, int], Mapping[str, float]] | None = None,
        progress: bool = True,
        out: Path | str | None = None,
        save_every: int = 100,
        resume: bool = False,
    ) -> None:
        self.treatment_net = treatment_net
        self.instrument_net = instrument_net
        self.covariate_net = covariate_net
        self.rule: str | StageRules = rule
        self.gradients: Gradients = gradients
        self.iterations = iterations
        self.batch_size: BatchSize = batch_size
        self.updates = updates
        self.optimizer: OptimizerName | OptimizerMaker = optimizer
        self.learning_rate = learning_rate
        self.schedule: Schedule = schedule
        self.split = split
        self.scale_outcome = scale_outcome
        self.heads: HeadName = heads
        self.refit_strength = refit_strength
        self.seed = seed
        self.measure = measure
        self.progress = progress
        self.out = out
        self.save_every = save_every
        self.resume = resume

    def fit(
        self, *, treatment: Any, instrument: Any, outcome: Any, covariates: Any = None, sample_weight: Any = None
    ) -> Self:
        """Train on observations, one a row; if that fails or is interrupted, the estimator stays as it was.

        Args:
            treatment: ``(n, ...)``, as the net takes it; ``(n,)`` enters a net as ``(n, 1)``.
            instrument: ``(n, ...)``, likewise.
            covariates: ``(n, ...)``, likewise.
            outcome: ``(n,)`` or ``(n, q)``.
            sample_weight: ``(n,)``, at least 0.

        Raises:
            ValueError, TypeError: an argument or a parameter is not as above.
            TrainingDiverged: a loss left the finite range.
            NotPositiveDefinite: a head's system has no solution; raise a strength.
            CheckpointError, FileExistsError, FileNotFoundError: ``out`` cannot be used.
        """
        plan = self._plan()
        data = check_observations(
            FUNCTION,
            treatment=treatment,
            instrument=instrument,
            outcome=outcome,
            covariates=covariates,
            sample_weight=sample_weight,
        )
        if self.covariate_net is not None and covariates is None:
            raise ValueError(f"{FUNCTION}: `covariates` must be given for a covariate_net; got None. Leave it out?")
        rows, center, scale = _rows(data, self.scale_outcome)
        training = Training(plan, (self.treatment_net, self.instrument_net, self.covariate_net), rows)
        self._training: Training | None = training
        try:
            with self._whole():  # `measure` predicts with what is being trained
                self.shapes_, self.outcome_center_, self.outcome_scale_ = data.shapes, center, scale
                self.nets_ = training.nets
                self._train(training, rows)
        finally:
            self._training = None
        return self

    def predict(self, treatment: Any, covariates: Any = None, *, heads: HeadName | None = None) -> Any:
        """The structural function at treatments ``(n, ...)`` and covariates, ``(n,)`` or ``(n, q)`` as the outcome was.

        Args:
            treatment: ``(n, ...)``, as in ``fit``.
            covariates: ``(n, ...)``, as in ``fit``.
            heads: "current" or "refit", another choice than the estimator's own.

        Raises:
            ValueError: not fitted, or other shapes than in ``fit``.
        """
        where = "DeepFeatureIV.predict"
        check_fitted(where, self, "nets_")
        heads = self.heads if heads is None else heads
        check_choice(where, "heads", heads, ("current", "refit"))
        x, extra = check_inputs(where, self.shapes_, treatment, covariates)
        head = self._head(heads)
        nets, empty = self.nets_, x.new_zeros(len(x), 0)
        nets.function = where
        nets.train_only(None)
        with torch.no_grad():
            rows = (part.to(nets.device) for part in Batch(x, empty, empty, extra, None).chunks())
            values = torch.cat([stage_two_features(nets.psi(part), nets.xi(part)) @ head for part in rows])
        device = x.device if isinstance(treatment, Tensor) else torch.device("cpu")
        values = values.to(device) * self.outcome_scale_.to(device) + self.outcome_center_.to(device)
        return as_given(values, self.shapes_, treatment)

    def load(self, folder: Path | str) -> Self:
        """Take the nets' weights and the heads from the checkpoint that ``fit`` wrote into ``out``; runs no code in it.

        Raises:
            CheckpointError: there is no whole checkpoint, or it is of other nets.
        """
        content = read_checkpoint(Path(folder))
        modules = (self.treatment_net, self.instrument_net, self.covariate_net)
        nets = Nets("DeepFeatureIV.load", *deepcopy(modules))
        try:
            for name, module in nets.modules.items():
                module.load_state_dict(content["nets"][name])
        except (RuntimeError, KeyError) as error:
            reason = str(error).splitlines()[0][:120]
            raise CheckpointError(
                f"DeepFeatureIV.load: `folder` must hold a checkpoint of these nets; {folder}: {reason}"
            ) from error
        with self._whole():
            self.nets_, self.shapes_, self.history_ = nets, shapes_from(content["shapes"]), content["rows"]
            self.outcome_center_, self.outcome_scale_ = content["outcome"]["center"], content["outcome"]["scale"]
            self.head_, self.refit_head_ = (
                head.to(nets.device) for head in (content["heads"]["second"]["head"], content["refit_head"])
            )
        return self

    def _train(self, training: Training, rows: Batch) -> None:
        folder = None if self.out is None else Path(self.out)
        data = 0 if folder is None else fingerprint(rows)
        if folder is not None:
            start_checkpoint(folder, training, data, resume=self.resume)

        def save() -> None:
            if folder is not None:
                write_checkpoint(folder, training, {"data": data, **self._extra(training)})

        own = self.measure
        training.run(
            measure=None if own is None else lambda iteration: own(self, iteration),
            save=save,
            save_every=self.save_every,
            progress=self.progress,
            scale=float(self.outcome_scale_.square().mean().sqrt()),
        )
        self.head_, self.refit_head_ = training.heads.second.value, training.refitted()
        self.history_ = training.rows

    def _extra(self, training: Training) -> dict[str, Any]:
        """Entries of a checkpoint that predictions need."""
        return {
            "outcome": {"center": self.outcome_center_, "scale": self.outcome_scale_},
            "shapes": described_shapes(self.shapes_),
            "refit_head": training.refitted(),
        }

    def _head(self, heads: HeadName) -> Tensor:
        training = getattr(self, "_training", None)
        if training is not None:
            return training.heads.second.value if heads == "current" else training.refitted()
        return self.head_ if heads == "current" else self.refit_head_

    def _plan(self) -> Plan:
        check_choice(FUNCTION, "heads", self.heads, ("current", "refit"))
        check_count(FUNCTION, "save_every", self.save_every)
        sizes: Any = self.batch_size if isinstance(self.batch_size, (tuple, list)) else (self.batch_size,) * 2
        return Plan(
            rules=stage_rules(FUNCTION, self.rule),
            gradients=self.gradients,
            iterations=self.iterations,
            batch_sizes=sizes,
            updates=self.updates,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
            schedule=self.schedule,
            split=self.split,
            refit_strength=self.refit_strength,
            seed=self.seed,
        )


def _rows(data: Observations, scaled: bool) -> tuple[Batch, Tensor, Tensor]:
    """Rows with weight, their outcomes centred and scaled if asked for, and that centre and scale (q,)."""
    keep = slice(None) if data.weights is None else data.weights > 0
    outcome, weights = data.outcome[keep].double(), None if data.weights is None else data.weights[keep]
    center, scale = outcome.new_zeros(outcome.shape[1]), outcome.new_ones(outcome.shape[1])
    if scaled:
        share = outcome.new_full((len(outcome), 1), 1 / len(outcome)) if weights is None else weights[:, None]
        share = share / share.sum()
        center = (share * outcome).sum(dim=0)
        deviation = (share * (outcome - center).square()).sum(dim=0).sqrt()
        scale = torch.where(deviation > 0, deviation, 1.0)
    rows = Batch.of(data, data.outcome).take(keep) if isinstance(keep, Tensor) else Batch.of(data, data.outcome)
    outcome = (outcome - center) / scale
    return Batch(rows.treatment, rows.instrument, outcome, rows.covariates, rows.weights), center, scale
