"""An input and a target of any file as a source: their common times, and their readers.

target without times            input and target, at two times or one
target with times, no input     trajectories, whose start is the input
times of both together          trajectories: those of the input come before those of the target
as many times as the target's   the input is the target's start where it has its values; else it is another

::

                                quantity, and the target is taken at its last time, or at --target-time
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.fields import Field, alike
from data_gen.formats.found import Found
from data_gen.formats.masks import Find, masked
from data_gen.formats.merged_header import make_header
from data_gen.formats.overrides import Overrides, RightEnd
from data_gen.formats.source import ForeignSource, Source
from data_gen.header import Boundary, Header

_PROBED = 8  # samples that are looked at to see whether points or times repeat


@dataclass(frozen=True, kw_only=True)
class About:
    """Metadata of a file, as far as it says.

    Args:
        coordinates: points along the axes in space, by name.
        times: times of the fields.
        parameters: numbers of the equation.
        table: parameters of each sample, ``(samples,)`` by name.
        name: of the equation.
        boundary: kind of boundary, or of each axis; None where the file does not say.
        right_end: whether files of this format include it, where there are no coordinates.
        right_ends: of each axis whether it is included, where the file says; else ().
        input_name: name of the input field, if it differs from the variable's.
        target_name: name of the target field, likewise.
        find: a variable by its name, for a mask; None where the format has none.
    """

    coordinates: Mapping[str, np.ndarray | None] = field(default_factory=dict)
    times: tuple[float, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    table: Mapping[str, np.ndarray] = field(default_factory=dict)
    name: str = ""
    boundary: Boundary | tuple[Boundary, ...] | None = None
    right_end: RightEnd = "excluded"
    right_ends: tuple[RightEnd, ...] = ()
    input_name: str = ""
    target_name: str = ""
    find: Find | None = None


@dataclass(frozen=True)
class _Times:
    """The times of the fields of a source, by kind.

    Args:
        kind: "apart", "series" or "joined".
        times: those of the source.
        count: how many the fields have.
        every: those of the target, where the input is another quantity.
    """

    kind: str
    times: tuple[float, ...]
    count: int
    every: tuple[float, ...] = ()


def source_of_fields(
    path: Path,
    given: Field | None,
    target: Field,
    overrides: Overrides,
    about: About,
    close: Callable[[], Any] = lambda: None,
) -> Source:
    """Fields of a file as a source.

    Raises:
        DatasetError: they do not fit together, or something is missing.
    """
    if given is not None and overrides.input_name and overrides.input_name == overrides.target_name:
        if target.num_times < 2:
            raise DatasetError(
                f"open_source: {path} has {target.name} at one time, and --input-name and --target-name both name it. "
                f"Name two variables."
            )
        given = None  # a trajectory, whose start is the input
    first, last = masked(path, overrides.mask, (given, target), about.find)
    given, target = first, last or target
    if given is not None and not alike([given, target]):
        raise DatasetError(
            f"open_source: {path} has {given.name} and {target.name} of different samples or points: "
            f"{given.num_samples} samples on {_points(given)}, and {target.num_samples} on {_points(target)}."
        )
    if given is None and target.num_times < 2:
        raise DatasetError(
            f"open_source: {path} has {target.name} at one time, and nothing to predict it from. Give --input-name, "
            f"the "
            f"variable that is the input."
        )
    times = _times_of(given, target, overrides, about)
    changed = replace(overrides, times=times.times) if times.every else overrides
    header, dropped = make_header(path, _found(given, target, changed, about, times), changed)
    source = ForeignSource(path, header, _loader(given, target, header, times), close, dropped, table=about.table)
    if times.every:
        source.retimed = lambda first, last: _at_times(source, given, target, times.every, first, last)
    return source


def _points(one: Field) -> str:
    return " x ".join(map(str, one.shape)) + " points"


def _times_of(given: Field | None, target: Field, overrides: Overrides, about: About) -> _Times:
    times = overrides.times or about.times
    count = target.num_times
    if given is None:
        return _Times("series", times, count)
    if not count:
        return _Times("apart", times, 1 if not overrides.times and len(times) == 1 else 2)
    together = max(1, given.num_times) + count
    same = len(given.channels) == len(target.channels)
    if same and (len(times) == together or not times):
        return _Times("joined", times, together)
    if len(times) != count:
        return _Times("joined" if same else "series", times, together if same else count)
    if same and count > 1 and given.num_times < 2 and _is_start(given, target):
        return _Times("series", times, count)
    ends = (times[0], times[-1]) if count > 1 else times
    return _Times("apart", ends, len(ends), times)


def _is_start(given: Field, target: Field) -> bool:
    """Whether the input has the values of the target at its first time, to rounding."""
    rows = slice(0, min(_PROBED, target.num_samples))
    first, start = given.read(rows)[:, 0], target.read(rows, slice(0, 1))[:, 0]
    size = np.abs(start).max(initial=0.0, where=np.isfinite(start))
    close = {"rtol": 1e-5, "atol": 1e-6 * float(size), "equal_nan": True}
    return bool(np.array_equal(first, start) or np.allclose(first, start, **close))


def _found(given: Field | None, target: Field, overrides: Overrides, about: About, times: _Times) -> Found:
    inputs = _inputs(given, target, times, steady=len(overrides.times or times.times) == 1)
    axes = target.axes[-len(target.shape) :]
    return Found(
        num_samples=target.num_samples,
        shape=target.shape,
        num_times=times.count,
        dtypes=[*(given.dtypes if given is not None and times.kind != "series" else []), *target.dtypes],
        channels=_channels(target, inputs, about),
        inputs=inputs,
        coordinates=[about.coordinates.get(axis) for axis in axes],
        times=times.times,
        input_name=about.input_name or (given.name if given is not None else "a"),
        target_name=about.target_name or target.name,
        name=about.name,
        parameters=about.parameters,
        boundary=about.boundary,
        right_end=about.right_end,
        right_ends=about.right_ends,
        probes=lambda: _probes(given, target),
    )


def _inputs(given: Field | None, target: Field, times: _Times, *, steady: bool) -> tuple[str, ...] | None:
    """Names of the input's channels, where it is another quantity than the target."""
    if given is None or times.kind != "apart":
        return None
    different = bool(times.every) or len(given.channels) != len(target.channels)
    return _labels(given, target) if different or steady else None


