"""A trained model for new data in one pass: its head solved again, with a penalty on its change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from data_gen.executors.local import Runner
from sciml_cf.datasets.items import as_items, calibration_samples, check_batch
from sciml_cf.errors import check_choice, check_count
from sciml_cf.evaluate.choices import Choice
from sciml_cf.evaluate.data_passes import DataPass, Share
from sciml_cf.head.binding.layer import describe, write_head
from sciml_cf.head.binding.tied import check_untied
from sciml_cf.head.moments import Moments
from sciml_cf.head.posterior import Posterior, calibrate, precision_factor, relative_leverage
from sciml_cf.head.solve import check_strength, solve_head
from sciml_cf.head.strength import (
    UNCHANGED,
    choose_strength,
    degrees_of_freedom,
    fold_errors,
    generalised_errors,
    pull_metric,
    strength_grid,
)
from sciml_cf.model_outputs import Entry


@dataclass(frozen=True)
class Candidate:
    """One strength that was considered, with its scores on the new data.

    Attributes:
        strength: of the pull to the old head, infinite for the unchanged head.
        error: mean squared error by cross-validation (NaN for one sample).
        spread: standard error over the folds of its difference to the unchanged head's.
        gcv: generalised cross-validation, which takes all rows for independent.
        degrees_of_freedom: effective number of weights that the new data set.
    """

    strength: float
    error: float
    spread: float
    gcv: float
    degrees_of_freedom: float


@dataclass(frozen=True, eq=False)
class Adaptation:
    """What ``adapt`` did.

    Attributes:
        strength: of the pull, as chosen or given; infinite if the head stayed as it was.
        head: ``(F, C)`` float64, the head that the model has now; a bias is its last row.
        previous: ``(F, C)`` float64, the head that it had before.
        candidates: the table of scores, weakest pull first, the unchanged head last.
        samples: number of samples adapted to.
        metric: ``(F, F)`` of the pull, or None for the identity.
        folds: moments of the folds, their targets the residuals of the previous head.
        loss_scale: what turns a mean squared error of the head's outputs into one in the data's units, where the model
            carries a normalization; the errors above and below are in the data's units.
    """

    strength: float
    head: Tensor
    previous: Tensor
    candidates: tuple[Candidate, ...]
    samples: int
    metric: Tensor | None = field(repr=False)
    folds: tuple[Moments, ...] = field(repr=False)
    loss_scale: float = field(default=1.0, repr=False)

    @property
    def changed(self) -> bool:
        """Whether the head was moved."""
        return math.isfinite(self.strength)

    @property
    def chosen(self) -> Candidate:
        """The candidate whose head the model has now."""
        return next(one for one in self.candidates if one.strength == self.strength)

    def training_error(self, head: Tensor) -> float:
        """Mean squared error of a head ``(F, C)`` on all new samples, those that it was solved on."""
        whole, change = reduce(add, self.folds), head - self.previous
        products = (change * (whole.gram @ change - 2 * whole.cross)).sum(0)
        return float((whole.target_square + products).mean().clamp_min(0)) * self.loss_scale

    @property
    def error_before(self) -> float:
        """Mean squared error of the previous head on the new data."""
        return self.candidates[-1].error

    @property
    def error_after(self) -> float:
        """Mean squared error of the chosen strength by cross-validation."""
        return self.chosen.error

    @property
    def degrees_of_freedom(self) -> float:
        """Effective number of weights that the new data set; 0 for the unchanged head."""
        return self.chosen.degrees_of_freedom


def adapt(
    model: nn.Module,
    data: Dataset[Any],
    *,
    prior: Posterior | None = None,
    strength: float | None = None,
    choose: Choice = "cross-validation",
    folds: int = 8,
    head: nn.Module | str | None = None,
    batch_size: int = 32,
    prediction: Entry | None = None,
    shared: bool = False,
    runner: Runner | None = None,
) -> Adaptation:
    """Solve the model's head for new data, in one pass of forward passes, and write it into the model.

    ::

        W = argmin  mean |W^T phi - y|^2 + s |W - W_old|_P^2 = W_old + (G + s P)^-1 (C - G W_old)

    The moments of the new data are gathered in K folds of whole samples, so that the strength s can be chosen by K-fold
    cross-validation without a second pass. The old head is one of the candidates, and stays unless cross-validation
    speaks clearly against it (see ``choose_strength``). The backbone is not touched.

    Args:
        model: a trained model whose last layer is linear; in training mode or not, it runs in evaluation mode here.
        data: items ``{"x": (C, *N), "y": (C', *N)}`` or (x, y), at any resolution that the model takes.
        prior: the model's ``posterior``. With it, P is the square root of the training features' Gram matrix, of mean
            diagonal one, which adapts better to few samples; without it P is the identity.
        strength: s on the MEAN squared error, instead of a choice; infinite only measures.
        choose: "cross-validation" over samples, or "gcv", generalised cross-validation, which takes the points of one
            sample for independent, and so moves the head too far where they are not.
        folds: K; with fewer samples each is a fold of its own.
        head: the last linear layer, or its name; by default the last one that runs on the first sample.
        batch_size: samples a forward pass; no more features than those are held.
        prediction: which entry of the model's return value is the prediction, see ``fit``; by default the one that it
            was trained with.
        shared: all processes of torchrun call this together, and each takes its share of the batches; all return the
            same.
        runner: of ``data_gen.executors``, such as ``processes(8)`` or ``dask_cluster(address, 8)``: its workers take
            the shares. They get the model and the data, of a lazy ``FieldDataset`` the path alone.

    Returns:
        Adaptation, with the scores of all candidates.

    Raises:
        ValueError: a setting is out of range, one sample alone and no strength, or data that do not fit the model.
        NotPositiveDefinite: the features or targets are not finite. The model then keeps its head.
        BenchmarkError: a worker died. The model then keeps its head.

    References:
        Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (13), for P = I.
    """
    _check_settings(strength, choose, folds, batch_size)
    data = as_items("adapt", "data", data)
    data_pass = DataPass("adapt", model, data, head, prediction, batch_size, shared, runner)
    view = data_pass.view
    check_untied(view.layer, model, describe(view.layer, None))
    previous = view.weights
    metric = None if prior is None else _metric(prior, previous)
    parts, samples = _gather(data_pass, previous, folds)
    whole = _finite(reduce(add, parts))
    if samples == 1 and strength is None and choose == "cross-validation":
        raise ValueError("adapt: `data` must hold at least 2 samples to choose a strength; got 1. Give `strength`.")
    strengths = strength_grid(whole.gram) if strength is None else tuple(dict.fromkeys((float(strength), UNCHANGED)))
    candidates, errors = _candidates(parts, whole, strengths, metric)
    index = 0 if strength is not None else _best(candidates, errors, parts, choose)
    new = previous + _change(whole, strengths[index], metric)
    if strengths[index] != UNCHANGED:
        write_head(view.layer, new)
    scale = 1.0 if view.normalization is None else view.normalization.loss_scale
    candidates = tuple(_in_units(one, scale) for one in candidates)
    return Adaptation(strengths[index], new, previous, candidates, samples, metric, tuple(parts), scale)


def adapted_posterior(
    model: nn.Module,
    data: Dataset[Any],
    adaptation: Adaptation,
    *,
    prior: Posterior | None = None,
    head: nn.Module | str | None = None,
    batch_size: int = 32,
    prediction: Entry | None = None,
    shared: bool = False,
    runner: Runner | None = None,
) -> Posterior:
    """Error bars for a model that ``adapt`` has just adapted, calibrated on held-out folds of the same data.

    The Gram matrix is that of the training rows (of ``prior``) and the new ones together. The errors are those that
    each fold meets under the head and the Gram matrix of all others, one more forward pass over the data.

    Args:
        model: as in ``adapt``.
        data: as in ``adapt``; at least two samples.
        prior: as in ``adapt``.
        head: as in ``adapt``.
        prediction: as in ``adapt``.
        shared: as in ``adapt``.
        runner: as in ``adapt``.
        adaptation: what it returned.
        batch_size: samples a forward pass.

    Raises:
        ValueError: the data have one sample only.
    """
    folds = adaptation.folds
    if len(folds) < 2:
        raise ValueError("adapted_posterior: `data` must hold at least 2 samples to calibrate on; got 1.")
    data = as_items("adapted_posterior", "data", data)
    data_pass = DataPass("adapted_posterior", model, data, head, prediction, batch_size, shared, runner)
    rests = [reduce(add, [part for part in folds if part is not fold]) for fold in folds]
    heads = [adaptation.previous + _change(rest, adaptation.strength, adaptation.metric) for rest in rests]
    factors = [precision_factor(_merged_gram(prior, rest)[0]) for rest in rests]
    pairs = [pair for found in data_pass.gather(_held_out, heads, factors) for pair in found]
    noise, scale = calibrate(*(torch.cat(column) for column in zip(*pairs, strict=True)))
    gram, weight = _merged_gram(prior, reduce(add, folds))
    return Posterior(*(value.detach().cpu() for value in (gram, weight, data_pass.view.weights, noise, scale)))


def _check_settings(strength: float | None, choose: Choice, folds: int, batch_size: int) -> None:
    check_choice("adapt", "choose", choose, get_args(Choice))
    check_count("adapt", "folds", folds, minimum=2)
    check_count("adapt", "batch_size", batch_size)
    if strength is not None and strength != UNCHANGED:
        check_strength("adapt", strength)


def _finite(moments: Moments) -> Moments:
    """The same moments, checked."""
    if not all(bool(torch.isfinite(part).all()) for part in (moments.gram, moments.cross, moments.target_square)):
        raise ValueError("adapt: `model` must have finite features on `data`; got NaN or Inf. Check its weights.")
    return moments


def _best(candidates: Sequence[Candidate], errors: Tensor, parts: Sequence[Moments], choose: Choice) -> int:
    """Which of the candidates to take."""
    if choose == "gcv":
        return min(range(len(candidates)), key=lambda place: candidates[place].gcv)
    return choose_strength(errors, torch.stack([part.weight for part in parts]))


def _gather(data_pass: DataPass, previous: Tensor, folds: int) -> tuple[list[Moments], int]:
    """Moments of K folds over all samples, and the number of these."""
    count = min(folds, samples := len(data_pass.data))  # type: ignore[arg-type]
    if not samples:
        raise ValueError("adapt: `data` must hold at least one sample; got an empty dataset.")
    shares = data_pass.gather(_fold_moments, previous, count)
    return [reduce(add, [one for one in fold if one is not None]) for fold in zip(*shares, strict=True)], samples


def _fold_moments(data_pass: DataPass, share: Share, previous: Tensor, count: int) -> list[Moments | None]:
    """Moments of K folds, sample i in fold i mod K, with the residuals of the previous head as targets."""
    parts: list[Moments | None] = [None] * count
    view = data_pass.view

    def work(first: int, features: Tensor, prediction: Tensor, targets: Tensor) -> None:
        check_batch("adapt", "data", targets, "y", first)
        residual = torch.stack([_residual(*pair, previous) for pair in zip(features, targets, strict=True)])
        for start in range(min(count, len(features))):
            fold = (first + start) % count
            rows = slice(start, None, count)
            new = Moments.from_batch(features[rows], residual[rows], constant=view.has_constant)
            old = parts[fold]
            parts[fold] = new if old is None else old + new

    with view.open():
        view.for_each_batch(data_pass.data, work, batch_size=data_pass.batch_size, share=share)
    return parts


def _held_out(
    data_pass: DataPass, share: Share, heads: Sequence[Tensor], factors: Sequence[Tensor]
) -> list[tuple[Tensor, Tensor]]:
    """Of the samples that error bars are calibrated on, residuals and leverages under the heads of the other folds."""
    pairs: list[tuple[Tensor, Tensor]] = []
    chosen = frozenset(calibration_samples(data_pass.data))

    def compare(first: int, features: Tensor, prediction: Tensor, targets: Tensor) -> None:
        for index, (values, wanted) in enumerate(zip(features, targets, strict=True)):
            fold = (first + index) % len(heads)
            residual = _residual(values, wanted, heads[fold]).flatten(0, -2)
            if first + index in chosen:
                pairs.append((residual, relative_leverage(factors[fold], values[None]).flatten()))

    view = data_pass.view
    with view.open():
        view.for_each_batch(data_pass.data, compare, batch_size=data_pass.batch_size, share=share)
    return pairs


def _residual(features: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """targets - W^T phi of one sample in float64, ``(*N, C)``."""
    inputs = features.shape[-1]
    output = features.to(torch.float64) @ weights[:inputs]
    return targets.to(torch.float64) - (output + weights[inputs] if len(weights) > inputs else output)


def _candidates(
    parts: Sequence[Moments], whole: Moments, strengths: Sequence[float], metric: Tensor | None
) -> tuple[tuple[Candidate, ...], Tensor]:
    """The table of scores, and the errors (strengths, K) behind it."""
    if len(parts) > 1:
        errors = fold_errors(parts, strengths, metric=metric)
    else:
        errors = torch.full((len(strengths), 1), math.nan, dtype=torch.float64)
    weights = torch.stack([part.weight for part in parts]).to(errors.device)
    means = errors @ weights / weights.sum()
    if len(parts) == 1:
        means[-1] = whole.target_square.mean()  # the unchanged head needs no held-out sample
    spreads = (errors - errors[-1]).std(dim=1) / math.sqrt(len(parts)) if len(parts) > 1 else errors[:, 0]
    columns = (
        strengths,
        means.tolist(),
        spreads.tolist(),
        generalised_errors(whole, strengths, metric=metric).tolist(),
        degrees_of_freedom(whole.gram, strengths, metric=metric).tolist(),
    )
    return tuple(Candidate(*row) for row in zip(*columns, strict=True)), errors


def _in_units(candidate: Candidate, scale: float) -> Candidate:
    """The candidate with its errors in the data's units."""
    errors = {name: scale * getattr(candidate, name) for name in ("error", "spread", "gcv")}
    return replace(candidate, **errors)


def _change(moments: Moments, strength: float, metric: Tensor | None) -> Tensor:
    """How far the previous head moves, on moments of its residuals: ``(F, C)``."""
    if strength == UNCHANGED:
        return torch.zeros_like(moments.cross)
    return solve_head(moments, penalty=strength if metric is None else strength * metric).head


def _metric(prior: Posterior, previous: Tensor) -> Tensor:
    if prior.head.shape != previous.shape or not torch.equal(prior.head.to(previous.device), previous):
        raise ValueError(
            "adapt: `prior` must be the posterior of this model's own head; got one of other weights. "
            "Make it again with posterior(model, train, validation), or adapt without it."
        )
    return pull_metric(prior.gram.to(previous.device))


def _merged_gram(prior: Posterior | None, moments: Moments) -> tuple[Tensor, Tensor]:
    """Gram matrix and weight of the prior's rows and these together."""
    if prior is None:
        return moments.gram, moments.weight
    gram, weight = (value.to(moments.gram.device) for value in (prior.gram, prior.weight))
    total = weight + moments.weight
    return torch.lerp(gram, moments.gram, moments.weight / total), total
