"""A network as layers: its linear maps, what follows each of them, and their weights as float64 heads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sciml_cf.head.binding.layer import is_head_layer, read_head, write_head
from sciml_cf.layerwise.activations import IDENTITY, INVERSES, RELU_PSEUDO_INVERSE, Inverse


@dataclass(frozen=True)
class Layer:
    """One linear map (features to outputs) and the activation behind it; None for none."""

    linear: nn.Linear
    activation: nn.Module | None
    inverse: Inverse

    @property
    def has_bias(self) -> bool:
        """Whether a constant feature belongs to it."""
        return self.linear.bias is not None

    def activate(self, pre: Tensor) -> Tensor:
        """What the activation makes of the map's outputs."""
        return pre if self.activation is None else self.activation(pre)

    def apply(self, features: Tensor, head: Tensor) -> Tensor:
        """The map's outputs for a head ``(F, C)``, the bias its last row."""
        return torch.addmm(head[-1], features, head[:-1]) if self.has_bias else features @ head


def layers_of(network: nn.Sequential, *, pseudo_inverse: bool = False) -> list[Layer]:
    """The layers of a Sequential of Linear and activations, nested ones unfolded, a leading Flatten left to the rows.

    Args:
        network: as in ``fit_least_squares``.
        pseudo_inverse: whether ReLU is passed through by its pseudo-inverse, rather than refused.

    Raises:
        TypeError, ValueError: it holds something else; the message names it.
    """
    if not isinstance(network, nn.Sequential):
        raise TypeError(
            f"fit_least_squares: `network` must be an nn.Sequential of nn.Linear and activations; "
            f"got {type(network).__name__}. Its order is what the sweep goes through."
        )
    layers: list[Layer] = []
    for place, module in enumerate(_unfolded(network)):
        if isinstance(module, nn.Flatten) and not layers:
            continue
        if isinstance(module, nn.Linear):
            if not is_head_layer(module):
                raise ValueError(
                    f"fit_least_squares: `network` must hold plain nn.Linear weights; got {module} at place {place}, "
                    "whose weights are lazy, complex or computed from others. Run it once, or take the parametrization "
                    "off."
                )
            layers.append(Layer(module, None, IDENTITY))
        elif not layers or layers[-1].activation is not None:
            raise ValueError(
                f"fit_least_squares: `network` must have one nn.Linear before each activation; got {module} at place "
                f"{place} without one of its own."
            )
        else:
            layers[-1] = Layer(layers[-1].linear, module, _inverse(module, place, pseudo_inverse))
    if not layers:
        raise ValueError("fit_least_squares: `network` must hold at least one nn.Linear; got none.")
    if len({id(layer.linear) for layer in layers}) < len(layers):
        raise ValueError(
            "fit_least_squares: `network` must have weights of its own in each layer; one nn.Linear is there twice."
        )
    return layers


def flattens(network: nn.Sequential) -> bool:
    """Whether the network begins with a Flatten."""
    return isinstance(next(_unfolded(network), None), nn.Flatten)


def read_heads(layers: Sequence[Layer]) -> list[Tensor]:
    """The weights of all layers as heads ``(F, C)`` float64, a bias their last row."""
    return [read_head(layer.linear) for layer in layers]


def write_heads(layers: Sequence[Layer], heads: Sequence[Tensor]) -> None:
    """Put heads into the layers."""
    for layer, head in zip(layers, heads, strict=True):
        write_head(layer.linear, head)


def _unfolded(network: nn.Sequential) -> Iterator[nn.Module]:
    for module in network:
        if isinstance(module, nn.Sequential):
            yield from _unfolded(module)
        else:
            yield module


def _inverse(module: nn.Module, place: int, pseudo_inverse: bool) -> Inverse:
    if type(module) is nn.ReLU:
        if pseudo_inverse:
            return RELU_PSEUDO_INVERSE
        raise ValueError(
            f"fit_least_squares: `network` must have invertible activations; got ReLU at place {place}, which maps "
            'every z <= 0 to 0. Use nn.LeakyReLU, or relu="pseudo-inverse", which takes max(y, 0) for a target y.'
        )
    if type(module) not in INVERSES:
        known = ", ".join(kind.__name__ for kind in INVERSES)
        raise ValueError(
            f"fit_least_squares: `network` must have activations with a known inverse ({known}); got {module} at place "
            f"{place}. Add its type to sciml_cf.layerwise.INVERSES, or leave the module out."
        )
    return INVERSES[type(module)](module)
