"""One path, or several in one word, separated by commas; a comma can also be part of a name."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

_MOST = 3  # parts that are looked for
_ARRAYS = ".npy"


def parts_of(path: str | Path) -> list[Path]:
    """The files that a word names: one that exists as a whole, else parts that all exist, else at every comma."""
    text = str(path)
    if "," not in text or _exists(text):
        return [Path(text)]
    found = next((parts for parts in _splits(text) if all(map(_exists, parts))), None)
    return [Path(part) for part in found or text.split(",")]


def output_parts(path: str | Path) -> list[Path]:
    """The files to be written that a word names: several only where all of them are .npy files."""
    text = str(path)

    def is_array(part: str) -> bool:
        return part.endswith(_ARRAYS) and Path(part).parent.is_dir()

    plain = text.split(",")
    found = _first(text, is_array) or (plain if all(part.endswith(_ARRAYS) for part in plain) else [text])
    return [Path(part) for part in found]


def _exists(text: str) -> bool:
    try:
        return Path(text).exists()
    except (ValueError, OSError):  # a NUL, or a name that is too long
        return False


def _first(text: str, usable: Callable[[str], bool]) -> list[str] | None:
    return next((parts for parts in _splits(text) if all(map(usable, parts))), None)


def _splits(text: str) -> Iterator[list[str]]:
    """The ways to cut a text at commas into two parts, then three."""
    words = text.split(",")
    for count in range(2, min(_MOST, len(words)) + 1):
        for cuts in itertools.combinations(range(1, len(words)), count - 1):
            edges = (0, *cuts, len(words))
            yield [",".join(words[a:b]) for a, b in itertools.pairwise(edges)]