def _channels(target: Field, inputs: tuple[str, ...] | None, about: About) -> tuple[str, ...]:
    """Names of the target's channels: where the input is another quantity, its own name before the usual one."""
    single = len(target.channels) == 1 and target.channels == (target.usual,)
    name = about.target_name or target.name
    return (name,) if single and inputs is not None and name not in inputs else target.channels


def _labels(given: Field, target: Field) -> tuple[str, ...]:
    """Names of the input's channels, other than the target's."""
    names = given.channels
    if names != target.channels:
        return names
    return tuple(f"{given.name}_{label}" for label in names)


def _probes(given: Field | None, target: Field) -> list[np.ndarray]:
    """The first samples of both fields at a few times; of trajectories alone their start, and what comes after it."""
    rows = slice(0, min(_PROBED, target.num_samples))
    block = target.read(rows, slice(0, 3))
    return [block[:, :1], block[:, 1:]] if given is None else [given.read(rows, slice(0, 3)), block]


def _loader(given: Field | None, target: Field, header: Header, times: _Times) -> Any:
    last = slice(-1, None)

    def whole(start: int, stop: int) -> np.ndarray:
        rows = slice(start, stop)
        block = target.read(rows)
        return block if times.kind == "series" or given is None else np.concatenate([given.read(rows), block], axis=1)

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        if times.kind == "apart" and given is not None:
            if name == header.input_name:
                return given.read(slice(start, stop), slice(0, 1) if given.num_times else slice(None))[:, 0]
            return target.read(slice(start, stop), last)[:, 0]
        if header.trajectories:
            if times.kind == "series":
                return target.read(slice(start, stop), at)
            return whole(start, stop)[:, at]
        return whole(start, stop)[:, 0 if name == header.input_name else -1]

    return load


def _at_times(
    source: ForeignSource, given: Field | None, target: Field, every: Sequence[float], first: float | None,
    last: float | None,
) -> ForeignSource:  # fmt: skip
    """A source whose input is another quantity, with its target at a chosen time, and the input if it has times."""
    chosen = {"input_time": every[0] if first is None else first, "target_time": every[-1] if last is None else last}
    for argument, time in chosen.items():
        if time not in every:
            listed = ", ".join(f"{t:g}" for t in every[:20]) + (", ..." if len(every) > 20 else "")
            raise ValueError(f"open_source: `{argument}` must be one of {listed}; got {time:g}.")
    begin, end = every.index(chosen["input_time"]), every.index(chosen["target_time"])
    if given is not None and given.num_times != len(every):
        begin = 0
    elif begin > end:
        raise ValueError(f"open_source: `target_time` must not come before the input's {every[begin]:g}; it does.")
    times = tuple(sorted({min(chosen["input_time"], chosen["target_time"]), chosen["target_time"]}))
    header = replace(source.header, times=times)

    def load(name: str, start: int, stop: int, at: slice) -> np.ndarray:
        if name == header.input_name and given is not None:
            return given.read(slice(start, stop), slice(begin, begin + 1))[:, 0]
        return target.read(slice(start, stop), slice(end, end + 1))[:, 0]

    return ForeignSource(source.path, header, load, source.close, source.dropped, table=source.table)
