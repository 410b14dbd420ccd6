"""`sciml-cf rollout`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tyro.conf import Positional

from data_gen.cli.flag_groups import Groups
from data_gen.cli.override_flags import METADATA, OverrideFlags
from data_gen.terminal.outcome import Outcome, command_line
from sciml_cf.datasets.choices import Split
from sciml_cf.training.choices import Which


@dataclass(frozen=True, kw_only=True)
class RolloutFlags(OverrideFlags):
    """Apply a trained run of one step in time to its own output again and again, from the states of a data file.

    Args:
        run: run folder.
        data: data file; its first states are the start.
        out: data file to write, in the format of its ending: the states of the start and all that follow.
        steps: states to make; by default as many as the data file has after the start.
        split: which samples of the file.
        resolution: grid points to run at, a divisor of the stored ones; by default those of the training.
        which: weights with the lowest validation error, or those of the last epoch.
        overwrite: replace the output file.
    """

    GROUPS: ClassVar[Groups] = {"metadata": METADATA}
    run: Positional[Path]
    data: Path
    out: Path
    steps: int | None = None
    split: Split = "test"
    resolution: int | None = None
    which: Which = "best"
    overwrite: bool = False


def rollout_command(argv: list[str]) -> str:
    """`sciml-cf rollout`."""
    from data_gen.cli.flags import parse

    flags = parse(RolloutFlags, argv, prog="sciml-cf rollout")
    from sciml_cf.evaluate.rolled_file import roll_out_file

    told = roll_out_file(
        flags.run,
        flags.data,
        flags.out,
        steps=flags.steps,
        split=flags.split,
        resolution=flags.resolution,
        which=flags.which,
        facts=flags.overrides(),
        overwrite=flags.overwrite,
    )
    words = [f"{flags.out}: {told.samples} samples, {told.states} states to t = {told.last:g}"]
    if told.left is not None:
        words.append(
            f"{told.num_left} of {told.samples} samples leave the finite numbers, the first after t = {told.left:g}."
        )
    return Outcome("\n".join(words), following=command_line("plot" if flags.out.suffix == ".h5" else "info", flags.out))
