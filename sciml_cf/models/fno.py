"""The Fourier neural operator in the shape of the closed-form paper, and its tensorised form, by neuraloperator."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import torch
from torch import nn

from sciml_cf.errors import check_choice, check_count, check_positive
from sciml_cf.models.coordinates import (
    PLACE,
    Coordinates,
    check_place,
    coordinate_channels,
    located,
    plain_arguments,
)
from sciml_cf.models.origin import remembered

Spectral = Literal["consistent", "neuraloperator"]


@remembered
@dataclass(frozen=True)
class FNOConfig:
    """Shape of a Fourier neural operator; ``build`` makes the module.

    Args:
        in_channels: channels of the input field.
        out_channels: channels of the output field.
        width: channels of the hidden layers.
        modes: complex Fourier modes kept in each direction, the mean included.
        layers: number of Fourier layers.
        projection_ratio: width of the projection's hidden layer over ``width``; its outputs are the head's features.
        num_dims: spatial dimensions.
        coordinates: "linear" or "periodic" appends channels of coordinates to the inputs (see
            sciml_cf.models.coordinates); "none" is right where the law is the same at every place.
        cells: whether a grid of n points is one of n cells, for the coordinates.
        right_end: whether its last point is the right end of the domain, for the coordinates.
        padding: share of its length by which the domain is continued with zeros at both sides of each axis before the
            Fourier layers; 0 for none, below 1.
        spectral: Fourier layers in several dimensions: "consistent" on grids of any number of points (see
            sciml_cf.models.spectral), or as "neuraloperator" 2.0 has them; runs stored without it have the latter.

    Raises:
        ValueError: a number is not a positive integer, ``padding`` not from 0 to below 1, or ``spectral`` unknown.
    """

    in_channels: int = 1
    out_channels: int = 1
    width: int = 64
    modes: int = 16
    layers: int = 4
    projection_ratio: int = 2
    num_dims: int = 1
    coordinates: Coordinates = "none"
    cells: bool = False
    right_end: bool = False
    padding: float = 0.0
    spectral: Spectral = "consistent"

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name not in ("rank", "spectral", *PLACE):
                check_count(type(self).__name__, name, value)
        check_place(type(self).__name__, self.coordinates, self.padding)
        check_choice(type(self).__name__, "spectral", self.spectral, get_args(Spectral))

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new FNO, ``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``, initialised from ``seed`` alone.

        neuraloperator's ``n_modes`` counts both signs of a wavenumber and keeps n // 2 + 1 complex modes, hence
        n = 2 (modes - 1). Its own positional channel is left out: on a periodic domain the default ramp is a sawtooth,
        and the model would not transfer between resolutions.

        References:
            Li et al., Fourier Neural Operator (arXiv:2010.08895), section 5.1.
        """
        return self._build("FNO", seed)

    def _build(self, name: str, seed: int, **more: Any) -> nn.Module:
        kind = import_model(name)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            core = kind(
                n_modes=(2 * (self.modes - 1),) * self.num_dims,
                in_channels=self.in_channels + coordinate_channels(self.coordinates, self.num_dims),
                out_channels=self.out_channels,
                hidden_channels=self.width,
                n_layers=self.layers,
                projection_channel_ratio=self.projection_ratio,
                positional_embedding=None,
                use_channel_mlp=False,
                domain_padding=self.padding or None,
                conv_module=fourier_layer(self.spectral, self.num_dims),
                **more,
            )
        return located(core, self.coordinates, cells=self.cells, right_end=self.right_end)

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return plain_arguments(self, asdict(self))


@remembered
@dataclass(frozen=True)
class TFNOConfig(FNOConfig):
    """Shape of a tensorised Fourier neural operator: an FNO whose spectral weights are Tucker factors.

    Args:
        in_channels: see FNOConfig.
        out_channels: see FNOConfig.
        width: see FNOConfig.
        modes: see FNOConfig.
        layers: see FNOConfig.
        projection_ratio: see FNOConfig.
        num_dims: see FNOConfig.
        coordinates: see FNOConfig.
        cells: see FNOConfig.
        right_end: see FNOConfig.
        padding: see FNOConfig.
        spectral: see FNOConfig.
        rank: share of the dense weights' parameters that the factors may hold, above 0.

    Raises:
        ValueError: ``rank`` is not above 0, or another number not a positive integer.
    """

    rank: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("TFNOConfig", "rank", self.rank)

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new TFNO, ``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``, initialised from ``seed`` alone.

        It keeps the FNO's modes and hence its behaviour at other resolutions; only the weights are compressed.

        References:
            Kossaifi et al., Multi-Grid Tensorized Fourier Neural Operator (arXiv:2310.00120).
        """
        return self._build("TFNO", seed, factorization="Tucker", rank=self.rank)


def fourier_layer(kind: Spectral, num_dims: int) -> Any:
    """The class of Fourier layers of this kind; in one dimension both are the same, and neuraloperator's is taken."""
    from sciml_cf.models.spectral import ConsistentSpectralConv, SpectralConv  # imports neuraloperator

    return SpectralConv if kind == "neuraloperator" or num_dims == 1 else ConsistentSpectralConv


def import_model(name: str) -> Any:
    """A class of neuraloperator's models, imported when it is first needed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its dependencies warn at import
        import neuralop.models
    return getattr(neuralop.models, name)
