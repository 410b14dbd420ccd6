"""One-line errors of commands: too little memory, numbers out of range, empty lists of studies."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from data_gen.cli.flags import UsageError
from sciml_cf.cli.dispatch import _foreseen
from sciml_cf.cli.study import study_command
from sciml_cf.studies import study_named, study_names


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1e15 bytes"), 1, "not enough memory"),
        (RuntimeError("Storage size calculation overflowed with sizes=[9, 9]"), 1, "not enough memory"),
        (TypeError('empty(): failed to unpack the object with error "Overflow when unpacking long"'), 1, "memory"),
        (MemoryError("SuperLU"), 1, "not enough memory (SuperLU)"),
        (OverflowError("Python int too large"), 2, "a number is too large"),
        (RecursionError("maximum recursion depth"), 1, "nested too deeply"),
        (ValueError("embedded null byte"), 2, "must have no NUL"),
        (ValueError("f: `x` must be 1; got 2."), 2, "f: `x` must be 1"),
        (ValueError("a defect"), 0, ""),
        (RuntimeError("a defect"), 0, ""),
        (KeyError("a defect"), 0, ""),
        (ImportError("needs it: pip install it"), 1, "pip install"),
    ],
)
def test_foreseen_failures_have_a_status_and_a_line(error: Exception, status: int, words: str) -> None:
    found, line = _foreseen("train", error)
    assert found == status and words in line and "\n" not in line


@pytest.mark.parametrize("name", study_names())
def test_flags_of_studies_are_checked_before_anything_is_written(tmp_path: Path, name: str) -> None:
    for one in fields(study_named(name).config):
        flag = "--" + one.name.replace("_", "-")
        wrong: list[list[str]] = []
        if isinstance(one.default, tuple) and one.default:
            wrong.append([flag])
        if "seed" in one.name and one.default is not MISSING:
            wrong += [[flag, "-1"], [flag, str(2**63)]]
        if one.name == "images":
            wrong.append([flag, str(tmp_path / "nothing")])
        for words in wrong:
            with pytest.raises((UsageError, ValueError, OSError), match=flag):
                study_command([name, "--out", str(tmp_path / "out"), *words])
            assert not (tmp_path / "out").exists()
