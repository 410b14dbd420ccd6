"""Outputs that are whole under their names or not there: locked, written aside, on the disk, checked, then renamed.

What is written aside lies in a folder of its own next to its place, .NAME.TOKEN.part, which nobody else can have made:
the second half of its random token is a checksum of the name and the first half. A process that is killed leaves it;
the next writer of NAME, which holds the lock, finds it and removes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from data_gen.errors import OutputError
from data_gen.files.locks import Held, held, short_name
from data_gen.files.places import Kind, check_free, place_of
from data_gen.files.stream import guarded

_ASIDE = re.compile(r"\.(.+)\.([0-9a-f]{8})([0-9a-f]{8})\.part", re.DOTALL)
_REPLACED = "replaced"
#: Errors that only writing can meet, wherever they come up.
_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}
_FULL = _OF_WRITING - {errno.EROFS}


@contextlib.contextmanager
def new_file(
    path: str | Path,
    *,
    who: str,
    kind: Kind,
    argument: str = "out",
    overwrite: bool = False,
    demand: str = "not exist yet",
    check: Callable[[Path], object] | None = None,
) -> Iterator[Path]:
    """A place to write a file to in this block; if the block ends well, the file gets its name.

    The lock is held meanwhile. The file is flushed to the disk and checked before it is renamed, and the folder
    afterwards; if anything fails, what was there before is unchanged and nothing else is left.

    Args:
        path: the file; a symbolic link is written through to the file that it points to.
        who: the function that messages name.
        argument: the argument that they name.
        kind: what the file is; with ``overwrite`` a file that is of this kind is replaced, and no other.
        overwrite: replace what is there.
        demand: what the message asks for where something is there and must not be replaced.
        check: called with the file before it is renamed; an exception means that it is damaged.

    Yields:
        A path of the same name in an empty folder that no other process writes into.

    Raises:
        FileNotFoundError, IsADirectoryError, FileExistsError: the place cannot be used, see ``place_of``.
        OutputError: another process is writing the file, or the operating system refuses to.
    """
    rules: dict[str, Any] = {"kind": kind, "overwrite": overwrite, "demand": demand}
    with new_files([path], who=who, argument=argument, check=check, **rules) as (aside,):
        yield aside


@contextlib.contextmanager
def new_files(
    paths: Sequence[str | Path],
    *,
    who: str,
    kind: Kind,
    argument: str = "out",
    overwrite: bool = False,
    demand: str = "not exist yet",
    check: Callable[[Path], object] | None = None,
) -> Iterator[list[Path]]:
    """As ``new_file``, for files that belong together: they get their names once all are whole, or none does."""
    places = [place_of(path, who, argument) for path in paths]
    rules: dict[str, Any] = {"kind": kind, "overwrite": overwrite, "demand": demand}
    with contextlib.ExitStack() as stack:
        for place in sorted(set(places)):
            stack.enter_context(_writing(place, who, argument))
        asides = []
        for place in places:
            check_free(place, who, argument, **rules)
            stack.enter_context(said(who, place))
            asides.append(stack.enter_context(_aside(place)) / place.name)
        yield asides
        for aside in asides:
            _finish(aside, check)
        replaced = [check_free(place, who, argument, **rules) for place in places]
        with _together(asides, places, replaced):
            for aside, place, replace in zip(asides, places, replaced, strict=True):
                put_file(aside, place, replace=replace)


@contextlib.contextmanager
def _together(asides: list[Path], places: list[Path], replaced: list[bool]) -> Iterator[None]:
    """Put back what was there if the block fails between two of several files."""
    if len(places) == 1:
        yield
        return
    kept = [aside.with_name(_REPLACED) for aside in asides]
    for place, old, replace in zip(places, kept, replaced, strict=True):
        if replace:
            with contextlib.suppress(OSError):  # a file system without hard links
                os.link(place, old)
    try:
        yield
    except BaseException:
        for aside, place, old, replace in zip(asides, places, kept, replaced, strict=True):
            if replace and old.exists():
                os.replace(old, place)
            elif not replace and not aside.exists():
                place.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(
    path: str | Path, *, who: str, kind: Kind, argument: str = "out", overwrite: bool = False, or_file: bool = False
) -> Iterator[Path]:
    """A place to make a folder at in this block, which the block has to make; as ``new_file``.

    With ``or_file`` it may make a file instead, and a file may be replaced.
    """
    place = place_of(path, who, argument, folder=None if or_file else True)
    with _writing(place, who, argument), said(who, place), _aside(place) as folder:
        check_free(place, who, argument, kind=kind, overwrite=overwrite)
        yield folder / place.name
        _finish_all(folder / place.name)
        if check_free(place, who, argument, kind=kind, overwrite=overwrite):
            os.rename(place, folder / _REPLACED)
        try:
            os.rename(folder / place.name, place)
        except BaseException:
            if not os.path.lexists(place) and (folder / _REPLACED).exists():
                os.rename(folder / _REPLACED, place)
            raise
        sync_folder(place.parent)


def _finish_all(made: Path) -> None:
    """Wait until a file, or all of a folder, is on the disk."""
    if made.is_file():
        _finish(made, None)
    for below, _, names in os.walk(made):
        for name in names:
            _finish(Path(below) / name, None)
        sync_folder(Path(below))


@contextlib.contextmanager
def only_writer(place: Path, who: str, argument: str, *, shared: bool = False) -> Iterator[bool]:
    """Hold the lock of an output inside this block; yields whether there is one.

    Raises:
        OutputError: another process is writing it.
    """
    with contextlib.ExitStack() as stack:
        try:
            locked = stack.enter_context(held(place, shared=shared))
        except Held:
            raise OutputError(
                f"{who}: `{argument}` must have one writer at a time; got {place}, which another process is writing. "
                f"Wait until it is done, or choose another path."
            ) from None
        yield locked


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Write a file whole or not at all, replacing one that is there; the caller holds the lock of its folder.

    Raises:
        OSError: it cannot be written; what is not a regular file is never replaced.
    """
    with rewritten(path) as aside, guarded(aside) as file:
        file.write(data)


