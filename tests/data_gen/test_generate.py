"""Generation: the same bytes for any way of getting there, and nothing lost or half-written on the way."""

from __future__ import annotations

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import data_gen
from data_gen import DatasetSpec, cole_hopf, generate, open_dataset, validate
from data_gen.errors import DatasetError, SolverDiverged, UnresolvedError
from data_gen.spec import preset
from data_gen.storage import journal
from data_gen.storage.dataset import read_map
from data_gen.storage.journal import journal_path, partial_path

ROOT = Path(data_gen.__file__).parent.parent
FAST = {"resolution": 64, "method": "etdrk4", "tolerance": 1e-4}


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


class Stop(Exception):
    """Stands for a crash."""


def stop_after(monkeypatch: pytest.MonkeyPatch, blocks: int, error: type[BaseException]) -> None:
    """Let ``blocks`` blocks be written whole, and the next one by half before ``error``."""
    whole, count = journal.write_block, []

    def write(path: Path, layout: journal.FileMap, block: int, fields: tuple) -> journal.Checksums:
        if len(count) == blocks:
            whole(path, layout, block, (fields[0], np.zeros_like(fields[1])))
            raise error
        count.append(block)
        return whole(path, layout, block, fields)

    monkeypatch.setattr(journal, "write_block", write)


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "cole-hopf"])
def test_generate_writes_solutions_of_its_initial_conditions(tmp_path: Path, method: str) -> None:
    spec = DatasetSpec(samples=3, resolution=128, method=method, parameters={"viscosity": 0.2}, times=(0.5,))
    with open_dataset(generate(spec, tmp_path / "data.h5", progress=False)) as data:
        u0, u = data.read("a"), data.read("u")
    assert np.abs(u - cole_hopf(u0, viscosity=0.2, time=0.5, extent=2 * np.pi)).max() < 1e-10
    assert names(tmp_path) == ["data.h5"]


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "cole-hopf"])
def test_generate_one_seed_gives_equal_bytes(tmp_path: Path, method: str) -> None:
    spec = DatasetSpec(samples=130, resolution=64, method=method, tolerance=1e-4)
    first = generate(spec, tmp_path / "one.h5", progress=False).read_bytes()
    assert generate(spec, tmp_path / "two.h5", progress=False).read_bytes() == first
    other = dataclasses.replace(spec, seed=1)
    assert generate(other, tmp_path / "three.h5", progress=False).read_bytes() != first


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "cole-hopf"])
@pytest.mark.parametrize("samples", [7, 128, 130])
def test_generate_first_samples_do_not_depend_on_their_number(tmp_path: Path, method: str, samples: int) -> None:
    fields = []
    for n in (samples, samples + 1):
        spec = DatasetSpec(samples=n, resolution=64, method=method, tolerance=1e-4)
        with open_dataset(generate(spec, tmp_path / f"{n}.h5", progress=False)) as data:
            fields.append((data.read("a"), data.read("u")))
    for shorter, longer in zip(*fields, strict=True):
        np.testing.assert_array_equal(shorter, longer[:samples])


def test_generate_gives_equal_bytes_for_two_workers(tmp_path: Path, small_file: Path, small_spec: DatasetSpec) -> None:
    path = generate(small_spec, tmp_path / "data.h5", workers=2, progress=False)
    assert path.read_bytes() == small_file.read_bytes()


