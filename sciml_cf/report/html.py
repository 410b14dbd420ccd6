"""One self-contained HTML page: no other file, no network; readable on a phone."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from data_gen.files.places import place_of
from data_gen.files.whole import sweep, write_bytes
from sciml_cf.report.tables import Table
from sciml_cf.report.terms import Terms

#: Where a page has its title, counted from its start.
_HEAD = 4096
_STYLE = """
:root{color-scheme:light}
body{font:16px/1.55 system-ui,sans-serif;color:#222;background:#fff;max-width:64rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.15rem;margin-top:2.2rem}
figure{margin:1.2rem 0}img{display:block;max-width:100%;height:auto}
figcaption,.note{font-size:.85rem;color:#555}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
td,th{padding:.25rem .7rem;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child{text-align:left}
abbr{text-decoration:underline dotted;cursor:help}
details{margin:1.6rem 0}summary{cursor:pointer;font-weight:600}
dt{font-weight:600}dd{margin:0 0 .5rem 1rem;font-size:.85rem}
pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem;background:#f6f6f6;padding:.7rem}
@media (max-width:40rem){body{padding:.6rem}h1{font-size:1.25rem}}
"""


@dataclass(frozen=True)
class Picture:
    """A figure with the words below it; ``name`` becomes the name of its file and its alternative text."""

    name: str
    figure: Figure
    caption: str

    @cached_property
    def png(self) -> bytes:
        """The figure as the bytes of a PNG file, drawn once."""
        return png(self.figure)


def render_page(
    title: str, introduction: Sequence[str], parts: Sequence[Table | Picture], provenance: str, details: Table | str
) -> str:
    """The page as text: paragraphs, then tables and pictures in their order, then what it was made from.

    Args:
        title: plain text.
        introduction: plain text, each entry a paragraph.
        parts: pictures are put into the page itself.
        provenance: one line below every picture: command, version, machine, date.
        details: the settings, folded until they are asked for.
    """
    terms = Terms()
    body = [f"<h1>{html.escape(title)}</h1>", *[f"<p>{terms.explained(text)}</p>" for text in introduction]]
    for part in parts:
        body.append(_table(part, terms) if isinstance(part, Table) else _picture(part, provenance, terms))
    shown = _grid(details, None) if isinstance(details, Table) else f"<pre>{html.escape(details)}</pre>"
    body += [terms.listed(), f"<details><summary>Settings</summary><p class=note>{html.escape(provenance)}</p>{shown}"]
    body.append("</details>")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<link rel="icon" href="data:,">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>\n"
        + "\n".join(body)
        + "\n</body></html>\n"
    )


def make_folder(folder: Path, who: str, title: str, names: Collection[str]) -> None:
    """The folder of a page, made, or found with an earlier page of its kind and freed of what killed writers left.

    Args:
        folder: the folder; the one that should hold it exists.
        who: the function, for the message.
        title: how the titles of such pages begin.
        names: files that are written before the page.

    Raises:
        FileNotFoundError: the folder that should hold it is missing.
        FileExistsError: it holds files of others and no such page, or something else than a folder has its name.
    """
    place_of(folder, who, "out", folder=True)
    folder.mkdir(exist_ok=True)
    sweep(folder)
    found, page = {entry.name for entry in folder.iterdir()}, folder / "index.html"
    ours = page.is_file() and f"<title>{title}" in page.read_text(errors="replace")[:_HEAD]
    if not ours and (page.name in found or found - set(names)):
        held = ", ".join(sorted(found - set(names))[:3])
        raise FileExistsError(
            f"{who}: `out` must be a new folder, or one that {who} wrote before; got {folder}, which has {held}. "
            "Choose another path, or remove it by hand."
        )


def write_pictures(pictures: Sequence[Picture], folder: Path) -> list[Path]:
    """Each picture as FOLDER/NAME.png as well."""
    paths = [folder / f"{picture.name}.png" for picture in pictures]
    for picture, path in zip(pictures, paths, strict=True):
        write_bytes(path, picture.png)
    return paths


def png(figure: Figure) -> bytes:
    """The figure as the bytes of a PNG file, without the date that would make each one different."""
    buffer = io.BytesIO()
    figure.savefig(buffer, dpi=130, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _picture(picture: Picture, provenance: str, terms: Terms) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img alt="{html.escape(picture.name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{terms.explained(picture.caption)}<br>{html.escape(provenance)}</figcaption></figure>"
    )


def _table(table: Table, terms: Terms) -> str:
    return f"<h2>{terms.explained(table.title)}</h2>{_grid(table, terms)}"


def _grid(table: Table, terms: Terms | None) -> str:
    head = "".join(f"<th>{_cell(column, terms)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_cell(value, terms if not place else None)}</td>" for place, value in enumerate(row))
        + "</tr>" for row in table.rows
    )  # fmt: skip
    return f"<div class=scroll><table><tr>{head}</tr>{rows}</table></div>"


def _cell(value: Any, terms: Terms | None) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return html.escape(str(value)) if terms is None else terms.explained(str(value))
