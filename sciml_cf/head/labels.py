"""Class labels for a prediction: one-hot targets, the axis of the classes, and weights of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sciml_cf.errors import is_finite
from sciml_cf.head.binding.layer import Layer, num_outputs


def one_hot_targets(
    labels: Tensor, num_classes: int, *, smoothing: float = 0.0, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Targets of a squared loss for class labels, or the probabilities that cross-entropy compares with.

    ::

        y_c = (1 - e) [c = label] + e / C       e: smoothing, C classes

    Args:
        labels: ``(B,)`` or ``(B, *N)``, integers from 0 to num_classes - 1.
        num_classes: C, 2 or more.
        smoothing: e from 0 (one-hot) to below 1.
        dtype: of the targets.

    Returns:
        ``(B, C)`` or ``(B, *N, C)``; each row sums to one.

    Raises:
        ValueError: a label is no class, or an argument is out of range.

    References:
        Szegedy et al., Rethinking the Inception Architecture (arXiv:1512.00567), section 7.
    """
    check_label_type("one_hot_targets", labels, num_classes)
    check_smoothing("one_hot_targets", smoothing)
    targets = torch.zeros((*labels.shape, num_classes), dtype=dtype, device=labels.device)
    try:
        targets.scatter_(-1, labels.long().unsqueeze(-1), 1.0)
    except RuntimeError:  # it finds a label that is no class; looking for one beforehand would cost more than this
        check_labels("one_hot_targets", labels, num_classes)
        raise
    return smoothed(targets, smoothing)


def smoothed(targets: Tensor, smoothing: float) -> Tensor:
    """Probabilities ``(..., C)`` mixed with equal ones, (1 - e) y + e / C."""
    return targets if smoothing == 0 else targets.lerp(targets.new_full((), 1 / targets.shape[-1]), smoothing)


def spread_labels(labels: Tensor, prediction: Tensor, layer: Layer) -> Tensor:
    """One-hot targets shaped like the prediction; targets that are shaped like it already stay as they are.

    Args:
        labels: ``(B, *N)`` integers, or probabilities shaped like the prediction.
        prediction: ``(B, C, *N)`` or ``(B, *N, C)``.
        layer: whose outputs are the classes.

    Raises:
        ValueError: labels are no classes, or fit the prediction in no way or in two.
    """
    if labels.is_floating_point():
        if labels.shape != prediction.shape:
            raise ValueError(
                f"ClosedFormLoss: `targets` must be integer labels, or probabilities shaped like the prediction "
                f"{tuple(prediction.shape)}; got {labels.dtype} {tuple(labels.shape)}."
            )
        return labels
    classes, shape = num_outputs(layer), prediction.shape
    if prediction.ndim == labels.ndim and labels.numel() == labels.shape[0] == shape[0]:  # a column (B, 1)
        labels = labels.flatten()
    places = [axis for axis in {1, prediction.ndim - 1} if _without(shape, axis) == labels.shape]
    places = [axis for axis in places if shape[axis] == classes]
    if len(places) != 1:
        wanted = "(B, *N) with a prediction (B, C, *N) or (B, *N, C)"
        raise ValueError(
            f"ClosedFormLoss: `targets` must be labels {wanted} with C = {classes}; got {tuple(labels.shape)} with "
            f"{tuple(shape)}. " + ("Both fit: give one_hot_targets(...) with its axis moved." if places else "")
        )
    targets = one_hot_targets(labels, classes, dtype=torch.promote_types(prediction.dtype, torch.float32))
    return targets.movedim(-1, places[0])


def check_label_type(function: str, labels: Tensor, num_classes: int) -> None:
    """Raise ValueError unless labels are integers, and classes two or more."""
    if num_classes < 2:
        raise ValueError(f"{function}: `num_classes` must be at least 2; got {num_classes}. One output for each class.")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{function}: `labels` must be integers; got {labels.dtype}. Use labels.long().")


def check_labels(function: str, labels: Tensor, num_classes: int) -> None:
    """Raise ValueError unless all labels are integers from 0 to num_classes - 1."""
    check_label_type(function, labels, num_classes)
    # Looking at labels on a device would wait for it at every step; there the indexing itself refuses wrong ones.
    if labels.device.type == "cpu" and labels.numel():
        low, high = labels.aminmax()
        if low < 0 or high >= num_classes:
            raise ValueError(
                f"{function}: `labels` must be from 0 to {num_classes - 1}; got {int(low)} to {int(high)}. "
                "Give rows without a class a label of 0 and a weight of zero."
            )


def check_smoothing(function: str, smoothing: object) -> None:
    """Raise ValueError unless ``smoothing`` is a number from 0 to below 1."""
    if not is_finite(smoothing) or not 0 <= float(smoothing) < 1:  # pyright: ignore[reportArgumentType]
        raise ValueError(f"{function}: `smoothing` must be a number from 0 to below 1; got {smoothing!r}. Try 0.1.")


def check_class_weights(function: str, weights: Sequence[float] | None) -> None:
    """Raise ValueError unless the weights of classes are finite, not negative, and not all zero."""
    if weights is None:
        return
    numbers = torch.as_tensor(weights, dtype=torch.float64)
    if numbers.ndim != 1 or not bool(((numbers >= 0) & torch.isfinite(numbers)).all()) or not bool(numbers.any()):
        raise ValueError(f"{function}: `class_weights` must be finite, not negative and not all zero; got {weights!r}.")


def _without(shape: torch.Size, axis: int) -> torch.Size:
    return shape[:axis] + shape[axis + 1 :]
