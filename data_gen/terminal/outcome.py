"""The outcome of a command: text or JSON for standard output, and the command that usually follows."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Outcome(str):
    """The text of a command for standard output, with the step that usually follows.

    Args:
        text: for standard output; a JSON document with ``--json``.
        following: the next step in one line, usually a ``command_line``; empty for none.
        failure: the error line of a job that failed although it has a text, such as a report of faults.
    """

    following: str
    failure: str

    def __new__(cls, text: str, *, following: str = "", failure: str = "") -> Outcome:
        made = super().__new__(cls, text)
        made.following, made.failure = following, failure
        return made


def command_line(*words: str | Path) -> str:
    """``sciml-cf`` and the words, quoted for a shell; a path that begins with a dash gets ``./`` before it."""
    texts = (f"./{word}" if isinstance(word, Path) and str(word).startswith("-") else str(word) for word in words)
    return shlex.join(["sciml-cf", *texts])


def training_of(data: str | Path) -> str:
    """The command that trains on a file, into a folder that is not there yet."""
    return command_line("train", "--data", data, "--out", free_name("run"))


def free_name(name: str) -> str:
    """``name`` if the working folder has nothing of that name, else with the first free number: run, run2, run3.

    Args:
        name: a file or folder name; the number goes before its suffix.
    """
    path = Path(name)
    names = (f"{path.stem}{number or ''}{path.suffix}" for number in (0, *range(2, 1000)))
    return next((one for one in names if not os.path.lexists(one)), name)


def strict_json(document: Any) -> str:
    """A document as strict JSON: numbers that are not finite are null, numpy's are plain.

    Args:
        document: mappings, sequences, text, numbers, paths, None; objects with ``tolist`` are numpy's.

    Raises:
        TypeError: something else is in it.
    """
    return json.dumps(_plain(document), indent=2, allow_nan=False)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
