"""Input and output of a linear layer in its last forward passes, kept by a hook that no copy takes along."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sciml_cf.head.binding.arrangement import Arrangement, Arrangements, move_channels, places_in
from sciml_cf.head.binding.calls import Call
from sciml_cf.head.binding.graph import Trace, mark, mark_of, reaches

Layout = Callable[[Tensor], Tensor]  # from values shaped like a prediction to those shaped like an output
_Versions = tuple[int | None, int | None]
# What compiles the frames that run now, or None.
_compiler: Callable[[], Any] = cast(Any, torch._C)._dynamo.eval_frame.get_eval_frame_callback
_UNDISTURBED: list[Callable[..., None]] = []  # made once it is needed, for it loads the compiler


class Capture:
    """One pass through the layer: its input, its output, and whether either was changed in place since.

    Attributes:
        features: the input, in its graph.
        output: its numbers.
        recorded: whether the pass is part of a graph.
        call: of the module around the layer, as far as it is known.
        repeated: whether a pass without a graph came after another one in the same call.
    """

    def __init__(
        self,
        features: Tensor,
        output: Tensor,
        *,
        recorded: bool = False,
        call: Call | None = None,
        versions: _Versions | None = None,
    ) -> None:
        self.features = features
        self.output = output.detach() if recorded else output
        self.recorded = recorded
        self.call = call
        self.repeated = False
        self.versions = versions or (_version(features), _version(output))
        self._given = weakref.ref(output)

    def gave(self, prediction: Tensor | None) -> bool:
        """Whether a prediction is the very output of the layer."""
        return prediction is not None and self._given() is prediction

    @property
    def intact(self) -> bool:
        """Whether input and output still hold what they held when the layer ran."""
        return self.versions == (_version(self.features), _version(self.output))


class Hook:
    """A forward hook that reports each pass of the layer to its owner, for as long as the owner lives.

    The layer does not keep the owner alive. A copy or pickle of the layer gets a hook without an owner, so that the
    copy of a model (an average of weights, a target network) never reports to the head of the original.
    """

    def __init__(self, method: Callable[..., None] | None = None) -> None:
        self._method = None if method is None else weakref.WeakMethod(method)

    @property
    def owner(self) -> Any:
        """The object whose method is called, or None."""
        method = None if self._method is None else self._method()
        return None if method is None else getattr(method, "__self__", None)

    def __call__(self, module: nn.Module, inputs: tuple[Tensor, ...], *others: Any) -> None:
        named, output = others if len(others) > 1 else ({}, *others)  # quantization moves hooks, and drops a flag
        method = None if self._method is None else self._method()
        if method is not None:
            report = _undisturbed() if torch.compiler.is_dynamo_compiling() or _compiler() is not None else _report
            report(method, module, inputs[0] if inputs else named["input"], output)

    __call__._torchdynamo_disable = True  # pyright: ignore[reportFunctionMemberAccess]

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return type(self), ()


class Relay(Hook):
    """The same for hooks of any other kind: what they are given goes on to the owner's method, who returns nothing."""

    def __call__(self, *passed: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        if (method := None if self._method is None else self._method()) is not None:
            method(*passed)


def _report(method: Callable[..., None], *passed: Any) -> None:
    method(*passed)


def _undisturbed() -> Callable[..., None]:
    """``_report``, which no compiler looks into."""
    if not _UNDISTURBED:
        _UNDISTURBED.append(cast(Any, torch.compiler.disable)(_report))
    return _UNDISTURBED[0]


def hooks_of(layer: nn.Module) -> list[Hook]:
    """The hooks of this kind on a layer."""
    return [hook for hook in layer._forward_hooks.values() if isinstance(hook, Hook)]


class Captures:
    """The passes through one layer since they were last taken, and how predictions are arranged from its outputs.

    A pass that belongs to a graph lives as long as that graph does: whoever drops its output, and all that was computed
    from it, frees the graph as well. The numbers of the last pass are kept without a graph, and of the passes that
    never had one only the last.
    """

    def __init__(self) -> None:
        self._kept: list[Callable[[], Capture | None]] = []
        self._last: Capture | None = None
        self._numbers: tuple[Tensor, Tensor, Call | None, _Versions] | None = None  # to make it of, once it is needed
        self.arrangements = Arrangements()

    @property
    def passes(self) -> list[Capture]:
        """Those that are alive, in the order in which they were made."""
        alive = [kept() for kept in self._kept]
        if alive and alive[-1] is None:
            if self._last is None and self._numbers is not None:
                features, output, call, versions = self._numbers
                self._last = Capture(features, output, call=call, versions=versions)
            alive[-1] = self._last
        return [one for one in alive if one is not None]

    @passes.setter
    def passes(self, passes: list[Capture]) -> None:
        if not passes:
            self._last, self._numbers, self._kept = None, None, []
            return
        self._kept = [weakref.ref(one) if one.recorded else _always(one) for one in passes]

    @property
    def empty(self) -> bool:
        """Whether there are none; the last one is there until it is taken."""
        return not self._kept

    def add(self, features: Tensor, output: Tensor, call: Call | None = None) -> None:
        """Remember a pass with all that belong to a graph; of those that do not, only the last is kept."""
        recorded = output.requires_grad and output.grad_fn is not None
        new = Capture(features, output, recorded=recorded, call=call)
        old = [one for one in self.passes if one is not self._last] if self._kept else []
        if recorded:
            mark(output, new)
            self._last, self._numbers = None, (features.detach(), new.output, call, new.versions)
        else:
            new.repeated = any(not one.recorded and _same_call(one, new) and not _alike(one, new) for one in old)
            old = [one for one in old if one.recorded]
        self.passes = [*old, new]

    def take(
        self, targets: Tensor, prediction: Tensor | None, who: Callable[[], str]
    ) -> tuple[list[Capture], list[Layout]]:
        """The passes behind a prediction (or the last one), and how values shaped like it become like their outputs.

        Those and all before them are forgotten, and passes without a graph. Later ones may belong to the next
        prediction: two passes, then two losses in the same order. After an error all are forgotten.
        """
        passes = self.passes
        try:
            used, layouts = self._find(passes, targets, prediction, who)
            _check_once(used, passes, who)
        except ValueError:
            self.passes = []
            raise
        if used[-1] is passes[-1]:
            self.passes = []
            return used, layouts
        last = max(index for index, one in enumerate(passes) if any(one is other for other in used))
        self.passes = [one for one in passes[last + 1 :] if one.recorded]
        return used, layouts

    def _find(
        self, passes: list[Capture], targets: Tensor, prediction: Tensor | None, who: Callable[[], str]
    ) -> tuple[list[Capture], list[Layout]]:
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
            return self.match(prediction, who, passes)
        last = passes[-1]
        if not last.intact:
            raise ValueError(
                f"ClosedFormHead: the input and output of layer {who()} must stay as they are until the solve; "
                "got one changed in place. Use the out-of-place operation after the head."
            )
        like_output(targets, last.output)
        return [last], [partial(like_output, output=last.output)]

    def match(
        self, prediction: Tensor, who: Callable[[], str], passes: list[Capture] | None = None
    ) -> tuple[list[Capture], list[Layout]]:
        """The passes that a prediction was made from, and how values shaped like it become like each of their outputs.

        Raises:
            ValueError: the prediction is not made of the outputs alone.
        """
        passes = self.passes if passes is None else passes
        if passes[-1].gave(prediction) and passes[-1].intact:
            return [passes[-1]], [unchanged]
        found = _one_of(passes, prediction, self.arrangements.in_memory)
        if found is None and prediction.requires_grad:
            found = self._in_graph(passes, prediction)
        elif found is None:  # the values decide
            found = _one_of(passes, prediction, self.arrangements.find)
        if found is not None:
            used, arrangements = zip(*found, strict=True)
            return list(used), [
                one.to_output if isinstance(one, Arrangement) else partial(_placed, one) for one in arrangements
            ]
        last = passes[-1]
        which = f"the last of {len(passes)} passes" if len(passes) > 1 else "the last pass"
        raise ValueError(
            "ClosedFormHead: the prediction must be the layer's own output; got a prediction "
            f"{tuple(prediction.shape)} that differs from the output {tuple(last.output.shape)} of {which} through "
            f"{who()}. Something after the head changes it (a residual, gate, mask, activation or de-normalizer; move "
            "it to the targets), or the model ran again since (keep the prediction's graph, and call the loss at once)."
        )

    def _in_graph(self, passes: list[Capture], prediction: Tensor) -> _Found | None:
        """The passes that a prediction leads to in its graph."""
        order = {id(one): index for index, one in enumerate(passes) if one.intact}

        def sign_of(node: Any, number: int) -> Capture | None:
            sign = mark_of(node, number)
            return sign if id(sign) in order else None

        trace = Trace(prediction, sign_of)
        used: list[Capture] = sorted(trace.signs, key=lambda one: order[id(one)])
        if len(used) == 1:
            found = self.arrangements.find(prediction, used[0].output, trace)
            return None if found is None else [(used[0], found)]
        places = places_in(prediction, trace, {one: one.output for one in used}) if used else None
        return None if places is None else [(one, places[one]) for one in used]

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
        return {**self.__dict__, "_kept": [], "_last": None, "_numbers": None}


_Found = list[tuple[Capture, Arrangement | Tensor]]  # passes, and how a prediction is arranged from each


def _one_of(
    passes: list[Capture], prediction: Tensor, find: Callable[[Tensor, Tensor], Arrangement | None]
) -> _Found | None:
    """The last pass from whose output alone a prediction is arranged, as ``find`` shows."""
    for one in reversed(passes):
        found = find(prediction, one.output) if one.intact else None
        if found is not None:
            return [(one, found)]
    return None


def unchanged(values: Tensor) -> Tensor:
    """The layout of a prediction that is the layer's output itself."""
    return values


def _placed(places: Tensor, values: Tensor) -> Tensor:
    return values.flatten()[places]


def _always(one: Capture) -> Callable[[], Capture]:
    return lambda: one


def _same_call(one: Capture, other: Capture) -> bool:
    return one.call is not None and other.call is not None and one.call.same(other.call)


def _alike(one: Capture, other: Capture) -> bool:
    """Whether two passes saw the same features, as when the whole model runs again on the same inputs."""
    return one.features.shape == other.features.shape and torch.equal(one.features, other.features)


def _check_once(used: list[Capture], passes: list[Capture], who: Callable[[], str]) -> None:
    """Raise ValueError if the features of a pass follow from another output of the layer in the same forward pass."""
    if len(passes) == len(used) == 1 and not used[0].repeated:
        return
    others = [one for one in passes if one.recorded and not any(one is other for other in used)]
    for one in used:
        before = [other for other in others if _same_call(one, other)]
        if one.repeated or (before and reaches(one.features, before)):
            raise ValueError(
                f"ClosedFormHead: layer {who()} must be used once in a forward pass; got a prediction whose features "
                "follow from another output of it. Its head would change its own features: give the last layer "
                "weights of its own, or join all outputs in the prediction."
            )


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
