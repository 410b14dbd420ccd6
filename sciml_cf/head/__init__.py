"""The closed-form head: moments, the one solve, rules on it, and the seams to a model; on torch, numpy and scipy."""

from sciml_cf.head.attach import ClosedFormHead
from sciml_cf.head.binding.layer import find_head
from sciml_cf.head.diagnostics import Diagnostics, diagnose
from sciml_cf.head.initial import Initial
from sciml_cf.head.labels import one_hot_targets
from sciml_cf.head.loss import ClosedFormLoss
from sciml_cf.head.moments import Moments
from sciml_cf.head.monitor import Steps
from sciml_cf.head.multi_head import ClosedFormLosses
from sciml_cf.head.objectives import CrossEntropy, Hybrid, Objective, OneHot, SquaredError
from sciml_cf.head.rules import (
    Automatic,
    Every,
    Kalman,
    MovingAverage,
    PerFeature,
    Proximal,
    RandomWalk,
    Ridge,
    Rule,
    SampledGCV,
    Streaming,
    WarmUp,
    check_solved,
)
from sciml_cf.head.solve import proximal, ridge, strength_from_paper

__all__ = [
    "Automatic",
    "ClosedFormHead",
    "ClosedFormLoss",
    "ClosedFormLosses",
    "CrossEntropy",
    "Diagnostics",
    "Every",
    "Hybrid",
    "Initial",
    "Kalman",
    "Moments",
    "MovingAverage",
    "Objective",
    "OneHot",
    "PerFeature",
    "Proximal",
    "RandomWalk",
    "Ridge",
    "Rule",
    "SampledGCV",
    "SquaredError",
    "Steps",
    "Streaming",
    "WarmUp",
    "check_solved",
    "diagnose",
    "find_head",
    "one_hot_targets",
    "proximal",
    "ridge",
    "strength_from_paper",
]
