"""Small heads on a CPU in numpy: their moments, their solve and their losses, past torch.

A call of torch costs as much as the arithmetic of a head with few features. Each function here says for which numbers
it works, and returns None for others.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg.lapack import dposv  # pyright: ignore[reportAttributeAccessIssue]
from torch import Tensor, nn

from sciml_cf.head.solution import Penalty, Residuals, Solution, check_finite

# Multiplications that numpy's BLAS still makes in the thread that asks. Above, it wakes threads of its own, whatever
# torch was set to, and on a busy machine waits for them a hundred times as long as the product takes; unless it was
# started with one thread.
_BLAS_THREADS = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS")
ONE_THREAD = 2**18 if _BLAS_THREADS != "1" else 2**40
_PLAIN = (torch.float64, torch.float32)
_COLUMNS = 128  # of a product, features and targets together
_NUMBERS = 2**18  # of its rows in float64
_PARTS = 4  # such products, of the rows in turn, still cost less than one of torch's
_UNKNOWNS = 96  # of a system that LAPACK solves in the thread that asks; above, scipy's wakes threads of its own


class Arrays(NamedTuple):
    """Means of moments as numpy arrays: gram ``(F, F)``, cross ``(F, C)``, target_square ``(C,)``."""

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
    fits = features.ndim == 2 and width <= _COLUMNS and rows * width <= _NUMBERS
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


def fits_small(shape: tuple[int, int], penalty: Penalty, previous: Tensor | None) -> bool:
    """Whether LAPACK solves a system of F unknowns and C outputs in the thread that asks, on numbers where they lie."""
    unknowns, outputs = shape
    given = [one for one in (penalty, previous) if isinstance(one, Tensor)]
    return unknowns <= _UNKNOWNS and unknowns**2 * outputs <= ONE_THREAD and all(map(is_plain, given))


@np.errstate(all="ignore")
def solve_small(means: Arrays, penalty: Penalty, previous: Tensor | None) -> Solution | None:
    """W_0 + (G + P)^-1 (C - G W_0) where ``fits_small``; None if the system needs jitter."""
    gram, cross, squares = means
    system, cross = gram.copy(), np.ascontiguousarray(cross)
    if isinstance(penalty, Tensor) and penalty.ndim == 2:
        system += penalty.numpy()
    else:
        system.reshape(-1)[:: len(system) + 1] += penalty.numpy() if isinstance(penalty, Tensor) else penalty
    before = None if previous is None else previous.numpy()
    right = cross if before is None else cross - gram @ before
    _, change, failed = dposv(system.T, right, lower=True, overwrite_a=True)
    if failed:
        return None
    change = np.ascontiguousarray(change)
    head = change if before is None else before + change
    check_finite(head.sum())
    known = None if before is None or isinstance(penalty, Tensor) else Residuals(cross, right, change, penalty, squares)
    return Solution(torch.from_numpy(head), 0.0, known)


@np.errstate(all="ignore")
def losses_of(known: Sequence[Residuals], before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Mean squared errors of n solves with their heads before and after, ``(n, F, C)``, and with none: ``(3, n)``.

    ::

        mean |W^T phi - y|^2 = mean(y^2) - <W, C> - <W, C - G W>,      C - G W = P (W - W_0) after the solve

    Of many solves at once: one by one they would cost as much as the solves.
    """
    # Joined, and given their shape: np.stack looks at each of them, and takes several times as long.
    cross, residual, change = (
        np.concatenate([one[place] for one in known]).reshape(before.shape) for place in range(3)
    )
    penalty = np.array([one.penalty for one in known], dtype=np.float64)
    none = np.concatenate([one.squares for one in known]).reshape(len(known), -1).sum(axis=1)
    first = none - _products(before, cross) - _products(before, residual)
    last = none - _products(after, cross) - penalty * _products(after, change)
    return np.stack([first, last, none]) / before.shape[-1]


@np.errstate(all="ignore")
def losses_at_once(means: Arrays, before: Tensor, after: Tensor) -> tuple[float, float, float] | None:
    """Mean squared errors of two heads ``(F, C)`` and of none, from moments; None where that is no work for numpy."""
    gram, cross, squares = means
    features, count = cross.shape
    if 2 * features**2 * count > ONE_THREAD or not (is_plain(before) and is_plain(after)):
        return None
    first, last, square = before.numpy(), after.numpy(), squares.sum()
    fitted = gram @ np.concatenate((first, last), axis=1)  # one product costs as much as each of the two would
    found = (
        float(square + np.vdot(head, own) - 2 * np.vdot(head, cross)) / count
        for head, own in ((first, fitted[:, :count]), (last, fitted[:, count:]))
    )
    return next(found), next(found), float(square) / count


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


def _products(these: np.ndarray, those: np.ndarray) -> np.ndarray:
    """``(n,)`` inner products of n pairs of matrices."""
    return np.einsum("nfc,nfc->n", these, those)
