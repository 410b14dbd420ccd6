"""The warning that a model is not one operator on odd and even grids: Fourier layers of neuraloperator 2.0 are not."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from importlib.metadata import version

from torch import nn

_LOG = logging.getLogger(__name__)
_LAYERS = "neuralop.layers.spectral_convolution"


def warn_of_odd_grids(function: str, model: nn.Module, points: Iterable[int]) -> None:
    """One line where such layers are used with odd and even numbers of points, see ``sciml_cf.models.spectral``.

    Args:
        function: the function that the message names.
        model: any module.
        points: along an axis, of the grids at hand and of the one that the model was trained on, where it is known.
    """
    sizes = sorted(set(points))
    if len({n % 2 for n in sizes}) == 2 and _shifts_modes(model):
        _LOG.warning(
            "%s: the Fourier layers of the model are those of neuraloperator 2.0, which differ between odd and even "
            "numbers of points, here %s, so errors at some of them say nothing of the training. Train with "
            "conv_module=sciml_cf.models.spectral.ConsistentSpectralConv, as the models of this version have.",
            function, ", ".join(map(str, sizes)),
        )  # fmt: skip


def _shifts_modes(model: nn.Module) -> bool:
    if _LAYERS not in sys.modules or version("neuraloperator") != "2.0.0":
        return False
    kind = sys.modules[_LAYERS].SpectralConv
    return any(type(layer) is kind and getattr(layer, "order", 1) > 1 for layer in model.modules())
