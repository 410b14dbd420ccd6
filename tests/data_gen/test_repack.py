"""Repacking: the same values, checksums and attributes in other storage, and back to the same bytes."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen import DatasetSpec, generate, open_dataset, repack, validate
from data_gen.errors import DatasetError
from data_gen.storage.journal import partial_path
from tests.edits import edited

SPECS = {
    "pairs": DatasetSpec(samples=300, resolution=64, method="etdrk4", tolerance=1e-4),
    "trajectories": DatasetSpec(samples=130, resolution=64, times=(0.1, 0.2, 0.5), tolerance=1e-4, dtype="float32"),
}


@pytest.fixture(scope="module", params=SPECS)
def original(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(SPECS[request.param], tmp_path_factory.mktemp("repack") / "data.h5", progress=False)


def test_repack_keeps_everything_and_goes_back_to_the_same_bytes(original: Path, tmp_path: Path) -> None:
    report = repack(original, tmp_path / "small.h5", progress=False)
    assert (report.bytes_before, report.bytes_after) == tuple(p.stat().st_size for p in (original, report.path))
    assert report.bytes_after < report.bytes_before
    assert validate(report.path, truth=True).max_error == validate(original, truth=True).max_error
    with open_dataset(original) as old, open_dataset(report.path) as new:
        assert new.checksum == old.checksum and new.header == old.header and new.attributes == old.attributes
        np.testing.assert_array_equal(new.read("u", np.array([3, 127, 128])), old.read("u", np.array([3, 127, 128])))
    with h5py.File(report.path) as file:
        field = file["u"]
        assert (field.compression, field.shuffle, field.chunks[0]) == ("gzip", True, 128)
        assert field.ndim == 2 or field.chunks[1] == 1  # of trajectories one time can be read alone
    back = repack(report.path, tmp_path / "back.h5", compression="none", progress=False).path
    assert back.read_bytes() == original.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["back.h5", "small.h5"]


def test_repack_gives_equal_bytes_twice_and_smaller_chunks_on_request(original: Path, tmp_path: Path) -> None:
    first, second = (repack(original, tmp_path / f"{i}.h5", level=1, chunk_rows=2, progress=False) for i in range(2))
    assert first.path.read_bytes() == second.path.read_bytes() and validate(first.path).ok
    with h5py.File(first.path) as file:
        assert file["u"].chunks[0] == 2


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_reads_a_repacked_file(original: Path, tmp_path: Path, engine: str) -> None:
    path = repack(original, tmp_path / "small.h5", progress=False).path
    with xr.open_dataset(path, engine=engine) as found, xr.open_dataset(original, engine=engine) as expected:
        assert found.identical(expected)


def test_repack_gathers_shards(tmp_path: Path, small_spec: DatasetSpec, small_file: Path) -> None:
    master = generate(small_spec, tmp_path / "data.h5", shards=3, progress=False)
    assert repack(master, tmp_path / "one.h5", compression="none", progress=False).bytes_before > 2 * 300 * 64 * 8
    assert (tmp_path / "one.h5").read_bytes() == small_file.read_bytes()
    shard = next(tmp_path.glob("*shard-0000*"))
    with pytest.raises(ValueError, match="`out` must not be the dataset itself"):
        repack(master, shard, overwrite=True)
    repack(tmp_path / "one.h5", master, overwrite=True, progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.h5", "one.h5"]


def test_repack_refuses_a_damaged_dataset_and_leaves_nothing(small_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "data.h5"))
    with edited(path) as file:
        file["u"][200, 3] += 1e-13
    with pytest.raises(DatasetError, match=r"is damaged: the checksum of u differs in samples 128\.\.255"):
        repack(path, tmp_path / "small.h5", progress=False)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data.h5"]


def test_repack_refuses_bad_arguments(small_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.h5"
    for settings, message in [
        ({"compression": "zip"}, "`compression` must be gzip or none; got 'zip'"),
        ({"level": 10}, "`level` must be 1 to 9; got 10"),
        ({"level": 0}, "`level` must be an integer of at least 1; got 0"),
        ({"chunk_rows": 3}, "`chunk_rows` must divide the file's blocks of 128 samples; got 3"),
    ]:
        with pytest.raises(ValueError, match=message):
            repack(small_file, out, **settings)
    with pytest.raises(FileNotFoundError, match="`out` must lie in an existing folder"):
        repack(small_file, tmp_path / "no" / "small.h5")
    with pytest.raises(ValueError, match="`out` must not be the dataset itself"):
        repack(small_file, small_file, overwrite=True)
    partial_path(out).touch()
    with pytest.raises(FileExistsError, match="`out` must not be unfinished"):
        repack(small_file, out)
    partial_path(out).unlink()
    out.write_text("mine")
    with pytest.raises(FileExistsError, match=r"`out` must not exist; got .* Pass overwrite=True"):
        repack(small_file, out)
    with pytest.raises(FileExistsError, match="`out` must be a dataset file to replace; the file .* is not"):
        repack(small_file, out, overwrite=True)
    assert out.read_text() == "mine"
    out.write_bytes(small_file.read_bytes()[:-1])  # damaged, but ours
    repack(small_file, out, overwrite=True, progress=False)
    assert validate(out).ok
