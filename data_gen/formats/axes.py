"""The role of each axis of an array: given by a flag, by the law of a format, or inferred where only one reading fits.

::

    sample  time  channel  z  y  x          --axes sample,y,x,channel

Inference takes samples first, rows of a table. A channel axis is before the axes in space or after all of them, an
axis of times before them or after. Channels are few: at most half as many as the points of the shortest axis in space
where they come first, and where they come last at most eight, and fewer than the points of any. A last axis so short
can also be an axis in space: then both readings fit, and the file is refused until ``--axes`` says which.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_gen.errors import DatasetError

#: Roles of axes, in the order in which fields are read.
ROLES = ("sample", "time", "channel", "z", "y", "x")
SPACE = ("z", "y", "x")
MOST_CHANNELS = 8
Axes = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Clues:
    """Numbers that tell the readings of a shape apart.

    Args:
        dims: how many axes in space; None if it is not known.
        times: how many times the fields have together; None if it is not known.
        points: lengths of the axes in space that have coordinates.
        timed: the target has an axis of times; None if that follows from ``times`` and the shapes.
    """

    dims: int | None = None
    times: int | None = None
    points: Mapping[str, int] = field(default_factory=dict)
    timed: bool | None = None


def parse_axes(text: str) -> Axes:
    """Roles from words such as "sample,y,x,channel".

    Raises:
        ValueError: a word is no role, a role is there twice, or x, y and z are not one to three in this order of need.
    """
    axes = tuple(word.strip() for word in str(text).split(","))
    space = {axis for axis in axes if axis in SPACE}
    known = set(axes) <= set(ROLES) and len(set(axes)) == len(axes)
    if not known or space not in ({"x"}, {"y", "x"}, {"z", "y", "x"}):
        raise ValueError(
            f"Overrides: `axes` must be roles of axes, each once, of {', '.join(ROLES)}, with x, or y and x, or z, y "
            f"and x among them; got {text!r}. For instance sample,y,x,channel."
        )
    return axes


def space_of(axes: Sequence[str]) -> Axes:
    """The axes in space, z before y before x."""
    return tuple(axis for axis in SPACE if axis in axes)


def given_axes(
    path: Path, given: Axes, shapes: tuple[tuple[int, ...] | None, tuple[int, ...]], names: Sequence[str]
) -> tuple[Axes | None, Axes]:
    """The axes of input and target from those of the one with more axes: the other has the same without some.

    Args:
        path: the file, for messages.
        given: roles of the axes of the larger array.
        shapes: of the input, None if there is none, and of the target.
        names: of both.

    Raises:
        DatasetError: an array does not have such axes.
    """
    first, target = shapes
    swap = first is not None and len(first) > len(target)
    larger, smaller = (first or (), target) if swap else (target, first)
    _check_count(path, given, larger, names[0] if swap else names[1])
    if smaller is None:
        return None, given
    sizes = dict(zip(given, larger, strict=True))
    rest = _without_some(given, smaller, sizes)
    if rest is None:
        raise DatasetError(
            f"open_source: {path} must have arrays with the axes {','.join(given)}, or the same without time, channel "
            f"or sample; got {names[0]} {first} and {names[1]} {target}. Give --axes for each: --axes INPUT TARGET."
        )
    return (given, rest) if swap else (rest, given)


def _check_count(path: Path, axes: Axes, shape: tuple[int, ...], name: str) -> None:
    if len(axes) != len(shape):
        raise DatasetError(
            f"open_source: {path} must have {name} with {len(axes)} axes, as --axes {','.join(axes)} says; got "
            f"{len(shape)}: {shape}."
        )


def _without_some(axes: Axes, shape: tuple[int, ...], sizes: Mapping[str, int]) -> Axes | None:
    """The axes without as many as the shape lacks, the times first; None if the lengths never fit."""
    for left_out in itertools.combinations(("time", "channel", "sample"), len(axes) - len(shape)):
        rest = tuple(axis for axis in axes if axis not in left_out)
        fixed = {"sample", *SPACE}
        if len(rest) == len(shape) and all(
            n == sizes[axis] for axis, n in zip(rest, shape, strict=True) if axis in fixed
        ):
            return rest
    return None


def infer_axes(
    path: Path, shapes: tuple[tuple[int, ...] | None, tuple[int, ...]], names: Sequence[str], clues: Clues
) -> tuple[Axes | None, Axes]:
    """The axes of input and target, or of a target alone, from their shapes.

    Args:
        path: the file, for messages.
        shapes: of the input, None if there is none, and of the target.
        names: of both.
        clues: what else is known.

    Raises:
        DatasetError: no reading fits, or several do; the message has the flags for each.
    """
    given, target = shapes
    readings = _plausible([*_readings(given, target, clues)], given, target, clues)
    if not readings and (clues.times or 0) > 2:  # that the number of times is wrong is said later
        free = replace(clues, times=None, timed=True)
        readings = _plausible([*_readings(given, target, free)], given, target, free)
    if not readings:
        raise DatasetError(f"open_source: {path} {_misfit(given, target, names, clues)}")
    readings = _different(readings, given, target)
    if len(readings) > 1:
        flags = " or ".join(_flags(reading) for reading in readings[:4])
        shown = f"{names[0]} {given} and {names[1]} {target}" if given is not None else f"{names[1]} {target}"
        raise DatasetError(f"open_source: {path} has {shown}, which can be read in several ways: give {flags}.")
    return readings[0]


def _different(
    readings: list[tuple[Axes | None, Axes]], given: tuple[int, ...] | None, target: tuple[int, ...]
) -> list[tuple[Axes | None, Axes]]:
    """The readings without those that differ in axes of length one alone."""
    kept = {}
    for a, b in readings:
        key = tuple(_longer(axes, shape) for axes, shape in ((a, given), (b, target)))
        kept.setdefault(key, (a, b))
    return list(kept.values())


def _longer(axes: Axes | None, shape: tuple[int, ...] | None) -> tuple[str, ...]:
    return tuple(axis for axis, length in zip(axes or (), shape or (), strict=True) if length > 1)


def _flags(reading: tuple[Axes | None, Axes]) -> str:
    """The flag of a reading: one word where it is enough."""
    given, target = reading
    larger = target if given is None or len(target) >= len(given) else given
    smaller = given if larger is target else target
    enough = smaller is None or smaller == tuple(axis for axis in larger if axis in smaller)
    words = [larger] if enough else [given or (), target]
    return "--axes " + " ".join(",".join(word) for word in words)


def _misfit(given: tuple[int, ...] | None, target: tuple[int, ...], names: Sequence[str], clues: Clues) -> str:
    if given is None:
        what = f" of {clues.times} times" if clues.times else ""
        return (
            f"must have {names[1]} as trajectories{what}, (samples, times, [channels,] points); got {target}. Check "
            f"--times, or give --axes."
        )
    if differing := _differing(given, target, names):
        return differing
    dims = f" Is the domain of {clues.dims} axes in space?" if clues.dims else ""
    return (
        f"must have {names[0]} (samples, [channels,] points) and {names[1]} (samples, [times,] [channels,] points) of "
        f"the same shape, that is of the same samples and points; got {given} and {target}.{dims} Check --times and "
        f"--extent, or give --axes."
    )


def _differing(given: tuple[int, ...], target: tuple[int, ...], names: Sequence[str]) -> str:
    """What differs between arrays of as many axes: the number of samples alone, or the points alone; else nothing."""
    if len(given) != len(target):
        return ""
    first, rest = given[0] != target[0], given[1:] != target[1:]
    if first and not rest:
        return (
            f"must have a target for each input; got {given[0]} samples in {names[0]} and {target[0]} in {names[1]}. "
            "Leave out those without a partner."
        )
    if rest and not first and min(map(min, (given, target))) > 1:
        ours, theirs = (" x ".join(map(str, shape[1:])) for shape in (given, target))
        return (
            f"must have both fields on the same points; got {ours} in {names[0]} and {theirs} in {names[1]}. Take the "
            "points that both have, or say with --axes if an axis is of times or channels."
        )
    return ""


def _readings(
    given: tuple[int, ...] | None, target: tuple[int, ...], clues: Clues
) -> Iterator[tuple[Axes | None, Axes]]:
    """All pairs of axes that the lengths allow; samples come last only where they cannot come first."""
    places = ("first", "none") if given is None else ("none",) if len(given) == 1 else ("first", "last")
    for place in places if clues.points or given is None else places[:1]:
        found = list(_series(target, place, clues) if given is None else _pairs(given, target, place, clues))
        if found:
            yield from found
            return


def _series(target: tuple[int, ...], place: str, clues: Clues) -> Iterator[tuple[None, Axes]]:
    """The axes that trajectories without an input can have."""
    yield from ((None, axes) for axes in _arrangements(len(target), True, place) if _series_fits(axes, target, clues))


def _pairs(
    given: tuple[int, ...], target: tuple[int, ...], place: str, clues: Clues
) -> Iterator[tuple[Axes | None, Axes]]:
    """The axes that an input and a target can have together."""
    both = itertools.product(_arrangements(len(given), None, place), _arrangements(len(target), None, place))
    yield from ((a, b) for a, b in both if _pair_fits(a, b, given, target, clues))


def _arrangements(count: int, timed: bool | None, samples: str) -> Iterator[Axes]:
    """Axes of an array of so many: space together, times and channels before or after it."""
    rest = count - (samples != "none")
    for dims, with_time, with_channel in itertools.product((1, 2, 3), (False, True), (False, True)):
        if dims + with_time + with_channel != rest or (timed is not None and timed != with_time):
            continue
        space, time, channel = SPACE[-dims:], ("time",) * with_time, ("channel",) * with_channel
        bodies = {(*time, *channel, *space), (*time, *space, *channel), (*space, *time, *channel)}
        bodies |= {(*space, *channel, *time)}
        for body in sorted(bodies):
            yield {"first": ("sample", *body), "last": (*body, "sample"), "none": body}[samples]


def _series_fits(axes: Axes, shape: tuple[int, ...], clues: Clues) -> bool:
    sizes = dict(zip(axes, shape, strict=True))
    return _space_fits(axes, sizes, clues) and sizes["time"] == (clues.times or max(2, sizes["time"]))


def _space_fits(axes: Axes, sizes: Mapping[str, int], clues: Clues) -> bool:
    space = space_of(axes)
    if clues.dims is not None and len(space) != clues.dims:
        return False
    return all(sizes[axis] >= 2 and clues.points.get(axis, sizes[axis]) == sizes[axis] for axis in space)


def _pair_fits(a: Axes, b: Axes, given: tuple[int, ...], target: tuple[int, ...], clues: Clues) -> bool:
    """Whether an input and a target can have these axes."""
    first, last = dict(zip(a, given, strict=True)), dict(zip(b, target, strict=True))
    if space_of(a) != space_of(b) or not _space_fits(b, last, clues):
        return False
    if any(first.get(axis) != last.get(axis) for axis in ("sample", *space_of(b))):
        return False
    if _place(a, "channel") != _place(b, "channel") and "channel" in a and "channel" in b:
        return False
    return _times_fit(first, last, len(target) > len(given), clues)


def _times_fit(first: Mapping[str, int], last: Mapping[str, int], extra: bool, clues: Clues) -> bool:
    """Whether the times of an input and a target make up those that are known."""
    wanted = clues.timed if clues.timed is not None else extra if clues.times is None else clues.times > 2
    if wanted != ("time" in last) or ("time" in first and "time" not in last):
        return False
    if clues.times is None or not wanted:
        return "time" not in first
    if "time" in first:
        return first["time"] > 1 and first["time"] + last["time"] == clues.times
    return last["time"] in (clues.times, clues.times - 1)


def _place(axes: Axes, role: str) -> bool:
    """Whether an axis comes after those in space."""
    return role in axes and axes.index(role) > axes.index("x")


def _plausible(
    readings: list[tuple[Axes | None, Axes]], given: tuple[int, ...] | None, target: tuple[int, ...], clues: Clues
) -> list[tuple[Axes | None, Axes]]:
    """The readings whose axes in space cannot be channels that come first, and of these those with few channels."""
    kept = [
        (a, b) for a, b in readings
        if not _is_channels(b, target, clues) and not (a is not None and given and _is_channels(a, given, clues))
    ]  # fmt: skip
    costs = [_unlikely(a, given) + _unlikely(b, target) for a, b in kept]
    return [reading for reading, cost in zip(kept, costs, strict=True) if cost == min(costs)]


def _is_channels(axes: Axes, shape: tuple[int, ...], clues: Clues) -> bool:
    """Whether an axis in space of a reading can be few channels that come first, which they usually are."""
    place = "first" if axes[0] == "sample" else "last" if axes[-1] == "sample" else "none"
    for other in _arrangements(len(axes), "time" in axes, place):
        if "channel" not in other or _place(other, "channel") or axes[other.index("channel")] not in SPACE:
            continue
        if _space_fits(other, dict(zip(other, shape, strict=True)), clues) and not _unlikely(other, shape):
            return True
    return False


def _unlikely(axes: Axes | None, shape: tuple[int, ...] | None) -> int:
    """1 where an axis of channels is longer than channels are, else 0."""
    if axes is None or shape is None or "channel" not in axes:
        return 0
    sizes = dict(zip(axes, shape, strict=True))
    channels, shortest = sizes["channel"], min(sizes[axis] for axis in space_of(axes))
    few = channels < shortest if _place(axes, "channel") else 2 * channels <= shortest
    return int(not (channels == 1 or (channels <= MOST_CHANNELS and few)))
