"""A deep operator network: a net of the input at fixed sensors and a net of the place, multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from data_gen.grids.positions import relative_positions
from sciml_cf.models.conv import CONVOLUTIONS, check_dims, check_sizes
from sciml_cf.models.coordinates import Coordinates, Located, coordinate_channels, plain_arguments
from sciml_cf.models.origin import remembered


@remembered
@dataclass(frozen=True)
class DeepONetConfig:
    """Shape of a deep operator network; ``build`` makes the module.

    Args:
        in_channels: channels of the input field.
        out_channels: channels of the output field.
        width: units of the hidden layers of both nets.
        layers: hidden layers of both nets.
        sensors: points along each axis at which the input is read; it is interpolated to them linearly from other
            grids. ``sciml-cf train`` takes the grid of the training.
        projection_ratio: outputs of both nets over ``width``; their products are the head's features.
        num_dims: spatial dimensions, 1 to 3.
        coordinates: how the trunk is given the place, "linear" or "periodic" (see sciml_cf.models.coordinates); "none"
            takes what suits the boundary.
        cells, right_end: where the points of a grid lie, see FNOConfig.
        boundary: "periodic", "wall" or "open".

    Raises:
        ValueError: a number is not a positive integer, ``num_dims`` above 3, or ``boundary`` unknown.
    """

    in_channels: int = 1
    out_channels: int = 1
    width: int = 64
    layers: int = 3
    sensors: int = 64
    projection_ratio: int = 2
    num_dims: int = 1
    coordinates: Coordinates = "none"
    cells: bool = False
    right_end: bool = False
    boundary: Literal["periodic", "wall", "open"] = "periodic"

    def __post_init__(self) -> None:
        check_sizes(self)

    @property
    def places(self) -> Coordinates:
        """How the trunk is given the place: "linear" or "periodic"."""
        usual: Coordinates = "periodic" if self.boundary == "periodic" else "linear"
        return usual if self.coordinates == "none" else self.coordinates

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new network, ``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``, initialised from ``seed`` alone.

        References:
            Lu et al., Learning nonlinear operators via DeepONet (arXiv:1910.03193), with one head for all outputs.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return DeepONet(self)

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return plain_arguments(self, asdict(self))


class DeepONet(nn.Module):
    """A branch of the sensors' values and a trunk of the place; the head mixes their products at each point.

    u(x)_c = sum_k W_kc b_k(a(s_1), ..., a(s_m)) t_k(x) + w_c
    """

    def __init__(self, config: DeepONetConfig) -> None:
        super().__init__()
        self.num_dims, self.sensors = config.num_dims, (config.sensors,) * config.num_dims
        self.periodic = config.boundary == "periodic"
        hidden, features = [config.width] * config.layers, config.projection_ratio * config.width
        numbers = config.in_channels * config.sensors**config.num_dims
        channels = coordinate_channels(config.places, config.num_dims)
        self.branch = _net([numbers, *hidden, features])
        self.trunk = nn.Sequential(*_net([channels, *hidden, features]), nn.GELU())
        self.place = Located(nn.Identity(), config.places, cells=config.cells, right_end=config.right_end)
        self.head = CONVOLUTIONS[config.num_dims - 1](features, config.out_channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``.

        Raises:
            ValueError: the input has other dimensions.
        """
        check_dims("DeepONet", input, self.num_dims)
        nothing = input.new_zeros(1, 0, *input.shape[2:])
        trunk = self.trunk(self.place(nothing).movedim(1, -1)).movedim(-1, 1)  # (1, features, *N)
        branch = self.branch(self.at_sensors(input).flatten(1))
        return self.head(branch[(..., *[None] * self.num_dims)] * trunk)

    def at_sensors(self, input: Tensor) -> Tensor:
        """The input at the sensors, (B, in_channels, *sensors), interpolated linearly along each axis."""
        shape = tuple(input.shape[2:])
        kind = {"cells": self.place.cells, "right_end": self.place.right_end}
        given = self.place.positions
        if given is None or tuple(len(axis) for axis in given) != shape:
            given = relative_positions(shape, **kind)
        for axis, (old, new) in enumerate(zip(given, relative_positions(self.sensors, **kind), strict=True), 2):
            if len(old) == len(new) and np.allclose(old, new):
                continue
            weights = torch.from_numpy(_interpolation(old, new, periodic=self.periodic)).to(input.device, input.dtype)
            input = (input.movedim(axis, -1) @ weights.T).movedim(-1, axis)
        return input


def _net(widths: Sequence[int]) -> nn.Sequential:
    """A perceptron of these widths; its last layer is linear."""
    layers = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*layers[:-1])


def _interpolation(old: np.ndarray, new: np.ndarray, *, periodic: bool) -> np.ndarray:
    """(new, old), the matrix that interpolates values at old positions to new ones; constant beyond the outermost."""
    columns = np.eye(len(old))
    period = 1.0 if periodic else None
    return np.stack([np.interp(new, old, column, period=period) for column in columns], axis=1)
