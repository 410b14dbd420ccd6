"""Docstrings of public names: complete, in Google's style as Sphinx's napoleon reads it, and titled by a noun phrase.

Public is what the packages' lazy tables and ``__all__`` offer, as `docsite.reference` lists it. What applies is
read from the code: an argument of the signature has to be named; an array has to have its shape; what the body
raises has to be under Raises; a formula has to have its References.
"""

from __future__ import annotations

import ast
import functools
import inspect
import io
import re
import textwrap
import typing
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from docutils import nodes
from docutils.core import publish_doctree
from sphinx.ext.napoleon import Config, GoogleDocstring

from docsite import conf
from docsite.reference import PAGES, public_objects

ROOT = Path(__file__).parent.parent
CODE = ("data_gen", "sciml_cf", "docsite", "benchmarks", "tests")
PACKAGES = ("data_gen", "sciml_cf", "sciml_cf.head")
#: (B, C, N), (S,), (*N), (..., N), () or words about a shape.
SHAPE = re.compile(r"\((?:[A-Z]'?|\*\w+|\.\.\.)(?:, [^()]*|,)?\)|\(\)|\bshapes? ")
OBJECTS = [(f"{package}.{name}", value) for package, name, value in public_objects(PACKAGES) if callable(value)]
#: All names that the pages of the reference show.
REFERENCE = [
    (f"{package}.{name}", value)
    for package, name, value in public_objects([one for packages in PAGES.values() for one in packages])
    if inspect.isclass(value) or inspect.isroutine(inspect.unwrap(value))
]
CONFIG = Config(**{name: value for name, value in vars(conf).items() if re.match("napoleon|strip_signature", name)})
#: Sections that napoleon knows, and those of other dialects, in lower case.
TITLES = {*GoogleDocstring("", CONFIG)._sections, "source", "sources", "settings", "parameters", "stores"}


class Read(typing.NamedTuple):
    """A docstring as Sphinx reads it.

    Args:
        tree: the document.
        faults: what the parser reports.
    """

    tree: nodes.document
    faults: str

    @property
    def fields(self) -> dict[str, list[str]]:
        """Arguments of the fields by their kind: param, raises, returns, ivar, ..."""
        found: dict[str, list[str]] = {}
        for field in self.tree.findall(nodes.field_name):
            kind, _, name = field.astext().partition(" ")
            found.setdefault(kind, []).append(name)
        return found

    @property
    def rubrics(self) -> list[str]:
        return [rubric.astext() for rubric in self.tree.findall(nodes.rubric)]

    @property
    def formulas(self) -> list[str]:
        """Literal blocks outside of an example that have an equals sign between blanks."""
        found, title = [], ""
        for part in self.tree.findall(lambda node: isinstance(node, nodes.rubric | nodes.literal_block)):
            title = part.astext() if isinstance(part, nodes.rubric) else title
            found += [part.astext()] if isinstance(part, nodes.literal_block) and title != "Example" else []
        return [text for text in found if re.search(r" (=|<-) ", text)]

    @property
    def left_over(self) -> list[str]:
        """Titles of sections that napoleon left in the text."""
        texts = [part.astext() for kind in (nodes.paragraph, nodes.term) for part in self.tree.findall(kind)]
        firsts = [text.partition(":") for text in texts]
        alone = [text for text in texts if re.fullmatch(r"[A-Z]\w*(?: \w+){0,2}:", text)]
        return alone + [word for word, colon, _ in firsts if colon and word.lower() in TITLES]


def read(text: str, what: str = "function") -> Read:
    """A docstring through napoleon and docutils, where a single backtick is code as on the site."""
    reported = io.StringIO()
    rst = f".. default-role:: {conf.default_role}\n\n{GoogleDocstring(inspect.cleandoc(text), CONFIG, what=what)}"
    tree = publish_doctree(rst, settings_overrides={"warning_stream": reported, "report_level": 2})
    return Read(tree, reported.getvalue())


