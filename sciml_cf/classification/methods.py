"""Methods of classification by name, and one training step of any of them: for loops, estimators and benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head import ClosedFormLoss, CrossEntropy, Hybrid, Initial, Objective, OneHot, Proximal, Rule
from sciml_cf.head.algorithms import make_algorithm
from sciml_cf.head.binding.layer import Layer
from sciml_cf.head.registry import check_rule, rule_names, rule_of


class Method(NamedTuple):
    """What a method descends and solves for, and the rule of its head.

    Args:
        objective: its class.
        rule: a name, or a rule; None where every layer is trained by gradients.
    """

    objective: type[Objective]
    rule: str | Rule | None


# Methods that are no rule's name. Every rule's name is a method too: that rule on the squared error to one-hot targets.
_OWN: dict[str, Method] = {
    "l2": Method(OneHot, None),
    "cross-entropy": Method(CrossEntropy, None),
    "cross-entropy-closed-form": Method(CrossEntropy, "proximal"),
    "hybrid": Method(Hybrid, "proximal"),
}


class _Methods(Mapping[str, Method]):
    """Every method by its name; a rule that is registered later joins."""

    def __getitem__(self, name: str) -> Method:
        if name in _OWN:
            return _OWN[name]
        if name in rule_names():
            return Method(OneHot, name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(("l2", *rule_names(), *(name for name in _OWN if name != "l2")))

    def __len__(self) -> int:
        return len(_OWN) + len(rule_names())


METHODS: Mapping[str, Method] = _Methods()


def check_method(function: str, method: str | Rule, names: Iterable[str] = METHODS) -> None:
    """Raise ValueError unless ``method`` is one of these names, or TypeError unless it is a rule."""
    if isinstance(method, str):
        check_choice(function, "method", method, tuple(names))
    else:
        check_rule(function, "method", method)


def method_of(method: str | Rule) -> Method:
    """The objective and the rule of a method; a rule given as an object is solved for the squared error."""
    return METHODS[method] if isinstance(method, str) else Method(OneHot, method)


def is_closed_form(method: str | Rule) -> bool:
    """Whether the method solves its head."""
    return method_of(method).rule is not None


def has_probabilities(method: str | Rule) -> bool:
    """Whether the softmax of the model's outputs is what the method fits."""
    return method_of(method).objective is CrossEntropy


def classification_loss(
    layer: Layer,
    method: str | Rule,
    *,
    strength: float | None = None,
    forgetting: float | None = None,
    initial: Initial = "zeros",
    penalise_bias: bool = True,
    **objective: Any,
) -> ClosedFormLoss:
    """The loss of a method for a model's last linear layer: ``loss_of(prediction, labels, weights=None)``.

    Args:
        layer: see ClosedFormHead. Methods without a closed-form head leave it to the optimizer.
        method: one of METHODS, or a rule such as Proximal(strength=0.1).
        strength: of a rule by name; by default its own. Refused by rules that have none, and without a rule.
        forgetting: of a rule by name, likewise.
        initial: see ClosedFormHead.
        penalise_bias: see ClosedFormHead.
        objective: settings of the objective: smoothing, class_weights, and curvature, iterations or scale.

    Raises:
        ValueError: unknown method, or a setting that it refuses.
        TypeError: a setting that its objective does not have, or ``method`` is neither a name nor a rule.
    """
    check_method("classification_loss", method)
    kind, rule = method_of(method)
    if rule is None:
        for name, value in (("strength", strength), ("forgetting", forgetting)):
            if value is not None:
                raise ValueError(
                    f"classification_loss: `{name}` must be left out with method {method!r}, which solves no head; got "
                    f"{value!r}."
                )
        return gradient_loss(layer, kind(**objective))
    solved = rule_of("classification_loss", rule, strength=strength, forgetting=forgetting)
    return ClosedFormLoss(layer, solved, initial=initial, penalise_bias=penalise_bias, objective=kind(**objective))


def gradient_loss(layer: Layer, objective: Objective | None = None) -> ClosedFormLoss:
    """The loss of an objective (by default the squared error) for a layer that the optimizer trains like the others."""
    loss = ClosedFormLoss(layer, Proximal(), initial="keep", objective=objective)
    loss.head.detach()
    return loss


def train_step(
    model: nn.Module,
    loss_of: ClosedFormLoss,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    algorithm: Literal[1, 2] = 2,
) -> Tensor:
    """One step on a batch by Algorithm 1 or 2 (``sciml_cf.head.algorithms``); the loss that the backbone descended.

    Without a closed-form head they are one: plain gradient descent.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithms 1 and 2.
    """
    return make_algorithm(algorithm, model, loss_of).step(x, targets, weights, descend=optimizer)
