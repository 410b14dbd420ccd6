"""Error measures, each defined once, of fields ``(S, C, *N)``: samples, channels, grid points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

# Lower edges of the octave bands of `band_mse`: wavenumbers 0, 1, 2-3, 4-7, ..., 128 and above.
BAND_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)
_VARIANCE_FLOOR = 1e-7  # of `vrmse`, as in The Well


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over channels and grid points: ``(S,)``, one value a sample."""
    check_same_shape("mse", prediction, target)
    return (prediction - target).square().flatten(1).mean(1)


def over_known(
    metric: Callable[[Tensor, Tensor], Tensor], prediction: Tensor, target: Tensor, known: Tensor | None
) -> Tensor:
    """A metric over the points that are known: ``(S,)``, NaN for a sample without any.

    Args:
        metric: of fields ``(S, C, *N)``, which does not look at neighbors.
        prediction: ``(S, C, *N)``.
        target: ``(S, C, *N)``.
        known: ``(S, *N)``, true where the target is known; None where it is everywhere.
    """
    if known is None:
        return metric(prediction, target)
    rows = []
    for one, other, mask in zip(prediction, target, known, strict=True):
        some = bool(mask.any())
        rows.append(metric(one[None, :, mask], other[None, :, mask]) if some else one.new_full((1,), math.nan))
    return torch.cat(rows)


def rmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Root of the mean squared error over channels and grid points: ``(S,)``."""
    return mse(prediction, target).sqrt()


def relative_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """``|prediction - target| / |target|`` in the L2 norm: ``(S,)``.

    References:
        Li et al. (arXiv:2010.08895), section 5.
    """
    check_same_shape("relative_l2", prediction, target)
    return (prediction - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)


def nmse(prediction: Tensor, target: Tensor) -> Tensor:
    """``|prediction - target|^2 / |target|^2`` in the L2 norm: ``(S,)``, the square of the relative L2 error."""
    return relative_l2(prediction, target).square()


def max_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Largest absolute difference over channels and grid points: ``(S,)``."""
    check_same_shape("max_error", prediction, target)
    return (prediction - target).abs().flatten(1).amax(1)


def vrmse(prediction: Tensor, target: Tensor) -> Tensor:
    """Root mean squared error over the target's standard deviation in space, the mean over channels: ``(S,)``.

    ::

        vrmse = mean over c of  sqrt( <|p_c - y_c|^2> / (<|y_c - <y_c>|^2> + 1e-7) ),   < > the mean over grid points

    Predicting the mean of the field gives 1.

    References:
        Ohana et al., The Well (arXiv:2412.00568), variance-scaled root mean squared error.
    """
    check_same_shape("vrmse", prediction, target)
    error, field = (prediction - target).flatten(2), target.flatten(2)
    variance = (field - field.mean(2, keepdim=True)).square().mean(2)
    return (error.square().mean(2) / (variance + _VARIANCE_FLOOR)).sqrt().mean(1)


def correlation(prediction: Tensor, target: Tensor) -> Tensor:
    """Pearson correlation of the two fields over grid points, each channel about its mean: ``(S,)``, between -1 and 1.

    ::

        correlation = <p', y'> / (|p'| |y'|),   p' = p - <p>, y' = y - <y>, over all channels and points

    Where one of the fields is constant, it is 0.

    References:
        Kochkov et al. (2021), Machine learning-accelerated computational fluid dynamics, arXiv:2102.01010: the time
        until it falls below 0.95 or 0.8 says how long a roll-out follows a chaotic solution.
    """
    check_same_shape("correlation", prediction, target)
    centered = [
        (field.flatten(2) - field.flatten(2).mean(2, keepdim=True)).flatten(1) for field in (prediction, target)
    ]
    norms = centered[0].norm(dim=1) * centered[1].norm(dim=1)
    return torch.where(norms > 0, (centered[0] * centered[1]).sum(1) / norms, torch.zeros_like(norms))


def h1(prediction: Tensor, target: Tensor, *, extent: float | Sequence[float] = 2 * math.pi) -> Tensor:
    """Sobolev norm of the error on a periodic grid, as a mean over channels and points: ``(S,)``.

    ::

        h1 = sqrt( mean over c of  sum_k (1 + |2 pi k / L|^2) |e_k|^2 ),   e_k the Fourier coefficients of the error

    This is ``sqrt(mean |e|^2 + mean |grad e|^2)`` with spectral derivatives; a grid's Nyquist mode counts with its full
    wavenumber, though its derivative vanishes at the points.

    Args:
        prediction: ``(S, C, *N)`` on x_j = j L / N.
        target: ``(S, C, *N)`` on the same points.
        extent: L, the length of every axis, or one for each; the derivative is per unit of it.

    Raises:
        ValueError: shapes differ, or an extent is not positive or missing.
    """
    check_same_shape("h1", prediction, target)
    return _sobolev("h1", prediction - target, extent)


def relative_h1(prediction: Tensor, target: Tensor, *, extent: float | Sequence[float] = 2 * math.pi) -> Tensor:
    """The ``h1`` norm of the error over that of the target: ``(S,)``; arguments as there.

    References:
        the Sobolev loss of Li et al., Learning Dissipative Dynamics in Chaotic Systems (arXiv:2106.06898), order 1.
    """
    check_same_shape("relative_h1", prediction, target)
    norms = (_sobolev("relative_h1", field, extent) for field in (prediction - target, target))
    return next(norms) / next(norms)


