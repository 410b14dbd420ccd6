"""Sums of products of features and targets over rows, in float64: the arithmetic under the moments.

A batch is streamed a few thousand rows at a time. One of few columns on a CPU goes past torch, whose calls would cost
as much as its products.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

# Rows converted to float64 at a time: about 2 MB on a CPU, which stay in its cache and are not paged in anew at each
# step. On a device few large products are faster than many small ones.
_CHUNK_NUMBERS = {"cpu": 2**18, "other": 2**25}
_CHUNK_ROWS = {"cpu": (512, 2048), "other": (512, 2**20)}
# Columns of the symmetric product at a time; the rows below a block follow by symmetry, which saves up to half. The
# width is a compromise: narrow blocks multiply less, wide ones multiply faster.
_BLOCK = {"cpu": 32, "other": 1024}
_SMALL = 128  # columns of a product that is made in one call
# Multiplications that numpy's BLAS still makes in the thread that asks. Above, it wakes threads of its own, whatever
# torch was told, and on a busy machine waits for them a hundred times as long as the product takes; unless it was
# started with one thread.
_BLAS_THREADS = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
ONE_THREAD = 2**18 if _BLAS_THREADS != "1" else 2**40
_PLAIN = (torch.float64, torch.float32)
_PARTS = 4  # such products, of the rows in turn, still cost less than one of torch's


class Arrays(NamedTuple):
    """Means of moments as numpy arrays: gram (F, F), cross (F, C), target_square (C,)."""

    gram: np.ndarray
    cross: np.ndarray
    target_square: np.ndarray


def is_plain(values: Tensor) -> bool:
    """Whether numpy can work on these numbers where they lie: float32 or float64 on a CPU, in no graph."""
    own = values.dtype in _PLAIN and type(values) in (Tensor, nn.Parameter) and values.is_cpu
    return own and not values.requires_grad and not values.is_neg()  # a sign not yet applied


@np.errstate(all="ignore")  # what is not finite is found in the solve, as with torch
def small_means(features: Tensor, targets: Tensor, constant: bool) -> Arrays | None:
    """Means over the rows of a batch of few columns, in a few calls past torch; None for others."""
    rows, first_target = len(features), features.shape[-1] + constant
    width = first_target + targets.shape[-1]
    fits = features.ndim == 2 and width <= _SMALL and rows * width <= _CHUNK_NUMBERS["cpu"]
    if not (fits and is_plain(features) and is_plain(targets)):
        return None
    columns = np.empty((rows, width))
    columns[:, : features.shape[1]] = features.numpy()
    columns[:, features.shape[1] : first_target] = 1
    columns[:, first_target:] = targets.numpy()
    means = _square(columns)
    means /= rows
    gram, cross = means[:first_target, :first_target], means[:first_target, first_target:]
    return Arrays(gram, cross, means.diagonal()[first_target:].copy())


def _square(columns: np.ndarray) -> np.ndarray:
    """X^T X; numpy knows that it is symmetric, and torch keeps to one thread."""
    rows, width = columns.shape
    part = ONE_THREAD // width**2
    if rows > _PARTS * part:
        whole = torch.from_numpy(columns)
        return torch.mm(whole.T, whole).numpy()
    part = -(-rows // -(-rows // part))  # parts of equal size
    found = columns[:part].T @ columns[:part]
    for first in range(part, rows, part):
        some = columns[first : first + part]
        found += some.T @ some
    return found


def sums_of_products(
    features: Tensor, targets: Tensor, weights: Tensor | None, constant: bool, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    """Sums over rows of weight * phi z^T, (F, F + C), and of weight * y^2, (C,); ``chunk`` rows in float64 at a time.

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
