"""Command-line flags from the fields of a frozen dataclass, those of every command, and TOML files that fill them."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from data_gen.cli.flag_groups import flattened, grouped, is_positional
from data_gen.terminal.quiet import be_quiet

Config = TypeVar("Config")
#: The field for the flags of every command; its name is the title of their group in the help.
_COMMON = "every_command"


class UsageError(ValueError):
    """The command line itself is wrong; the message is one line."""


@dataclass(frozen=True, kw_only=True)
class CommonFlags:
    """Flags of every command.

    Args:
        quiet: show no progress bar and no next step; results, warnings and errors alone.
        config: fill any of these flags from a TOML file (epochs = 20); flags given here win over the file.
    """

    quiet: bool = False
    config: Path | None = None


@dataclass(frozen=True, kw_only=True)
class JsonFlags:
    """Flags of commands whose results programs read.

    Args:
        json: print the results as one JSON document; numbers that are not finite are null.
    """

    json: bool = False


# What other programs call a flag.
_OTHER_NAMES = {
    "lr": "learning-rate",
    "bs": "batch-size",
    "wd": "weight-decay",
    "dataset": "data",
    "output": "out",
    "n-samples": "samples",
    "device": "accelerator",
}


class _Asked(Exception):
    """Ends a command at its ``parse`` where only the type of its flags is asked for."""

    now = False

    def __init__(self, kind: type[Any]) -> None:
        super().__init__()
        self.kind = kind


def parse(config_type: type[Config], argv: Sequence[str], *, prog: str) -> Config:
    """Read ``argv`` into ``config_type``; ``--help`` prints its docstring and fields and exits, ``--quiet`` is obeyed.

    Args:
        config_type: a dataclass whose docstring has an ``Args:`` section; tyro derives the flags. A class attribute
            ``GROUPS`` arranges them in the help, see ``grouped``.
        argv: words after the command's name; ``--config FILE.toml`` may be among them.
        prog: how the command is called, for messages.

    Raises:
        UsageError: an unknown flag, a missing one, or a value of the wrong type, in one line.
    """
    if _Asked.now:
        raise _Asked(config_type)
    import tyro

    words = _with_config(list(argv), config_type, prog)
    kind = command_type(config_type, prog)
    description = (config_type.__doc__ or "").split("Args:")[0].strip()
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            found = tyro.cli(
                kind, args=words, prog=prog, description=description, config=(tyro.conf.FlagCreatePairsOff,)
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(f"{prog}: {_one_line(messages.getvalue())}{_suggestion(words, config_type)}") from None
    common = getattr(found, _COMMON)
    if common.config is not None:
        raise UsageError(f"{prog}: `--config` must be given once; got {common.config} too. Join the files.")
    if common.quiet:
        be_quiet()
    return flattened(config_type, found)


def flags_type(command: Callable[[list[str]], object], words: list[str]) -> type[Any]:
    """The dataclass of a command's flags, which the command itself chooses; it does not run.

    Args:
        command: the function of a command, which calls ``parse``.
        words: those that choose, such as the equation of `sciml-cf generate`.
    """
    _Asked.now = True
    try:
        command(words)
    except _Asked as found:
        return found.kind
    finally:
        _Asked.now = False
    raise TypeError(f"flags_type: `command` must call parse; {command.__name__} does not.")


def command_type(config_type: type[Any], prog: str) -> Any:
    """The type that tyro reads a command's words into: its flags, in groups if it has them, and ``CommonFlags``."""
    from tyro.conf import OmitArgPrefixes, arg

    config = ("config", Annotated[Path | None, arg(metavar="FILE.toml")], field(default=None))
    common = make_dataclass("CommonFlags", [config], bases=(CommonFlags,), frozen=True, kw_only=True)
    common.__doc__ = CommonFlags.__doc__
    groups = getattr(config_type, "GROUPS", None)
    kind: Any = config_type if groups is None else grouped(config_type, groups, prog.split()[-1])
    added: list[Any] = [(_COMMON, OmitArgPrefixes[common], field(default=common()))]
    made = make_dataclass(config_type.__name__, added, bases=(kind,), frozen=True, kw_only=True)
    made.__doc__ = kind.__doc__
    return made


def with_positional_file(flags: type[Any]) -> type[Any]:
    """The same flags with ``file`` as a positional word; tyro is imported only when a command runs."""
    from tyro.conf import Positional

    made = make_dataclass(flags.__name__, [("file", Positional[Path])], bases=(flags,), frozen=True, kw_only=True)
    made.__doc__ = flags.__doc__
    return made


