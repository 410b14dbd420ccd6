"""Rate of reading The Well's layout here and by the official loader (package the_well), in one run.

python -m benchmarks.well_loader --folder DIR      writes benchmarks/results/well_loader.json

Trajectories of the heat equation in two dimensions, in the files that `sciml-cf convert` writes, and in copies of them
whose fields lie in one piece (what HDF5 does unless chunks are asked for) or in the chunks that h5py chooses. A sample
is one state and the next one; epochs of shuffled batches are read by one process without a model, in turns; the figure
is the ratio of the numbers of samples a second in the same round (median). The official loader gives the grid with
each sample too.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import time
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import torch
from torch.utils.data import DataLoader

from benchmarks.common import RESULTS, ROOT, between, write_result
from data_gen import DatasetSpec, generate
from data_gen.convert import convert
from data_gen.formats import Facts
from sciml_cf.datasets import FieldDataset
from sciml_cf.training.pools import Pools

PAGE = ROOT / "docs" / "large_data.md"


@dataclass(frozen=True)
class Config:
    """Trajectories, their times and points along each axis, samples of a batch, and rounds."""

    trajectories: int = 48
    times: int = 20
    points: int = 128
    batch_size: int = 32
    rounds: int = 5


def folder_of(config: Config, folder: Path) -> Path:
    """A folder of The Well's layout."""
    times = tuple(0.01 * step for step in range(1, config.times + 1))
    spec = DatasetSpec("heat", num_dims=2, samples=config.trajectories, resolution=config.points, times=times)
    made, out = folder / "heat.h5", folder / "heat_well"
    if not out.exists():
        convert(generate(spec, made, overwrite=True), out)
    return out


def laid_out(folder: Path, name: str, chunks: bool | None) -> Path:
    """A copy of a folder of The Well's layout with its fields in one piece (None) or in h5py's chunks."""
    out = folder.with_name(f"{folder.name}_{name}")
    if not out.exists():
        shutil.copytree(folder, out)
        for path in out.rglob("*.hdf5"):
            with h5py.File(path, "r+") as file:
                for group in (file[name] for name in ("t0_fields", "t1_fields") if name in file):
                    for field in [field for field in group if group[field].ndim > 2]:
                        values, attributes = group[field][:], dict(group[field].attrs)
                        del group[field]
                        group.create_dataset(field, data=values, chunks=chunks).attrs.update(attributes)
    return out


def official(path: Path, config: Config) -> Iterable[Any]:
    """Batches of the official loader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from the_well.data import WellDataset  # pyright: ignore[reportMissingImports]

        data = WellDataset(path=str(path), well_split_name="train", n_steps_input=1, n_steps_output=1)
    return DataLoader(data, batch_size=config.batch_size, shuffle=True, drop_last=True)


def rate(batches: Iterable[Any], size: int) -> float:
    """Samples a second of one epoch."""
    start = time.perf_counter()
    count = sum(size for _ in batches)
    return count / (time.perf_counter() - start)


def compare(path: Path, config: Config) -> dict[str, Any]:
    """Samples a second of both loaders, round by round, and the median of the ratios."""
    theirs = official(path, config)
    ours = FieldDataset(path, "train", lazy=True, facts=Facts(input_steps=1, output_steps=1, stride=1))
    pools = Pools(ours, config.batch_size, rank=0, world=1, workers=0, ready=lambda batch: batch)
    rows = []
    for number in range(config.rounds + 1):
        pair = rate(theirs, config.batch_size), rate(pools.epoch(number, seed=number), config.batch_size)
        rows.append({"official": pair[0], "ours": pair[1]})
    rows = rows[1:]  # the first round opens the files
    ratio = statistics.median(row["ours"] / row["official"] for row in rows)
    return {"samples_a_second": rows, "ours_over_official": ratio}


def filled(text: str) -> str:
    """The page, filled from the result file."""
    figures = json.loads((RESULTS / "well_loader.json").read_text())["figures"]
    ratios = [f"{figures[name]['ours_over_official']:.1f}" for name in ("converted", "one_piece", "h5py_chunks")]
    said = (
        "Batches of windows from files of The Well's layout, over those of the official loader in samples a second: "
        f"{ratios[0]} where `convert` wrote the files, {ratios[1]} where each field lies in one piece, {ratios[2]} in "
        "the chunks that h5py chooses. The official loader gives the grid with each sample too "
        "(`python -m benchmarks.well_loader`)."
    )
    return between(text, "the well loader", said)


def main() -> None:
    """Measure and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for the files")
    given, config = parser.parse_args(), Config()
    torch.set_num_threads(1)
    converted = folder_of(config, given.folder)
    paths = {
        "converted": converted,
        "one_piece": laid_out(converted, "one_piece", None),
        "h5py_chunks": laid_out(converted, "h5py_chunks", True),
    }
    figures = {name: compare(path, config) for name, path in paths.items()}
    place = write_result("well_loader", config=config, seeds=[0], figures=figures)
    PAGE.write_text(filled(PAGE.read_text()))
    print(place, {name: one["ours_over_official"] for name, one in figures.items()})


if __name__ == "__main__":
    main()
