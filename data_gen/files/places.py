"""Places of outputs: regular files and folders of the expected kind, and targets of symbolic links."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_OTHERS = {stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
_OTHERS[stat.S_IFLNK] = "a circle of symbolic links"


@dataclass(frozen=True)
class Kind:
    """What an output is.

    Args:
        name: in a few words, with their article.
        recognizes: whether a file or folder that exists is one, and may therefore be replaced.
    """

    name: str
    recognizes: Callable[[Path], bool]


def starts_with(name: str, *signatures: bytes) -> Kind:
    """The kind of files that begin with one of these bytes."""

    def recognizes(path: Path) -> bool:
        with open(path, "rb") as file:
            return file.read(max(map(len, signatures))).startswith(signatures)

    return Kind(name, recognizes)


def followed(path: Path) -> Path:
    """A path, or if it is a symbolic link what that points to."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def place_of(path: str | Path, who: str, argument: str, *, folder: bool | None = False) -> Path:
    """Where an output will lie: the path, or if it is a symbolic link what that points to.

    Args:
        path: as it was given.
        who: the function that messages name.
        argument: the argument that they name.
        folder: whether a folder will be written, and not a file; None if it may be either.

    Raises:
        FileNotFoundError: the folder that should hold it is missing.
        IsADirectoryError, FileExistsError: something else is there: a folder for a file, a file for a folder, a
            device, a FIFO, a link to nothing.
    """
    path = Path(path)
    place = followed(path)
    try:
        mode = os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        _check_new(path, place, who, argument)
        return place
    if stat.S_ISDIR(mode) and folder is False:
        raise IsADirectoryError(f"{who}: `{argument}` must be a file; got the folder {path}.")
    if stat.S_ISREG(mode) and folder:
        raise FileExistsError(f"{who}: `{argument}` must be a folder; got the file {path}. Choose another path.")
    if stat.S_IFMT(mode) in _OTHERS:
        what = _OTHERS[stat.S_IFMT(mode)]
        raise FileExistsError(f"{who}: `{argument}` must be a regular file; got {path}, which is {what}.")
    return place


def _check_new(path: Path, place: Path, who: str, argument: str) -> None:
    """Refuse a place where nothing is, unless something can be made there."""
    if place != path:
        raise FileExistsError(
            f"{who}: `{argument}` must be no link to nothing; got {path}, a symbolic link to {place}, which does not "
            f"exist. Remove the link."
        )
    if not place.parent.is_dir():
        raise FileNotFoundError(
            f"{who}: `{argument}` must lie in an existing folder; got {path}. Create {path.parent} first."
        )


def check_free(
    place: Path, who: str, argument: str, *, kind: Kind, overwrite: bool, demand: str = "not exist yet"
) -> bool:
    """Whether something is there that will be replaced.

    Raises:
        FileExistsError: something is there, and ``overwrite`` is not set, or it is not of this kind.
    """
    if not os.path.lexists(place):
        return False
    if not overwrite:
        raise FileExistsError(
            f"{who}: `{argument}` must {demand}; got {place}. Pass overwrite=True (--overwrite) to replace it."
        )
    if not is_of(kind, place):
        what = "file" if place.is_file() else "folder"
        raise FileExistsError(
            f"{who}: `{argument}` must be {kind.name} to replace; the {what} {place} is not. Choose another path, or "
            f"remove it by hand."
        )
    return True


def is_regular(path: Path) -> bool:
    """Whether a path is a regular file itself, and no link to one."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False


def is_of(kind: Kind, place: Path) -> bool:
    """Whether what is there is of a kind; a file that cannot be read is of none, and an empty one of any."""
    try:
        if place.is_file() and place.stat().st_size == 0:
            return True
        return kind.recognizes(place)
    except Exception:  # a damaged file can fail in as many ways as its libraries have
        return False
