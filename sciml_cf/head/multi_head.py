"""Several heads on one backbone, each solved exactly on the batches that are its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, cast

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_positive
from sciml_cf.head.attach import ClosedFormHead
from sciml_cf.head.batch_rows import Rows
from sciml_cf.head.binding.layer import Layer, num_inputs, num_outputs
from sciml_cf.head.diagnostics import Diagnostics
from sciml_cf.head.loss import ClosedFormLoss, share_of
from sciml_cf.head.moments import Moments
from sciml_cf.head.processes import mean_of_processes, num_processes
from sciml_cf.head.rules import Rule


class ClosedFormLosses(nn.Module):
    """The mean squared errors of several linear layers of a model, each solved in closed form, as one loss.

    ::

        loss = sum_k share_k mean |W_k^T phi_k - y_k|^2,    W_k = rule_k(phi_k, y_k)

    Each head is a ``ClosedFormLoss`` of its own, with its own state; the backbone's gradient is the sum of theirs. A
    call may leave heads out: those keep their weights. One layer with many outputs needs none of this: its outputs
    share one Gram matrix, and ``ClosedFormLoss`` solves them together.

    ``state_dict`` holds the rules' states under the heads' names; save it with the model's. Under several processes
    the moments of each head are summed over those whose batch has it, so each process must make the same number of
    calls, whichever heads it names in them.

    Args:
        layers: the model's last linear layers by name, each another one.
        rule: Proximal(...), or another rule, for all heads or for each by name.
        shares: weight of each head's loss in the sum, above zero; 1 where none is given.
        initial: see ClosedFormHead.
        penalise_bias: see ClosedFormHead.
        model: see ClosedFormHead.
        solve_in_eval: see ClosedFormLoss.

    Raises:
        TypeError, ValueError: a layer cannot be a head or is named twice; `rule` or `shares` name other heads.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (17), for each head.

    Example:
        ::

            losses = ClosedFormLosses({"burgers": model.burgers, "heat": model.heat}, Proximal(strength=1e-2))
            for name, x, y in batches:                                   # a batch belongs to one head
                optimizer.zero_grad()
                losses({name: model(x, name)}, {name: y}).backward()
                optimizer.step()
    """

    def __init__(
        self,
        layers: Mapping[str, Layer],
        rule: Rule | Mapping[str, Rule],
        *,
        shares: Mapping[str, float] | None = None,
        initial: Literal["zeros", "keep"] = "zeros",
        penalise_bias: bool = True,
        solve_in_eval: bool = False,
        model: nn.Module | None = None,
    ) -> None:
        super().__init__()
        _check_layers(layers)
        rules = rule if isinstance(rule, Mapping) else dict.fromkeys(layers, rule)
        if set(rules) != set(layers):
            raise ValueError(f"ClosedFormLosses: `rule` must name each of {sorted(layers)}; got {sorted(rules)}.")
        self.shares = _shares_of(layers, shares or {})
        self.names = tuple(layers)
        for name, layer in layers.items():
            one = ClosedFormLoss(
                layer,
                rules[name],
                initial=initial,
                penalise_bias=penalise_bias,
                name=name,
                solve_in_eval=solve_in_eval,
                model=model,
            )
            self.add_module(f"head_{name}", one)  # the prefix: "float" or "train" would hide a method

    def __getitem__(self, name: str) -> ClosedFormLoss:
        """The loss of one head."""
        if name not in self.names:
            raise KeyError(f"ClosedFormLosses: head must be one of {', '.join(self.names)}; got {name!r}.")
        return self.get_submodule(f"head_{name}")  # pyright: ignore[reportReturnType]

    @property
    def heads(self) -> dict[str, ClosedFormHead]:
        """The heads by name, for ``update`` (Algorithm 1), ``recording``, ``frozen`` and the rest."""
        return {name: self[name].head for name in self.names}

    def forward(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """The sum; see the class.

        Args:
            predictions: outputs of the layers by the heads' names, each as in ``ClosedFormLoss``. One without targets
                is not used.
            targets: by name, shaped like the predictions; at least one.
            weights: by name, for the heads whose rows have any; several processes give a head weights in all of them or
                in none.

        Returns:
            () as ClosedFormLoss.

        Raises:
            ValueError: a name is not a head's, or has no prediction; and as ClosedFormLoss.
        """
        each = self.each(predictions, targets, weights)
        return torch.stack([self.shares[name] * value for name, value in each.items()]).sum()

    def each(
        self,
        predictions: Mapping[str, Tensor],
        targets: Mapping[str, Tensor],
        weights: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """The same, solved and returned head by head, without the shares."""
        weights = weights or {}
        weighed = self._weighed(weights)
        for argument, given, known in (
            ("predictions", predictions, self.names),
            ("targets", targets, tuple(predictions)),
            ("weights", weights, tuple(targets)),
        ):
            if not set(given) <= set(known) or (argument == "targets" and not given):
                raise ValueError(
                    f"ClosedFormLosses: `{argument}` must name one or more of {', '.join(sorted(known))}; "
                    f"got {sorted(given)}."
                )
        values = {}
        for name in self.names:
            if name in targets:
                values[name] = self[name](predictions[name], targets[name], weights.get(name))
                continue
            if name in predictions:  # or the graphs of unused passes would pile up
                self[name].head.clear()
            self._join(self[name].head, weighed=name in weighed)
        return values

    def diagnostics(self) -> dict[str, Diagnostics]:
        """Figures of the last solve of each head that has been solved."""
        return {name: head.diagnostics() for name, head in self.heads.items() if head.solved}

    def _weighed(self, weights: Mapping[str, Tensor]) -> set[str]:
        """Heads whose rows have weights in some process, where that has to be known.

        A loss with weights at a head that is solved learns their sum from the moments; at one that is not, all
        processes are asked for theirs, those without the head as well.
        """
        heads = self.heads
        solved = (not _is_held(head) and type(head.rule).passes_over is Rule.passes_over for head in heads.values())
        first = next(iter(heads.values()))
        if num_processes() == 1 or not first._solving or all(solved):
            return set()
        given = first.layer.weight.new_tensor([float(name in weights) for name in heads])
        return {name for name, share in zip(heads, mean_of_processes(given).tolist(), strict=True) if share > 0}

    def _join(self, head: ClosedFormHead, *, weighed: bool) -> None:
        """Solve a head that is missing in this process's batch on the rows that other processes have of it."""
        layer = head.layer
        if num_processes() == 1 or not head._solving:
            return
        if _is_held(head) or head._passes_over():
            if weighed:
                share_of(layer.weight.new_zeros(0))
            return
        none = layer.weight.new_zeros(0, num_inputs(layer) + num_outputs(layer))
        features, targets = none.split([num_inputs(layer), num_outputs(layer)], dim=1)
        moments = cast(Moments, head._moments(Rows(features, targets, none.new_zeros(0)))).all_reduce()
        if float(moments.weight) > 0:
            head.solve(moments)


def _is_held(head: ClosedFormHead) -> bool:
    """Whether a loss does not solve the head."""
    return head.frozen or head.status == "detached"


def _check_layers(layers: Mapping[str, Layer]) -> None:
    """Raise ValueError unless there are layers, each another one, under names that a module may have."""
    for name in layers:
        if not name or "." in name:
            raise ValueError(f"ClosedFormLosses: `layers` must have names without a dot; got {name!r}.")
    if not layers or len({id(layer) for layer in layers.values()}) < len(layers):
        raise ValueError(
            f"ClosedFormLosses: `layers` must be different layers, one at least; got {sorted(layers)}. "
            "One layer has one head; its outputs are solved together."
        )


def _shares_of(layers: Mapping[str, Layer], given: Mapping[str, float]) -> dict[str, float]:
    """The share of each head, 1 where none is given."""
    shares = {**dict.fromkeys(layers, 1.0), **given}
    if set(shares) != set(layers):
        raise ValueError(f"ClosedFormLosses: `shares` must name heads among {sorted(layers)}; got {sorted(given)}.")
    for share in shares.values():
        check_positive("ClosedFormLosses", "shares", share)
    return shares
