"""Killed, refused by the system, or begun with numbers that no machine holds: nothing lost, nothing half there."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import data_gen
from data_gen import DatasetSpec, generate, open_dataset
from data_gen.errors import DatasetError
from data_gen.executors import local as executors_module
from data_gen.executors.local import WorkerLost, processes
from data_gen.storage import dataset as store
from data_gen.storage import journal
from data_gen.storage import writer as output
from data_gen.storage.journal import journal_path, partial_path
from tests.signalled import command

ROOT = Path(data_gen.__file__).parent.parent
SPEC = DatasetSpec(samples=1400, resolution=64, method="etdrk4", tolerance=1e-4)
WORDS = ["burgers", "--samples", 1400, "--resolution", 64, "--method", "etdrk4", "--tolerance", 1e-4]
WAYS = {"one worker": {}, "two workers": {"workers": 2}, "shards": {"workers": 2, "shards": 4}}


def words_of(path: Path, *, workers: int = 1, shards: int = 1) -> list[object]:
    return ["generate", *WORDS, "--out", path, "--workers", workers, "--shards", shards]


def start(line: list[str]) -> subprocess.Popen[str]:
    """A command in a process group of its own."""
    return subprocess.Popen(line, cwd=ROOT, start_new_session=True, text=True, stderr=-1, stdout=-1)


def stopped(how: signal.Signals, blocks: int, path: Path, **way: int) -> subprocess.Popen[str]:
    """`sciml-cf generate`, whose group gets a signal when so many blocks are in the journal."""
    touches = 1 + blocks + 1  # renamed to when it is new; a block each; and the one during which the signal comes
    return start(command(how, ".journal", touches, *words_of(path, **way)))


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def expected(folder: Path, shards: int) -> dict[str, bytes]:
    folder.mkdir()
    generate(SPEC, folder / "data.h5", shards=shards, progress=False)
    return contents(folder)


@pytest.mark.slow
@pytest.mark.parametrize("way", ["one worker", "shards"])
def test_killed_generation_resumes_to_equal_bytes(tmp_path: Path, way: str) -> None:
    shards = WAYS[way].get("shards", 1)
    (tmp_path / "killed").mkdir()
    path = tmp_path / "killed" / "data.h5"
    process = stopped(signal.SIGKILL, 3, path, **WAYS[way])
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not path.exists()
    assert len(journal.read_journal(journal_path(path))[1]) == 3
    generate(SPEC, path, shards=shards, resume=True, progress=False)
    assert contents(path.parent) == expected(tmp_path / "whole", shards)


def plain(path: Path, **way: int) -> list[str]:
    return [sys.executable, "-m", "sciml_cf.cli", *map(str, words_of(path, **way))]


@pytest.mark.slow
def test_twenty_kills_at_random_moments_each_resume_to_equal_bytes(tmp_path: Path) -> None:
    """After a number of blocks in the journal, from none to all, and a moment more: no clock decides where it falls."""
    draw, ways = random.Random(0), list(WAYS.values())
    whole = {n: expected(tmp_path / f"whole {n}", n) for n in (1, 4)}
    written = []
    for kill in range(20):
        way, least = ways[kill % len(ways)], draw.randrange(10)
        folder = tmp_path / f"kill {kill}"
        folder.mkdir()
        path, shards = folder / "data.h5", way.get("shards", 1)
        process = start(plain(path, **way))
        while process.poll() is None and journaled(path) < least:
            time.sleep(0.001)
        time.sleep(draw.uniform(0, 0.02))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        written.append(journaled(path))
        generate(SPEC, path, shards=shards, resume=True, progress=False)
        assert contents(folder) == whole[shards], f"kill {kill} after {written[-1]} blocks"
    assert sum(0 < blocks < 11 for blocks in written) >= 5, f"too few kills fell into the writing: {written}"


def journaled(path: Path) -> int:
    """Blocks that the journal of a file has; none before there is one."""
    try:
        return len(journal.read_journal(journal_path(path))[1])
    except FileNotFoundError:
        return 0


def test_ctrl_c_with_workers_says_one_line_and_can_be_resumed(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    process = stopped(signal.SIGINT, 2, path, workers=2)
    said = process.communicate()[1]
    lines = [line for line in said.replace("\r", "\n").splitlines() if line and "sample/s" not in line]
    assert process.returncode == 1 and len(lines) == 2, said
    assert "interrupted with" in lines[0] and "of 11 blocks" in lines[0] and lines[1].startswith("error: interrupted")
    generate(SPEC, path, resume=True, progress=False)
    with open_dataset(path) as data:
        assert data.num_samples == 1400


def test_dead_worker_is_named_and_the_rest_kept(
    tmp_path: Path, small_spec: DatasetSpec, small_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WorkerLost, match="a worker process died"), processes(2) as run:
        list(run(os._exit, [[(3,)]]))

    def lose(pool: object, workers: int, work: object, lanes: object) -> object:
        yield work(*next(iter(lanes))[0])  # type: ignore[operator,call-overload]
        raise WorkerLost("a worker process died")

    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch:
        patch.setattr(executors_module, "_run", lose)
        with pytest.raises(DatasetError, match=r"generate: a worker process died, with 1 of 3 blocks of .*--resume"):
            generate(small_spec, path, workers=2, progress=False)
    generate(small_spec, path, resume=True, progress=False)
    assert path.read_bytes() == small_file.read_bytes()


def test_lanes_are_computed_in_order_and_one_task_at_a_time() -> None:
    queue = executors_module.Queue([[(1,), (2,)], [], [(3,)]])
    lane, task = queue.take() or (None, None)
    assert task == (1,) and (queue.take() or ())[1] == (3,) and queue.take() is None
    queue.release(lane)  # type: ignore[arg-type]
    assert (queue.take() or ())[1] == (2,) and queue.take() is None


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("after", [1, 3])
def test_full_disk_keeps_what_is_written(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, after: int, shards: int
) -> None:
    path, whole, count = tmp_path / "data.h5", os.pwrite, []

    def pwrite(descriptor: int, data: memoryview, offset: int) -> int:
        if len(count) == after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        count.append(offset)
        return whole(descriptor, data[: len(data) // 2 or 1] if len(count) == after else data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        message = (
            rf"data\.h5 cannot be written \(No space left on device\); {min(after // 2, 1)} of 3 blocks are kept\."
        )
        with pytest.raises(DatasetError, match=message):
            generate(small_spec, path, shards=shards, progress=False)
    generate(small_spec, path, shards=shards, resume=True, progress=False)
    (tmp_path / "whole").mkdir()
    generate(small_spec, tmp_path / "whole" / "data.h5", shards=shards, progress=False)
    for name, content in contents(tmp_path / "whole").items():
        assert (tmp_path / name).read_bytes() == content


def test_full_disk_under_the_journal_and_at_the_end_keeps_all_blocks(
    tmp_path: Path, small_spec: DatasetSpec, small_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.h5"

    def torn(log: Path, block: int, checksums: journal.Checksums) -> None:
        with open(log, "a") as file:
            file.write('{"block": 0, "cr')
        raise OSError(errno.ENOSPC, "No space left on device")

    def full(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch, pytest.raises(DatasetError, match="0 of 3 blocks are kept. Make room"):
        patch.setattr(journal, "append_journal", torn)
        generate(small_spec, path, progress=False)
    with monkeypatch.context() as patch, pytest.raises(DatasetError, match="error.; 3 of 3 blocks are kept. Fix that"):
        patch.setattr(journal, "write_checksums", full)
        generate(small_spec, path, resume=True, progress=False)
    generate(small_spec, path, resume=True, progress=False)
    assert path.read_bytes() == small_file.read_bytes()


def test_file_size_limit_of_the_system_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import resource\nfrom data_gen import DatasetSpec, generate\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"spec = DatasetSpec(samples=300, resolution=64, tolerance=1e-4)\ngenerate(spec, {str(tmp_path / 'data.h5')!r})"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 1, run.stderr
    assert "DatasetError: generate: " in run.stderr and "data.h5 cannot be " in run.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_folder_that_cannot_be_written_is_named(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(store, "create_empty", refuse)
    with pytest.raises(DatasetError, match=rf"data\.h5 cannot be created \({os.strerror(number)}\)\."):
        generate(small_spec, tmp_path / "data.h5", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_resume_refuses_a_truncated_file(tmp_path: Path, small_spec: DatasetSpec) -> None:
    path = tmp_path / "data.h5"
    layout = store.create_file(partial_path(path), small_spec)
    journal.start_journal(journal_path(path), small_spec.config_hash, {})
    os.truncate(partial_path(path), layout.fields[1])
    with pytest.raises(DatasetError, match=r"data\.h5\.partial is damaged \(.*truncated.*overwrite=True"):
        generate(small_spec, path, resume=True, progress=False)
    generate(small_spec, path, overwrite=True, progress=False)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"seed": 2**63}, ValueError, r"`seed` must be below 2\*\*63; got 9223372036854775808"),
        ({"resolution": 10**15}, DatasetError, r"needs \d+ MB and its disk has \d+ MB free"),
        ({"resolution": 10**30}, ValueError, r"`resolution` and `samples` must make a file of less than 2\*\*63 bytes"),
        ({"samples": 10**400}, ValueError, r"`resolution` and `samples` must make a file of less than 2\*\*63 bytes"),
    ],
)
@pytest.mark.parametrize("equation", ["burgers", "heat"])
def test_numbers_beyond_any_machine_are_refused(
    tmp_path: Path, equation: str, changes: dict, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        generate(DatasetSpec(equation=equation, **{"samples": 2, **changes}), tmp_path / "data.h5", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_blocks_beyond_the_memory_are_refused_at_once(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output, "_memory", lambda: 500_000)
    with pytest.raises(MemoryError, match="a block of 128 samples takes about 0 MB, and this machine has 0 MB"):
        generate(small_spec, tmp_path / "data.h5", progress=False)
    monkeypatch.setattr(output, "_memory", lambda: 530_000)  # 4 blocks of 128 x 64 x 2 x 8 bytes are 524288
    generate(small_spec, tmp_path / "data.h5", progress=False)


@pytest.mark.parametrize("where", ["create_empty", "write_block"])
def test_too_little_memory_leaves_nothing_that_cannot_be_finished(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError("Unable to allocate 7 TiB")

    monkeypatch.setattr(store if where == "create_empty" else journal, where, refuse)
    with pytest.raises(MemoryError, match="7 TiB"):
        generate(small_spec, tmp_path / "data.h5", progress=False)
    assert list(tmp_path.iterdir()) == []
