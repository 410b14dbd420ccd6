"""Cost of verifying checksums while a dataset file is read, by the size of a page.

Ratios of times with and without verification, of the same reads in turns: random samples, each block after the other,
and `sciml-cf train --epochs 1` on a file of the default size, each in a process of its own.

    python -m benchmarks.verification
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from benchmarks.common import write_result
from data_gen import DatasetSpec, generate, open_dataset
from data_gen.storage.seal import write_seal
from data_gen.storage.sealing import seal_file


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Args:
        samples: samples of the dataset (Burgers); the default is that of `generate`.
        resolution: its grid points; the default is that of `generate`.
        pages: bytes of a page to compare.
        rows: random samples to read.
        rounds: turns of each setting.
        seed: of the random samples.
    """

    samples: int = 2048
    resolution: int = 8192
    pages: tuple[int, ...] = (2**12, 2**14, 2**16, 2**18, 2**20)
    rows: int = 200
    rounds: int = 5
    seed: int = 0


def main() -> None:
    """Measure and write the result file."""
    config = tyro.cli(Config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.h5"
        begin = time.perf_counter()
        generate(DatasetSpec(samples=config.samples, resolution=config.resolution), path, progress=False)
        generated = time.perf_counter() - begin
        begin = time.perf_counter()
        seal_file(path)
        sealed = time.perf_counter() - begin
        whole = path.stat().st_size
        with open_dataset(path) as data:
            extents = data.extents()
        pages = []
        for page in config.pages:
            write_seal(path, extents, page=page)
            found = {"page_bytes": page, "file_bytes": path.stat().st_size, **_reads(path, config)}
            pages.append(found)
            print(found, flush=True)
        seal_file(path)
        figures = {"generate_seconds": generated, "seal_seconds": sealed, "file_bytes": whole, "pages": pages}
        figures["train"] = _trainings(path, Path(folder) / "run", config.rounds)
    print(figures["train"])
    print(write_result("verification", config=config, seeds=[config.seed], figures=figures))


def _reads(path: Path, config: Config) -> dict[str, float]:
    """Ratios of medians, with verification over without; a file is opened anew for each turn."""
    rows = np.random.default_rng(config.seed).integers(0, config.samples, config.rows)

    def scattered(verify: bool) -> None:
        with open_dataset(path, verify=verify) as data:
            for row in rows:
                data.read("u", np.array([row]))

    def in_order(verify: bool) -> None:
        with open_dataset(path, verify=verify) as data:
            for start in range(0, config.samples, 64):
                data.read("u", slice(start, start + 64))

    return {"random_ratio": _ratio(scattered, config.rounds), "in_order_ratio": _ratio(in_order, config.rounds)}


def _ratio(work: Callable[[bool], None], rounds: int) -> float:
    taken: dict[bool, list[float]] = {True: [], False: []}
    work(False)
    for _ in range(rounds):
        for verify in (False, True):
            begin = time.process_time()
            work(verify)
            taken[verify].append(time.process_time() - begin)
    return statistics.median(taken[True]) / statistics.median(taken[False])


def _trainings(path: Path, out: Path, rounds: int) -> dict[str, float]:
    """Median seconds of processor time and of the clock of one epoch, and the ratios."""
    taken: dict[str, list[tuple[float, float]]] = {"verified": [], "not_verified": []}
    for _ in range(rounds):
        for name, flags in (("not_verified", ["--no-verify"]), ("verified", [])):
            shutil.rmtree(out, ignore_errors=True)
            words = ["train", "--data", str(path), "--out", str(out), "--epochs", "1", *flags]
            command = [sys.executable, "-W", "ignore", "-m", "sciml_cf.cli", *words]
            begin, used = time.perf_counter(), _processor_seconds()
            subprocess.run(command, check=True, capture_output=True)
            taken[name].append((time.perf_counter() - begin, _processor_seconds() - used))
    found = {}
    for at, kind in enumerate(("seconds", "processor_seconds")):
        for name, values in taken.items():
            found[f"{name}_{kind}"] = statistics.median(value[at] for value in values)
        found[f"{kind}_ratio"] = found[f"verified_{kind}"] / found[f"not_verified_{kind}"]
    return found


def _processor_seconds() -> float:
    import resource

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
