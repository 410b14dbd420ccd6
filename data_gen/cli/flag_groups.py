"""Flags of a command in named groups for its help; the required ones come first, and the names stay flat."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, field, fields, is_dataclass, make_dataclass
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

Config = TypeVar("Config")
Groups = Mapping[str, Sequence[str]]


def is_positional(kind: Any) -> bool:
    """Whether a type is one of tyro's positional words."""
    from tyro.conf import Positional

    marker = get_args(Positional[str])[1]
    return get_origin(kind) is Annotated and marker in get_args(kind)[1:]


def grouped(config_type: type[Any], groups: Groups, rest: str) -> type[Any]:
    """A dataclass with one field for each group, which tyro shows as "NAME options"; docstrings become descriptions.

    Args:
        config_type: the flat dataclass; its docstring, and those of its bases, describe the fields.
        groups: names of fields by group, in the order of the help. Required flags make a group of their own, the first.
        rest: name of the group of all other fields, the second.

    Raises:
        ValueError: a group names a field that does not exist, or one that another group has.
    """
    from tyro.conf import OmitArgPrefixes

    texts = descriptions(config_type)
    hints = get_type_hints(config_type, include_extras=True)
    kinds = {name: helped(kind, texts.get(name)) for name, kind in hints.items()}
    known = {one.name: one for one in fields(config_type)}
    words = [name for name in known if is_positional(kinds[name])]
    made = [
        (group.replace(" ", "_"), OmitArgPrefixes[_part(group, [known[name] for name in names], kinds)])
        for group, names in _members(config_type, words, groups, rest).items()
    ]
    outer = make_dataclass(
        config_type.__name__,
        [*((name, kinds[name], _copied(known[name])) for name in words), *made],
        frozen=True,
        kw_only=True,
    )
    outer.__doc__ = ""
    return outer


def _members(config_type: type[Any], words: Sequence[str], groups: Groups, rest: str) -> dict[str, list[str]]:
    """Names of fields by group, the required ones first; groups without a field are left out."""
    known = {one.name: one for one in fields(config_type)}
    required = [name for name, one in known.items() if name not in words and _is_required(one)]
    placed = [name for names in groups.values() for name in names]
    if len(placed) != len(set(placed)) or not set(placed) <= set(known):
        raise ValueError(f"grouped: `groups` must name fields of {config_type.__name__}, each once; got {placed}.")
    others = [name for name in known if name not in {*words, *required, *placed}]
    members = {"required": required, rest: others}
    members |= {group: [name for name in names if name not in required] for group, names in groups.items()}
    return {group: names for group, names in members.items() if names}


def flattened(config_type: type[Config], value: Any) -> Config:
    """The flat dataclass of what tyro read into it, or into a type with its fields in groups, among others."""
    names = {one.name for one in fields(config_type)}  # pyright: ignore[reportArgumentType]
    values: dict[str, Any] = {}
    for one in fields(value):
        part = getattr(value, one.name)
        inner = is_dataclass(part) and not isinstance(part, type)
        values |= {each.name: getattr(part, each.name) for each in fields(part)} if inner else {one.name: part}
    return config_type(**{name: value for name, value in values.items() if name in names})


def _part(group: str, members: Sequence[Field[Any]], kinds: Mapping[str, Any]) -> type[Any]:
    made = make_dataclass(
        f"{group.title().replace(' ', '')}Flags",
        [(one.name, kinds[one.name], _copied(one)) for one in members],
        frozen=True,
        kw_only=True,
    )
    made.__doc__ = ""
    return made


def _copied(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return field(default_factory=one.default_factory)
    return field() if one.default is MISSING else field(default=one.default)


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def descriptions(config_type: type[Any]) -> dict[str, str]:
    """The text of each field in the ``Args:`` of the docstrings of a dataclass and its bases."""
    found: dict[str, str] = {}
    for base in reversed(config_type.__mro__):
        _, _, arguments = inspect.cleandoc(base.__doc__ or "").partition("Args:\n")
        arguments = re.split(r"^\S", arguments, maxsplit=1, flags=re.MULTILINE)[0]
        for name, text in re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", arguments, re.MULTILINE):
            found[name] = " ".join(text.split())
    return found


def helped(kind: Any, text: str | None) -> Any:
    """The type with its description for the help, unless it brings one."""
    from tyro.conf import arg

    plain = get_origin(kind) is not Annotated or is_positional(kind)
    return Annotated[kind, arg(help=text)] if plain and text else kind
