"""Dask: the same bytes from a cluster, whether its workers see the file or not, and one line for what goes wrong."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import data_gen
from data_gen import DatasetSpec, generate
from data_gen.errors import DatasetError
from data_gen.executors import dask_cluster as dask_executor
from data_gen.executors.dask_cluster import dask_cluster
from data_gen.executors.local import WorkerLost
from data_gen.storage import journal
from data_gen.storage import writer as output
from tests.signalled import command

# Dask leaves the closing of its sockets and of its event loop to the collector.
pytestmark = [pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")]
ROOT = Path(data_gen.__file__).parent.parent
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A scheduler with one worker, within this process: it sees the same files."""
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=2, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as made:
        yield made


def test_a_local_cluster_of_two_gives_the_bytes_of_one_process(
    tmp_path: Path, small_file: Path, small_spec: DatasetSpec
) -> None:
    path = generate(small_spec, tmp_path / "data.h5", dask="local", workers=2, progress=False)
    assert path.read_bytes() == small_file.read_bytes() and [p.name for p in tmp_path.iterdir()] == ["data.h5"]


@pytest.mark.slow
def test_ctrl_c_with_a_local_cluster_says_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.h5"
    words = "burgers --samples 4000 --resolution 64 --method etdrk4 --tolerance 1e-6 --dask local --workers 2 --out"
    line = command(signal.SIGINT, ".journal", 4, "generate", *words.split(), path)
    process = subprocess.Popen(line, cwd=ROOT, start_new_session=True, text=True, stderr=-1, stdout=-1)
    said = process.communicate()[1]
    lines = [line for line in said.replace("\r", "\n").splitlines() if line and "sample/s" not in line]
    assert process.returncode == 1 and len(lines) == 2, said
    assert "interrupted with" in lines[0] and "of 32 blocks" in lines[0] and lines[1].startswith("error: interrupted")


@pytest.mark.parametrize("sighted", [True, False])
def test_workers_write_what_they_see_and_send_what_they_do_not(
    tmp_path: Path,
    small_file: Path,
    small_spec: DatasetSpec,
    monkeypatch: pytest.MonkeyPatch,
    cluster: Any,
    sighted: bool,
) -> None:
    written = []
    whole = output.Part.write

    def write(part: output.Part, block: int, fields: tuple) -> journal.Checksums:
        written.append(threading.current_thread() is threading.main_thread())
        return whole(part, block, fields)

    monkeypatch.setattr(output.Part, "write", write)
    if not sighted:
        monkeypatch.setattr(journal, "read_start", lambda path: {"token": "of another run"})
    path = generate(small_spec, tmp_path / "data.h5", dask=cluster.scheduler_address, progress=False)
    assert path.read_bytes() == small_file.read_bytes()
    assert written == [not sighted] * 3


def test_shards_on_a_cluster(tmp_path: Path, small_spec: DatasetSpec, cluster: Any) -> None:
    (tmp_path / "here").mkdir()
    generate(small_spec, tmp_path / "data.h5", dask=cluster.scheduler_address, shards=2, progress=False)
    generate(small_spec, tmp_path / "here" / "data.h5", shards=2, progress=False)
    for path in (tmp_path / "here").iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_an_error_of_a_worker_comes_back_and_the_rest_is_kept(
    tmp_path: Path, small_file: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch, cluster: Any
) -> None:
    whole = output.Part.write

    def full(part: output.Part, block: int, fields: tuple) -> Any:
        if block == 1:
            raise OSError(28, "No space left on device")
        return whole(part, block, fields)

    path, address = tmp_path / "data.h5", cluster.scheduler_address
    with monkeypatch.context() as patch, pytest.raises(DatasetError, match=r"\(No space left on device\); \d of 3"):
        patch.setattr(output.Part, "write", full)
        generate(small_spec, path, dask=address, progress=False)
    generate(small_spec, path, dask=address, resume=True, progress=False)
    assert path.read_bytes() == small_file.read_bytes()


def test_a_cluster_without_workers_is_given_up(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dask_executor, "IDLE_SECONDS", 0.1)
    with (
        distributed.LocalCluster(
            n_workers=0, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
        ) as empty,
        dask_cluster(empty.scheduler_address, 1) as run,
        pytest.raises(WorkerLost, match=r"had no worker for 0\.1 s"),
    ):
        list(run(abs, [[(1,)]]))


def test_generate_refuses_addresses_where_there_is_no_scheduler(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_executor, "CONNECT_SECONDS", 0.3)
    path = tmp_path / "data.h5"
    with socket.socket() as taken:  # a port of ours that nobody listens to
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(DatasetError, match=rf"no Dask scheduler can be reached at {address} .*--dask local"):
            generate(small_spec, path, dask=address)
    with pytest.raises(ValueError, match=r"`dask` must be 'local' or a scheduler's address .* got 'nonsense'"):
        generate(small_spec, path, dask="nonsense")
    with pytest.raises(ValueError, match="`dask` must be 'local' or a scheduler's address; got ''"):
        generate(small_spec, path, dask="")
    with pytest.raises(ValueError, match=r"`workers` must be left out with the address .* got 2"):
        generate(small_spec, path, dask="tcp://127.0.0.1:9", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_generate_names_the_extra_where_dask_is_missing(
    tmp_path: Path, small_spec: DatasetSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ValueError, match=r"`dask` must be None where Dask is not .* pip install 'sciml-cf\[dask\]'"):
        generate(small_spec, tmp_path / "data.h5", dask="local")
