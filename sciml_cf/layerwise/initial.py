"""The random weights that a sweep starts from."""

from __future__ import annotations

import torch
from torch import nn

from sciml_cf.errors import check_positive


@torch.no_grad()
def draw_weights(network: nn.Module, *, seed: int, bound: float = 1.0) -> None:
    """Draw every weight and bias of the linear layers uniformly from -bound to bound, in place.

    The paper's initial weights (bound 1). A sweep keeps what the random features of the network separate, and wide
    ones separate more than torch's own, which shrink with the width: see docs/results_layerwise.md.

    Args:
        network: any module; its nn.Linear are drawn anew.
        seed: of the draw.
        bound: above 0.

    References:
        arXiv:2401.06699, section II.
    """
    check_positive("draw_weights", "bound", bound)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            for parameter in (module.weight, module.bias):
                if parameter is not None:
                    drawn = torch.empty(parameter.shape, dtype=torch.float64).uniform_(
                        -bound, bound, generator=generator
                    )
                    parameter.copy_(drawn)
