"""The theorems of the closed-form last layer as functions of numbers: what they say, and what breaks them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml_cf.theory.filters import filter_rows
    from sciml_cf.theory.flows import Flow, kernel_flow
    from sciml_cf.theory.function_space import (
        attained,
        least_residual,
        solved_gradient,
        solved_head,
        solved_loss,
        steepest_curvature,
    )
    from sciml_cf.theory.gradients import backbone_gradients, gradient_distance
    from sciml_cf.theory.landscape import TwoParameterNet
    from sciml_cf.theory.one_step import excess_left, steps_to_share, worst_share_left
    from sciml_cf.theory.wide import WideNet

_HOMES = {
    "Flow": "flows",
    "TwoParameterNet": "landscape",
    "WideNet": "wide",
    "attained": "function_space",
    "backbone_gradients": "gradients",
    "excess_left": "one_step",
    "filter_rows": "filters",
    "gradient_distance": "gradients",
    "kernel_flow": "flows",
    "least_residual": "function_space",
    "solved_gradient": "function_space",
    "solved_head": "function_space",
    "solved_loss": "function_space",
    "steepest_curvature": "function_space",
    "steps_to_share": "one_step",
    "worst_share_left": "one_step",
}

__all__ = [
    "Flow",
    "TwoParameterNet",
    "WideNet",
    "attained",
    "backbone_gradients",
    "excess_left",
    "filter_rows",
    "gradient_distance",
    "kernel_flow",
    "least_residual",
    "solved_gradient",
    "solved_head",
    "solved_loss",
    "steepest_curvature",
    "steps_to_share",
    "worst_share_left",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"sciml_cf.theory.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sciml_cf.theory' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
