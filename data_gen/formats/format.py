"""Formats by name, found among the modules of ``data_gen.formats``."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

_PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Format:
    """A file format: its name, the suffixes of its usual file names, and one line about it.

    Args:
        name: for ``--from`` and ``--to``.
        suffixes: with their dots, in lower case; "" for a folder.
        summary: one line for the help of `sciml-cf convert`.
        order: formats of a lower number are recognized first. A special format needs a lower number than a general one
            that would recognize its files too.
    """

    name: str
    suffixes: tuple[str, ...]
    summary: str
    order: int = 100

    def load(self) -> Any:
        """The module with ``recognizes``, ``open_file`` and ``write``."""
        return _modules()[self.name]


class Formats(Mapping[str, Format]):
    """All formats by name, in the order of recognition; the modules are imported when they are first asked for."""

    def __getitem__(self, name: str) -> Format:
        return _modules()[name].FORMAT

    def __iter__(self) -> Iterator[str]:
        return iter(_modules())

    def __len__(self) -> int:
        return len(_modules())


def formats() -> list[Format]:
    """All formats, in the order of recognition."""
    return [module.FORMAT for module in _modules().values()]


@cache
def _modules() -> dict[str, Any]:
    """The modules of the package that have a ``FORMAT``, by its name."""
    names = [found.name for found in pkgutil.iter_modules(import_module(_PACKAGE).__path__)]
    modules = [import_module(f"{_PACKAGE}.{name}") for name in names]
    formats = [module for module in modules if isinstance(getattr(module, "FORMAT", None), Format)]
    return {module.FORMAT.name: module for module in sorted(formats, key=lambda module: module.FORMAT.order)}
