"""What a linear layer saw and said in its last forward passes, remembered by a hook that no copy drags along."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

# Passes kept until the next solve: enough for a few forward passes under one loss, or a short roll-out.
LIMIT = 64


class Capture:
    """One pass through the layer: its input, its output, and whether either was changed in place since."""

    def __init__(self, features: Tensor, output: Tensor) -> None:
        self.features = features
        self.output = output
        self._versions = _version(features), _version(output)

    @property
    def recorded(self) -> bool:
        """Whether the pass is part of a graph."""
        return self.output.requires_grad

    @property
    def intact(self) -> bool:
        """Whether input and output still hold what they held when the layer ran."""
        return self._versions == (_version(self.features), _version(self.output))


class Hook:
    """A forward hook that tells its owner what the layer saw, for as long as the owner lives.

    The layer does not keep the owner alive. A copy or pickle of the layer gets a hook without an owner, so that the
    copy of a model (an average of weights, a target network) never reports to the head of the original.
    """

    def __init__(self, method: Callable[[nn.Module, Tensor, Tensor], None] | None = None) -> None:
        self._method = None if method is None else weakref.WeakMethod(method)

    @property
    def owner(self) -> Any:
        """The object whose method is called, or None."""
        method = None if self._method is None else self._method()
        return None if method is None else getattr(method, "__self__", None)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor], output: Tensor) -> None:
        method = None if self._method is None else self._method()
        if method is not None:
            method(module, inputs[0] if inputs else named["input"], output)

    __call__._torchdynamo_disable = True  # pyright: ignore[reportFunctionMemberAccess]

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()


def hooks_of(layer: nn.Module) -> list[Hook]:
    """The hooks of this kind on a layer."""
    return [hook for hook in layer._forward_hooks.values() if isinstance(hook, Hook)]


def remember(captures: list[Capture], new: Capture) -> list[Capture]:
    """The captures with a new one at the end: all that belong to a graph, and of those that do not the last."""
    kept = captures if new.recorded else [capture for capture in captures if capture.recorded]
    return [*kept, new][-LIMIT:]


def in_backward() -> bool:
    """Whether the engine is running backward, as when a checkpointed block is computed once more."""
    return torch._C._current_graph_task_id() != -1


@contextmanager
def exactly(device: torch.device) -> Iterator[None]:
    """Plain arithmetic whatever surrounds it: no graph, no inference tensors, no autocast to lower precision."""
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def _version(values: Tensor) -> int | None:
    return None if values.is_inference() else values._version
