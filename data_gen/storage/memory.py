"""The memory that a file may take: fields that claim more than there is are refused before they are read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from data_gen.errors import DatasetError

_SHARE = 0.8  # of the free memory


def check_memory(function: str, path: Path, sizes: Iterable[int], what: str = "arrays") -> None:
    """Refuse what does not fit into the memory that is free.

    Args:
        function: the function that messages name.
        path: the file that they name.
        sizes: bytes of what is held at once.
        what: what that is, in the plural.

    Raises:
        DatasetError: it is more.
    """
    needed, free = sum(sizes), free_memory()
    if free is not None and needed > _SHARE * free:
        raise DatasetError(
            f"{function}: {path} has {what} of {_giga(needed)}, more than the {_giga(free)} of memory that is free. "
            f"Give fewer samples or points, or convert it to a format that is read in parts, such as .npy or HDF5."
        )


def free_memory() -> int | None:
    """Bytes that this process can still take; None where the system does not tell."""
    found = [value for value in (_available(), _limit()) if value is not None]
    return min(found, default=None)


def _available() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            rows = dict(line.split(":", 1) for line in file if ":" in line)
        return int(rows["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None


def _limit() -> int | None:
    """Bytes left under a limit on the address space (RLIMIT_AS), or None without one."""
    try:
        import resource

        soft, _ = resource.getrlimit(resource.RLIMIT_AS)
        if soft == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm", encoding="ascii") as file:
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        return max(0, soft - used)
    except (ImportError, OSError, ValueError, AttributeError):
        return None


def _giga(count: int) -> str:
    return f"{count / 1e9:.3g} GB"
