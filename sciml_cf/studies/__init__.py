"""Studies: whole experiments from data to a page, each in one folder, found by the folder's name.

A folder NAME has ``flags.py`` with one class, the frozen dataclass of its flags; ``run.py`` with
``run(config, command)``, which returns the result file; and ``page.py`` with ``page(result)``, which shows it.
``sciml-cf study NAME`` runs both. ``flags.py`` imports neither torch nor what needs it, so that ``--help`` is quick.
What studies share is in ``harness``.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

__all__ = ["Study", "page_of", "study_named", "study_names", "summary_of"]

# Names in result files and commands of version 0.1 that are no folder's name.
_OLD_NAMES = {"time": "time-to-accuracy"}


@dataclass(frozen=True)
class Study:
    """A study by name: its flags, and the function that runs it.

    Args:
        name: as on the command line, "figure2".
        config: frozen dataclass whose fields are the flags; ``out`` is the folder to write.
    """

    name: str
    config: type[Any]
    _folder: str

    def run(self, config: Any, command: str) -> Path | str | None:
        """Run what is missing of the study.

        Args:
            config: its flags.
            command: the command line, stored in the result file.

        Returns:
            the result file; None after one part of a grid; or the text to print, where there is no page to make.
        """
        return import_module(f"{self._folder}.run").run(config, command)


def study_names() -> tuple[str, ...]:
    """Names of all studies, sorted."""
    folders = (found.name for found in pkgutil.iter_modules(__path__) if found.ispkg and found.name != "harness")
    return tuple(sorted(name.replace("_", "-") for name in folders))


def folder_of(name: str) -> str | None:
    """The module name of a study's folder, None for an unknown study."""
    name = _OLD_NAMES.get(name, name)
    return f"{__name__}.{name.replace('-', '_')}" if name in study_names() else None


def study_named(name: str) -> Study:
    """The study of this name. Its flags are imported; what it runs is imported when it runs.

    Raises:
        ValueError: there is none.
    """
    folder = folder_of(name)
    if folder is None:
        raise ValueError(f"sciml-cf study: `name` must be one of {', '.join(study_names())}; got {name!r}.")
    flags = import_module(f"{folder}.flags")
    (config,) = (kind for kind in vars(flags).values() if isinstance(kind, type) and kind.__module__ == flags.__name__)
    return Study(name, config, folder)


def page_of(name: str) -> Callable[[dict[str, Any]], tuple[str, list[str], list[Any]]]:
    """The page of a study: result -> (title, paragraphs, tables and pictures in their order).

    Raises:
        ValueError: there is no such study, or it writes no result file.
    """
    folder = folder_of(name)
    if folder is None or find_spec(f"{folder}.page") is None:
        with_page = (other for other in study_names() if find_spec(f"{folder_of(other)}.page"))
        raise ValueError(f"sciml-cf study page: `result` must be of {', '.join(with_page)}; got one of {name!r}.")
    return import_module(f"{folder}.page").page


def summary_of(name: str) -> str:
    """One line that says what a study does; nothing heavy is imported."""
    return (import_module(str(folder_of(name))).__doc__ or "").splitlines()[0].removeprefix("Study: ")
