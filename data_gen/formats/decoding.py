"""Decoding of stored numbers: packed numbers are unpacked, fill values become NaN.

::

    value = scale_factor * stored + add_offset,     NaN where stored is a fill value or outside the valid range

The attributes are those of the netCDF and CF conventions. Without ``_FillValue`` and ``missing_value`` the default fill
values of netCDF count as missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError

#: Default fill values of netCDF by type; bytes have none.
_DEFAULT = {
    "f4": np.float32(9.9692099683868690e36),
    "f8": 9.9692099683868690e36,
    "i2": -32767,
    "i4": -2147483647,
    "i8": -9223372036854775806,
    "u2": 65535,
    "u4": 4294967295,
    "u8": 18446744073709551614,
}
_SMALL = 2**24  # integers up to it are exact in float32

Decode = Callable[[np.ndarray], np.ndarray]


def decoder_of(
    path: Path, name: str, dtype: np.dtype, attributes: Mapping[str, Any], *, defaults: bool = True
) -> tuple[Decode | None, np.dtype]:
    """The function that decodes a variable, None where stored numbers are the values, and the values' precision.

    Args:
        path: the file, for messages.
        name: the variable, for messages.
        dtype: that of the stored numbers.
        attributes: of the variable.
        defaults: whether the default fill values of netCDF count as missing.

    Raises:
        DatasetError: an attribute is no number.
    """
    if dtype.kind not in "fiu":
        return None, dtype
    fills = [*_numbers(path, name, attributes, "_FillValue"), *_numbers(path, name, attributes, "missing_value")]
    if not fills and defaults:
        fills = [value for value in [_DEFAULT.get(dtype.newbyteorder("=").str[1:])] if value is not None]
    fills = [value for value in fills if value == value]
    least, most = _range(path, name, attributes)
    scale = next(iter(_numbers(path, name, attributes, "scale_factor")), None)
    offset = next(iter(_numbers(path, name, attributes, "add_offset")), None)
    unsigned = str(attributes.get("_Unsigned", "")).lower() == "true" and dtype.kind == "i"
    packed = scale is not None or offset is not None or unsigned
    if not packed and not fills and least is None and most is None:
        return None, dtype
    result = _precision(dtype, scale, offset)

    def decode(stored: np.ndarray) -> np.ndarray:
        raw = stored.view(f"u{stored.dtype.itemsize}") if unsigned else stored
        missing = np.zeros(raw.shape, dtype=bool)
        for value in fills:
            missing |= stored == np.asarray(value).astype(stored.dtype)
        if least is not None:
            missing |= raw < least
        if most is not None:
            missing |= raw > most
        values = raw.astype(result)
        if scale is not None:
            values *= result.type(scale)
        if offset is not None:
            values += result.type(offset)
        if missing.any():
            values[missing] = np.nan
        return values

    return decode, result


def _precision(dtype: np.dtype, scale: Any, offset: Any) -> np.dtype:
    """Precision of the values: that of the packing, else wide enough for the stored numbers."""
    if scale is None and offset is None:
        return np.dtype(np.result_type(np.float32, dtype.newbyteorder("=")))
    kinds = [np.asarray(one).dtype for one in (scale, offset) if one is not None]
    wide = dtype.itemsize > 2 or (dtype.kind == "f" and dtype.itemsize > 4)
    if wide or offset is not None or any(kind != np.float32 for kind in kinds):
        return np.dtype(np.float64)
    return np.dtype(np.float32)


def _numbers(path: Path, name: str, attributes: Mapping[str, Any], key: str) -> list[Any]:
    """The numbers of an attribute, keeping their precision."""
    if key not in attributes:
        return []
    values = np.ravel(np.asarray(attributes[key]))
    if values.dtype.kind not in "fiu":
        raise DatasetError(f"open_source: {path} has {name} with {key} {attributes[key]!r}; a number is needed.")
    return list(values)


def _range(path: Path, name: str, attributes: Mapping[str, Any]) -> tuple[Any, Any]:
    both = _numbers(path, name, attributes, "valid_range")
    if len(both) == 2:
        return both[0], both[1]
    least, most = (_numbers(path, name, attributes, key) for key in ("valid_min", "valid_max"))
    return (least[0] if least else None), (most[0] if most else None)
