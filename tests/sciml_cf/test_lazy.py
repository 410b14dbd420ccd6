"""Samples that are read when they are needed: the same numbers as in memory, whatever is asked of them."""

import os
import pickle

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate
from data_gen.cli.repack import repack_command
from data_gen.formats import Facts
from sciml_cf.cli import main
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.laziness import choose_lazy
from sciml_cf.errors import CheckpointError, DatasetError
from sciml_cf.normalization import measure_normalization
from sciml_cf.training.batches import pooled_batches, shared_out
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.pools import Pools
from sciml_cf.training.run_folder import read_history, read_settings
from tests.problems import mlp
from tests.sciml_cf.block_data import Dying, InBlocks, InMemory, Refusing
from tests.sciml_cf.test_missing_values import SAID, file_with_land

SMALL = {"width": 8, "modes": 4, "layers": 2}
CONFIG = FitConfig(epochs=2, batch_size=8, accelerator="cpu")


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory):
    times = tuple(0.01 * step for step in range(1, 6))
    spec = DatasetSpec(equation="heat", samples=24, resolution=32, times=times)
    return generate(spec, tmp_path_factory.mktemp("lazy") / "heat.h5", progress=False)


@pytest.fixture(params=["plain", "coarse", "fourier", "windows", "unrolled", "condition", "compressed", "masked"])
def pair(request, trajectories, burgers_file, tmp_path):
    """The same samples in memory and read when needed."""
    path, words = trajectories, {}
    if request.param in ("plain", "coarse", "fourier"):
        words = {"resolution": 16} if request.param != "plain" else {}
        words |= {"sampling": "fourier"} if request.param == "fourier" else {}
    elif request.param in ("windows", "unrolled"):
        words = {"facts": Facts(input_steps=2, output_steps=1, stride=1)}
        words |= {"unroll": 2} if request.param == "unrolled" else {}
    elif request.param == "condition":
        words = {"facts": Facts(condition=("time",))}
    elif request.param == "compressed":
        path = tmp_path / "packed.h5"
        repack_command([str(burgers_file), "--out", str(path), "--compression", "gzip"])
    else:
        path = tmp_path / "land.nc"
        file_with_land(path, holes=True, beneath=np.nan)
        words = {"facts": Facts(**SAID, mask="fill")}
    return tuple(FieldDataset(path, "train", lazy=lazy, **words) for lazy in (False, True))


def same(a, b):
    return torch.equal(a, b) or torch.allclose(a, b, rtol=1e-6)  # the mean that fills a hole is summed in blocks


def test_lazy_items_and_views_are_those_in_memory(pair):
    memory, lazy = pair
    assert len(memory) == len(lazy) and lazy.checksum == memory.checksum and lazy.described == memory.described
    for name in ("x", "y", "states", "unchanged"):
        whole, view = getattr(memory, name), getattr(lazy, name)
        if whole is None:
            assert view is None
            continue
        assert not torch.is_tensor(view) and view.shape == whole.shape and view.dtype == whole.dtype
        rows = np.array([3, 0, 5, 3])
        assert same(view[rows], whole[rows]) and same(view[-1], whole[-1]) and same(view[1:6:2], whole[1:6:2])
        assert same(view[:4, :1], whole[:4, :1]) and same(torch.cat([part[:] for part in view.split(5)]), whole)
        assert same(view[torch.tensor([1, 2])], whole[1:3]) and same(view[0, 0], whole[0, 0])
    for item, other in zip(lazy.__getitems__([4, 2]), [memory[4], memory[2]], strict=True):
        assert item.keys() == other.keys() and all(same(item[name], other[name]) for name in item)
    batch = lazy.batch(np.array([5, 1, 1]))
    assert all(same(part, memory.batch(np.array([5, 1, 1]))[name]) for name, part in batch.items())
    assert lazy.blocks[0] == 0 and (np.diff(lazy.blocks) > 0).all() and memory.blocks is None
    if memory.known is not None:
        assert torch.equal(lazy.known[:], memory.known)


