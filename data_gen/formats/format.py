"""Formats by name, found among the modules of ``data_gen.formats``."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_gen.errors import DatasetError

if TYPE_CHECKING:
    from data_gen.formats.overrides import Overrides
    from data_gen.formats.source import Source

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

    def recognizes(self, path: Path) -> bool:
        """Whether a file is of this format, by its content.

        Raises:
            DatasetError: it is so damaged that the content does not say.
        """
        try:
            return self.load().recognizes(path)
        except (DatasetError, MemoryError):
            raise
        except Exception as error:  # a damaged file can fail in as many ways as its libraries have
            raise DatasetError(f"open_source: {path} cannot be read ({_reason(error)}). Is it damaged?") from None

    def open(self, path: Path, overrides: Overrides) -> Source:
        """The file open for reading.

        Raises:
            DatasetError: it is damaged, or metadata is missing.
            ValueError: an override is unusable.
        """
        try:
            return self.load().open_file(path, overrides)
        except (DatasetError, MemoryError, ImportError, NotImplementedError):
            raise
        except Exception as error:  # a file of unknown origin can fail in as many ways as its libraries have
            if isinstance(error, ValueError) and "`" in str(error):
                raise
            kind = f"{type(error).__name__}: {_reason(error)}".rstrip(": ")
            raise DatasetError(
                f"open_source: {path} cannot be read as {self.name} ({kind}). Is it damaged, or of another format "
                "(--from)?"
            ) from None


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


def _reason(error: Exception) -> str:
    """What a library said, on one line."""
    return " ".join(str(error).split())[:160]
