"""Input and output of a linear layer in its last forward passes, kept by a hook that no copy takes along."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.head.binding.arrangement import Arrangements, find_places, move_channels

# Passes kept until the next solve: enough for a few forward passes under one loss, or a short roll-out.
LIMIT = 32


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
    """A forward hook that reports each pass of the layer to its owner, for as long as the owner lives.

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


class Captures:
    """The passes through one layer since they were last taken, and how predictions are arranged from its outputs."""

    def __init__(self) -> None:
        self.passes: list[Capture] = []
        self.arrangements = Arrangements()

    def add(self, new: Capture) -> None:
        """Remember a pass with all that belong to a graph; of those that do not, only the last is kept."""
        kept = self.passes if new.recorded else [old for old in self.passes if old.recorded]
        self.passes = [*kept, new][-LIMIT:]

    def take(
        self, targets: Tensor, prediction: Tensor | None, who: Callable[[], str]
    ) -> tuple[list[Capture], list[Tensor]]:
        """The passes behind a prediction (or the last one), and the targets in the layout of each of their outputs.

        Those and all before them are forgotten. Later ones may belong to the next prediction: two passes, then two
        losses in the same order. After an error all are forgotten.
        """
        try:
            used, aligned = self._find(targets, prediction, who)
        except ValueError:
            self.passes = []
            raise
        if any(one is self.passes[-1] for one in used):
            self.passes = []
        else:
            last = max(index for index, one in enumerate(self.passes) if any(one is other for other in used))
            self.passes = self.passes[last + 1 :]
        return used, aligned

    def _find(
        self, targets: Tensor, prediction: Tensor | None, who: Callable[[], str]
    ) -> tuple[list[Capture], list[Tensor]]:
        if targets.numel() == 0:
            raise ValueError(
                f"ClosedFormHead: `targets` must hold at least one row; got {tuple(targets.shape)}. Empty batch?"
            )
        if prediction is not None:
            if targets.shape != prediction.shape:
                raise ValueError(
                    f"ClosedFormHead: `targets` must be shaped like the prediction {tuple(prediction.shape)}; "
                    f"got {tuple(targets.shape)}."
                )
            return self.match(targets, prediction, who)
        last = self.passes[-1]
        if not last.intact:
            raise ValueError(
                f"ClosedFormHead: the input and output of layer {who()} must stay as they are until the solve; "
                "got one changed in place. Use the out-of-place operation after the head."
            )
        return [last], [like_output(targets, last.output)]

    def match(self, values: Tensor, prediction: Tensor, who: Callable[[], str]) -> tuple[list[Capture], list[Tensor]]:
        """The passes that a prediction was made from, and values shaped like it in the layout of each of their outputs.

        Raises:
            ValueError: the prediction is not made of the outputs alone.
        """
        for one in reversed(self.passes):
            found = self.arrangements.find(prediction, one.output) if one.intact else None
            if found is not None:
                return [one], [found.to_output(values)]
        joined = self._joined(values, prediction)
        if joined is not None:
            return joined
        last = self.passes[-1]
        passes = f"the last of {len(self.passes)} passes" if len(self.passes) > 1 else "the last pass"
        raise ValueError(
            "ClosedFormHead: the prediction must be the layer's own output; got a prediction "
            f"{tuple(prediction.shape)} that differs from the output {tuple(last.output.shape)} of {passes} through "
            f"{who()}. Something after the head changes it (a residual, mask, activation or de-normalizer; move it to "
            f"the targets), or the model ran again since (call the loss at once; {LIMIT} passes with a graph, or one "
            "without, are remembered)."
        )

    def _joined(self, values: Tensor, prediction: Tensor) -> tuple[list[Capture], list[Tensor]] | None:
        """The same for a prediction that was made from several recorded passes."""
        recorded = [one for one in self.passes if one.recorded and one.intact]
        all_places = find_places(prediction, [one.output for one in recorded])
        if all_places is None:
            return None
        used = [one for one, place in zip(recorded, all_places, strict=True) if place is not None]
        return used, [values.flatten()[place] for place in all_places if place is not None]

    def knows(self, prediction: Tensor) -> bool:
        """Whether it was proven how a prediction of this shape is arranged."""
        return self.arrangements.of_shape(prediction.shape) is not None

    def in_layout(self, values: Tensor) -> Tensor:
        """Values shaped like a prediction, arranged like the layer's output, as far as it is known."""
        known, last = self.arrangements.of_shape(values.shape), self.arrangements.last
        if known is not None:
            return known.to_output(values)
        return values if last is None or last.move is None else move_channels(values, last.move)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "passes": []}


def like_output(targets: Tensor, output: Tensor) -> Tensor:
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


def in_backward() -> bool:
    """Whether the engine is running backward, as when a checkpointed block is computed once more."""
    return torch._C._current_graph_task_id() != -1


def exactly(device: torch.device) -> AbstractContextManager[Any]:
    """Plain arithmetic whatever surrounds it: no graph, no inference tensors, no autocast to lower precision."""
    if torch.is_inference_mode_enabled() or torch.is_autocast_enabled(device.type):
        return _exactly(device)
    return torch.no_grad()  # the others are off: entering them costs as much as a small solve does


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Arithmetic in the tensors' own precision, in the graph."""
    return torch.autocast(device.type, enabled=False) if torch.is_autocast_enabled(device.type) else nullcontext()


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    with torch.inference_mode(False), torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def _version(values: Tensor) -> int | None:
    return None if values.is_inference() else values._version
