"""The Fourier layer on grids of any number of points; imported when a model in several dimensions is built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from neuralop.layers.spectral_convolution import SpectralConv
from torch import Tensor

_LARGEST_FAST_FACTOR = 7  # a fast Fourier transform of other lengths takes several times longer
# Of other lengths, the matrix of the waves that are kept is faster from so many points a wave on. Along the last axis,
# where values are real, a wave is a sine or a cosine.
_POINTS_A_WAVE = {"real": 4 / 3, "complex": 3.0}
_MOST_REAL_WAVES = 64
_PLAIN = (torch.float32, torch.float64, torch.complex64, torch.complex128)


class ConsistentSpectralConv(SpectralConv):
    """neuraloperator's ``SpectralConv`` with its weights, which acts on a function alike on every grid.

    The layer of neuraloperator 2.0 puts modes at other wavenumbers, on every axis but the last, where the number of
    points is odd, and where the layer changes it. So a model that was trained on an odd grid is wrong on an even one,
    and the other way round, and a shift of the input is not the same shift of the output. On even grids that stay as
    they are, both layers have the same outputs up to rounding. Pass the class as ``conv_module`` of an FNO or TFNO.

    Only the modes that are kept are transformed. On a CPU, where they are few or the number of points has a prime
    factor above 7, the transform is a product with the matrix of these modes.

    References:
        Li et al., Fourier Neural Operator (arXiv:2010.08895), section 4.
    """

    def forward(self, x: Tensor, output_shape: Sequence[int] | None = None) -> Tensor:
        """``(B, in_channels, *N)`` -> ``(B, out_channels, *M)``; M is N, unless the layer changes the grid."""
        if self.complex_data or self.fno_block_precision != "full":
            return super().forward(x, cast(Any, output_shape))
        points = list(x.shape[2:])
        target = self._target(points, output_shape)
        weight, kept = self._weight(points, target)
        modes = _analyze(x, kept[-1])
        for axis, count in enumerate(kept[:-1], start=2):
            modes = _analyze_axis(modes, axis, count)
        modes = self._contract(modes, weight, separable=self.separable)
        for axis, n in enumerate(target[:-1], start=2):
            modes = _synthesize_axis(modes, axis, n)
        out = _synthesize(modes, target[-1])
        return out if self.bias is None else out + self.bias

    def _target(self, points: list[int], output_shape: Sequence[int] | None) -> list[int]:
        """The number of points of the output along each axis."""
        if output_shape is not None:
            return list(output_shape)
        scales: Any = self.resolution_scaling_factor
        if scales is None:
            return points
        (scales,) = scales if isinstance(scales[0], (list, tuple)) else (scales,)
        return [round(n * scale) for n, scale in zip(points, scales, strict=True)]

    def _weight(self, points: list[int], target: list[int]) -> tuple[Tensor, list[int]]:
        """Weights of the wavenumbers that both grids resolve, from the most negative on, and how many on each axis."""
        sizes = [min(n, m) for n, m in zip(points, target, strict=True)]
        sizes[-1] = sizes[-1] // 2 + 1
        kept = [min(size, modes) for size, modes in zip(sizes, self.n_modes, strict=True)]
        parts = [slice(None)] * (1 if self.separable else 2)
        for count, modes in zip(kept[:-1], self.max_n_modes[:-1], strict=True):
            first = modes // 2 - count // 2
            parts.append(slice(first, first + count))
        parts.append(slice(kept[-1]))
        return self.weight[tuple(parts)], kept


def _analyze(x: Tensor, count: int) -> Tensor:
    """The first coefficients along the last axis of a real field."""
    n = x.shape[-1]
    if _prefers_fft(x, n, 2 * count, is_real=True):
        return torch.fft.rfft(x, norm="forward")[..., :count]
    waves = _waves(n, range(count), x).conj() / n  # (count, n)
    pairs = torch.view_as_real(waves).permute(1, 0, 2).reshape(n, 2 * count)
    return torch.view_as_complex((x @ pairs).unflatten(-1, (count, 2)))


def _analyze_axis(modes: Tensor, axis: int, count: int) -> Tensor:
    """Coefficients of the wavenumbers -(count // 2) and on along another axis."""
    n = modes.shape[axis]
    if _prefers_fft(modes, n, count):
        modes = torch.fft.fft(modes, dim=axis, norm="forward")
        below = modes.narrow(axis, n - count // 2, count // 2)
        return torch.cat([below, modes.narrow(axis, 0, count - count // 2)], dim=axis)
    waves = _waves(n, range(-(count // 2), count - count // 2), modes).conj() / n
    return _multiply(waves, modes, axis)


def _synthesize_axis(modes: Tensor, axis: int, n: int) -> Tensor:
    """Values at n points along an axis, from the coefficients of ``_analyze_axis``."""
    count = modes.shape[axis]
    below = count // 2
    if not _prefers_fft(modes, n, count):
        waves = _waves(n, range(-below, count - below), modes)
        return _multiply(waves.mT, modes, axis)
    gap = modes.new_zeros([*modes.shape[:axis], n - count, *modes.shape[axis + 1 :]])
    ordered = [modes.narrow(axis, below, count - below), gap, modes.narrow(axis, 0, below)]
    return torch.fft.ifft(torch.cat(ordered, dim=axis), dim=axis, norm="forward")


def _synthesize(modes: Tensor, n: int) -> Tensor:
    """The real field at n points of the last axis, from its first coefficients."""
    count = modes.shape[-1]
    if _prefers_fft(modes, n, 2 * count, is_real=True):
        return torch.fft.irfft(modes, n=n, norm="forward")
    waves = _waves(n, range(count), modes).conj_physical()
    pairs = torch.view_as_real(waves)  # the real part of a product is a sum over pairs
    twice = torch.full((count,), 2.0, dtype=pairs.dtype)
    twice[0] = 1.0  # the mean and the last wavenumber of an even grid have no partner of the other sign
    if 2 * (count - 1) == n:
        twice[-1] = 1.0
    pairs = (pairs * twice[:, None, None]).permute(0, 2, 1).reshape(2 * count, n)
    return torch.view_as_real(modes.resolve_conj()).flatten(-2) @ pairs


def _prefers_fft(x: Tensor, n: int, waves: int, *, is_real: bool = False) -> bool:
    """Whether a fast transform of n points is used, and not a product with the matrix of so many waves."""
    is_plain = x.dtype in _PLAIN and x.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
    if not is_plain or torch.compiler.is_compiling():  # a compiled or exported model may have a symbol for n
        return True
    kind = "real" if is_real else "complex"
    if n >= _POINTS_A_WAVE[kind] * waves and not (is_real and waves > _MOST_REAL_WAVES):
        return False
    for factor in range(2, _LARGEST_FAST_FACTOR + 1):
        while n % factor == 0:
            n //= factor
    return n == 1


def _waves(n: int, wavenumbers: range, like: Tensor) -> Tensor:
    """exp(2 pi i k j / n) of each wavenumber k at the points j of n, as ``(wavenumbers, n)``."""
    turns = torch.outer(torch.arange(wavenumbers.start, wavenumbers.stop), torch.arange(n)) % n
    angles = turns.to(torch.float64) * (2 * math.pi / n)
    return torch.polar(torch.ones_like(angles), angles).to(like.dtype.to_complex())


def _multiply(waves: Tensor, modes: Tensor, axis: int) -> Tensor:
    """A matrix ``(M, N)`` times an axis of N entries."""
    return (waves @ modes.movedim(axis, -2)).movedim(-2, axis)
