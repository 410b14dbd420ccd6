"""Parts that every study has: its folder, its command line, its result file, and its closing lines."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from data_gen.terminal.outcome import Outcome
from sciml_cf.studies.harness.page import write_bench_page
from sciml_cf.studies.harness.results import RESULT_FILE, read_result, write_result


def check_folder(study: str, out: Path) -> None:
    """Raise FileNotFoundError unless ``out`` is a folder or can be made in one; nothing is made."""
    if out.is_file() or not (out.is_dir() or out.parent.is_dir()):
        raise FileNotFoundError(f"{study}: `out` must be a folder, or a new one in a folder; got {out}.")


def make_folder(study: str, out: Path) -> None:
    """The study's folder, made if the one that should hold it is there."""
    check_folder(study, out)
    out.mkdir(exist_ok=True)


def command_of(study: str, config: Any) -> str:
    """The command line that a configuration stands for: the flags that are not the defaults."""
    words = ["sciml-cf", "study", study]
    for one in fields(config):
        value = getattr(config, one.name)
        if isinstance(value, bool) and value != one.default:
            words.append(f"--{'' if value else 'no-'}{one.name.replace('_', '-')}")
        elif value != one.default and value is not None:
            words += [f"--{one.name.replace('_', '-')}", *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)


def store_result(
    study: str, config: Any, command: str, *, settings: dict[str, Any], seeds: Sequence[int], figures: dict[str, Any]
) -> Path:
    """Write the result file of a study into its folder.

    Args:
        study: its name.
        config: its flags.
        command: the command line; empty for the one that the flags stand for.
        settings: see ``write_result``.
        seeds: see ``write_result``.
        figures: see ``write_result``.
    """
    return write_result(
        config.out / RESULT_FILE,
        benchmark=study,
        command=command or command_of(study, config),
        config=settings,
        seeds=seeds,
        figures=figures,
    )


def finish(path: Path) -> Outcome:
    """Write the page of a result file; its tables and the paths as text."""
    tables, paths = write_bench_page(read_result(path), path.parent)
    text = "\n\n".join([*(table.text() for table in tables), "\n".join(map(str, [path, *paths]))])
    return Outcome(text, following=f"open {paths[0]} in a browser")


def part_done(out: Path) -> str:
    """The message after one part of a grid."""
    return f"{out}: this part of the grid is done. Run the same command without --shard to collect all parts."
