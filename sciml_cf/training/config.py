"""How to train: every setting of `fit`, with its checks and the defaults that depend on other settings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from sciml_cf.errors import check_choice, check_count, check_positive
from sciml_cf.head import (
    Automatic,
    Initial,
    Kalman,
    MovingAverage,
    PerFeature,
    Proximal,
    RandomWalk,
    Ridge,
    Rule,
    SampledGCV,
    Streaming,
)
from sciml_cf.training.losses import Loss

Method = Literal[
    "l2",
    "ridge",
    "proximal",
    "per-feature",
    "automatic",
    "sampled-gcv",
    "kalman",
    "random-walk",
    "streaming",
    "moving-average",
]
Schedule = Literal["constant", "cosine", "step", "plateau"]
# Learning rates that suit a Fourier neural operator, used where the configuration names none.
_LEARNING_RATES = {("sgd", "l2"): 0.3, ("sgd", "closed form"): 2.0, ("adam", "l2"): 3e-3, ("adam", "closed form"): 3e-3}
# The rule of each method with a closed-form head, and the settings of it that a configuration may name.
_RULES: dict[str, tuple[type[Rule], tuple[str, ...]]] = {
    "ridge": (Ridge, ("strength",)),
    "proximal": (Proximal, ("strength",)),
    "per-feature": (PerFeature, ("strength", "forgetting")),
    "automatic": (Automatic, ("forgetting",)),
    "sampled-gcv": (SampledGCV, ("forgetting",)),
    "kalman": (Kalman, ("strength", "forgetting")),
    "random-walk": (RandomWalk, ("strength",)),
    "streaming": (Streaming, ("strength", "forgetting")),
    "moving-average": (MovingAverage, ("strength", "forgetting")),
}
_WARMUPS = {"sgd": 90, "adam": 0}


@dataclass(frozen=True)
class FitConfig:
    """How to train.

    Args:
        method: "l2" trains every layer by gradients; the others solve the last layer in closed form, each by its rule:
            "proximal" on each batch, near the head before; "per-feature" the same in each feature's own scale;
            "automatic" the same, at the strength that foretells the next batch best, "sampled-gcv" at that of the least
            generalised cross-validation error; "kalman" and "random-walk" with the whole covariance; "ridge" on each
            batch alone; "streaming" on all batches, the older ones fading; "moving-average" of the batches' own heads.
        algorithm: 1 moves the backbone first and then solves the head on re-computed features (two forwards a step);
            2 solves the head first and moves the backbone at the new head (one forward). Not used by "l2".
        optimizer: optimizer of the backbone; "sgd" has Nesterov momentum 0.9.
        learning_rate: peak rate; by default 3e-3 for adam, and for sgd 2.0 (0.3 with l2).
        schedule: "cosine" decays to zero over all steps; "constant" stays; "step" multiplies the rate by `factor` every
            `period` epochs; "plateau" does so once `period` epochs in a row have not lowered the validation error.
        period: epochs, see schedule.
        factor: between 0 and 1, see schedule.
        warmup: steps over which the rate first rises linearly to its peak; by default 90 for sgd, none for adam.
        strength: pull of the head to its previous value (proximal, per-feature and random-walk, default 1e-2; kalman,
            1e-4) or to zero (ridge, streaming and moving-average, 1e-4), beside a MEAN squared error; the paper's
            lambda or beta is strength * batch size * grid points. Automatic and sampled-gcv find their own.
        forgetting: for rules that remember earlier batches, from 0 to 1: about the last 1 / (1 - forgetting) batches
            count. By default 0.9, and 0.99 for automatic.
        initial_head: the head before the first solve: "zeros" (by default), the model's own ("keep"), or random normal
            of variance 1 / F ("lecun"), 2 / (F + C) ("xavier"), 2 / F ("he") for F features and C outputs.
        loss: "mse" is the mean squared error; "relative" weighs each sample by 1 / |target|^2, which makes its squared
            error that of its relative L2 error. The head is solved with the same weights. Both are weighted means over
            the batch, and validation reports the plain mean squared error with either.
        normalize: "auto" subtracts the mean of each channel of inputs and targets over the training samples and divides
            by the standard deviation, in float64 before any cast; the run stores both, and all outputs are in the
            data's own units again. "none" trains on the fields as given.
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
    """

    method: Method = "proximal"
    algorithm: Literal[1, 2] = 2
    optimizer: Literal["sgd", "adam"] = "adam"
    learning_rate: float | None = None
    schedule: Schedule = "cosine"
    period: int = 10
    factor: float = 0.5
    warmup: int | None = None
    strength: float | None = None
    forgetting: float | None = None
    initial_head: Initial | None = None
    loss: Loss = "mse"
    normalize: Literal["auto", "none"] = "auto"
    batch_size: int = 32
    epochs: int = 100
    patience: int | None = None
    clip: float | None = None
    adaptive_clip: float | None = None
    average: float | None = None
    seed: int = 0
    accelerator: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        check_choice("fit", "method", self.method, get_args(Method))
        check_choice("fit", "algorithm", self.algorithm, (1, 2))
        check_choice("fit", "optimizer", self.optimizer, ("sgd", "adam"))
        check_choice("fit", "loss", self.loss, get_args(Loss))
        check_choice("fit", "normalize", self.normalize, ("auto", "none"))
        check_choice("fit", "schedule", self.schedule, get_args(Schedule))
        check_choice("fit", "accelerator", self.accelerator, ("auto", "cpu", "cuda"))
        if self.warmup is not None:
            check_count("fit", "warmup", self.warmup, minimum=0)
        check_count("fit", "batch_size", self.batch_size)
        check_count("fit", "epochs", self.epochs)
        check_count("fit", "seed", self.seed, minimum=0)
        if self.seed >= 2**63:
            raise ValueError(f"fit: `seed` must be below 2**63; got {self.seed}.")
        check_count("fit", "period", self.period)
        if self.patience is not None:
            check_count("fit", "patience", self.patience)
        if self.clip is not None:
            check_positive("fit", "clip", self.clip)
        if self.adaptive_clip is not None:
            check_positive("fit", "adaptive_clip", self.adaptive_clip)
        if not 0 < self.factor < 1:
            raise ValueError(f"fit: `factor` must lie between 0 and 1; got {self.factor!r}.")
        if self.average is not None and not 0 <= self.average < 1:
            raise ValueError(f"fit: `average` must be at least 0 and below 1; got {self.average!r}. Try 0.99.")
        if self.learning_rate is not None:
            check_positive("fit", "learning_rate", self.learning_rate)
        if self.initial_head is not None:
            check_choice("fit", "initial_head", self.initial_head, get_args(Initial))
        self._check_rule()

    def resolved(self) -> FitConfig:
        """The same with every default that depends on other settings written out."""
        kind = "l2" if self.method == "l2" else "closed form"
        rate = self.learning_rate if self.learning_rate is not None else _LEARNING_RATES[self.optimizer, kind]
        warmup = self.warmup if self.warmup is not None else _WARMUPS[self.optimizer]
        resolved = replace(self, learning_rate=rate, warmup=warmup)
        if self.method == "l2":
            return replace(resolved, strength=0.0 if self.strength is None else self.strength)
        rule = self.rule()
        return replace(resolved, **{name: getattr(rule, name) for name in _RULES[self.method][1]})

    def rule(self) -> Rule:
        """The head's rule; only for methods with a closed-form head."""
        kind, names = _RULES[self.method]
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return kind(**given)

    def _check_rule(self) -> None:
        """Raise ValueError for a setting that the method's rule refuses or does not have."""
        names = () if self.method == "l2" else _RULES[self.method][1]
        if self.forgetting is not None and "forgetting" not in names:
            having = ", ".join(method for method, (_, own) in _RULES.items() if "forgetting" in own)
            raise ValueError(
                f"fit: `forgetting` must be left out with method {self.method!r}; got {self.forgetting!r}. "
                f"It belongs to {having}."
            )
        if self.strength is not None and names and "strength" not in names:
            raise ValueError(
                f"fit: `strength` must be left out with method {self.method!r}, which finds its own; got "
                f"{self.strength!r}."
            )
        if self.method != "l2":
            self.rule()
