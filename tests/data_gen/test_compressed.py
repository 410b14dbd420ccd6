"""Generated files that are compressed: the same data, seal and checksums, and resuming after an interruption."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, generate, open_dataset, repack, validate
from data_gen.cli.generate import generate_command
from data_gen.plot import plot_dataset
from data_gen.storage import writer
from tests.data_gen.test_generate import Stop, stop_after

SPEC = DatasetSpec("heat", samples=300, resolution=64)
FLOW = DatasetSpec("heat", num_dims=2, samples=2, resolution=16, times=(0.1, 0.2, 0.3))


@pytest.mark.parametrize("spec", [SPEC, FLOW])
def test_the_file_is_that_of_repack(tmp_path: Path, spec: DatasetSpec) -> None:
    plain = generate(spec, tmp_path / "plain.h5", progress=False)
    packed = generate(spec, tmp_path / "packed.h5", compression="gzip", level=6, progress=False)
    repacked = repack(plain, tmp_path / "repacked.h5", level=6, progress=False).path
    assert packed.read_bytes() == repacked.read_bytes()
    assert spec is FLOW or packed.stat().st_size < 0.9 * plain.stat().st_size
    assert validate(packed, truth=True).ok and plot_dataset(packed).exists()
    with open_dataset(plain) as a, open_dataset(packed) as b:
        assert a.checksum == b.checksum and a.spec == b.spec
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".h5", ".h5", ".h5", ".png"]


@pytest.mark.parametrize("shards", [1, 3])
def test_an_interrupted_compression_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards: int) -> None:
    whole = generate(SPEC, tmp_path / "whole.h5", compression="gzip", shards=shards, progress=False)
    settings = {"compression": "gzip", "shards": shards, "progress": False}
    with monkeypatch.context() as patch:
        stop_after(patch, 1, Stop)
        with pytest.raises(Stop):
            generate(SPEC, tmp_path / "a.h5", **settings)
    compress, calls = writer.compress_file, []

    def interrupted(path: Path, out: Path, level: int) -> None:
        compress(path, out, level)
        calls.append(path)
        if len(calls) == shards:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(writer, "compress_file", interrupted)
        with pytest.raises(KeyboardInterrupt):
            generate(SPEC, tmp_path / "a.h5", resume=True, **settings)
    assert not (tmp_path / "a.h5").exists() and (tmp_path / "a.h5.journal").exists()
    path = generate(SPEC, tmp_path / "a.h5", resume=True, **settings)
    with open_dataset(path) as data, open_dataset(whole) as other:
        assert data.checksum == other.checksum
        np.testing.assert_array_equal(data.read("u"), other.read("u"))
    if shards == 1:
        assert path.read_bytes() == whole.read_bytes()
    assert validate(path, truth=True).ok and not list(tmp_path.glob("*.partial")) + list(tmp_path.glob("*.journal"))


def test_a_crash_after_the_last_name_leaves_nothing_once_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "a.h5"
    with monkeypatch.context() as patch:
        patch.setattr(writer.Path, "unlink", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            generate(SPEC, out, compression="gzip", progress=False)
    assert out.exists() and (tmp_path / "a.h5.partial").exists()
    generate(SPEC, out, compression="gzip", resume=True, progress=False)
    assert validate(out).ok and os.listdir(tmp_path) == ["a.h5"]


def _interrupt(path: Path, missing_ok: bool = False) -> None:
    if path.name.endswith(".partial") and path.exists():
        raise KeyboardInterrupt
    if path.exists():
        os.unlink(path)


def test_the_command_and_what_it_refuses(tmp_path: Path) -> None:
    words = ["heat", "--samples", "4", "--resolution", "32", "--out", str(tmp_path / "a.h5")]
    assert "samples     4, pairs" in generate_command([*words, "--compression", "gzip", "--level", "9"])
    generate_command([*words, "--resume"])
    with pytest.raises(ValueError, match="generate: `level` must be 1 to 9; got 10"):
        generate_command([*words, "--overwrite", "--compression", "gzip", "--level", "10"])
    with pytest.raises(ValueError, match="generate: `compression` must be gzip or none; got 'zip'"):
        generate(SPEC, tmp_path / "b.h5", compression="zip")  # pyright: ignore
