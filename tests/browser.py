"""Look at a page in headless Chromium, where there is one."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_LOOK = """
<script>
addEventListener("load", () => {
  const images = [...document.images];
  const look = {
    width: innerWidth,
    page: document.documentElement.scrollWidth,
    images: images.map(i => [i.alt, i.naturalWidth, Math.round(i.getBoundingClientRect().width)]),
    smallest: Math.min(...[...document.querySelectorAll("p,td,figcaption")].map(
      e => parseFloat(getComputedStyle(e).fontSize))),
    text: document.body.innerText.length,
  };
  document.body.setAttribute("data-look", JSON.stringify(look));
});
</script>
"""


def look_at(page: Path, scratch: Path, *, width: int, height: int = 900) -> dict[str, Any]:
    """What a browser of that width makes of a page: its figures, and "console", what was said there.

    The page is shown in a frame of its own of the width asked for, since a window cannot be as narrow as a phone.
    """
    assert CHROMIUM is not None
    copy = scratch / "look.html"
    copy.write_text(page.read_text().replace("</body>", f"{_LOOK}</body>"))
    frame = scratch / "frame.html"
    frame.write_text(
        f'<!doctype html><html><body><iframe id=f src="look.html" width={width} height={height} frameborder=0></iframe>'
        '<script>addEventListener("load", () => { document.body.setAttribute("data-look", '
        'document.getElementById("f").contentDocument.body.getAttribute("data-look")); });</script></body></html>'
    )
    done = subprocess.run(
        [
            CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
            f"--user-data-dir={scratch / 'profile'}", "--enable-logging=stderr", "--virtual-time-budget=5000",
            "--window-size=1400,1000", "--dump-dom", frame.as_uri(),
        ],
        capture_output=True, text=True, timeout=900, check=True,
    )  # fmt: skip
    found = re.search(r'data-look="([^"]*)"', done.stdout)
    assert found, done.stdout[:2000]
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return {**json.loads(unescape(found[1])), "console": console}
