"""Faults that a reader without a network would meet in the built pages: broken links and missing pictures."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

_FETCHED = {"link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src", "object": "data"}
_URL = re.compile(r"(?:@import\s+|url\()\s*['\"]?((?:https?:)?//[^'\")]*)")


class _Page(HTMLParser):
    """Ids of a page, its links, and what a browser fetches with it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in _FETCHED and _FETCHED[tag] in found and found.get("rel") not in ("canonical", "next", "prev"):
            self.fetched.append(found[_FETCHED[tag]])


def faults(html: Path) -> list[str]:
    """One line for each link that does not resolve, anchors included, and each thing fetched from a network.

    Args:
        html: folder of the built pages.
    """
    pages = {path.resolve(): _Page(path) for path in sorted(html.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        name = path.relative_to(html.resolve())
        found += [f"{name}: fetched from a network: {link}" for link in page.fetched if _is_far(link)]
        for link in (*page.links, *(link for link in page.fetched if not link.startswith("data:"))):
            if not _is_far(link) and not _resolves(link, path, pages):
                found.append(f"{name}: leads nowhere: {link}")
    for style in html.rglob("*.css"):
        found += [f"{style.name}: fetched from a network: {url}" for url in _URL.findall(style.read_text())]
    return found


def _is_far(link: str) -> bool:
    return re.match(r"(?:[a-z]+:)?//|mailto:", link) is not None


def _resolves(link: str, path: Path, pages: dict[Path, _Page]) -> bool:
    name, _, anchor = unquote(link).partition("#")
    target = (path.parent / name.partition("?")[0]).resolve() if name else path
    if not target.exists():
        return False
    return not anchor or target not in pages or anchor in pages[target].ids
