"""The libraries of the extra `vision`, torchvision and timm, imported when they are first needed."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch

# Operators of detection that torchvision describes at import even where its compiled part does not load.
_DETECTION = ("nms", "qnms")
_KEPT: list[torch.library.Library] = []


def torchvision(part: str) -> Any:
    """A module of torchvision, such as "models" or "transforms.v2".

    Only its Python is used here. Where its compiled part was built for another build of the same torch (a CUDA wheel
    with a CPU torch), its import fails for the want of two operators of detection; they are declared then, without
    being there, and the import is tried once more.

    Raises:
        ImportError: it is not installed, or does not go with this torch.
    """
    _load("torchvision")
    return importlib.import_module(f"torchvision.{part}")


def timm(part: str) -> Any:
    """A module of timm, such as "models".

    Raises:
        ImportError: it is not installed, or does not go with this torch.
    """
    _load("torchvision")  # which timm imports itself
    _load("timm")
    return importlib.import_module(f"timm.{part}")


def _load(name: str) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a compiled part that does not load
            _import(name)
    except (ImportError, RuntimeError) as error:
        raise ImportError(
            f"sciml_cf.classification.vision: `{name}` must be installed, in the version that goes with "
            f"torch {torch.__version__}; "
            f"got {' '.join(str(error).split())[:120]}. Run: pip install 'sciml-cf[vision]'."
        ) from error


def _import(name: str) -> None:
    try:
        importlib.import_module(name)
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _KEPT:
            raise
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in _DETECTION:
            library.define(f"{operator}(Tensor boxes, Tensor scores, float iou_threshold) -> Tensor")
        _KEPT.append(library)
        importlib.import_module(name)
