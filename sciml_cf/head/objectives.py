"""Objectives: what the head is solved for, and what the backbone descends. Losses differ by this one word."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice, check_count, check_positive
from sciml_cf.head.batch_rows import Rows
from sciml_cf.head.binding.layer import Layer, num_outputs
from sciml_cf.head.labels import check_class_weights, check_smoothing, smoothed, spread_labels
from sciml_cf.head.moments import Moments
from sciml_cf.head.per_output import OutputMoments
from sciml_cf.head.processes import mean_of_processes
from sciml_cf.head.rules import Proximal, Rule

BOUND = 0.5  # the largest curvature of cross-entropy by the outputs, in any direction
_LEAST_CURVATURE = 1e-6  # of a row by one output, where a probability is 0 or 1
_HALVINGS = 20


class Objective(ABC):
    """A loss of rows, and the least squares problem that a rule solves for it. Subclasses are frozen dataclasses.

    Attributes:
        iterations: solves on one batch, each from the head that the one before left.
        quadratic: whether the moments say everything about the loss, at any head.
        guarded: whether a solve may raise the loss, and is halved then.
    """

    iterations: int = 1
    quadratic: bool = True
    guarded: bool = False

    def check(self, layer: Layer, rule: Rule) -> None:  # noqa: B027
        """Raise ValueError for a layer or a rule that does not go with this objective."""

    def expand(self, targets: Tensor, prediction: Tensor, layer: Layer) -> Tensor:
        """Targets shaped like the prediction, from what the loop has."""
        return targets

    def weigh(self, rows: Rows) -> Rows:
        """The rows with the weights that belong to the objective itself."""
        return rows

    def moments(self, rows: Rows, head: Tensor, *, constant: bool) -> Moments | tuple[Moments, ...]:
        """What a rule solves on, for a head ``(F, C)`` float64 at hand; one for each output where they differ."""
        return rows.moments(constant=constant)

    @abstractmethod
    def errors(self, output: Tensor, targets: Tensor) -> Tensor:
        """Loss of each row (...) from outputs and targets ``(..., C)``."""

    def mean(self, output: Tensor, targets: Tensor) -> Tensor:
        """Its mean over rows that count alike."""
        return self.errors(output, targets).mean()


@dataclass(frozen=True)
class SquaredError(Objective):
    """Squared error, the mean over rows and outputs: regression."""

    def moments(self, rows: Rows, head: Tensor, *, constant: bool) -> Moments:
        if rows.weights is None or rows.weights.ndim == 1:
            return rows.moments(constant=constant)
        return OutputMoments.of_rows(rows.features, rows.targets, rows.weights, constant=constant)

    def errors(self, output: Tensor, targets: Tensor) -> Tensor:
        return (output - targets).square().mean(dim=-1)

    def mean(self, output: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, targets)


@dataclass(frozen=True)
class _Classes(Objective):
    """What objectives over class labels have in common.

    Args:
        smoothing: e from 0 to below 1; targets are (1 - e) one-hot + e / C.
        class_weights: one weight for each class, for every row of it (a row of probabilities has their mean); the loss
            is the weighted mean. None weighs all alike.
    """

    smoothing: float = 0.0
    class_weights: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        check_smoothing(type(self).__name__, self.smoothing)
        check_class_weights(type(self).__name__, self.class_weights)

    def check(self, layer: Layer, rule: Rule) -> None:
        name, outputs = type(self).__name__, num_outputs(layer)
        if outputs < 2:
            raise ValueError(f"{name}: `layer` must have an output for each class, 2 at least; got {outputs}.")
        if self.class_weights is not None and len(self.class_weights) != outputs:
            raise ValueError(
                f"{name}: `class_weights` must be one for each of {outputs} classes; got {len(self.class_weights)}."
            )

    def expand(self, targets: Tensor, prediction: Tensor, layer: Layer) -> Tensor:
        return spread_labels(targets, prediction, layer)

    def weigh(self, rows: Rows) -> Rows:
        if self.class_weights is None:
            return rows
        targets = rows.targets.flatten(0, -2)
        weights = targets @ torch.tensor(self.class_weights, dtype=targets.dtype, device=targets.device)
        return rows.weighted(weights if rows.weights is None else weights * rows.weights)


@dataclass(frozen=True)
class OneHot(_Classes):
    """Squared error against one-hot targets, summed over the classes: classification by least squares.

    ::

        loss = mean over rows of  sum_c (f_c - y_c)^2

    The sum does not shrink as the number of classes grows, so that a learning rate means the same. For a probability
    forecast it is the Brier score. The outputs are no probabilities; the class is that of the largest.

    Args:
        smoothing: as in ``CrossEntropy``.
        class_weights: as in ``CrossEntropy``.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), section 4.2; Brier (1950), Mon. Weather Rev. 78, 1.
    """

    def moments(self, rows: Rows, head: Tensor, *, constant: bool) -> Moments:
        if self.smoothing != 0:
            rows = rows._replace(targets=smoothed(rows.targets, self.smoothing))
        return rows.moments(constant=constant)

    def errors(self, output: Tensor, targets: Tensor) -> Tensor:
        return (output - smoothed(targets, self.smoothing)).square().sum(dim=-1)

    def mean(self, output: Tensor, targets: Tensor) -> Tensor:
        return nn.functional.mse_loss(output, smoothed(targets, self.smoothing)) * output.shape[-1]


@dataclass(frozen=True)
class CrossEntropy(_Classes):
    """Cross-entropy whose head is solved through a quadratic that lies above it and touches it at the present head.

    ::

        loss = mean over rows of  log sum_c exp(f_c) - sum_c y_c f_c
             <= its value at f0 + mean <p0 - y, f - f0> + k |f - f0|^2,       p0 = softmax(f0),   k = 1/4

    so a rule meets a least squares problem: targets f0 + 2 (y - p0), moments times 1/4, and a strength s whose
    penalty is added to the MEAN cross-entropy, as it is to a mean squared error. ``Proximal(s)`` is then ::

        W <- W_prev + 2 (G + 4 s I)^-1 mean(phi (y - p)^T)

    It never increases cross-entropy + ``s |W - W_prev|^2`` on the batch, hence not cross-entropy either, for any s >=
    0. Rules that remember earlier batches keep the quadratics of earlier heads, and give no such promise.

    Args:
        smoothing: e from 0 to below 1; targets are (1 - e) one-hot + e / C.
        class_weights: one weight for each class, for every row of it (a row of probabilities has their mean); the loss
            is the weighted mean. None weighs all alike.
        curvature: "bound" holds for all heads, and is far above the true curvature where there are many classes or the
            probabilities are sure; a step then goes a short way. "per-class" takes the quadratic
            ``k_c = p_c (1 - p_c)`` for each row and output, which bounds the second derivative at the present head
            only: iteratively re-weighted least squares with a Gram matrix and a solve for each class (dear in classes
            and features). A step that would raise the loss is halved until it does not. With ``Proximal`` only.
        iterations: such steps on each batch, all pulled to the head before the batch; more of them come nearer to the
            batch's own minimum.

    Raises:
        ValueError: `smoothing`, `class_weights`, `curvature` or `iterations` is none of these.

    References:
        Boehning (1992), Ann. Inst. Statist. Math. 44, 197, Theorem 1 (the bound, with identity in place of I - 1 1^T /
        C: residuals sum to zero, so both give one step); per class: the Hessian diag(p) - p p^T is at most 2 diag(p (1
        - p)) by diagonal dominance.
    """

    curvature: Literal["bound", "per-class"] = "bound"
    iterations: int = 1  # pyright: ignore[reportIncompatibleVariableOverride]
    quadratic = False

    @property
    def guarded(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.curvature == "per-class"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("CrossEntropy", "curvature", self.curvature, ("bound", "per-class"))
        check_count("CrossEntropy", "iterations", self.iterations)

    def check(self, layer: Layer, rule: Rule) -> None:
        super().check(layer, rule)
        if self.curvature == "per-class" and not isinstance(rule, Proximal):
            raise ValueError(
                f"CrossEntropy: `rule` must be Proximal with curvature 'per-class'; got {rule!r}. Other rules go with "
                "curvature 'bound'."
            )

    def moments(self, rows: Rows, head: Tensor, *, constant: bool) -> Moments | tuple[Moments, ...]:
        logits = outputs_of(rows.features, head)
        probabilities = logits.softmax(dim=-1)
        residuals = smoothed(rows.targets, self.smoothing).to(logits.dtype) - probabilities
        if self.curvature == "bound":
            found = rows._replace(targets=residuals).moments(constant=constant)
            return found.around(head, step=1 / BOUND, curvature=BOUND / 2)
        flat = Rows(rows.features.flatten(0, -2), residuals.flatten(0, -2), rows.weights)
        own = (probabilities * (1 - probabilities)).clamp(min=_LEAST_CURVATURE).flatten(0, -2)
        return tuple(_of_one_class(flat, own[:, c], head, c, constant=constant) for c in range(head.shape[1]))

    def errors(self, output: Tensor, targets: Tensor) -> Tensor:
        return output.logsumexp(dim=-1) - (smoothed(targets, self.smoothing) * output).sum(dim=-1)


@dataclass(frozen=True)
class Hybrid(_Classes):
    """Cross-entropy for the backbone, at a head solved for the squared error: the simple baseline of ``CrossEntropy``.

    ::

        W_t = rule(features, one-hot),   loss = mean cross-entropy of  scale * W_t^T phi

    The head is not that of the loss which the backbone descends, so its gradient misses a term through the head; and
    outputs near 0 and 1 are weak logits, which the scale makes up for.

    Args:
        smoothing: as in ``CrossEntropy``.
        class_weights: as in ``CrossEntropy``.
        scale: above 0.

    Raises:
        ValueError: `smoothing`, `class_weights` or `scale` is out of range.

    References:
        the head of Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (17), under another loss.
    """

    scale: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("Hybrid", "scale", self.scale)

    def moments(self, rows: Rows, head: Tensor, *, constant: bool) -> Moments:
        return rows._replace(targets=smoothed(rows.targets, self.smoothing)).moments(constant=constant)

    def errors(self, output: Tensor, targets: Tensor) -> Tensor:
        output = self.scale * output
        return output.logsumexp(dim=-1) - (smoothed(targets, self.smoothing) * output).sum(dim=-1)


def check_separable(objective: Objective) -> None:
    """Raise ValueError unless the objective is a sum over outputs, which may have weights of their own."""
    if not isinstance(objective, SquaredError):
        raise ValueError(
            f"ClosedFormLoss: `weights` must be one a row with {objective}; got some for each output, which only "
            "SquaredError takes."
        )


def check_per_output(objective: Objective, rule: Rule) -> None:
    """Raise ValueError unless the objective and the rule can do with moments of each output."""
    check_separable(objective)
    if not rule.solves_apart() and (rule.remembers() or set(rule.init(1, 1)) > {"head", "jitter"}):
        raise ValueError(
            f"ClosedFormLoss: `weights` must be one a row with {rule!r}, whose memory all outputs share; got some for "
            "each output. Use Proximal or Ridge, or give weights (B, *N)."
        )


def no_worse(
    objective: Objective,
    rows: Rows,
    heads: tuple[Tensor, Tensor, Tensor],
    *,
    strength: float,
    free_bias: bool = False,
) -> Tensor:
    """Head between those before and after a solve, by halving the step until the loss does not rise.

    ::

        loss + strength |W - W_start|^2

    is then at most its value before the solve. If no step reaches that, the head before the solve is kept. All
    processes decide alike.

    Args:
        objective: whose loss it is.
        rows: the rows of the batch.
        heads: W_start, and the heads before and after the solve, ``(F, C)`` float64.
        strength: of the second term.
        free_bias: whether the last row, the bias, is left out of the second term.
    """
    start, before, after = heads
    held = len(start) - free_bias

    def value(head: Tensor) -> Tensor:
        outputs = outputs_of(rows.features, head)
        errors = objective.errors(outputs, rows.targets.to(outputs.dtype)).flatten().to(torch.float64)
        weights = torch.ones_like(errors) if rows.weights is None else rows.weights.to(torch.float64)
        sums = mean_of_processes(torch.stack([weights @ errors, weights.sum()]))
        return sums[0] / sums[1] + strength * (head - start)[:held].square().sum()

    most = value(before)
    for _ in range(_HALVINGS):
        if bool(value(after) <= most):
            return after
        after = (before + after) / 2
    return before


def outputs_of(features: Tensor, head: Tensor) -> Tensor:
    """``(..., C)``: a head ``(F, C)`` on features ``(..., F)``, or (F + 1, C) with a bias last, in their precision or
    float32.
    """
    precision = torch.promote_types(features.dtype, torch.float32)
    head, count = head.to(precision), features.shape[-1]
    outputs = features.detach().to(precision) @ head[:count]
    return outputs + head[count] if len(head) > count else outputs


def _of_one_class(rows: Rows, curvature: Tensor, head: Tensor, index: int, *, constant: bool) -> Moments:
    """Moments for one output, each row times its own curvature."""
    given = torch.ones_like(curvature) if rows.weights is None else rows.weights.to(curvature.dtype)
    targets = (rows.targets[:, index] / (2 * curvature)).unsqueeze(-1)
    found = Rows(rows.features, targets, given * curvature).moments(constant=constant)
    weight = given.to(torch.float64).sum()
    if len(given):
        found = found.around(head[:, index : index + 1], step=1.0, curvature=found.weight / weight)
    return found.weighing(weight)
