"""A bound layer and the state of the rule that solves it: kept in buffers, written into the layer, saved and loaded."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from sciml_cf.head.binding.arrangement import agree
from sciml_cf.head.binding.bound import BoundLayer
from sciml_cf.head.binding.layer import Layer, Written, holds_head, read_head, write_head
from sciml_cf.head.rules import Rule, State
from sciml_cf.head.rules.common.state import Known, TrackedState, known_of

_STATE_PREFIX = "rule_"


class SolvedLayer(BoundLayer):
    """A layer whose head is part of a rule's state.

    Args:
        layer: see ``BoundLayer``.
        name: see ``BoundLayer``.
        model: see ``BoundLayer``.
        rule: whose state it is.
    """

    def __init__(self, layer: Layer, rule: Rule, *, name: str | None, model: nn.Module | None) -> None:
        super().__init__(layer, name=name, model=model)
        self.rule = rule
        self._known = Known()  # what the host knows of the buffers
        self._centered = False  # whether it is settled if the head is solved around an offset
        self._written: Written

    def _begin(self, state: State) -> None:
        """Make the buffers of a state, and write its head into the layer."""
        for key, value in state.items():
            self.register_buffer(_STATE_PREFIX + key, value.to(self.layer.weight.device))
        self._write(state)

    def state(self) -> TrackedState:
        """The rule's state: named float64 tensors, among them ``head`` ``(F, C)``.

        For targets far from zero there is an ``offset`` ``(C,)`` too: the layer's bias is that of the head, and the
        offset.
        """
        own, length = self._buffers, len(_STATE_PREFIX)
        entries = {name[length:]: cast(Tensor, own[name]) for name in own if name.startswith(_STATE_PREFIX)}
        return TrackedState(entries, self._known)

    def restore(self, state: State) -> None:
        """Go back to a state taken earlier with ``state()``, and put its head into the layer."""
        if "offset" not in state:
            self._buffers.pop(_STATE_PREFIX + "offset", None)
        self._centered = "offset" in state or bool(state["head"].any())
        self._put(self.rule.completed(state))

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """Load the rule's state and put its head into the layer."""
        result = super().load_state_dict(state_dict, strict=strict, assign=assign)
        self._write(self.state())
        return result

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *others: Any) -> None:
        """Load into new buffers, for the old ones may be in somebody's ``state()``."""
        start = prefix + _STATE_PREFIX
        given = {name[len(start) :]: value for name, value in state_dict.items() if name.startswith(start)}
        if given:
            for name in self.state():
                self._buffers[_STATE_PREFIX + name] = cast(Tensor, self._buffers[_STATE_PREFIX + name]).clone()
            self._track({})
            self._centered = True
            if "offset" in given:
                self._buffers[_STATE_PREFIX + "offset"] = given["offset"].clone()
            more = self.rule.completed(given)
            state_dict = {**state_dict, **{start + name: value for name, value in more.items()}}
        super()._load_from_state_dict(state_dict, prefix, *others)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_known": Known()}

    def _put(self, state: State) -> None:
        """Go on to a state, and write its head into the layer."""
        self._hold(state)
        self._write(state)

    def _write(self, state: State) -> None:
        self._keep(write_head(self.layer, self._whole(state["head"])))

    def _whole(self, head: Tensor) -> Tensor:
        """The head with the offset of its bias, as the layer has it."""
        offset = self._buffers.get(_STATE_PREFIX + "offset")
        return head if offset is None else torch.cat([head[:-1], (head[-1] + offset.to(head))[None]])

    def _around(self, head: Tensor) -> Tensor:
        """The layer's head without the offset of its bias."""
        offset = self._buffers.get(_STATE_PREFIX + "offset")
        return head if offset is None else torch.cat([head[:-1], (head[-1] - offset.to(head))[None]])

    def _keep(self, written: Written) -> None:
        """Remember what was written, past a module's own way of setting attributes, which costs as much as writing."""
        self.__dict__["_written"] = written

    def _hold(self, state: State) -> None:
        """Put a state into the buffers, and the values that the host knows next to them."""
        for name, value in state.items():
            self._buffers[_STATE_PREFIX + name] = value
        self._track(state)

    def _track(self, state: State) -> None:
        self.__dict__["_known"] = known_of(state)

    def _accept(self) -> None:
        """Take the layer's weights as the head: they were put there on purpose, as an average of weights is."""
        told, self._told_moved = self._told_moved, True
        try:
            state = self._present()
        finally:
            self._told_moved = told
        self._put(state)

    def _present(self) -> TrackedState:
        """The rule's state. Weights that someone loaded into the layer win over the remembered head."""
        state = self.state()
        head = self._whole(state["head"])
        if head.device.type == "cpu" and (self._written.holds(self.layer, head) or holds_head(self.layer, head)):
            self._steps.moved = False
            return state
        present = read_head(self.layer)
        if head.device.type == "cpu" and agree(present, head):  # the layer was cast, and the head has more digits
            return state
        self._tell_moved(head, present)
        same = head.to(self.layer.weight.dtype).to(torch.float64) == present  # these keep float64 digits
        return state | {"head": torch.where(same, state["head"], self._around(present))}
