"""Content of a dataset file as plain facts: for a person, for JSON, and for the title of a figure."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data_gen.equation import SampleEquations
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source, recognize
from data_gen.formats.hdf5 import is_hdf5
from data_gen.formats.paths import parts_of
from data_gen.grids.periodic import spectral_tail
from data_gen.grids.positions import length_of
from data_gen.header import Header
from data_gen.sample_fields import known_solution
from data_gen.solvers.schemes import SCHEMES
from data_gen.spec import DatasetSpec
from data_gen.storage.dataset import Dataset, open_dataset
from data_gen.storage.fields import SPLIT, FieldReader
from data_gen.storage.hdf5_layout import METHODS

Truth = Literal["exact", "known", "self-convergence"]
#: Samples whose spectra are computed, spread over the file.
SPECTRA_OF = 4


def dataset_facts(path: str | Path, *, overrides: Overrides | None = None) -> dict[str, Any]:
    """Content and origin of a file as plain values fit for JSON; reads its header and a few samples.

    Args:
        path: a dataset file, or one of another format.
        overrides: metadata that a file of another format lacks or has wrong.

    Returns:
        A dictionary with the keys file, native, bytes, equation, samples, kind, axes, uneven, boundary, table, split,
        fields, initial, method, truth, tail, seed, blocks, versions, config_hash, checksum and source; None where a
        fact is unknown.

    Raises:
        DatasetError: the file is missing, unreadable, unfinished, or of another layout.
    """
    with _opened(path, overrides) as data:
        header, spec, attributes = data.header, getattr(data, "spec", None), getattr(data, "attributes", {})
        lengths = map(length_of, header.shape, header.extents, header.placements)
        parts = zip(header.axes, header.shape, lengths, header.offsets or (), header.coordinates, strict=True)
        return {
            "file": str(data.path),
            "native": isinstance(data, Dataset),
            **_storage_of(path, data),
            "equation": {
                "name": header.name,
                "formula": header.formula,
                "parameters": {**header.parameters, **_fields_of(spec)},
            },
            "samples": header.num_samples,
            "kind": dataset_kind(data),
            "axes": [
                {"name": name, "points": points, "extent": length, "first": first, "last": float(x[-1])}
                for name, points, length, first, x in parts
            ],
            "uneven": _uneven(header),
            "boundary": header.boundary if header.boundaries is None else ", ".join(header.boundaries),
            "table": {name: _summary_of(values) for name, values in data.table.items() if name != SPLIT},
            "split": {name: len(rows) for name, rows in data.splits.items()},
            "fields": [_field_facts(data, name) for name in (header.input_name, header.target_name)],
            "times": list(header.times),
            **_origin_of(spec, attributes),
            "truth": truth_kind(data),
            "tail": _tails(data),
            "blocks": {
                "samples": header.block_samples,
                "count": -(-header.num_samples // header.block_samples),
            },
            "versions": json.loads(attributes.get("versions", "{}")),
            "config_hash": attributes.get("config_hash"),
            "checksum": data.checksum,
            "source": "generated" if spec is not None else attributes.get("source", "unknown"),
        }


def _storage_of(path: str | Path, data: FieldReader) -> dict[str, int]:
    """Bytes and shards of a file; of one of another format the bytes of all files that the path names."""
    if isinstance(data, Dataset):
        return {"bytes": data.num_bytes, "shards": len(data.shards)}
    return {"bytes": _size_of(path), "shards": 0}


def _origin_of(spec: DatasetSpec | None, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Where generated samples come from; None of others."""
    if spec is None:
        return {"initial": None, "method": None, "seed": None}
    initial = {"name": spec.initial_condition, "parameters": dict(spec.initial_parameters)}
    return {"initial": initial, "method": _method_facts(spec, attributes), "seed": spec.seed}


def _fields_of(spec: DatasetSpec | None) -> dict[str, str]:
    """The parameters that are fields, with their files."""
    return {} if spec is None else {file.name: str(file) for file in spec.field_files}


def _opened(path: str | Path, overrides: Overrides | None) -> FieldReader:
    """The file open for reading: a native one, whose errors are kept as they are, or one of another format."""
    said = overrides is not None and overrides != Overrides()
    given = Path(path)
    if not said and (not given.exists() or (given.is_file() and _is_ours(given))):
        return open_dataset(given)
    return open_source(path, overrides=overrides)


def _is_ours(path: Path) -> bool:
    """Whether a file is of the native layout, or HDF5 that no other format can be."""
    try:
        return recognize(path).name in ("sciml_cf", "hdf5")
    except DatasetError:
        return is_hdf5(path)


