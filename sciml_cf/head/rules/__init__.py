"""Rules: how a head follows from the moments of a batch and the state it carries. One file a rule."""

from sciml_cf.head.rules.every import Every
from sciml_cf.head.rules.proximal import Proximal
from sciml_cf.head.rules.ridge import Ridge
from sciml_cf.head.rules.rule import Rule, State
from sciml_cf.head.rules.solving import check_solved

__all__ = ["Every", "Proximal", "Ridge", "Rule", "State", "check_solved"]
