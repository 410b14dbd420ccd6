"""Random mirror images of the training samples, for a law that is the same in the mirror."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sciml_cf.datasets.geometry import Geometry
from sciml_cf.training.choices import Augment

Items = dict[str, Tensor]


class Augmentation:
    """Each sample of a batch mirrored along random axes, the input and its target alike.

    Fields are taken as scalars: their values move and do not change. On a periodic axis x_j = j h becomes -x_j, which
    keeps the first point; on any other axis the points are reversed. The choices are those of torch's global generator.

    Args:
        kind: "flips" mirrors each axis by a fair coin: 2^d images. "square" permutes the axes too: all 8 symmetries of
            the square, 48 of the cube. "none" changes nothing.
        periodic: whether each axis is; empty for none.
    """

    def __init__(self, kind: Augment, periodic: Sequence[bool] = ()) -> None:
        self.kind, self._periodic = kind, tuple(periodic)

    @classmethod
    def of(cls, kind: Augment, data: Dataset[Items]) -> Augmentation:
        """That of a training on a dataset, whose grid and law are read where it has them, as a FieldDataset does.

        Raises:
            ValueError: its law or its grid is known, and another in the mirror.
        """
        if kind == "none" or not isinstance(data, Geometry):
            return cls(kind)
        periodic = [placement == "periodic" for placement in data.placements]
        _check_grid(kind, data.positions, periodic, data.extents)
        _check_law(kind, data)
        return cls(kind, periodic)

    def batch(self, items: Items) -> Items:
        """The items of a batch ``{"x": (B, C, *N), "y": (B, C', *N)}`` mirrored; labels ``(B,)`` stay.

        Raises:
            ValueError: axes of different lengths are to be exchanged, or targets are on another grid.
        """
        if self.kind == "none":
            return items
        grid = items["x"].shape[2:]
        if self.kind == "square" and len(set(grid)) > 1:
            shape = " x ".join(map(str, grid))
            raise ValueError(f"fit: `augment` must be flips where axes differ; got square on {shape} points.")
        fields = {name: part for name, part in items.items() if part.shape[1:] and part.shape[-len(grid) :] == grid}
        if items["y"].ndim > 2 and "y" not in fields:
            raise ValueError(
                f"fit: `augment` must be none where inputs and targets are on different grids; got {self.kind} for "
                f"inputs {tuple(items['x'].shape[1:])} and targets {tuple(items['y'].shape[1:])}."
            )
        count, num_dims = len(items["x"]), len(grid)
        mirrored = torch.rand(num_dims, count) < 0.5
        orders = list(itertools.permutations(range(num_dims))) if self.kind == "square" else [tuple(range(num_dims))]
        order = torch.randint(len(orders), (count,))
        return items | {name: self._changed(part, mirrored, orders, order) for name, part in fields.items()}

    def _changed(self, part: Tensor, mirrored: Tensor, orders: list[tuple[int, ...]], order: Tensor) -> Tensor:
        num_dims = len(mirrored)
        for axis in range(num_dims):
            image = part.flip(axis - num_dims)
            if axis < len(self._periodic) and self._periodic[axis]:
                image = image.roll(1, axis - num_dims)
            chosen = mirrored[axis].reshape(-1, *[1] * (part.ndim - 1)).to(part.device)
            part = torch.where(chosen, image, part)
        before, kept = part.ndim - num_dims, part
        for place, axes in enumerate(orders[1:], 1):
            image = kept.permute(*range(before), *(before + axis for axis in axes))
            part = torch.where((order == place).reshape(-1, *[1] * (part.ndim - 1)).to(part.device), image, part)
        return part


def _check_grid(
    kind: Augment, positions: Sequence[np.ndarray], periodic: Sequence[bool], extents: Sequence[float]
) -> None:
    """Raise ValueError unless the points of each axis are the same in the mirror, and axes to exchange alike."""
    for axis, (places, wraps) in enumerate(zip(positions, periodic, strict=True)):
        images = np.sort(-places % 1.0) if wraps else (1.0 - places)[::-1]
        if not np.allclose(images, np.sort(places) if wraps else places, rtol=0, atol=1e-6):
            raise ValueError(
                f"fit: `augment` must be none on points that are others in the mirror; got {kind} for axis {axis}. "
                "Where --resolution leaves out points, take one that keeps both ends."
            )
    first = positions[0]
    if kind == "square" and not all(
        other.shape == first.shape and np.allclose(other, first, rtol=0, atol=1e-6) and np.isclose(extent, extents[0])
        for other, extent in zip(positions, extents, strict=True)
    ):
        shape = " x ".join(str(len(places)) for places in positions)
        raise ValueError(
            "fit: `augment` must be flips where axes differ; got square on "
            f"{shape} points over {' x '.join(f'{extent:g}' for extent in extents)}."
        )


def _check_law(kind: Augment, data: Geometry) -> None:
    """Raise ValueError where the law is known, and the solution of a mirrored input is not the mirrored one."""
    if data.is_same_in_mirror(exchanged=kind == "square") in (True, None):
        return
    flips = kind == "square" and data.is_same_in_mirror()
    raise ValueError(
        f"fit: `augment` must be {'none or flips' if flips else 'none'} for data of {data.problem['equation']}, whose "
        f"law is another {'with axes exchanged' if flips else 'in the mirror'}; got {kind}."
    )
