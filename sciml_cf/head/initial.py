"""The head before the first solve."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciml_cf.head.binding.layer import Layer, num_inputs, num_outputs, read_head
from sciml_cf.head.choices import Initial


def initial_head(initial: Initial, layer: Layer) -> Tensor:
    """Head ``(F, C)`` float64, or (F + 1, C) with a bias as its last row, to start from.

    "zeros" is the paper's default; "keep" takes the layer's own weights; the others draw independent normal weights ::

        variance    lecun: 1 / F      xavier: 2 / (F + C)      he: 2 / F

    from torch's global generator, as torch.nn.init does, with a bias of zero. The draw is made on the CPU, so that one
    seed gives one head on every device.

    References:
        LeCun et al., 1998; Glorot and Bengio, 2010; He et al., 2015. The paper compares them (section 4.1).
    """
    present = read_head(layer)
    if initial == "keep":
        return present
    head = torch.zeros_like(present)
    if initial == "zeros":
        return head
    inputs, outputs = num_inputs(layer), num_outputs(layer)
    variance = {"lecun": 1 / inputs, "xavier": 2 / (inputs + outputs), "he": 2 / inputs}[initial]
    head[:inputs] = math.sqrt(variance) * torch.randn(inputs, outputs, dtype=torch.float64)
    return head
