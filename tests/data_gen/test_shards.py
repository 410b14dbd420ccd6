"""Shards: the dataset of one file in several, read through its master, and no other way out of a file."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray as xr

from data_gen import DatasetSpec, generate, open_dataset, validate
from data_gen.errors import DatasetError
from data_gen.storage import journal
from tests.edits import edited


class Stop(Exception):
    """Stands for a crash."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, small_spec: DatasetSpec) -> Path:
    """The small dataset in two shards, of 256 and of 44 samples."""
    return generate(small_spec, tmp_path_factory.mktemp("shards") / "data.h5", shards=2, progress=False).parent


@pytest.fixture
def master(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy")) / "data.h5"


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_sharded_dataset_reads_as_the_one_in_a_file(folder: Path, small_file: Path) -> None:
    with open_dataset(folder / "data.h5") as shards, open_dataset(small_file) as whole:
        assert shards.checksum == whole.checksum and shards.spec == whole.spec and shards.header == whole.header
        assert [(s.start, s.stop) for s in shards.shards] == [(0, 256), (256, 300)]
        np.testing.assert_array_equal(shards.read("a"), whole.read("a"))
        rows = np.array([0, 129, 255, 256, 299])
        np.testing.assert_array_equal(shards.read("u", rows, 4), whole.read("u", rows, 4))
        np.testing.assert_array_equal(shards.read_trajectory(slice(250, 260)), whole.read_trajectory(slice(250, 260)))
        assert shards.num_bytes > whole.num_bytes
    assert validate(folder / "data.h5", truth=True) == dataclasses.replace(
        validate(small_file, truth=True), path=folder / "data.h5"
    )


def test_every_shard_is_a_dataset_of_its_rows(folder: Path, small_file: Path) -> None:
    assert [n.rpartition("-")[0] for n in names(folder)[1:]] == ["data.shard-0000-of-0002", "data.shard-0001-of-0002"]
    path = folder / names(folder)[2]
    assert validate(path).ok
    with open_dataset(path) as shard, open_dataset(small_file) as whole:
        np.testing.assert_array_equal(shard.read("u"), whole.read("u", slice(256, 300)))
        assert shard.attributes["first_sample"] == 256


@pytest.mark.parametrize("engine", ["h5netcdf", "netcdf4"])
def test_xarray_reads_the_master_wherever_the_folder_is(master: Path, small_file: Path, engine: str) -> None:
    with xr.open_dataset(master, engine=engine) as found, open_dataset(small_file) as whole:
        np.testing.assert_array_equal(found["u"], whole.read("u")[:, 0])
        np.testing.assert_array_equal(found["tensor"][:, 0], whole.read("a")[:, 0])


def test_trajectories_in_shards(tmp_path: Path) -> None:
    spec = DatasetSpec(samples=130, resolution=64, times=(0.2, 0.4), tolerance=1e-4)
    whole = generate(spec, tmp_path / "whole.h5", progress=False)
    sharded = generate(spec, tmp_path / "shards.h5", shards=2, workers=2, progress=False)
    with open_dataset(sharded) as shards, open_dataset(whole) as data:
        assert shards.checksum == data.checksum
        np.testing.assert_array_equal(shards.read("a", slice(120, 130)), data.read("a", slice(120, 130)))
        np.testing.assert_array_equal(shards.read_trajectory(), data.read_trajectory())


def test_generate_gives_equal_shards_for_two_workers(folder: Path, tmp_path: Path, small_spec: DatasetSpec) -> None:
    generate(small_spec, tmp_path / "data.h5", shards=2, workers=2, progress=False)
    assert contents(tmp_path) == contents(folder)


@pytest.mark.parametrize("blocks", [0, 1, 2])
def test_generate_resumes_shards_to_equal_bytes(
    folder: Path, tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, blocks: int
) -> None:
    whole = journal.append_journal

    def stop(log: Path, block: int, checksums: journal.Checksums) -> None:
        if block == blocks:
            raise Stop
        whole(log, block, checksums)

    path = tmp_path / "data.h5"
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(journal, "append_journal", stop)
        generate(small_spec, path, shards=2, progress=False)
    with pytest.raises(
        FileExistsError, match=r"`path` must not be unfinished; .* with data\.h5\.journal in its folder"
    ):
        generate(small_spec, path, shards=2, progress=False)
    with pytest.raises(DatasetError, match=r"was begun with shards=2, so it cannot be resumed with 1"):
        generate(small_spec, path, resume=True, progress=False)
    with pytest.raises(DatasetError, match="does not exist. An unfinished one is there"):
        open_dataset(path)
    generate(small_spec, path, shards=2, resume=True, progress=False)
    assert contents(tmp_path) == contents(folder)


def test_generate_resumes_where_some_shards_had_their_names_and_one_is_gone(
    folder: Path, master: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, computed = sys.modules["data_gen.generate"], []
    whole = module.compute_block
    monkeypatch.setattr(module, "compute_block", lambda spec, block: computed.append(block) or whole(spec, block))
    with open_dataset(master) as data:
        tables = [data.block_checksums(name) for name in data.stored_names]
        second = master.with_name(data.shards[1].name)
    journal.start_journal(
        journal.journal_path(master),
        small_spec.config_hash,
        {block: (int(tables[0][block]), int(tables[1][block])) for block in range(3)},
        shards=2,
    )
    master.unlink()
    second.unlink()
    generate(small_spec, master, shards=2, resume=True, progress=False)
    assert computed == [2]
    assert contents(master.parent) == contents(folder)


def test_generate_overwrite_leaves_no_shard_of_the_old_dataset(master: Path, small_spec: DatasetSpec) -> None:
    changed = dataclasses.replace(small_spec, seed=5)
    generate(changed, master, shards=3, overwrite=True, progress=False)
    assert len(names(master.parent)) == 4 and all("of-0003" in name for name in names(master.parent)[1:])
    generate(changed, master, overwrite=True, progress=False)
    assert names(master.parent) == ["data.h5"]


def test_generate_overwrite_drops_unfinished_shards(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(Stop):
        patch.setattr(journal, "start_journal", lambda *_, **__: (_ for _ in ()).throw(Stop))
        generate(small_spec, tmp_path / "data.h5", shards=3, progress=False)
    assert len(names(tmp_path)) == 3
    generate(small_spec, tmp_path / "data.h5", overwrite=True, progress=False)
    assert names(tmp_path) == ["data.h5"]


def test_generate_refuses_bad_shards(tmp_path: Path, small_spec: DatasetSpec) -> None:
    with pytest.raises(ValueError, match="`shards` must be at most 3 for 300 samples in blocks of 128; got 4"):
        generate(small_spec, tmp_path / "data.h5", shards=4)
    with pytest.raises(ValueError, match="`shards` must be an integer of at least 1; got 0"):
        generate(small_spec, tmp_path / "data.h5", shards=0)
    with pytest.raises(ValueError, match="`path` must have no % in its name with shards"):
        generate(small_spec, tmp_path / "100%b.h5", shards=2)
    assert names(tmp_path) == []


def test_open_names_a_missing_shard(master: Path) -> None:
    gone = names(master.parent)[2]
    master.with_name(gone).unlink()
    with pytest.raises(DatasetError, match=rf"data\.h5 needs its shard {gone}, which is not in its folder"):
        open_dataset(master)


def test_open_refuses_a_shard_of_another_dataset(master: Path, small_spec: DatasetSpec, tmp_path: Path) -> None:
    other = generate(dataclasses.replace(small_spec, seed=9, samples=44), tmp_path / "other.h5", progress=False)
    shutil.copy(other, master.with_name(names(master.parent)[2]))
    with pytest.raises(DatasetError, match=r"of-0002-\w+\.h5 is not the shard that data\.h5 lists"):
        open_dataset(master)


def test_validate_names_the_samples_of_a_flipped_byte_in_a_shard(master: Path) -> None:
    shard = master.with_name(names(master.parent)[2])
    with edited(shard) as file:
        file["u"][3, 5] += 1e-13
    assert validate(master).problems == ("checksum of u differs in samples 256..299: its bytes changed",)


def relist(path: Path, change: Callable[[list[dict]], object]) -> None:
    with h5py.File(path, "r+") as file:
        listed = json.loads(file.attrs["shards"])
        change(listed)
        file.attrs["shards"] = json.dumps(listed)


@pytest.mark.parametrize("name", ["/tmp/x.h5", "../x.h5", "sub/x.h5", "..", "", "a%b.h5", "a\\b.h5", 3])
def test_open_refuses_shards_that_are_not_in_its_folder(master: Path, name: object) -> None:
    relist(master, lambda listed: listed[0].update(name=name))
    with pytest.raises(DatasetError, match=r"lists the shard .*, which is not the name of a file in its folder"):
        open_dataset(master)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda listed: listed.pop(), "lists shards that are not all of its samples in order"),
        (lambda listed: listed.reverse(), "lists shards that are not all of its samples in order"),
        (lambda listed: listed.clear(), "lists shards that are not all of its samples in order"),
        (lambda listed: listed[0].update(more=1), "has a damaged list of shards"),
        (lambda listed: listed[0].update(start="x"), "has a damaged list of shards"),
        (lambda listed: listed[1].update(stop=300.0), "has a damaged list of shards"),
        (lambda listed: listed[1].update(name="other.h5"), "keeps [au] in another file, which is refused"),
    ],
)
def test_open_refuses_a_list_that_does_not_fit(master: Path, change: Callable, message: str) -> None:
    relist(master, change)
    with pytest.raises(DatasetError, match=message):
        open_dataset(master)


