"""The settings of `fit`, with their checks and the defaults that depend on other settings.

Nothing here loads torch, unless the settings of a rule are checked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

from sciml_cf.errors import check_choice, check_count, check_positive
from sciml_cf.head.choices import Initial
from sciml_cf.head.registry import describe_rule, label_of, rule_named, rule_names, rule_of
from sciml_cf.plain import make_plain
from sciml_cf.training.choices import Augment, Loss, Optimizer, Schedule

if TYPE_CHECKING:
    from sciml_cf.head.rules import Rule

    Method = str | Rule
else:
    Method = str  # all that a command line can name

# Learning rates that suit a Fourier neural operator, used where the configuration names none.
_SGD_RATES, _RATE = {"l2": 0.3, "closed form": 2.0}, 3e-3
_SGD_WARMUP = 90


def method_names() -> tuple[str, ...]:
    """What ``FitConfig.method`` may name: "l2", and every rule; imports no rule."""
    return ("l2", *rule_names())


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Args:
        method: "l2" trains every layer by gradients. Any other names the rule by which the last layer is solved in
            closed form, such as "proximal": on each batch, near the head before. In Python it may also be a rule with
            settings of its own, such as ``SampledGCV(dependent=4.0)``. docs/results_rules.md compares them.
        algorithm: 1 moves the backbone first and then solves the head on re-computed features (two forwards a step);
            2 solves the head first and moves the backbone at the new head (one forward). Not used by "l2".
        optimizer: optimizer of the backbone; "sgd" has Nesterov momentum 0.9, and "soap" needs the extra `soap`. In
            Python ``fit`` takes any other.
        learning_rate: peak rate; by default 3e-3, and for sgd 2.0 (0.3 with l2).
        weight_decay: of the backbone, decoupled from the gradient with adamw and soap; by default 0, and 1e-2 for
            adamw. A head that is solved has none.
        betas: decay of the moments that adam, adamw and soap keep of the gradients; by default 0.9 and 0.999, and for
            soap 0.95 twice.
        schedule: "cosine" decays to zero over all steps; "constant" stays; "step" multiplies the rate by `factor` every
            `period` epochs; "plateau" does so once `period` epochs in a row have not lowered the validation error.
        period: epochs, see schedule.
        factor: between 0 and 1, see schedule.
        warmup: steps over which the rate first rises linearly to its peak; by default 90 for sgd, else none.
        strength: of a rule by name: its pull of the head to the previous one (proximal, per-feature, random-walk and
            kalman) or to zero (ridge, streaming and moving-average), as a penalty on top of a MEAN squared error; the
            paper's lambda or beta is strength * batch size * grid points. By default the rule's own, 1e-2 for proximal;
            some rules find theirs.
        forgetting: of a rule by name that remembers earlier batches, from 0 to 1: about the last 1 / (1 - forgetting)
            batches count. By default the rule's own, mostly 0.9.
        initial_head: the head before the first solve: "zeros" (by default), the model's own ("keep"), or random normal
            of variance 1 / F ("lecun"), 2 / (F + C) ("xavier"), 2 / F ("he") for F features and C outputs.
        loss: "mse" is the mean squared error; "relative" weighs each sample by ``1 / |target|^2``, which makes its
            squared error that of its relative L2 error. The head is solved with the same weights. Both are weighted
            means over the batch, and validation reports the plain mean squared error with either.
        normalize: "auto" subtracts the mean of each channel of inputs and targets over the training samples and divides
            by the standard deviation (inputs by two), in float64 before any cast; the run stores both, and all outputs
            are in the data's own units again. "none" trains on the fields as given.
        residual: "yes" learns the increment from the last state of the input to each state of the output: the head's
            targets are then increments, normalized by their own mean and deviation, and the model adds the state again.
            "auto" does so for windows of trajectories whose increments have less than half the variance of the states.
        unroll: outputs of the model, one applied after the other, that a step is trained on; targets hold as many. The
            head is solved once, over the rows of all of them. 1 trains on true states alone.
        through_steps: with `unroll`, let gradients pass through the states that the model makes on its way; by default
            these are taken as data (the pushforward trick).
        noise: deviation of normal noise on the states of the training inputs, in deviations of their channels.
        augment: "flips" mirrors each sample, input and target alike, along random axes at every step, and "square"
            exchanges its axes too. For scalar fields of a law that is the same in the mirror; where the data say that
            theirs is not, it is refused.
        batch_size: samples a step, over all processes. An incomplete last batch of an epoch is left out; each epoch is
            shuffled anew.
        epochs: passes over the training samples; fewer with patience.
        patience: stop once this many epochs in a row have not lowered the validation error; by default never.
        clip: largest norm of the backbone's whole gradient, which is scaled down to it; by default not.
        adaptive_clip: largest norm of the gradient of each unit of the backbone, over that of the unit's weights, such
            as 0.01; larger ones are scaled down to it. By default not.
        average: decay of a moving average of the weights, such as 0.99 for about the last hundred steps. The average,
            with a head solved for it on the next few batches, is then what is validated and kept as best and as last.
        seed: seed of the initial weights and of the order of the samples.
        accelerator: "cpu", "cuda", or "auto" for a CUDA GPU where there is one. (Heads are solved in float64, which
            Apple's GPUs lack.)

    Raises:
        ValueError: a setting is out of range or unknown, or belongs to another method.
        TypeError: ``method`` is neither a name nor a rule.
    """

    method: Method = "proximal"
    algorithm: Literal[1, 2] = 2
    optimizer: Optimizer = "adam"
    learning_rate: float | None = None
    weight_decay: float | None = None
    betas: tuple[float, float] | None = None
    schedule: Schedule = "cosine"
    period: int = 10
    factor: float = 0.5
    warmup: int | None = None
    strength: float | None = None
    forgetting: float | None = None
    initial_head: Initial | None = None
    loss: Loss = "mse"
    normalize: Literal["auto", "none"] = "auto"
    residual: Literal["auto", "yes", "no"] = "auto"
    unroll: int = 1
    through_steps: bool = False
    noise: float = 0.0
    augment: Augment = "none"
    batch_size: int = 32
    epochs: int = 100
    patience: int | None = None
    clip: float | None = None
    adaptive_clip: float | None = None
    average: float | None = None
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        make_plain(self)
        self._check_choices()
        self._check_counts()
        self._check_numbers()
        self._check_rule()

    def rule(self) -> Rule:
        """The head's rule; only for methods with a closed-form head."""
        return rule_of("fit", self.method, strength=self.strength, forgetting=self.forgetting)

    def label(self) -> str:
        """The method in a word, for people."""
        return self.method if isinstance(self.method, str) else label_of(self.method)

    def resolved(self) -> FitConfig:
        """The same with every default that depends on other settings written out."""
        kind = "l2" if self.method == "l2" else "closed form"
        sgd = self.optimizer == "sgd"
        usual = _SGD_RATES[kind] if sgd else _RATE
        rate = usual if self.learning_rate is None else self.learning_rate
        warmup = (_SGD_WARMUP if sgd else 0) if self.warmup is None else self.warmup
        resolved = replace(self, learning_rate=rate, warmup=warmup)
        if self.method == "l2":
            return replace(resolved, strength=0.0 if self.strength is None else self.strength)
        if not isinstance(self.method, str):  # it has its settings
            return resolved
        rule = self.rule()
        own = {"strength", "forgetting"} & set(rule_named(self.method).settings)
        return replace(resolved, **{name: getattr(rule, name) for name in own})

    def to_dict(self) -> dict[str, Any]:
        """Every setting as a plain value, as run.json stores it; a rule by its name and its settings."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return values if isinstance(self.method, str) else {**values, "method": describe_rule(self.method)}

    def _check_choices(self) -> None:
        if isinstance(self.method, str):
            check_choice("fit", "method", self.method, method_names())
        check_choice("fit", "algorithm", self.algorithm, (1, 2))
        check_choice("fit", "optimizer", self.optimizer, get_args(Optimizer))
        check_choice("fit", "loss", self.loss, get_args(Loss))
        check_choice("fit", "normalize", self.normalize, ("auto", "none"))
        check_choice("fit", "augment", self.augment, get_args(Augment))
        check_choice("fit", "residual", self.residual, ("auto", "yes", "no"))
        check_choice("fit", "schedule", self.schedule, get_args(Schedule))
        check_choice("fit", "accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        if self.initial_head is not None:
            check_choice("fit", "initial_head", self.initial_head, get_args(Initial))

    def _check_counts(self) -> None:
        for name in ("batch_size", "epochs", "period", "unroll"):
            check_count("fit", name, getattr(self, name))
        if self.through_steps and self.unroll == 1:
            raise ValueError("fit: `through_steps` must go with `unroll` above 1; got 1.")
        check_count("fit", "seed", self.seed, minimum=0)
        if self.seed >= 2**63:
            raise ValueError(f"fit: `seed` must be below 2**63; got {self.seed}.")
        if self.warmup is not None:
            check_count("fit", "warmup", self.warmup, minimum=0)
        if self.patience is not None:
            check_count("fit", "patience", self.patience)

    def _check_numbers(self) -> None:
        for name in ("clip", "adaptive_clip", "learning_rate"):
            if getattr(self, name) is not None:
                check_positive("fit", name, getattr(self, name))
        if self.weight_decay is not None and not 0 <= self.weight_decay < math.inf:
            raise ValueError(
                f"fit: `weight_decay` must be at least 0 and finite; got {self.weight_decay!r}. Try 1e-2 with adamw."
            )
        self._check_betas()
        if not (isinstance(self.noise, (int, float)) and 0 <= self.noise < math.inf):
            raise ValueError(f"fit: `noise` must be at least 0 and finite; got {self.noise!r}. Try 0.01.")
        if not 0 < self.factor < 1:
            raise ValueError(f"fit: `factor` must lie between 0 and 1; got {self.factor!r}.")
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(f"fit: `average` must be at least 0 and below 1; got {self.average!r}. Try 0.99.")

    def _check_betas(self) -> None:
        if self.betas is None:
            return
        if self.optimizer == "sgd":
            raise ValueError(f"fit: `betas` must be left out with optimizer 'sgd'; got {tuple(self.betas)}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(
                f"fit: `betas` must be two numbers of at least 0 and below 1; got {tuple(self.betas)}. Try 0.9 0.999."
            )

    def _check_rule(self) -> None:
        """Raise for a setting that the method's rule refuses or does not have."""
        if self.method != "l2":
            self.rule()
        elif self.forgetting is not None:
            raise ValueError(
                f"fit: `forgetting` must be left out with method 'l2', which solves no head; got {self.forgetting!r}."
            )
