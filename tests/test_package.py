"""The package as an index shows it: one version everywhere, a README without relative links, and a complete archive."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
VERSION = PROJECT["project"]["version"]
RELATIVE = r"\]\((?!https?:|#)"


def substituted(text: str) -> str:
    """A README as the build writes it into the metadata."""
    for rule in PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def test_the_version_is_stated_once_more_in_citation_and_changelog() -> None:
    assert f"version: {VERSION}\n" in (ROOT / "CITATION.cff").read_text()
    released = re.findall(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released[0] == VERSION and len(released) == len(set(released)) > 1


def test_the_readme_of_an_index_has_no_relative_link() -> None:
    text = (ROOT / "README.md").read_text()
    assert re.search(RELATIVE, text), "the repository's own has"
    assert not re.search(RELATIVE, substituted(text))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("see [docs/data.md](docs/data.md).", "see `docs/data.md`."),
        ("[docs/a.md](docs/a.md#units)", "`docs/a.md`"),
        ("scripts in [examples/](examples)", "scripts in `examples`"),
        ("[the guide](docs/index.md)", "the guide (`docs/index.md`)"),
        ("![Curves](docs/demo/training.png)", "*Curves: a picture of the source distribution.*"),
        ("[arXiv](https://arxiv.org/abs/1) and [below](#here)", "[arXiv](https://arxiv.org/abs/1) and [below](#here)"),
    ],
)
def test_links_become_text(text: str, wanted: str) -> None:
    assert substituted(text) == wanted


def test_the_archive_has_what_the_readme_names() -> None:
    included: list[Any] = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    named = {target.split("#")[0] for target in re.findall(r"\]\(([^):]+)\)", (ROOT / "README.md").read_text())}
    for name in (*named - {""}, "Makefile", "constraints.txt", "SECURITY.md"):
        assert (ROOT / name).exists(), name
        top = f"/{Path(name).parts[0]}"
        assert top in included or (top.endswith(".md") and "/*.md" in included), name
