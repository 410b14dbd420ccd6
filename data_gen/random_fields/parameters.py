"""Laws of parameters that vary by sample, written as text: 0.01:0.1, log:0.001:0.1, or 0.01,0.03,0.1."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Interval:
    """A number between two, uniform or with a uniform logarithm.

    x = low + (high - low) v,   or   x = low (high / low)^v,   v ~ U(0, 1)

    Args:
        low: the lower bound.
        high: the upper bound.
        logarithmic: whether the logarithm is uniform; both ends are then above 0.
    """

    low: float
    high: float
    logarithmic: bool = False

    @property
    def ends(self) -> tuple[float, ...]:
        """The smallest and the largest value."""
        return self.low, self.high

    def draw(self, stream: np.random.Generator) -> float:
        """One value."""
        share = stream.random()
        if self.logarithmic:
            return min(self.low * math.exp(share * math.log(self.high / self.low)), self.high)
        return self.low + share * (self.high - self.low)

    def __str__(self) -> str:
        return f"{'log:' if self.logarithmic else ''}{self.low!r}:{self.high!r}"


@dataclass(frozen=True)
class Choice:
    """One of several numbers, each as likely.

    Args:
        values: two or more different numbers.
    """

    values: tuple[float, ...]

    @property
    def ends(self) -> tuple[float, ...]:
        """All values."""
        return self.values

    def draw(self, stream: np.random.Generator) -> float:
        """One value."""
        return self.values[int(stream.integers(len(self.values)))]

    def __str__(self) -> str:
        return ",".join(map(repr, self.values))


ParameterLaw = Interval | Choice


def parameter_law(name: str, text: str) -> ParameterLaw | float:
    """The law that a text describes; the number itself where it is one.

    ::

        LOW:HIGH        uniform between two numbers
        log:LOW:HIGH    with a uniform logarithm, both above 0
        A,B,...         one of these, each as likely

    Args:
        name: the parameter, for messages.
        text: the words.

    Raises:
        ValueError: it is none of these, its numbers are not finite, or they do not increase or repeat.
    """
    logarithmic, listed = text.startswith("log:"), "," in text
    try:
        values = [float(word) for word in text.removeprefix("log:").split("," if listed else ":")]
    except ValueError:
        values = []
    if len(values) == 1 and not logarithmic:
        return values[0]
    if not values or not all(map(math.isfinite, values)) or (logarithmic and (listed or len(values) != 2)):
        raise _unusable(name, "be a number, LOW:HIGH, log:LOW:HIGH or A,B,...", text)
    if listed:
        if len(set(values)) < len(values):
            raise _unusable(name, "list different numbers", text)
        return Choice(tuple(values))
    low, *_, high = values
    if len(values) > 2 or not low < high:
        raise _unusable(name, "be LOW:HIGH with LOW below HIGH", text)
    if logarithmic and low <= 0:
        raise _unusable(name, "have both ends above 0 for a uniform logarithm", text)
    return Interval(low, high, logarithmic)


def end_values(laws: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Parameters as numbers, at both limits of the range of those that vary: a law valid at both is valid between."""
    ends = {name: getattr(law, "ends", (law,)) for name, law in laws.items()}
    count = max(map(len, ends.values()), default=1)
    return [{name: values[min(i, len(values) - 1)] for name, values in ends.items()} for i in range(count)]


def law_texts(laws: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that are no numbers, in their canonical texts."""
    return {name: str(law) for name, law in laws.items() if hasattr(law, "ends")}


def drawn_parameter(law: ParameterLaw, name: str, *, seed: int, index: int) -> float:
    """The value of one sample: it depends on the seed, the sample and the name alone.

    It has a stream of its own, so that a sample starts from the same field whether its parameters vary or not.
    """
    key = (index, 0, *name.encode())
    return law.draw(np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key))))


def _unusable(name: str, requirement: str, text: str) -> ValueError:
    return ValueError(f"DatasetSpec: `{name}` must {requirement}; got {text!r}.")
