"""A linear layer whose forward passes are remembered, until a head is solved on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.head.batch_rows import Rows
from sciml_cf.head.binding.capture import Capture, Captures, Hook, hooks_of, in_backward
from sciml_cf.head.binding.layer import (
    Layer,
    check_layer,
    describe,
    features_last,
    row_shape,
    row_weights,
    split_channel,
    to_rows,
)
from sciml_cf.model_outputs import which_entry


class BoundLayer(nn.Module):
    """A layer of somebody's model and a hook on it that keeps the input and output of its passes in training mode.

    The layer belongs to the model: it is no submodule, and not in this module's ``state_dict``. A layer is bound
    once; a later binding replaces an earlier one.

    Args:
        layer: nn.Linear, or nn.Conv1d/2d/3d of kernel size 1. Its parameters stop requiring gradients.
        name: of the layer in error messages.
    Raises:
        TypeError, ValueError: the layer is not linear at each grid point, or its weight is not a plain parameter.
    """

    def __init__(self, layer: Layer, *, name: str | None) -> None:
        super().__init__()
        check_layer(layer)
        object.__setattr__(self, "layer", layer)
        self.layer: Layer
        self.name = name
        self.frozen = False
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
        used, aligned = self._captures.take(targets, prediction, self._who)
        if len(used) == 1:  # views: copying the features of a convolution would cost as much as the rest of the loss
            views = [features_last(values, self.layer) for values in (used[0].features, aligned[0])]
            rows = Rows(views[0], views[1], None)
            return rows if weights is None else self._weigh(rows, weights, used[0].output)
        if weights is not None:
            raise ValueError(
                "ClosedFormLoss: `weights` must belong to one pass through the layer; got a prediction made of "
                f"{len(used)}. Call the loss on each, or run the model once on all inputs."
            )
        features = torch.cat([to_rows(capture.features, self.layer) for capture in used])
        return Rows(features, torch.cat([to_rows(part, self.layer) for part in aligned]), None)

    def _prove(self, prediction: Tensor) -> None:
        """Check, once, that the prediction is the layer's output and nothing comes after it; keeps the captures.

        Raises:
            ValueError: the prediction is changed after the layer.
        """
        if not isinstance(prediction, Tensor):
            raise which_entry("ClosedFormHead", "prediction", prediction)
        if self._captures.passes and not self._captures.knows(prediction):
            self._captures.match(prediction, prediction, self._who)

    def _in_layout(self, values: Tensor) -> Tensor:
        """Values shaped like a prediction, in the layout of the layer's output, as far as the training showed it."""
        return split_channel(self._captures.in_layout(values), self.layer)

    def _weigh(self, rows: Rows, weights: Tensor, output: Tensor) -> Rows:
        """The rows of positive weight; a masked row is gone, whatever it holds."""
        return rows.weighted(row_weights(weights.to(output.device), row_shape(output, self.layer), self.layer))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Capture features inside this block also in evaluation mode, to solve the head on evaluation features."""
        self._recording = True
        try:
            yield
        finally:
            self._recording = False

    @property
    def has_passes(self) -> bool:
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
        return {**self.__dict__, "_hook": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if self.status == "bound":
            self._listen()

    def _bind(self) -> None:
        """Take the layer's parameters out of the training, and listen to its passes."""
        for parameter in self._parameters_of_layer():
            parameter.requires_grad_(False)
        self._listen()

    def _listen(self) -> None:
        for hook in hooks_of(self.layer):
            if isinstance(hook.owner, BoundLayer):
                hook.owner.status = "replaced"
                hook.owner._hook.remove()
        self.status: Literal["bound", "detached", "replaced"] = "bound"
        self._hook = self.layer.register_forward_hook(Hook(self._capture), with_kwargs=True)

    def _capture(self, module: nn.Module, features: Tensor, output: Tensor) -> None:
        if (module.training or self._recording) and not self.frozen and not in_backward():
            self._captures.add(Capture(features, output))

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

    def _check_seen(self) -> None:
        if not self._captures.passes:
            raise RuntimeError(
                f"ClosedFormHead: layer {self._who()} must have seen a forward pass in training mode since the last "
                "update; got none. Call model.train() and run the model on this batch first; a head that was copied "
                "or loaded without its model belongs to a layer of its own."
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
