"""Flags that supply missing metadata of a file, shared by all commands that read data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from data_gen.cli.flag_groups import Groups
from data_gen.cli.flags import UsageError
from data_gen.formats import Overrides

#: Flags of metadata, last in a command's help.
METADATA = (
    "extent",
    "times",
    "equation",
    "parameters",
    "boundary",
    "right_end",
    "input_name",
    "target_name",
    "input_time",
    "target_time",
    "input_steps",
    "output_steps",
    "stride",
    "axes",
    "condition",
    "mask",
    "follow_links",
    "no_verify",
)


@dataclass(frozen=True, kw_only=True)
class OverrideFlags:
    """Metadata of a file of another format.

    Args:
        extent: length of the domain, one number or one an axis, for files without a grid.
        times: times of the fields, the input's first, for files without them; one time for a steady problem.
        equation: name of the equation, for files that do not record it.
        parameters: its numbers, as NAME=VALUE.
        boundary: kind of boundary of the domain, for files that do not record it; one word, or one an axis.
        right_end: whether the last point is the right end of the domain, which a periodic grid excludes.
        input_name: variable of the file that is the input, GROUP/NAME in a group; several, as A,B, become channels.
        target_name: variable of the file that is the target, or several.
        input_time: time of the input, of a file with several; by default its first.
        target_time: time of the target, of a file with several; by default its last.
        input_steps: of trajectories, train on windows of so many steps of input; by default 1 where a step is given.
        output_steps: steps of target after them; by default 1.
        stride: steps from the start of one window to that of the next; by default 1.
        axes: roles of the axes of arrays, such as sample,y,x,channel or sample,time,x: of the array with more
            axes, or one word for the input and one for the target.
        condition: scalars of each sample as constant channels of the input: names of parameters, time (each
            later time of a trajectory is a target then), time_step, or auto for all that differ between samples.
        mask: values that are missing: "fill" for fill values and NaN, or the variable that is 0 where they are missing.
        follow_links: also read what a file keeps in other files of yours.
        no_verify: read a dataset file without comparing it with its checksums; damage then goes unnoticed.
    """

    GROUPS: ClassVar[Groups] = {"metadata": METADATA}
    extent: tuple[float, ...] = ()
    times: tuple[float, ...] = ()
    equation: str | None = None
    parameters: tuple[str, ...] = ()
    boundary: tuple[Literal["periodic", "wall", "open"], ...] = ()
    right_end: Literal["excluded", "included"] | None = None
    input_name: str | None = None
    target_name: str | None = None
    input_time: float | None = None
    target_time: float | None = None
    input_steps: int | None = None
    output_steps: int | None = None
    stride: int | None = None
    axes: tuple[str, ...] = ()
    condition: tuple[str, ...] = ()
    mask: str | None = None
    follow_links: bool = False
    no_verify: bool = False

    def overrides(self) -> Overrides:
        """The metadata that the flags give."""
        values: dict[str, float] = {}
        for word in self.parameters:
            name, _, text = word.partition("=")
            try:
                values[name] = float(text)
            except ValueError:
                raise UsageError(f"sciml-cf: `--parameters` must be words NAME=VALUE; got {word!r}.") from None
        return Overrides(
            extent=self.extent,
            times=self.times,
            equation=self.equation,
            parameters=values,
            boundary=self.boundary or None,
            right_end=self.right_end,
            input_name=self.input_name,
            target_name=self.target_name,
            input_time=self.input_time,
            target_time=self.target_time,
            input_steps=self.input_steps,
            output_steps=self.output_steps,
            stride=self.stride,
            axes=self.axes,
            condition=self.condition,
            mask=self.mask,
            follow_links=self.follow_links,
            verify=not self.no_verify,
        )

    def metadata_words(self) -> list[str]:
        """The words of a command line that give the same metadata."""
        words: list[str] = []
        for name in METADATA:
            value = getattr(self, name)
            if value is True:
                words.append(f"--{name.replace('_', '-')}")
            elif value not in (None, (), False):
                values = value if isinstance(value, tuple) else (value,)
                words += [f"--{name.replace('_', '-')}", *map(_word, values)]
        return words


def _word(value: float | str) -> str:
    return value if isinstance(value, str) else repr(value).removesuffix(".0")