def test_generate_float32_is_the_rounded_float64(tmp_path: Path, small_file: Path, small_spec: DatasetSpec) -> None:
    spec = dataclasses.replace(small_spec, dtype="float32", samples=10)
    with open_dataset(generate(spec, tmp_path / "data.h5", progress=False)) as data, open_dataset(small_file) as full:
        assert data.dtype == np.float32
        np.testing.assert_array_equal(data.read("u"), full.read("u", slice(0, 10)).astype(np.float32))


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_generate_resumes_after_a_crash_to_equal_bytes(
    tmp_path: Path, small_file: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(patch, blocks, Stop)
        generate(small_spec, path, progress=False)
    assert names(tmp_path) == ["data.h5.journal", "data.h5.partial"]
    assert len(journal.read_journal(journal_path(path))[1]) == blocks
    with pytest.raises(FileExistsError, match=r"`path` must not be unfinished; .* Finish it with resume=True"):
        generate(small_spec, path, progress=False)
    generate(small_spec, path, resume=True, progress=False)
    assert path.read_bytes() == small_file.read_bytes() and names(tmp_path) == ["data.h5"]


def test_generate_resumes_after_kill_9_to_equal_bytes(
    tmp_path: Path, small_file: Path, small_spec: DatasetSpec
) -> None:
    path = tmp_path / "data.h5"
    code = f"""
import os, signal
from pathlib import Path
from data_gen import DatasetSpec, generate
from data_gen.storage import journal
whole = journal.append_journal
def append(log, block, checksums):
    if block == 1:
        with open(log, "a") as file:
            file.write('{{"block": 1, "cr')
        os.kill(os.getpid(), signal.SIGKILL)
    whole(log, block, checksums)
journal.append_journal = append
generate(DatasetSpec.from_dict({small_spec.to_dict()!r}), Path({str(path)!r}), progress=False)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
    assert run.returncode == -9
    assert list(journal.read_journal(journal_path(path))[1]) == [0]
    generate(small_spec, path, resume=True, workers=2, progress=False)
    assert path.read_bytes() == small_file.read_bytes() and names(tmp_path) == ["data.h5"]


def test_generate_resume_writes_again_a_block_that_changed(
    tmp_path: Path, small_file: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(patch, 2, Stop)
        generate(small_spec, path, progress=False)
    with open(partial_path(path), "r+b") as file:
        file.seek(read_map(partial_path(path)).fields[1] + 5000)
        file.write(bytes(1000))
    generate(small_spec, path, resume=True, progress=False)
    assert path.read_bytes() == small_file.read_bytes()


def test_generate_resume_refuses_a_damaged_file(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(patch, 1, Stop)
        generate(small_spec, path, progress=False)
    partial_path(path).write_bytes(b"no longer HDF5")
    with pytest.raises(DatasetError, match=r"data\.h5\.partial is damaged .* overwrite=True"):
        generate(small_spec, path, resume=True, progress=False)


def test_generate_interrupted_says_how_to_resume(
    tmp_path: Path,
    small_spec: DatasetSpec,
    small_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), caplog.at_level(logging.WARNING):
        stop_after(patch, 1, KeyboardInterrupt)
        generate(small_spec, path, progress=False)
    assert "interrupted with 1 of 3 blocks" in caplog.text and "--resume" in caplog.text
    generate(small_spec, path, resume=True, progress=False)
    assert path.read_bytes() == small_file.read_bytes()


def test_generate_resume_starts_where_there_is_nothing_and_keeps_what_is_whole(
    tmp_path: Path, small_spec: DatasetSpec
) -> None:
    path = generate(small_spec, tmp_path / "data.h5", resume=True, progress=False)
    before = path.stat().st_mtime_ns
    assert generate(small_spec, path, resume=True, progress=False).stat().st_mtime_ns == before
    with pytest.raises(DatasetError, match="whole dataset of another configuration: seed is 0, asked for 5"):
        generate(dataclasses.replace(small_spec, seed=5), path, resume=True, progress=False)


def test_generate_resume_refuses_another_configuration(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(patch, 1, Stop)
        generate(small_spec, path, progress=False)
    with pytest.raises(DatasetError, match="is of another configuration than the one asked for"):
        generate(dataclasses.replace(small_spec, samples=301), path, resume=True, progress=False)
    assert names(tmp_path) == ["data.h5.journal", "data.h5.partial"]


def test_generate_overwrite_keeps_the_old_file_until_the_new_one_is_whole(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = generate(small_spec, tmp_path / "data.h5", progress=False)
    old, changed = path.read_bytes(), dataclasses.replace(small_spec, seed=3)
    with pytest.raises(FileExistsError, match=r"`path` must not exist; .*data\.h5\. Pass overwrite=True"):
        generate(changed, path, progress=False)
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(patch, 1, Stop)
        generate(changed, path, overwrite=True, progress=False)
    assert path.read_bytes() == old
    generate(changed, path, overwrite=True, progress=False)
    assert path.read_bytes() != old and names(tmp_path) == ["data.h5"]


def test_generate_refuses_bad_outputs(tmp_path: Path, small_spec: DatasetSpec) -> None:
    with pytest.raises(FileNotFoundError, match=r"`path` must lie in an existing folder; got .*missing/data\.h5"):
        generate(small_spec, tmp_path / "missing" / "data.h5")
    with pytest.raises(IsADirectoryError, match="`path` must be a file"):
        generate(small_spec, tmp_path)
    with pytest.raises(ValueError, match="`resume` must not be combined with `overwrite`"):
        generate(small_spec, tmp_path / "data.h5", resume=True, overwrite=True)
    with pytest.raises(ValueError, match="`workers` must be an integer of at least 1; got 0"):
        generate(small_spec, tmp_path / "data.h5", workers=0)
    assert names(tmp_path) == []


def test_generate_refuses_a_disk_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"needs \d+ MB and its disk has \d+ MB free"):
        generate(DatasetSpec(equation="heat", samples=10**9, resolution=8192), tmp_path / "data.h5")
    assert names(tmp_path) == []


@pytest.mark.parametrize("method", ["etdrk4", "cole-hopf"])
def test_generate_refuses_a_viscosity_the_grid_cannot_resolve(tmp_path: Path, method: str) -> None:
    spec = DatasetSpec(samples=4, resolution=8192, parameters={"viscosity": 1e-4}, method=method)
    with pytest.raises(UnresolvedError, match=r"got 8192, .* needs about \d+ modes \(\d+ points\).*--allow-unresolved"):
        generate(spec, tmp_path / "data.h5", progress=False)
    assert names(tmp_path) == []


def test_generate_allow_unresolved_writes_exact_values_at_the_points(tmp_path: Path) -> None:
    spec = DatasetSpec(samples=2, resolution=128, parameters={"viscosity": 1e-3})
    with pytest.raises(UnresolvedError):
        generate(spec, tmp_path / "data.h5", progress=False)
    allowed = dataclasses.replace(spec, allow_unresolved=True)
    assert validate(generate(allowed, tmp_path / "data.h5", progress=False), truth=True).ok


def test_generate_leaves_nothing_of_a_dataset_that_cannot_be_solved(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(monkeypatch, 1, SolverDiverged)
    with pytest.raises(SolverDiverged):
        generate(small_spec, tmp_path / "data.h5", progress=False)
    assert names(tmp_path) == []


def test_generate_shows_a_bar_on_stderr(
    tmp_path: Path, small_spec: DatasetSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    generate(small_spec, tmp_path / "data.h5")
    shown = capsys.readouterr()
    assert shown.out == "" and "300/300" in shown.err


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bound"), [("lawson7", 1e-10), ("etdrk4", 1e-10), ("cole-hopf", 1e-11)])
def test_preset_meets_its_error_on_all_samples(tmp_path: Path, method: str, bound: float) -> None:
    report = validate(generate(preset("burgers_8192", method=method), tmp_path / "data.h5", progress=False), truth=True)
    assert report.ok and report.num_samples == 2048 and report.max_error < bound


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "cole-hopf"])
def test_preset_needs_little_memory_for_any_number_of_samples(tmp_path: Path, method: str) -> None:
    peaks = []
    for samples in (256, 1024):
        code = (
            "import sys; from data_gen import generate; from data_gen.spec import preset\n"
            f"spec = preset('burgers_8192', samples={samples}, method={method!r})\n"
            f"generate(spec, {str(tmp_path / f'{samples}.h5')!r}, progress=False)\n"
            "status = open('/proc/self/status').read()  # getrusage would count the parent's memory from before exec\n"
            "sys.stdout.write(status.split('VmHWM:')[1].split()[0])"
        )
        run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
        peaks.append(float(run.stdout) / 1024)
    assert max(peaks) < 250 and abs(peaks[1] - peaks[0]) < 10
