"""Locks that admit one writer at a time: a file next to the output, released when its process ends.

The lock of NAME is the empty file .NAME.lock in the same folder, under an exclusive ``flock``. The operating system
drops it however a process ends, and NFS 4 and Lustre pass it between machines. The last holder deletes the file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from data_gen.errors import OutputError

try:
    import fcntl
except ImportError:  # a system without flock is used unlocked
    fcntl = None

_LONGEST = 200


class Held(Exception):
    """Another process, or another part of this one, holds the lock."""


def short_name(name: str) -> str:
    """A file's name, cut if names made from it could become too long for a file system; still one for each file."""
    raw = os.fsencode(name)
    if len(raw) <= _LONGEST:
        return name
    return raw[: _LONGEST - 20].decode(errors="ignore") + "-" + hashlib.sha256(raw).hexdigest()[:16]


def lock_path(target: Path) -> Path:
    """The file whose lock stands for ``target``."""
    return target.with_name(f".{short_name(target.name)}.lock")


@contextlib.contextmanager
def held(target: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of a file or folder inside this block; yields whether there is one.

    A file system without locks, or a folder where no file may be made, is used unlocked.

    Args:
        target: what will be written; its folder exists.
        shared: others that ask for a shared lock may hold it too.

    Raises:
        Held: somebody else holds it.
        OutputError: what has the lock's name is no file.
    """
    path = lock_path(target)
    descriptor = _acquired(path, shared=shared)
    try:
        yield descriptor is not None
    finally:
        if descriptor is not None:
            _release(path, descriptor, shared=shared)


def _acquired(path: Path, *, shared: bool) -> int | None:
    """A descriptor with the lock of the file that has the name now; None where there can be no lock."""
    while fcntl is not None:
        descriptor = _opened(path)
        if descriptor is None:
            return None
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Held(str(path)) from None
        except OSError:
            os.close(descriptor)
            return None
        if _is_at(descriptor, path):
            return descriptor
        os.close(descriptor)  # deleted by its holder between the two calls: take the lock of a new one
    return None


def _opened(path: Path) -> int | None:
    """The file of a lock, open; None where it cannot be."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except OSError:
        descriptor = None
    if descriptor is None and not (os.path.islink(path) or os.path.isdir(path)):
        return None
    if descriptor is None or not stat.S_ISREG(os.fstat(descriptor).st_mode):
        if descriptor is not None:
            os.close(descriptor)
        raise OutputError(f"{path} must be a file for a lock; something else has its name. Remove it.")
    return descriptor


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is the one that has the name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _release(path: Path, descriptor: int, *, shared: bool) -> None:
    """Delete the lock's file, unless it is not empty or others may hold it, then let go."""
    with contextlib.suppress(OSError):
        if shared and fcntl is not None:  # the last of them deletes it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_size == 0 and _is_at(descriptor, path):
            path.unlink()
    os.close(descriptor)
