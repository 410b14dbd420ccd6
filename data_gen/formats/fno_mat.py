"""MATLAB files as the Fourier neural operator's authors publish them, of version 5 and 7.3.

::

    Burgers          a, u (samples, x) and smoothed variants; no grid, times or viscosity
    Darcy            coeff, sol (samples, y, x) and Kcoeff, ...: steady, points on the walls included
    Navier-Stokes    a (samples, x, y), u (samples, x, y, times), t (1, times): a is at time 0

Other variables of one number (viscosity) are taken as parameters, ``x``, ``y`` and ``t`` as coordinates and times.
A file of version 7.3 is HDF5 with all axes reversed, and is read in parts; one of version 5 is read whole.

References:
    Li et al. (2021), Fourier Neural Operator for Parametric Partial Differential Equations, and its data files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.files.stream import guarded
from data_gen.formats.arrays import source_of_arrays
from data_gen.formats.axes import SPACE, Axes
from data_gen.formats.format import Format
from data_gen.formats.hdf5 import boundary_in, dataset, is_hdf5, open_hdf5, right_ends_in
from data_gen.formats.npz import chosen_pair, finder
from data_gen.formats.overrides import Overrides
from data_gen.formats.pairs import About
from data_gen.formats.pdebench_output import boundaries_of, right_ends_of
from data_gen.formats.source import Readable, Source, blocks
from data_gen.header import Header
from data_gen.storage.hdf5_output import read_through

FORMAT = Format("mat", (".mat",), "FNO's MATLAB files, version 5 or 7.3", order=10)

_PAIRS = (("a", "u"), ("coeff", "sol"))
_CLASSES = {"float32": b"single", "float64": b"double"}
_USERBLOCK = 512


def recognizes(path: Path) -> bool:
    """Whether it starts as MATLAB's files of version 5 and later do."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        head = file.read(128)
    return head.startswith(b"MATLAB 5.0 MAT-file") or (head.startswith(b"MATLAB 7.3 MAT-file") and is_hdf5(path))


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file open for reading.

    Raises:
        DatasetError: it cannot be read, or its variables are not those of any known kind.
    """
    variables, close = _variables(path)
    try:
        return _open(path, variables, overrides, close)
    except (DatasetError, ValueError):
        close()
        raise


def _open(path: Path, variables: Mapping[str, Any], overrides: Overrides, close: Any) -> Source:
    names = _chosen(path, variables, overrides)
    given, target = (None if names[0] is None else variables[names[0]]), variables[names[1]]
    _check_numbers(path, names[0], given)
    _check_numbers(path, names[1], target)
    steady = names == ("coeff", "sol")
    about = About(
        coordinates=_coordinates(variables, names, target, overrides),
        times=_times(variables, steady, given, target),
        input_name="coefficient" if steady else names[0] or "a",
        target_name="u" if steady else names[1],
        name=_text(variables, "equation"),
        parameters=_parameters(variables, names),
        table=_table(variables, names, target if given is None else given),
        boundary=boundary_in({"boundary": _text(variables, "boundary")}, "wall" if steady else None),
        right_ends=right_ends_in({"right_end": _text(variables, "right_end")}),
        right_end="included" if steady else "excluded",
        find=finder(path, variables),
    )
    longer = given is not None and given.ndim < target.ndim
    law = _own_law(given.ndim) if longer and given is not None and "equation" in variables else None
    return source_of_arrays(
        path, given, target, overrides, names=(names[0] or "", names[1]), about=about, close=close, law=law,
        timed=True if longer and not steady else None,
    )  # fmt: skip


def _own_law(ndim: int) -> tuple[Axes | None, Axes]:
    """The axes of trajectories that ``write`` wrote: the times are last."""
    space = SPACE[1 - ndim :]
    return ("sample", *space), ("sample", *space, "time")


def _chosen(path: Path, variables: Mapping[str, Any], overrides: Overrides) -> tuple[str | None, str]:
    """Names of input and target; of a file with one field alone that of trajectories."""
    single = [name for name, value in variables.items() if _is_field(value)]
    if len(single) == 1 and "t" in variables and not overrides.input_name:
        return None, overrides.target_name or single[0]
    several = any(set(pair) <= set(variables) for pair in _PAIRS) or overrides.input_name or len(single) != 1
    return chosen_pair(path, list(variables) if several else single, overrides, _PAIRS, "variable")


def _check_numbers(path: Path, name: str | None, value: Any) -> None:
    if value is not None and value.dtype.kind not in "fiubc":
        raise DatasetError(
            f"open_source: {path} has {name} of class {_class_of(value)}; a numeric array is needed. Save the arrays "
            f"as "
            f"variables of their own."
        )


def _is_field(value: Any) -> bool:
    return value.dtype.kind in "fiubc" and value.ndim >= 2 and min(value.shape) > 1


def _class_of(value: Any) -> str:
    if value.dtype.names and set(value.dtype.names) == {"real", "imag"}:
        return "complex"
    return "cell or struct" if value.dtype.kind in "OV" else "char" if value.dtype.kind == "U" else str(value.dtype)


def _times(variables: Mapping[str, Any], steady: bool, given: Any, target: Any) -> tuple[float, ...]:
    """The times: 0 alone if steady, else those of ``t``; 0 comes before them where they are the target's alone."""
    if steady:
        return (0.0,)
    if "t" not in variables or variables["t"].dtype.kind not in "fiu":
        return ()
    times = tuple(map(float, np.ravel(variables["t"][()])))
    of_target = given is not None and target.ndim > given.ndim and len(times) in target.shape[1:]
    return (0.0, *times) if of_target and times and times[0] > 0 else times


