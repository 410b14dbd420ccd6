"""Measures of classification, each defined once, of outputs ``(S, C, *N)``: samples, classes, grid points (if any)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sciml_cf.errors import check_count


def accuracy(outputs: Tensor, labels: Tensor) -> Tensor:
    """Share of points whose largest output is that of their class: ``(S,)``, 0 or 1 for a sample without points.

    Of equal outputs the first counts as the largest. An output with NaN is wrong.

    Args:
        outputs: ``(S, C, *N)``, logits, probabilities or any scores.
        labels: ``(S, *N)``, integers from 0 to C - 1.

    Raises:
        ValueError: shapes or labels do not fit.
    """
    return top_k_accuracy(outputs, labels, k=1)


def top_k_accuracy(outputs: Tensor, labels: Tensor, *, k: int = 5) -> Tensor:
    """Share of points whose class is among those of the k largest outputs: ``(S,)``; arguments as in ``accuracy``.

    References:
        Russakovsky et al., ImageNet Large Scale Visual Recognition Challenge (2015), section 4.1 (there an error).
    """
    _check("top_k_accuracy", outputs, labels)
    check_count("top_k_accuracy", "k", k)
    own = outputs.gather(1, labels.unsqueeze(1))
    index = torch.arange(outputs.shape[1], device=outputs.device).reshape(1, -1, *[1] * (outputs.ndim - 2))
    ahead = ~(outputs <= own) | ((outputs == own) & (index < labels.unsqueeze(1)))  # the first holds for NaN too
    return _over_points(ahead.sum(1) < k)


def log_loss(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Minus the logarithm of the probability that the class was given, the mean over points: ``(S,)``.

    Infinite where a class that came was given none. See Good (1952), J. R. Statist. Soc. B 14, 107.
    """
    _check_probabilities("log_loss", probabilities, labels)
    return _over_points(-probabilities.gather(1, labels.unsqueeze(1)).squeeze(1).log())


def brier_score(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Squared distance of the probabilities to one-hot, summed over classes, the mean over points: ``(S,)``, from 0 to
    2.

    References:
        Brier (1950), Monthly Weather Review 78, 1.
    """
    _check_probabilities("brier_score", probabilities, labels)
    one_hot = torch.zeros_like(probabilities).scatter_(1, labels.unsqueeze(1), 1.0)
    return _over_points((probabilities - one_hot).square().sum(1))


def confusion_matrix(outputs: Tensor, labels: Tensor) -> Tensor:
    """How many points of class i (row) have their largest output at class j (column): ``(C, C)`` int64."""
    _check("confusion_matrix", outputs, labels)
    classes = outputs.shape[1]
    found = outputs.argmax(1)
    return torch.bincount((labels * classes + found).flatten(), minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True, eq=False)
class Reliability:
    """How often predictions of some confidence are right, in bins of equal width.

    Attributes:
        count: ``(bins,)`` int64, predictions whose largest probability lies in ((b - 1) / bins, b / bins].
        confidence: ``(bins,)`` float64, the mean of that probability; NaN in an empty bin.
        accuracy: ``(bins,)`` float64, the share of correct predictions; NaN in an empty bin.
    """

    count: Tensor
    confidence: Tensor
    accuracy: Tensor

    @property
    def expected_calibration_error(self) -> float:
        """Mean over predictions of ``|accuracy - confidence|`` of their bin, from 0 to 1.

        References:
            Guo et al., On Calibration of Modern Neural Networks (arXiv:1706.04599), Eq. (3).
        """
        gaps = (self.accuracy - self.confidence).abs().nan_to_num()
        return float((gaps * self.count).sum() / self.count.sum())

    def plain(self) -> dict[str, Any]:
        """Plain values for a result file: count, confidence and accuracy (None in an empty bin), and ece, the error."""
        means = {name: getattr(self, name).tolist() for name in ("confidence", "accuracy")}
        means = {name: [None if value != value else value for value in values] for name, values in means.items()}
        return {"count": self.count.tolist(), **means, "ece": self.expected_calibration_error}


def reliability(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> Reliability:
    """The reliability diagram of probabilities in numbers.

    Args:
        probabilities: ``(S, C, *N)``, each from 0 to 1, summing to one over the classes.
        labels: ``(S, *N)``.
        bins: of equal width between 0 and 1.

    Raises:
        ValueError: they are no probabilities, or shapes or labels do not fit.

    References:
        Guo et al. (arXiv:1706.04599), section 2; Naeini et al., AAAI 2015.
    """
    _check_probabilities("reliability", probabilities, labels)
    check_count("reliability", "bins", bins)
    confidence, found = probabilities.double().max(1)
    right = (found == labels).double().flatten()
    confidence = confidence.flatten()
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    count = torch.bincount(place, minlength=bins)
    means = [torch.bincount(place, weights=values, minlength=bins) / count for values in (confidence, right)]
    return Reliability(count, *means)


def expected_calibration_error(probabilities: Tensor, labels: Tensor, *, bins: int = 15) -> float:
    """See ``Reliability.expected_calibration_error``; arguments as in ``reliability``."""
    return reliability(probabilities, labels, bins=bins).expected_calibration_error


def _over_points(values: Tensor) -> Tensor:
    """``(S,)`` float64 from ``(S, *N)``."""
    return values.to(torch.float64).reshape(len(values), -1).mean(1)


def _check(function: str, outputs: Tensor, labels: Tensor) -> None:
    wanted = tuple(outputs.shape[:1] + outputs.shape[2:])
    if outputs.ndim < 2 or tuple(labels.shape) != wanted or labels.is_floating_point() or labels.dtype == torch.bool:
        raise ValueError(
            f"{function}: `labels` must be integers (S, *N) = {wanted} for outputs (S, C, *N); got "
            f"{labels.dtype} {tuple(labels.shape)} for {tuple(outputs.shape)}."
        )
    if labels.numel() == 0 or labels.min() < 0 or labels.max() >= outputs.shape[1]:
        got = f"{int(labels.min())} to {int(labels.max())}" if labels.numel() else "none"
        raise ValueError(f"{function}: `labels` must be from 0 to {outputs.shape[1] - 1}; got {got}.")


def _check_probabilities(function: str, probabilities: Tensor, labels: Tensor) -> None:
    _check(function, probabilities, labels)
    sums = probabilities.double().sum(1)
    if not bool(((sums - 1).abs() < 1e-3).all()) or not bool((probabilities >= 0).all()):
        raise ValueError(
            f"{function}: `probabilities` must be at least 0 and sum to 1 over the classes (axis 1); got sums from "
            f"{float(sums.min()):.3g} to {float(sums.max()):.3g}. Apply softmax(1) to the logits of cross-entropy."
        )
