"""Plain text as token ids: files of a folder, words, and a vocabulary of the most frequent ones."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sciml_cf.errors import DatasetError, check_count

UNKNOWN = "<unknown>"
_WORD = re.compile(r"\w+|[^\w\s]")


def corpus_files(folder: Path | str, split: str = "train") -> list[Path]:
    """The text files of one split, in order of their paths: every ``*.SPLIT`` below the folder.

    This is the layout of BabyLM: babylm_10M/aochildes.train, babylm_dev/aochildes.dev, babylm_test/..., and of later
    years train_10M/childes.train, dev/, test/. Where two training sets lie in one folder (10M and 100M), name the one.
    A path of one file is that file.

    Raises:
        DatasetError: there is no such file; the message lists the endings that are there.
    """
    folder = Path(folder)
    if folder.is_file():
        return [folder]
    found = sorted(path for path in folder.rglob(f"*.{split}") if path.is_file())
    if not found:
        raise DatasetError(
            f"corpus_files: `folder` must hold text files that end in .{split}; {folder} has "
            f"{', '.join(_endings(folder)) or 'no files'}. Files of another ending are another `split`."
        )
    sets = {path.parent for path in found if re.search(r"_(10M|100M)$", path.parent.name)}
    if len(sets) > 1:
        raise DatasetError(
            f"corpus_files: `folder` must hold one training set; {folder} has "
            f"{', '.join(sorted(path.name for path in sets))}. Name one of them."
        )
    return found


def _endings(folder: Path) -> list[str]:
    return sorted({path.suffix for path in folder.rglob("*") if path.is_file() and path.suffix})


def read_lines(files: Iterable[Path]) -> Iterator[str]:
    """The lines of text files, one at a time; bytes that are not UTF-8 become the replacement character."""
    for path in files:
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from file


def words(lines: Iterable[str]) -> Iterator[str]:
    """Lower-case words and single punctuation marks, in order."""
    for line in lines:
        yield from _WORD.findall(line.lower())


@dataclass(frozen=True)
class Vocabulary:
    """The words that have an id of their own; id 0 means all others."""

    words: tuple[str, ...]

    @classmethod
    def of(cls, tokens: Iterable[str], *, size: int) -> Vocabulary:
        """The ``size - 1`` most frequent words, ties in alphabetical order."""
        check_count("Vocabulary.of", "size", size, minimum=2)
        counts = Counter(tokens)
        order = sorted(counts, key=lambda word: (-counts[word], word))
        return cls((UNKNOWN, *order[: size - 1]))

    @cached_property
    def ids(self) -> dict[str, int]:
        """The id of each word."""
        return {word: index for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        """How many ids there are."""
        return len(self.words)

    def encode(self, tokens: Iterable[str], *, size: int = 2**20) -> Iterator[NDArray[np.int64]]:
        """Arrays of at most ``size`` ids, in order: a text of any length in bounded memory."""
        part: list[int] = []
        for token in tokens:
            part.append(self.ids.get(token, 0))
            if len(part) == size:
                yield np.array(part, dtype=np.int64)
                part = []
        if part:
            yield np.array(part, dtype=np.int64)
