"""A file under a library that writes: errors of the operating system are kept, and raised once the library is done.

HDF5 does not survive a write that fails: objects cannot be closed any more, errors are lost, and the process may crash
when it ends; memory maps end it at once. So success is reported to the library, and the error comes afterwards.
"""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from data_gen.errors import OutputError

_Item = TypeVar("_Item")
_PIECE = 2**22


class GuardedFile(io.RawIOBase):
    """A new file, open for reading and writing, that keeps the first error in ``error`` and goes on.

    Args:
        path: a file that does not exist; no link is followed.

    Raises:
        OSError: it exists or cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        self.path, self.name = path, str(path)
        self.error: OSError | None = None
        self._at = self._end = self._crc = 0
        self._sequential = True

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        data = os.pread(self._descriptor, len(buffer), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        count, start = len(view), self._at
        if start != self._end:
            self._sequential = False
        if self._sequential:
            self._crc = zlib.crc32(view, self._crc)
        while view and self.error is None:
            try:
                os.lseek(self._descriptor, start, os.SEEK_SET)
                written = os.write(self._descriptor, view)
                view, start = view[written:], start + written
            except OSError as error:
                self.error = error
        self._at += count
        self._end = max(self._end, self._at)
        return count

    def truncate(self, size: int | None = None, /) -> int:
        size = self._at if size is None else size
        try:
            os.ftruncate(self._descriptor, size)
        except OSError as error:
            self.error = self.error or error
        self._end, self._sequential = size, self._sequential and size == self._end
        return size

    def unbroken(self, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, one after another, until a write has failed.

        Raises:
            OSError: that of the write.
        """
        for item in items:
            self._raise()
            yield item

    def finish(self) -> None:
        """Wait until all is on the disk, and read it back.

        Raises:
            OSError: a write failed.
            OutputError: the file does not hold what was written.
        """
        self._raise()
        os.fsync(self._descriptor)
        size = os.fstat(self._descriptor).st_size
        if size != self._end or (self._sequential and self._read_crc() != self._crc):
            raise OutputError(f"{self.path} does not hold what was written to it. Check the disk.")

    def close(self) -> None:
        if not self.closed:
            super().close()
            os.close(self._descriptor)

    def _read_crc(self) -> int:
        crc = at = 0
        while data := os.pread(self._descriptor, _PIECE, at):
            crc, at = zlib.crc32(data, crc), at + len(data)
        return crc

    def _raise(self) -> None:
        if self.error is not None:
            raise OSError(self.error.errno, os.strerror(self.error.errno or 0), self.name)


@contextlib.contextmanager
def guarded(path: Path) -> Iterator[GuardedFile]:
    """A ``GuardedFile`` for a library to write in this block; afterwards it is on the disk, and was read back.

    Raises:
        OSError: a write failed, whatever the library made of it.
        OutputError: the file does not hold what was written.
    """
    with GuardedFile(path) as file:
        try:
            yield file
        except Exception:
            file._raise()
            raise
        file.finish()
