"""Builders of models: frozen dataclasses with ``build(seed=...)`` and ``to_dict()``."""

from __future__ import annotations

from dataclasses import fields
from importlib import import_module
from typing import Any, Protocol

from torch import nn

from sciml_cf.errors import CheckpointError, check_choice
from sciml_cf.models.conv import ConvConfig
from sciml_cf.models.coordinates import stored_arguments
from sciml_cf.models.deeponet import DeepONetConfig
from sciml_cf.models.fno import FNOConfig, TFNOConfig
from sciml_cf.models.origin import builder_of
from sciml_cf.models.unet import UNetConfig
from sciml_cf.models.uno import UNOConfig

__all__ = [
    "BUILDERS",
    "ConvConfig",
    "DeepONetConfig",
    "FNOConfig",
    "TFNOConfig",
    "UNOConfig",
    "UNetConfig",
    "build_from",
    "builder_for",
    "describe",
    "description_of",
    "takes",
]


class Builder(Protocol):
    """Builder of a model, ``(B, in_channels, *N)`` -> ``(B, out_channels, *N)``, that can be stored with it."""

    def build(self, *, seed: int = 0) -> nn.Module: ...
    def to_dict(self) -> dict[str, Any]: ...


# The name under which a run folder remembers how its model was built.
BUILDERS: dict[str, type[Any]] = {
    "fno": FNOConfig,
    "tfno": TFNOConfig,
    "uno": UNOConfig,
    "conv": ConvConfig,
    "unet": UNetConfig,
    "deeponet": DeepONetConfig,
}
# Modules of satellites that add builders of their own, imported when a name is not found here: each has a table like
# ``BUILDERS`` under the name given.
_FURTHER = {"sciml_cf.classification.networks": "CLASSIFIERS"}


def _all_builders() -> dict[str, type[Any]]:
    further = [getattr(import_module(module), table) for module, table in _FURTHER.items()]
    return {name: kind for table in (BUILDERS, *further) for name, kind in table.items()}


def builder_for(name: str, **arguments: Any) -> Builder:
    """The builder of this name; arguments that are None take its defaults.

    Raises:
        ValueError: the name is unknown, or the model has no such argument.
    """
    check_choice("train", "model", name, tuple(BUILDERS))
    given = {key: value for key, value in arguments.items() if value is not None}
    known = [field.name for field in fields(BUILDERS[name])]
    for key, value in given.items():
        if key not in known:
            raise ValueError(
                f"train: `{key}` must not be given for the model {name!r}, which has {', '.join(known)}; got {value}."
            )
    return BUILDERS[name](**given)


def takes(name: str, argument: str) -> bool:
    """Whether the builder of this name has such an argument."""
    return name in BUILDERS and any(field.name == argument for field in fields(BUILDERS[name]))


def describe(builder: Builder) -> dict[str, Any]:
    """What a run folder stores to build the same model again."""
    (name,) = [name for name, kind in _all_builders().items() if kind is type(builder)]
    return {"builder": name, "arguments": builder.to_dict()}


def description_of(model: nn.Module) -> dict[str, Any] | None:
    """The description of the builder that a model came from; None for a model of another origin."""
    builder = builder_of(model)
    return None if builder is None else describe(builder)


def build_from(description: dict[str, Any], *, seed: int = 0) -> nn.Module:
    """The model that ``describe`` described.

    Raises:
        CheckpointError: the builder or one of its arguments is unknown to this version.
    """
    try:
        builder = BUILDERS.get(description["builder"]) or _all_builders()[description["builder"]]
        return builder(**stored_arguments(builder, description["arguments"])).build(seed=seed)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"build_from: `description` must name a builder of this version ({', '.join(_all_builders())}); "
            f"got {description!r} ({error})."
        ) from error
