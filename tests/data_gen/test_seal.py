"""A byte changed anywhere in a dataset file is found before it is used, in one line; nothing carries damage on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, generate, open_dataset, repack, validate
from data_gen.convert import convert
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from data_gen.storage import dataset
from data_gen.storage.seal import PAGE_BYTES, read_seal, write_seal
from data_gen.storage.sealing import seal_file
from tests.edits import edited, flip, place_of, unsealed

LONG = DatasetSpec(samples=40, resolution=64, times=(0.1, 0.2, 0.5), tolerance=1e-4, dtype="float32")


@pytest.fixture
def copy(small_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(small_file, tmp_path / "copy.h5"))


@pytest.fixture(scope="module")
def packed(small_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return repack(small_file, tmp_path_factory.mktemp("packed") / "packed.h5", progress=False).path


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_every_byte_is_covered(small_file: Path, packed: Path, kind: str, tmp_path: Path) -> None:
    """Bytes spread over the whole file: the header's are found on opening, the others when the fields are read."""
    original = small_file if kind == "plain" else packed
    whole, random = original.read_bytes(), np.random.default_rng(1)
    with open_dataset(original) as data:
        extents = data.extents()
    for place in [*random.integers(0, len(whole), 40).tolist(), 0, 40, len(whole) - 1, len(whole) - 30]:
        path = tmp_path / "copy.h5"
        path.write_bytes(whole)
        flip(path, place, int(random.integers(1, 256)))
        with pytest.raises(DatasetError) as caught, open_dataset(path) as data:
            assert any(start <= place < stop for start, stop in extents)
            data.read("a")
            data.read("u")
        assert "\n" not in str(caught.value) and "copy.h5" in str(caught.value)


@pytest.mark.parametrize("way", ["info", "rows", "convert", "repack", "netcdf"])
def test_a_damaged_block_is_named_with_its_file_and_variable(copy: Path, way: str, tmp_path: Path) -> None:
    flip(copy, place_of(copy, "u", 200, 3))
    message = r"copy\.h5 is damaged: u differs from its checksum in sample \d+ \(block 1 of 0\.\.2\)\. Copy the file"
    if way == "netcdf":
        message = r"copy\.h5 is damaged: some of its bytes differ"
    with pytest.raises(DatasetError, match=message):
        if way == "convert":
            convert(copy, tmp_path / "out.h5")
        elif way == "repack":
            repack(copy, tmp_path / "out.h5", progress=False)
        elif way == "netcdf":
            open_source(copy, format="netcdf")
        else:
            with open_source(copy) as data:
                data.read("u", slice(0, 100))
                data.read("u", np.array([1, 199, 201]) if way == "rows" else None)
    assert [path.name for path in tmp_path.iterdir()] == ["copy.h5"]


def test_a_damaged_block_is_read_where_that_is_asked_for(copy: Path, tmp_path: Path) -> None:
    with open_dataset(copy) as data:
        before = data.read("u")
    flip(copy, place_of(copy, "u", 200, 3))
    for data in (open_dataset(copy, verify=False), open_source(copy, overrides=Overrides(verify=False))):
        with data:
            assert (data.read("u") != before).sum() == 1
    with pytest.raises(ValueError, match="convert: `verify` must stay on"):
        convert(copy, tmp_path / "out.nc", overrides=Overrides(verify=False))
    assert validate(copy).problems == ("checksum of u differs in samples 128..255: its bytes changed",)
    with pytest.raises(DatasetError, match=r"is damaged: the checksum of u differs in samples 128\.\.255"):
        repack(copy, tmp_path / "out.h5", verify=False, progress=False)


