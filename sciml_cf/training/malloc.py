"""Memory that a process keeps while it trains on a CPU."""

from __future__ import annotations

import ctypes
import sys
from functools import cache

# Parameters of glibc's mallopt, from malloc.h, and the sizes in bytes up to which memory is kept.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_KEPT = 2**30
_PAD = 2**26


@cache
def keep_memory() -> bool:
    """Have this process reuse the memory that it frees, instead of giving it back and asking anew at each step.

    glibc hands large blocks to the system as soon as they are free, and every step of a training on a CPU pays for
    fresh, zeroed pages. Kept, the process stays as large as it once was. Results do not change.

    For commands, which own their process; a library that is called does not touch it.

    Returns:
        Whether it was done: on Linux with glibc only.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    sizes = ((_MMAP_THRESHOLD, _KEPT), (_TRIM_THRESHOLD, _KEPT), (_TOP_PAD, _PAD))
    return all([mallopt(name, size) == 1 for name, size in sizes])
