"""A softmax layer from co-occurrences: no gradients, one pass over the data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sciml_cf.arrays import describe_type, tensor_of
from sciml_cf.errors import check_choice, check_positive
from sciml_cf.head.binding.find import find_head
from sciml_cf.head.binding.layer import Layer, check_layer, features_last, num_outputs, write_head
from sciml_cf.layerwise.batch_rows import pair

Norm = Literal["mean"] | float
SMOOTHING = 1e-2
_TABLE = 2**27  # entries of a table that labels with gaps may ask for: 1 GB
_NAME = "explicit_softmax"


@dataclass(frozen=True, eq=False)
class Cooccurrences:
    """Sums over rows of what an explicit softmax layer needs to know of its data.

    ::

        counts = H^T Y      norms = sum |h|_1

    H are non-negative features, Y the labels as rows of zeros with a one. ``a + b`` are those of all rows together.

    Attributes:
        counts: ``(F, C)`` float64.
        norms: () float64, the sum of the rows' L1 norms.
        rows: how many rows.
    """

    counts: Tensor
    norms: Tensor
    rows: int

    @classmethod
    def from_batch(cls, features: Any, labels: Any, *, num_classes: int) -> Cooccurrences:
        """Of one batch: features ``(rows, F)``, dense or sparse (COO or CSR), and integer labels ``(rows,)``.

        Either may be an array or nested lists, the features a sparse matrix of scipy too.

        Raises:
            TypeError: they hold no real numbers.
            ValueError: shapes disagree, a feature is negative or not finite, a label is not below ``num_classes``.
        """
        features, labels = features_of(features), labels_of(labels)
        check_features(features, labels, num_classes)
        # Summed by class: (C, rows) sparse times (rows, F), in float64.
        rows = len(labels)
        here = torch.stack([labels.to(torch.int64), torch.arange(rows, device=labels.device)])
        ones = torch.ones(rows, dtype=torch.float64, device=labels.device)
        by_class = torch.sparse_coo_tensor(here, ones, (num_classes, rows), check_invariants=False)
        features = features.detach().to(torch.float64)
        features = features if features.layout == torch.strided else features.to_sparse_coo()
        counts = torch.sparse.mm(by_class, features)
        counts = (counts.to_dense() if counts.layout != torch.strided else counts).T.contiguous()
        return cls(counts, counts.sum(), rows)

    def __add__(self, other: Cooccurrences) -> Cooccurrences:
        """Those of the rows of both."""
        if not isinstance(other, Cooccurrences):
            return NotImplemented
        if self.counts.shape != other.counts.shape:
            raise ValueError(
                f"Cooccurrences.__add__: `other` must have counts {tuple(self.counts.shape)}; "
                f"got {tuple(other.counts.shape)}. Were both taken from the same layer?"
            )
        return Cooccurrences(self.counts + other.counts, self.norms + other.norms, self.rows + other.rows)


def explicit_head(found: Cooccurrences, *, norm: Norm = "mean", smoothing: float = SMOOTHING) -> Tensor:
    """Weights of a softmax layer from co-occurrences.

    ::

        U_ji = log F_ji - (1 - 1/K) log sum_d F_di      F = counts + smoothing * mean(counts)

    For rows of L1 norm K this is multinomial naive Bayes with the classes' frequencies as prior. The smoothing is
    relative, so that the same data twice give the same weights; no co-occurrence that is zero gives an infinite one.

    Args:
        found: of the training rows.
        norm: K, the L1 norm of the rows; "mean" takes their mean ("average norm priming").
        smoothing: above 0, in units of the mean co-occurrence.

    Returns:
        ``(F, C)`` float64, a head without a bias.

    Raises:
        ValueError: a setting is out of its range, or all features are zero.

    References:
        arXiv:2311.07498, the explicit solution of a softmax-activated layer.
    """
    check_positive("explicit_head", "smoothing", smoothing)
    counts = found.counts
    if not bool(counts.sum() > 0):
        raise ValueError("explicit_head: `found` must hold a feature above 0; got features that are all zero.")
    power = check_norm("explicit_head", norm, (found.norms / found.rows).item())
    smoothed = counts + smoothing * counts.mean()
    return smoothed.log() - (1 - 1 / power) * smoothed.sum(dim=0).log()


def explicit_softmax(
    features: Any,
    labels: Any = None,
    *,
    num_classes: int | None = None,
    norm: Norm = "mean",
    smoothing: float = SMOOTHING,
) -> Tensor:
    """Weights of a softmax layer on non-negative features, in one pass over the data: see ``explicit_head``.

    Args:
        features: ``(rows, F)`` non-negative real numbers with ``labels``: a tensor, dense or sparse, an array, nested
            lists or a sparse matrix of scipy; or a loader of batches (features, labels).
        labels: ``(rows,)`` integers from 0, a tensor, an array or a list.
        num_classes: C; by default the largest label and one. A loader needs it.
        norm: see explicit_head.
        smoothing: see explicit_head.

    Returns:
        ``(F, C)`` float64; the layer's probabilities are ``(features @ it).softmax(-1)``.

    Raises:
        ValueError, TypeError: features are negative, shapes disagree, or a setting is out of its range.

    References:
        arXiv:2311.07498.
    """
    if labels is not None and not isinstance(features, (DataLoader, Dataset, Iterator)):
        features, labels = features_of(features), labels_of(labels)
        if num_classes is None:
            num_classes = _classes_of(features, labels)
        found = Cooccurrences.from_batch(features, labels, num_classes=num_classes)
    else:
        if isinstance(features, (Tensor, np.ndarray)) or not isinstance(features, Iterable):
            raise TypeError(f"explicit_softmax: `labels` must be (rows,) with {describe_type(features)}; got None.")
        if num_classes is None or labels is not None:
            raise ValueError(
                "explicit_softmax: `num_classes` must be given, and `labels` left out, with a loader; "
                f"got {num_classes} and {type(labels).__name__}."
            )
        found = _total(
            Cooccurrences.from_batch(x, y, num_classes=num_classes) for x, y in pairs("explicit_softmax", features)
        )
    return explicit_head(found, norm=norm, smoothing=smoothing)


@torch.no_grad()
def warm_start(
    model: nn.Module,
    loader: Iterable[Any],
    *,
    head: nn.Module | str | None = None,
    norm: Norm = "mean",
    smoothing: float = SMOOTHING,
) -> float:
    """Give a classifier's last linear layer the explicit softmax weights of its features; in place, bias zero.

    Args:
        model: a module that maps x to one score a class; what enters the layer must not be negative.
        loader: batches (x, labels) or ``{"x": x, "y": labels}``; labels ``(B,)``, or one for each row of the layer.
        head: the layer, or its dotted name; by default the last linear one.
        norm: see explicit_head.
        smoothing: see explicit_head.

    Returns:
        The mean L1 norm of the features, K for "mean".

    Raises:
        ValueError, TypeError: there is no such layer, features are negative, or shapes disagree.

    References:
        arXiv:2311.07498, its warm starts.
    """
    layer = _layer(model, head)
    with _captured(model, layer) as seen:
        found = _total(_of_batch(model, layer, x, y, seen) for x, y in pairs("warm_start", loader, "loader"))
    weights = explicit_head(found, norm=norm, smoothing=smoothing).to(layer.weight.device)
    if layer.bias is not None:
        weights = torch.cat([weights, weights.new_zeros(1, weights.shape[1])])
    write_head(layer, weights)
    return (found.norms / found.rows).item()


def warm_start_layers(
    model: nn.Module, loader: Iterable[Any], *, norm: Norm = "mean", smoothing: float = SMOOTHING
) -> list[float]:
    """Give every linear layer the explicit softmax weights of what enters it, from the first to the last.

    Each layer is solved for the labels themselves, on what the solved layers below it give: a local solution, which
    knows nothing of the layers above. So each must have one output a class, and give no negative features (nn.Softmax,
    nn.Sigmoid or nn.ReLU behind it). The data are read once a layer.

    Args:
        model: as in ``warm_start``.
        loader: as in ``warm_start``.
        norm: as in ``warm_start``.
        smoothing: as in ``warm_start``.

    Returns:
        The mean L1 norm of the features of each layer.

    Raises:
        ValueError, TypeError: as in ``warm_start``, or a layer has another number of outputs than the last.

    References:
        arXiv:2311.07498, its local solutions of multi-layer networks.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    widths = [layer.out_features for layer in layers]
    if not layers or len(set(widths)) > 1:
        raise ValueError(
            "warm_start_layers: `model` must have nn.Linear layers of one output a class each; got outputs "
            f"{widths}. Solve the last one only with warm_start."
        )
    return [warm_start(model, loader, head=layer, norm=norm, smoothing=smoothing) for layer in layers]


