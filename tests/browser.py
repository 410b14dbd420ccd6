"""Pages in headless Chromium, and a check of a whole built site.

::

    python -m tests.browser build/docs/html [--widths 1280 768 390] [--pages NAME ...] [--pictures FOLDER]

Every page is opened at every width. Nothing may be wider than the window or cut off, every picture must load, nothing
may be fetched from a network or written on the console, and axe-core must find no serious or critical fault. Needed
are Chromium (in Debian: apt-get install chromium) and axe-core (npm install --prefix build/browser axe-core).
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
AXE = ROOT / "build" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
WIDTHS = (1280, 768, 390)
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-extensions",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--allow-file-access-from-files", "--remote-debugging-pipe",
)  # fmt: skip
#: Layout of the page, measured in it. Drawers wait outside of the window until they are opened.
_LOOK = """
(() => {
  const name = e => e.tagName.toLowerCase() + (e.className && e.className.split ? "." + e.className.split(" ")[0] : "")
    + " " + JSON.stringify(e.textContent.trim().slice(0, 40));
  const style = new Map(), styled = e => style.get(e) || style.set(e, getComputedStyle(e)).get(e);
  const parents = function*(e) { while ((e = e.parentElement) && e !== document.body) yield e; };
  const wide = [], clipped = [];
  for (const e of document.body.querySelectorAll("*")) {
    const box = e.getBoundingClientRect();
    if (!box.width || !box.height || e.closest(".sidebar-drawer, .toc-drawer, .skip-to-content, .visually-hidden, svg"))
      continue;
    let outside = box.right > innerWidth + 1 || box.left < -1;
    for (const p of parents(e)) {
      const around = p.getBoundingClientRect(), flow = styled(p);
      if (["auto", "scroll"].includes(flow.overflowX) && p.scrollWidth > p.clientWidth) { outside = false; break; }
      if (["hidden", "clip"].includes(flow.overflowX) && box.right > around.right + 1.5) {
        clipped.push(name(e)); break;
      }
    }
    if (outside) wide.push(name(e));
    const mine = styled(e);
    if (e.matches("pre, .formula, .highlight, .table-wrapper") && e.scrollHeight > e.clientHeight + 1.5
        && ["hidden", "clip"].includes(mine.overflowY)) clipped.push("height of " + name(e));
    if (["hidden", "clip"].includes(mine.overflowX) && e.scrollWidth > e.clientWidth + 1.5 && e.textContent.trim())
      clipped.push(name(e));
  }
  const sizes = [...document.querySelectorAll("p,td,figcaption")].map(e => parseFloat(getComputedStyle(e).fontSize));
  return {
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    height: document.documentElement.scrollHeight,
    wide, clipped: [...new Set(clipped)],
    images: [...document.images].map(i => [i.alt, i.naturalWidth, Math.round(i.getBoundingClientRect().width)]),
    formulas: [...document.querySelectorAll("math")].map(m => Math.round(m.getBoundingClientRect().width)),
    smallest: Math.min(...sizes),
    text: document.body.innerText.length,
    found: document.querySelectorAll("ul.search li").length,
  };
})()
"""
_FAULTS = """
axe.run(document, {resultTypes: ["violations"]}).then(found => found.violations
  .filter(one => ["serious", "critical"].includes(one.impact))
  .map(one => `${one.id} (${one.impact}, ${one.nodes.length} times): ${one.nodes[0].html.slice(0, 160)}`))
