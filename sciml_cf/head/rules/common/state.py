"""A rule's state with the numbers that the host wrote, and the report of a solve that it awaits."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sciml_cf.head.solution import check_jitter

State = dict[str, Tensor]


class Report:
    """Numbers that a device is still computing, on their way to the host; reading them waits for those alone."""

    def __init__(self, number: Tensor) -> None:
        self._event = None
        self._number = number
        self.travels = number.is_cuda
        if self.travels:
            self._number = torch.empty(number.shape, dtype=number.dtype, pin_memory=True)
            self._number.copy_(number, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def values(self) -> list[float]:
        if self._event is not None:
            self._event.synchronize()
        return self._number.reshape(-1).tolist()


class JitterReport:
    """The jitter of a solve that nobody has checked yet; ``check`` warns or raises for it, once.

    Args:
        jitter: () of the state after the solve; not finite where the solve failed.
        warns: whether a jitter above zero is still to be warned of.
    """

    def __init__(self, jitter: Tensor, *, warns: bool = True) -> None:
        self.jitter = jitter
        self.checked = False
        self._warns = warns
        self._report = Report(jitter)

    def check(self) -> None:
        """Raise NotPositiveDefinite or give a JitterWarning, unless this was called before."""
        if self.checked:
            return
        self.checked = True
        jitter = self._report.values()[0]
        if self._warns or not math.isfinite(jitter):
            check_jitter(jitter)


class _Number(NamedTuple):
    tensor: Tensor
    version: int
    value: float


class Known(NamedTuple):
    """What the host knows of a state.

    Attributes:
        numbers: of entries (), by name: see ``with_number``.
        report: of the last solve, if that was not waited for.
    """

    numbers: Mapping[str, _Number] = {}
    report: JitterReport | None = None


_NOTHING = Known()


class TrackedState(dict[str, Tensor]):
    """A state that carries what the host knows of its entries, so that reading them does not wait for a device.

    ``state | entries`` keeps that knowledge; ``{**state}`` and a saved state are plain dictionaries, which work too.
    Knowledge of an entry counts while the entry is the same tensor, unchanged: it may be carried too far, never wrong.

    Args:
        entries: named tensors.
        known: of them.
    """

    __slots__ = ("known",)

    def __init__(self, entries: Mapping[str, Tensor], known: Known = _NOTHING) -> None:
        super().__init__(entries)
        self.known = known

    def __or__(self, other: Mapping[str, Tensor]) -> TrackedState:  # pyright: ignore[reportIncompatibleMethodOverride]
        known = self.known
        if isinstance(other, TrackedState):
            known = Known({**known.numbers, **other.known.numbers}, other.known.report or known.report)
        return TrackedState({**self, **other}, known)

    def __ror__(self, other: Mapping[str, Tensor]) -> TrackedState:  # pyright: ignore[reportIncompatibleMethodOverride]
        return TrackedState({**other, **self}, self.known)

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy and a file hold the tensors alone, as a dictionary that torch.load takes for plain weights.
        return OrderedDict, (), None, None, iter(self.items())


def known_of(state: State) -> Known:
    """What the host knows of a state; nothing of a plain dictionary."""
    return state.known if isinstance(state, TrackedState) else _NOTHING


def number_in(state: State, name: str) -> float:
    """The value of an entry (), without a wait if the host wrote it and nothing has changed it since."""
    known = known_number(state, name)
    return state[name].item() if known is None else known


def known_number(state: State, name: str) -> float | None:
    """The value of an entry () if the host knows it."""
    known = known_of(state).numbers.get(name)
    if known is None or known.tensor is not state.get(name) or known.version != known.tensor._version:
        return None
    return known.value


def with_number(state: State, name: str, value: float, **others: Tensor) -> TrackedState:
    """The state with a new value of an entry (), which the host then knows, and with other new entries."""
    known = known_of(state)
    if known_number(state, name) == value:
        return TrackedState({**state, **others}, known)
    tensor = torch.full_like(state[name], value)
    numbers = {**known.numbers, name: _Number(tensor, tensor._version, value)}
    return TrackedState({**state, **others, name: tensor}, Known(numbers, known.report))


def with_report(state: State, report: JitterReport, **others: Tensor) -> TrackedState:
    """The state with the jitter of a solve that nobody has checked yet, and with other new entries."""
    return TrackedState({**state, **others, "jitter": report.jitter}, Known(known_of(state).numbers, report))


def report_of(state: State) -> JitterReport | None:
    """The report of the solve that left the state's jitter, if it was not waited for."""
    report = known_of(state).report
    return report if report is not None and report.jitter is state.get("jitter") else None
