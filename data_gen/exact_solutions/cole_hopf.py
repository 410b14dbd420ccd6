"""Burgers' equation by the Cole-Hopf formula: positive quadrature, no time stepping."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from data_gen.errors import SolverDiverged, check_positive
from data_gen.exact_solutions.convolution import circular_sums
from data_gen.grids.periodic import resample, resize_modes, spectral_tail

#: Weights below exp(-DIGITS) of the largest are dropped: less than a hundredth of the spacing of float64.
DIGITS = 42.0
#: Range of the exponents that is summed without rescaling; exp of it and of its negative are far from overflow.
SAFE_RANGE = 300.0
MAX_QUADRATURE = 2**20
#: Largest part of a solution that the rounding of its quadrature may be.
LARGEST_ROUNDING = 1e-8


#: Largest speed, viscosity, time and extent.
_Numbers = tuple[float, Any, float, float]


@dataclass(frozen=True)
class _Problem:
    """The potential of a batch on quadrature nodes, and the numbers of the heat kernel; nu may be one a row, (b, 1)."""

    potential: np.ndarray
    speed: float
    viscosity: Any
    time: float
    extent: float

    @property
    def nodes(self) -> int:
        return self.potential.shape[-1]

    @property
    def spread(self) -> float:
        """Largest range of U / (2 nu) in the batch."""
        if self.varies:
            return float((np.ptp(self.potential, axis=-1, keepdims=True) / (2 * self.viscosity)).max())
        return float(np.ptp(self.potential, axis=-1).max()) / (2 * self.viscosity)

    @property
    def varies(self) -> bool:
        """Whether each row has a viscosity of its own."""
        return isinstance(self.viscosity, np.ndarray)

    @property
    def rows(self) -> Iterator[tuple[np.ndarray, float]]:
        """The potential and the viscosity of each row, where it varies."""
        return zip(self.potential, self.viscosity[:, 0], strict=True)

    @property
    def modes(self) -> float:
        """Number of modes of exp(-U / (2 nu)) that the heat flow leaves above rounding."""
        kept = np.sqrt((DIGITS + self.spread) / (np.min(self.viscosity) * self.time))
        return float(kept * self.extent / (2 * np.pi))

    def reach(self, time: Any, digits: float = DIGITS) -> float:
        """Distance ``|x - Y|`` beyond which all weights of the kernel after ``time`` are negligible.

        U changes by at most speed * z over z, so the weight is below exp(-digits) of the largest once
        z^2 / (4 nu t) - z speed / (2 nu) > digits.
        """
        if self.varies:
            shift = np.max(time) * self.speed
            return float(shift + np.max(np.sqrt(shift**2 + 4 * self.viscosity * time * digits)))
        shift = time * self.speed
        return shift + float(np.sqrt(shift**2 + 4 * self.viscosity * time * digits))


def cole_hopf(u0: np.ndarray, *, viscosity: float | np.ndarray, time: float, extent: float) -> np.ndarray:
    """Exact solution of Burgers' equation by positive quadrature of the Cole-Hopf formula.

    ::

        u(x, t) = sum_Y w(Y) (x - Y) / t / sum_Y w(Y),   w(Y) = exp(-U(Y) / (2 nu) - (x - Y)^2 / (4 nu t)),   U' = u0

    over the whole line (U is periodic for a zero mean). All weights are positive, so nothing cancels and every digit
    is kept; the FFT form of the same sums loses the range of exp(U / (2 nu)). A mean m is handled in the frame that
    moves with it: u(x, t) = m + v(x - m t, t). The trapezoidal nodes are doubled until the result no longer changes, in
    the row that is largest and in the one with most of its modes above them.

    Args:
        u0: ``(..., N)``, real, the initial condition on x_j = j L / N; taken as its trigonometric interpolant.
        viscosity: nu > 0, one number, or an array of one for each row.
        time: t > 0.
        extent: L > 0.

    Returns:
        ``(..., N)``, float64, u(x_j, t). Its rows depend on the others at the level of rounding only.

    Raises:
        ValueError: a parameter is not a positive number, ``u0`` is not finite, or the solution has decayed to rounding.
        SolverDiverged: the quadrature did not settle with a million nodes.

    References:
        Hopf (1950), Comm. Pure Appl. Math. 3, Eq. (12); Cole (1951), Quart. Appl. Math. 9, 225-236.
    """
    check_positive("cole_hopf", "viscosity", viscosity)
    check_positive("cole_hopf", "time", time)
    check_positive("cole_hopf", "extent", extent)
    u0 = np.asarray(u0, dtype=np.float64)
    if u0.ndim == 0 or u0.shape[-1] < 2:
        raise ValueError(f"cole_hopf: `u0` must have at least 2 points along its last axis; got shape {u0.shape}.")
    if not np.isfinite(u0).all():
        raise ValueError("cole_hopf: `u0` must be finite; got NaN or infinity. Check the initial condition.")
    batch = u0.reshape(-1, u0.shape[-1])
    nu = _checked_viscosity(viscosity, len(batch))
    num_points = u0.shape[-1]
    mean = batch.mean(axis=-1, keepdims=True)
    modes, speed = _potential_modes(batch, mean, time, extent)
    if speed == 0:
        return np.broadcast_to(mean, batch.shape).reshape(u0.shape).copy()
    numbers = (speed, nu, float(time), float(extent))
    decay = np.max(nu) * time * (2 * np.pi / extent) ** 2
    if decay > DIGITS:
        raise ValueError(_decayed(np.max(nu), time, f"exp(-{decay:.3g}) of its waves"))
    nodes, tiled = _first_nodes(modes, num_points, numbers)
    while True:
        result = _solve_on(modes, num_points, nodes, tiled, numbers)
        watched = _roughest(modes, batch - mean, nodes, nu)
        few = (speed, nu[watched] if isinstance(nu, np.ndarray) else nu, float(time), float(extent))
        finer = _solve_on(modes[watched], num_points, 2 * nodes, tiled, few)
        spread = np.abs(modes).sum(axis=-1).max() * 2 / num_points / np.min(nu)
        change = np.abs(finer - result[watched]).max() / speed
        if change <= 1e-14 + np.finfo(float).eps * spread:
            moving = np.ptp(batch, axis=-1) > 0
            _check_size((result + mean)[moving], nu[moving] if isinstance(nu, np.ndarray) else nu, time)
            return (result + mean).reshape(u0.shape)
        nodes *= 2
        if not nodes <= MAX_QUADRATURE:
            raise SolverDiverged(
                f"cole_hopf: the quadrature still changes by {change:.1e} at {nodes // 2} nodes; `viscosity` "
                f"{np.min(nu):g} at `time` {time:g} needs a finer one."
            )


def _checked_viscosity(viscosity: Any, rows: int) -> float | np.ndarray:
    """A number, or ``(rows, 1)`` numbers."""
    if np.ndim(viscosity) == 0:
        return float(viscosity)
    if np.size(viscosity) != rows:
        raise ValueError(f"cole_hopf: `viscosity` must be a number or one for each of {rows} rows; got {viscosity!r}.")
    return np.reshape(viscosity, (rows, 1)).astype(np.float64)


def _check_size(u: np.ndarray, viscosity: float | np.ndarray, time: float) -> None:
    """The result is a mean of (x - Y) / t, whose rounding is of the size of its spread sqrt(2 nu / t), not of u."""
    left = np.abs(u).max(axis=-1, keepdims=True)
    lost = np.finfo(float).eps * np.sqrt(2 * viscosity / time) > LARGEST_ROUNDING * left
    if lost.any():
        value = float(np.broadcast_to(viscosity, lost.shape)[lost].max())
        raise ValueError(_decayed(value, time, f"values up to {left[lost].min():.1e}"))


def _decayed(viscosity: float, time: float, rest: str) -> str:
    return (
        f"cole_hopf: `viscosity` must leave more of `u0` than rounding; got {viscosity:g}, which at `time` {time:g} "
        f"leaves {rest}. Use a smaller viscosity, a shorter time, or time stepping (method lawson7)."
    )


def _potential_modes(batch: np.ndarray, mean: np.ndarray, time: float, extent: float) -> tuple[np.ndarray, float]:
    """Modes of U in the moving frame, and ``max |u0 - mean|``."""
    centred = batch - mean
    speed = float(np.abs(centred).max())
    k = 2 * np.pi / extent * np.arange(batch.shape[-1] // 2 + 1)
    modes = np.fft.rfft(centred)
    modes[:, 0] = 0
    modes[:, 1:] *= -1j / k[1:]
    if np.abs(mean).max() > np.finfo(float).eps * speed:  # else the frame moves by less than rounding
        modes[:, 1:] *= np.exp(-1j * k[1:] * mean * time)
    return modes, speed


def _first_nodes(modes: np.ndarray, num_points: int, numbers: _Numbers) -> tuple[int, bool]:
    """Quadrature nodes to begin with, and whether the exponents are too large for one scale.

    The data's own grid, or every 2^j-th of its points as long as they resolve the modes that the heat flow leaves.
    """
    whole = num_points * max(1, -(-256 // num_points))
    nodes = whole
    while nodes % 2 == 0 and nodes > 512:
        nodes //= 2
    problem = _Problem(np.fft.irfft(resize_modes(modes, num_points, nodes), nodes), *numbers)
    if problem.spread > SAFE_RANGE:
        return whole, True
    while nodes < min(whole, 32 * problem.modes):
        nodes *= 2
    return nodes, False


def _roughest(modes: np.ndarray, centred: np.ndarray, nodes: int, viscosity: float | np.ndarray) -> np.ndarray:
    """Rows on which the quadrature is checked: the largest, and the one with most of its modes above the nodes'.

    Where the viscosity varies, both are relative to it.
    """
    above = np.abs(modes[:, nodes // 2 :]).sum(axis=-1, keepdims=True)
    size = np.abs(centred).max(axis=-1, keepdims=True)
    if isinstance(viscosity, np.ndarray):
        above, size = above / viscosity, size / viscosity
    return np.unique([size.argmax(), above.argmax()])


def _solve_on(modes: np.ndarray, num_points: int, nodes: int, tiled: bool, numbers: _Numbers) -> np.ndarray:
    """(B, num_points), the solution with the mean taken out, by quadrature with ``nodes`` nodes."""
    potential = np.fft.irfft(resize_modes(modes, num_points, nodes), nodes)
    problem = _Problem(potential, *numbers)
    if tiled:
        return _tiled_sums(problem, num_points)
    smooth, elapsed = _smoothed_weights(problem)
    points = 128
    while points < num_points:
        u = _kernel_sums(problem, smooth, problem.time - elapsed, points)
        if spectral_tail(u).max() <= 4e-16 * points**0.5:  # the level of rounding
            return resample(u, num_points)
        points *= 2
    return _kernel_sums(problem, smooth, problem.time - elapsed, num_points)


def _smoothed_weights(problem: _Problem) -> tuple[np.ndarray, Any]:
    """Heat flow of exp(-U / (2 nu)) for a short time, on fewer nodes: the sum that follows is then small.

    The flow is the same positive quadrature with a narrow kernel, so it keeps the relative precision of every value.
    The coarse nodes resolve the smoothed weights and the rest of the kernel together, to below rounding.

    Returns:
        the weights on the coarse nodes, ``(B, M)``, and the time that they have flowed (0 if nothing was saved), one
        for each row where the viscosity varies.
    """
    wave = 2 * np.pi / problem.extent
    digits, modes = DIGITS + problem.spread, problem.modes
    exponent = problem.potential.min(axis=-1, keepdims=True) - problem.potential
    weights = np.exp(exponent / (2 * problem.viscosity))
    stride = int(problem.nodes / max(4 * modes, 32))
    while stride > 1 and problem.nodes % stride:
        stride -= 1
    if stride < 4:
        return weights, 0.0
    coarse = problem.nodes // stride
    elapsed = digits / (problem.viscosity * (wave * (coarse - modes)) ** 2)
    spacing = problem.extent / problem.nodes
    half = int(np.ceil(problem.reach(elapsed) / spacing))
    z = spacing * np.arange(-half, half + 1)
    kernel = np.exp(-(z**2) / (4 * problem.viscosity * elapsed))
    wrapped = np.take(weights, np.arange(-half, problem.nodes + half), axis=-1, mode="wrap")
    windows = sliding_window_view(wrapped, 2 * half + 1, axis=-1)[:, ::stride]
    return np.einsum("bmj,bj->bm" if problem.varies else "bmj,j->bm", windows, kernel), elapsed


def _kernel_sums(problem: _Problem, weights: np.ndarray, time: Any, points: int) -> np.ndarray:
    """``(B, points)``: the quotient of the sums with the kernel after ``time``, summed over its periodic images."""
    nodes = weights.shape[-1]
    common = math.lcm(points, nodes)
    z = np.arange(common) / common
    shape = (len(weights), common) if problem.varies else (common,)
    kernel, moment = np.zeros(shape), np.zeros(shape)
    images = int(np.ceil(problem.reach(time) / problem.extent)) + 1
    for image in range(-images, images + 1):
        distance = problem.extent * (z + image)
        term = np.exp(-(distance**2) / (4 * problem.viscosity * time))
        kernel += term
        moment += distance * term
    if problem.varies and common in (points, nodes):
        return circular_sums(weights, moment, points) / (time * circular_sums(weights, kernel, points))
    shift = np.arange(points)[:, None] * (common // points) - np.arange(nodes)[None, :] * (common // nodes)
    if problem.varies:
        total = np.einsum("bm,bxm->bx", weights, kernel[:, shift])
        return np.einsum("bm,bxm->bx", weights, moment[:, shift]) / (time * total)
    total = np.einsum("bm,xm->bx", weights, kernel[shift])
    return np.einsum("bm,xm->bx", weights, moment[shift]) / (time * total)


def _tiled_sums(problem: _Problem, points: int) -> np.ndarray:
    """``(B, points)``: the same quotient for exponents of any range, rescaled tile by tile.

    On a tile of neighboring x the weights are taken relative to the largest one seen from its centre x_c (the
    log-sum-exp shift), and exp(-(x - Y)^2 / (4 nu t)) is split into the factor at x_c and a mild one that is the same
    for every sample and tile.
    """
    if problem.varies:
        rows = [replace(problem, potential=u[None], viscosity=float(nu)) for u, nu in problem.rows]
        return np.concatenate([_tiled_sums(row, points) for row in rows])
    nu, t, extent = problem.viscosity, problem.time, problem.extent
    reach = problem.reach(t)
    ratio = problem.nodes // points
    width = max(1, min(points, int(SAFE_RANGE * nu * t / reach * points / extent)))
    spacing = extent / problem.nodes
    half = int(np.ceil(reach / spacing)) + 1
    x = extent / points * np.arange(width)
    centre = x[-1] / 2
    offsets = np.arange(-half, (width - 1) * ratio + half + 1)
    y = spacing * offsets
    away = x - centre
    factor = np.exp(away[:, None] * (2 * (y - centre)[None, :] - away[:, None]) / (4 * nu * t))
    moment = factor * (x[:, None] - y[None, :])
    gauss = (y - centre) ** 2 / (4 * nu * t)
    result = np.empty((problem.potential.shape[0], points))
    for start in range(0, points, width):
        stop = min(start + width, points)
        exponent = np.take(problem.potential, start * ratio + offsets, axis=-1, mode="wrap") / (-2 * nu) - gauss
        exponent -= exponent.max(axis=-1, keepdims=True)
        weights = np.exp(exponent, out=exponent)
        total = np.einsum("by,xy->bx", weights, factor[: stop - start])
        result[:, start:stop] = np.einsum("by,xy->bx", weights, moment[: stop - start]) / (t * total)
    return result
