"""The built site in a browser, as wide as a desk, a tablet and a phone; `make test-slow` has the docs extra."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser import AXE, CHROMIUM, WIDTHS, Browser, chromium, faults, findings

ROOT = Path(__file__).parent.parent
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("myst_nb")
    pytest.importorskip("latex2mathml")
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "docsite", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out / "html"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as one:
        yield one


PAGES = sorted(
    {path.with_suffix(".html").name for suffix in ("md", "ipynb") for path in (ROOT / "docs").glob(f"*.{suffix}")}
    | {"gallery.html", "examples.html", "conventions.html", "changelog.html", "genindex.html"}
    | {f"reference/{name}.html" for name in ("index", "data_gen", "sciml_cf", "sciml_cf.head", "subpackages")}
)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_page_in_a_browser(site: Path, browser: Browser, page: str, width: int) -> None:
    seen = browser.look((site / page).as_uri(), width=width)
    assert seen["width"] == width and findings(seen) == []
    if AXE.exists():
        assert faults(browser) == []
    if page in ("method.html", "transfer.html", "adaptation.html", "theory.html"):
        assert seen["formulas"] and min(seen["formulas"]) > 0
    if page == "gallery.html":
        assert len(seen["images"]) > len(list((ROOT / "data_gen" / "equations").glob("[a-z]*.py")))


BAD = """<!doctype html><title>x</title><style>pre { overflow: hidden; height: 8px; width: 50px; }</style>
<body><p style="width: 600px">wide</p><pre>much too long for this box\nand high</pre><img alt="gone" src="gone.png">
<script src="https://example.org/x.js"></script><script>no()</script></body>"""


def test_faults_of_a_page_are_found(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "bad.html").write_text(BAD)
    found = findings(browser.look((tmp_path / "bad.html").as_uri(), width=390))
    for words in (
        "fetched from a network: https://example.org/x.js",
        "no is not defined",
        "did not load: the picture 'gone'",
        "pixels wider than the window",
        'reaches out of the window: p "wide"',
        "is cut off: ",
    ):
        assert any(words in line for line in found), words
    if AXE.exists():
        assert any(line.startswith("html-has-lang (serious") for line in faults(browser))


def test_search_works_from_the_disk(site: Path, browser: Browser) -> None:
    seen = browser.look((site / "search.html").as_uri() + "?q=proximal", width=1280, seconds=3.0)
    assert seen["found"] > 3 and findings(seen) == []