@contextlib.contextmanager
def rewritten(path: Path) -> Iterator[Path]:
    """A place to write a file to in this block, that then replaces ``path``; the caller holds the lock of its folder.

    Raises:
        OSError: it cannot be written; what is not a regular file is never replaced.
    """
    with written_aside(place_of(path, "write", "path"), replace=True) as aside:
        yield aside


@contextlib.contextmanager
def written_aside(place: Path, *, replace: bool) -> Iterator[Path]:
    """As ``rewritten``, for a place that is no link, and with a choice.

    Raises:
        FileExistsError: something has the name and must not be replaced.
    """
    with _aside(place) as folder:
        yield folder / place.name
        _finish(folder / place.name, None)
        put_file(folder / place.name, place, replace=replace)


def put_file(new: Path, place: Path, *, replace: bool) -> None:
    """Give a finished file its name, and wait until the folder is on the disk.

    Raises:
        FileExistsError: something has the name and must not be replaced.
    """
    try:
        before = os.lstat(place)
    except FileNotFoundError:
        before = None
    if before is not None and not (replace and stat.S_ISREG(before.st_mode)):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(place))
    if before is not None:
        os.chmod(new, stat.S_IMODE(before.st_mode))
    if replace or not _linked(new, place):
        os.replace(new, place)
    sync_folder(place.parent)


def _linked(new: Path, place: Path) -> bool:
    """Move a file to a name that nobody has; whether the file system could do it so that nobody can come between."""
    try:
        os.link(new, place)
    except FileExistsError:
        raise
    except OSError:
        return False
    os.unlink(new)
    return True


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(folder: Path, *names: str, also: Callable[[str], bool] | None = None) -> None:
    """Remove what killed writers left of these names in a folder, by default of all; the caller holds the lock.

    A folder that was being replaced when its writer died gets its name back.

    Args:
        folder: the folder.
        names: of the outputs.
        also: whether a further name is one of the caller's.
    """
    for found in _left_in(folder, names, also):
        place = folder / next(iter(_names_in(found)), "")
        if os.path.lexists(found / _REPLACED) and place.name and not os.path.lexists(place):
            os.rename(found / _REPLACED, place)
        shutil.rmtree(found, ignore_errors=True)


