"""Every command on damaged copies of every kind of file: none may end in a traceback or take a changed value.

    python -m tests.fuzz FOLDER --flips 50 --cuts 20 [--kinds NAME ...]      (results as JSON, in FOLDER/results.json)

A command that succeeds on a damaged file must have written and printed what it does on the whole one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
import sys
import traceback
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from data_gen import DatasetSpec, generate, repack
from data_gen.cli import flags
from sciml_cf.cli import COMMANDS
from sciml_cf.cli import main as command
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from tests.edits import unsealed

SMALL = "--resolution 16 --width 4 --modes 4 --layers 1 --batch-size 8 --epochs 1 --accelerator cpu"
OF_DATA = {
    "info": "info {file}",
    "validate": "validate {file}",
    "plot": "plot {file} --out {out}.svg",
    "convert": "convert {file} {out}.h5",
    "convert to nc": "convert {file} {out}.nc",
    "repack": "repack {file} --out {out}.h5",
    "train": f"train --data {{file}} --out {{out}} {SMALL}",
    "evaluate": "evaluate {run} --data {file} --split all --resolutions 16",
    "predict": "predict {run} --input {file} --output {out}.npy --std {out}_std.npy",
    "adapt": "adapt {run} --data {file} --out {out} --resolution 16",
    "posterior": "posterior {run} --data {file} --overwrite",
}
OF_RUNS = {
    "evaluate": "evaluate {run} --data {data} --resolutions 16",
    "predict": "predict {run} --input {data} --output {out}.npy --std {out}_std.npy",
    "predict last": "predict {run} --input {data} --output {out}.npy --which last",
    "report": "report {run}",
    "compare": "compare {run} --out {out}",
    "adapt": "adapt {run} --data {data} --out {out} --resolution 16",
    "posterior": "posterior {run} --data {data} --overwrite",
    "resume": f"train --data {{data}} --out {{run}} {SMALL} --resume --config {{config}}",
}
#: Commands that read a file of a run; the others need not notice that it is damaged.
READ_BY = {
    "weights_best.pt": ("evaluate", "predict", "adapt", "posterior"),
    "weights_last.pt": ("predict last",),
    "last.pt": ("resume",),
    "posterior.pt": ("predict", "adapt"),
    "run.json": tuple(OF_RUNS),
    "history.csv": ("report", "compare", "evaluate"),
    "evaluation.nc": ("report", "compare"),
    "manifest.json": tuple(OF_RUNS),
}
DATA_KINDS = ("plain.h5", "packed.h5", "master.h5", "shard", "version 0.1.h5")
KINDS = (*DATA_KINDS[:4], *READ_BY, "config.toml")  # headers of version 0.1 have no checksums
_NOISE = ("seconds", "created", "date")


def make(folder: Path) -> dict[str, Path]:
    """Whole files of every kind, by name."""
    spec = DatasetSpec(equation="heat", samples=24, resolution=32)
    plain = generate(spec, folder / "plain.h5", progress=False)
    packed = repack(plain, folder / "packed.h5", progress=False).path
    old = unsealed(Path(shutil.copy(plain, folder / "version 0.1.h5")))
    (folder / "shards").mkdir()
    many = DatasetSpec(equation="heat", samples=132, resolution=8)
    master = generate(many, folder / "shards" / "master.h5", shards=2, progress=False)
    shard = sorted((folder / "shards").glob("*shard-0001*"))[0]
    run = folder / "run"
    model = {"width": 4, "modes": 4, "layers": 1}
    train_on_file(plain, run, FitConfig(epochs=1, batch_size=8, accelerator="cpu"), resolution=16, model=model)
    evaluate_run(run, plain, (16,))
    (folder / "config.toml").write_text('seed = 0\nmethod = "proximal"\nlearning_rate = 0.003\n')
    found = {"plain.h5": plain, "packed.h5": packed, "master.h5": master, "shard": shard, "version 0.1.h5": old}
    return {**found, **{name: run / name for name in READ_BY}, "config.toml": folder / "config.toml"}


class Bench:
    """One kind of file and the commands that read it; each is run on the whole file first."""

    def __init__(self, folder: Path, kind: str, paths: dict[str, Path]) -> None:
        self.work, self.kind, self.paths = folder / "work", kind, paths
        words = OF_DATA if kind in DATA_KINDS else OF_RUNS
        if kind == "config.toml":
            words = {name: words[name] for name in ("resume",)}
        elif kind in READ_BY:
            words = {name: words[name] for name in READ_BY[kind]}
        if kind in ("master.h5", "shard"):
            words = {name: line for name, line in words.items() if name in ("info", "validate", "convert", "repack")}
        self.words = words
        self.whole = paths[kind].read_bytes()
        self.expected = {name: self.call(name, self.whole) for name in words}
        again = {name: self.call(name, self.whole) for name in words}
        bad = {name: one for name, one in self.expected.items() if one[0] or one != again[name]}
        if bad:
            raise SystemExit(f"{kind}: on the whole file {bad}, then { ({name: again[name] for name in bad}) }")

    def call(self, name: str, content: bytes) -> tuple[int, str]:
        """Status, and a digest of all that a command printed and wrote, or its last line."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        folder = self.paths["plain.h5"].parent
        run = Path(shutil.copytree(folder / "run", self.work / "run"))
        places = {"run": run, "data": folder / "plain.h5", "config": folder / "config.toml", "out": self.work / "out"}
        given = self.paths[self.kind]
        if self.kind in ("master.h5", "shard"):
            shutil.copytree(given.parent, self.work / "shards")
            target = self.work / "shards" / given.name
            places["file"] = self.work / "shards" / "master.h5"
        elif self.kind in DATA_KINDS:
            target = places["file"] = self.work / "data.h5"
        else:
            target = run / given.name if self.kind in READ_BY else self.work / given.name
            places["config"] = target if self.kind == "config.toml" else places["config"]
        target.write_bytes(content)
        before = set(self.work.rglob("*"))
        line = OF_DATA[name] if self.kind in DATA_KINDS else OF_RUNS[name]
        words = [word.format(**{key: str(value) for key, value in places.items()}) for word in line.split()]
        status, said = outcome(words)
        after = [path for path in sorted(self.work.rglob("*")) if path.is_file() and path.suffix != ".damaged"]
        if status:
            new = [path.name for path in after if path not in before]
            return status, f"wrote {new}: {said}" if new else said
        if name == "resume":  # from the checkpoint before: the same weights again, and no evaluation yet
            after = [path for path in after if path.name.startswith("weights_")]
        kept = {str(path.relative_to(self.work)): _digest(path) for path in after if path != target}
        return status, json.dumps([_plain(said), kept])