def test_a_lazy_dataset_goes_to_another_process(pair):
    memory, lazy = pair
    copy = pickle.loads(pickle.dumps(lazy))
    assert same(copy.x[2:5], memory.x[2:5]) and same(copy[1]["y"], memory[1]["y"])


def test_normalization_of_lazy_samples_is_that_in_memory(pair):
    a, b = (measure_normalization(data).to_dict() for data in pair)
    for name, values in a.items():
        np.testing.assert_allclose(b[name], values, rtol=1e-9, atol=1e-12)


def test_linear_part_of_lazy_samples(trajectories):
    memory, lazy = (FieldDataset(trajectories, "test", lazy=lazy) for lazy in (False, True))
    torch.testing.assert_close(lazy.linear_solution()[:], memory.linear_solution(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("world", [1, 2, 4])
def test_pools_hold_every_sample_at_most_once_and_are_shared_out(world):
    starts = np.array([0, 3, 40, 41, 90])
    whole = np.concatenate(pooled_batches(starts, 103, 8, pool=32, seed=5))
    assert whole.shape == (12, 8) and len(np.unique(whole)) == whole.size
    shares = [pooled_batches(starts, 103, 8, pool=32, seed=5, rank=rank, world=world) for rank in range(world)]
    for rank, share in enumerate(shares):
        assert np.array_equal(np.concatenate(share), whole[:, rank::world])
    assert not np.array_equal(whole, np.concatenate(pooled_batches(starts, 103, 8, pool=32, seed=6)))
    parts = [shared_out(11, 3, rank=rank, world=world) for rank in range(world)]
    assert np.concatenate([one for part in parts for one in part]).tolist() == list(range(11))


def test_a_process_reads_its_parts_of_a_pool_alone():
    starts = np.arange(0, 4096, 16)
    ranks = [np.concatenate(pooled_batches(starts, 4096, 32, pool=2048, seed=0, rank=r, world=4)) for r in range(4)]
    blocks = [set((one // 16).ravel().tolist()) for one in ranks]
    assert sum(map(len, blocks)) == len(starts)


def trained(folder, train, validation, **words):
    fit(mlp(), train, validation, config=CONFIG, out=folder, progress=False, **words)
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in read_history(folder)]
    return rows, read_tensors(folder / "weights_last.pt")


def assert_equal_runs(a, b):
    assert a[0] == b[0]
    assert all(torch.equal(value, b[1][name]) for name, value in a[1].items())


@pytest.mark.slow
def test_training_is_the_same_with_workers_and_without(tmp_path):
    runs = [trained(tmp_path / str(n), InBlocks(40), InMemory(9, seed=1), loader_workers=n) for n in (0, 2)]
    assert_equal_runs(*runs)
    plain = [trained(tmp_path / f"p{n}", InMemory(40), InMemory(9, seed=1), loader_workers=n) for n in (0, 1)]
    assert_equal_runs(*plain)


def test_lazy_training_is_that_in_memory_in_the_same_order(burgers_file, tmp_path, monkeypatch):
    train_on_file(burgers_file, tmp_path / "lazy", CONFIG, resolution=32, model=SMALL, lazy="yes")
    lazy = FieldDataset(burgers_file, "train", resolution=32, lazy=True)
    monkeypatch.setattr(FieldDataset, "blocks", lazy.blocks)
    monkeypatch.setattr(FieldDataset, "lazy", False, raising=False)
    train_on_file(burgers_file, tmp_path / "memory", CONFIG, resolution=32, model=SMALL, lazy="no")
    a, b = (read_tensors(tmp_path / name / "weights_last.pt") for name in ("lazy", "memory"))
    for name, value in b.items():
        torch.testing.assert_close(a[name], value, rtol=1e-5, atol=1e-6)
    assert read_settings(tmp_path / "lazy")["data"]["lazy"] is True
    assert "lazy" not in read_settings(tmp_path / "memory")["data"]


def test_a_resumed_run_reads_as_it_began(burgers_file, tmp_path):
    words = {"resolution": 32, "model": SMALL}
    train_on_file(burgers_file, tmp_path / "run", CONFIG, lazy="yes", **words)
    train_on_file(burgers_file, tmp_path / "run", CONFIG, resume=True, **words)
    with pytest.raises(CheckpointError, match=r"data.lazy = None where .* has True"):
        train_on_file(burgers_file, tmp_path / "run", CONFIG, lazy="no", resume=True, **words)


def test_an_epoch_begins_with_what_was_read_ahead():
    data = InBlocks(40)
    pools, again = (Pools(data, 8, rank=0, world=1, workers=0, ready=lambda batch: batch) for _ in range(2))
    ahead = list(pools.epoch(1, seed=3, ahead=2))
    whole, expected = list(pools.epoch(1, seed=3)), list(again.epoch(1, seed=3))
    assert len(whole) == 5 and all(torch.equal(a["x"], b["x"]) for a, b in zip(whole, expected, strict=True))
    assert all(torch.equal(a["x"], b["x"]) for a, b in zip(ahead, expected, strict=False))


def test_auto_reads_from_the_file_what_does_not_fit(burgers_file, caplog, monkeypatch):
    caplog.set_level("INFO")
    assert not choose_lazy("train", "auto", burgers_file, ("train", "validation"))
    assert "are held in memory" in caplog.text
    monkeypatch.setattr("sciml_cf.datasets.laziness.free_memory", lambda: 200_000)
    assert choose_lazy("train", "auto", burgers_file, ("train",)) and "are read from the file" in caplog.text
    assert choose_lazy("train", "yes", burgers_file, ()) and not choose_lazy("train", "no", burgers_file, ())
    with pytest.raises(ValueError, match="`lazy` must be one of"):
        choose_lazy("train", "perhaps", burgers_file, ())


def test_a_file_that_changes_is_refused_in_one_line(burgers_file, tmp_path):
    path = tmp_path / "f.h5"
    path.write_bytes(burgers_file.read_bytes())
    lazy = FieldDataset(path, "train", lazy=True)
    assert lazy.x[0].isfinite().all()
    os.utime(path, ns=(0, 0))
    with pytest.raises(DatasetError, match="has changed since it was opened"):
        lazy[1]
    path.unlink()
    with pytest.raises(DatasetError, match="cannot be read any more"):
        lazy[1]


def test_a_sample_that_is_not_finite_is_named_when_it_is_read(tmp_path):
    np.savez(tmp_path / "f.npz", x=np.ones((200, 8)), y=np.where(np.arange(200)[:, None] == 150, np.nan, np.ones(8)))
    lazy = FieldDataset(tmp_path / "f.npz", "all", lazy=True, facts=Facts(extent=(1.0,), times=(0.0, 1.0)))
    assert lazy.x[:100].isfinite().all()
    with pytest.raises(DatasetError, match="sample 150 of"):
        measure_normalization(lazy)


@pytest.mark.slow
def test_a_worker_that_dies_is_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"a process that reads the samples died .* --resume goes on"):
        trained(tmp_path / "run", Dying(40), InMemory(9, seed=1), loader_workers=1)


def test_an_error_in_a_worker_stays_one_line(tmp_path):
    with pytest.raises(DatasetError, match=r"^read: the disk is gone\.$"):
        trained(tmp_path / "run", Refusing(40), InMemory(9, seed=1), loader_workers=1)


def test_the_command_trains_lazily(burgers_file, tmp_path, capsys):
    words = ["train", "--data", str(burgers_file), "--out", str(tmp_path / "run"), "--epochs", "1", "--width", "8"]
    words += ["--modes", "4", "--layers", "2", "--resolution", "32", "--lazy", "yes", "--loader-workers", "0"]
    main(words)
    assert "relative L2 error" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main([*words[:-1], "-1", "--overwrite"])
    assert stop.value.code == 2 and "`loader_workers` must be" in capsys.readouterr().err