def difference_h1(prediction: Tensor, target: Tensor, *, spacing: Sequence[float]) -> Tensor:
    """Relative H1 error on any equally spaced grid, by differences of neighbors, as between walls: ``(S,)``.

    ::

        norm(e)^2 = <|e|^2> + sum over the axes of <|e_{j+1} - e_j|^2> / h^2,   < > means over channels and points

    On a fine grid it agrees with ``relative_h1`` where that is defined.

    Args:
        prediction: fields ``(S, C, *N)``, at least two points along each axis.
        target: fields of the same shape.
        spacing: h of each axis; the derivative is per unit of it.

    Raises:
        ValueError: shapes differ, or a spacing is not positive or missing.
    """
    check_same_shape("difference_h1", prediction, target)
    num_dims = prediction.ndim - 2
    if len(spacing) != num_dims or not all(0 < h < math.inf for h in spacing):
        raise ValueError(
            f"difference_h1: `spacing` must be a positive length for each of {num_dims} axes; got {spacing!r}."
        )
    norms = []
    for field in (prediction - target, target):
        square = field.square().flatten(1).mean(1)
        for axis, h in enumerate(spacing, 2):
            square = square + field.diff(dim=axis).square().flatten(1).mean(1) / h**2
        norms.append(square.sqrt())
    return norms[0] / norms[1]


def band_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The part of the mean squared error in each band of wavenumbers, for fields on a periodic grid.

    ::

        band_b = mean over channels of  sum_{|k| in band b} |e_k|^2,   e_k the Fourier coefficients of the error

    Bands are the octaves of BAND_EDGES; in several dimensions ``|k|`` is the Euclidean length of the wave vector. By
    Parseval the bands of a sample add up to its ``mse``.

    Args:
        prediction: ``(S, C, *N)``.
        target: ``(S, C, *N)``.

    Returns:
        (S, bands); bands above the grid's last mode are zero.
    """
    check_same_shape("band_mse", prediction, target)
    if prediction.ndim < 3:
        raise ValueError(f"band_mse: `prediction` must be (samples, channels, *points); got {tuple(prediction.shape)}.")
    power = mode_power(prediction - target).flatten(2)
    length = mode_lengths(prediction).flatten()
    uppers = (*BAND_EDGES[1:], math.inf)
    bands = [
        power[..., (length >= lower) & (length < upper)].sum(-1).mean(1)
        for lower, upper in zip(BAND_EDGES, uppers, strict=True)
    ]
    return torch.stack(bands, dim=1)


def mode_power(fields: Tensor) -> Tensor:
    """``|c_k|^2`` of the modes of ``rfftn`` over the grid axes, ``(S, C, *K)``, each conjugate pair counted in its one
    entry.

    The sum over all modes is the mean square over the grid.
    """
    axes = tuple(range(2, fields.ndim))
    n = fields.shape[-1]
    power = torch.fft.rfftn(fields, dim=axes, norm="forward").abs().square()
    power[..., 1 : (n + 1) // 2] *= 2  # mode 0 and the Nyquist mode of an even grid are single
    return power


def mode_lengths(fields: Tensor) -> Tensor:
    """``(*K)``, Euclidean lengths ``|k|`` of the integer wave vectors of ``rfftn`` over the grid axes of
    ``(S, C, *N)``.
    """
    square = torch.zeros((), dtype=torch.float64, device=fields.device)
    for axis in _wavenumbers(fields):
        square = square + axis.square()
    return square.sqrt()


def _sobolev(function: str, fields: Tensor, extent: float | Sequence[float]) -> Tensor:
    num_dims = fields.ndim - 2
    lengths = tuple(extent) if isinstance(extent, Iterable) else (float(extent),) * num_dims
    if num_dims < 1 or len(lengths) != num_dims or not all(0 < length < math.inf for length in lengths):
        raise ValueError(
            f"{function}: `extent` must be a positive length, or one for each of {num_dims} axes; got {extent!r}."
        )
    weight = torch.ones((), dtype=torch.float64, device=fields.device)
    for axis, length in zip(_wavenumbers(fields), lengths, strict=True):
        weight = weight + (2 * math.pi / length * axis).square()
    return (mode_power(fields) * weight).flatten(2).sum(2).mean(1).sqrt()


def _wavenumbers(fields: Tensor) -> list[Tensor]:
    """Integer wavenumbers of the modes of ``rfftn``, one tensor an axis, broadcastable to each other."""
    *others, last = fields.shape[2:]
    axes = [torch.fft.fftfreq(n, 1 / n, dtype=torch.float64, device=fields.device) for n in others]
    axes.append(torch.arange(last // 2 + 1, dtype=torch.float64, device=fields.device))
    return [axis.reshape((-1,) + (1,) * (len(axes) - 1 - i)) for i, axis in enumerate(axes)]


def check_same_shape(function: str, prediction: Tensor, target: Tensor) -> None:
    """Raise ValueError unless both are ``(S, C, *N)``, or ``(S, C)``, of one shape, as broadcasting hides mistakes."""
    if prediction.shape != target.shape or prediction.ndim < 2:
        raise ValueError(
            f"{function}: `prediction` must be (samples, channels, points) like the target {tuple(target.shape)}; "
            f"got {tuple(prediction.shape)}."
        )


# Metrics of `evaluate` by the names of their functions, one value a sample; a new metric joins one of the two.
FIELD_METRICS = (mse, rmse, relative_l2, nmse, vrmse, max_error)
PERIODIC_METRICS = (h1, relative_h1)  # with ``extent``, for fields on a periodic grid alone
