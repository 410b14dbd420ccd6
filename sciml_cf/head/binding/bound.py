"""A linear layer whose forward passes are remembered, until a head is solved on them."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.errors import MovedHeadWarning, UnsolvedHeadWarning
from sciml_cf.head.batch_rows import Rows
from sciml_cf.head.binding.calls import call_around
from sciml_cf.head.binding.capture import Captures, Hook, hooks_of, in_backward, unchanged
from sciml_cf.head.binding.layer import (
    Layer,
    check_layer,
    describe,
    describe_type,
    features_last,
    output_weights,
    row_shape,
    row_weights,
    split_channel,
    to_rows,
)
from sciml_cf.head.binding.point_weights import point_weights
from sciml_cf.head.binding.steps import Steps, follows_gradient
from sciml_cf.head.binding.tied import Kind, Ties, check_untied
from sciml_cf.model_outputs import which_entry


class BoundLayer(nn.Module):
    """A layer of somebody's model and a hook on it that keeps the input and output of its passes in training mode.

    The layer belongs to the model: it is no submodule, and not in this module's ``state_dict``. A layer is bound
    once; a later binding replaces an earlier one.

    Args:
        layer: nn.Linear, or nn.Conv1d/2d/3d of kernel size 1. Its parameters stop requiring gradients.
        name: of the layer in error messages.
        model: that the layer is part of, to look for other layers that share its parameters.

    Raises:
        TypeError, ValueError: the layer is not linear at each grid point, or its weight is not a plain parameter of
            its own.
    """

    def __init__(self, layer: Layer, *, name: str | None, model: nn.Module | None = None) -> None:
        super().__init__()
        check_layer(layer)
        object.__setattr__(self, "layer", layer)
        self.layer: Layer
        self.name = name
        self._within = None if model is None else weakref.ref(model)
        self._ties, self._kind = Ties(model), Kind(layer)
        if model is not None:
            check_untied(layer, model, self._who())
        self._ties.check(layer, self._who)
        self._told_moved = False
        self._told = False  # that a backward pass reached a loss without a solve
        self.frozen = False
        self.solve_in_eval = False
        self._captures = Captures()
        self._recording = False

    def _rows(self, targets: Tensor, prediction: Tensor | None, weights: Tensor | None) -> Rows:
        """The captured features, still in their graph, with their targets and weights; clears the captures.

        Args:
            targets: shaped like the prediction.
            prediction: the model's output; None means that of the last pass.
            weights: see ``row_weights``, or None.

        Raises:
            ValueError: targets, prediction or weights do not belong to what was captured.
        """
        used, layouts = self._captures.take(targets, prediction, self._who)
        if len(used) == 1:  # views: copying the features of a convolution would cost as much as the rest of the loss
            views = [features_last(values, self.layer) for values in (used[0].features, layouts[0](targets))]
            rows = Rows(views[0], views[1], None)
            if weights is None:
                return rows
            shape = used[0].output.shape if prediction is None else prediction.shape
            return self._weigh(rows, weights, used[0].output, shape=shape, layout=layouts[0])
        if weights is not None:
            raise ValueError(
                "ClosedFormLoss: `weights` must belong to one pass through the layer; got a prediction made of "
                f"{len(used)}. Call the loss on each, or run the model once on all inputs."
            )
        features = torch.cat([to_rows(capture.features, self.layer) for capture in used])
        parts = [to_rows(layout(targets), self.layer) for layout in layouts]
        return Rows(features, torch.cat(parts), None)

    def _prove(self, prediction: Tensor) -> None:
        """Check, once, that the prediction is the layer's output and nothing comes after it; keeps the captures.

        Raises:
            ValueError: the prediction is changed after the layer.
        """
        if not isinstance(prediction, Tensor):
            raise which_entry("ClosedFormHead", "prediction", prediction)
        if self._captures.passes and not self._captures.knows(prediction):
            self._captures.match(prediction, self._who)

    def _in_layout(self, values: Tensor) -> Tensor:
        """Values shaped like a prediction, in the layout of the layer's output, as far as the training showed it."""
        return split_channel(self._captures.in_layout(values), self.layer)

    def _weigh(
        self, rows: Rows, weights: Tensor, output: Tensor, *, shape: torch.Size, layout: Callable[[Tensor], Tensor]
    ) -> Rows:
        """The rows of positive weight; a masked row is gone, whatever it holds.

        Args:
            rows: the rows.
            weights: of rows, see ``row_weights``, or of each output: then those of the rows are ``(rows, C)``.
            output: of the layer.
            shape: of the prediction, which weights of outputs have.
            layout: from values shaped like the prediction to those shaped like the output.
        """
        each = output_weights(weights, shape, self.layer)
        if each is None:
            weights, order = weights.to(output.device), row_shape(output, self.layer)
            flat = len(order) < len(shape) - 1 and weights.shape in (order, order[1:])  # as the layer sees the points
            if flat or layout is unchanged:
                return rows.weighted(row_weights(weights, order, self.layer))
            return rows.weighted(point_weights(weights, shape, order, layout, self.layer))
        return rows.weighted(to_rows(layout(each.to(output.device)), self.layer))

    def _tell_moved(self, head: Tensor, present: Tensor) -> None:
        """Warn, once, if an optimizer changed the layer; weights that were loaded into it are welcome."""
        if self._told_moved:
            return
        if not self._steps.moved and not follows_gradient(self.layer, present - head):
            return
        written = head.to(self.layer.weight.dtype).to(torch.float64)
        if torch.equal(present, written):  # on a device nobody has looked yet
            self._steps.moved = False
            return
        self._told_moved = True
        warnings.warn(
            f"ClosedFormHead: layer {self._who()} does not have the head that it was given: an optimizer moves it, "
            "too. Give the optimizer [p for p in model.parameters() if p.requires_grad], made after the loss, "
            "and leave requires_grad of this layer False.",
            MovedHeadWarning,
            stacklevel=6,
        )

    @property
    def _solving(self) -> bool:
        """Whether a loss of this layer is one of training: it is in training mode, with gradients on."""
        return torch.is_grad_enabled() and (self.layer.training or self.solve_in_eval)

    def _watched(self, loss: Tensor) -> Tensor:
        """The loss of a head that was not solved for it; a backward pass that reaches it warns, once."""
        if loss.requires_grad and not self._told:
            found = weakref.ref(self)

            def tell(_: Tensor) -> None:
                if (head := found()) is not None:
                    head._tell_unsolved()

            loss.register_hook(tell)
        return loss

    def _tell_unsolved(self) -> None:
        if self._told:
            return
        self._told = True
        mode = "train" if self.layer.training else "eval"
        warnings.warn(
            f"ClosedFormLoss: a backward pass reaches the loss of layer {self._who()}, which was not solved in this "
            f"step and is in {mode} mode; its head is not trained. Call model.train() before the step, or pass "
            "solve_in_eval=True. To hold the head on purpose, set head.frozen = True.",
            UnsolvedHeadWarning,
            stacklevel=3,
        )

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Capture features inside this block also in evaluation mode, to solve the head on evaluation features."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    @property
    def _has_passes(self) -> bool:
        """Whether a forward pass waits for its solve."""
        return bool(self._captures.passes)

    def clear(self) -> None:
        """Forget captured features."""
        self._captures.passes = []

    def detach(self) -> None:
        """Remove the hook from the layer and let its parameters be trained again; the loss is then a plain one."""
        if self.status != "bound":
            return
        self.status = "detached"
        self._hook.remove()
        self.clear()
        for parameter in self._parameters_of_layer():
            parameter.requires_grad_(True)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_hook": None, "_steps": None, "_ties": None, "_within": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.status == "bound":
            self._listen()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> BoundLayer:
        """Move between devices, as every module does; precision stays, whatever happens to the modules around."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, value in before.items():
            moved = self._buffers[name]
            if value is not None and moved is not None and moved.dtype != value.dtype:
                self._buffers[name] = value.to(moved.device)
        return self

    def _bind(self) -> None:
        """Take the layer's parameters out of the training, and listen to its passes."""
        for parameter in self._parameters_of_layer():
            parameter.requires_grad_(False)
        self._listen()

    def _listen(self) -> None:
        model = None if self._within is None else self._within()
        self._ties, self._kind, self._steps = Ties(model), Kind(self.layer), Steps(self.layer)
        for hook in hooks_of(self.layer):
            if isinstance(hook.owner, BoundLayer):
                hook.owner.status = "replaced"
                hook.owner._hook.remove()
        self.status: Literal["bound", "detached", "replaced"] = "bound"
        self._hook = self.layer.register_forward_hook(Hook(self._capture), with_kwargs=True)

    def _capture(self, module: nn.Module, features: Tensor, output: Tensor) -> None:
        wanted = module.training or self._recording or (self.solve_in_eval and torch.is_grad_enabled())
        if wanted and not self.frozen and not in_backward():
            self._captures.add(features, output, call_around(module))

    def _parameters_of_layer(self) -> list[Tensor]:
        return [self.layer.weight, *([] if self.layer.bias is None else [self.layer.bias])]

    def _check_free(self) -> None:
        if self.frozen:
            raise RuntimeError(f"ClosedFormHead: layer {self._who()} must not be frozen; got head.frozen = True.")
        if self.status == "replaced":
            raise RuntimeError(
                f"ClosedFormHead: layer {self._who()} must have one head; got another one that was made after this. "
                "Use one ClosedFormLoss for each layer."
            )

    def _check_layer(self) -> None:
        """Raise ValueError if the layer is no longer what was bound, or not alone with its parameters."""
        if not self._kind.is_of(self.layer):
            raise ValueError(
                f"ClosedFormHead: layer {describe_type(self.layer, self.name)} must stay as it was bound; got other "
                "parameters: pruning, weight_norm, spectral_norm, LoRA or another shape was put on it. Remove that "
                "from this layer, or make a new loss for what it has become."
            )
        self._ties.check(self.layer, self._who)

    def _check_seen(self) -> None:
        if self._captures.empty:
            raise RuntimeError(
                f"ClosedFormHead: layer {self._who()} must have seen a forward pass in training mode since the last "
                "update; got none. Call model.train() and run the model on this batch first, and call the loss once on "
                "its output. Was the layer replaced in the model, or wrapped by something that does not run its hooks? "
                "A head that was copied or loaded without its model belongs to a layer of its own."
            )

    def _who(self) -> str:
        return describe(self.layer, self.name)


def release(module: nn.Module) -> None:
    """Take the traces of a head off one module: its hook, and parameters that no longer asked for gradients.

    The head, if it is still alive, is detached; a copy of a layer has a hook without a head.
    """
    for key, hook in list(module._forward_hooks.items()):
        if not isinstance(hook, Hook):
            continue
        if isinstance(hook.owner, BoundLayer):
            hook.owner.detach()
        module._forward_hooks.pop(key, None)
        module._forward_hooks_with_kwargs.pop(key, None)
        for parameter in module.parameters(recurse=False):
            parameter.requires_grad_(True)
