"""A closed-form rule bound to the last linear layer of a model that someone else wrote."""

from __future__ import annotations

from typing import Any, cast, get_args

import torch
from torch import Tensor, nn

from sciml_cf.errors import NotPositiveDefinite, check_choice
from sciml_cf.head.batch_rows import Rows, targets_of
from sciml_cf.head.binding.capture import exactly
from sciml_cf.head.binding.layer import (
    Layer,
    check_real,
    num_inputs,
    num_outputs,
)
from sciml_cf.head.choices import Initial
from sciml_cf.head.diagnostics import Diagnostics
from sciml_cf.head.free_bias import center
from sciml_cf.head.initial import initial_head
from sciml_cf.head.moments import Moments
from sciml_cf.head.monitor import Monitor, Solve, Steps
from sciml_cf.head.objectives import Objective, SquaredError, check_per_output, no_worse
from sciml_cf.head.offset import around, offset_of, started
from sciml_cf.head.per_output import OutputMoments, PerOutput, added, first_of, reduced
from sciml_cf.head.rules import Rule, State
from sciml_cf.head.rules.common.rule import check_bias, updated
from sciml_cf.head.rules.common.state import JitterReport, report_of, with_report
from sciml_cf.head.solved_layer import SolvedLayer
from sciml_cf.model_outputs import which_entry