def outcome(words: list[str]) -> tuple[int, str]:
    """Status of a command in this process, and what it printed; 99 and the end of the traceback of a defect."""
    said, errors = io.StringIO(), io.StringIO()
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            command(words)
    except SystemExit as stop:
        if stop.code:
            lines = errors.getvalue().strip().splitlines()
            return int(str(stop.code)), next((one for one in lines if one.startswith("error: ")), f"no line: {lines}")
    except BaseException:
        return 99, traceback.format_exc()[-600:]
    finally:
        logging.disable(logging.NOTSET)
    return 0, said.getvalue()


def parse_once() -> None:
    """Let the same words be parsed once: reading flags takes longer than refusing a file. Words with a file anew."""
    known: dict[tuple[str, ...], Any] = {}

    def parse(config_type: type[Any], argv: list[str], *, prog: str) -> Any:
        key = (prog, *argv)
        if key not in known or "--config" in argv:
            known[key] = flags.parse(config_type, argv, prog=prog)
        return known[key]

    for name, _, _ in COMMANDS.values():
        module = import_module(name)
        if hasattr(module, "parse"):
            module.parse = parse


def _plain(text: str) -> str:
    """Printed text without what differs from one time to the next."""
    return "\n".join(line for line in text.splitlines() if not any(word in line for word in (*_NOISE, " s)", "bytes")))


