"""The built site in a browser, as wide as a desk and as a phone. `make test-slow` runs it with the docs extra."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from tests.browser import CHROMIUM

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
#: Told by the page itself, since what a browser asked for is known to nobody else.
_LOOK = """
<script>
addEventListener("load", () => setTimeout(() => {
  const formulas = [...document.querySelectorAll("math")];
  document.body.setAttribute("data-look", JSON.stringify({
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    fetched: performance.getEntriesByType("resource").map(entry => entry.name),
    formulas: formulas.map(math => Math.round(math.getBoundingClientRect().width)),
    pictures: [...document.images].map(image => [image.currentSrc, image.naturalWidth]),
    found: document.querySelectorAll("ul.search li").length,
  }));
}, 1500));
</script>
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sphinx")
    pytest.importorskip("latex2mathml")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docsite", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


def look(site: Path, page: str, width: int, query: str = "") -> dict:
    """What the browser makes of a page in a frame of that width, and what it wrote on its console."""
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    place = site / page
    copy = place.with_name(f"look_{place.name}")
    frame = place.with_name("frame.html")
    copy.write_text(place.read_text().replace("</body>", f"{_LOOK}</body>"))
    frame.write_text(
        f'<!doctype html><body><iframe id=f src="{copy.name}{query}" width={width} height=900 frameborder=0></iframe>'
        '<script>addEventListener("load", () => setTimeout(() => document.body.setAttribute("data-look", '
        'document.getElementById("f").contentDocument.body.getAttribute("data-look")), 3000));</script></body>'
    )
    profile = site.parent / "profile"
    try:
        done = subprocess.run(
            [
                CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
                f"--user-data-dir={profile}", "--enable-logging=stderr", "--virtual-time-budget=20000",
                "--host-resolver-rules=MAP * ~NOTFOUND", "--disable-background-networking",
                "--window-size=1500,1000", "--dump-dom", frame.as_uri(),
            ],
            capture_output=True, text=True, timeout=900, check=True,
        )  # fmt: skip
    finally:
        copy.unlink()
        frame.unlink()
        shutil.rmtree(profile, ignore_errors=True)
    seen = re.search(r'data-look="([^"]*)"', done.stdout)
    assert seen, done.stdout[:2000]
    return {
        **json.loads(unescape(seen[1])),
        "console": [line for line in done.stderr.splitlines() if "CONSOLE" in line],
    }


PAGES = sorted(
    {path.with_suffix(".html").name for path in (ROOT / "docs").glob("*.md")}
    | {"gallery.html", "examples.html", "conventions.html", "changelog.html"}
    | {f"reference/{name}.html" for name in ("index", "data_gen", "sciml_cf", "sciml_cf.head", "subpackages")}
)


@pytest.mark.parametrize("width", [1300, 390])
@pytest.mark.parametrize("page", PAGES)
def test_page_in_a_browser(site: Path, page: str, width: int) -> None:
    seen = look(site, page, width)
    assert seen["width"] == width and seen["console"] == []
    assert seen["page"] <= width, f"{seen['page'] - width} pixels too wide"
    assert all(name.startswith("file:") for name in seen["fetched"])
    assert all(natural > 0 for _, natural in seen["pictures"])
    if page in ("method.html", "transfer.html", "adaptation.html", "theory.html"):
        assert seen["formulas"] and min(seen["formulas"]) > 0
    if page == "gallery.html":
        assert len(seen["pictures"]) > len(list((ROOT / "data_gen" / "equations").glob("[a-z]*.py")))


def test_a_page_that_fetches_is_found(site: Path) -> None:
    page = site / "fetches.html"
    page.write_text(
        '<!doctype html><body><p>x</p></body><script src="https://example.org/x.js"></script><script>no()</script>'
    )
    seen = look(site, page.name, 1300)
    page.unlink()
    assert "https://example.org/x.js" in seen["fetched"] and "no is not defined" in seen["console"][0]


def test_search_works_from_the_disk(site: Path) -> None:
    seen = look(site, "search.html", 1300, "?q=proximal")
    assert seen["found"] > 3 and seen["console"] == []
