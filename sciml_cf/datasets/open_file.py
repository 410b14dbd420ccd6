"""A data file that stays open: each process opens it for itself, and it must not change meanwhile."""

from __future__ import annotations

import os
import weakref
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from data_gen.formats import Facts, Source, open_source
from data_gen.formats.paths import parts_of
from sciml_cf.errors import DatasetError

_MOST_FILES = 1024  # of a folder that are looked at
_Identity = tuple[tuple[str, int, int, int], ...]


class _Handle:
    """A source that is open in one process, closed when nothing holds it any more."""

    def __init__(self, source: Source) -> None:
        self.source = source
        weakref.finalize(self, source.close)


# Open sources by process, file and what is said of it: the splits of a large file share one.
_HANDLES: weakref.WeakValueDictionary[tuple[Any, ...], _Handle] = weakref.WeakValueDictionary()


class OpenFile:
    """A file that is read again and again, by this process and by those that get a copy of this object.

    Args:
        path: see ``open_source``.
        format: see ``open_source``.
        facts: see ``open_source``.

    Raises:
        DatasetError: the file cannot be used.
    """

    def __init__(self, path: Path, *, format: str | None = None, facts: Facts | None = None) -> None:
        self.path, self._format, self._facts = path, format, facts
        self._opened: tuple[int, _Handle] | None = None
        self._identity: _Identity | None = None
        self.source  # noqa: B018 a file that cannot be used is refused now

    @property
    def source(self) -> Source:
        """The file, open in this process.

        Raises:
            DatasetError: it has changed since it was opened first.
        """
        if self._opened is None or self._opened[0] != os.getpid():  # a handle must not cross a fork
            self._opened = os.getpid(), self._handle()
        source = self._opened[1].source
        found = _identity(source)
        if self._identity is None:
            self._identity = found
        if found != self._identity:
            raise DatasetError(
                f"read: {self.path} has changed since it was opened; its samples are others than before. Put the "
                f"file back and go on with --resume, or start anew on the new one."
            )
        return source

    def _handle(self) -> _Handle:
        asked = (os.getpid(), str(self.path.absolute()), self._format, repr(self._facts))
        for key, handle in list(_HANDLES.items()):
            with suppress(DatasetError):  # that file is gone
                if key[:4] == asked and _identity(handle.source) == key[4]:
                    return handle
        handle = _Handle(open_source(self.path, format=self._format, facts=self._facts))
        _HANDLES[(*asked, _identity(handle.source))] = handle
        return handle

    def close(self) -> None:
        """Let go of the file in this process."""
        self._opened = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}


def _identity(source: Source) -> _Identity:
    """Number, size and time of change of the files that a source is read from."""
    try:
        files = [file for part in parts_of(source.path) for file in _files_of(part)]
        files += getattr(source, "shard_paths", ())
        found = [(file, file.stat()) for file in files]
    except OSError as error:
        raise DatasetError(f"read: {source.path} cannot be read any more ({error.strerror}). Was it moved?") from None
    return tuple((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in found)


def _files_of(path: Path) -> list[Path]:
    """The file itself, or of a folder the files in it and in its folders."""
    if not path.is_dir():
        return [path]
    found = sorted(islice((entry for pattern in ("*", "*/*") for entry in path.glob(pattern)), _MOST_FILES))
    return [entry for entry in found if entry.is_file()]
