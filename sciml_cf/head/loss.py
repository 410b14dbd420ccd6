"""The seam that fits any training loop: a loss that solves the head before it is returned."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from sciml_cf.head.attach import ClosedFormHead
from sciml_cf.head.layout import Layer
from sciml_cf.head.rules import Rule


class ClosedFormLoss(nn.Module):
    """Mean squared error at the head that is optimal for this very batch (one forward pass a step).

    Called in training mode with gradients on, it takes the features that the layer saw in this forward pass, solves
    the head on them, writes it into the layer, and returns the loss with the new head. The head counts as a constant
    in the backward pass: by Theorem 2 that is the whole gradient of the solved loss. In evaluation mode, or with
    gradients off, it is the plain mean squared error and nothing is solved.

        W_t = rule(features, y),   loss = mean |W_t^T phi - y|^2     (mean over all rows and outputs)

    Args:
        layer: the model's last linear layer (nn.Linear or a 1x1 convolution).
        rule: Proximal(...), Ridge(...), or another rule.
        initial: "zeros" or "keep", see ClosedFormHead.
    Source: Closed-Form Last Layer Optimization (arXiv:2510.04606), Eq. (17), Theorem 2.

    Example::

        loss_of = ClosedFormLoss(model.readout, Proximal(strength=1e-2))
        optimizer = torch.optim.Adam(p for p in model.parameters() if p.requires_grad)
        for x, y in batches:
            optimizer.zero_grad()
            loss_of(model(x), y).backward()
            optimizer.step()
    """

    def __init__(self, layer: Layer, rule: Rule, *, initial: Literal["zeros", "keep"] = "zeros") -> None:
        super().__init__()
        self.head = ClosedFormHead(layer, rule, initial=initial)

    def forward(self, prediction: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss; see the class.

        Args:
            prediction: the model's output, (B, C, *N) or (B, *N, C): the layer's own output, at most rearranged.
            targets: shaped like the prediction.
        """
        layer = self.head.layer
        if not (layer.training and torch.is_grad_enabled()):
            if prediction.shape != targets.shape:
                raise ValueError(
                    f"ClosedFormLoss: `targets` must be shaped like the prediction {tuple(prediction.shape)}; "
                    f"got {tuple(targets.shape)}."
                )
            return nn.functional.mse_loss(prediction, targets)
        features, targets = self.head.take(targets, prediction=prediction)
        self.head.solve(self.head.moments(features, targets).all_reduce())
        # The class's own forward: no hooks, so that this second use of the layer captures nothing.
        output = type(layer).forward(layer, features)  # pyright: ignore[reportArgumentType]
        return nn.functional.mse_loss(output, targets)
