"""Flags from a TOML file: what a flag cannot be is refused, in one line that names the key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from data_gen.cli.flags import UsageError, parse
from data_gen.cli.generate import generate_command
from data_gen.cli.inspect import info_command
from data_gen.cli.repack import repack_command


@dataclass(frozen=True, kw_only=True)
class Flags:
    """A few flags.

    Args:
        samples: a number.
        times: numbers.
        overwrite: a switch.
        maybe: a switch or nothing.
    """

    samples: int = 1
    times: tuple[float, ...] | None = None
    overwrite: bool = False
    maybe: bool | None = None


def config(folder: Path, text: str) -> list[str]:
    path = folder / "flags.toml"
    path.write_text(text)
    return ["--config", str(path)]


def test_file_sets_switches_and_values(tmp_path: Path) -> None:
    words = config(tmp_path, "samples = 3\ntimes = [0.5, 1.0]\noverwrite = true")
    assert parse(Flags, words, prog="test") == Flags(samples=3, times=(0.5, 1.0), overwrite=True)
    assert parse(Flags, config(tmp_path, "overwrite = false"), prog="test") == Flags()


@pytest.mark.parametrize("entry", ["samples = false", "samples = true", "times = false"])
def test_true_or_false_for_a_value_is_refused(tmp_path: Path, entry: str) -> None:
    key = entry.split()[0]
    with pytest.raises(UsageError, match=f"test: `--config` must hold a value for {key}, not true or false; got"):
        parse(Flags, config(tmp_path, entry), prog="test")


def test_unknown_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--sample"):
        parse(Flags, config(tmp_path, "sample = false"), prog="test")


def test_positional_word_cannot_come_from_a_file(tmp_path: Path) -> None:
    words = config(tmp_path, 'file = "data.h5"')
    for command, name in ((info_command, "info"), (repack_command, "repack")):
        with pytest.raises(UsageError, match=f"sciml-cf {name}: `--config` must not hold file; give it as a word"):
            command(words)
    with pytest.raises(UsageError, match="the equation must come first, before --config; choose one of"):
        generate_command(config(tmp_path, 'equation = "burgers"'))


@pytest.mark.parametrize(
    ("words", "meant"), [(["--sample", "3"], "--samples"), (["--n-samples", "3"], "--samples"), (["--zebra", "3"], "")]
)
def test_an_unknown_flag_is_followed_by_the_one_that_was_meant(words: list[str], meant: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(Flags, words, prog="test")
    assert ("Did you mean" in str(raised.value)) == bool(meant) and str(raised.value).endswith(
        f"Did you mean {meant}?" if meant else "See --help."
    )


def test_an_unknown_key_of_a_file_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"flags\.toml has sampels\. See --help\. Did you mean --samples\?"):
        parse(Flags, config(tmp_path, "sampels = 3"), prog="test")