def is_aside(name: str) -> bool:
    """Whether a name in a folder is that of something that a writer of this package writes aside."""
    match = _ASIDE.fullmatch(name)
    return match is not None and match[3] == _proof(match[1], match[2])


@contextlib.contextmanager
def said(who: str, place: Path, how: str = "run the same command again") -> Iterator[None]:
    """Turn what the operating system refuses to a writer into one line that names the output, the cause and the fix.

    Args:
        who: the function, for the message.
        place: the output. An error is the writer's if its number says so, or its words name the output.
        how: what to do once the cause is gone.

    Raises:
        OutputError: with the number of the error, for one of the writer's; other exceptions pass.
    """
    try:
        yield
    except OutputError:
        raise
    except Exception as error:
        number = _cause(error, place)
        if number is None:
            raise
        fix = "Make room" if number in _FULL else "Fix that"
        refusal = OutputError(
            f"{who}: {_file_of(error, place)} cannot be written ({os.strerror(number)}). {fix}, then {how}."
        )
        refusal.errno = number
        raise refusal from error


def _file_of(error: BaseException, place: Path) -> str:
    """The file that an error speaks of, by its final name, if it lies in the output; else the output."""
    named = str(error.filename) if isinstance(error, OSError) and error.filename is not None else ""
    final = re.sub(r"/\.[^/]+\.[0-9a-f]{16}\.part(?=/|$)", "", named)
    return final if final.startswith(f"{place}/") else str(place)


def _cause(error: BaseException, place: Path) -> int | None:
    """The operating system's number of an error that writing met; None for any other error."""
    seen: BaseException | None = error
    aside = re.escape(os.path.join(place.parent, f".{short_name(place.name)}."))
    named = re.compile(rf"{aside}|{re.escape(str(place))}(?![\w.])")
    while seen is not None:
        text = str(seen)
        number = seen.errno if isinstance(seen, OSError) else None
        if number is None and (match := re.search(r"errno = (\d+)", text)):
            number = int(match[1])
        if number in _OF_WRITING or (number and named.search(text)):
            return number
        seen = seen.__cause__ or seen.__context__
    return None


@contextlib.contextmanager
def _writing(place: Path, who: str, argument: str) -> Iterator[None]:
    with only_writer(place, who, argument) as locked:
        if locked:
            sweep(place.parent, place.name)
        yield


@contextlib.contextmanager
def _aside(place: Path) -> Iterator[Path]:
    """An empty folder next to an output, for this process alone; it is gone after the block."""
    name, token = short_name(place.name), secrets.token_hex(4)
    folder = place.with_name(f".{name}.{token}{_proof(name, token)}.part")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finish(path: Path, check: Callable[[Path], object] | None) -> None:
    """Wait until a file is on the disk, and check it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    if check is not None:
        check(path)


def _left_in(folder: Path, names: Sequence[str], also: Callable[[str], bool] | None) -> list[Path]:
    wanted = {short_name(name) for name in names}
    found = []
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            match = _ASIDE.fullmatch(entry.name)
            if match is None or not is_aside(entry.name):
                continue
            ours = match[1] in wanted if wanted else True
            ours = ours or (also is not None and also(match[1]))
            if ours and entry.is_dir(follow_symlinks=False):
                found.append(folder / entry.name)
    return found


def _names_in(folder: Path) -> list[str]:
    return [entry for entry in os.listdir(folder) if entry != _REPLACED]


def _proof(name: str, token: str) -> str:
    return hashlib.sha256(f"sciml_cf {name} {token}".encode("utf-8", "surrogateescape")).hexdigest()[:8]