def _with_config(argv: list[str], config_type: type[Any], prog: str) -> list[str]:
    """``argv`` with the values of its --config file written out in front, except those that flags give."""
    places = [i for i, word in enumerate(argv) if word == "--config" or word.startswith("--config=")]
    if not places:
        return argv
    file, rest = _split(argv, places[0])
    given = {word.partition("=")[0].replace("_", "-") for word in rest if word.startswith("--")}
    filled: list[str] = []
    kinds = {"quiet": bool, **get_type_hints(config_type, include_extras=True)}
    for key, entry in _read_toml(file, prog).items():
        flag = "--" + key.replace("_", "-")
        kind = kinds.get(flag[2:].replace("-", "_"))
        if kind is None:
            meant = _meant(_nearest(flag, config_type))
            raise UsageError(f"{prog}: `--config` must hold names of flags; {file} has {key}. See --help.{meant}")
        _check_entry(key, entry, kind, prog)
        if flag not in given:
            filled += _words(flag, entry, prog)
    return rest + filled


def _suggestion(words: Sequence[str], config_type: type[Any]) -> str:
    """The flag that was meant: by a flag of another name, or by a data file without its flag."""
    names = get_type_hints(config_type)
    if words and not words[0].startswith("-") and "data" in names and "file" not in names:
        return _meant(f"--data {words[0]}")
    flags = [word.partition("=")[0] for word in words if word.startswith("--")]
    unknown = [flag for flag in flags if flag[2:].replace("-", "_") not in names]
    return _meant(_nearest(unknown[0], config_type)) if unknown else ""


def _nearest(flag: str, config_type: type[Any]) -> str:
    """The known flag that a word is like; empty if it is like none."""
    known = ["--" + name.replace("_", "-") for name in get_type_hints(config_type)]
    usual = _OTHER_NAMES.get(flag[2:], "")
    near = [f"--{usual}"] if f"--{usual}" in known else difflib.get_close_matches(flag, known, 1, 0.75)
    return near[0] if near else ""


def _meant(flag: str) -> str:
    return f" Did you mean {flag}?" if flag else ""


def _split(argv: list[str], index: int) -> tuple[str, list[str]]:
    """The file of the --config at ``index``, empty if it is missing, and the other words."""
    inline = argv[index].partition("=")[2]
    file = inline or (argv[index + 1] if index + 1 < len(argv) else "")
    return file, argv[:index] + argv[index + (1 if inline else 2) :]


def _check_entry(key: str, entry: Any, kind: Any, prog: str) -> None:
    if is_positional(kind):
        raise UsageError(f"{prog}: `--config` must not hold {key}; give it as a word of the command.")
    if kind is not None and isinstance(entry, bool) and not _takes_bool(kind):
        raise UsageError(f"{prog}: `--config` must hold a value for {key}, not true or false; got {entry!r}.")


def _takes_bool(kind: Any) -> bool:
    return kind is bool or any(_takes_bool(part) for part in get_args(kind))


def _read_toml(path: str, prog: str) -> dict[str, Any]:
    if not path:
        raise UsageError(f"{prog}: `--config` must name a TOML file; got nothing after it.")
    try:
        return tomllib.loads(Path(path).read_text())
    except OSError as error:
        raise UsageError(f"{prog}: `--config` must name a readable file; got {path} ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{prog}: `--config` must be a TOML file; got {path} ({error}).") from error


def _words(flag: str, entry: Any, prog: str) -> list[str]:
    if entry is True:
        return [flag]
    if entry is False:
        return []
    if isinstance(entry, list):
        return [flag, *map(str, entry)]
    if isinstance(entry, dict):
        raise UsageError(f"{prog}: `--config` must hold plain keys; got the table [{flag[2:]}].")
    return [flag, str(entry)]


def _one_line(box: str) -> str:
    """The first part of tyro's boxed message, up to its first rule, without the frame.

    Where the output takes ASCII alone it has no frame: its title is a line of its own, and rules are of hyphens.
    """
    lines = [line.strip("│ ").strip() for line in box.splitlines() if not line.startswith(("╭", "╰"))]
    if len(lines) > 1 and set(lines[1]) == {"-"}:
        lines = lines[2:]
    gist: list[str] = []
    for line in lines:
        if set(line) in ({"─"}, {"-"}):
            if gist and not gist[-1].startswith("Missing"):
                break
            continue
        gist.append(line)
    text = re.sub(r"\s+", " ", " ".join(gist)).replace("(required)", "").strip()
    return text.rstrip(".") + ". See --help."
