"""Files that are not HDF5: as what their first bytes show them, and what to do with them."""

from __future__ import annotations

import zipfile
from pathlib import Path

_PACKED = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf\x27\x1c": "7-Zip",
}
_TAR, _TAR_AT = b"ustar", 257
_ARRAYS = (".npy", "data.pkl")  # members of a numpy or torch file, which are zip archives too
_LOOKED_AT = 512


def advice_on(path: Path) -> str:
    """A sentence on a file that is empty, packed or text; "" on any other, and on what is no file."""
    if not path.is_file():
        return ""
    with open(path, "rb") as file:
        start = file.read(_LOOKED_AT)
    if not start:
        return "It is empty: copy it again, or make it anew."
    packed = next((name for magic, name in _PACKED.items() if start.startswith(magic)), None)
    if start[_TAR_AT:].startswith(_TAR):
        packed = "tar"
    if zipfile.is_zipfile(path) and not _has_arrays(path):
        packed = "zip"
    if packed is not None:
        return f"It is packed by {packed}: unpack it first."
    return "It is text: load its numbers, and save them by numpy.save." if _is_text(start) else ""


def _has_arrays(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(_ARRAYS) for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return True  # a damaged one, of which nothing is known


def _is_text(start: bytes) -> bool:
    try:
        words = start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 3:  # not only a letter that the end cuts
            return False
        words = start[: error.start].decode()
    return all(letter.isprintable() or letter in "\t\r\n" for letter in words)
