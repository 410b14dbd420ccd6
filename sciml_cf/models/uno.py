"""The U-shaped neural operator, built by neuraloperator."""

from __future__ import annotations

import contextlib
import functools
import io
from dataclasses import asdict, dataclass
from typing import Any, get_args

import torch
from torch import nn

from sciml_cf.errors import check_choice, check_count
from sciml_cf.models.coordinates import (
    PLACE,
    Coordinates,
    check_place,
    coordinate_channels,
    located,
    plain_arguments,
)
from sciml_cf.models.fno import Spectral, fourier_layer, import_model
from sciml_cf.models.origin import remembered


@remembered
@dataclass(frozen=True)
class UNOConfig:
    """Shape of a U-shaped neural operator; ``build`` makes the module.

    The first and the last layer work on the grid given, those between on half the points; the k-th layer from the end
    also sees the output of the k-th from the start.

    Args:
        in_channels: channels of the input field.
        out_channels: channels of the output field.
        width: channels of the hidden layers.
        modes: complex Fourier modes kept in each direction, the mean included; those of a grid of half the points.
        layers: number of Fourier layers, at least 4.
        projection_ratio: width of the projection's hidden layer over ``width``; its outputs are the head's features.
        num_dims: spatial dimensions.
        coordinates: see FNOConfig.
        cells: see FNOConfig.
        right_end: see FNOConfig.
        padding: see FNOConfig.
        spectral: see FNOConfig.

    Raises:
        ValueError: a number is not a positive integer, ``layers`` below 4, ``padding`` not from 0 to below 1, or
            ``spectral`` unknown.
    """

    in_channels: int = 1
    out_channels: int = 1
    width: int = 64
    modes: int = 16
    layers: int = 5
    projection_ratio: int = 2
    num_dims: int = 1
    coordinates: Coordinates = "none"
    cells: bool = False
    right_end: bool = False
    padding: float = 0.0
    spectral: Spectral = "consistent"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name not in ("spectral", *PLACE):
                check_count("UNOConfig", name, value, minimum=4 if name == "layers" else 1)
        check_place("UNOConfig", self.coordinates, self.padding)
        check_choice("UNOConfig", "spectral", self.spectral, get_args(Spectral))

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new UNO, ``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``, initialised from ``seed`` alone.

        Where the grid changes, its spectral part is resized in Fourier space, but its linear skips are interpolated
        with aligned corners (linearly in one dimension): the first and the last of n points become the first and the
        last of m. On a periodic grid x_j = j L / n these lie L - L/n and L - L/m apart, so a skip is stretched by up to
        ``L |1/m - 1/n|``, which depends on the resolution: what is learnt at one is a little wrong at another.

        References:
            Rahman et al., U-NO: U-shaped Neural Operators (arXiv:2204.11127).
        """
        UNO = import_model("UNO")
        from neuralop.layers.fno_block import FNOBlocks

        scalings = [1.0] * self.layers
        scalings[1], scalings[-2] = 0.5, 2.0  # so that both ends of every horizontal skip are on one grid
        print_nothing = contextlib.redirect_stdout(io.StringIO())  # it prints two lines a layer
        with torch.random.fork_rng(devices=[]), print_nothing:
            torch.manual_seed(seed)
            core = UNO(
                in_channels=self.in_channels + coordinate_channels(self.coordinates, self.num_dims),
                out_channels=self.out_channels,
                hidden_channels=self.width,
                lifting_channels=2 * self.width,
                projection_channels=self.projection_ratio * self.width,
                positional_embedding=None,
                n_layers=self.layers,
                uno_out_channels=[self.width] * self.layers,
                uno_n_modes=[[2 * (self.modes - 1)] * self.num_dims] * self.layers,
                uno_scalings=[[scaling] * self.num_dims for scaling in scalings],
                channel_mlp_skip="linear",  # its default cannot change the number of channels, as horizontal skips do
                domain_padding=self.padding or None,
                operator_block=functools.partial(FNOBlocks, conv_module=fourier_layer(self.spectral, self.num_dims)),
            )
        return located(core, self.coordinates, cells=self.cells, right_end=self.right_end)

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return plain_arguments(self, asdict(self))
