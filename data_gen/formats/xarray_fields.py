"""Named variables with named dimensions, as xarray opens them from netCDF and Zarr, as a source."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.axes import Axes
from data_gen.formats.decoding import decoder_of
from data_gen.formats.fields import Field, Variable
from data_gen.formats.hdf5 import boundary_in, numbers_in, right_ends_in, text_in
from data_gen.formats.overrides import Overrides, said_axes, split_names
from data_gen.formats.pairs import About, source_of_fields
from data_gen.formats.source import Source

_LOG = logging.getLogger(__name__)
_ROLES = {
    "sample": ("sample", "samples", "batch", "trajectory", "ensemble", "member", "realization", "number"),
    "time": ("time", "t", "step", "sim_time"),
    "channel": ("channel", "channels", "component", "variable", "input_channel"),
    "z": ("z", "lev", "level", "depth", "height", "plev"),
    "y": ("y", "lat", "latitude"),
    "x": ("x", "lon", "longitude"),
}
_CF = {"X": "x", "Y": "y", "Z": "z", "T": "time"}


@dataclass
class _Opened:
    """A file and the groups of it that are open, by path."""

    path: Path
    engine: str
    word: str
    groups: dict[str, Any] = field(default_factory=dict)

    def group(self, place: str) -> Any:
        """The variables of a group; "" is the root."""
        import xarray as xr

        if place not in self.groups:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    self.groups[place] = xr.open_dataset(
                        self.path, engine=self.engine, decode_times=False, cache=False, group=place or None,
                        mask_and_scale=False,
                    )  # fmt: skip
            except MemoryError:
                raise
            except Exception as error:  # every engine has its own kinds for a damaged file
                reason = " ".join(str(error).split())[:120]
                lost = f" Has it a group {place}?" if place else " Is it damaged?"
                raise DatasetError(
                    f"open_source: {self.path} cannot be read as {self.word} ({reason}).{lost}"
                ) from None
        return self.groups[place]

    def variable(self, name: str) -> tuple[Any, Any]:
        """A variable by its path, and the group that it is in.

        Raises:
            DatasetError: there is none.
        """
        place, _, last = name.strip("/").rpartition("/")
        data = self.group(place)
        if last not in data.variables:
            raise DatasetError(
                f"open_source: {self.path} does not say which variables are input and target; it has "
                f"{', '.join(map(str, fields_in(data))) or 'no fields'}, and no {name}. Give --input-name and "
                f"--target-name."
            )
        return data[last], data

    def close(self) -> None:
        """Close all groups."""
        for data in self.groups.values():
            data.close()


def source_of_datasets(path: Path, engine: str, overrides: Overrides, word: str) -> Source:
    """A file that xarray opens, as a source.

    Raises:
        DatasetError: it cannot be read, or its variables and dimensions are not understood.
    """
    opened = _Opened(path, engine, word)
    try:
        return _open(opened, overrides)
    except (DatasetError, ValueError):
        opened.close()
        raise
    except (KeyError, TypeError, IndexError, AttributeError, OSError, RuntimeError) as error:
        opened.close()
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"open_source: {path} does not fit together as {word} ({reason}). Is it damaged?") from None


def fields_in(data: Any) -> list[str]:
    """Names of the variables of two axes and more."""
    return [str(name) for name, found in data.data_vars.items() if found.ndim >= 2 and found.dtype.kind in "fiubc"]


def _open(opened: _Opened, overrides: Overrides) -> Source:
    inputs, targets = _chosen(opened, overrides)
    target = _field(opened, targets, overrides, "u")
    given = _field(opened, inputs, overrides, inputs[0].rpartition("/")[2]) if inputs else None
    first, data = opened.variable(targets[0])
    places = {role: dim for dim, role in zip(first.dims, target.parts[0].axes, strict=True)}
    root = opened.group("")
    attributes = {**root.attrs, **data.attrs}
    _say_left_out(opened, root, {*inputs, *targets} if inputs else set())
    about = About(
        coordinates={axis: _coordinate(data, root, str(places[axis]), axis) for axis in "xyz" if axis in places},
        times=_times(data, root, attributes, places),
        name=text_in(attributes, "equation_name"),
        parameters=_parameters(data, attributes),
        table=_table(data, root, places, {*inputs, *targets}),
        boundary=boundary_in(attributes),
        right_ends=right_ends_in(attributes),
        find=lambda name: _mask(opened, name, overrides),
    )
    return source_of_fields(opened.path, given, target, overrides, about, opened.close)


def _say_left_out(opened: _Opened, data: Any, taken: set[str]) -> None:
    """Log the fields without times that trajectories leave out, where no input is chosen."""
    left_out = [name for name in fields_in(data) if not any(_role(str(dim), data) == "time" for dim in data[name].dims)]
    if not taken and left_out:
        _LOG.warning(
            "%s: %s left out; trajectories start from their own. --input-name takes one as the input.", opened.path,
            f"{', '.join(left_out)} {'is' if len(left_out) == 1 else 'are'}",
        )  # fmt: skip


def _field(opened: _Opened, names: Sequence[str], overrides: Overrides, usual: str) -> Field:
    """Variables as one field, with their axes by the names of the dimensions."""
    parts, labels = [], []
    for name in names:
        found, data = opened.variable(name)
        axes = _axes_of(opened.path, found, data, overrides)
        decode, dtype = decoder_of(opened.path, name, found.dtype, found.attrs)
        parts.append(Variable(found.name, _Lazy(found), axes, decode, dtype))
        known = str(found.attrs.get("components", "")).split(",")
        count = max(1, parts[-1].size("channel"))
        labels.append(tuple(known) if all(known) and len(set(known)) == count else ())
    last = names[-1].rpartition("/")[2]
    shapes = {tuple((axis, part.size(axis)) for axis in ("sample", "time", "z", "y", "x")) for part in parts}
    if len(shapes) > 1:
        raise DatasetError(f"open_source: {opened.path} has {', '.join(names)} of different samples, times or points.")
    listed = sum(labels, ()) if all(labels) else ()
    return Field("_".join(part.name for part in parts) if len(parts) > 1 else last, tuple(parts), listed, usual)


class _Lazy:
    """A variable that is read when it is sliced."""

    def __init__(self, found: Any) -> None:
        self.variable, self.shape, self.dtype = found.variable, found.shape, found.dtype

    def __getitem__(self, index: Any) -> np.ndarray:
        return self.variable[index].values


def _axes_of(path: Path, found: Any, data: Any, overrides: Overrides) -> Axes:
    """Roles of the dimensions: as said, else by their names, else by the attribute ``axis`` of their coordinates."""
    said = next((one for one in said_axes(overrides) if len(one) == found.ndim), None)
    axes = said or tuple(_role(str(dim), data) for dim in found.dims)
    space = {axis for axis in axes if axis in "xyz"}
    known = all(role in _ROLES for role in axes) and len(set(axes)) == len(axes)
    if not known:
        raise DatasetError(
            f"open_source: {path} has {found.name} with dimensions ({', '.join(map(str, found.dims))}); they must be "
            f"sample, time, channel, z, y, x, each once at most. Rename them, or give --axes."
        )
    if space not in ({"x"}, {"x", "y"}, {"x", "y", "z"}):
        raise DatasetError(
            f"open_source: {path} must have {found.name} with dimensions sample, [time,] [channel,] [y,] x; got "
            f"({', '.join(map(str, found.dims))})."
        )
    return axes


def role_of(name: str) -> str | None:
    """The role that a name has, if it has one."""
    return next((role for role, names in _ROLES.items() if name.lower() in names), None)


def _role(name: str, data: Any) -> str:
    found = role_of(name)
    if found is None and name in data.variables:
        found = _CF.get(str(data[name].attrs.get("axis", "")).upper())
    return found or name


def _chosen(opened: _Opened, overrides: Overrides) -> tuple[list[str], list[str]]:
    """The variables of the input, none of trajectories, and of the target."""
    data = opened.group("")
    fields = fields_in(data)
    inputs, targets = list(split_names(overrides.input_name)), list(split_names(overrides.target_name))
    for name in (*inputs, *targets):
        opened.variable(name)
    targets = targets or _recorded(data, "target", fields, inputs) or _likely_target(data, fields, inputs)
    timed = bool(targets) and _has_times(*opened.variable(targets[0]), overrides)
    if not inputs and not (timed and overrides.target_name):
        inputs = _recorded(data, "input", fields, targets)
    if not inputs and not timed and len(fields) == 2 and len(targets) == 1:
        inputs = [name for name in fields if name not in targets]
    if not targets or not (inputs or timed):
        raise DatasetError(
            f"open_source: {opened.path} does not say which variables are input and target; it has "
            f"{', '.join(fields) or 'no fields'}. Give --input-name and --target-name."
        )
    return inputs, targets


def _recorded(data: Any, role: str, fields: list[str], others: list[str]) -> list[str]:
    """The variable that the attribute ``input`` or ``target`` names."""
    name = text_in(data.attrs, role)
    return [name] if name in fields and name not in others else []


def _mask(opened: _Opened, name: str, overrides: Overrides) -> tuple[_Lazy, Axes]:
    """A mask and its axes, by the names of its dimensions."""
    found, data = opened.variable(name)
    return _Lazy(found), _axes_of(opened.path, found, data, overrides)


def _has_times(found: Any, data: Any, overrides: Overrides) -> bool:
    said = next((one for one in said_axes(overrides) if len(one) == found.ndim), None)
    return "time" in (said or [_role(str(dim), data) for dim in found.dims])


def _likely_target(data: Any, fields: list[str], inputs: list[str]) -> list[str]:
    """The one variable with times, else the last of two, or the one besides the input; none if it is not clear."""
    rest = [name for name in fields if name not in inputs]
    timed = [name for name in rest if any(_role(str(dim), data) == "time" for dim in data[name].dims)]
    if len(timed) == 1:
        return timed
    return rest[-1:] if len(rest) == (1 if inputs else 2) and not timed else []


def _coordinate(data: Any, root: Any, dim: str, role: str) -> np.ndarray | None:
    """Coordinates along a dimension: the variable of its name, else the one along it whose name has the role."""
    for place in (data, root):
        if dim in place.variables and place[dim].dims == (dim,):
            return place[dim].values
        for name, found in place.variables.items():
            if found.dims == (dim,) and _role(str(name), place) == role:
                return found.values
    return None


def _times(data: Any, root: Any, attributes: dict[str, Any], places: dict[str, Any]) -> tuple[float, ...]:
    """Times of a series from its coordinate; of a pair from the attribute ``times``."""
    if "time" not in places:
        found = np.ravel(np.asarray(attributes.get("times", [])))
    else:
        found = _coordinate(data, root, str(places["time"]), "time")
    return () if found is None or np.asarray(found).dtype.kind not in "fiu" else tuple(map(float, found))


def _parameters(data: Any, attributes: dict[str, Any]) -> dict[str, float]:
    """Numbers among the attributes, and variables of one number."""
    found = {key: value for key, value in numbers_in(attributes).items() if key != "times"}
    alone = {str(name): one for name, one in data.data_vars.items() if one.ndim == 0 and one.dtype.kind in "fiu"}
    return {**found, **{name: float(one.values) for name, one in alone.items() if np.isfinite(one.values)}}


def _table(data: Any, root: Any, places: dict[str, Any], taken: set[str]) -> dict[str, np.ndarray]:
    """The variables along the samples alone."""
    sample = places.get("sample")
    found: dict[str, np.ndarray] = {}
    for place in (root, data):
        for name, one in place.variables.items():
            own = one.dims == (sample,) and name != sample and name not in taken
            if sample is not None and own and one.dtype.kind in "fiub":
                found[str(name)] = one.values.astype(np.float64)
    return found
