"""The build of the site: pictures, reference, pages, Sphinx with warnings as errors, and a check of the result."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from sphinx.cmd.build import build_main

from docsite import check, gallery, measured, reference, staging
from sciml_cf.plots.style import safe_colors


def build(out: Path) -> int:
    """Build into ``out``/html, and return Sphinx's exit status; what was in ``out`` is made anew."""
    source = out / "source"
    for name in ("source", "html", "cache"):
        shutil.rmtree(out / name, ignore_errors=True)
    source.mkdir(parents=True)
    began = time.process_time()
    with safe_colors():
        fragments = gallery.make(source) | measured.pictures(source)
    drawn = time.process_time() - began
    reference.write_reference(source)
    staging.stage(source, fragments)
    html = out / "html"
    folders = ["-d", str(out / "cache"), "-c", str(Path(__file__).parent), str(source), str(html)]
    status = build_main(["-q", "-W", "--keep-going", "-E", "-b", "html", *folders])
    faults = check.faults(html) if status == 0 else []
    print("\n".join(faults), file=sys.stderr)
    spent = time.process_time() - began
    print(f"{html / 'index.html'}: {spent:.0f} s of processor time, {drawn:.0f} of them for pictures")
    return status or len(faults) > 0


def main() -> None:
    raise SystemExit(build(Path(sys.argv[1] if len(sys.argv) > 1 else "build/docs")))


if __name__ == "__main__":
    main()
