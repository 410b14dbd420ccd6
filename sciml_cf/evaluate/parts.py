"""The parts of the error on the full grid, and the disagreement of a model with itself."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from sciml_cf.evaluate.grids import Grids

PARTS = ("model", "sampling", "aliasing", "cross")


def error_parts(grids: Grids, prediction: Tensor, from_truncated: Tensor, target: Tensor, resolution: int) -> Tensor:
    """The mean squared error on the reference grid as a sum of parts with one cause each.

    With the model f at n points, the inputs x and the solution y on the reference grid, T the Fourier truncation to n
    points, x_n the inputs that the model was given there, and R the Fourier interpolation from n points, ::

        R f(x_n) - y  =  R [f(T x) - T y]  +  [R T y - y]  +  R [f(x_n) - f(T x)]
                             model             sampling            aliasing

    model: what f does wrong on inputs that n points hold exactly, against what n points can hold of the solution.
    sampling: the solution's modes that n points cannot hold; no model can do better.
    aliasing: what the inputs' modes above n / 2 do, folded onto lower ones by taking every k-th point.
    The truncation is an orthogonal projection, so the sampling part is orthogonal to the others, and ::

        |R f(x_n) - y|^2 = |model|^2 + |sampling|^2 + |aliasing|^2 + cross,   cross = 2 <model, aliasing>

    Args:
        grids: of the dataset.
        prediction: ``(S, C, *n)``, f(x_n).
        from_truncated: ``(S, C, *n)``, f(T x).
        target: ``(S, C, *N)``, y.
        resolution: n.

    Returns:
        ``(S, 4)``, means over channels and reference points of the squares and of cross, in the order of PARTS.
    """
    truncated = grids.take(target, resolution, "fourier")

    def full(fields: Tensor) -> Tensor:
        return grids.interpolate(fields, resolution, grids.resolution, "fourier")

    model, aliasing = full(from_truncated - truncated), full(prediction - from_truncated)
    sampling = full(truncated) - target
    parts = [model.square(), sampling.square(), aliasing.square(), 2 * model * aliasing]
    return torch.stack([part.flatten(1).mean(1) for part in parts], dim=1)


def consistency(grids: Grids, predictions: Mapping[int, Tensor]) -> np.ndarray:
    """How much a model's outputs at two resolutions differ, relative to the finer one; it needs no solution.

    ::

        c(n, m) = |I f(x_n) - f(x_m)| / |f(x_m)|,   n < m, I the interpolation from n to m points

    (Fourier interpolation where the grid allows it, else linear.) It is 0 for a model that is one operator at all
    resolutions, as long as n points can hold its output; modes of f(x_m) above n / 2 count as a difference.

    Args:
        grids: of the dataset.
        predictions: resolution -> ``(S, C, *n)``, the outputs there.

    Returns:
        (S, resolutions, resolutions), symmetric, zero on the diagonal.
    """
    sizes = sorted(predictions)
    how = "fourier" if grids.fourier else "linear"
    result = np.zeros((len(predictions[sizes[0]]), len(sizes), len(sizes)))
    for i, n in enumerate(sizes):
        for j in range(i + 1, len(sizes)):
            fine = predictions[sizes[j]]
            difference = (grids.interpolate(predictions[n], n, sizes[j], how) - fine).flatten(1).norm(dim=1)
            ratio = torch.where(difference == 0, 0.0, difference / fine.flatten(1).norm(dim=1))
            result[:, i, j] = result[:, j, i] = ratio.numpy()
    return result
