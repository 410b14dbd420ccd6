"""Two .npy files INPUT.npy,TARGET.npy, or one with trajectories.

::

    input     (samples, *points) or (samples, channels, *points), of one to three axes in space
    target    the same, or trajectories (samples, times, *points) or (samples, times, channels, *points)

Other orders are inferred where the lengths, ``--extent`` and ``--times`` leave one reading, see ``axes``. With one
length in ``--extent``, the domain has that length along each axis; several say how many axes in space there are. The
files are read in parts.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.files.stream import GuardedFile, guarded
from data_gen.formats.axes import Axes, Clues, given_axes, infer_axes
from data_gen.formats.fields import Field, Variable
from data_gen.formats.format import Format
from data_gen.formats.masks import Find
from data_gen.formats.overrides import Overrides, said_axes
from data_gen.formats.pairs import About, source_of_fields
from data_gen.formats.paths import output_parts, parts_of
from data_gen.formats.source import Readable, Source, blocks
from data_gen.header import Header

FORMAT = Format("npy", (".npy",), "two files INPUT.npy,TARGET.npy, or one of trajectories", order=60)

_LOG = logging.getLogger(__name__)
_MAGIC = b"\x93NUMPY"


def recognizes(path: Path) -> bool:
    """Whether both files, or the one there is, start as .npy files do."""
    return all(part.is_file() and _starts(part) for part in parts_of(path))


def _starts(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def open_file(path: Path, overrides: Overrides) -> Source:
    """The files open for reading.

    Raises:
        DatasetError: they are more than two, cannot be read, or do not fit together.
    """
    parts = parts_of(path)
    if len(parts) > 2:
        raise DatasetError(
            f"open_source: {path} is {len(parts)} arrays; an input and a target are needed: give INPUT.npy,TARGET.npy."
        )
    fields = []
    for part in parts:
        try:
            fields.append(np.load(part, mmap_mode="r", allow_pickle=False))
        except (ValueError, OSError, EOFError, SyntaxError, TypeError, OverflowError, RecursionError) as error:
            reason = " ".join(str(error).split())[:160]
            raise DatasetError(f"open_source: {part} cannot be read ({reason}). Is it damaged?") from None
    given, target = (None, fields[0]) if len(fields) == 1 else fields
    if given is None and not overrides.axes and len(overrides.times) < 3:
        raise DatasetError(
            f"open_source: {path} is 1 array; an input and a target are needed: give INPUT.npy,TARGET.npy, or for "
            f"trajectories {target.shape} --times and --axes, such as --axes sample,time,channel,x."
        )
    return source_of_arrays(path, given, target, overrides)


def source_of_arrays(
    path: Path,
    given: Any,
    target: Any,
    overrides: Overrides,
    *,
    names: tuple[str, str] = ("input", "target"),
    about: About | None = None,
    close: Callable[[], Any] = lambda: None,
    timed: bool | None = None,
    law: tuple[Axes | None, Axes] | None = None,
    find: Find | None = None,
) -> Source:
    """An input, or None, and a target that are arrays, as a source.

    Args:
        path: the file, for messages.
        given: the inputs, an array or an object that slices like one.
        target: the targets, likewise.
        overrides: what is said about them.
        names: of the two in the file, for messages.
        about: the metadata of the file.
        close: closes the file.
        timed: whether the target has an axis of times, where the file says that.
        law: the axes by the law of the format, where it has one.
        find: a variable of the file by its name, for a mask.

    Raises:
        DatasetError: their axes are not clear, or do not fit together.
    """
    about = about or About(input_name="a", target_name="u", find=find)
    for name, array in zip(names, (given, target), strict=True):
        if array is not None and not 1 <= len(array.shape) <= 6:
            raise DatasetError(
                f"open_source: {path} must have {name} (samples, [channels,] points); got {array.shape}."
            )
    shapes = (None if given is None else given.shape, target.shape)
    axes = axes_of_arrays(path, shapes, overrides, names, about, timed=timed, law=law)
    usual = ("a", about.target_name or "u")
    first = (
        None
        if given is None or axes[0] is None
        else Field(names[0], (Variable(names[0], given, axes[0]),), (), usual[0])
    )
    last = Field(names[1], (Variable(names[1], target, axes[1]),), (), usual[1])
    return source_of_fields(path, first, last, overrides, about, close)


def axes_of_arrays(
    path: Path,
    shapes: tuple[tuple[int, ...] | None, tuple[int, ...]],
    overrides: Overrides,
    names: tuple[str, str],
    about: About,
    *,
    timed: bool | None = None,
    law: tuple[Axes | None, Axes] | None = None,
) -> tuple[Axes | None, Axes]:
    """The axes of an input, if there is one, and a target: as said, by the law of the format, or inferred.

    Raises:
        DatasetError: they are not clear, or not as said.
    """
    said = said_axes(overrides)
    if len(said) == 2 and shapes[0] is not None:
        for one, shape, name in zip(said, shapes, names, strict=True):
            given_axes(path, one, (None, shape or ()), (name, name))
        return said[0], said[1]
    if said:
        return given_axes(path, said[-1], shapes, names)
    if law is not None:
        return law
    axes = infer_axes(path, shapes, names, _clues(overrides, about, timed))
    _say(path, axes)
    return axes


def _clues(overrides: Overrides, about: About, timed: bool | None) -> Clues:
    points = {axis: len(values) for axis, values in about.coordinates.items() if values is not None}
    dims = len(overrides.extent) if len(overrides.extent) > 1 else len(points) or None
    times = len(overrides.times or about.times) or None
    return Clues(dims=dims, times=times, points=points, timed=timed)


def _say(path: Path, axes: tuple[Axes | None, Axes]) -> None:
    """Log the axes that were inferred, but those of samples, times and points in this order."""
    usual = ("sample", "time", "channel", "z", "y", "x")
    known = [one for one in axes if one is not None]
    if any("channel" in one or one != tuple(axis for axis in usual if axis in one) for one in known):
        listed = " and ".join(",".join(one) for one in known)
        _LOG.info("%s: the axes are read as %s, the reading that fits; --axes says otherwise.", path, listed)


def pair_of(header: Header, fields: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Input and target of a block to be written: of trajectories the target has all times after the first.

    An axis of channels is there where there are several.
    """
    target = fields[header.target_name]
    start = target[:, 0] if header.trajectories else fields[header.input_name]
    rest = target[:, 1:] if header.trajectories else target
    axis = -1 - header.num_dims
    return tuple(part.squeeze(axis) if part.shape[axis] == 1 else part for part in (start, rest))  # type: ignore[return-value]


def write(source: Readable, path: Path) -> None:
    """INPUT.npy and TARGET.npy; of trajectories the target has all times after the first."""
    header, names = source.header, output_parts(path)
    if len(names) != 2:
        raise ValueError(f"convert: `out` must be two files INPUT.npy,TARGET.npy; got {path}.")
    with contextlib.ExitStack() as stack:
        files = [stack.enter_context(guarded(name)) for name in names]
        for rows, fields in files[0].unbroken(files[1].unbroken(blocks(source))):
            for file, part in zip(files, pair_of(header, fields), strict=True):
                if rows.start == 0:
                    _write_start(file, part.dtype, (header.num_samples, *part.shape[1:]))
                file.write(np.ascontiguousarray(part).data)


def _write_start(file: GuardedFile, dtype: np.dtype, shape: tuple[int, ...]) -> None:
    """What a .npy file has before its numbers."""
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
