"""Rules by name: those of the package, those that installed packages offer, and those of a program itself.

A rule of the package is a file ``sciml_cf/head/rules/NAME.py``. An installed package offers one as an entry point of
the group ``sciml_cf.rules``, NAME = "module:Class". A program adds its own by ``register_rule``. Names follow without
an import of any rule, or of torch; the class of a rule is imported when the rule is used.
"""

from __future__ import annotations

import ast
import logging
import pkgutil
import re
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import cleandoc, isabstract
from typing import TYPE_CHECKING, Any

from sciml_cf.errors import check_choice
from sciml_cf.head import rules
from sciml_cf.plain import plain

if TYPE_CHECKING:
    from sciml_cf.head.rules import Rule

GROUP = "sciml_cf.rules"
# Methods of training that are no rule's name: they train every layer by gradients, or have an objective of their own.
RESERVED = ("l2", "cross-entropy", "cross-entropy-closed-form", "hybrid")
_LOG = logging.getLogger(__name__)
_REGISTERED: dict[str, type[Rule]] = {}


@dataclass(frozen=True)
class NamedRule:
    """A rule by its name.

    Args:
        name: as on the command line, "per-feature".
        kind: its class, a frozen dataclass whose fields are the rule's settings and have defaults.
    """

    name: str
    kind: type[Rule]

    @property
    def settings(self) -> tuple[str, ...]:
        """Names of the settings that it takes, such as strength and forgetting."""
        return tuple(field.name for field in _settings_of(self.kind))

    @property
    def summary(self) -> str:
        """One line that says how the head follows."""
        return _first_line(self.kind.__doc__)

    def make(self, function: str, **settings: Any) -> Rule:
        """The rule with these settings; those that are None take its own defaults.

        Raises:
            ValueError: the rule has no such setting, or refuses its value.
        """
        given = {key: value for key, value in settings.items() if value is not None}
        for key, value in given.items():
            if key not in self.settings:
                known = ", ".join(self.settings) or "none"
                raise ValueError(
                    f"{function}: `{key}` must be left out with the rule {self.name!r}; got {value!r}. Its "
                    f"settings: {known}."
                )
        return self.kind(**given)


def rule_names() -> tuple[str, ...]:
    """The names of all rules, sorted; imports none of them."""
    return tuple(sorted({*_files(), *_offered(), *_REGISTERED}))


def rule_named(name: str, *, function: str = "rule_named", argument: str = "name") -> NamedRule:
    """The rule of this name; its class is imported.

    Args:
        name: one of ``rule_names()``.
        function: the function that messages name.
        argument: the argument that they name.

    Raises:
        ValueError: there is no such rule.
        ImportError: it comes from an installed package, which does not import.
        TypeError: the class that is found under the name is no rule.
    """
    check_choice(function, argument, name, rule_names())
    return NamedRule(name, _kind_of(name))


def rule_of(function: str, method: str | Rule, *, argument: str = "method", **settings: Any) -> Rule:
    """The rule of a name with these settings, or the rule itself, which has its settings already.

    Args:
        function: the function that messages name.
        argument: the argument that they name.
        method: a name, or a rule such as Proximal(strength=0.1).
        settings: of a rule by name; None takes the rule's own default.

    Raises:
        ValueError: unknown name, or a setting that the rule refuses, does not have, or has already.
        TypeError: neither a name nor a rule.
    """
    if isinstance(method, str):
        return rule_named(method, function=function, argument=argument).make(function, **settings)
    check_rule(function, argument, method)
    for key, value in settings.items():
        if value is not None:
            raise ValueError(
                f"{function}: `{key}` must be left out with a rule that has its settings, {method!r}; got {value!r}."
            )
    return method


def check_rule(function: str, argument: str, rule: object) -> None:
    """Raise TypeError unless ``rule`` is a rule, and a frozen dataclass."""
    from sciml_cf.head.rules import Rule

    if not isinstance(rule, Rule) or not _is_frozen_dataclass(type(rule)):
        raise TypeError(
            f"{function}: `{argument}` must be the name of a rule, or a Rule (a frozen dataclass) such as "
            f"Proximal(strength=1e-2); got {rule!r}."
        )


def rule_summary(name: str) -> str:
    """One line that says what the rule of this name does; imports nothing."""
    if name in _REGISTERED:
        return _first_line(_REGISTERED[name].__doc__)
    if name in _files():
        return _first_line(_docstring(name))
    return f"Of the package {_package_of(_offered()[name])}."