@functools.cache
def read_of(value: typing.Any) -> Read:
    return read(value.__doc__ or "", "class" if inspect.isclass(value) else "function")


def faults(value: typing.Any) -> list[str]:
    """What is missing in the docstring of a public function or class."""
    if typing.get_origin(value) is typing.Literal:
        return []
    text = inspect.cleandoc(value.__doc__ or "")
    found = [] if re.match(r"[A-Z`(|][^\n]*", text) else ["no summary"]
    if inspect.isclass(value) and issubclass(value, BaseException):
        return found
    known = read_of(value)
    found += [f"argument {name} not named" for name in arguments(value) if not re.search(rf"\b{name}\b", text)]
    if has_arrays(value) and not SHAPE.search(text):
        found.append("no shape of an array")
    if raises(value) and "raises" not in known.fields:
        found.append("no Raises")
    if known.formulas and "References" not in known.rubrics:
        found.append("a formula without References")
    return found


def style(value: typing.Any) -> list[str]:
    """Where the docstring of a function, method or class is not what napoleon reads as one in Google's style."""
    known = read_of(value)
    found = [known.faults] if known.faults else []
    found += [f"left in the text: {title}" for title in known.left_over]
    named = known.fields.get("param", [])
    signature = [] if inspect.isclass(value) and issubclass(value, BaseException) else all_arguments(value)
    found += [f"{name} is no argument" for name in named if name.lstrip("*\\") not in signature]
    entries = re.findall(r"^ *\*{0,2}(\w+): ", textwrap.dedent(value.__doc__ or ""), re.MULTILINE)
    attributes = known.fields.get("ivar", [])
    if "param" in known.fields:
        seen = [name.lstrip("*\\") for name in (*named, *attributes)]
        found += [f"{name} is no field" for name in entries if name in signature and name not in seen]
    return found


def all_arguments(value: typing.Any) -> list[str]:
    return list(inspect.signature(value).parameters)


def arguments(value: typing.Any) -> list[str]:
    """Arguments that the docstring has to name: those without a text of their own in ``Annotated``."""
    hints = inspect.get_annotations(value.__init__ if inspect.isclass(value) else value)
    return [
        name
        for name, parameter in inspect.signature(value).parameters.items()
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        and "Annotated" not in str(hints.get(name, ""))
    ]


def has_arrays(value: typing.Any) -> bool:
    """Whether an argument or the result is an array (not only a function of arrays)."""
    hints = inspect.get_annotations(value.__init__ if inspect.isclass(value) else value)
    return any(re.match(r"(np\.ndarray|Tensor)\b", str(hint)) for hint in hints.values())


def raises(value: typing.Any) -> bool:
    """Whether the body raises, or checks an argument: of a class, while it is made."""
    if inspect.isclass(value):
        made = [vars(value)[name] for name in ("__init__", "__post_init__") if name in vars(value)]
        return any(
            raises(function) for function in made if inspect.getsourcefile(function) == inspect.getsourcefile(value)
        )
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError):
        return False
    checks = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    names = {getattr(check, "id", getattr(check, "attr", "")) for check in checks}
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree)) or any(
        re.match(r"_?check_", name) for name in names
    )


MEMBERS = [
    (f"{name}.{member}", inspect.unwrap(getattr(function, "fget", None) or getattr(function, "__func__", function)))
    for name, value in REFERENCE
    if inspect.isclass(value)
    for member, function in vars(value).items()
    if not member.startswith("_") and function.__doc__ and (callable(function) or isinstance(function, property))
]


def ids(objects: list[tuple[str, typing.Any]]) -> list[str]:
    return [name for name, _ in objects]


@pytest.mark.parametrize(("name", "value"), OBJECTS, ids=ids(OBJECTS))
def test_public_name_is_documented(name: str, value: typing.Any) -> None:
    assert faults(value) == [], name


