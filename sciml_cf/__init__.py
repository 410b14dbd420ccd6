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
    from sciml_cf.adaptation import Adaptation, adapt, adapted_posterior
    from sciml_cf.classification import classification_loss
    from sciml_cf.datasets import FieldDataset, split_indices
    from sciml_cf.errors import CheckpointError, HeadWarning, NotPositiveDefinite, TrainingDiverged
    from sciml_cf.estimators import ClosedFormClassifier, ClosedFormRegressor
    from sciml_cf.evaluate import evaluate_transfer
    from sciml_cf.fit_config import FitConfig
    from sciml_cf.head import (
        Automatic,
        ClosedFormHead,
        ClosedFormLoss,
        ClosedFormLosses,
        CrossEntropy,
        Every,
        Hybrid,
        Kalman,
        Moments,
        MovingAverage,
        OneHot,
        PerFeature,
        Proximal,
        RandomWalk,
        Ridge,
        Rule,
        SampledGCV,
        SquaredError,
        Streaming,
        WarmUp,
        one_hot_targets,
        proximal,
        ridge,
    )
    from sciml_cf.head.posterior import Posterior, posterior
    from sciml_cf.models import ConvConfig, FNOConfig, TFNOConfig, UNOConfig
    from sciml_cf.prediction import predict
    from sciml_cf.report import compare_runs, report_run
    from sciml_cf.rollout import evaluate_rollout, one_step_pairs
    from sciml_cf.runs import load, read_evaluation, read_posterior, save_evaluation, save_posterior
    from sciml_cf.train import History, fit

_HOMES = {
    "Automatic": "head",
    "Adaptation": "adaptation",
    "CheckpointError": "errors",
    "ClosedFormClassifier": "estimators",
    "ClosedFormHead": "head",
    "ClosedFormLoss": "head",
    "ClosedFormLosses": "head",
    "ClosedFormRegressor": "estimators",
    "classification_loss": "classification",
    "HeadWarning": "errors",
    "ConvConfig": "models",
    "CrossEntropy": "head",
    "FNOConfig": "models",
    "FieldDataset": "datasets",
    "FitConfig": "fit_config",
    "History": "train",
    "Hybrid": "head",
    "Moments": "head",
    "OneHot": "head",
    "SquaredError": "head",
    "one_hot_targets": "head",
    "MovingAverage": "head",
    "NotPositiveDefinite": "errors",
    "PerFeature": "head",
    "Posterior": "head.posterior",
    "Every": "head",
    "Kalman": "head",
    "Proximal": "head",
    "RandomWalk": "head",
    "Ridge": "head",
    "Rule": "head",
    "SampledGCV": "head",
    "Streaming": "head",
    "TrainingDiverged": "errors",
    "WarmUp": "head",
    "adapt": "adaptation",
    "adapted_posterior": "adaptation",
    "TFNOConfig": "models",
    "UNOConfig": "models",
    "compare_runs": "report",
    "evaluate_rollout": "rollout",
    "evaluate_transfer": "evaluate",
    "fit": "train",
    "load": "runs",
    "posterior": "head.posterior",
    "one_step_pairs": "rollout",
    "predict": "prediction",
    "proximal": "head",
    "read_evaluation": "runs",
    "read_posterior": "runs",
    "report_run": "report",
    "ridge": "head",
    "save_evaluation": "runs",
    "save_posterior": "runs",
    "split_indices": "datasets",
}

__all__ = [
    "Adaptation",
    "Automatic",
    "CheckpointError",
    "ClosedFormClassifier",
    "ClosedFormHead",
    "ClosedFormLoss",
    "ClosedFormLosses",
    "ClosedFormRegressor",
    "ConvConfig",
    "CrossEntropy",
    "Every",
    "FNOConfig",
    "FieldDataset",
    "FitConfig",
    "HeadWarning",
    "History",
    "Hybrid",
    "Kalman",
    "Moments",
    "MovingAverage",
    "NotPositiveDefinite",
    "OneHot",
    "PerFeature",
    "Posterior",
    "Proximal",
    "RandomWalk",
    "Ridge",
    "Rule",
    "SampledGCV",
    "SquaredError",
    "Streaming",
    "TFNOConfig",
    "TrainingDiverged",
    "UNOConfig",
    "WarmUp",
    "adapt",
    "adapted_posterior",
    "classification_loss",
    "compare_runs",
    "evaluate_rollout",
    "evaluate_transfer",
    "fit",
    "load",
    "one_hot_targets",
    "one_step_pairs",
    "posterior",
    "predict",
    "proximal",
    "read_evaluation",
    "read_posterior",
    "report_run",
    "ridge",
    "save_evaluation",
    "save_posterior",
    "split_indices",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"sciml_cf.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'sciml_cf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
