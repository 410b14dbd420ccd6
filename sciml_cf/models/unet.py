"""A U-Net: convolutions on a grid and on coarser ones, with skips between grids of equal size."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from sciml_cf.models.conv import CONVOLUTIONS, Residual, check_dims, check_sizes
from sciml_cf.models.coordinates import Coordinates, coordinate_channels, located, plain_arguments
from sciml_cf.models.origin import remembered

_POOLS = (nn.functional.avg_pool1d, nn.functional.avg_pool2d, nn.functional.avg_pool3d)


@remembered
@dataclass(frozen=True)
class UNetConfig:
    """Shape of a U-Net; ``build`` makes the module.

    Args:
        in_channels: channels of the input field.
        out_channels: channels of the output field.
        width: channels on the finest grid; they double each time the grid is halved.
        layers: how often the grid is halved.
        kernel: points of a convolution along each axis, odd.
        projection_ratio: width of the projection's hidden layer over ``width``; its outputs are the head's features.
        num_dims: spatial dimensions, 1 to 3.
        coordinates, cells, right_end: see FNOConfig.
        boundary: "periodic" continues the fields by themselves, "wall" and "open" by zeros.

    Raises:
        ValueError: a number is not a positive integer, ``kernel`` is even, ``num_dims`` above 3, or ``boundary``
            unknown.
    """

    in_channels: int = 1
    out_channels: int = 1
    width: int = 32
    layers: int = 3
    kernel: int = 3
    projection_ratio: int = 2
    num_dims: int = 1
    coordinates: Coordinates = "none"
    cells: bool = False
    right_end: bool = False
    boundary: Literal["periodic", "wall", "open"] = "periodic"

    def __post_init__(self) -> None:
        check_sizes(self)

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new U-Net, ``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``, initialised from ``seed`` alone.

        Like a convolutional network it sees a fixed number of points: what is learnt at one resolution does not
        transfer to another.

        References:
            Ronneberger, Fischer and Brox (2015), U-Net (arXiv:1505.04597), with residual blocks (arXiv:1512.03385) and
            without normalization.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            core = UNet(self)
        return located(core, self.coordinates, cells=self.cells, right_end=self.right_end)

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return plain_arguments(self, asdict(self))


class UNet(nn.Module):
    """Lifting, a level on each grid, and a projection whose last layer is the head."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.num_dims, self.layers = config.num_dims, config.layers
        Convolution = CONVOLUTIONS[config.num_dims - 1]
        inputs = config.in_channels + coordinate_channels(config.coordinates, config.num_dims)
        level: nn.Module = _block(config, config.layers)
        for depth in reversed(range(config.layers)):
            level = _Level(config, depth, level)
        features = config.projection_ratio * config.width
        self.lifting, self.level = Convolution(inputs, config.width, 1), level
        self.projection, self.head = (
            Convolution(config.width, features, 1),
            Convolution(features, config.out_channels, 1),
        )

    def forward(self, input: Tensor) -> Tensor:
        """``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``.

        Raises:
            ValueError: the input has other dimensions, or too few points to be halved so often.
        """
        check_dims("UNet", input, self.num_dims)
        if min(input.shape[2:]) < 2**self.layers:
            raise ValueError(
                f"UNet: `input` must have at least {2**self.layers} points along each axis, to be halved {self.layers} "
                f"times; got {tuple(input.shape)}. Build it with fewer layers."
            )
        u = self.level(self.lifting(input))
        return self.head(nn.functional.gelu(self.projection(u)))


class _Level(nn.Module):
    """A block, the levels below it on half the points, and a block that joins both."""

    def __init__(self, config: UNetConfig, depth: int, below: nn.Module) -> None:
        super().__init__()
        Convolution, width = CONVOLUTIONS[config.num_dims - 1], config.width * 2**depth
        self.pool = _POOLS[config.num_dims - 1]
        self.before, self.after = (_block(config, depth) for _ in range(2))
        self.down, self.below, self.up = Convolution(width, 2 * width, 1), below, Convolution(2 * width, width, 1)
        self.join = Convolution(2 * width, width, 1)

    def forward(self, u: Tensor) -> Tensor:
        u = self.before(u)
        coarse = self.below(self.down(self.pool(u, 2, ceil_mode=True)))
        back = nn.functional.interpolate(self.up(coarse), scale_factor=2.0, mode="nearest")
        within = tuple(slice(n) for n in u.shape[2:])  # an odd number of points was rounded up
        return self.after(self.join(torch.cat([u, back[(..., *within)]], dim=1)))


def _block(config: UNetConfig, depth: int) -> Residual:
    return Residual(config.width * 2**depth, config.kernel, config.num_dims, config.boundary)
