"""The house's docstrings (see CONVENTIONS.md) as reStructuredText, for Sphinx's autodoc.

A docstring is prose in which indented lines are a formula, then sections of entries ``name: text``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises", "Source")
#: Sections whose entries begin with a name.
_NAMED = ("Args", "Attributes", "Raises")
_HEADING = re.compile(rf"^({'|'.join(SECTIONS)}):\s*(.*)$")


def to_rst(lines: list[str]) -> list[str]:
    """The docstring (already dedented) in reStructuredText."""
    found: list[str] = []
    for title, body in sections(lines):
        found += _prose(body) if title is None else _section(title, body)
        found.append("")
    return found


def sections(lines: list[str]) -> Iterator[tuple[str | None, list[str]]]:
    """(title, lines) in order; None for prose. A section ends where the indentation does."""
    title: str | None = None
    body: list[str] = []
    for line in lines:
        heading = _HEADING.match(line)
        ends = title is not None and bool(line.strip()) and not line.startswith(" ")
        if heading or ends:
            if body:
                yield title, body
            title, body = (heading[1], [f"    {heading[2]}"] if heading[2] else []) if heading else (None, [line])
        else:
            body.append(line)
    if body or title:
        yield title, body


def _section(title: str, body: list[str]) -> list[str]:
    """A field: its title, and a list of its entries."""
    lines = _dedent(body)
    entries = list(_entries(lines if title in _NAMED else _joined(lines)))
    found = [f":{title}:"]
    for first, rest in entries:
        named = re.match(r"^([\w*.,() ]+?):\s+(.*)$", first) if title in _NAMED or len(entries) > 1 else None
        head = f"``{named[1]}``: {_escape(named[2])}" if named else _escape(first)
        bullet = "- " if title in _NAMED else ""
        nested = list(_entries(_dedent(rest))) if _is_list(rest) else []
        text = head if nested else " ".join([head, *(_escape(line.strip()) for line in rest if line.strip())])
        found += [f"    {bullet}{text}", ""]
        for name, more in nested:
            line = " ".join([name, *(part.strip() for part in more if part.strip())])
            found += [f"    {' ' * len(bullet)}- {_escape(line)}", ""]
    return found


def _entries(lines: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Lines without indentation, each with the indented ones that follow it."""
    first, rest = None, []
    for line in lines:
        if line.strip() and not line.startswith(" "):
            if first is not None:
                yield first, rest
            first, rest = line, []
        else:
            rest.append(line)
    if first is not None:
        yield first, rest


def _joined(lines: list[str]) -> list[str]:
    """The same with a paragraph's lines made one."""
    found: list[str] = []
    for line in lines:
        if found and line.strip() and not line.startswith(" ") and found[-1].strip() and not found[-1].startswith(" "):
            found[-1] += f" {line}"
        else:
            found.append(line)
    return found


def _is_list(lines: list[str]) -> bool:
    """Whether continuation lines are entries of their own: more than one level of indentation, or named ones."""
    full = [line for line in lines if line.strip()]
    levels = {len(line) - len(line.lstrip()) for line in full}
    return len(levels) > 1


def _prose(lines: list[str]) -> list[str]:
    """Paragraphs; indented blocks between them become literal ones, unless they continue a list."""
    found: list[str] = []
    in_list = False
    for indented, group in groupby(lines, lambda line: line.startswith("    ") or (not line.strip() and None)):
        block = list(group)
        if indented and not in_list:
            if found and found[-1].rstrip().endswith("::"):
                found.append("")
            else:
                last = next((line for line in reversed(found) if line.strip()), "")
                if not last.rstrip().endswith("::"):
                    found += ["", "::", ""]
            found += block
        else:
            found += [_escape(line) for line in block]
            if any(line.strip() for line in block):
                in_list = bool(re.match(r"^\s*- ", block[-1])) or (in_list and block[-1].startswith(" "))
    return found


def _dedent(lines: list[str]) -> list[str]:
    full = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    least = min(full, default=0)
    return [line[least:] for line in lines]


def _escape(line: str) -> str:
    """Prose with the characters that reStructuredText would take for markup escaped, outside of backticks."""
    parts = re.split(r"(``.*?``|`[^`]*`)", line)
    return "".join(part if part.startswith("`") else _escaped(part) for part in parts)


def _escaped(text: str) -> str:
    bullet = re.match(r"^\s*[-*] ", text)
    start = bullet[0] if bullet else ""
    text = re.sub(r"([\\*|])", r"\\\1", text[len(start) :])
    return start + re.sub(r"(\w)_(?!\w)", r"\1\\_", text)


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = to_rst(lines)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
