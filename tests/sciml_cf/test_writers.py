"""Every writing command against a second writer, a full disk, and a kill, at random moments that a seed chooses.

A moment is a touch of the output's folder (a file opened, renamed, linked, removed), so it depends on no clock. The
environment variable WRITER_ROUNDS sets the rounds of each command.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import zlib
from pathlib import Path

import pytest

from tests.writers import BUSY, WRITERS, Base, Child, Writer, litter, small_disk, snapshot

ROUNDS = int(os.environ.get("WRITER_ROUNDS", "1"))
SIZES = 12
pytestmark = pytest.mark.slow
each_writer = pytest.mark.parametrize("name", WRITERS)


@pytest.fixture(scope="module")
def base(burgers_file: Path, run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Base:
    run = shutil.copytree(run_folder, tmp_path_factory.mktemp("base") / "run")
    return Base(burgers_file, run)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "place"


def counted(writer: Writer, base: Base, place: Path) -> int:
    """A run without a disturbance: its number of touches; what it writes is whole, and there is nothing else."""
    writer.prepare(place, base)
    child = Child(writer.words(place, base), place, place.with_name("said"))
    status, line = child.wait()
    assert status == 0, line
    writer.check(place / writer.output, base)
    assert not litter(place)
    return child.touches()


def chosen(name: str, kind: str) -> random.Random:
    return random.Random(zlib.crc32(f"{name} {kind}".encode()))


@each_writer
def test_a_second_writer_is_refused_and_changes_nothing(name: str, base: Base, place: Path) -> None:
    """The first one stops at a moment; the second one says so in one line; the first one goes on and succeeds."""
    writer, rng, refused = WRITERS[name], chosen(name, "race"), 0
    total = counted(writer, base, place)
    for _ in range(ROUNDS):
        writer.prepare(place, base)
        words, said = writer.words(place, base), place.with_name("said")
        first = Child(words, place, said.with_name("first"), rng.randint(3, total), signal.SIGSTOP)
        stopped = first.stopped()
        before = snapshot(place)
        status, line = Child([*words, *writer.again], place, said.with_name("second")).wait()
        if status:
            assert stopped and any(busy in line for busy in BUSY) and line.startswith("error: "), line
            assert snapshot(place) == before
            refused += 1
        if stopped:
            first.go_on()
        status, line = first.wait()
        assert status == 0, line
        writer.check(place / writer.output, base)
        assert not litter(place)
    assert refused >= ROUNDS // 2


@each_writer
def test_a_kill_leaves_nothing_damaged_and_the_same_command_ends_well(name: str, base: Base, place: Path) -> None:
    writer, rng = WRITERS[name], chosen(name, "kill")
    total = counted(writer, base, place)
    for _ in range(ROUNDS):
        writer.prepare(place, base)
        for _ in range(2):
            words = [*writer.words(place, base), *writer.again]
            killed = Child(words, place, place.with_name("said"), rng.randint(1, total), signal.SIGKILL)
            killed.process.join()
            if not writer.own_run and not writer.resumes and all((place / one).exists() for one in writer.outputs):
                writer.check(place / writer.output, base)
        status, line = Child([*writer.words(place, base), *writer.again], place, place.with_name("said")).wait()
        assert status == 0, line
        writer.check(place / writer.output, base)
        assert not litter(place)


def pages_of(folder: Path) -> int:
    """Bytes that the files of a folder take on a file system in memory."""
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in folder.rglob("*") if path.is_file())


def check_refusal(writer: Writer, status: int, line: str, causes: tuple[str, ...], place: Path, before: dict) -> None:
    """A command that a full disk ended: one line, and nothing left but what was there or can be gone on with."""
    assert status == 1 and line.startswith("error: "), (status, line)
    assert any(cause in line for cause in causes), line
    assert str(place) in line, line
    if not writer.resumes and not writer.own_run:
        assert snapshot(place) == before, line
    assert not [name for name in litter(place) if not name.endswith(".lock")]


@each_writer
def test_a_full_disk_is_one_line_and_leaves_nothing(name: str, base: Base, place: Path, tmp_path: Path) -> None:
    """On file systems of twelve sizes, up to one that is large enough; where none can be mounted, with a limit."""
    writer = WRITERS[name]
    counted(writer, base, place)
    with small_disk(tmp_path / "disk", 2**20) as mounted:
        pass
    if not mounted:
        pytest.skip("no file system can be mounted here")
    needed, failed, start = pages_of(place) + 2**15, 0, 0
    if writer.own_run:
        writer.prepare(place, base)
        start = pages_of(place)
    for part in range(SIZES):
        size = start + 4096 * (1 + (needed - start) * part // SIZES // 4096)
        with small_disk(tmp_path / "disk", size):
            inside = tmp_path / "disk" / "p"
            writer.prepare(inside, base)
            before = snapshot(inside)
            status, line = Child(writer.words(inside, base), inside, tmp_path / "said").wait()
            if status == 0:
                writer.check(inside / writer.output, base)
                continue
            failed += 1
            check_refusal(writer, status, line, ("No space left on device", "MB free"), inside, before)
            if writer.own_run and name != "report":
                writer.check(inside / writer.output, base)
    assert failed


@each_writer
def test_a_limit_of_file_sizes_is_one_line_and_leaves_nothing(name: str, base: Base, place: Path) -> None:
    writer = WRITERS[name]
    counted(writer, base, place)
    files = [path.stat().st_size for path in place.rglob("*") if path.is_file()]
    failed = 0
    for part in range(SIZES):
        writer.prepare(place, base)
        before = snapshot(place)
        child = Child(writer.words(place, base), place, place.with_name("said"), limit=max(files) * part // SIZES)
        status, line = child.wait()
        if status == 0:
            writer.check(place / writer.output, base)
            continue
        failed += 1
        check_refusal(writer, status, line, ("File too large",), place, before)
    assert failed or writer.own_run
