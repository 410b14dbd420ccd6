"""Sums of products of features and targets over rows, in float64: the arithmetic under the moments.

A batch is streamed a few thousand rows at a time. One of few columns on a CPU is the work of ``small.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from sciml_cf.errors import in_one_line

# Rows converted to float64 at a time: about 2 MB on a CPU, which stay in its cache and are not paged in anew at each
# step. On a device few large products are faster than many small ones.
_CHUNK_NUMBERS = {"cpu": 2**18, "other": 2**25}
_CHUNK_ROWS = {"cpu": (512, 2048), "other": (512, 2**20)}
# Columns of the symmetric product at a time; the rows below a block follow by symmetry, which saves up to half. The
# width is a compromise: narrow blocks multiply less, wide ones multiply faster.
_BLOCK = {"cpu": 32, "other": 1024}
_SMALL = 128  # columns of a product that is made in one call


def sums_of_products(
    features: Tensor, targets: Tensor, weights: Tensor | None, constant: bool, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Sums over rows of weight * phi z^T, (F, F + C), and of weight * y^2, ``(C,)``; ``chunk`` rows in float64 at a
    time.

    phi are the features, with a 1 if ``constant``, y the targets, and z both.
    """
    rows, num_features = features.shape[:-1].numel(), features.shape[-1]
    first_target = num_features + constant
    width = first_target + targets.shape[-1]
    kind = "cpu" if features.device.type == "cpu" else "other"
    least, most = _CHUNK_ROWS[kind]
    chunk = min(rows, chunk or min(max(_CHUNK_NUMBERS[kind] // width, least), most))
    # Laid out as the features are, so that converting them is a plain pass over memory.
    if features.stride(-1) == 1:
        buffer = torch.empty(chunk, width, dtype=torch.float64, device=features.device)
    else:
        buffer = torch.empty(width, chunk, dtype=torch.float64, device=features.device).T
    if constant:
        buffer[:, num_features] = 1
    if chunk == rows and width <= _SMALL:  # nothing is worth saving but calls
        buffer[:, :num_features].unflatten(0, features.shape[:-1]).copy_(features)
        buffer[:, first_target:].unflatten(0, targets.shape[:-1]).copy_(targets)
        weighted = buffer if weights is None else buffer * weights.reshape(-1, 1).to(torch.float64)
        whole = buffer.T @ weighted
        return whole[:first_target], whole.diagonal()[first_target:]
    block = _BLOCK[kind]
    products = torch.zeros(first_target, width, dtype=torch.float64, device=features.device)
    squares = torch.zeros(targets.shape[-1], dtype=torch.float64, device=features.device)
    for some_features, some_targets, some_weights in _parts(features, targets, weights, chunk):
        shape = some_features.shape[:-1]
        part = buffer[: shape.numel()]
        part[:, :num_features].unflatten(0, shape).copy_(some_features)
        part[:, first_target:].unflatten(0, shape).copy_(some_targets)
        weighted = part if some_weights is None else part * some_weights.reshape(-1, 1).to(torch.float64)
        for left in range(0, first_target, block):
            right = min(left + block, first_target)
            products[left:right, left:].addmm_(part[:, left:right].T, weighted[:, left:])
        squares += (part[:, first_target:] * weighted[:, first_target:]).sum(dim=0)
    for left in range(0, first_target, block):
        right = min(left + block, first_target)
        products[right:, left:right] = products[left:right, right:first_target].T
    return products, squares


def check_rows(features: Tensor, targets: Tensor, weights: Tensor | None) -> None:
    """Raise ValueError unless features, targets and weights are one batch of rows, one row at least."""
    where, shape = "Moments.from_batch", tuple(features.shape)
    if features.ndim < 2 or not features.is_floating_point():
        raise ValueError(f"{where}: `features` must be floating (rows, F) or (B, *N, F); got {features.dtype} {shape}.")
    if 0 in shape[:-1]:
        raise ValueError(f"{where}: `features` must have at least one row; got {shape}. Empty batch?")
    if targets.ndim != features.ndim or targets.shape[:-1] != features.shape[:-1]:
        rows = ", ".join(str(size) for size in shape[:-1])
        raise ValueError(
            f"{where}: `targets` must be ({rows}, C), one row for each row of features; got {tuple(targets.shape)}."
        )
    if weights is not None and weights.shape != features.shape[:-1]:
        expected = tuple(features.shape[:-1])
        raise ValueError(f"{where}: `weights` must be {expected}, one a row; got {tuple(weights.shape)}.")


def _parts(
    features: Tensor, targets: Tensor, weights: Tensor | None, most: int
) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Views of at most ``most`` rows each, cut along the first axis, and within one of its entries if that is long."""
    entry = features.shape[1:-1].numel()
    if entry > most:
        for index in range(features.shape[0]):
            yield from _parts(features[index], targets[index], None if weights is None else weights[index], most)
        return
    for start in range(0, features.shape[0], most // entry):
        cut = slice(start, start + most // entry)
        yield features[cut], targets[cut], None if weights is None else weights[cut]


def sizes_in_one_line(owner: object, sizes: Callable[[], tuple[int, int, Tensor]]) -> str:
    """The ``__repr__`` of what was made of moments: numbers of features, outputs and rows, precision and device.

    Args:
        owner: the object.
        sizes: returns features, outputs, and () the number of rows. It is shown on a CPU alone: elsewhere to read it
            would wait for the device.
    """

    def text() -> str:
        features, outputs, rows = sizes()
        counted = f"rows={rows.item():.10g}, " if rows.device.type == "cpu" else ""
        return f"features={features}, outputs={outputs}, {counted}float64, device={rows.device}"

    return in_one_line(owner, text)
