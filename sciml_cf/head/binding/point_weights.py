"""Weights of samples and grid points as the prediction has them, for layers that see the points in another order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from sciml_cf.head.binding.layer import Layer, num_outputs, row_weights, to_rows

Layout = Callable[[Tensor], Tensor]


def point_weights(weights: Tensor, prediction: torch.Size, rows: torch.Size, layout: Layout, layer: Layer) -> Tensor:
    """Weights of the axes of a prediction without its channels, one for each row of the layer.

    A layer may see a plane as one axis of points, or the samples and their variables as one axis.

    Args:
        weights: see ``row_weights``; its ``(B, *N)`` are those of the prediction.
        prediction: its shape, with the channels where the layer's outputs are.
        rows: of the layer, from ``row_shape``.
        layout: from values shaped like the prediction to those shaped like the layer's output.
        layer: the layer.

    Returns:
        ``(rows,)``, as ``row_weights``.

    Raises:
        ValueError: as ``row_weights``.
    """
    numbers = torch.arange(prediction.numel(), device=weights.device).reshape(prediction)
    axes = _channel_axes(to_rows(layout(numbers), layer), prediction, rows, layer)
    if axes is None:
        return row_weights(weights, rows, layer)
    grid = torch.Size([size for axis, size in enumerate(prediction) if axis not in axes])
    given = row_weights(weights, grid, layer).reshape(grid)
    for axis in axes:
        given = given.unsqueeze(axis)
    return to_rows(layout(given.expand(prediction)), layer)[:, 0]


def _channel_axes(numbers: Tensor, prediction: torch.Size, rows: torch.Size, layer: Layer) -> tuple[int, ...] | None:
    """Where a prediction has the outputs of the layer: one axis, or none for a single output.

    None if they lie along several axes, as those of a patch do: then a row has several points.

    Args:
        numbers: ``(rows, C)``, the place of each output in the flat prediction.
        prediction: as in ``point_weights``.
        rows: as in ``point_weights``.
        layer: the layer.
    """
    if num_outputs(layer) > 1:
        axis = _axis_along(numbers, prediction)
        return None if axis is None else (axis,)
    last = len(prediction) - 1
    likely = (last, 1) if isinstance(layer, nn.Linear) else (1, last)
    single = [axis for axis in likely if axis <= last and prediction[axis] == 1]
    if single or len(prediction) < 3 or rows[0] == prediction[0]:
        return tuple(single[:1])
    return (likely[0],)  # variables of a sample that the layer sees as samples


def _axis_along(numbers: Tensor, prediction: torch.Size) -> int | None:
    """The axis of a prediction along which the places ``(rows, C)`` of each row lie, C > 1; None if there is none."""
    count, step = numbers.shape[1], int(numbers[0, 1] - numbers[0, 0])
    if not torch.equal(numbers, numbers[:, :1] + step * torch.arange(count, device=numbers.device)):
        return None
    sizes = {prediction[axis + 1 :].numel(): axis for axis in range(len(prediction)) if prediction[axis] >= count}
    return sizes.get(step)
