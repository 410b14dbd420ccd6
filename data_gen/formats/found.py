"""Fields and metadata that a reader finds in a file of any format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from data_gen.formats.overrides import RightEnd
from data_gen.header import Boundary


@dataclass(frozen=True, kw_only=True)
class Found:
    """Fields and metadata found in a file.

    Args:
        num_samples: its samples.
        shape: points of each axis, the last of them x.
        channels: names of the components of the target.
        inputs: names of the components of the input.
        dtypes: precisions of the fields; any other than float32 and float64 is widened without loss.
        coordinates: points along each axis, None where the file has none.
        times: the file's times, if it has any.
        num_times: how many times the fields have.
        input_name: name of the input field.
        target_name: name of the target field.
        name: the equation, if the file names it.
        parameters: its parameters, as far as the file has them.
        boundary: the kind of boundary, or of each axis; None where the file does not say.
        right_end: whether files of this format include it, where there are no coordinates.
        right_ends: of each axis whether it is included, where the file says; else ().
        probes: the first samples of input and target, each ``(rows, ..., *points)``, to look for a repeated point.
    """

    num_samples: int
    shape: tuple[int, ...]
    num_times: int
    dtypes: Sequence[np.dtype]
    channels: tuple[str, ...] = ("u",)
    inputs: tuple[str, ...] | None = None
    coordinates: Sequence[np.ndarray | None] = ()
    times: tuple[float, ...] = ()
    input_name: str = "a"
    target_name: str = "u"
    name: str = ""
    parameters: Mapping[str, float] = field(default_factory=dict)
    boundary: Boundary | tuple[Boundary, ...] | None = None
    right_end: RightEnd = "excluded"
    right_ends: tuple[RightEnd, ...] = ()
    probes: Callable[[], Sequence[np.ndarray]] | None = None
