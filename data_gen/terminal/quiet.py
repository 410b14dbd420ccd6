"""The quiet mode of the running command, and the progress bars that depend on it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


class _State:
    """Of this process; a library call without a command is never quiet."""

    quiet = False


def be_quiet() -> None:
    """From now on no bars and no messages below warnings, as ``--quiet`` asks for; see ``restored``."""
    _State.quiet = True
    logging.getLogger().setLevel(logging.WARNING)


def is_quiet() -> bool:
    """Whether the running command was called with ``--quiet``."""
    return _State.quiet


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """One command: what ``be_quiet`` changes is as before at its end."""
    quiet, level = _State.quiet, logging.getLogger().level
    try:
        yield
    finally:
        _State.quiet = quiet
        logging.getLogger().setLevel(level)


def progress_bar(*, shown: bool = True, **settings: Any) -> tqdm[Any]:
    """A progress bar on standard error; every bar of both packages is made here.

    Args:
        shown: whether the caller wants it; a quiet command shows none.
        settings: of ``tqdm``.
    """
    from tqdm import tqdm

    return tqdm(disable=not shown or _State.quiet, **settings)