def _digest(path: Path) -> str:
    """Of the values of a file, without times and metadata where it has some."""
    name = path.name
    if name in ("history.csv", "run.json", "manifest.json", "last.pt") or path.suffix in (".html", ".png", ".svg"):
        return "there"
    if path.suffix == ".nc":
        import xarray as xr

        with contextlib.suppress(Exception), xr.open_dataset(path, engine="h5netcdf") as data:
            parts = [np.ascontiguousarray(one.values).tobytes() for one in data.load().variables.values()
                     if one.dtype.kind in "fiu"]  # fmt: skip
            return hashlib.sha256(b"".join(parts)).hexdigest()
    return hashlib.sha256(path.read_bytes()).hexdigest()


def damages(whole: bytes, flips: int, cuts: int, seed: int) -> list[tuple[str, bytes]]:
    """Damaged contents: flipped bytes, half of them among the first four thousand, and the file cut short."""
    random, found = np.random.default_rng(seed), []
    for number in range(flips):
        reach = min(len(whole), 4096) if number % 2 else len(whole)
        place, bits = int(random.integers(reach)), int(random.integers(1, 256))
        changed = bytearray(whole)
        changed[place] ^= bits
        found.append((f"flip {place} by {bits}", bytes(changed)))
    for number in range(cuts):
        size = len(whole) - 1 - number // 2 if number % 2 else int(random.integers(len(whole)))
        found.append((f"cut to {size}", whole[: max(size, 0)]))
    return found


def run_kind(folder: Path, kind: str, paths: dict[str, Path], flips: int, cuts: int) -> dict[str, Any]:
    """Counts of what came of all damages, and the faults: tracebacks, wrong lines, changed values that were taken."""
    bench, counts, faults = Bench(folder, kind, paths), dict[str, int](), []
    for label, content in damages(bench.whole, flips, cuts, seed=KINDS.index(kind)):
        for name in bench.words:
            status, said = bench.call(name, content)
            if status == 0:
                came = "the same result" if (0, said) == bench.expected[name] else "CHANGED"
            elif status == 99:
                came = "TRACEBACK"
            else:
                came = "one line" if said.startswith("error: ") and len(said.splitlines()) == 1 else "WRONG LINE"
            if kind == "config.toml" and came == "CHANGED":
                came = "other settings"  # a text that a person wrote; any text that can be read is meant
            counts[came] = counts.get(came, 0) + 1
            if came.isupper():
                faults.append([kind, label, name, came, said[-500:]])
    return {"counts": counts, "faults": faults}


def isolated(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What work returns, done in a forked process: libhdf5 can crash on files without a seal."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.close(read)
        with os.fdopen(write, "w") as pipe:
            try:
                pipe.write(json.dumps(work()))
            except BaseException:
                pipe.write(json.dumps({"counts": {}, "faults": [["", "", "", "TRACEBACK", traceback.format_exc()]]}))
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if text else {"counts": {}, "faults": [["", "", "", "CRASH", f"status {status}"]]}


def main() -> None:
    """Run the fuzz and write its results."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flips", type=int, default=50)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", default=KINDS)
    given = parser.parse_args()
    parse_once()
    given.folder.mkdir(parents=True, exist_ok=True)
    paths, results = make(given.folder), {}
    for kind in given.kinds:
        results[kind] = isolated(lambda k=kind: run_kind(given.folder, k, paths, given.flips, given.cuts))
        sys.stderr.write(f"{kind}: {results[kind]['counts']}, {len(results[kind]['faults'])} faults\n")
        (given.folder / "results.json").write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
