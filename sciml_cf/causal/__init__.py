"""Instrumental variables: what a treatment does to an outcome when both share a hidden cause."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml_cf.causal.archive import read_hearts
    from sciml_cf.causal.data import InstrumentalData, StructuralData
    from sciml_cf.causal.deep import DeepFeatureIV
    from sciml_cf.causal.demand_design import demand, demand_structural, demand_test
    from sciml_cf.causal.direct import ConstantOutcome, DirectRegression
    from sciml_cf.causal.dsprites_design import dsprites, dsprites_structural, dsprites_test
    from sciml_cf.causal.estimator import Estimator
    from sciml_cf.causal.hearts import latent_values, render_hearts
    from sciml_cf.causal.kernel_iv import KernelIV
    from sciml_cf.causal.least_squares import TwoStageLeastSquares
    from sciml_cf.causal.sine_design import sine_structural, sine_test, sine_toy
    from sciml_cf.causal.stage_rules import StageRules

_HOMES = {
    "ConstantOutcome": "direct",
    "DeepFeatureIV": "deep",
    "DirectRegression": "direct",
    "Estimator": "estimator",
    "InstrumentalData": "data",
    "KernelIV": "kernel_iv",
    "StageRules": "stage_rules",
    "StructuralData": "data",
    "TwoStageLeastSquares": "least_squares",
    "demand": "demand_design",
    "demand_structural": "demand_design",
    "demand_test": "demand_design",
    "dsprites": "dsprites_design",
    "dsprites_structural": "dsprites_design",
    "dsprites_test": "dsprites_design",
    "latent_values": "hearts",
    "read_hearts": "archive",
    "render_hearts": "hearts",
    "sine_structural": "sine_design",
    "sine_test": "sine_design",
    "sine_toy": "sine_design",
}

__all__ = [
    "ConstantOutcome",
    "DeepFeatureIV",
    "DirectRegression",
    "Estimator",
    "InstrumentalData",
    "KernelIV",
    "StageRules",
    "StructuralData",
    "TwoStageLeastSquares",
    "demand",
    "demand_structural",
    "demand_test",
    "dsprites",
    "dsprites_structural",
    "dsprites_test",
    "latent_values",
    "read_hearts",
    "render_hearts",
    "sine_structural",
    "sine_test",
    "sine_toy",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"sciml_cf.causal.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sciml_cf.causal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
