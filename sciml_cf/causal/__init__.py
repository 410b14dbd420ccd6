"""Instrumental variables: what a treatment does to an outcome when both share a hidden cause."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sciml_cf.causal.deep import DeepFeatureIV
    from sciml_cf.causal.estimator import Estimator
    from sciml_cf.causal.stage_rules import StageRules

_HOMES = {"DeepFeatureIV": "deep", "Estimator": "estimator", "StageRules": "stage_rules"}

__all__ = ["DeepFeatureIV", "Estimator", "StageRules"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"sciml_cf.causal.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sciml_cf.causal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