def check_norm(function: str, norm: object, mean: float) -> float:
    """K: the mean norm of the features, or the number that was given."""
    if isinstance(norm, str):
        check_choice(function, "norm", norm, ("mean",))
        return mean
    check_positive(function, "norm", norm, 'It is K, the L1 norm of the features; "mean" takes their mean.')
    return float(norm)  # type: ignore[arg-type]


def features_of(values: Any) -> Tensor:
    """Features as a tensor of floating numbers, dense or sparse."""
    if sparse.issparse(values):
        rows = values.tocoo()
        values = torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([rows.row, rows.col]).astype(np.int64)),
            tensor_of(_NAME, "features", rows.data),
            rows.shape,
            check_invariants=False,
        )
    values = tensor_of(_NAME, "features", values)
    return values if values.is_floating_point() else values.to(torch.float64)


def labels_of(values: Any) -> Tensor:
    """Labels as a tensor, of integers if they can be."""
    labels = tensor_of(_NAME, "labels", values)
    return labels.long() if labels.dtype == torch.bool else labels


def _classes_of(features: Tensor, labels: Tensor) -> int:
    """The largest label and one, where the table of co-occurrences has a size that labels without gaps may ask for."""
    if labels.is_floating_point() or not labels.numel():
        return 1  # refused with the features
    classes, width = int(labels.max()) + 1, features.shape[-1] if features.ndim else 1
    if classes > len(labels.unique()) and classes * width > _TABLE:
        raise ValueError(
            f"{_NAME}: `labels` must number the classes from 0; got labels up to {classes - 1}, {len(labels.unique())} "
            f"of them different, which ask for a table of {8e-9 * classes * width:.0f} GB. Number them with "
            "numpy.unique(labels, return_inverse=True), or give `num_classes`."
        )
    return max(classes, 1)


