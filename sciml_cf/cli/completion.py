"""`sciml-cf --completion SHELL`: a script that completes all commands, their flags and the choices of these."""

from __future__ import annotations

import contextlib
import io
import re
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, field, fields, make_dataclass
from functools import reduce
from importlib import import_module
from operator import or_
from typing import Annotated, Any, get_type_hints

from data_gen.cli.flag_groups import descriptions, helped
from data_gen.cli.flags import CommonFlags, UsageError, flags_type
from data_gen.cli.generate import equation_summaries
from sciml_cf.studies import study_names, summary_of

SHELLS = ("bash", "zsh", "fish")
Commands = Mapping[str, tuple[str, str, str]]
#: By name the kind of a flag, and its default if it has one.
Flags = dict[str, tuple[Any, ...]]
_LETTERS = 50
#: tyro's script for fish gives all flags to Python as one argument, which Linux limits to 128 KiB; a pipe has no limit.
_LONG = ('$python_cmd -c "$pycode" $words', 'printf %s "$pycode" | $python_cmd - $words')


#: Where a word is no flag, name or choice, it is a file: tyro's scripts complete files for flags alone.
_FILES = {
    "bash": """
_sciml_cf_or_files() { _tyro_sciml_cf; [[ -n "${COMPREPLY[*]}" ]] || COMPREPLY=(); }
complete -o default -F _sciml_cf_or_files sciml-cf
""",
    "zsh": " || _files\n",
    "fish": """
complete --command sciml-cf --condition 'test (count (commandline -opc)) -gt 1' --force-files
""",
}


def completion(words: list[str], commands: Commands) -> str:
    """The completion script for a shell.

    Args:
        words: the name of the shell.
        commands: by name the module, the function and the summary of each command.

    Raises:
        UsageError: there is not one shell, or an unknown one.
    """
    if len(words) != 1 or words[0] not in SHELLS:
        raise UsageError(f"sciml-cf: `--completion` must name one shell of {', '.join(SHELLS)}; got {words}.")
    import tyro

    text = io.StringIO()
    asked = ["--tyro-write-completion", words[0], "-"]
    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes)
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(_tree(commands), args=asked, prog="sciml-cf", config=config)
    return (text.getvalue().rstrip("\n").replace(*_LONG) + _FILES[words[0]]).rstrip("\n")


def _tree(commands: Commands) -> Any:
    """All commands as subcommands; equations and studies as subcommands of `generate` and `study`."""
    kinds = {}
    for name, (module, function, summary) in commands.items():
        command = getattr(import_module(module), function)
        if name in _INNER:
            parts = {
                one: _made(one, _flags(flags_type(command, [one])), words) for one, words in _INNER[name]().items()
            }
            kinds[name] = _made(name, {"chosen": (_union(parts),)}, summary)
        else:
            kinds[name] = _made(name, _flags(flags_type(command, [])), summary)
    return _union(kinds)


def _studies() -> dict[str, str]:
    return {name: summary_of(name) for name in study_names()} | {"page": "Make the page of a result file again"}


#: Commands whose first word chooses their flags: the words, with a line about each.
_INNER = {"generate": equation_summaries, "study": _studies}


def _flags(config_type: type[Any]) -> Flags:
    """The fields of a command's flags, each with its kind and default, and a description of a few words."""
    found: Flags = {}
    for kind in (config_type, CommonFlags):
        texts, hints = descriptions(kind), get_type_hints(kind, include_extras=True)
        for one in fields(kind):
            default = () if one.default is MISSING else (one.default,)
            found[one.name] = (helped(hints[one.name], _short(texts.get(one.name))), *default)
    return found


def _short(text: str | None) -> str | None:
    """Up to the first stop, and at most so many letters."""
    return text and textwrap.shorten(re.split(r"[.:;,(]", text)[0], _LETTERS, placeholder=" ...")


def _made(name: str, flags: Flags, summary: str) -> Any:
    made = make_dataclass(
        name.title(),
        [(flag, kind[0], field(default=kind[1]) if len(kind) > 1 else field()) for flag, kind in flags.items()],
        frozen=True,
        kw_only=True,
    )
    made.__doc__ = summary
    return made


def _union(kinds: Mapping[str, Any]) -> Any:
    from tyro.conf import subcommand

    parts = (Annotated[kind, subcommand(name, description=kind.__doc__)] for name, kind in kinds.items())
    return reduce(or_, parts)
