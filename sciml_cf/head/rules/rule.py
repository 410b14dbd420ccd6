"""What a rule is: settings, a state, and one update."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments

State = dict[str, Tensor]
Penalty = float | Tensor  # P: a multiple of the identity, (F,) a diagonal, or (F, F)


class Rule(ABC):
    """One way to turn moments into a head. Subclasses are frozen dataclasses that hold only settings.

    The state is a dict of float64 tensors of fixed shapes. It always holds ``head`` (F, C), the head that the last
    update returned, and ``jitter`` (), the relative diagonal shift that its solve needed.
    """

    def init(self, num_features: int, num_outputs: int) -> State:
        """State before the first update: the zero head (the paper's default, section 4.1)."""
        return {
            "head": torch.zeros(num_features, num_outputs, dtype=torch.float64),
            "jitter": torch.zeros((), dtype=torch.float64),
        }

    @abstractmethod
    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        """Head (F, C) float64 for these moments, and the state to hand to the next update."""

    def problem(self, state: State, moments: Moments) -> tuple[Moments, Penalty] | None:
        """The moments that ``update`` solves on and the penalty P beside them, for diagnostics; None if unknown."""
        return None

    def passes_over(self, state: State) -> State | None:
        """The state after a step whose moments this rule would not look at; None if it wants them (as most do)."""
        return None