def register_rule(name: str, cls: type[Rule]) -> None:
    """Give a user-defined rule a name, as the rules of the package have one.

    The name then works wherever a rule is named: in ``FitConfig``, on the command line, in ``classification_loss`` and
    the estimators. A class of the same module and name may be registered again, as a notebook does when a cell is run
    once more.

    Args:
        name: lower-case words with dashes between them, such as "median-of-means".
        cls: a frozen dataclass on ``Rule`` whose settings all have defaults.

    Raises:
        ValueError: the name is taken, or of another form, or a setting has no default.
        TypeError: ``cls`` is no frozen dataclass on ``Rule``, or lacks ``update``.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise ValueError(
            f"register_rule: `name` must be lower-case words with dashes between them; got {name!r}. For instance "
            "'median-of-means'."
        )
    _checked("register_rule", "cls", cls)
    old = _REGISTERED.get(name)
    again = old is not None and (old.__module__, old.__qualname__) == (cls.__module__, cls.__qualname__)
    if not again and name in (*RESERVED, *rule_names()):
        raise ValueError(f"register_rule: `name` must not be taken yet; got {name!r}, which is. Choose another one.")
    _REGISTERED[name] = cls


def name_of(kind: type[Rule]) -> str | None:
    """The name that a class goes by, None if it has none; imports nothing."""
    for name, known in _REGISTERED.items():
        if known is kind:
            return name
    package, _, file = kind.__module__.rpartition(".")
    if package == rules.__name__ and _is_called(kind, file):
        return _name(file)
    value = f"{kind.__module__}:{kind.__qualname__}"
    return next((name for name, entry in _offered().items() if entry.value.replace(" ", "") == value), None)


def describe_rule(rule: Rule) -> dict[str, Any]:
    """Plain values that identify a rule, as run.json stores them.

    Returns:
        "rule", its name or, of a class without one, module and class; and "settings", all of them by name.
    """
    settings = {field.name: _plain(getattr(rule, field.name)) for field in _settings_of(type(rule))}
    return {"rule": label_of(rule), "settings": settings}


def label_of(rule: Rule) -> str:
    """A rule's name; the file's name of a wrapper; else module and class."""
    kind = type(rule)
    file = kind.__module__.removeprefix(f"{rules.__name__}.wrappers.")
    if file != kind.__module__:
        return _name(file)
    return name_of(kind) or f"{kind.__module__}.{kind.__qualname__}"


# Where the names come from.


def _files() -> dict[str, str]:
    """The rules of the package: name -> file, without its ending."""
    found = pkgutil.iter_modules(rules.__path__)
    return {_name(one.name): one.name for one in found if not one.ispkg and not one.name.startswith("_")}


@cache
def _offered() -> dict[str, EntryPoint]:
    """The rules of installed packages: name -> entry point. A name that is taken already keeps its meaning."""
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        if entry.name in (*RESERVED, *_files(), *found):
            _LOG.warning(
                "rules: the rule %r of the package %s is left out, because the name is taken.",
                entry.name,
                _package_of(entry),
            )
        else:
            found[entry.name] = entry
    return found


def _kind_of(name: str) -> type[Rule]:
    if name in _REGISTERED:
        return _REGISTERED[name]
    files = _files()
    if name in files:
        module = f"{rules.__name__}.{files[name]}"
        kind = next((value for value in vars(import_module(module)).values() if _is_called(value, files[name])), None)
        return _checked(module, name, kind)
    entry = _offered()[name]
    try:
        kind = entry.load()
    except (ImportError, AttributeError) as error:
        package = _package_of(entry)
        raise ImportError(
            f"rules: `{name}` must be importable from the package {package}; it is not ({error}). Run pip install "
            f"--force-reinstall {package}."
        ) from error
    return _checked(f"the package {_package_of(entry)}", name, kind)


def _checked(function: str, argument: str, kind: Any) -> type[Rule]:
    """The class, if it can be a rule by name."""
    from sciml_cf.head.rules import Rule

    if not (isinstance(kind, type) and issubclass(kind, Rule) and _is_frozen_dataclass(kind)) or isabstract(kind):
        raise TypeError(f"{function}: `{argument}` must be a frozen dataclass on Rule with `update`; got {kind!r}.")
    for field in _settings_of(kind):
        if field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(
                f"{function}: `{argument}` must have a default for every setting, because a name alone makes the rule; "
                f"got {kind.__name__} without one for {field.name!r}."
            )
    return kind


def _is_frozen_dataclass(kind: type[Any]) -> bool:
    return is_dataclass(kind) and bool(kind.__dataclass_params__.frozen)  # pyright: ignore[reportAttributeAccessIssue]


def _settings_of(kind: type[Any]) -> list[Any]:
    return [field for field in fields(kind) if field.init]


def _is_called(value: Any, file: str) -> bool:
    """Whether it is a class that is called like a file: ``PerFeature`` in per_feature.py."""
    return isinstance(value, type) and value.__name__.lower() == file.replace("_", "")


def _name(file: str) -> str:
    return file.replace("_", "-")


def _package_of(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module


def _docstring(name: str) -> str | None:
    """The docstring of a rule's class, read from its file."""
    file = _files()[name]
    spec = find_spec(f"{rules.__name__}.{file}")
    source: str | None = spec.loader.get_source(spec.name) if spec is not None else None  # pyright: ignore
    classes = (node for node in ast.parse(source or "").body if isinstance(node, ast.ClassDef))
    return next((ast.get_docstring(one) for one in classes if one.name.lower() == file.replace("_", "")), None)


def _first_line(docstring: str | None) -> str:
    return cleandoc(docstring or "").split("\n\n")[0].replace("\n", " ")


def _plain(value: Any) -> Any:
    """A setting as JSON has it; a rule within a rule in the same way, and what JSON lacks as its repr."""
    from sciml_cf.head.rules import Rule

    if isinstance(value, Rule):
        return describe_rule(value)
    if isinstance(value, tuple | list):
        return [_plain(one) for one in value]
    value = plain(value)
    return value if value is None or isinstance(value, bool | int | float | str | list) else repr(value)
