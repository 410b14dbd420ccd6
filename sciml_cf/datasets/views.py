"""Samples that are read when they are asked for, with the part of a tensor's interface that this package uses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sciml_cf.errors import in_one_line


class View:
    """A field of all samples, ``(S, C, *N)``, of which parts are read and become tensors: ``view[3:7]``, ``view[rows,
    0]``.

    A view of some of the samples, as ``split`` makes them, reads nothing.

    Args:
        shape: ``(S, C, *N)``.
        dtype: of what is read.
        read: from increasing numbers of samples ``(B,)`` to their ``(B, C, *N)``.
    """

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype, read: Callable[[np.ndarray], Tensor]) -> None:
        self.shape, self.dtype, self._read = torch.Size(shape), dtype, read

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        """Shape and precision; reads nothing."""
        return in_one_line(self, lambda: f"{tuple(self.shape)}, {str(self.dtype).rpartition('.')[2]}, read when taken")

    def __getitem__(self, key: Any) -> Tensor:
        """Samples, read now: one, a slice, an array of numbers or of truth values; behind them keys of other axes."""
        rows, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(rows, int | np.integer):
            number = range(len(self))[rows]  # IndexError beyond the ends
            found = self._read(np.array([number]))[0]
        else:
            found, rest = self._some(self._numbers(rows)), (slice(None), *rest) if rest else ()
        return found[rest] if rest else found

    def __iter__(self) -> Iterator[Tensor]:
        return (self[number] for number in range(len(self)))

    def split(self, size: int) -> list[View]:
        """Views of so many samples each."""
        return [self.part(slice(start, start + size)) for start in range(0, len(self), size)]

    def part(self, rows: slice | np.ndarray) -> View:
        """A view of some of the samples."""
        numbers = np.arange(len(self))[rows]
        return View((len(numbers), *self.shape[1:]), self.dtype, lambda some: self._some(numbers[some]))

    def map(self, function: Callable[[Tensor], Tensor]) -> View:
        """A view of what a function makes of ``(B, C, *N)``, sample by sample; one sample is read for its shape."""
        one = function(self._read(np.array([0])))
        return View((len(self), *one.shape[1:]), one.dtype, lambda rows: function(self._read(rows)))

    def _numbers(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            return np.arange(len(self))[rows]
        if rows is Ellipsis or rows is None:
            raise IndexError("a view takes numbers of samples first, such as x[:8]")
        return np.arange(len(self))[np.asarray(rows)]

    def _some(self, numbers: np.ndarray) -> Tensor:
        """Samples in any order, the same ones several times too."""
        distinct, place = np.unique(numbers, return_inverse=True)
        if len(distinct) == len(numbers) and np.array_equal(distinct, numbers):
            return self._read(numbers)
        return self._read(distinct)[torch.from_numpy(place.reshape(-1))]


def in_memory(fields: Tensor | View) -> Tensor:
    """All samples as a tensor."""
    return fields if isinstance(fields, Tensor) else fields[:]
