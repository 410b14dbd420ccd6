"""Long work keeps its memory: anonymous memory is flat within 5 % from a quarter of the way to the end."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, generate
from data_gen.storage.dataset import open_dataset

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells anonymous memory"),
]

GROWTH = 1.05
SAMPLES = 20_000
READERS = 10
SECONDS = 40


def anonymous(pid: int) -> int:
    """Bytes of a process and its descendants that no file holds; 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        children = [
            child for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0
    own = sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Anonymous:"))
    return own + sum(anonymous(int(child)) for child in children)


def _children(task: Path) -> list[str]:
    return (task / "children").read_text().split()


def watched(process: subprocess.Popen[bytes], progress: Callable[[], float]) -> list[tuple[float, int]]:
    """(part of the work that is done, anonymous memory) until the process ends; it must end well."""
    rows = []
    while process.poll() is None:
        memory = anonymous(process.pid)
        if memory:
            rows.append((progress(), memory))
        time.sleep(0.1)
    assert process.wait() == 0
    return rows


def check_flat(rows: list[tuple[float, int]]) -> None:
    """The median over the last quarter of the work is that over the second one, or less, within 5 %."""
    early = [memory for part, memory in rows if 0.25 <= part < 0.5]
    late = [memory for part, memory in rows if 0.75 <= part < 1]
    assert len(early) >= 4 and len(late) >= 4, (len(rows), rows[-1:])
    ratio = np.median(late) / np.median(early)
    sys.stdout.write(f"anonymous memory {np.median(early) / 1e6:.0f} MB, at the end times {ratio:.3f}\n")
    assert ratio <= GROWTH


def test_many_samples_by_two_workers(tmp_path: Path) -> None:
    words = ["generate", "burgers", "--samples", str(SAMPLES), "--resolution", "512", "--workers", "2"]
    command = [sys.executable, "-m", "sciml_cf.cli", *words, "--out", tmp_path / "many.h5"]
    with (tmp_path / "log").open("wb") as log:
        check_flat(watched(subprocess.Popen(command, stderr=log), lambda: _bar(tmp_path / "log")))
    with open_dataset(tmp_path / "many.h5") as data:
        assert data.num_samples == SAMPLES


def _bar(log: Path) -> float:
    """The part of the work by the last progress bar of a log."""
    parts = log.read_bytes().decode(errors="replace").rpartition("%|")[0].rpartition(" ")[2].rpartition("\r")[2]
    return float(parts) / 100 if parts.strip().isdigit() else 0.0


EPOCHS = """
import sys
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
train_on_file(sys.argv[1], sys.argv[2], FitConfig(epochs=2000, batch_size=8, method="proximal"),
              model={"width": 8, "modes": 4})
"""


def small_file(path: Path, *, seed: int = 0) -> Path:
    """A dataset of 24 samples on 32 points."""
    spec = DatasetSpec(equation="heat", samples=24, resolution=32, seed=seed)
    generate(spec, path, overwrite=path.exists())
    return path


def test_many_epochs(tmp_path: Path) -> None:
    data, out = small_file(tmp_path / "a.h5"), tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", EPOCHS, data, out], stderr=subprocess.DEVNULL)
    check_flat(watched(process, lambda: _rows(out / "history.csv") / 2000))


def _rows(path: Path) -> int:
    return path.read_bytes().count(b"\n") - 1 if path.exists() else 0


FITS = """
import gc, sys
from pathlib import Path
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
for number in range(200):
    train_on_file(sys.argv[1], sys.argv[2], FitConfig(epochs=1, batch_size=8, method="proximal", seed=number),
                  model={"width": 8, "modes": 4}, overwrite=number > 0)
    gc.collect()
    Path(sys.argv[3]).write_text(str(number + 1))
"""


def test_many_fits_in_one_process(tmp_path: Path) -> None:
    data, count = small_file(tmp_path / "a.h5"), tmp_path / "count"
    command = [sys.executable, "-c", FITS, data, tmp_path / "run", count]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    check_flat(watched(process, lambda: int(count.read_text() or 0) / 200 if count.exists() else 0))


READER = """
import json, sys, time
from pathlib import Path
from data_gen.storage.dataset import open_dataset
seen, place = set(), Path(sys.argv[2])
place.touch()
while not place.with_name("stop").exists():
    with open_dataset(sys.argv[1]) as data:
        first, again = data.read("u"), data.read("u")
        assert (first == again).all()
        seen.add(data.checksum)
print(json.dumps(sorted(seen)))
"""


def test_ten_readers_while_a_file_is_replaced(tmp_path: Path) -> None:
    """Each reader has the old file or a new one, whole, whatever is written meanwhile."""
    path, written, rows = small_file(tmp_path / "a.h5"), set(), []
    places = [tmp_path / f"ready{number}" for number in range(READERS)]
    readers = [
        subprocess.Popen([sys.executable, "-c", READER, path, place], stdout=subprocess.PIPE) for place in places
    ]
    seed, start = 0, None
    try:
        while start is None or time.monotonic() < start + SECONDS:
            with open_dataset(path) as data:
                written.add(data.checksum)
            assert all(reader.poll() is None for reader in readers)
            if start is None and all(place.exists() for place in places):
                start = time.monotonic()
            if start is not None:
                memory = sum(anonymous(reader.pid) for reader in readers)
                rows.append(((time.monotonic() - start) / SECONDS, memory))
            seed += 1
            small_file(path, seed=seed)
        with open_dataset(path) as data:
            written.add(data.checksum)
    finally:
        (tmp_path / "stop").touch()
    seen = {checksum for reader in readers for checksum in json.loads(reader.communicate()[0])}
    assert all(reader.returncode == 0 for reader in readers)
    assert len(seen) > 1 and seen <= written
    check_flat(rows)
