import platform
import subprocess
import sys

import pytest

from sciml_cf.training.malloc import keep_memory

GLIBC = platform.libc_ver()[0] == "glibc"
# Fresh pages that a block of 64 MB costs when one of the same size has just been freed.
FAULTS = """
import ctypes, resource, sys
import torch
from sciml_cf.training.malloc import keep_memory
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)  # PR_SET_THP_DISABLE: pages of one size, however the system is set up
if sys.argv[1] == "kept":
    assert keep_memory()
found = []
for _ in range(8):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(2**24)
    del block
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(found))  # the system may take pages back at any time
"""


@pytest.mark.skipif(not GLIBC, reason="glibc only")
def test_freed_memory_is_used_again_without_fresh_pages():
    """In one of a few tries: a system that is short of memory takes pages back, whatever the process does."""
    tries = []
    for _ in range(5):
        found = [
            int(subprocess.run([sys.executable, "-c", FAULTS, kind], capture_output=True, check=True).stdout)
            for kind in ("as it is", "kept")
        ]
        tries.append(found)
        if found[1] < 100 < found[0]:
            return
    raise AssertionError(f"fresh pages as it is, and kept: {tries}")


def test_it_says_whether_it_was_done(monkeypatch):
    assert keep_memory() is GLIBC
    keep_memory.cache_clear()
    monkeypatch.setattr("sys.platform", "darwin")
    assert keep_memory() is False
    keep_memory.cache_clear()


def test_another_c_library_is_left_alone(monkeypatch):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr("ctypes.CDLL", missing)
    keep_memory.cache_clear()
    assert keep_memory() is False
    keep_memory.cache_clear()
