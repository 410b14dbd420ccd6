"""Rules: how a head follows from the moments of a batch and the state it carries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from sciml_cf.head.moments import Moments
from sciml_cf.head.solve import check_strength, solve_head

State = dict[str, Tensor]


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


@dataclass(frozen=True)
class Ridge(Rule):
    """Each batch's own ridge solution; forgets the previous head. Needs large batches (paper, section 6).

    Args:
        strength: b >= 0 on the mean loss (paper: beta = rows * b).
    Source: arXiv:2510.04606, Eq. (9) and (11).
    """

    strength: float = 1e-4

    def __post_init__(self) -> None:
        check_strength("Ridge", self.strength, allow_zero=True)

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        return _solved(state, moments, self.strength, previous=None)


@dataclass(frozen=True)
class Proximal(Rule):
    """Least squares on the batch, held near the previous head; the paper's method.

    Args:
        strength: s > 0 on the mean loss (paper: lambda = rows * s).
    Source: arXiv:2510.04606, Eq. (13) and (17).
    """

    strength: float = 1e-2

    def __post_init__(self) -> None:
        check_strength("Proximal", self.strength)

    def update(self, state: State, moments: Moments) -> tuple[Tensor, State]:
        return _solved(state, moments, self.strength, previous=state["head"])


def _solved(state: State, moments: Moments, penalty: float, previous: Tensor | None) -> tuple[Tensor, State]:
    solution = solve_head(moments, penalty=penalty, previous=previous)
    jitter = torch.full_like(state["jitter"], solution.jitter)
    return solution.head, {**state, "head": solution.head, "jitter": jitter}