def _size_of(path: str | Path) -> int:
    """Bytes of the files that a path names."""
    files = [one for part in parts_of(path) for one in ([part] if part.is_file() else part.rglob("*"))]
    return sum(one.stat().st_size for one in files if one.is_file())


def facts_text(facts: dict[str, Any]) -> str:
    """The facts of ``dataset_facts`` in aligned lines for a terminal."""
    law, blocks = facts["equation"], facts["blocks"]
    rows: dict[str, object] = {
        "file": f"{facts['file']} ({facts['bytes'] / 1e6:.1f} MB)",
        "equation": ": ".join(word for word in dict.fromkeys((law["name"], law["formula"])) if word),
        "parameters": _assignments(law["parameters"]) or "none",
        **{" " * i if i else "by sample": text for i, text in enumerate(_table_text(facts["table"]))},
        "split": ", ".join(f"{name} {count}" for name, count in facts["split"].items()) or None,
        "samples": f"{facts['samples']}, {facts['kind']}",
        "grid": _grid_text(facts),
        "axes": ", ".join(facts["uneven"].get(axis["name"]) or _interval(axis) for axis in facts["axes"]),
        "times": listed_times(facts["times"]),
        **{entry["role"]: _field_text(entry) for entry in facts["fields"]},
        "initial": _initial_text(facts["initial"]),
        "method": _method_text(facts["method"]),
        "to check": _check_text(facts),
        "tail": _tail_text(facts["tail"]),
        "seed": facts["seed"],
        "blocks": f"{blocks['count']} of up to {blocks['samples']} samples, each with a CRC-32 a field"
        if facts["native"]
        else None,
        "shards": f"{facts['shards']} files in its folder" if facts["shards"] else None,
        "versions": _assignments(facts["versions"]) or None,
        "source": facts["source"],
        "checksum": facts["checksum"],
    }
    return "\n".join(f"{key:<11} {value}" for key, value in rows.items() if value is not None)


def _uneven(header: Header) -> dict[str, str]:
    """The axes that are not equally spaced or that fall, in words."""
    axes = zip(header.axes, header.points or (), strict=False)
    return {n: f"{n} from {p[0]:.6g} to {p[-1]:.6g}, with coordinates of its own" for n, p in axes if p is not None}


def _summary_of(values: np.ndarray) -> dict[str, float | int | None]:
    """Smallest and largest value of a parameter, how many values it has, and of how many samples it is missing."""
    known = values[np.isfinite(values)]
    least, most = (float(known.min()), float(known.max())) if known.size else (None, None)
    return {"min": least, "max": most, "values": len(np.unique(known)), "missing": len(values) - len(known)}


def _table_text(table: dict[str, dict[str, Any]]) -> list[str]:
    """One line for each parameter that differs from sample to sample."""
    lines = []
    for name, one in table.items():
        if one["min"] is None:
            lines.append(f"{name} is missing")
            continue
        missing = f", missing in {one['missing']} samples" if one["missing"] else ""
        lines.append(f"{name} from {one['min']:g} to {one['max']:g}, {one['values']} values{missing}")
    return lines


def _grid_text(facts: dict[str, Any]) -> str:
    size = " x ".join(str(axis["points"]) for axis in facts["axes"])
    lengths = " x ".join(f"{axis['extent']:.6g}" for axis in facts["axes"])
    return f"{size} points on {lengths}, {facts['boundary']}"


def _field_text(entry: dict[str, Any]) -> str:
    stored = "" if entry["stored"] else ", a view of the target's start"
    axes = ", ".join(f"{name} {count}" for name, count in entry["dims"].items())
    return f"{entry['name']} ({', '.join(entry['channels'])}): {axes}; {entry['dtype']}{stored}"


def _initial_text(initial: dict[str, Any] | None) -> str | None:
    return None if initial is None else " ".join([initial["name"], _assignments(initial["parameters"])])


def _method_text(method: dict[str, Any] | None) -> str | None:
    return None if method is None else f"{method['name']}, {method['error']}"


def _tail_text(tail: dict[str, Any] | None) -> str | None:
    if tail is None:
        return None
    shares = ", ".join(f"{name} {share:.1e}" for name, share in tail["share"].items())
    return f"{shares} of max |u| in the top eighth of the modes, most of {tail['samples']} samples"


def dataset_kind(data: FieldReader) -> str:
    """Kind of a dataset: "steady", "pairs" or "trajectories"."""
    return "steady" if data.header.steady else "trajectories" if data.header.trajectories else "pairs"


