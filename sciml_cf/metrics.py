"""Error measures, each defined once. Fields are (S, C, *N): samples, channels, grid points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

# Lower edges of the octave bands of `band_mse`: wavenumbers 0, 1, 2-3, 4-7, ..., 128 and above.
BAND_EDGES = (0, 1, 2, 4, 8, 16, 32, 64, 128)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over channels and grid points: (S,), one value a sample."""
    check_same_shape("mse", prediction, target)
    return (prediction - target).square().flatten(1).mean(1)


def relative_l2(prediction: Tensor, target: Tensor) -> Tensor:
    """|prediction - target| / |target| in the L2 norm: (S,). Source: Li et al. (arXiv:2010.08895), section 5."""
    check_same_shape("relative_l2", prediction, target)
    return (prediction - target).flatten(1).norm(dim=1) / target.flatten(1).norm(dim=1)


def nmse(prediction: Tensor, target: Tensor) -> Tensor:
    """|prediction - target|^2 / |target|^2 in the L2 norm: (S,), the square of the relative L2 error."""
    return relative_l2(prediction, target).square()


def max_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Largest absolute difference over channels and grid points: (S,)."""
    check_same_shape("max_error", prediction, target)
    return (prediction - target).abs().flatten(1).amax(1)


def band_mse(prediction: Tensor, target: Tensor) -> Tensor:
    """The part of the mean squared error in each band of wavenumbers, for fields on a periodic 1-D grid.

        band_b = mean over channels of  sum_{|k| in band b} |e_k|^2,   e_k the Fourier coefficients of the error

    Bands are the octaves of BAND_EDGES. By Parseval the bands of a sample add up to its ``mse``.

    Args:
        prediction, target: (S, C, N).
    Returns:
        (S, bands); bands above the grid's last mode are zero.
    """
    check_same_shape("band_mse", prediction, target)
    if prediction.ndim != 3:
        raise ValueError(f"band_mse: `prediction` must be (samples, channels, points); got {tuple(prediction.shape)}.")
    n = prediction.shape[-1]
    power = torch.fft.rfft(prediction - target, norm="forward").abs().square()
    power[..., 1 : (n + 1) // 2] *= 2  # the conjugate half; mode 0 and the Nyquist mode of an even grid stand alone
    wavenumber = torch.arange(power.shape[-1], device=power.device)
    uppers = (*BAND_EDGES[1:], math.inf)
    bands = [
        power[..., (wavenumber >= lower) & (wavenumber < upper)].sum(-1).mean(1)
        for lower, upper in zip(BAND_EDGES, uppers, strict=True)
    ]
    return torch.stack(bands, dim=1)


def check_same_shape(function: str, prediction: Tensor, target: Tensor) -> None:
    """Raise ValueError unless both are (S, C, *N), or (S, C), of one shape: broadcasting would hide a mistake."""
    if prediction.shape != target.shape or prediction.ndim < 2:
        raise ValueError(
            f"{function}: `prediction` must be (samples, channels, points) like the target {tuple(target.shape)}; "
            f"got {tuple(prediction.shape)}."
        )
