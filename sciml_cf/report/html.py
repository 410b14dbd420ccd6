"""One HTML page that needs nothing else: no file beside it, no network; readable on a phone."""

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
    title: str, introduction: Sequence[str], parts: Sequence[Table | Picture], provenance: str, details: str
) -> str:
    """The page as text: paragraphs, then tables and pictures in their order, then what it was made from.

    Args:
        title, introduction: plain text; each entry of the introduction is a paragraph.
        parts: pictures are put into the page itself.
        provenance: one line below every picture: command, version, machine, date.
        details: the settings, shown as they are.
    """
    body = [f"<h1>{html.escape(title)}</h1>", *[f"<p>{html.escape(text)}</p>" for text in introduction]]
    for part in parts:
        body.append(_table(part) if isinstance(part, Table) else _picture(part, provenance))
    body.append(f"<h2>Settings</h2><p class=note>{html.escape(provenance)}</p><pre>{html.escape(details)}</pre>")
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


def _picture(picture: Picture, provenance: str) -> str:
    data = base64.b64encode(picture.png).decode()
    return (
        f'<figure><img alt="{html.escape(picture.name)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{html.escape(picture.caption)}<br>{html.escape(provenance)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in table.columns)
    rows = "".join("<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in table.rows)
    return f"<h2>{html.escape(table.title)}</h2><div class=scroll><table><tr>{head}</tr>{rows}</table></div>"


def _cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else html.escape(str(value))