@pytest.mark.parametrize(("name", "value"), [*REFERENCE, *MEMBERS], ids=ids([*REFERENCE, *MEMBERS]))
def test_napoleon_reads_what_the_reference_shows(name: str, value: typing.Any) -> None:
    assert style(value) == [], name


def well(x: np.ndarray, *, strength: float) -> np.ndarray:
    """Ridge of rows.

    ::

        w = x / (1 + strength)

    Args:
        x: ``(B, *N)``.
        strength: above 0.

    Returns:
        ``(B, *N)``.

    Raises:
        ValueError: ``strength`` is not.

    References:
        Hoerl and Kennard (1970).
    """
    if strength <= 0:
        raise ValueError
    return x / (1 + strength)


def changed(old: str, new: str) -> Callable[..., np.ndarray]:
    """The same function with another docstring."""

    def worse(x: np.ndarray, *, strength: float) -> np.ndarray:
        if strength <= 0:
            raise ValueError
        return x

    text = inspect.cleandoc(well.__doc__ or "")
    assert old in text
    worse.__doc__ = text.replace(old, new)
    return worse


@pytest.mark.parametrize(
    ("cut", "fault"),
    [
        ("Ridge of rows.", "no summary"),
        ("(B, *N)", "no shape of an array"),
        ("Raises:\n    ValueError: ``strength`` is not.\n", "no Raises"),
        ("References:\n    Hoerl and Kennard (1970).", "a formula without References"),
    ],
)
def test_each_fault_is_found(cut: str, fault: str) -> None:
    assert faults(well) == []
    assert fault in faults(changed(cut, ""))


def test_an_argument_that_is_not_named_is_found() -> None:
    assert "argument strength not named" in faults(changed("strength", "s"))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("References:\n    Hoerl and Kennard (1970).", "Source: Hoerl and Kennard (1970).", "left in the text: Source"),
        ("Raises:", "Errors:", "left in the text: Errors:"),
        ("Args:", "Arguments of it:", "left in the text: Arguments of it:"),
        ("    strength: above 0.", "    strengths: above 0.", "strengths is no argument"),
        ("    strength: above 0.", "    y: above 0.\n        strength: 1.", "strength is no field"),
        ("above 0", "above *0", "Inline emphasis"),
    ],
)
def test_each_fault_of_style_is_found(old: str, new: str, fault: str) -> None:
    assert style(well) == []
    assert any(fault in found for found in style(changed(old, new)))


MODULES = [path for folder in CODE for path in sorted((ROOT / folder).rglob("*.py"))]
#: First words that make a question, a clause or a command of a title.
NO_NOUN = re.compile(
    r"(What|How|Where|Whether|Which|Who|When|Why|Is|Are|Do|Does|Can|From|It|Apply|Bind|Bring|Build|Check|Choose|Compute|"
    r"Draw|Fill|Find|Generate|Give|Load|Look|Make|Measure|Prove|Put|Read|Run|Solve|Train|Use|Write)\b"
)


def title_faults(text: str) -> list[str]:
    """Why the first paragraph of a module's docstring is not one line with a noun phrase."""
    title = text.split("\n\n")[0]
    found = ["no noun phrase"] if NO_NOUN.match(title) else []
    found += ["more than one line"] if "\n" in title else []
    return found + ([] if title.endswith(".") else ["no period at its end"])


def test_modules_are_titled_by_a_noun_phrase() -> None:
    titles = {path: ast.get_docstring(ast.parse(path.read_text())) for path in MODULES}
    found = {str(path.relative_to(ROOT)): title_faults(text) for path, text in titles.items() if text}
    assert {path: faults for path, faults in found.items() if faults} == {}


@pytest.mark.parametrize(
    "text",
    ["What a rule is.", "How a run is stored.", "Put tables into pages.", "A long title\nof two lines.", "Why?"],
)
def test_another_title_is_found(text: str) -> None:
    assert title_faults(text)
    assert title_faults("Closed-form solves of the last layer.") == []