def _coordinates(
    variables: Mapping[str, Any], names: tuple[str | None, str], target: Any, overrides: Overrides
) -> dict[str, np.ndarray | None]:
    """The variables x, y and z that are as long as an axis of the target."""
    found: dict[str, np.ndarray | None] = {}
    for axis in SPACE:
        value = variables.get(axis)
        if value is None or axis in names or value.dtype.kind not in "fiu" or value.size not in target.shape:
            continue
        if value.size > 1 and max(value.shape) == value.size:
            found[axis] = np.ravel(value[()])
    whole = set(found) in ({"x"}, {"x", "y"}, {"x", "y", "z"})
    fits = len(overrides.extent) < 2 or len(overrides.extent) == len(found)
    return found if whole and fits else {}


def _parameters(variables: Mapping[str, Any], names: tuple[str | None, str]) -> dict[str, float]:
    skipped = {*names, "t", "x", "y", "z", "equation"}
    return {
        name: float(np.ravel(value[()])[0])
        for name, value in variables.items()
        if name not in skipped and value.size == 1 and value.dtype.kind in "fiu" and np.isfinite(value[()]).all()
    }


def _table(variables: Mapping[str, Any], names: tuple[str | None, str], like: Any) -> dict[str, np.ndarray]:
    """Variables of one number for each sample."""
    samples = like.shape[0] if like.ndim > 1 else 0
    skipped = {*names, "t", "x", "y", "z", "equation"}
    return {
        name: np.ravel(value[()]).astype(np.float64)
        for name, value in variables.items()
        if name not in skipped and value.dtype.kind in "fiu" and samples > 1
        and value.size == samples == max(value.shape)
    }  # fmt: skip


def _text(variables: Mapping[str, Any], name: str) -> str:
    value = np.ravel(variables[name][()]) if name in variables else np.array([])
    if value.dtype.kind == "U" and value.size:
        return str(value[0])
    return "".join(map(chr, value.tolist())) if value.dtype.kind == "u" else ""


class _Reversed:
    """A variable of a version 7.3 file with the axes as MATLAB shows them."""

    def __init__(self, stored: h5py.Dataset) -> None:
        self.stored, self.shape = stored, stored.shape[::-1]
        self.dtype, self.ndim, self.size = stored.dtype, stored.ndim, int(stored.size or 0)

    def __getitem__(self, index: Any) -> np.ndarray:
        words = index if isinstance(index, tuple) else (index,)
        return self.stored[(..., *words[::-1])].T


