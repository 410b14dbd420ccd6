"""Shared by the two studies of deep-feature instrumental variables: folders, methods by name, trials, errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from sciml_cf.causal import InstrumentalData, StageRules, StructuralData
from sciml_cf.causal.deep import HeadName
from sciml_cf.head import Kalman, Proximal, SampledGCV, strength_from_paper

DATA_FOLDER = "data"
HEADS: tuple[HeadName, ...] = ("current", "refit")
Candidates = list[dict[str, Any]]


def rules_of(settings: Mapping[str, Any], *, rows: int) -> StageRules:
    """Stage rules from plain settings: a name, and the paper's coefficients on sums over a batch of so many rows."""
    first, second, inner = (
        strength_from_paper(settings.get(f"lambda_{stage}", settings["lambda_1"]), rows=rows) for stage in (1, 2, 12)
    )
    if settings["rule"] == "streaming":
        return StageRules(Proximal(first), Proximal(second), Kalman(settings["forgetting"], inner))
    if settings["rule"] == "gcv":
        return StageRules(Proximal(first), Proximal(second), SampledGCV())
    return StageRules.named(settings["rule"], first, second, inner)


def settled(values: Sequence[float]) -> float:
    """The median of the last four measurements: a current head differs from batch to batch."""
    return float(np.median(values[-4:]))


def mean_square(prediction: Any, part: StructuralData) -> float:
    """Mean squared error against the structural function."""
    return float(np.square(np.asarray(prediction) - part.structural).mean())


@lru_cache(maxsize=1)
def load_training(path: Path) -> InstrumentalData:
    """A file of training samples; trials of one seed, one after another in a process, share what was read."""
    return InstrumentalData.load(path)


@lru_cache(maxsize=2)
def load_structural(path: Path) -> StructuralData:
    """A file of validation or test points, read once in a process."""
    return StructuralData.load(path)