def check_features(features: Tensor, labels: Tensor, num_classes: int) -> None:
    """Raise ValueError unless the rows are non-negative and finite, and the labels fit to them."""
    shape = tuple(features.shape)
    if features.ndim != 2 or not features.is_floating_point() or not len(features):
        raise ValueError(f"{_NAME}: `features` must be floating (rows, F), at least one row; got {shape}.")
    if labels.shape != features.shape[:1] or labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"{_NAME}: `labels` must be ({shape[0]},) integers; got {tuple(labels.shape)} {labels.dtype}.")
    _check_positive_entries(features)
    if labels.min() < 0 or labels.max() >= num_classes:
        raise ValueError(
            f"{_NAME}: `labels` must be from 0 to {num_classes - 1}; got {labels.min()} to {labels.max()}."
        )


def _check_positive_entries(features: Tensor) -> None:
    values = features if features.layout == torch.strided else features.to_sparse_coo().coalesce().values()
    least = values.min().item() if values.numel() else 0.0
    finite = bool(torch.isfinite(values).all())
    if least < 0 or not finite:
        found = f"{least:.3g}" if finite else "NaN or infinite ones"
        raise ValueError(
            f"{_NAME}: `features` must not be negative; got {found}. Co-occurrences have a logarithm only where they "
            "are positive: put a ReLU, a sigmoid or a softmax before the layer, or shift the inputs."
        )


def pairs(function: str, loader: Iterable[Any], argument: str = "features") -> Iterator[tuple[Tensor, Tensor]]:
    """The two tensors of each batch of a loader."""
    none = True
    for item in loader:
        none = False
        x, y = pair(item)
        if x is None or y is None:
            raise TypeError(
                f"{function}: `{argument}` must give batches (x, labels) or {{'x': x, 'y': labels}}; "
                f"got a {type(item).__name__}."
            )
        yield tensor_of(function, argument, x), tensor_of(function, argument, y)
    if none:
        raise ValueError(f"{function}: `{argument}` must hold at least one batch; got none.")


def _total(parts: Iterator[Cooccurrences]) -> Cooccurrences:
    total = next(parts)
    for part in parts:
        total = total + part
    return total


def _layer(model: nn.Module, head: nn.Module | str | None) -> Layer:
    layer = find_head(model) if head is None else model.get_submodule(head) if isinstance(head, str) else head
    check_layer(layer)
    return layer  # type: ignore[return-value]


@contextmanager
def _captured(model: nn.Module, layer: nn.Module) -> Iterator[list[Tensor]]:
    """The layer's input at each forward pass, in evaluation mode; the modes are restored afterwards."""
    seen: list[Tensor] = []
    modes = {module: module.training for module in model.modules()}
    handle = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()))
    model.eval()
    try:
        yield seen
    finally:
        handle.remove()
        for module, mode in modes.items():
            module.training = mode


def _of_batch(model: nn.Module, layer: Layer, x: Tensor, labels: Tensor, seen: list[Tensor]) -> Cooccurrences:
    seen.clear()
    model(x.to(device=layer.weight.device, dtype=layer.weight.dtype if x.is_floating_point() else None))
    if len(seen) != 1:
        raise ValueError(
            f"warm_start: `model` must call the layer once a forward pass; it was called {len(seen)} times."
        )
    rows = features_last(seen[0], layer).flatten(0, -2)
    return Cooccurrences.from_batch(rows, labels.flatten().to(rows.device), num_classes=num_outputs(layer))
