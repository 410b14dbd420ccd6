"""Complex parameters as real ones of the same memory, for optimizers that know real numbers alone."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class RealViews:
    """Parameters with every complex one (...) replaced by a real one ``(..., 2)`` of the same memory.

    Made once the model is on its device; what moves the real parameter moves the complex one.

    Args:
        parameters: of a model.
    """

    def __init__(self, parameters: Sequence[nn.Parameter]) -> None:
        self._pairs = [(one, nn.Parameter(torch.view_as_real(one.detach()))) for one in parameters if one.is_complex()]
        reals = {id(one): real for one, real in self._pairs}
        self.parameters = [reals.get(id(one), one) for one in parameters]

    def take_gradients(self) -> None:
        """Give the real parameters the gradients of the complex ones, in the same memory."""
        for one, real in self._pairs:
            real.grad = None if one.grad is None else torch.view_as_real(one.grad.resolve_conj())

    def drop_gradients(self) -> None:
        """Forget the gradients of the complex parameters, which no optimizer holds."""
        for one, _ in self._pairs:
            one.grad = None
