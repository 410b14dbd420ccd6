"""Formulas as MathML, written when the page is built: no script, no fonts, nothing to fetch."""

from __future__ import annotations

import re
from html import escape
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.errors import SphinxError

_TAG = re.compile(r"\\tag\{([^}]*)\}")


def mathml(latex: str, *, block: bool) -> tuple[str, str]:
    """MathML of a formula, and the text of its ``\\tag``.

    Raises:
        SphinxError: a command is not known to the converter, which would otherwise print its name.
    """
    tags = _TAG.findall(latex)
    found = convert(_TAG.sub("", latex).strip(), display="block" if block else "inline")
    unknown = re.search(r"\\[a-zA-Z]+", found) or re.search(r">&<", found)
    if unknown:
        raise SphinxError(f"mathml: `latex` must use known commands only; got {unknown[0]!r} in {latex.strip()!r}.")
    return found, tags[0] if tags else ""


def visit_inline(self: Any, node: nodes.Element) -> None:
    self.body.append(f'<span class="math">{mathml(node.astext(), block=False)[0]}</span>')
    raise nodes.SkipNode


def visit_block(self: Any, node: nodes.Element) -> None:
    found, tag = mathml(node.astext(), block=True)
    number = f'<span class="tag">{escape(tag)}</span>' if tag else ""
    self.body.append(f'<div class="math"><div class="formula">{found}</div>{number}</div>')
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (visit_inline, None), (visit_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