def test_open_refuses_masters_of_masters(master: Path) -> None:
    for name in names(master.parent)[1:]:
        shutil.copy(master, master.with_name(name))
    with pytest.raises(DatasetError, match="is listed as a shard but lists shards"):
        open_dataset(master)


def virtual(file: h5py.File, name: str, source: str, dataset: str = "u") -> None:
    layout = h5py.VirtualLayout((300, 64), dtype="f8")
    layout[...] = h5py.VirtualSource(source, dataset, shape=(300, 64))
    file.create_virtual_dataset(name, layout)


@pytest.mark.parametrize(
    ("name", "source"), [("u", "/tmp/o.h5"), ("u", "../o.h5"), ("u", "o.h5"), ("x2", "o.h5"), ("t0_fields/v", "o.h5")]
)
def test_open_refuses_views_of_other_files(small_file: Path, tmp_path: Path, name: str, source: str) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "copy.h5"))
    shutil.copy(small_file, tmp_path / "o.h5")
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        virtual(file, name, source)
    with pytest.raises(DatasetError, match=f"copy.h5 keeps {name} in another file, which is refused"):
        open_dataset(path)


@pytest.mark.parametrize("name", ["u", "extra", "integrity/u", "dimensions/time"])
def test_open_refuses_external_links(small_file: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "copy.h5"))
    shutil.copy(small_file, tmp_path / "other.h5")
    with h5py.File(path, "r+") as file:
        if name in file:
            del file[name]
        file[name] = h5py.ExternalLink("other.h5", f"/{name}")
    with pytest.raises(DatasetError, match=f"copy.h5 keeps {name} in another file, which is refused"):
        open_dataset(path)


def test_open_refuses_external_storage_and_fields_that_are_views(small_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "copy.h5"))
    with h5py.File(path, "r+") as file:
        del file["u"]
        file.create_dataset("u", (300, 64), "f8", external=[(str(tmp_path / "raw"), 0, 300 * 64 * 8)])
    with pytest.raises(DatasetError, match=r"copy\.h5 keeps u in another file, which is refused"):
        open_dataset(path)
    with h5py.File(path, "r+") as file:
        del file["u"]
        virtual(file, "u", ".", "a")
    with pytest.raises(DatasetError, match=r"copy\.h5 keeps u in a view, which is refused"):
        open_dataset(path)
