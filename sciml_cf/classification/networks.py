"""Image classifiers: a perceptron, and ResNet-18 and NF-Net-F0 as torchvision and timm have them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import nn

from sciml_cf.classification.vision import timm, torchvision
from sciml_cf.errors import check_choice, check_count


@dataclass(frozen=True)
class PerceptronConfig:
    """Shape of a perceptron on the pixels; ``build`` makes the module.

    Args:
        classes: outputs.
        in_channels: channels of the images.
        image_size: points along each side; a perceptron takes images of this size alone.
        hidden: widths of its layers, the last one the head's features.
        bias: whether the head has one.

    Raises:
        ValueError: a number is not a positive integer, or there is no hidden layer.
    """

    classes: int = 10
    in_channels: int = 1
    image_size: int = 8
    hidden: tuple[int, ...] = (128, 64)
    bias: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))  # a list in run.json
        _check(self, "classes", "in_channels", "image_size")
        check_count("PerceptronConfig", "hidden", len(self.hidden))
        for width in self.hidden:
            check_count("PerceptronConfig", "hidden", width)

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new perceptron, (B, in_channels, H, W) -> ``(B, classes)``, initialised from ``seed`` alone."""
        widths = [self.in_channels * self.image_size**2, *self.hidden]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = [nn.Flatten()]
            for before, after in pairwise(widths):
                layers += [nn.Linear(before, after), nn.ReLU()]
            return nn.Sequential(*layers, nn.Linear(widths[-1], self.classes, bias=self.bias))

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return {**asdict(self), "hidden": list(self.hidden)}


@dataclass(frozen=True)
class ResNet18Config:
    """ResNet-18 by torchvision, its 512 features under a linear head; ``build`` makes the module.

    Args:
        classes: outputs.
        in_channels: channels of the images.
        stem: "cifar" begins with a 3 x 3 convolution of stride 1 and no pooling, for images of about 32 x 32 points;
            "imagenet" is the library's own, 7 x 7 of stride 2 and pooling.
        bias: whether the head has one.

    Raises:
        ValueError: a number is not a positive integer, or ``stem`` is unknown.
    """

    classes: int = 10
    in_channels: int = 3
    stem: Literal["cifar", "imagenet"] = "cifar"
    bias: bool = True

    def __post_init__(self) -> None:
        _check(self, "classes", "in_channels")
        check_choice("ResNet18Config", "stem", self.stem, ("cifar", "imagenet"))

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new ResNet-18, (B, in_channels, H, W) -> ``(B, classes)``, initialised from ``seed`` alone.

        Raises:
            ImportError: torchvision is not installed.

        References:
            He et al., Deep Residual Learning for Image Recognition (arXiv:1512.03385), Table 1 and, for the stem of
            small images, section 4.2.
        """
        resnet18 = torchvision("models").resnet18
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = resnet18(num_classes=self.classes)
            if self.stem == "cifar":
                model.conv1 = nn.Conv2d(self.in_channels, 64, 3, padding=1, bias=False)
                model.maxpool = nn.Identity()
            elif self.in_channels != 3:
                model.conv1 = nn.Conv2d(self.in_channels, 64, 7, stride=2, padding=3, bias=False)
            if self.stem == "cifar" or self.in_channels != 3:
                nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
            if not self.bias:
                model.fc = nn.Linear(model.fc.in_features, self.classes, bias=False)
            return model

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return asdict(self)


@dataclass(frozen=True)
class NFNetF0Config:
    """NF-Net-F0 by timm, its 3072 features under a linear head; ``build`` makes the module.

    No normalisation of activations: its convolutions standardise their weights, and its training wants adaptive
    gradient clipping. Trained at 192 x 192 points and tested at 256 x 256, as its authors did.

    Args:
        classes: outputs.
        in_channels: channels of the images.
        drop_rate: share of features dropped before the head in training.
        drop_path_rate: share of residual branches dropped in training, at the last block.
        bias: whether the head has one.

    Raises:
        ValueError: a number is not a positive integer, or a share is not from 0 to below 1.
    """

    classes: int = 1000
    in_channels: int = 3
    drop_rate: float = 0.2
    drop_path_rate: float = 0.25
    bias: bool = True

    def __post_init__(self) -> None:
        _check(self, "classes", "in_channels")
        for name in ("drop_rate", "drop_path_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"NFNetF0Config: `{name}` must be from 0 to below 1; got {getattr(self, name)!r}. 0 drops nothing."
                )

    def build(self, *, seed: int = 0) -> nn.Module:
        """A new NF-Net-F0, (B, in_channels, H, W) -> ``(B, classes)``, initialised from ``seed`` alone.

        Raises:
            ImportError: timm is not installed.

        References:
            Brock et al., High-Performance Large-Scale Image Recognition Without Normalization (arXiv:2102.06171).
        """
        create_model = timm("models").create_model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = create_model(
                "dm_nfnet_f0",
                num_classes=self.classes,
                in_chans=self.in_channels,
                drop_rate=self.drop_rate,
                drop_path_rate=self.drop_path_rate,
            )
            if not self.bias:
                model.head.fc = nn.Linear(model.num_features, self.classes, bias=False)
            return model

    def to_dict(self) -> dict[str, Any]:
        """The arguments as plain values, to store with a trained model."""
        return asdict(self)


def _check(config: Any, *names: str) -> None:
    for name in names:
        check_count(type(config).__name__, name, getattr(config, name), minimum=2 if name == "classes" else 1)


# The name under which a run folder remembers how a classifier, (B, in_channels, H, W) -> (B, classes), was built.
CLASSIFIERS: dict[str, type[Any]] = {
    "perceptron": PerceptronConfig,
    "resnet18": ResNet18Config,
    "nfnet-f0": NFNetF0Config,
}
