"""The folder that Sphinx reads: the pages of docs/, with links out of it turned to pages of the site."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
#: The navigation: captions and pages. A page of docs/ that is not named here is listed under "More".
NAVIGATION: dict[str, tuple[str, ...]] = {
    "Tutorial": ("tutorial", "how_good", "own_data", "own_loop"),
    "How-to": (
        "your_model",
        "neuraloperator",
        "lightning",
        "trainers",
        "data",
        "own_equation",
        "generate_many",
        "training",
        "plot_and_log",
        "large_data",
        "evaluate",
        "trajectories",
        "parameters",
        "not_periodic",
        "adaptation",
        "rules",
        "ship_a_model",
        "classification",
        "instrumental_variables",
        "layerwise",
        "benchmarks",
        "extend_data",
        "examples",
    ),
    "Explanation": ("method", "theory", "transfer", "data_accuracy"),
    "Reference": (
        "glossary",
        "settings",
        "metrics",
        "formats",
        "equations",
        "diagnostics",
        "messages",
        "gallery",
        "reference/index",
    ),
    "Results": (
        "results",
        "results_burgers",
        "results_rules",
        "results_transfer",
        "results_adaptation",
        "results_data",
        "results_classification",
        "results_instruments",
        "results_layerwise",
    ),
    "More": (),
    "Project": ("conventions", "contributing", "changelog"),
}
#: Files outside of docs/ that are pages of the site.
PAGES = {
    "CONVENTIONS.md": "conventions.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "README.md": "index.md",
}
_LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
_FRAGMENT = re.compile(r"<!-- site: ([\w -]+) -->")
_FENCE = re.compile(r"(```.*?```|`[^`\n]*`)", re.DOTALL)


def stage(out: Path, fragments: dict[str, str]) -> None:
    """Write the pages into ``out``, which holds what the build has made already.

    Args:
        out: folder that Sphinx reads.
        fragments: Markdown that takes the place of a line ``<!-- site: NAME -->``, by name.

    Raises:
        ValueError: a link leads nowhere, or a page asks for an unknown fragment.
    """
    for path in sorted(DOCS.rglob("*")):
        place = out / path.relative_to(DOCS)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md" and path.parent == DOCS:
            place.write_text(_page(path, out, fragments))
        elif path.suffix == ".ipynb":
            place.write_text(notebook(path, out))
        elif path.is_file() and path.suffix != ".md":
            shutil.copy(path, place)
    for name in ("CONVENTIONS.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        (out / PAGES[name]).write_text(_page(ROOT / name, out, fragments))
    (out / "examples.md").write_text(examples_page())
    with (out / "index.md").open("a") as index:
        index.write(navigation(out))


def navigation(out: Path) -> str:
    """Sphinx's tables of contents for every page in ``out``."""
    pages = [*out.glob("*.md"), *out.glob("*.ipynb")]
    found = {str(path.relative_to(out).with_suffix("")) for path in pages} | {"reference/index"}
    named = {page for pages in NAVIGATION.values() for page in pages}
    rest = sorted(found - named - {"index"})
    text = ""
    for caption, pages in NAVIGATION.items():
        listed = [page for page in (*pages, *(rest if caption == "More" else ())) if page in found]
        if listed:
            text += "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", "", *listed, "```", ""])
    return text


def examples_page() -> str:
    """A page with every script of examples/."""
    text = ["# Examples", "", "Each makes its own data and runs in seconds; the tests run them all.", ""]
    for path in sorted((ROOT / "examples").glob("*.py")):
        code = path.read_text()
        first = (ast.get_docstring(ast.parse(code)) or "").split("\n\n")[0].replace("\n", " ")
        text += [f"## {path.stem}", "", first, "", "```python", code.rstrip(), "```", ""]
    return "\n".join(text)


def _page(path: Path, out: Path, fragments: dict[str, str]) -> str:
    """The text of a page with its links turned and its fragments put in."""
    parts = _FENCE.split(path.read_text())

    def fragment(match: re.Match[str]) -> str:
        if match[1] not in fragments:
            raise ValueError(f"stage: `fragments` must hold what pages ask for; got no {match[1]!r} for {path.name}.")
        return fragments[match[1]]

    return "".join(
        part if part.startswith("`") else _FRAGMENT.sub(fragment, _turned(part, path, out)) for part in parts
    )


def notebook(path: Path, out: Path) -> str:
    """A notebook with the links of its text turned."""
    found = json.loads(path.read_text())
    for cell in found["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = _turned("".join(cell["source"]), path, out)
    return json.dumps(found)


def _turned(text: str, path: Path, out: Path) -> str:
    return _LINK.sub(lambda match: site_link(match[1], path, out), text)


def site_link(link: str, path: Path, out: Path | None = None) -> str:
    """Where a link in the Markdown file ``path`` leads on the site.

    A file that is no page is copied into ``out``, if that is given.

    Raises:
        ValueError: the file linked to does not exist, or has no place on the site.
    """
    if re.match(r"[a-z]+:", link) or link.startswith("#"):
        return link
    name, _, anchor = link.partition("#")
    target = (path.parent / name).resolve()
    if not target.is_relative_to(ROOT) or not target.exists():
        raise ValueError(f"{path.name}: a link must lead to a file of the repository; got {link}.")
    ending = f"#{anchor}" if anchor else ""
    inside = target.relative_to(ROOT)
    if target.is_relative_to(DOCS):
        return str(target.relative_to(DOCS)) + ending if not path.is_relative_to(DOCS) else link
    if str(inside) in PAGES:
        return PAGES[str(inside)] + ending
    if inside.parts[0] == "examples":
        return "examples.md" + (f"#{target.stem}" if target.suffix == ".py" else "")
    if target.is_dir():
        raise ValueError(f"{path.name}: a link on a page must lead to a file; got the folder {link}.")
    if out is not None:
        place = out / "files" / inside
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(target, place)
    return os.path.join("files", inside)
