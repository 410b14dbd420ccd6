"""The graph of a prediction, as autograd recorded it: tags on a layer's outputs, and probes pulled back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

_KEY = "sciml_cf.head"  # in the dict that autograd keeps for each of its nodes
Mark = Any
Edge = tuple[Any, int]  # a node, and which of its outputs


def mark(output: Tensor, sign: Mark) -> None:
    """Attach a sign to an output in its graph. It lives as long as the graph does, and must not refer to its nodes."""
    node: Any = output.grad_fn
    node.metadata.setdefault(_KEY, {})[output.output_nr] = sign


def mark_of(node: Any, number: int) -> Mark | None:
    """The sign that was attached to an output of a node."""
    signs = node.metadata.get(_KEY)
    return None if signs is None else signs.get(number)


def marks_of(outputs: Sequence[Tensor]) -> Callable[[Any, int], Mark | None]:
    """Signs 0, 1, ... of some outputs that carry no marks."""
    edges = {(output.grad_fn, output.output_nr): index for index, output in enumerate(outputs)}
    return lambda node, number: edges.get((node, number))


class Trace:
    """The nodes between a prediction and outputs of a layer that it was computed from; their own graph is left out.

    Args:
        prediction: with a graph.
        sign_of: the sign of an output of a node, or None for one that is no output of the layer.
    """

    def __init__(self, prediction: Tensor, sign_of: Callable[[Any, int], Mark | None]) -> None:
        self._shape, self._dtype = prediction.shape, prediction.dtype
        self._root: Edge = (prediction.grad_fn, prediction.output_nr)
        self._ends: dict[Edge, Mark] = {}
        self._order: list[Any] = []  # every node after those that use it
        self.closed = True  # whether the prediction has no other leaves than the outputs
        self._walk(sign_of)

    @property
    def signs(self) -> list[Mark]:
        """Of the outputs that the prediction was computed from."""
        return list(self._ends.values())

    def pull_back(self, probe: Tensor, *, fixed: bool = False) -> dict[Mark, Tensor] | None:
        """What the transposed derivative of the prediction makes of a probe, at each output, by its sign.

        Args:
            probe: shaped like the prediction.
            fixed: whether other leaves of the graph may get a part of it.

        Returns:
            None if another leaf of the graph gets a part of it that is not zero, or the graph is gone.
        """
        found: dict[Mark, Tensor] = {}
        waiting: dict[Edge, Tensor] = {}

        def give(edge: Edge, part: Tensor) -> None:
            if edge in self._ends:
                sign = self._ends[edge]
                found[sign] = found[sign] + part if sign in found else part
            else:
                waiting[edge] = waiting[edge] + part if edge in waiting else part

        give(self._root, probe.to(self._dtype).reshape(self._shape))
        with torch.no_grad():
            for node in self._order:
                parts = [waiting.pop((node, number), None) for number in range(len(node._input_metadata))]
                if all(part is None for part in parts):
                    continue
                if _is_leaf(node):
                    if not fixed and any(part is not None and bool((part != 0).any()) for part in parts):
                        return None
                    continue
                try:
                    results = _called(node, parts)
                except RuntimeError:  # a backward pass has freed what the node had kept
                    return None
                for edge, part in zip(node.next_functions, results, strict=False):
                    if edge[0] is not None and part is not None:
                        give(edge, _fitted(part, edge))
        return found

    def _walk(self, sign_of: Callable[[Any, int], Mark | None]) -> None:
        if (sign := sign_of(*self._root)) is not None:
            self._ends[self._root] = sign
            return
        finished: list[Any] = []
        seen: set[Any] = set()
        stack: list[tuple[Any, bool]] = [(self._root[0], False)]
        while stack:
            node, done = stack.pop()
            if done:
                finished.append(node)
                continue
            if node in seen:
                continue
            seen.add(node)
            stack.append((node, True))
            self.closed = self.closed and not _is_leaf(node)
            for edge in node.next_functions:
                if edge[0] is None or edge in self._ends:
                    continue
                if (sign := sign_of(*edge)) is not None:
                    self._ends[edge] = sign
                elif edge[0] not in seen:
                    stack.append((edge[0], False))
        self._order = finished[::-1]


def reaches(values: Tensor, signs: Sequence[Mark]) -> bool:
    """Whether values were computed from a marked output with one of these signs."""
    wanted, seen, stack = {id(sign) for sign in signs}, set(), [values.grad_fn]
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        for following, number in node.next_functions:
            if following is None:
                continue
            if (sign := mark_of(following, number)) is not None and id(sign) in wanted:
                return True
            stack.append(following)
    return False


def _is_leaf(node: Any) -> bool:
    return hasattr(node, "variable")


def _called(node: Any, parts: list[Tensor | None]) -> Sequence[Tensor | None]:
    """What a node makes of the gradients of its outputs."""
    results: Any
    if callable(node):
        results = node(*parts)
    else:  # written in Python, and made to get zeros for what is not used
        metadata = node._input_metadata
        results = node.apply(
            *(
                torch.zeros(tuple(one.shape), dtype=one.dtype, device=one.device) if part is None else part
                for part, one in zip(parts, metadata, strict=True)
            )
        )
    return results if isinstance(results, tuple) else (results,)


def _fitted(part: Tensor, edge: Edge) -> Tensor:
    """A gradient in the shape and precision of what it belongs to, as autograd's engine would make it."""
    own = edge[0]._input_metadata[edge[1]]
    shape = tuple(own.shape)
    part = part if tuple(part.shape) == shape else part.sum_to_size(shape)
    return part if part.dtype == own.dtype else part.to(own.dtype)
