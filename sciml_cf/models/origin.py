"""The builder that a model came from, so that a run folder can name it."""

from __future__ import annotations

import functools
from typing import Any, TypeVar

from torch import nn

_NAME = "_built_by"
Kind = TypeVar("Kind", bound=type)


def remembered(kind: Kind) -> Kind:
    """Let a builder's modules know the builder; for a class with ``build(seed=...)``."""
    build = kind.build  # type: ignore[attr-defined]

    @functools.wraps(build)
    def built(self: Any, *, seed: int = 0) -> nn.Module:
        module = build(self, seed=seed)
        setattr(module, _NAME, (self, _shapes(module)))
        return module

    kind.build = built  # type: ignore[attr-defined]
    return kind


def builder_of(model: nn.Module) -> Any | None:
    """The builder of a model; None for any other, and for one whose parameters are no longer as they were built."""
    builder, shapes = getattr(model, _NAME, (None, None))
    return builder if builder is not None and _shapes(model) == shapes else None


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(parameter.shape) for name, parameter in module.named_parameters()}
