"""HDF5 files of strangers that lead elsewhere or claim much, and what comes of reading them, in a process of its own.

python -m tests.data_gen.hostile FOLDER    prints a line of JSON for each file and format: what came of it
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source

SHAPE, CANARY = (4, 3, 16), 42.4242
FORMATS = (None, "pdebench", "netcdf", "the_well", "mat", "hdf5", "sciml_cf")
MEMORY = 6 * 2**30
_IN_OPEN, _IN_NONBLOCK = 0x20, 0o4000


def link(target: str, *, at: str = "tensor", soft: dict[str, str] | None = None) -> Callable[[h5py.File], None]:
    def make(file: h5py.File) -> None:
        if at in file:
            del file[at]
        place = at
        for name, to in (soft or {}).items():
            if name in file:
                del file[name]
            file[name] = h5py.SoftLink(to)
            place = "outside"
        file[place] = h5py.ExternalLink("canary.h5", target)

    return make


def virtual(source: str, name: str, *, at: str = "tensor", first: Callable | None = None) -> Callable:
    def make(file: h5py.File) -> None:
        if first is not None:
            first(file)
        if at in file:
            del file[at]
        layout = h5py.VirtualLayout(SHAPE, "f8")
        layout[...] = h5py.VirtualSource(source, name, shape=SHAPE)
        file.create_virtual_dataset(at, layout)

    return make


def raw(at: str, shape: tuple[int, ...] = SHAPE) -> Callable:
    def make(file: h5py.File) -> None:
        if at in file:
            del file[at]
        place = str(Path(file.filename).with_name("canary.h5"))
        file.create_dataset(at, shape, "f8", external=[(place, 0, h5py.h5f.UNLIMITED)])

    return make


def put(value: object = None, **settings: object) -> Callable:
    def make(file: h5py.File) -> None:
        del file["tensor"]
        file.create_dataset("tensor", data=value, **settings)

    return make


def references(kind: type) -> Callable:
    def make(file: h5py.File) -> None:
        region = file["tensor"].regionref[0] if kind is h5py.RegionReference else file["tensor"].ref
        file["x-coordinate"].attrs["DIMENSION_LIST"] = region
        file["old"] = file["tensor"]
        put(np.full(SHAPE, region, dtype=object), dtype=h5py.special_dtype(ref=kind))(file)

    return make


def well(at: str) -> Callable:
    def make(file: h5py.File) -> None:
        file.attrs["n_spatial_dims"] = 1
        for name in {"t0_fields", "dimensions"} - {at}:
            file.create_group(name)
        link("/", at=at)(file)

    return make


def groups(file: h5py.File) -> None:
    del file["tensor"], file["x-coordinate"]
    link("/", at="0000")(file)


def deep(file: h5py.File) -> None:
    group: h5py.Group = file
    for _ in range(1500):
        group = group.create_group("g")
    group["end"] = h5py.ExternalLink("canary.h5", "/secret")


def wide(file: h5py.File) -> None:
    for number in range(1000):
        file.create_group(f"groups/{number}")


def cycle(file: h5py.File) -> None:
    file["a/b/c"] = file["/"]
    file["a/b/out"] = h5py.ExternalLink("canary.h5", "/secret")


def committed(file: h5py.File) -> None:
    del file["tensor"]
    file["tensor"] = np.dtype("f8")


def no_filter(file: h5py.File) -> None:
    put(np.random.default_rng(0).random(SHAPE), chunks=SHAPE, compression="gzip")(file)


def loop(file: h5py.File) -> None:
    del file["tensor"]
    file["tensor"], file["other"] = h5py.SoftLink("/other"), h5py.SoftLink("/tensor")


def named_badly(file: h5py.File) -> None:
    file["two\nlines\x1b[31m"] = h5py.ExternalLink("canary.h5", "/secret")


def attributes(file: h5py.File) -> None:
    file.attrs["config"] = "x" * 60_000
    file.attrs["Nu"] = h5py.Empty("f8")
    file["tensor"].attrs.create("units", np.zeros(3, dtype=[("a", "i4"), ("b", "S7")]))


TWO, THREE = {"tensor": "/one/secret", "one": "/outside"}, {"tensor": "/one/secret", "one": "/two", "two": "/outside"}
HOSTILE: dict[str, Callable[[h5py.File], object]] = {
    "external": link("/secret"),
    "soft to external": link("/secret", soft={"tensor": "/outside"}),
    "two levels": link("/", soft=TWO),
    "three levels": link("/", soft=THREE),
    "group of the well": well("t0_fields"),
    "dimensions of the well": well("dimensions"),
    "groups of samples": groups,
    "coordinate": link("/x", at="x-coordinate"),
    "times": link("/x", at="t-coordinate"),
    "deep unused": link("/secret", at="a/b/c/unused"),
    "raw": raw("tensor"),
    "raw coordinate": raw("x-coordinate", (16,)),
    "virtual": virtual("canary.h5", "secret"),
    "virtual above": virtual("../canary.h5", "secret"),
    "virtual with a percent sign": virtual("%%/../canary.h5", "secret"),
    "virtual over raw": virtual(".", "raw", first=raw("raw")),
    "virtual over virtual": virtual(".", "v", first=virtual("canary.h5", "secret", at="v")),
    "virtual over soft": virtual(".", "s/secret", first=link("/", soft={"s": "/outside"})),
    "virtual over external": virtual(".", "e", first=link("/secret", at="e")),
    "references": references(h5py.Reference),
    "regions": references(h5py.RegionReference),
    "strings": put(np.full(SHAPE, "42.4242", dtype=object), dtype=h5py.string_dtype()),
    "ragged": put(None, shape=SHAPE, dtype=h5py.vlen_dtype("f8")),
    "compound": put(np.zeros(SHAPE, dtype=[("re", "f8"), ("im", "f8")])),
    "empty": put(h5py.Empty("f8")),
    "scalar": put(3.0),
    "many samples": put(None, shape=(2**40, 3, 16), dtype="f8", chunks=(1, 3, 16)),
    "long rows": put(None, shape=(4, 3, 2**36), dtype="f8", chunks=(1, 1, 2**16)),
    "one chunk": put(None, shape=(4, 3, 2**31), dtype="f4", chunks=(1, 1, 2**29), compression="gzip"),
    "deep": deep,
    "wide": wide,
    "cycle": cycle,
    "committed": committed,
    "no filter": no_filter,
    "loop": loop,
    "bad name": named_badly,
    "attributes": attributes,
}


def make(folder: Path) -> dict[str, Path]:
    """The files, beside a file whose values must never be seen."""
    (folder / "in").mkdir()
    for place in (folder, folder / "in"):
        with h5py.File(place / "canary.h5", "w") as file:
            file.update({"secret": np.full(SHAPE, CANARY), "x": np.full(16, CANARY) + np.arange(16)})
    paths = {}
    for name, change in HOSTILE.items():
        paths[name] = folder / "in" / f"{name}.hdf5"
        with h5py.File(paths[name], "w") as file:
            values = np.random.default_rng(1).random(SHAPE)
            file.update({"tensor": values, "x-coordinate": np.arange(16) / 16, "t-coordinate": np.arange(4.0)})
            change(file)
    content = bytearray(paths["no filter"].read_bytes())
    place = content.index(b"deflate\0") - 8
    content[place : place + 2] = (32099).to_bytes(2, "little")
    paths["no filter"].write_bytes(content)
    return paths


class Watch:
    """Counts how often files are opened (Linux)."""

    def __init__(self, *paths: Path) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        self.descriptor = library.inotify_init1(_IN_NONBLOCK)
        for path in paths:
            library.inotify_add_watch(self.descriptor, os.fsencode(path), _IN_OPEN)

    def count(self) -> int:
        """Openings since the last call."""
        try:
            return len(os.read(self.descriptor, 65536)) // 16
        except BlockingIOError:
            return 0


def outcome(path: Path, kind: str | None) -> str:
    """What came of reading a file whole: a line of an error, "read", or "leaked"."""
    said = Overrides() if kind in (None, "sciml_cf") else Overrides(extent=(1.0,), times=(0.0, 1.0, 2.0))
    if kind == "hdf5":
        said = Overrides(target_name="tensor", extent=(1.0,), times=(0.0, 1.0, 2.0), axes="sample,time,x")
    try:
        with open_source(path, format=kind, overrides=said) as data:
            seen = [data.read_trajectory(), data.read(data.input_name), *data.header.coordinates, data.times]
        return "leaked" if any(np.isclose(np.ravel(one), CANARY).any() for one in seen) else "read"
    except (DatasetError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    except MemoryError:
        return "MemoryError"
    except Exception as error:
        return f"traceback {error!r}"


def main() -> None:
    """Read all files with all formats."""
    folder = Path(sys.argv[1])
    paths = make(folder)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    watch = Watch(folder / "canary.h5", folder / "in" / "canary.h5")
    rows: list[list[object]] = []
    for name, path in paths.items():
        for kind in FORMATS:
            watch.count()
            rows.append([name, kind, outcome(path, kind), watch.count()])
    peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]  # ru_maxrss has the parent's in it
    rows.append(["peak", None, str(int(peak) * 1024), 0])
    sys.stdout.writelines(json.dumps(row) + "\n" for row in rows)


if __name__ == "__main__":
    main()
