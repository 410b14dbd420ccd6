"""Rules: how a head follows from the moments of a batch and the state it carries. One file a rule."""

from sciml_cf.head.rules.automatic import Automatic
from sciml_cf.head.rules.every import Every
from sciml_cf.head.rules.kalman import Kalman, RandomWalk
from sciml_cf.head.rules.moving_average import MovingAverage
from sciml_cf.head.rules.per_feature import PerFeature
from sciml_cf.head.rules.proximal import Proximal
from sciml_cf.head.rules.ridge import Ridge
from sciml_cf.head.rules.rule import Rule, State
from sciml_cf.head.rules.sampled_gcv import SampledGCV
from sciml_cf.head.rules.solving import check_solved
from sciml_cf.head.rules.streaming import Streaming
from sciml_cf.head.rules.warm_up import WarmUp

__all__ = [
    "Automatic",
    "Every",
    "Kalman",
    "MovingAverage",
    "PerFeature",
    "Proximal",
    "RandomWalk",
    "Ridge",
    "Rule",
    "SampledGCV",
    "State",
    "Streaming",
    "WarmUp",
    "check_solved",
]
