"""Sizes of the models and trainings of a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sciml_cf.models import builder_for, describe


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """A Fourier neural operator and the batches that it is trained with.

    Args:
        width: of the operator.
        modes: of the operator.
        layers: of the operator.
        batch_size: samples a step.
    """

    width: int
    modes: int
    layers: int
    batch_size: int

    def operator(self, num_dims: int, **more: Any) -> dict[str, Any]:
        """The operator as a run folder stores it."""
        sizes = {"width": self.width, "modes": self.modes, "layers": self.layers}
        return describe(builder_for("fno", **sizes, num_dims=num_dims, **more))


SizeT = TypeVar("SizeT", bound=ModelSize)


@dataclass(frozen=True)
class Scale(Generic[SizeT]):
    """How large a study of several problems is.

    Args:
        sizes: by problem.
        share: of the epochs in a selection.
        seeds: of the reported trainings; the selection has its own.
    """

    sizes: Mapping[str, SizeT]
    share: float
    seeds: tuple[int, ...]