"""


class Browser:
    """One page of a headless Chromium that is spoken to through a pipe."""

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read, self._rest = write, read, b""
        self._numbers = itertools.count(1)
        self._events: list[dict[str, Any]] = []
        self._session: str | None = None
        page = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command of the DevTools protocol."""
        number = next(self._numbers)
        words = {"id": number, "method": method, "params": params}
        if self._session is not None:
            words["sessionId"] = self._session
        os.write(self._write, json.dumps(words).encode() + b"\0")
        while (found := self._next()).get("id") != number:
            self._events.append(found)
        assert "error" not in found, f"{method}: {found['error']}"
        return found["result"]

    def _next(self, seconds: float = 600.0) -> dict[str, Any]:
        limit = time.monotonic() + seconds
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._read], [], [], max(0.0, limit - time.monotonic()))
            assert ready, "Chromium does not answer"
            piece = os.read(self._read, 1 << 20)
            assert piece, "Chromium has ended"
            self._rest += piece
        first, _, self._rest = self._rest.partition(b"\0")
        return json.loads(first)

    def run(self, code: str) -> Any:
        """The value of an expression, or what its promise is resolved with."""
        found = self.call("Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, url: str, *, width: int, height: int = 900) -> None:
        """Load a page in a window of that size, and wait for its pictures and fonts."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self._events.clear()
        self.call("Page.navigate", url=url)
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())
        self.run("document.fonts.ready.then(() => new Promise(done => setTimeout(done, 150)))")

    def look(self, url: str, *, width: int, height: int = 900, seconds: float = 0.0) -> dict[str, Any]:
        """What the page says of its layout, with "console", what was said there, and "fetched", the addresses asked."""
        self.open(url, width=width, height=height)
        time.sleep(seconds)
        seen = self.run(_LOOK)
        fetched = [e["params"]["request"]["url"] for e in self._of("Network.requestWillBeSent")]
        console = [
            *(" ".join(str(a.get("value", a.get("description"))) for a in e["params"]["args"])
              for e in self._of("Runtime.consoleAPICalled")),
            *(str(e["params"]["exceptionDetails"].get("exception", {}).get("description"))
              for e in self._of("Runtime.exceptionThrown")),
            *(e["params"]["entry"]["text"] for e in self._of("Log.entryAdded")),
        ]  # fmt: skip
        return {**seen, "console": console, "fetched": fetched}

    def picture(self, path: Path, *, height: int | None = None) -> None:
        """Store the page as it is shown, down to ``height`` or to its end, as a PNG file."""
        size = self.run("[innerWidth, document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": min(size[1], height or 16000), "scale": 1}
        found = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))

    def _of(self, method: str) -> list[dict[str, Any]]:
        return [event for event in self._events if event.get("method") == method]


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser with a profile of its own, which ends with the block."""
    assert CHROMIUM is not None
    there, here = os.pipe(), os.pipe()

    def connect() -> None:  # Chromium reads from descriptor 3 and writes to 4
        high = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (there[0], here[1])]
        os.dup2(high[0], 3), os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"],
            preexec_fn=connect, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there[0]), os.close(here[1])
        try:
            yield Browser(there[1], here[0])
        finally:
            os.close(there[1]), os.close(here[0])
            process.terminate()
            process.wait(30)


def look_at(page: Path, *, width: int, height: int = 900) -> dict[str, Any]:
    """What a browser of that width makes of one page."""
    with chromium() as browser:
        return browser.look(page.resolve().as_uri(), width=width, height=height)


def findings(seen: dict[str, Any]) -> list[str]:
    """What is wrong with a page, from a look at it."""
    found = [f"written on the console: {line}" for line in seen["console"]]
    found += [f"fetched from a network: {url}" for url in seen["fetched"] if not url.startswith(("file:", "data:"))]
    found += [f"did not load: the picture {alt!r}" for alt, pixels, _ in seen["images"] if not pixels]
    if seen["page"] > seen["width"]:
        found.append(f"{seen['page'] - seen['width']} pixels wider than the window")
    for kind in ("wide", "clipped"):
        if seen[kind]:
            words = {"wide": "reaches out of the window", "clipped": "is cut off"}[kind]
            found.append(f"{words}: {seen[kind][0]} and {len(seen[kind]) - 1} more")
    return found


def faults(browser: Browser) -> list[str]:
    """The serious and critical faults that axe-core finds in the page that is open."""
    browser.run(AXE.read_text() + "; 0")
    return browser.run(_FAULTS)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.browser", description=__doc__.splitlines()[0])
    parser.add_argument("site", type=Path, help="folder of the built pages")
    parser.add_argument("--widths", type=int, nargs="+", default=WIDTHS, metavar="N")
    parser.add_argument("--pages", nargs="+", metavar="NAME", help="such as method.html; by default all")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="store what is seen there")
    given = parser.parse_args()
    if CHROMIUM is None:
        print("There is no Chromium, so nothing was looked at; in Debian: apt-get install chromium", file=sys.stderr)
        return 2
    pages = [given.site / name for name in given.pages] if given.pages else sorted(given.site.rglob("*.html"))
    if not pages:
        print(f"{given.site} has no pages; make docs builds them in build/docs/html", file=sys.stderr)
        return 2
    missing = [str(page) for page in pages if not page.is_file()]
    if missing:
        print(f"There is no {', '.join(missing)}; give names such as method.html", file=sys.stderr)
        return 2
    bad = 0
    with chromium() as browser:
        for page, width in itertools.product(pages, given.widths):
            name = page.relative_to(given.site)
            found = findings(browser.look(page.resolve().as_uri(), width=width))
            found += [f"axe: {line}" for line in faults(browser)] if AXE.exists() else []
            if given.pictures:
                given.pictures.mkdir(parents=True, exist_ok=True)
                browser.picture(given.pictures / f"{'-'.join(name.with_suffix('').parts)}-{width}.png")
            for line in found:
                print(f"{name} at {width}: {line}", flush=True)
            bad += len(found)
    print(f"{len(pages)} pages at {', '.join(map(str, given.widths))} pixels: {bad} findings")
    if not AXE.exists():
        print(f"There is no axe-core, so access was not checked: npm install --prefix {AXE.parents[2]} axe-core")
    return bool(bad or not AXE.exists())


if __name__ == "__main__":
    sys.exit(main())