def _variables(path: Path) -> tuple[dict[str, Any], Any]:
    """The numbers and texts of a file by name, and the function that closes it."""
    if is_hdf5(path):
        file = open_hdf5(path)
        names = [str(name) for name in file if isinstance(file.get(str(name)), h5py.Dataset)]
        return {name: _Reversed(dataset(file, name)) for name in names}, file.close
    from scipy.io import loadmat

    try:
        found = loadmat(path)
    except MemoryError:
        raise
    except Exception as error:  # scipy raises a different kind for every way a file can be damaged
        reason = " ".join(str(error).split())[:120]
        raise DatasetError(f"open_source: {path} cannot be read as a MATLAB file ({reason}). Is it damaged?") from None
    known = {name: value for name, value in found.items() if isinstance(value, np.ndarray) and name[:2] != "__"}
    return known, lambda: None


def write(source: Readable, path: Path, *, version: Literal["5", "7.3"] = "5") -> None:
    """A MATLAB file with a, u or coeff, sol; with x (and y), t, the equation's name and its parameters.

    Raises:
        ValueError: fields of several components, for which these files have no place.
    """
    header = source.header
    if len(header.channels) > 1 or len(header.inputs) > 1:
        raise ValueError(f"convert: `out` must hold several components ({', '.join(header.channels)}); .mat cannot.")
    names = ("coeff", "sol") if header.steady else ("a", "u")
    small: dict[str, Any] = {**header.parameters, **{k: v[:, None] for k, v in source.table.items()}}
    small |= {axis: points[None] for axis, points in zip(header.axes, header.coordinates, strict=True)}
    if not header.steady:
        later = header.trajectories and header.times[0] == 0  # then t is of u alone, as in the published files
        small["t"] = np.array(header.times[1:] if later else header.times)[None]
    small |= {"equation": header.name, "right_end": right_ends_of(header)}
    if set(header.axis_boundaries) != {"wall" if header.steady else "periodic"}:
        small["boundary"] = ",".join(boundaries_of(header))
    (_write_version_7 if version == "7.3" else _write_version_5)(source, path, names, small)


def _parts(header: Header, fields: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """A block as these files have it: ``(rows, *points)``, and ``(rows, *points)`` or ``(rows, *points, times)``."""
    if header.trajectories:
        whole = fields[header.target_name][:, :, 0]
        return whole[:, 0], np.moveaxis(whole[:, 1:], 1, -1)
    return fields[header.input_name][:, 0], fields[header.target_name][:, 0]


def _write_version_5(source: Readable, path: Path, names: tuple[str, str], small: dict[str, Any]) -> None:
    from scipy.io import savemat

    header = source.header
    if header.num_samples * max(map(np.prod, header.stored_shapes.values())) * 8 >= 2**31:
        raise ValueError("convert: `mat_version` must be 7.3 for variables of 2 GB and more; got 5.")
    parts = [_parts(header, fields) for _, fields in blocks(source)]
    variables = {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}
    with guarded(path) as file:
        savemat(file, {**variables, **small})


def _write_version_7(source: Readable, path: Path, names: tuple[str, str], small: dict[str, Any]) -> None:
    words = f"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: {time.ctime()} HDF5 schema 1.00 ."
    with guarded(path) as disk:
        with h5py.File(disk, "w", userblock_size=_USERBLOCK) as file:
            _write_variables(file, source, disk.unbroken(blocks(source)), names, small)
        disk.seek(0)
        disk.write(words.encode().ljust(116) + bytes(8) + b"\x00\x02IM")
    read_through(path)


def _write_variables(
    file: h5py.File,
    source: Readable,
    parts: Iterator[tuple[slice, dict[str, np.ndarray]]],
    names: tuple[str, str],
    small: dict[str, Any],
) -> None:
    header = source.header
    shapes = [header.shape, (*header.shape, len(header.times) - 1) if header.trajectories else header.shape]
    for name, shape in zip(names, shapes, strict=True):
        data = file.create_dataset(name, (header.num_samples, *shape)[::-1], header.dtype)
        data.attrs["MATLAB_class"] = np.bytes_(_CLASSES[header.dtype])
    for name, value in small.items():
        text = isinstance(value, str)
        stored = np.array([[ord(c)] for c in value], "uint16") if text else np.atleast_2d(np.float64(value)).T
        file.create_dataset(name, data=stored).attrs["MATLAB_class"] = np.bytes_(b"char" if text else b"double")
    for rows, fields in parts:
        for name, part in zip(names, _parts(header, fields), strict=True):
            dataset(file, name)[..., rows] = part.T
