"""Several result files as one: what is said of their commands and machines."""

from __future__ import annotations

from typing import Any

import pytest

from sciml_cf.studies.harness.results import merge_results


def piece(command: str, cpu: str = "A", cores: int = 2) -> dict[str, Any]:
    return {
        "benchmark": "b", "command": command, "config": {}, "seeds": [1], "date": "2026-11-30", "figures": {},
        "machine": {"cpu": cpu, "cores": cores},
    }  # fmt: skip


def command_of(*commands: str) -> str:
    return merge_results([piece(one) for one in commands], ())["command"]


@pytest.mark.parametrize(
    ("commands", "shown"),
    [
        (("s --problems kdv --out 'my folder'", "s --problems darcy --out=b --workers 2"), "s --problems {kdv,darcy}"),
        (("--out a s kdv", "s darcy --out b"), "s {kdv,darcy}"),
        (("s --out a", "s --out 'b c'"), "s"),
        (("s --changes 'batch 64' --x 1", "s --changes none --x 1"), "s --changes {'batch 64',none} --x 1"),
        (("s --note 'no --out here'", "s --note 'with --out b'"), "s --note {'no --out here','with --out b'}"),
        (("s a,b", "s c"), "s {'a,b',c}"),  # a comma parts words in braces
        (("s --outer 2", "s --outer 3"), "s --outer {2,3}"),
        (("s kdv", "s kdv darcy"), "s kdv; s kdv darcy"),
        (("s kdv darcy", "s kdv"), "s kdv darcy; s kdv"),
        (("s a b", "s a c", "s d b"), "s a {b,c}; s d b"),
        (("s 1 --m p --out a", "s 3 --m p", "s 3 --m l --out c"), "s {1,3} --m p; s 3 --m l --out c"),
        (("s it's", "s b"), "s it's; s b"),  # no words of a shell
        (("", "s"), "; s"),
    ],
)
def test_commands_that_differ_in_one_word_are_one(commands: tuple[str, ...], shown: str) -> None:
    assert command_of(*commands) == shown


def test_a_single_command_is_shown_as_it_was_given() -> None:
    assert command_of("s --out 'my folder'", "s --out 'my folder'") == "s --out 'my folder'"


def test_every_machine_is_named() -> None:
    pieces = [piece("s"), piece("s", "B", 8), piece("s", "", 2)]
    assert merge_results(pieces, ())["machine"] == {"cpu": "A and B", "cores": "2 and 8"}
    assert merge_results(pieces[:1], ())["machine"] == {"cpu": "A", "cores": 2}
