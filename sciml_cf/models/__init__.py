"""Builders of models. A builder is a frozen dataclass with ``build(seed=...)`` and ``to_dict()``."""

from __future__ import annotations

from typing import Any

from torch import nn

from sciml_cf.errors import CheckpointError
from sciml_cf.models.fno import FNOConfig

__all__ = ["BUILDERS", "FNOConfig", "build_from", "describe"]

# The name under which a run folder remembers how its model was built.
BUILDERS: dict[str, type[FNOConfig]] = {"fno": FNOConfig}


def describe(builder: FNOConfig) -> dict[str, Any]:
    """What a run folder stores to build the same model again."""
    (name,) = [name for name, kind in BUILDERS.items() if kind is type(builder)]
    return {"builder": name, "arguments": builder.to_dict()}


def build_from(description: dict[str, Any], *, seed: int = 0) -> nn.Module:
    """The model that ``describe`` described.

    Raises:
        CheckpointError: the builder or one of its arguments is unknown to this version.
    """
    try:
        return BUILDERS[description["builder"]](**description["arguments"]).build(seed=seed)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"build_from: `description` must name a builder of this version ({', '.join(BUILDERS)}); "
            f"got {description!r} ({error})."
        ) from error
