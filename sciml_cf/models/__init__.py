"""Builders of models. A builder is a frozen dataclass with ``build(seed=...)`` and ``to_dict()``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, Protocol

from torch import nn

from sciml_cf.errors import CheckpointError, check_choice
from sciml_cf.models.conv import ConvConfig
from sciml_cf.models.fno import FNOConfig, TFNOConfig
from sciml_cf.models.images import NFNetF0Config, PerceptronConfig, ResNet18Config
from sciml_cf.models.uno import UNOConfig

__all__ = [
    "BUILDERS",
    "CLASSIFIERS",
    "ConvConfig",
    "FNOConfig",
    "NFNetF0Config",
    "PerceptronConfig",
    "ResNet18Config",
    "TFNOConfig",
    "UNOConfig",
    "build_from",
    "builder_for",
    "describe",
]


class Builder(Protocol):
    """What makes a model, (B, in_channels, *N) -> (B, out_channels, *N), and can be stored beside it."""

    def build(self, *, seed: int = 0) -> nn.Module: ...
    def to_dict(self) -> dict[str, Any]: ...


# The name under which a run folder remembers how its model was built.
BUILDERS: dict[str, type[Any]] = {"fno": FNOConfig, "tfno": TFNOConfig, "uno": UNOConfig, "conv": ConvConfig}
# The same for classifiers of images, (B, in_channels, H, W) -> (B, classes).
CLASSIFIERS: dict[str, type[Any]] = {
    "perceptron": PerceptronConfig,
    "resnet18": ResNet18Config,
    "nfnet-f0": NFNetF0Config,
}


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


def describe(builder: Builder) -> dict[str, Any]:
    """What a run folder stores to build the same model again."""
    (name,) = [name for name, kind in {**BUILDERS, **CLASSIFIERS}.items() if kind is type(builder)]
    return {"builder": name, "arguments": builder.to_dict()}


def build_from(description: dict[str, Any], *, seed: int = 0) -> nn.Module:
    """The model that ``describe`` described.

    Raises:
        CheckpointError: the builder or one of its arguments is unknown to this version.
    """
    try:
        builders = {**BUILDERS, **CLASSIFIERS}
        return builders[description["builder"]](**description["arguments"]).build(seed=seed)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"build_from: `description` must name a builder of this version ({', '.join([*BUILDERS, *CLASSIFIERS])}); "
            f"got {description!r} ({error})."
        ) from error
