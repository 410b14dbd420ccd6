"""`sciml-cf repack`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from data_gen.cli.flags import parse, with_positional_file
from data_gen.terminal.outcome import Outcome, training_of


@dataclass(frozen=True, kw_only=True)
class RepackFlags:
    """Copy a dataset into one compressed file, or back into a plain one.

    Args:
        file: dataset file.
        out: file to write.
        compression: "none" gives the plain layout, the fastest to read.
        level: effort of gzip, 1 to 9.
        chunk_rows: samples compressed together, a power of two; by default as many as make 64 KiB.
        overwrite: replace the output once the new one is whole.
        no_verify: also take a file whose header was changed on purpose; its fields are verified all the same.
    """

    file: Any
    out: Path
    compression: Literal["gzip", "none"] = "gzip"
    level: int = 4
    chunk_rows: int | None = None
    overwrite: bool = False
    no_verify: bool = False


def repack_command(argv: list[str]) -> str:
    """`sciml-cf repack FILE --out FILE2`."""
    from data_gen.storage.repack import repack

    flags = parse(with_positional_file(RepackFlags), argv, prog="sciml-cf repack")
    report = repack(
        flags.file,
        flags.out,
        compression=flags.compression,
        level=flags.level,
        chunk_rows=flags.chunk_rows,
        overwrite=flags.overwrite,
        verify=not flags.no_verify,
    )
    share = report.bytes_after / report.bytes_before
    sizes = f"{report.bytes_before / 1e6:.1f} MB to {report.bytes_after / 1e6:.1f} MB ({share:.1%})"
    return Outcome(f"{report.path}: {sizes}, every checksum the same", following=training_of(report.path))
