"""The one schema of a result file: command, settings, versions, machine, date, and the figures."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sciml_cf.errors import BenchmarkError
from sciml_cf.training.checkpoints import write_atomically
from sciml_cf.training.versions import versions

RESULT_FILE = "results.json"
_KEYS = ("benchmark", "command", "config", "versions", "machine", "date", "seeds", "figures")
_GROUPS = ("config", "figures")
_PLACES = ("--out", "--workers")
# Settings, where a study has them, in which its parts must agree.
_ALIKE = ("preset", "fit", "samples", "stored", "resolution", "epochs", "batch_size")


def machine() -> dict[str, Any]:
    """The machine a result was measured on."""
    model = ""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else ""
    return {"cpu": model or platform.processor(), "cores": os.cpu_count(), "system": platform.system()}


def write_result(
    path: Path, *, benchmark: str, command: str, config: dict[str, Any], seeds: Sequence[int], figures: dict[str, Any]
) -> Path:
    """Write a result file; ``config`` and ``figures`` are plain values.

    Raises:
        BenchmarkError: something that is no result file has its name.
        OSError: it cannot be written.
    """
    content = {
        "benchmark": benchmark,
        "command": command,
        "config": json.loads(json.dumps(config, default=str)),
        "versions": versions(),
        "machine": machine(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seeds": list(seeds),
        "figures": figures,
    }
    if path.is_file():
        read_result(path)  # a file of others is not replaced
    write_atomically(path, json.dumps(content, indent=1) + "\n")
    return path


def read_result(path: Path | str, *, argument: str = "result") -> dict[str, Any]:
    """A result file as it was written; errors name this argument.

    Raises:
        BenchmarkError: the file is missing, or is not a whole result of this schema.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BenchmarkError(
            f"study: `{argument}` must be a whole result file; {path} cannot be read ({error})."
        ) from error
    missing = [key for key in _KEYS if key not in content] if isinstance(content, dict) else list(_KEYS)
    if missing:
        raise BenchmarkError(f"study: `{argument}` must hold {', '.join(missing)}; {path} does not.")
    wrong = [key for key in _GROUPS if not isinstance(content[key], dict)]
    if wrong:
        raise BenchmarkError(f"study: `{argument}` must hold an object as {' and '.join(wrong)}; {path} does not.")
    return content


def read_parts(folder: Path, name: str) -> dict[str, Any] | None:
    """The result of a study run in parts, NAME.json, NAME_2.json and so on, merged; None where there is none.

    Raises:
        ValueError: see ``merge_results``; all settings of the trainings must be the same.
    """
    paths = (folder / f"{name}.json", *sorted(folder.glob(f"{name}_[0-9].json")))
    found = [read_result(path) for path in paths if path.exists()]
    return merge_results(found, _ALIKE) if found else None


def merge_results(results: Sequence[dict[str, Any]], alike: Sequence[str]) -> dict[str, Any]:
    """One result of several files of the same benchmark, each with a part of its figures.

    Figures of the same name in two files are merged if both are dicts of dicts; else the later ones count.

    Args:
        results: as ``read_result`` gives them; kept are the versions of the first, all processors, all numbers of
            cores, and the latest date. Commands that differ in one word become one, with their words in braces, as
            shells read them; their ``--out`` and ``--workers`` are left out, which change no figure.
        alike: names of the settings that must be the same in all.

    Raises:
        ValueError: there is none, or the benchmarks, the seeds or one of these settings differ.
    """
    if not results:
        raise ValueError("merge_results: `results` must hold one result at least; got none.")
    first = results[0]
    for one in results[1:]:
        _check_alike(first, one, alike)
    figures: dict[str, Any] = {}
    for one in results:
        for name, found in one["figures"].items():
            figures[name] = {**figures[name], **found} if _is_group(figures.get(name)) and _is_group(found) else found
    processors, cores = (list(dict.fromkeys(one["machine"][key] for one in results)) for key in ("cpu", "cores"))
    return {
        **first,
        "figures": figures,
        "command": "; ".join(_folded([one["command"] for one in results])),
        "machine": {
            **first["machine"],
            "cpu": " and ".join(filter(None, processors)),
            "cores": cores[0] if len(cores) == 1 else " and ".join(map(str, cores)),
        },
        "date": max(one["date"] for one in results),
    }


def _folded(commands: Sequence[str]) -> list[str]:
    """Commands, each once; those that differ in one word are one command with these words in braces."""
    whole = list(dict.fromkeys(commands))
    try:
        bare = {command: tuple(_without_places(shlex.split(command))) for command in whole}
    except ValueError:  # a quote that does not end
        return whole
    groups: list[dict[tuple[str, ...], list[str]]] = []
    for command, words in bare.items():
        own = next((group for group in groups if len(_places([*group, words])) < 2), {})
        if not own:
            groups.append(own)
        own.setdefault(words, []).append(command)
    return [_in_one(group) for group in groups]


def _places(commands: Sequence[tuple[str, ...]]) -> list[int]:
    """Where commands differ; commands of different lengths do everywhere."""
    if len({len(words) for words in commands}) > 1:
        return list(range(max(map(len, commands)) + 1))
    return [place for place, words in enumerate(zip(*commands, strict=True)) if len(set(words)) > 1]


def _in_one(group: dict[tuple[str, ...], list[str]]) -> str:
    """Commands that differ in one word at most as one; a single one as it was given."""
    first, *others = group
    if not others:
        return group[first][0] if len(group[first]) == 1 else shlex.join(first)
    (place,) = _places(list(group))
    several = "{" + ",".join(_in_braces(words[place]) for words in group) + "}"
    return " ".join([*map(shlex.quote, first[:place]), several, *map(shlex.quote, first[place + 1 :])])


def _without_places(words: Sequence[str]) -> Iterator[str]:
    """The words of a command but the flags that say where it runs and writes, which change no figure."""
    rest = iter(words)
    for word in rest:
        if word in _PLACES:
            next(rest, None)
        elif word.partition("=")[0] not in _PLACES:
            yield word


def _in_braces(word: str) -> str:
    """A word as shells read it among several in braces, which commas part."""
    return f"'{word}'" if "," in word and shlex.quote(word) == word else shlex.quote(word)


def _check_alike(first: dict[str, Any], other: dict[str, Any], settings: Sequence[str]) -> None:
    pairs = [(key, other["config"].get(key), first["config"].get(key)) for key in settings]
    pairs += [(key, other[key], first[key]) for key in ("benchmark", "seeds")]
    for key, ours, theirs in pairs:
        if ours != theirs:
            raise ValueError(f"merge_results: `results` must have the same {key}; got {theirs} and {ours}.")


def _is_group(found: Any) -> bool:
    return isinstance(found, dict) and all(isinstance(value, dict) for value in found.values())
