"""Bind a closed-form rule to the last linear layer of a model that someone else wrote."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head.arrangement import Arrangement, find_arrangement, is_arranged, rearrange
from sciml_cf.head.layout import Layer, check_layer, num_inputs, num_outputs, read_head, to_rows, with_bias, write_head
from sciml_cf.head.moments import Moments
from sciml_cf.head.rules import Rule, State

_STATE_PREFIX = "rule_"


class ClosedFormHead(nn.Module):
    """Keeps one linear layer of a model solved in closed form.

    A forward hook on the layer remembers its input (the features) and output of the last forward pass in training
    mode; ``update(targets)`` turns them into moments, asks the rule for a new head, and writes it into the layer.
    The layer's parameters stop requiring gradients and stay in the model's ``state_dict``; the rule's state is held
    in buffers of this module, so save its ``state_dict`` beside the model's to resume exactly.

    Algorithm 1 of the paper in a loop of one's own::

        head = ClosedFormHead(model.readout, Proximal(strength=1e-2))
        for x, y in batches:
            loss = (model(x) - y).square().mean()
            optimizer.zero_grad(); loss.backward(); optimizer.step()   # backbone, with the old head
            with torch.no_grad():
                head.update(y, prediction=model(x))                    # head, on the new features

    Args:
        layer: nn.Linear, or nn.Conv1d/2d/3d of kernel size 1, inside the model. A bias is solved too, as the weight
            of a constant feature.
        rule: how the head follows from the moments, for instance Proximal(strength=1e-2).
        initial: "zeros" (the paper's default) or "keep" (start from the layer's present weights).
    Raises:
        TypeError, ValueError: the layer is not linear at each grid point; `initial` is unknown.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Algorithms 1 and 2.
    """

    def __init__(self, layer: Layer, rule: Rule, *, initial: Literal["zeros", "keep"] = "zeros") -> None:
        super().__init__()
        check_layer(layer)
        check_choice("ClosedFormHead", "initial", initial, ("zeros", "keep"))
        if not isinstance(rule, Rule):
            raise TypeError(f"ClosedFormHead: `rule` must be a Rule such as Proximal(strength=1e-2); got {rule!r}.")
        # Not a submodule: the layer belongs to the model, and must not appear in this module's state_dict.
        object.__setattr__(self, "layer", layer)
        self.layer: Layer
        self.rule = rule
        layer.weight.requires_grad_(False)
        if layer.bias is not None:
            layer.bias.requires_grad_(False)
        state = rule.init(num_inputs(layer) + (layer.bias is not None), num_outputs(layer))
        if initial == "keep":
            state["head"] = read_head(layer)
        for name, value in state.items():
            self.register_buffer(_STATE_PREFIX + name, value.to(layer.weight.device))
        write_head(layer, state["head"])
        self._captured: tuple[Tensor, Tensor] | None = None
        self._pending: Moments | None = None
        self._arrangement: Arrangement | None = None  # set once it is proven that nothing follows the layer
        self._recording = False
        self._hook = layer.register_forward_hook(self._capture)

    def update(self, targets: Tensor | None = None, *, prediction: Tensor | None = None) -> Moments:
        """Solve the head on the last forward pass and write it into the layer.

        Args:
            targets: what the layer's output should have been, shaped like the model's output. None solves on what
                ``accumulate`` has gathered.
            prediction: the model's output of that forward pass. With it, the first call proves that nothing comes
                after the layer, and learns where the outputs' axis lies.
        Returns:
            The moments that were solved on.
        Raises:
            RuntimeError: there was no forward pass in training mode since the last update.
            ValueError: targets do not match the layer's output, or the prediction is changed after the layer.
            NotPositiveDefinite: the system could not be solved; the layer keeps its weights.
        """
        if targets is not None:
            self.accumulate(targets, prediction=prediction)
        if self._pending is None:
            raise RuntimeError("ClosedFormHead.update: `targets` must be given, or gathered by accumulate() before.")
        moments, self._pending = self._pending.all_reduce(), None
        self.solve(moments)
        return moments

    def accumulate(self, targets: Tensor, *, prediction: Tensor | None = None) -> None:
        """Add the last forward pass to the moments that the next ``update()`` solves on; the head stays as it is."""
        features, targets = self.take(targets, prediction=prediction)
        moments = self.moments(features, targets)
        self._pending = moments if self._pending is None else self._pending + moments

    def take(self, targets: Tensor, *, prediction: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The captured features, still in their graph, and the targets in the layer's layout; clears the capture."""
        if self._captured is None:
            raise RuntimeError(
                "ClosedFormHead: the layer must have seen a forward pass in training mode since the last update; "
                "got none. Call model.train() and run the model on this batch first."
            )
        (features, output), self._captured = self._captured, None
        if prediction is None:
            return features, _like_output(targets, output)
        if targets.shape != prediction.shape:
            raise ValueError(
                f"ClosedFormHead: `targets` must be shaped like the prediction {tuple(prediction.shape)}; "
                f"got {tuple(targets.shape)}."
            )
        return features, self._align(targets, prediction, output)

    def prove(self, prediction: Tensor) -> None:
        """Check, once, that the prediction of the last forward pass is the layer's output and nothing comes after it.

        Raises:
            ValueError: the prediction is changed after the layer.
        """
        if self._arrangement is None and self._captured is not None:
            self._align(prediction, prediction, self._captured[1])

    def moments(self, features: Tensor, targets: Tensor) -> Moments:
        """Moments of features and targets in the layer's layout, the constant feature of a bias included."""
        rows = with_bias(to_rows(features.detach(), self.layer), self.layer)
        return Moments.from_batch(rows, to_rows(targets.detach(), self.layer))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Capture features inside this block also in evaluation mode, to solve the head on evaluation features."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    def clear(self) -> None:
        """Forget captured features and accumulated moments (they hold memory until the next update)."""
        self._captured = None
        self._pending = None

    def state(self) -> State:
        """The rule's state: named float64 tensors, among them ``head`` (F, C)."""
        return {
            name.removeprefix(_STATE_PREFIX): value
            for name, value in self.named_buffers(recurse=False)
            if name.startswith(_STATE_PREFIX)
        }

    def restore(self, state: State) -> None:
        """Go back to a state taken earlier with ``state()``, and put its head into the layer."""
        for name, value in state.items():
            setattr(self, _STATE_PREFIX + name, value)
        write_head(self.layer, state["head"])

    def detach(self) -> None:
        """Remove the hook from the layer and let its parameters be trained again."""
        self._hook.remove()
        self.clear()
        self.layer.weight.requires_grad_(True)
        if self.layer.bias is not None:
            self.layer.bias.requires_grad_(True)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load the rule's state and put its head into the layer."""
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        write_head(self.layer, self.state()["head"])
        return result

    def extra_repr(self) -> str:
        return f"layer={self.layer}, rule={self.rule}"

    def solve(self, moments: Moments) -> None:
        """Update the head on moments from anywhere, and write it into the layer."""
        state = self.state()
        # Weights that someone loaded into the layer win over the remembered head; equal ones keep float64 digits.
        present = read_head(self.layer)
        same = state["head"].to(self.layer.weight.dtype).to(torch.float64) == present
        state["head"] = torch.where(same, state["head"], present)
        _, state = self.rule.update(state, moments)
        self.restore(state)

    def _capture(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if module.training or self._recording:
            self._captured = (inputs[0], output)

    def _align(self, targets: Tensor, prediction: Tensor, output: Tensor) -> Tensor:
        """Targets in the layout of the layer's output, given in that of the prediction made from it."""
        arrangement, proven = self._arrangement, True
        if arrangement is None:
            arrangement, proven = find_arrangement(prediction, output)
        elif not is_arranged(prediction, arrangement, output):
            arrangement = None
        if arrangement is None:
            raise ValueError(
                "ClosedFormHead: the prediction must be the layer's own output; got a prediction "
                f"{tuple(prediction.shape)} that differs from the output {tuple(output.shape)} of "
                f"{type(self.layer).__name__}. Something after the head changes it (a residual, mask, activation or "
                "de-normaliser), or the model ran again since; move it to the targets, and call the loss at once."
            )
        if proven:
            self._arrangement = arrangement
        return rearrange(targets, arrangement, output.shape)


def _like_output(targets: Tensor, output: Tensor) -> Tensor:
    """Targets whose shape equals the layer's output up to axes of length one."""
    if targets.shape == output.shape:
        return targets
    squeezed = [tuple(n for n in shape if n != 1) for shape in (targets.shape, output.shape)]
    if squeezed[0] != squeezed[1]:
        raise ValueError(
            f"ClosedFormHead: `targets` must be shaped like the layer's output {tuple(output.shape)}; "
            f"got {tuple(targets.shape)}. Pass prediction=... as well if the model moves axes after its last layer."
        )
    return targets.reshape(output.shape)
