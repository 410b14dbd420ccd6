"""`sciml-cf convert`: the words of the command line for ``data_gen.convert``."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from data_gen.cli.flags import parse
from data_gen.cli.override_flags import OverrideFlags
from data_gen.formats import FORMATS
from data_gen.terminal.outcome import Outcome, training_of
from data_gen.terminal.quiet import progress_bar


@dataclass(frozen=True, kw_only=True)
class ConvertFlags(OverrideFlags):
    """Bring a data file into another format: sciml-cf convert IN OUT.

    Args:
        to: format of the new file; by default by its suffix.
        mat_version: of a .mat file to write; 7.3 for variables of 2 GB and more.
        allow_nan: also take samples with values that are not finite.
        overwrite: replace the new file.
    """

    to: str | None = None
    mat_version: Literal["5", "7.3"] = "5"
    allow_nan: bool = False
    overwrite: bool = False


def convert_command(argv: list[str]) -> str:
    """`sciml-cf convert IN OUT`."""
    from data_gen.convert import convert

    flags = parse(_with_places(), argv, prog="sciml-cf convert")
    with progress_bar(shown=sys.stderr.isatty(), desc="convert", unit="sample", leave=False) as bar:
        header = convert(
            flags.file,
            flags.out,
            to=flags.to,
            source_format=flags.source,
            overrides=flags.overrides(),
            overwrite=flags.overwrite,
            allow_nan=flags.allow_nan,
            mat_version=flags.mat_version,
            progress=lambda done: bar.update(done - bar.n),
        )
    points = " x ".join(map(str, header.shape))
    text = (
        f"{flags.out}: {header.num_samples} samples on {points} points, {len(header.times)} times, "
        f"input {header.input_name}, target {header.target_name}, {header.dtype}"
    )
    return Outcome(text, following=training_of(flags.out))


def _with_places() -> type[Any]:
    """The flags with the two files as positional words, and --from; tyro is imported only when the command runs."""
    from tyro.conf import Positional, arg

    given = Annotated[str | None, arg(name="from", help="format of IN; by default recognized from its content")]
    added: list[Any] = [
        ("file", Positional[Annotated[Path, arg(metavar="IN", help="file to read")]]),
        ("out", Positional[Annotated[Path, arg(metavar="OUT", help="file or folder to write")]]),
        ("source", given, field(default=None)),
    ]
    made = make_dataclass("ConvertFlags", added, bases=(ConvertFlags,), frozen=True, kw_only=True)
    lines = [f"  {name:<9} {known.summary}, {known.suffixes[0] or 'a folder'}" for name, known in FORMATS.items()]
    title = (ConvertFlags.__doc__ or "").splitlines()[0]
    made.__doc__ = "\n".join([title, "", "Formats, for --to and --from, and the suffixes of their files:", *lines])
    return made
