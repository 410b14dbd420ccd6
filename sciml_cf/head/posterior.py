"""Error bars from the head's own Gram matrix, calibrated by one number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from operator import add
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from sciml_cf.datasets.items import as_items, first_inputs
from sciml_cf.errors import NotPositiveDefinite
from sciml_cf.head.features import HeadView
from sciml_cf.head.gram import sizes_in_one_line
from sciml_cf.head.moments import Moments
from sciml_cf.head.processes import joined, own_share
from sciml_cf.model_outputs import Entry

LEVEL = 0.9  # the interval that calibration makes right
LEVEL_IN_STD = 1.6448536269514722  # its half-width in standard deviations of a normal distribution
_SHIFT = 1e-6  # of the mean diagonal: directions that the data never showed count as this little explored


@dataclass(frozen=True, eq=False)
class Posterior:
    """How uncertain a head's predictions are, feature vector by feature vector.

    ::

        std_c(x)^2 = scale^2 noise_c^2 phi(x)^T (G + e I)^-1 phi(x) / F

    With G the Gram matrix of the training features, this is the posterior variance of a linear regression at phi(x)
    (its precision is a multiple of G), up to one factor that calibration sets. On the training data the quadratic form
    over F has mean one, so ``noise`` says how large errors are and the form says where; it grows where the features
    leave the training range. No constant term is added: points of one sample are not independent, so the
    plain precision (rows times G) would make the form negligible against any constant.

    Attributes:
        gram: ``(F, F)`` float64, the mean of phi phi^T.
        weight: () float64, the number of rows behind it.
        head: ``(F, C)`` float64, the weights that it was made for.
        noise: ``(C,)`` float64, root mean square of the errors on data not trained on.
        scale: () float64, the one number: 90 % of those errors lie within 1.645 std.

    References:
        Bishop, Pattern Recognition and Machine Learning (2006), Eq. (3.58) and (3.59), for independent rows.
    """

    gram: Tensor
    weight: Tensor
    head: Tensor
    noise: Tensor
    scale: Tensor

    def std(self, features: Tensor) -> Tensor:
        """Predictive standard deviation ``(..., C)`` float64 at features ``(..., F)``, the constant one left out or
        not.
        """
        leverage = relative_leverage(self.factor, features)
        return (self.scale * leverage.sqrt()).unsqueeze(-1) * self.noise.to(leverage.device)

    @cached_property
    def factor(self) -> Tensor:
        """Cholesky factor of G + e I."""
        return precision_factor(self.gram)

    def __repr__(self) -> str:
        return sizes_in_one_line(self, lambda: (self.head.shape[0], self.head.shape[1], self.weight))

    def state(self) -> dict[str, Tensor]:
        """Plain tensors, to store."""
        return {name: getattr(self, name).cpu() for name in ("gram", "weight", "head", "noise", "scale")}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Posterior:
        """What ``state`` returned.

        Raises:
            ValueError: an entry is missing or has another shape.
        """
        names = ("gram", "weight", "head", "noise", "scale")
        if set(names) - set(state) or not all(isinstance(state[name], Tensor) for name in names):
            raise ValueError(f"Posterior: `state` must hold {', '.join(names)}; got {', '.join(map(str, state))}.")
        made = cls(**{name: state[name].to(torch.float64) for name in names})
        size, outputs = made.head.shape if made.head.ndim == 2 else (0, 0)
        if made.gram.shape != (size, size) or made.noise.shape != (outputs,) or made.scale.ndim or made.weight.ndim:
            raise ValueError(
                f"Posterior: `state` must hold a gram (F, F) and a head (F, C); got {tuple(made.gram.shape)} and "
                f"{tuple(made.head.shape)}."
            )
        return made


def posterior(
    model: nn.Module,
    train: Dataset[Any],
    validation: Dataset[Any],
    *,
    head: nn.Module | str | None = None,
    batch_size: int = 32,
    prediction: Entry | None = None,
    shared: bool = False,
) -> Posterior:
    """Error bars for a trained model: one forward pass over the training and one over the validation samples.

    It asks nothing of how the model was trained, only that its last layer is linear.

    Args:
        model: see ``sciml_cf.fit``; it is not changed.
        train: the samples that it was trained on, items ``{"x": ..., "y": ...}`` or (x, y); their targets are not used.
        validation: samples that it was not trained on, to set the scale.
        head: the last linear layer, or its name; by default the last one that runs on the first sample.
        batch_size: samples a forward pass.
        prediction: which entry of the model's return value is the prediction, see ``fit``; by default the one that it
            was trained with.
        shared: all processes of torchrun call this together, and each takes its share of the batches; all return the
            same.

    Returns:
        Posterior, on the CPU.

    Raises:
        ValueError: a dataset is empty, or does not fit the model; the prediction is not the head's output.
        NotPositiveDefinite: the features are not finite.

    References:
        Bishop, Pattern Recognition and Machine Learning (2006), Eq. (3.58) and (3.59), for independent rows.
    """
    train, validation = (as_items("posterior", *one) for one in (("train", train), ("validation", validation)))
    view = HeadView("posterior", model, head, example=first_inputs(train), prediction=prediction)
    parts: list[Moments] = []

    def gather(first: int, features: Tensor, prediction: Tensor, targets: Tensor) -> None:
        new = Moments.from_batch(features, targets, constant=view.has_constant)
        parts[:] = [parts[0] + new] if parts else [new]

    with view.open():
        view.for_each_batch(train, gather, batch_size=batch_size, share=own_share(shared))
        parts = joined(parts, shared)
        if not parts:
            raise ValueError("posterior: `train` must hold at least one sample; got none.")
        whole = reduce(add, parts)
        factor = precision_factor(whole.gram)
        pairs: list[tuple[Tensor, Tensor]] = []

        def compare(first: int, features: Tensor, prediction: Tensor, targets: Tensor) -> None:
            residual = (targets.double() - prediction.double()).flatten(0, -2)
            pairs.append((residual, relative_leverage(factor, features).flatten()))

        view.for_each_batch(validation, compare, batch_size=batch_size, share=own_share(shared))
    pairs = joined(pairs, shared)
    if not pairs:
        raise ValueError("posterior: `validation` must hold at least one sample; got none.")
    noise, scale = calibrate(*(torch.cat(column) for column in zip(*pairs, strict=True)))
    gathered = [whole.gram, whole.weight, view.weights, noise, scale]
    return Posterior(*(value.detach().cpu() for value in gathered))


def calibrate(residual: Tensor, leverage: Tensor) -> tuple[Tensor, Tensor]:
    """Noise ``(C,)`` and scale () at which 90 % of the residuals ``(rows, C)`` lie within 1.645 std, all outputs
    together.

    Args:
        residual: ``(rows, C)``, errors on data not trained on.
        leverage: ``(rows,)``, of ``relative_leverage``.

    Raises:
        NotPositiveDefinite: the residuals are not finite.
    """
    if not bool(torch.isfinite(residual).all()):
        raise NotPositiveDefinite(
            "posterior: `validation` must have finite errors; got NaN or Inf. Check data and model."
        )
    tiny = torch.finfo(residual.dtype).tiny
    noise = residual.square().mean(0).sqrt()
    ratio = residual.abs() / (noise * leverage.sqrt()[:, None]).clamp_min(tiny)
    sorted_ratio = ratio.flatten().sort().values
    at = min(int(LEVEL * sorted_ratio.numel()), sorted_ratio.numel() - 1)
    return noise, sorted_ratio[at] / LEVEL_IN_STD


def precision_factor(gram: Tensor) -> Tensor:
    """Cholesky factor of G + e I, e = 1e-6 of the mean diagonal.

    Raises:
        NotPositiveDefinite: G is not finite, or not positive semi-definite.
    """
    shifted = gram + _SHIFT * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    factor, info = torch.linalg.cholesky_ex(shifted)
    if int(info) or not bool(torch.isfinite(factor).all()):
        raise NotPositiveDefinite("posterior: `train` must give finite features that are not all zero; got others.")
    return factor


def relative_leverage(factor: Tensor, features: Tensor) -> Tensor:
    """phi^T (G + e I)^-1 phi / F (...) float64 at features ``(..., F)``, the constant one left out or not.

    Its mean over the rows behind G is at most one, and one if e is negligible.
    """
    size = len(factor)
    parts = []
    factor = factor.to(features.device)
    for entry in features if features.ndim > 2 else features[None]:  # one sample at a time in float64
        rows = entry.to(torch.float64).reshape(-1, entry.shape[-1])
        if rows.shape[1] == size - 1:
            rows = torch.cat([rows, rows.new_ones(len(rows), 1)], dim=1)
        half = torch.linalg.solve_triangular(factor, rows.T, upper=False)
        parts.append(half.square().sum(0) / size)
    return torch.cat(parts).reshape(features.shape[:-1])


def apply_with_std(
    model: nn.Module,
    inputs: Tensor,
    known: Posterior,
    *,
    head: nn.Module | str | None = None,
    batch_size: int = 32,
    prediction: Entry | None = None,
) -> tuple[Tensor, Tensor]:
    """Predictions of ``model`` for inputs ``(B, C, *N)`` and their standard deviations, alike in shape, on the CPU.

    Both in the data's own units; float32, or float64 where the model's normalization calls for it.

    Raises:
        ValueError: the posterior belongs to other weights; the inputs do not fit the model.
    """
    view = HeadView("predict", model, head, argument="fields", example=inputs[:1], prediction=prediction)
    if known.head.shape != view.weights.shape or not torch.equal(known.head, view.weights.cpu()):
        raise ValueError(
            "predict: `std` must come from a posterior of this model's own head; got one of other weights. "
            "Make it again with posterior(model, train, validation)."
        )

    def both(part: Tensor) -> tuple[Tensor, Tensor]:
        features, prediction = view.features(part)
        deviation = view.like_prediction(known.std(features)).float()
        mean, norm = prediction.float(), view.normalization
        if norm is not None:
            mean, deviation = norm.outputs(mean, part.to(mean.device)), norm.scaled(deviation)
        return mean.cpu(), deviation.cpu()

    with view.open():
        means, deviations = zip(*[both(part) for part in inputs.split(batch_size)], strict=True)
    return torch.cat(means), torch.cat(deviations)
