"""`sciml-cf study NAME`: run a study, write its result file and its page, print its tables."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from data_gen.cli.flags import UsageError, parse
from data_gen.files.places import followed
from data_gen.files.whole import only_writer, said, sweep
from sciml_cf.studies import Study, page_of, study_named, study_names, summary_of

_LOG = logging.getLogger(__name__)


def study_command(argv: list[str]) -> str:
    """`sciml-cf study`."""
    if not argv or argv[0] in ("-h", "--help"):
        return _overview()
    if argv[0] == "page":
        return _page(argv[1:])
    try:
        study = study_named(argv[0])
    except ValueError as error:
        raise UsageError(f"sciml-cf study: unknown study {argv[0]!r}; choose one of {_choices()}.") from error
    flags = parse(study.config, argv[1:], prog=f"sciml-cf study {argv[0]}")
    _check(study.name, flags)
    return _run(study, flags, shlex.join(["sciml-cf", "study", *argv]))


def old_spelling(argv: list[str]) -> str:
    """`sciml-cf bench` and `sciml-cf run`, as version 0.1 had them."""
    if argv and not argv[0].startswith("-"):
        _LOG.info("`sciml-cf bench` and `sciml-cf run` are now one command: sciml-cf study %s", shlex.join(argv))
    return study_command(argv)


def _run(study: Study, flags: Any, command: str) -> str:
    """Run a study and make its page, for the text to print; a folder made for one that could not begin is removed."""
    from sciml_cf.studies.harness.folder import finish, part_done

    made = flags.out.parent.is_dir() and not os.path.lexists(flags.out)
    if made:
        flags.out.mkdir(exist_ok=True)  # another task of the same array may be as quick
    if not flags.out.is_dir():
        raise FileNotFoundError(f"{study.name}: `out` must be a folder, or a new one in a folder; got {flags.out}.")
    try:
        with _only_writer(study.name, flags):
            result = study.run(flags, command)
            return result if isinstance(result, str) else part_done(flags.out) if result is None else finish(result)
    except BaseException:
        if made and not any(flags.out.iterdir()):
            flags.out.rmdir()
        raise


@contextlib.contextmanager
def _only_writer(name: str, flags: Any) -> Iterator[None]:
    """Hold the lock of the study's folder; tasks of an array share it, and each has one for its part."""
    out, shard = followed(flags.out).absolute(), getattr(flags, "shard", None)
    how = "the same command goes on"
    if shard is None:
        with only_writer(out, name, "out") as locked, said(name, out, how):
            for folder in (out, out / "trials") if locked else ():
                sweep(folder)
            yield
    else:
        part = out / f"part {shard[0]} of {shard[1]}"
        with only_writer(out, name, "out", shared=True), only_writer(part, name, "out"), said(name, out, how):
            yield


def _check(name: str, flags: Any) -> None:
    """Refuse, before anything is written, empty lists, seeds that no generator takes, and images that are not there.

    A list whose default is empty stands for all, or for those of the scale.
    """
    for one in fields(flags):
        value, flag = getattr(flags, one.name), "--" + one.name.replace("_", "-")
        each = value if isinstance(value, tuple) else (value,)
        if not each and one.default not in ((), MISSING):
            raise UsageError(f"{name}: `{flag}` must have one value at least; got none. Leave it out for all.")
        if "seed" in one.name and not all(0 <= seed < 2**63 for seed in each if isinstance(seed, int)):
            raise UsageError(f"{name}: `{flag}` must be from 0 to below 2^63; got {value}.")
        if one.name == "images" and isinstance(value, Path) and not value.exists():
            raise UsageError(f"{name}: `{flag}` must be a folder or file of images; got {value}, which does not exist.")


def _overview() -> str:
    width = max(map(len, study_names()))
    lines = [f"  {name.ljust(width)}  {summary_of(name)}" for name in study_names()]
    page = (
        f"  {'page'.ljust(width)}  Make the page and the table of a result file again: sciml-cf study page RESULT.json"
    )
    return "\n".join(["usage: sciml-cf study NAME [flags]", "", *lines, "", page])


def _choices() -> str:
    return ", ".join([*study_names(), "page"])


@dataclass(frozen=True, kw_only=True)
class PageFlags:
    """Make the page and the table of a result file again.

    Args:
        result: result file of a study, such as figure2/results.json.
    """

    result: Positional[Path]


def _page(words: list[str]) -> str:
    path = parse(PageFlags, words, prog="sciml-cf study page").result
    from sciml_cf.studies.harness.folder import finish
    from sciml_cf.studies.harness.results import read_result

    result = read_result(path)
    try:
        page_of(result["benchmark"])
    except ValueError as error:
        raise UsageError(f"{error} The file is {path}.") from error
    with only_writer(followed(path.parent).absolute(), "study page", "result"), said("study page", path.parent):
        return finish(path)
