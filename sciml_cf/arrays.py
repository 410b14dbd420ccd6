"""Tensors from the arrays, lists, frames and numbers that users pass in."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["tensor_of"]

_WIDER = {"uint16": "int32", "uint32": "int64", "uint64": "int64", "longdouble": "float64"}


def tensor_of(function: str, argument: str, values: Any) -> Tensor:
    """A real tensor of a tensor, an array, nested lists, or whatever numpy takes for an array of numbers.

    A tensor is returned unchanged. An array shares its memory where torch allows it.

    Args:
        function: the function that messages name.
        argument: the argument that they name.
        values: numbers, integers or booleans.

    Raises:
        TypeError: they are no real numbers, such as strings, complex numbers, objects, or lists of unequal lengths.
    """
    if not isinstance(values, Tensor):
        values = _from_array(function, argument, values)
    if values.is_complex():
        raise TypeError(
            f"{function}: `{argument}` must be real; got {values.dtype}. Pass real and imaginary parts as channels "
            "(torch.view_as_real)."
        )
    return values


def describe_type(values: object) -> str:
    """The type in a message, with the shape of an array or a tensor."""
    shape = getattr(values, "shape", None)
    kind = type(values).__name__
    return f"{kind} {tuple(shape)}" if isinstance(shape, tuple) else kind


def _from_array(function: str, argument: str, values: Any) -> Tensor:
    if isinstance(values, (list, tuple)) and values and all(isinstance(one, Tensor) for one in values):
        if len({one.shape for one in values}) > 1:
            shapes = sorted({tuple(one.shape) for one in values})
            raise TypeError(
                f"{function}: `{argument}` must hold tensors of one shape; got {shapes[0]} and {shapes[1]}."
            )
        return torch.stack(list(values))
    try:
        array = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise TypeError(
            f"{function}: `{argument}` must be an array of numbers; got a {describe_type(values)} that is none "
            f"({' '.join(str(error).split())[:100]})."
        ) from error
    if array.dtype.kind not in "biufc":
        raise TypeError(
            f"{function}: `{argument}` must hold numbers; got {describe_type(values)} of {array.dtype}. "
            "Convert it, for instance with numpy.asarray(values, dtype=float), or number the labels from 0."
        )
    wanted = np.dtype(_WIDER.get(array.dtype.name, array.dtype.name)) if array.dtype.kind != "c" else array.dtype
    if array.dtype.itemsize > 8 and array.dtype.kind == "f":  # longdouble has several names
        wanted = np.dtype(np.float64)
    array = np.require(array, dtype=wanted.newbyteorder("="), requirements=["C", "W"])
    return torch.from_numpy(array)
