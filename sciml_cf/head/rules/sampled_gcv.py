"""Sampled generalised cross-validation: the strength that should generalise, judged on each batch as it comes."""

from __future__ import annotations

from dataclasses import dataclass

from sciml_cf.errors import check_positive
from sciml_cf.head.moments import Moments
from sciml_cf.head.rules.common.memory import check_forgetting, checked_strengths, merged, nothing
from sciml_cf.head.rules.common.rule import Rule
from sciml_cf.head.rules.common.solving import solved_state
from sciml_cf.head.rules.common.state import State
from sciml_cf.head.rules.common.update import Update
from sciml_cf.head.rules.per_feature import feature_pull
from sciml_cf.head.strength import generalised_errors

_FLOOR = 1e-300  # a score is a logarithm


@dataclass(frozen=True)
class SampledGCV(Rule):
    """Proximal at the strength of the least generalised cross-validation error, averaged over the batches so far.

    ::

        score_k <- faded mean of log GCV_k       GCV_k = mean |r - D_k^T phi|^2 / (1 - d_k / n)^2
        D_k = (G + p_k I)^-1 mean(phi r^T)       d_k = tr(G (G + p_k I)^-1)       p_k = s_k trace(G) / F
        r = y - W_prev^T phi                     W <- W_prev + D_k of the least score

    It judges a strength on the very rows that are solved on, by the degrees of freedom that it uses, and must know how
    many rows n are independent: neighbouring grid points are not, and counted as if they were they let the head follow
    each batch. A weighted row is one row, whatever the unit of the weights. ``Automatic``, which asks the next batch
    instead, needs no such number. Reads its error on the host, so on CUDA each step waits for the device.

    Args:
        forgetting: g from 0 (each batch decides alone) to 1; scores are means of about 1 / (1 - g) batches.
        dependent: rows that count as one; for fields roughly the grid points within a correlation length.
        strengths: the candidates, relative to the mean square of the features.

    Raises:
        ValueError: ``forgetting`` is not from 0 to 1, ``dependent`` not above 0, or ``strengths`` are
            none or not above 0.

    References:
        the sampled criterion of slimTrain (Newman, Chung, Chung and Ruthotto, arXiv:2109.14002) on the proximal update
        (arXiv:2510.04606, Eq. (13)); Golub, Heath and Wahba (1979) for the criterion itself.
    """

    forgetting: float = 0.9
    dependent: float = 1.0
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

    def __post_init__(self) -> None:
        check_forgetting("SampledGCV", self.forgetting)
        check_positive("SampledGCV", "dependent", self.dependent)
        object.__setattr__(self, "strengths", checked_strengths("SampledGCV", self.strengths))

    def init(self, num_features: int, num_outputs: int) -> State:
        own = {"scores": nothing(len(self.strengths)), "weight": nothing()}
        return {**super().init(num_features, num_outputs), **own}

    def remembers(self) -> bool:
        return True  # and the mean square of features centred by one batch is rounding where they are constant

    def update(self, state: State, moments: Moments) -> Update:
        head, scale = state["head"], moments.squares.mean()
        fitted = moments.gram @ head
        square = moments.target_square + (head * (fitted - 2 * moments.cross)).sum(dim=0)
        rows = moments.num_rows / self.dependent
        residuals = Moments(moments.gram, moments.cross - fitted, square.clamp_min(0), rows)
        pulls = [float(feature_pull(scale, strength)) for strength in self.strengths]
        errors = generalised_errors(residuals, pulls)
        faded = self.forgetting * state["weight"]
        scores = merged(state["scores"], errors.clamp(_FLOOR, 1 / _FLOOR).log(), faded, moments.weight)
        memory = {"scores": scores, "weight": faded + moments.weight}
        return solved_state(state, moments, pulls[int(scores.argmin())], previous=head, memory=memory)
