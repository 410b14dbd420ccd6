"""Runs of pytest one after another, each with a log and a line; a run that passed is not repeated for the same tree."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
WORKERS = os.environ.get("WORKERS", "2")
COUNTS = ("passed", "failed", "skipped", "error")


def tree() -> str:
    """Hash of the checkout with its changes, as git would store it."""
    with tempfile.TemporaryDirectory() as folder:
        own = {**os.environ, "GIT_INDEX_FILE": f"{folder}/index"}
        subprocess.run(["git", "add", "--all"], cwd=ROOT, env=own, check=True)
        return subprocess.run(
            ["git", "write-tree"], cwd=ROOT, env=own, check=True, capture_output=True, text=True
        ).stdout.strip()


def environment(folder: Path, *packages: str) -> Path:
    """The Python of a virtual environment on top of the running one: only missing packages are installed.

    Args:
        folder: where it is, or is made.
        packages: words of `pip install`; the same words are not installed twice.

    Raises:
        subprocess.CalledProcessError: a package cannot be had; its ``stderr`` says why.
    """
    python, note = folder / "bin" / "python", folder / "installed.json"
    if not note.exists():
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", folder], check=True)
        (site,) = folder.glob("lib/python*/site-packages")
        (site / "beneath.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")))
        note.write_text("[]")
    if json.loads(note.read_text()) != list(packages):
        pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check"]
        subprocess.run([*pip, *packages], cwd=ROOT, check=True, capture_output=True, text=True)
        note.write_text(json.dumps(packages))
    return python


class Runs:
    """Logs and passes of named runs, in build/NAME."""

    def __init__(self, name: str, *, again: bool) -> None:
        """``again`` repeats runs that passed for this tree."""
        self.folder, self.tree, self.again = ROOT / "build" / name, tree(), again
        self.folder.mkdir(parents=True, exist_ok=True)
        self._note = self.folder / "passed.json"
        self._passed = json.loads(self._note.read_text()) if self._note.exists() else {}
        self.bad: list[str] = []

    def done(self, name: str) -> bool:
        """Whether it passed for this tree and need not be repeated; prints so."""
        known = not self.again and self._passed.get(name) == self.tree
        if known:
            print(f"{name:<14} passed before for this tree", flush=True)
        return known

    def fail(self, name: str, why: str) -> None:
        """Note a run that cannot be tried, and print why."""
        self.bad.append(name)
        print(f"{name:<14} not run: {why}", flush=True)

    def pytest(
        self,
        name: str,
        python: Path | str,
        *words: object,
        cwd: Path = ROOT,
        skips: bool = True,
        note: bool = True,
        **own: str,
    ) -> None:
        """Run pytest with variables of its own, print its line, and what failed.

        Args:
            name: of the run.
            python: the interpreter.
            *words: arguments of pytest.
            cwd: folder to run in.
            skips: whether tests may be skipped.
            note: whether a pass counts for the next time.
            **own: environment variables.
        """
        log, start = self.folder / f"{name}.log", time.perf_counter()
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *map(str, words)]
        with log.open("w") as file:
            status = subprocess.run(command, cwd=cwd, env={**os.environ, **own}, stdout=file, stderr=file).returncode
        ends = re.findall(r"^(?=.*\d+ (?:passed|failed|skipped|error)).* in [\d.]+s", log.read_text(), re.MULTILINE)
        found = {word: re.findall(rf"(\d+) {word}", ends[-1] if ends else "") for word in COUNTS}
        counts = "  ".join(f"{word} {int(number[0]) if number else 0}" for word, number in found.items())
        print(f"{name:<14} {counts}  {time.perf_counter() - start:.0f} s", flush=True)
        kinds = "FAILED|ERROR" if skips else "FAILED|ERROR|SKIPPED"
        if status or (found["skipped"] and not skips):
            self.bad.append(name)
            faults = re.findall(rf"^(?:{kinds}) .*", log.read_text(), re.MULTILINE)
            print(*(f"  {line}" for line in (*faults, f"see {log.relative_to(ROOT)}")), sep="\n", flush=True)
        elif note:
            self._passed[name] = self.tree
            self._note.write_text(json.dumps(self._passed, indent=1))