def truth_kind(data: FieldReader) -> Truth | None:
    """How samples can be checked: against the equation's exact solution, against the known solution for where they
    start, by solving them again, or not at all where the law is not known.
    """
    law, spec = data.equations(slice(0, 1)), getattr(data, "spec", None)
    if law is None:
        return None
    equation = law[0] if isinstance(law, SampleEquations) else law
    if equation.exact is not None:
        return "exact"
    if spec is not None and spec.initial_condition in equation.known:
        with contextlib.suppress(ValueError):  # not on this box, or not for so long
            known_solution(spec, np.array([0]), data.times[-1])
            return "known"
    return "self-convergence"


def spread_rows(num_samples: int, count: int) -> list[int]:
    """Up to ``count`` samples spread evenly over a file, the first and the last among them."""
    return sorted(set(np.linspace(0, num_samples - 1, min(count, num_samples)).round().astype(int).tolist()))


def listed_times(times: list[float] | tuple[float, ...]) -> str:
    """The times in words; of many the first few and the last."""
    shown = [f"{time:g}" for time in times]
    if len(shown) > 12:
        shown = [*shown[:3], "...", f"{shown[-1]} ({len(times)} times)"]
    return ", ".join(shown)


_TRUTHS = {
    "exact": "validate --truth compares every sample with an exact solution",
    "known": "validate --truth compares every sample with the known solution for its initial condition",
    "self-convergence": "validate --truth solves a few samples again, more accurately",
    None: "the law is not known, so there is no truth",
}


def _check_text(facts: dict[str, Any]) -> str:
    """How the file can be compared with the truth."""
    check = _TRUTHS[facts["truth"]]
    return check if facts["native"] or facts["truth"] is None else f"convert it to .h5; then {check}"


def _field_facts(data: FieldReader, name: str) -> dict[str, Any]:
    header = data.header
    given = name == header.input_name
    shape = header.stored_shapes.get(name, header.stored_shapes[header.target_name][1:])
    axes = [axis for axis in header.stored_axes(name) if axis != "time" or not given]
    return {
        "name": name,
        "role": "input" if given else "target",
        "channels": list(header.inputs if given else header.channels),
        "dims": dict(zip(axes, (header.num_samples, *shape), strict=True)),
        "dtype": header.dtype,
        "stored": name in header.stored_shapes,
    }


def _method_facts(spec: DatasetSpec, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The way of solving, and its error as far as it is known: the tolerance binds only where time is stepped."""
    linear = spec.make_equation().nonlinear is None
    stepped = spec.method in SCHEMES and not linear
    if stepped:
        error = f"tolerance {spec.tolerance:g} relative to max |u|"
    elif spec.method in SCHEMES:
        error = "a linear law, exact in time mode by mode"
    else:
        error = "no time stepping"
    others: dict[str, str] = json.loads(attributes.get(METHODS, "{}"))
    if others:
        error += "".join(f"; {method} in block {block}" for block, method in others.items())
    return {"name": spec.method, "tolerance": spec.tolerance if stepped else None, "error": error}


def error_of_data(data: FieldReader) -> float | None:
    """The relative error that the targets may have by themselves: of time stepping or of rounding, the larger one.

    Args:
        data: open for reading.

    Returns:
        None where it is not known, for a file of another package, or a law without time, whose grid decides.
    """
    spec = getattr(data, "spec", None)
    if spec is None or data.header.steady:
        return None
    stepped = spec.method in SCHEMES and spec.make_equation().nonlinear is not None
    return max(float(np.finfo(data.header.dtype).eps) / 2, spec.tolerance if stepped else 0.0)


def _tails(data: FieldReader) -> dict[str, Any] | None:
    """The largest share in the top eighth of the modes of a few samples, of periodic fields on equal axes."""
    dims = data.header.num_dims
    even = data.header.boundary == "periodic" and data.header.evenly_spaced
    if dims > 2 or not even or len(set(data.header.shape)) > 1:
        return None
    rows = np.array(spread_rows(data.num_samples, SPECTRA_OF))
    share = {}
    for name in (data.input_name, data.target_name):
        found = [spectral_tail(data.read(name, np.array([row])), dims) for row in rows]
        share[name] = float(np.max(found))
    finite = all(np.isfinite(value) for value in share.values())
    return {"samples": len(rows), "share": share} if finite else None


def _assignments(values: dict[str, Any]) -> str:
    words = (f"{k} = {v:g}" if isinstance(v, float) else f"{k} = {v}" for k, v in values.items())
    return ", ".join(words)


def _interval(axis: dict[str, Any]) -> str:
    step = (axis["last"] - axis["first"]) / (axis["points"] - 1)
    return f"{axis['name']} from {axis['first']:.6g} to {axis['last']:.6g} in steps of {step:.4g}"
