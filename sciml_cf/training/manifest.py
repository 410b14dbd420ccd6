"""The manifest of a run folder: sizes and SHA-256 of its files, so that a damaged one is refused before it is used.

::

    {"format": 1, "files": {"last.pt": [{"bytes": 123, "sha256": "..."}, ...], ...}, "sha256": digest of "files"}

The digest of a new file is listed before the file gets its name, next to that of the file it replaces: whichever of the
two a kill leaves is the right one. Files that are not listed, and folders without a manifest (of version 0.1, or copied
in part), are read unverified.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from data_gen.files.stream import guarded
from data_gen.files.whole import rewritten, write_bytes
from sciml_cf.errors import CheckpointError

MANIFEST_FILE = "manifest.json"
_ATTEMPTS = 3  # at a file that another process may be replacing
_CURES = {
    "evaluation.nc": "Make it anew with `sciml-cf evaluate`",
    "posterior.pt": "Make it anew with `sciml-cf posterior RUN --data FILE --overwrite`",
}
# Digests of files that this process has put in their places, by path, with values that show that they are unchanged.
_known: dict[Path, tuple[tuple[int, ...], dict[str, Any]]] = {}
Entry = list[dict[str, Any]]


@contextmanager
def listed(path: Path) -> Iterator[Path]:
    """A place to write a file of a run folder to in this block; it gets its name once the manifest lists it.

    Raises:
        OSError: it cannot be written; what is not a regular file is never replaced.
    """
    with rewritten(path) as part:
        yield part
        list_files(path.parent, {path.name: digest_of(part)})
    remember(path)


def write_listed(path: Path, text: str) -> None:
    """Write a text file of a run folder: readers see the old or the new one, never half, and the manifest lists it.

    Raises:
        OSError: it cannot be written; what is not a regular file is never replaced.
    """
    with listed(path) as part, guarded(part) as file:
        file.write(text.encode())


def list_files(folder: Path, digests: Mapping[str, dict[str, Any]]) -> None:
    """List files that are about to get their names, and keep those that they replace."""
    with _only_one(folder):
        files = _read_manifest(folder) or {}
        for name, digest in digests.items():
            present = _present(folder / name, files.get(name, []))
            files[name] = [digest, *(one for one in present if one != digest)]
        content = {"format": 1, "files": files, "sha256": _digest_of_files(files)}
        write_bytes(folder / MANIFEST_FILE, (json.dumps(content, indent=1, sort_keys=True) + "\n").encode())


def remember(path: Path) -> None:
    """Know a file that was just put in its place, so that its digest need not be computed again."""
    newest = (_read_manifest(path.parent) or {}).get(path.name, [])[:1]
    if newest:
        _known[path.absolute()] = _identity(path), newest[0]


def present_digest(path: Path) -> dict[str, Any]:
    """Present digest of a file."""
    known = _known.get(path.absolute())
    return known[1] if known is not None and known[0] == _identity(path) else digest_of(path)


def _present(path: Path, entry: Entry) -> Entry:
    """Of the digests listed for a file, that of the one in place; all if none fits."""
    if len(entry) < 2 or not path.exists():
        return entry[:1] if path.exists() else []
    found = present_digest(path)
    return [found] if found in entry else entry


def digest_of(path: Path) -> dict[str, Any]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}


def read_verified(path: Path) -> bytes:
    """The bytes of a file of a run folder, compared with the manifest.

    Raises:
        CheckpointError: they differ, or the manifest itself is damaged.
        OSError: the file cannot be read.
    """
    for _ in range(_ATTEMPTS):
        data = path.read_bytes()
        entry = (_read_manifest(path.parent) or {}).get(path.name)  # after the file: it was listed before it was put
        found = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()} if entry is not None else None
        if entry is None or found in entry:
            return data
    cure = _CURES.get(path.name, "Copy the run again, or train it again")
    raise CheckpointError(
        f"load: {path} is damaged: it differs from its digest in {MANIFEST_FILE}. {cure}. If you changed it yourself, "
        f"delete {MANIFEST_FILE}: the run is then read unverified."
    )


def _read_manifest(folder: Path) -> dict[str, Entry] | None:
    """The digests that a manifest lists for each file; None without a manifest.

    Raises:
        CheckpointError: it is damaged.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        content = json.loads(text)
        files = content["files"]
        if content["sha256"] != _digest_of_files(files) or content["format"] != 1:
            raise ValueError("it differs from its own digest")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        reason = " ".join(str(error).split())[:80]
        raise CheckpointError(
            f"load: {path} is damaged ({reason}). Copy the run again; without this file the run is read unverified."
        ) from None
    return files


def _digest_of_files(files: Mapping[str, Entry]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _identity(path: Path) -> tuple[int, ...]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """One process at a time, by a lock on the folder itself, which ends with the process; none where there is none."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
