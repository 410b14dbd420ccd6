"""Metadata given for a file, which replace the file's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np

from data_gen.errors import check_count, check_finite, check_positive
from data_gen.formats.axes import Axes, parse_axes
from data_gen.header import Boundary, RightEnd

#: The attributes that a dataset file reserves; no parameter may have such a name.
TAKEN = {"layout", "layout_version", "title", "equation", "header", "extent", "input", "target", "versions", "spec"}
TAKEN |= {"dataset_name", "grid_type", "n_spatial_dims", "n_trajectories", "simulation_parameters", "source"}
TAKEN |= {"input_time", "target_time", "config_hash", "seal"}

#: Steps of windows, and all overrides that choose what is read from trajectories; they do not describe the file.
STEPS = ("input_steps", "output_steps", "stride")
#: Word for every parameter that differs from sample to sample.
AUTO = "auto"
CHOICES = ("input_time", "target_time", *STEPS)


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """Metadata that a foreign file lacks, or has wrong: each value given here replaces the file's.

    Args:
        extent: length of the domain, one number or one an axis.
        times: times of the fields, the input's first; one time for a steady problem.
        equation: name of the equation.
        parameters: its numbers, by name.
        boundary: kind of boundary of the domain, one word or one an axis, in the order of ``extent``.
        right_end: whether the last point is the right end of the domain; on a periodic axis it is then left out.
        input_name: variable of the file to take as input; several, separated by commas, become channels.
        target_name: variable to take as target, likewise.
        input_time: of a file with several times, the one whose field is the input.
        target_time: the time at which the same field is the target.
        input_steps: cut trajectories into windows with this many steps of input, see ``Windows``; 1 where only
            ``output_steps`` or ``stride`` is given.
        output_steps: steps of the target of a window, which follow its input; likewise.
        stride: steps from the start of a window to that of the next; likewise.
        axes: roles of the axes of arrays, such as "sample,y,x,channel": of the array with more axes, or one word for
            the input and one for the target.
        condition: scalars of each sample that are inputs of the model: names of parameters, "time" of the target (every
            later time of a trajectory is one then), "time_step", or "auto" for all that differ between samples.
        mask: "fill", or the variable that is 0 where values are missing.
        follow_links: also read what the file keeps in other files.
        verify: compare a dataset file with its checksums; without, damaged values are read as they are.

    Raises:
        ValueError: ``extent`` is not above 0, ``boundary``, ``right_end`` or ``axes`` unknown, a number of steps below
            1 or given with times, "auto" with names, or a parameter not finite or of a name that dataset files use
            themselves.
    """

    extent: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    equation: str | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)
    boundary: Boundary | tuple[Boundary, ...] | None = None
    right_end: RightEnd | None = None
    input_name: str | None = None
    target_name: str | None = None
    input_time: float | None = None
    target_time: float | None = None
    input_steps: int | None = None
    output_steps: int | None = None
    stride: int | None = None
    axes: str | tuple[str, ...] = ()
    condition: tuple[str, ...] = ()
    mask: str | None = None
    follow_links: bool = False
    verify: bool = True

    def __post_init__(self) -> None:
        if not _each(self.boundary):
            object.__setattr__(self, "boundary", None)
        for name, check in (("extent", check_positive), ("times", check_finite)):
            values = _each(getattr(self, name))
            for value in values:
                check("Overrides", name, value)
            object.__setattr__(self, name, tuple(map(float, values)))
        self._check_windows()
        self._check_condition()
        for name, known in (("boundary", get_args(Boundary)), ("right_end", get_args(RightEnd))):
            for value in _each(getattr(self, name)):
                if value not in known:
                    raise ValueError(f"Overrides: `{name}` must be one of {', '.join(known)}; got {value!r}.")
        if len(_each(self.axes)) > 2:
            raise ValueError(
                f"Overrides: `axes` must be a text such as 'sample,y,x,channel', or two for input and target; got "
                f"{self.axes!r}."
            )
        object.__setattr__(self, "axes", tuple(_each(self.axes)))
        for text in self.axes:
            parse_axes(text)
        for name, value in self.parameters.items():
            check_finite("Overrides", f"parameters {name}", value)
            if name in TAKEN:
                raise ValueError(
                    f"Overrides: `parameters` must have names that dataset files do not use; got {name!r}."
                )

    def _check_windows(self) -> None:
        """Refuse numbers of steps below 1, or together with times."""
        for name in STEPS:
            if getattr(self, name) is not None:
                check_count("Overrides", name, getattr(self, name))
        if self.cuts_windows and (self.input_time is not None or self.target_time is not None):
            raise ValueError(
                "Overrides: `input_time` and `target_time` must be left out where windows are cut (`input_steps`, "
                "`output_steps`, `stride`); got both."
            )

    def _check_condition(self) -> None:
        """Take commas apart, and refuse names that are given twice or with "auto"."""
        words = [word for text in _each(self.condition) for word in split_names(text)]
        object.__setattr__(self, "condition", tuple(words))
        if len(set(words)) < len(words) or (AUTO in words and len(words) > 1):
            raise ValueError(f"Overrides: `condition` must name each parameter once, or be auto; got {words}.")

    @property
    def takes_every_time(self) -> bool:
        """Whether each later time of a trajectory is a target, and its time an input."""
        chosen = self.cuts_windows or self.input_time is not None or self.target_time is not None
        return "time" in self.condition and not chosen

    @property
    def cuts_windows(self) -> bool:
        """Whether any setting of windows is given."""
        return any(getattr(self, name) is not None for name in STEPS)


def split_names(text: str | None) -> tuple[str, ...]:
    """The variables that a name stands for."""
    return tuple(word.strip() for word in (text or "").split(",") if word.strip())


def said_axes(overrides: Overrides) -> tuple[Axes, ...]:
    """The roles that ``axes`` gives: none, for the larger array, or for input and target."""
    return tuple(parse_axes(text) for text in overrides.axes)


def _each(value: Any) -> Sequence[Any]:
    """The values of an argument that is none, one or several."""
    return () if value is None else (value,) if isinstance(value, str) or not np.iterable(value) else tuple(value)


#: The name of version 0.1, which goes on working.
Facts = Overrides


def given_overrides(function: str, overrides: Overrides | None, facts: Overrides | None) -> Overrides:
    """The overrides under either keyword of a public function: ``facts`` is the one of version 0.1.

    Raises:
        ValueError: both are given.
    """
    if overrides is not None and facts is not None:
        raise ValueError(f"{function}: `overrides` must not be combined with `facts`, its older name; got both.")
    return overrides or facts or Overrides()
