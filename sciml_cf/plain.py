"""Settings with Python's numbers in the place of numpy's and torch's, so that they can be stored and compared."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import Any


def plain(value: Any) -> Any:
    """Python's number for a number of numpy or torch, a list for an array; anything else unchanged."""
    return value.tolist() if hasattr(value, "tolist") else value


def make_plain(config: Any) -> None:
    """Replace the numbers in the fields of a frozen dataclass by ``plain`` ones, when it is made."""
    for field in fields(config):
        value = getattr(config, field.name)
        made = type(value)(map(plain, value)) if type(value) in (tuple, list) else plain(value)
        if made is not value:
            object.__setattr__(config, field.name, made)


def plain_json(settings: dict[str, Any], argument: str) -> dict[str, Any]:
    """Settings as JSON stores them: with plain numbers, lists, and the text of paths.

    Args:
        settings: text, numbers, None, paths, arrays, and sequences and mappings of these.
        argument: where they were given, for the message.

    Raises:
        ValueError: something else is in them.
    """

    def stored(value: Any) -> Any:
        made = os.fspath(value) if isinstance(value, os.PathLike) else plain(value)
        if made is not value:
            return made
        raise ValueError(
            f"{argument} must hold text, numbers, lists and dictionaries, which can be stored; got {value!r}, a "
            f"{type(value).__name__}."
        )

    return json.loads(json.dumps(settings, default=stored))
