"""Operator surrogates with a closed-form last layer. The public names below are imported when they are first used."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import data_gen

if getattr(data_gen, "__project__", None) != "sciml_cf":
    raise ImportError(
        f"sciml_cf: the package `data_gen` must be its own; got {getattr(data_gen, '__file__', None) or data_gen}. "
        "Another folder of that name comes first on the path: rename it, or start Python elsewhere."
    )

try:
    __version__ = version("sciml-cf")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from sciml_cf.datasets import FieldDataset, split_indices
    from sciml_cf.errors import CheckpointError, NotPositiveDefinite, TrainingDiverged
    from sciml_cf.evaluate import evaluate_transfer
    from sciml_cf.fit_config import FitConfig
    from sciml_cf.head import ClosedFormHead, ClosedFormLoss, Every, Moments, Proximal, Ridge, Rule, proximal, ridge
    from sciml_cf.models import ConvConfig, FNOConfig, TFNOConfig, UNOConfig
    from sciml_cf.report import compare_runs, report_run
    from sciml_cf.rollout import evaluate_rollout, one_step_pairs
    from sciml_cf.runs import load, predict, read_evaluation, save_evaluation
    from sciml_cf.train import History, fit

_HOMES = {
    "CheckpointError": "errors",
    "ClosedFormHead": "head",
    "ClosedFormLoss": "head",
    "ConvConfig": "models",
    "FNOConfig": "models",
    "FieldDataset": "datasets",
    "FitConfig": "fit_config",
    "History": "train",
    "Moments": "head",
    "NotPositiveDefinite": "errors",
    "Every": "head",
    "Proximal": "head",
    "Ridge": "head",
    "Rule": "head",
    "TFNOConfig": "models",
    "TrainingDiverged": "errors",
    "UNOConfig": "models",
    "compare_runs": "report",
    "evaluate_rollout": "rollout",
    "evaluate_transfer": "evaluate",
    "fit": "train",
    "load": "runs",
    "one_step_pairs": "rollout",
    "predict": "runs",
    "proximal": "head",
    "read_evaluation": "runs",
    "report_run": "report",
    "ridge": "head",
    "save_evaluation": "runs",
    "split_indices": "datasets",
}

__all__ = [
    "CheckpointError",
    "ClosedFormHead",
    "ClosedFormLoss",
    "ConvConfig",
    "Every",
    "FNOConfig",
    "FieldDataset",
    "FitConfig",
    "History",
    "Moments",
    "NotPositiveDefinite",
    "Proximal",
    "Ridge",
    "Rule",
    "TFNOConfig",
    "TrainingDiverged",
    "UNOConfig",
    "compare_runs",
    "evaluate_rollout",
    "evaluate_transfer",
    "fit",
    "load",
    "one_step_pairs",
    "predict",
    "proximal",
    "read_evaluation",
    "report_run",
    "ridge",
    "save_evaluation",
    "split_indices",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"sciml_cf.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sciml_cf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
