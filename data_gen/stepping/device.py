"""Fields on another device: the few things that torch's tensors do otherwise than numpy's arrays.

The integrator is written for both. Its state lives where ``grid.asarray`` puts it; symbols, coefficients and decisions
are made on the host. Torch is imported here alone, and only when a device is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np

from data_gen.grids.periodic import PeriodicGrid


def grid_on(grid: PeriodicGrid, device: str | None) -> PeriodicGrid:
    """The same grid with its transforms on a device.

    Args:
        grid: a grid on the host.
        device: "cpu" or None for numpy; "torch" for torch on the processor; else what ``torch.device`` takes ("cuda").

    Raises:
        ValueError: torch is not installed, or does not find such a device.
    """
    if device in (None, "cpu"):
        return grid
    name = "cpu" if device in ("torch", "torch:cpu") else str(device)
    try:
        _torch().zeros(1, device=name)
    except ImportError:
        raise ValueError(f"solve: `device` must be cpu without torch; got {device!r}. Install torch.") from None
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise ValueError(f"solve: `device` must be available; got {device!r}. Torch says: {reason}.") from None
    return TorchGrid(*_fields_of(grid), device=name)


@dataclass(frozen=True)
class TorchGrid(PeriodicGrid):
    """A periodic grid whose fields, modes and factors are torch tensors on ``device``."""

    device: str = "cpu"

    @cached_property
    def host(self) -> PeriodicGrid:
        """The same grid with numpy's arrays."""
        return PeriodicGrid(*_fields_of(self))

    @cached_property
    def derivative(self) -> tuple[Any, ...]:
        """As that of ``PeriodicGrid``, tensors."""
        return tuple(self.asarray(factor) for factor in self.host.derivative)

    def asarray(self, values: np.ndarray) -> Any:
        """``values`` as a tensor on the device."""
        return place(values, self.device)

    def to_modes(self, u: Any) -> Any:
        """As that of ``PeriodicGrid``."""
        return _torch().fft.rfftn(u, dim=tuple(range(-self.num_dims, 0)))

    def to_points(self, modes: Any, *, overwrite: bool = False) -> Any:
        """As that of ``PeriodicGrid``; ``modes`` are never used up."""
        return _torch().fft.irfftn(modes, s=self.shape, dim=tuple(range(-self.num_dims, 0)))


def _fields_of(grid: PeriodicGrid) -> tuple[Any, ...]:
    return grid.num_points, grid.extent, grid.num_dims, grid.counts, grid.lengths


def namespace(array: Any) -> Any:
    """The module of an array's functions: numpy or torch."""
    return np if isinstance(array, np.ndarray) else _torch()


def device_of(array: Any) -> str:
    """The device of a tensor; empty for a numpy array."""
    return "" if isinstance(array, np.ndarray) else str(array.device)


def place(values: np.ndarray, device: str) -> Any:
    """``values`` on the device that ``device_of`` names."""
    return _torch().from_numpy(np.array(values)).to(device) if device else values


def to_host(array: Any) -> np.ndarray:
    """An array or tensor as a numpy array."""
    return array if isinstance(array, np.ndarray) else array.cpu().numpy()


def empty_rows(modes: Any, count: int) -> Any:
    """``(count, *modes.shape)``, complex and not set, where ``modes`` are."""
    shape = (count, *modes.shape)
    return np.empty(shape, dtype=np.complex128) if isinstance(modes, np.ndarray) else modes.new_empty(shape)


def real_rows(values: Any) -> Any:
    """``(J, ...)`` complex -> (J, 2 M) real, a view."""
    if isinstance(values, np.ndarray):
        return values.reshape(len(values), -1).view(np.float64)
    return _torch().view_as_real(values).reshape(len(values), -1)


def combined(weights: np.ndarray, rows: Any, shape: tuple[int, ...]) -> Any:
    """sum_j weights_j rows_j as complex modes; on the host not by BLAS, whose threads would change the last bit."""
    if isinstance(rows, np.ndarray):
        return np.einsum("j,jm->m", weights, rows[: len(weights)]).view(np.complex128).reshape(shape)
    total = place(weights, device_of(rows)) @ rows[: len(weights)]
    return _torch().view_as_complex(total.reshape(*shape, 2))


def _torch() -> ModuleType | Any:
    import torch

    return torch