class ClosedFormHead(SolvedLayer):
    """Keeps one linear layer of a model solved in closed form.

    A forward hook on the layer remembers its input (the features) and output of the last forward passes in training
    mode; ``update(targets)`` turns them into moments, asks the rule for a new head, and writes it into the layer.
    The layer's parameters stop requiring gradients and stay in the model's ``state_dict``; the rule's state is held
    in buffers of this module, so save its ``state_dict`` with the model's to resume exactly.

    Algorithm 1 of the paper in your own loop::

        head = ClosedFormHead(model.readout, Proximal(strength=1e-2))
        for x, y in batches:
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad(); loss.backward(); optimizer.step()   # backbone, with the old head
            with torch.no_grad():
                head.update(y, prediction=model(x))                    # head, on the new features

    With gradient accumulation: ``head.accumulate(y, prediction=model(x))`` for each micro-batch under ``no_grad``,
    then ``head.update()``. This equals the update on all micro-batches at once.

    ``head.frozen = True`` holds the head: nothing is captured or solved. A layer has one head; a new one on the same
    layer replaces it. Copy or pickle a head together with its model, in one call (``copy.deepcopy((model, head))``):
    the copy of the head belongs to the copy of the layer. A copy of the model alone has no head. A layer that shares
    its weight with another one (a tied embedding) cannot be a head: the solve would change both. Neither can one that
    runs twice in a forward pass, one after the other: its head would change its own features.

    Args:
        layer: nn.Linear, or nn.Conv1d/2d/3d of kernel size 1, inside the model. A bias is solved too, as the weight
            of a constant feature.
        rule: how the head follows from the moments, for instance Proximal(strength=1e-2).
        initial: "zeros" (the paper's default) or "keep" (start from the layer's present weights).
        penalise_bias: True pulls the bias like the other weights. False leaves it free: it is eliminated exactly by
            centering, ``b = mean(y) - W^T mean(phi)``, for rules that use the moments of one batch.
        name: what error messages call the layer, for instance "decoder.readout".
        objective: what the head is solved for: SquaredError() by default, or OneHot(), CrossEntropy() or Hybrid() for
            class labels as targets.
        model: that the layer is part of. Layers that share its parameters are then found for certain; without it,
            those that hold the very same parameter.

    Raises:
        TypeError, ValueError: the layer is not linear at each grid point, or its weight is not a plain parameter of
            its own; `initial` is unknown; the objective does not go with the layer or the rule.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithms 1 and 2.
    """

    def __init__(
        self,
        layer: Layer,
        rule: Rule,
        *,
        initial: Initial = "zeros",
        penalise_bias: bool = True,
        name: str | None = None,
        objective: Objective | None = None,
        model: nn.Module | None = None,
    ) -> None:
        super().__init__(layer, rule, name=name, model=model)
        check_choice("ClosedFormHead", "initial", initial, get_args(Initial))
        if not isinstance(rule, Rule):
            raise TypeError(f"ClosedFormHead: `rule` must be a Rule such as Proximal(strength=1e-2); got {rule!r}.")
        check_bias(rule, penalise_bias=penalise_bias or layer.bias is None)
        self.objective = SquaredError() if objective is None else objective
        self.objective.check(layer, rule)
        self.penalise_bias = penalise_bias
        self._free_bias = layer.bias is not None and not penalise_bias
        has_constant = layer.bias is not None and penalise_bias
        state = rule.init(num_inputs(layer) + has_constant, num_outputs(layer))
        state["head"] = initial_head(initial, layer)
        self._begin(state)
        self._monitor = Monitor()
        self._pending: Moments | None = None
        self._weighted = False  # whether weights were given since the last update
        self._bind()

    # Solving.

    def update(
        self, targets: Tensor | None = None, *, prediction: Tensor | None = None, weights: Tensor | None = None
    ) -> Moments:
        """Solve the head on a forward pass and write it into the layer.

        Args:
            targets: what the layer's output should have been, shaped like the model's output. None solves on what
                ``accumulate`` has gathered.
            prediction: the model's output of that forward pass. With it, the first call proves that nothing comes
                after the layer, and learns where the outputs' axis lies. Without it, the last pass is meant.
            weights: of samples, grid points or both, as in ``ClosedFormLoss``; rows of weight zero (a mask's False)
                are left out. Weights shaped like the model's output are of each output: then Proximal and Ridge
                solve each on rows of its own.

        Returns:
            The moments that were solved on; of the first output, where each has its own.

        Raises:
            RuntimeError: there was no forward pass in training mode since the last update, or the head is frozen.
            ValueError: targets or weights do not match the layer's output, all weights are zero, or the prediction
                is changed after the layer.
            NotPositiveDefinite: the system could not be solved; the layer keeps its weights.
        """
        if targets is not None and self._pending is None:
            return self._solve_rows(self._take(targets, prediction=prediction, weights=weights))
        if targets is not None:
            self.accumulate(targets, prediction=prediction, weights=weights)
        if self._pending is None:
            raise RuntimeError("ClosedFormHead.update: `targets` must be given, or gathered by accumulate() before.")
        pending, self._pending = self._pending, None
        moments = pending.all_reduce()
        weighted, self._weighted = self._weighted, False
        self.solve(moments, weighted=weighted)
        return first_of(moments)

    def accumulate(self, targets: Tensor, *, prediction: Tensor | None = None, weights: Tensor | None = None) -> None:
        """Add a forward pass to the moments that the next ``update()`` solves on; the head does not change.

        Raises:
            ValueError: as ``update``; or the objective needs the rows of the whole batch at once.
        """
        if self.objective.guarded or self.objective.iterations > 1:
            raise ValueError(
                "ClosedFormHead.accumulate: `objective` must need one solve on moments; got "
                f"{self.objective}. Use iterations=1 and curvature='bound', or one update a batch."
            )
        rows = self._take(targets, prediction=prediction, weights=weights)
        self._weighted = self._weighted or rows.weights is not None
        self._pending = added(self._pending, cast(Moments, self._moments(rows)), weighted=self._weighted)

    def _solve_rows(self, rows: Rows) -> Moments:
        """Update the head on what ``_take`` returned, linearized again as often as the objective asks.

        Returns, Raises: as ``update``.
        """
        self._check_free()
        with exactly(rows.features.device):
            start = state = self._present()
            constant, objective = self.layer.bias is not None, self.objective
            for _ in range(objective.iterations):
                before = state["head"]
                found = reduced(objective.moments(rows, before, constant=constant))
                self._solve(found, rows.weights is not None, start)
                if objective.iterations > 1 or objective.guarded:
                    state = self.state()
                if objective.guarded:
                    heads = start["head"], before, state["head"]
                    strength = cast(Any, self.rule).strength
                    head = no_worse(objective, rows, heads, strength=strength, free_bias=self._free_bias)
                    state = state | {"head": head}
                    self.restore(state)
        return first_of(found)

    def solve(
        self, moments: Moments | tuple[Moments, ...], *, weighted: bool = False, start: State | None = None
    ) -> None:
        """Update the head on moments from anywhere, and write it into the layer.

        Args:
            moments: with as many features as the layer has inputs, and one for its bias, the last; or one for each
                output.
            weighted: whether the rows had weights, whose sum then must not be zero.
            start: the state that the rule updates, by default the present one.

        Raises:
            RuntimeError: the head is frozen, or was replaced by another one.
            ValueError: the moments have weight zero.
            NotPositiveDefinite: the system could not be solved; the layer keeps its weights.

        Warns:
            HeadWarning: the last solves show a fault, see docs/diagnostics.md; each is given once.
        """
        self._check_free()
        self._check_layer()
        with exactly(first_of(moments).device):
            self._solve(moments, weighted, self._present() if start is None else start)

    # Rows of a forward pass.

    def _take(
        self,
        targets: Tensor,
        *,
        prediction: Tensor | None = None,
        weights: Tensor | None = None,
        expanded: bool = False,
    ) -> Rows:
        """The captured features, still in their graph, with their targets and weights; clears the captures.

        ``expanded`` says that the targets are shaped like the prediction already, as the objective wants them.
        """
        self._check_free()
        self._check_layer()
        self._check_seen()
        if prediction is not None and not isinstance(prediction, Tensor):
            raise which_entry("ClosedFormHead", "prediction", prediction)
        device = self.layer.weight.device
        targets = targets_of("ClosedFormHead", targets, device)
        weights = None if weights is None else targets_of("ClosedFormHead", weights, device, argument="weights")
        if not expanded:
            check_real("ClosedFormHead.update", targets=targets, prediction=prediction, weights=weights)
            shaped_like = self._captures.passes[-1].output if prediction is None else prediction
            targets = self.objective.expand(targets, shaped_like, self.layer)
        rows = self._rows(targets, prediction, weights)
        if rows.weights is not None and rows.weights.ndim == 2:
            check_per_output(self.objective, self.rule)
        return self.objective.weigh(rows)

    def _moments(self, rows: Rows) -> Moments | tuple[Moments, ...]:
        """Moments of what ``_take`` returned, the constant feature of a bias included; of weight 0 without rows."""
        with exactly(rows.features.device):
            return self.objective.moments(rows, self._present()["head"], constant=self.layer.bias is not None)

    def _passes_over(self) -> bool:
        """Whether the rule looks past this step: then its state moves on, and the head stays without any moments."""
        if type(self.rule).passes_over is Rule.passes_over:  # most never do
            return False
        state = self.rule.passes_over(self.state())
        if state is not None:
            self._hold(state)
        return state is not None

    def clear(self) -> None:
        """Forget captured features and accumulated moments (they keep their memory until the next update)."""
        super().clear()
        self._pending = None

    # Reports of the solves.

    @property
    def solved(self) -> bool:
        """Whether there was a solve, so that ``diagnostics`` has one to report."""
        return self._monitor.last is not None

    def diagnostics(self) -> Diagnostics:
        """Metrics of the last solve, such as its conditioning. Costs the eigenvalues of an ``(F, F)`` matrix.

        A free bias (``penalise_bias=False``) is eliminated before: the metrics are those of the centered features.

        Raises:
            RuntimeError: nothing was solved yet.
        """
        if (found := self._monitor.diagnostics()) is None:
            raise RuntimeError(
                f"ClosedFormHead.diagnostics: layer {self._who()} must have been solved; got no solve yet. "
                "Call it after the loss in training mode, or after update()."
            )
        return found

    def recent(self) -> Steps:
        """Means of cheap metrics over the solves since the last call; those inside ``recording()`` do not count."""
        return self._monitor.take()

    def figures(self) -> dict[str, float]:
        """Columns of ``history.csv``: ``recent()``, and the conditioning of the last solve, by name."""
        return self._monitor.figures()

    def extra_repr(self) -> str:
        return f"layer={self._who()}, rule={self.rule}"

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_monitor": Monitor()}

    # Inside.

    def _solve(self, moments: PerOutput, weighted: bool, state: State) -> None:
        """``solve`` where arithmetic is exact already."""
        if isinstance(moments, tuple) and self.objective.quadratic:
            moments = OutputMoments.of(moments)
        one = moments[0] if isinstance(moments, tuple) else moments
        if weighted and float(one.weight) == 0.0:
            raise ValueError("ClosedFormHead: `weights` must not be zero everywhere; got no row to solve on.")
        try:
            if (report := self._known.report) is not None:
                report.check()
            if not isinstance(moments, tuple):
                state = self._offset(state, moments)
                moments = around(moments, state)
            state = self._next(state, moments, weighted)
        except NotPositiveDefinite as error:
            raise NotPositiveDefinite(f"{error} {self._blame(one)}") from error
        narrow = self.layer.weight.dtype == torch.float16
        if narrow and not bool(torch.isfinite(state["head"].to(torch.float16)).all()):
            raise NotPositiveDefinite(
                f"ClosedFormHead: the head of layer {self._who()} must be finite in {self.layer.weight.dtype}; "
                f"got numbers up to {state['head'].abs().max():.1e}. {self._blame(one)}"
            )
        self._put(state)
        if self.objective.quadratic:  # the metrics are those of the loss
            self._monitor.judge()

    def _offset(self, state: State, moments: Moments) -> State:
        """The state with an offset, if it is the first solve and the targets are far from zero."""
        if self._centered:
            return state
        self._centered = True
        pulled = self.layer.bias is not None and self.penalise_bias
        if not pulled or type(self.objective) is not SquaredError:
            return state
        offset = offset_of(moments)
        return state if offset is None else state | {"offset": offset, "head": started(state["head"], offset)}

    def _next(self, state: State, moments: PerOutput, weighted: bool) -> State:
        """The rule's next state; a free bias is eliminated before and put back after."""
        if isinstance(moments, tuple):
            columns = [state | {"head": column} for column in state["head"].split(1, dim=1)]
            after = [self._next(column, one, weighted) for column, one in zip(columns, moments, strict=True)]
            whole = torch.cat([one["head"] for one in after], dim=1)
            jitter = torch.stack([one["jitter"] for one in after]).max()
            if any(report_of(one) is not None for one in after):
                return with_report(state, JitterReport(jitter), head=whole)
            return state | {"head": whole, "jitter": jitter}
        if not self._free_bias:
            return self._ask_rule(state, moments, weighted)
        centered, bias = center(moments), state["head"][-1]
        state = self._ask_rule(state | {"head": state["head"][:-1]}, centered.moments, weighted)
        return state | {"head": centered.with_bias(state["head"], bias)}

    def _ask_rule(self, state: State, moments: Moments, weighted: bool) -> State:
        update = updated(self.rule, state, moments)
        bias = "none" if self.layer.bias is None else "penalised" if self.penalise_bias else "free"
        self._monitor.record(Solve(state, moments, update, weighted, bias), sum_up=not self._recording)
        return update.state

    def _blame(self, moments: Moments) -> str:
        """The cause of a failed solve, as far as the moments show it."""
        gram = moments.grams if isinstance(moments, OutputMoments) else moments.gram
        if not bool(torch.isfinite(gram).all()):
            return f"The features that enter layer {self._who()} are not finite, or overflow when squared."
        if not bool(torch.isfinite(moments.cross).all()):
            return f"The targets of layer {self._who()} are not finite, or overflow when squared."
        return f"At layer {self._who()}."