@pytest.mark.parametrize("kind", ["plain", "packed"])
def test_rows_beside_the_damage_are_read(small_file: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "copy.h5"
    if kind == "plain":
        shutil.copy(small_file, path)
    else:
        repack(small_file, path, chunk_rows=2, progress=False)
    with open_dataset(path) as data:
        start = data.extents()[-1][0] + 3 if kind == "packed" else place_of(path, "u", 299)
    flip(path, start)
    with open_dataset(path) as data:
        assert data.read("u", slice(0, 200)).shape == (200, 1, 64)
        with pytest.raises(DatasetError, match="u differs from its checksum in sample"):
            data.read("u", slice(200, 300))


def test_times_of_trajectories_are_verified_by_themselves(tmp_path: Path) -> None:
    path = generate(LONG, tmp_path / "long.h5", progress=False)
    with open_dataset(path) as data:
        write_seal(path, extents := data.extents(), page=64)
    assert len(extents) == 1
    flip(path, place_of(path, "u", 17, 2, 5))
    with open_dataset(path) as data:
        assert data.read("u", time=0.1).shape == (40, 1, 64)
        with pytest.raises(DatasetError, match=r"u differs from its checksum in sample 17 \(block 0 of 0..0\)"):
            data.read("u", time=0.2)


def test_damage_in_a_shard_names_the_shard(small_spec: DatasetSpec, tmp_path: Path) -> None:
    master = generate(small_spec, tmp_path / "data.h5", shards=2, progress=False)
    shard = sorted(tmp_path.glob("*shard-0001*"))[0]
    flip(shard, place_of(shard, "a", 3, 5))
    with open_dataset(master) as data, pytest.raises(DatasetError, match=rf"{shard.name} is damaged: a differs"):
        data.read("a")
    flip(master, 3000)
    with pytest.raises(DatasetError, match=r"data\.h5 is damaged: its header"):
        open_dataset(master)


def test_files_of_version_0_1_are_verified_by_blocks(copy: Path) -> None:
    place = place_of(copy, "u", 200, 3)
    unsealed(copy)
    with open_dataset(copy) as data:
        expected = data.read("u")
    flip(copy, place)
    with open_dataset(copy) as data:
        np.testing.assert_array_equal(data.read("u", slice(0, 128)), expected[:128])
        with pytest.raises(DatasetError, match=r"u differs from its checksum in samples 128\.\.255 \(block 1 of"):
            data.read("u", np.array([130]))


def test_a_seal_that_is_lost_is_missed(copy: Path, tmp_path: Path) -> None:
    with read_seal(copy) as seal:
        size = seal._size
    whole = copy.read_bytes()
    for stop in (size, len(whole) - 1, len(whole) - 24):
        copy.write_bytes(whole[:stop])
        with pytest.raises(DatasetError, match=r"copy\.h5 was cut or changed after it was written"):
            open_dataset(copy)
    report = repack(copy, tmp_path / "new.h5", compression="none", verify=False, progress=False)
    assert report.path.read_bytes() == whole


def test_a_file_is_sealed_again_to_the_same_bytes(copy: Path) -> None:
    whole = copy.read_bytes()
    seal_file(copy)
    assert copy.read_bytes() == whole
    with edited(copy) as file:
        file["u"][200, 3] += 1e-13
    with pytest.raises(DatasetError, match=r"is not what was written: u differs in samples 128\.\.255"):
        seal_file(copy)


def test_a_page_is_read_once(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_gen.storage import seal as module

    whole, read = module._read_at, []
    with open_dataset(copy) as data:
        monkeypatch.setattr(module, "_read_at", lambda fd, i, j: read.append(j - i) or whole(fd, i, j))
        data.read("u", np.array([150]))
        assert 0 < sum(read) <= 2 * PAGE_BYTES
        data.read("u")
        data.read("u", np.array([150]))
    assert sum(read) <= 300 * 64 * 8 + PAGE_BYTES


def test_a_file_that_is_replaced_while_it_is_opened_is_read_whole(tmp_path: Path, monkeypatch) -> None:
    """The name gets another file between the look at the seal and that of HDF5: the new one is read, no damage told."""
    first, second = (
        generate(DatasetSpec(samples=8, resolution=256, seed=seed), tmp_path / f"{seed}.h5", progress=False)
        for seed in (1, 2)
    )
    path, plain, moved = tmp_path / "f.h5", dataset._open_file, []
    shutil.copy(first, path)

    def late(place: Path):
        if not moved:
            moved.append(shutil.copy(second, tmp_path / "aside.h5"))
            os.replace(moved[0], path)
        return plain(place)

    monkeypatch.setattr(dataset, "_open_file", late)
    with open_dataset(second) as wanted, open_dataset(path) as data:
        assert moved and data.checksum == wanted.checksum
        np.testing.assert_array_equal(data.read("u"), wanted.read("u"))
