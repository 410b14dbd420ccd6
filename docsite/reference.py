"""Pages of the reference: every public name of the packages, with its docstring, by the module it is at home in."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

#: Page -> the packages and modules whose public names it shows. A name is shown once, where it comes first.
PAGES: dict[str, tuple[str, ...]] = {
    "data_gen": ("data_gen",),
    "sciml_cf": ("sciml_cf",),
    "sciml_cf.head": ("sciml_cf.head", "sciml_cf.head.rules"),
    "subpackages": (
        "data_gen.equations",
        "data_gen.errors",
        "data_gen.formats",
        "data_gen.random_fields",
        "data_gen.storage.dataset",
        "sciml_cf.adapters.lightning",
        "sciml_cf.adapters.neuralop",
        "sciml_cf.causal",
        "sciml_cf.classification",
        "sciml_cf.classification.metrics",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.evaluate",
        "sciml_cf.head.registry",
        "sciml_cf.layerwise",
        "sciml_cf.metrics",
        "sciml_cf.models",
        "sciml_cf.plots",
        "sciml_cf.report",
        "sciml_cf.theory",
        "sciml_cf.training",
        "sciml_cf.training.malloc",
        "sciml_cf.training.symmetry",
    ),
}


def public_names(package: str) -> list[str]:
    """What can be imported from a package: its public list, or the module's own names where it has none."""
    module = import_module(package)
    listed = dir(module) if Path(str(module.__file__)).with_suffix(".pyi").exists() else getattr(module, "__all__", ())
    if listed:
        return sorted(listed, key=lambda name: (name.lower(), name))
    own = (name for name, value in vars(module).items() if getattr(value, "__module__", None) == package)
    return sorted(name for name in own if not name.startswith("_"))


def public_objects(packages: Iterable[str]) -> Iterator[tuple[str, str, Any]]:
    """(package, name, object) for each public name, aliases of an object seen already left out."""
    seen: list[Any] = []
    for package in packages:
        for name in public_names(package):
            value = getattr(import_module(package), name)
            if not any(value is other for other in seen):
                seen.append(value)
                yield package, name, value


def write_reference(out: Path) -> None:
    """Write the pages into ``out``/reference."""
    folder = out / "reference"
    folder.mkdir(parents=True, exist_ok=True)
    placed: dict[str, list[tuple[str, str, Any]]] = {}
    pages = {package: page for page, packages in PAGES.items() for package in packages}
    for package, name, value in public_objects(pages):
        placed.setdefault(pages[package], []).append((package, name, value))
    for page, names in placed.items():
        (folder / f"{page}.md").write_text(_page(page, names))
    (folder / "index.md").write_text(_index(placed))


def _page(page: str, names: list[tuple[str, str, Any]]) -> str:
    packages = PAGES[page]
    text = [f"# {page if len(packages) < 3 else 'Subpackages'}", ""]
    if len(packages) < 3:
        text += [_first_line(import_module(page)), "", *_elsewhere(page, names)]
    groups: dict[str, list[tuple[str, str, Any]]] = {}
    for package, name, value in names:
        groups.setdefault(_home(package, value) if len(packages) < 3 else package, []).append((package, name, value))
    for home in sorted(groups):
        text += [f"## {home}", "", _first_line(import_module(home)), ""]
        for package, name, value in groups[home]:
            text += _directive(package, name, value)
    return "\n".join(text)


def _elsewhere(page: str, names: list[tuple[str, str, Any]]) -> list[str]:
    """A line on the names that this package has too, and another page shows."""
    shown = {name for _, name, _ in names}
    rest = [name for name in public_names(page) if name not in shown]
    if not rest:
        return []
    links = ", ".join(f"{{py:obj}}`~sciml_cf.{name}`" for name in rest)
    return [f"It also has these of `sciml_cf`: {links}.", ""]


def _home(package: str, value: Any) -> str:
    """The module that a name is grouped under: at most one below the package."""
    module = getattr(value, "__module__", package)
    if not module.startswith(f"{package}."):
        return package
    return ".".join(module.split(".")[: package.count(".") + 2])


def _directive(package: str, name: str, value: Any) -> list[str]:
    if inspect.isclass(value):
        kind, options = "autoexception" if issubclass(value, BaseException) else "autoclass", [":members:"]
        routed = [member for member in dir(value) if member.startswith("set_") and member.endswith("_request")]
        if routed:  # scikit-learn's own, whose words link to its own manual
            options.append(f":exclude-members: {', '.join(routed)}")
        if shown := _bases_elsewhere(value):
            options.append(f":inherited-members: {', '.join(shown)}")
    elif isinstance(inspect.unwrap(value), types.FunctionType):  # one behind a cache too
        kind, options = "autofunction", []
    else:
        return ["```{eval-rst}", f".. py:data:: {package}.{name}", "", f"   {_constant(value)}", "```", ""]
    return ["```{eval-rst}", f".. {kind}:: {package}.{name}", *(f"   {option}" for option in options), "```", ""]


def _bases_elsewhere(value: type) -> list[str]:
    """The bases whose members are not shown again, if the class has one that no page shows: its members are."""
    shown = [base for _, _, base in public_objects(package for packages in PAGES.values() for package in packages)]
    own = [base for base in value.__mro__[1:] if base.__module__.split(".")[0] in ("data_gen", "sciml_cf")]
    hidden = [base for base in own if base not in shown]
    return [base.__name__ for base in value.__mro__[1:] if base not in hidden] if hidden else []


def _constant(value: Any) -> str:
    """What a constant holds: the names of a table, or the choices of a Literal."""
    names = list(value) if isinstance(value, Mapping | list | tuple | set | frozenset) else get_args(value)
    return "Of: " + ", ".join(f"``{name}``" for name in names) + "." if names else f"``{value!r}``"


def _first_line(module: types.ModuleType) -> str:
    return (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _index(placed: dict[str, list[tuple[str, str, Any]]]) -> str:
    text = ["# Python API", "", "Every public name, from its docstring. Axes, norms and words are those of the"]
    text += ["[conventions](../conventions.md).", ""]
    for page, names in placed.items():
        links = ", ".join(f"{{py:obj}}`~{package}.{name}`" for package, name, _ in names)
        text += [f"**[{page}]({page}.md)**: {links}", ""]
    return "\n".join([*text, "```{toctree}", ":hidden:", "", *placed, "```", ""])
