"""The channels of a window of states, and the next input of a one-step model from its own output."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Sized
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from data_gen.formats import Facts
from sciml_cf.datasets.items import items_at
from sciml_cf.errors import check_count

Advance = Callable[[Tensor], Tensor]  # (B, C, *N) inputs -> (B, C', *N) outputs, both physical


@dataclass(frozen=True, kw_only=True)
class Steps:
    """States of a window as channels: ordered by time and then by component, whatever is no state after them.

    ::

        x = (u(t_1-n), ..., u(t_0), constants),   y = (u(t_1), ..., u(t_m))

    Args:
        inputs: states n of an input.
        outputs: states m of an output.
        components: channels of one state.
    """

    inputs: int = 1
    outputs: int = 1
    components: int = 1

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs", "components"):
            check_count("Steps", name, getattr(self, name))

    @property
    def states(self) -> int:
        """Channels of an input that are states; those after them (parameters, a mask) stay in a roll-out."""
        return self.inputs * self.components

    @property
    def residual(self) -> tuple[int, ...]:
        """The input channel that an increment of each output channel starts from: the last state's."""
        return tuple(range(self.states - self.components, self.states)) * self.outputs

    def advance(self, x: Tensor, y: Tensor) -> Tensor:
        """The input after x, with the states y ``(B, m C, *N)`` that came after it."""
        states = torch.cat([x[:, : self.states], y.to(x.dtype)], dim=1)[:, -self.states :]
        return torch.cat([states, x[:, self.states :]], dim=1)

    def roll(self, model: Advance, x: Tensor, count: int) -> Tensor:
        """``(B, count * m C, *N)``: the outputs of a model that is applied to its own output again and again."""
        outputs = []
        for number in range(count):
            y = model(x)
            outputs.append(y)
            if number + 1 < count:
                x = self.advance(x, y)
        return torch.cat(outputs, dim=1)


def arranged_by(given: Facts | None, components: int) -> Steps:
    """How states of so many components are arranged in the windows of ``given``; by default one state to the next."""
    given = given or Facts()
    return Steps(inputs=given.input_steps or 1, outputs=given.output_steps or 1, components=components)


def steps_of(function: str, data: Dataset[Any], *, unroll: int = 1) -> Steps:
    """How the items of a dataset are arranged: as it says itself (its attribute ``steps``), else one state to the next.

    Args:
        function: who asks, for messages.
        data: items ``{"x": (C + constants, *N), "y": (k C, *N)}``.
        unroll: k, outputs of the model in an item's target.

    Raises:
        ValueError: the target is no field of the input's components.
    """
    own = getattr(data, "steps", None)
    if isinstance(own, Steps):
        return own
    with torch.random.fork_rng(devices=[]):
        item = data[0]
    given, wanted = item["x"].shape[0], item["y"].shape[0]
    if wanted % unroll or wanted // unroll > given:
        raise ValueError(
            f"{function}: `train` must map states to the same states later, for `residual` and `unroll` {unroll}; got "
            f"{given} channels of x and {wanted} of y."
        )
    return Steps(components=wanted // unroll)


class SingleSteps(Dataset[dict[str, Tensor]]):
    """Items of k outputs each as items of one, rolled on with the true states: item i is step i mod k of item i // k.

    Args:
        data: items ``{"x": (n C + constants, *N), "y": (k m C, *N)}``.
        steps: of one output.
        count: k.
    """

    def __init__(self, data: Dataset[dict[str, Tensor]], steps: Steps, count: int) -> None:
        self._data, self._steps, self._count = data, steps, count
        self.known, self.lazy = getattr(data, "known", None), getattr(data, "lazy", False)
        self.steps, self.windows = steps, getattr(data, "windows", {})

    def __len__(self) -> int:
        return len(cast(Sized, self._data)) * self._count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        return self._step_of(self._data[index // self._count], index % self._count)

    def __getitems__(self, numbers: Sequence[int]) -> list[dict[str, Tensor]]:
        """Items by their numbers."""
        whole = sorted({number // self._count for number in numbers})
        items = dict(zip(whole, items_at(self._data, whole), strict=True))
        return [self._step_of(items[number // self._count], number % self._count) for number in numbers]

    def _step_of(self, item: dict[str, Tensor], step: int) -> dict[str, Tensor]:
        x, parts = item["x"][None], item["y"][None].chunk(self._count, dim=1)
        for number in range(step):
            x = self._steps.advance(x, parts[number])
        return {**item, "x": x[0], "y": parts[step][0]}
