"""The head layer of a model: the last linear layer, by order of registration or by a run on an example."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from sciml_cf.errors import check_choice
from sciml_cf.head.binding.layer import Layer, is_head_layer
from sciml_cf.normalization import dtype_of, normalization_of


def find_head(model: nn.Module, x: Any = None) -> Layer:
    """The last layer of ``model`` that can be solved in closed form.

    With an example input the model runs once on it, in evaluation mode and without gradients, and the last such layer
    that runs is taken. Mode, hooks, buffers and random state are then as before. Without one it is the last layer in
    the order of registration, which is the order in which a constructor makes them.

    Args:
        model: any module.
        x: a batch that the model takes, or a tuple of its arguments; one sample is enough.

    Raises:
        ValueError: the model has no nn.Linear and no 1x1 convolution, none of them runs, the last one runs more than
            once, or the model fails on the example.
    """
    if x is not None:
        return _last_of(model, x if isinstance(x, tuple) else (x,))
    layers = [module for module in model.modules() if is_head_layer(module)]
    if not layers:
        raise _none(model, "contain")
    return layers[-1]  # type: ignore[return-value]


def layer_of(function: str, model: nn.Module, head: nn.Module | str | None, *, example: Any = None) -> Any:
    """The layer that ``head`` says: a layer, the dotted name of one, or None for the model's last linear layer.

    Args:
        function: that messages name.
        model: the model.
        head: see above.
        example: a batch; the last layer is then the one that runs last on it. Ignored if it is no tensor.

    Raises:
        ValueError: the model has no layer of that name, or none that can be a head.
    """
    if head is None:
        return head_on(model, example) if isinstance(example, Tensor) else find_head(model)
    if not isinstance(head, str):
        return head
    named = {name: module for name, module in model.named_modules() if name}
    if head not in named:
        check_choice(function, "head", head, tuple(name for name, module in named.items() if is_head_layer(module)))
    return named[head]


def head_on(model: nn.Module, x: Tensor) -> Layer:
    """The last linear layer that runs on a batch; by order of registration where the model fails on it.

    Whoever asks runs the model on such a batch afterwards, and says more of the failure. A layer that runs several
    times is taken: whether the prediction is made of its outputs alone is proven later.
    """
    try:
        able = layers_that_run(model, (example_for(model, x),))
    except Exception:  # a model may fail in any way
        able = []
    return able[-1] if able else find_head(model)


def layers_that_run(model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any] | None = None) -> list[Layer]:
    """The layers that could be a head and run on these arguments, in their order; the model is left as it was."""
    ran = _run(model, arguments, named or {})
    return [module for module in ran if is_head_layer(module)]  # type: ignore[misc]


def example_for(model: nn.Module, x: Tensor) -> Tensor:
    """Inputs on the model's device and, unless they are integers or it normalizes them itself, in its precision."""
    device = next((one.device for one in model.parameters()), x.device)
    own = x.is_floating_point() and normalization_of(model) is None
    return x.to(device, dtype_of(model) if own else None)


def _last_of(model: nn.Module, arguments: tuple[Any, ...]) -> Layer:
    try:
        able = layers_that_run(model, arguments)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(
            str(tuple(one.shape)) if isinstance(one, Tensor) else type(one).__name__ for one in arguments
        )
        raise ValueError(
            f"find_head: `x` must be a batch that the model takes; got {shapes} ({' '.join(str(error).split())[:150]})."
        ) from error
    if not able:
        raise _none(model, "run")
    times = sum(module is able[-1] for module in able)
    if times > 1:
        name = next(name for name, module in model.named_modules() if module is able[-1])
        raise ValueError(
            f"find_head: `model` must run its last linear layer once in a forward pass; got {name!r}, which runs "
            f"{times} times. Name the head yourself."
        )
    return able[-1]


def _run(model: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> list[nn.Module]:
    """The modules that run on a batch, in their order; the model is left as it was."""
    ran: list[nn.Module] = []
    hooks = [module.register_forward_hook(lambda own, *_: ran.append(own)) for module in model.modules()]
    try:
        with _left_alone(model), torch.no_grad():
            model(*arguments, **named)
    finally:
        for hook in hooks:
            hook.remove()
    return ran


@contextmanager
def _left_alone(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; modes, buffers and the random state are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, _version(buffer), buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not isinstance(buffer, nn.parameter.UninitializedBuffer)
    ]
    devices = sorted({one.device.index for one in model.parameters() if one.device.type == "cuda"})
    try:
        with torch.random.fork_rng(devices=devices):
            model.eval()
            yield
    finally:
        for module, training in modes:
            module.training = training
        for module, name, buffer, version, before in buffers:
            if _version(buffer) != version:
                with torch.no_grad():
                    buffer.copy_(before)
            module._buffers[name] = buffer


def _none(model: nn.Module, verb: str) -> ValueError:
    return ValueError(
        f"find_head: `model` must {verb} an nn.Linear or a 1x1 convolution; got {type(model).__name__} with none."
    )


def _version(buffer: Tensor) -> int | None:
    return None if buffer.is_inference() else buffer._version
