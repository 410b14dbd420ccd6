"""The dataset file: one HDF5 layout that xarray, PDEBench, The Well and plain h5py read. The only user of h5py here."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from importlib import metadata
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import h5py
import numpy as np

from data_gen.equations import Equation
from data_gen.errors import DatasetError
from data_gen.grid import PeriodicGrid
from data_gen.journal import BLOCK, FileMap, partial_path
from data_gen.spec import DatasetSpec

LAYOUT = "sciml_cf dataset"
LAYOUT_VERSION = 1
INPUT, TARGET = "a", "u"
#: Value of a checksum whose block has not been written.
UNWRITTEN = -1


def create_file(path: Path, spec: DatasetSpec) -> FileMap:
    """Create a file of full size with everything but the fields and their checksums, which are written in place later.

    Fields are contiguous, allocated early and never filled, and no object carries a time, so that one description
    gives one sequence of bytes.
    """
    equation, grid = spec.make_equation(), spec.grid
    with h5py.File(path, "w") as file:
        _write_attributes(file, spec, equation)
        scales = {
            "sample": (np.arange(spec.samples), "sample index"),
            "time": (np.array([0.0, *(spec.times or ())]), "time"),
            "x": (grid.points, "position"),
        }
        for name, (values, long_name) in scales.items():
            scale = file.create_dataset(name, data=values)
            scale.make_scale(name)
            scale.attrs.update(units="1", long_name=long_name)
        shape = (spec.samples, spec.resolution)
        labels = {INPUT: "initial condition", TARGET: f"solution at t = {(spec.times or (0,))[-1]:g}"}
        for name in (INPUT, TARGET):
            _create_field(file, name, shape, spec.dtype, labels[name])
        _write_other_views(file, spec, shape)
        integrity = file.create_group("integrity")
        block = integrity.create_dataset("block", data=np.arange(-(-spec.samples // BLOCK)))
        block.make_scale("block")
        for name in (INPUT, TARGET):
            data = integrity.create_dataset(name, data=np.full(block.shape, UNWRITTEN, dtype=np.int64))
            data.attrs["long_name"] = f"CRC-32 of each {BLOCK} samples of {name}"
            data.dims[0].attach_scale(block)
    return read_map(path)


def _write_attributes(file: h5py.File, spec: DatasetSpec, equation: Equation) -> None:
    file.attrs.update(
        layout=LAYOUT,
        layout_version=LAYOUT_VERSION,
        title=f"{spec.equation}: {spec.samples} samples on {spec.resolution} points",
        equation=equation.formula,
        spec=spec.to_json(),
        config_hash=spec.config_hash,
        scheme=spec.method,
        tolerance=spec.tolerance,
        seed=spec.seed,
        initial_condition=str(spec.initial_condition),
        extent=spec.grid.extent,
        input=INPUT,
        target=TARGET,
        versions=json.dumps(_versions(), sort_keys=True),
        dataset_name=spec.equation,
        grid_type="cartesian",
        n_spatial_dims=1,
        n_trajectories=spec.samples,
    )
    file.attrs["simulation_parameters"] = np.array(list(spec.parameters), dtype=h5py.string_dtype())
    for name, value in spec.parameters.items():
        file.attrs[name] = value
    if "viscosity" in spec.parameters:
        file.attrs["Nu"] = spec.parameters["viscosity"] * math.pi  # PDEBench solves with viscosity Nu / pi


def _versions() -> dict[str, str]:
    found = {}
    for package in ("sciml_cf", "numpy", "scipy", "h5py"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _create_field(file: h5py.File, name: str, shape: tuple[int, int], dtype: str, long_name: str) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_layout(h5py.h5d.CONTIGUOUS)
    settings.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    settings.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    settings.set_obj_track_times(False)
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create_simple(shape), settings)
    field = _dataset(file, name)
    field.attrs.update(units="1", long_name=long_name)
    field.dims[0].attach_scale(_dataset(file, "sample"))
    field.dims[1].attach_scale(_dataset(file, "x"))


def _create_tensor(file: h5py.File, dtype: str, shape: tuple[int, int]) -> h5py.Dataset:
    """(sample, time, x): a virtual dataset over both fields. By the low-level calls, as it must not carry a time."""
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_obj_track_times(False)
    space = h5py.h5s.create_simple((shape[0], 2, shape[1]))
    source = h5py.h5s.create_simple(shape)
    for i, name in enumerate((INPUT, TARGET)):
        space.select_hyperslab((0, i, 0), (shape[0], 1, shape[1]))
        settings.set_virtual(space, b".", name.encode(), source)
    space.select_all()
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    h5py.h5d.create(file.id, b"tensor", kind, space, settings)
    return _dataset(file, "tensor")


def _write_other_views(file: h5py.File, spec: DatasetSpec, shape: tuple[int, int]) -> None:
    """What PDEBench and The Well look for: a virtual tensor over the fields, links, and small copies."""
    tensor = _create_tensor(file, spec.dtype, shape)
    for i, name in enumerate(("sample", "time", "x")):
        tensor.dims[i].attach_scale(_dataset(file, name))
    tensor.attrs.update(units="1", long_name="u at both times, a view of a and u")
    tensor.attrs.update(dim_varying=np.array([True]), sample_varying=True, time_varying=True)
    for name, scale in (("x-coordinate", "x"), ("t-coordinate", "time")):
        copy = file.create_dataset(name, data=_dataset(file, scale)[()])
        copy.dims[0].attach_scale(_dataset(file, scale))
    empty = np.array([], dtype=h5py.string_dtype())
    for rank in range(3):
        names = np.array(["u"], dtype=h5py.string_dtype()) if rank == 0 else empty
        file.create_group(f"t{rank}_fields").attrs["field_names"] = names
    file["t0_fields/u"] = tensor
    file.create_group("scalars").attrs["field_names"] = empty
    dimensions = file.create_group("dimensions")
    dimensions.attrs["spatial_dims"] = np.array(["x"], dtype=h5py.string_dtype())
    for name in ("time", "x"):
        dimensions[name] = _dataset(file, name)
        _dataset(file, name).attrs.update(sample_varying=False, time_varying=name == "time")
    walls = file.create_group("boundary_conditions").create_group("x_periodic")
    walls.attrs.update(bc_type="PERIODIC", sample_varying=False, time_varying=False)
    walls.attrs["associated_dims"] = np.array(["x"], dtype=h5py.string_dtype())
    walls.attrs["associated_fields"] = empty
    mask = np.zeros(shape[1], dtype=bool)
    mask[[0, -1]] = True
    walls.create_dataset("mask", data=mask).dims[0].attach_scale(_dataset(file, "x"))


def _dataset(file: h5py.File, name: str) -> h5py.Dataset:
    """A dataset of the file, by name."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DatasetError(f"open_dataset: {file.filename} has no dataset {name}; it is damaged or of another layout.")
    return found


def read_map(path: Path) -> FileMap:
    """Where the blocks of a file of ours lie."""
    with h5py.File(path, "r") as file:
        data = [
            _dataset(file, INPUT),
            _dataset(file, TARGET),
            _dataset(file, f"integrity/{INPUT}"),
            _dataset(file, f"integrity/{TARGET}"),
        ]
        offsets = [d.id.get_offset() for d in data]
        if None in offsets:
            raise DatasetError(f"read_map: {path} has fields that are not contiguous; it cannot be written in place.")
        rows, points = data[0].shape
        return FileMap(rows, points, data[0].dtype.name, (offsets[0], offsets[1]), (offsets[2], offsets[3]))


def open_dataset(path: str | Path) -> Dataset:
    """Open a dataset file for reading; use it in a ``with`` statement.

    Raises:
        DatasetError: the file is missing, a folder, not HDF5, truncated, unfinished, or of another layout.
    """
    return Dataset(path)


class Dataset:
    """A dataset file open for reading."""

    input_name = INPUT
    target_name = TARGET

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = _open_file(self.path)
        try:
            self._read_header()
        except DatasetError:
            self.close()
            raise
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self.close()
            raise DatasetError(f"open_dataset: {self.path} has a damaged header ({error}).") from None

    def _read_header(self) -> None:
        attributes: dict[str, Any] = dict(self._file.attrs)
        if attributes.get("layout") != LAYOUT:
            raise DatasetError(
                f"open_dataset: {self.path} is HDF5 but not a dataset of this layout (no attribute layout = "
                f"{LAYOUT!r}). Convert it, or point to a file made by generate."
            )
        if int(attributes["layout_version"]) > LAYOUT_VERSION:
            raise DatasetError(
                f"open_dataset: {self.path} has layout version {attributes['layout_version']}, newer than "
                f"{LAYOUT_VERSION}. Update sciml_cf."
            )
        self.spec = DatasetSpec.from_dict(json.loads(attributes["spec"]))
        if attributes["config_hash"] != self.spec.config_hash:
            raise DatasetError(f"open_dataset: {self.path} has a description that does not match its hash.")
        self.num_samples, self.resolution = self.spec.samples, self.spec.resolution
        for name in (INPUT, TARGET):
            field = _dataset(self._file, name)
            if field.shape != (self.num_samples, self.resolution) or field.dtype != self.spec.dtype:
                raise DatasetError(f"open_dataset: {self.path} has {name} of shape {field.shape}, not as described.")
            if field.is_virtual or field.external:
                raise DatasetError(f"open_dataset: {self.path} keeps {name} in another file, which is refused.")
        if any((self.block_checksums(name) == UNWRITTEN).any() for name in (INPUT, TARGET)):
            raise DatasetError(
                f"open_dataset: {self.path} is incomplete: generation was interrupted. Resume it (--resume)."
            )

    @property
    def grid(self) -> PeriodicGrid:
        """The grid of the fields."""
        return self.spec.grid

    @property
    def times(self) -> tuple[float, ...]:
        """Times of the stored fields: 0 and the output times."""
        return tuple(float(t) for t in _dataset(self._file, "time")[()])

    @property
    def equation(self) -> Equation:
        """The equation that the target solves."""
        return self.spec.make_equation()

    @property
    def parameters(self) -> dict[str, float]:
        """The equation's parameters."""
        return dict(self.spec.parameters)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the stored fields."""
        return np.dtype(self.spec.dtype)

    @property
    def attributes(self) -> dict[str, Any]:
        """All root attributes, as plain values."""
        return {k: v.tolist() if hasattr(v, "tolist") else v for k, v in self._file.attrs.items()}

    @property
    def checksum(self) -> str:
        """SHA-256 over the block checksums of both fields: equal for equal stored bytes."""
        tables = [self.block_checksums(name).astype("<i8").tobytes() for name in (INPUT, TARGET)]
        return hashlib.sha256(b"".join(tables)).hexdigest()

    def block_checksums(self, name: str) -> np.ndarray:
        """(blocks,), the stored CRC-32 of each block of a field."""
        return _dataset(self._file, f"integrity/{name}")[()]

    def read(self, name: str, rows: slice | np.ndarray | None = None, stride: int = 1) -> np.ndarray:
        """Fields, at every ``stride``-th point.

        Args:
            name: "a" or "u".
            rows: a slice, increasing indices, or None for all.
            stride: divides the resolution.
        Returns:
            (rows, channels, resolution // stride), of the stored dtype.
        Raises:
            ValueError: unknown name, rows that do not increase or do not exist, a stride that does not divide.
            DatasetError: the file cannot be read.
        """
        if name not in (INPUT, TARGET):
            raise ValueError(f"read: `name` must be {INPUT!r} or {TARGET!r}; got {name!r}.")
        if isinstance(stride, bool) or not hasattr(stride, "__index__") or stride < 1 or self.resolution % stride:
            raise ValueError(f"read: `stride` must divide the resolution {self.resolution}; got {stride!r}.")
        wanted = self._row_indices(rows)
        result = np.empty((len(wanted), 1, self.resolution // stride), dtype=self.dtype)
        field, done = _dataset(self._file, name), 0
        while done < len(wanted):
            first = int(wanted[done])
            count = int(np.searchsorted(wanted[done:], first + BLOCK))
            picked = wanted[done : done + count] - first
            try:
                block = field[first : first + int(picked[-1]) + 1]
            except OSError as error:
                raise DatasetError(f"read: {self.path} cannot be read ({error}). Is it damaged?") from None
            result[done : done + count, 0] = block[picked, ::stride]
            done += count
        return result

    def _row_indices(self, rows: slice | np.ndarray | None) -> np.ndarray:
        if rows is None or isinstance(rows, slice):
            indices = np.arange(self.num_samples)[rows if rows is not None else slice(None)]
        else:
            indices = np.asarray(rows)
            if indices.ndim != 1 or (indices.size and indices.dtype.kind not in "iu"):
                raise ValueError(f"read: `rows` must be a slice or one axis of integers; got {indices.dtype} array.")
            indices = indices.astype(np.int64)
        if indices.size and (indices.min() < 0 or indices.max() >= self.num_samples or (np.diff(indices) <= 0).any()):
            raise ValueError(f"read: `rows` must increase and lie in 0..{self.num_samples - 1}; got {rows!r}.")
        return indices

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_file(path: Path) -> h5py.File:
    if path.is_dir():
        raise DatasetError(f"open_dataset: {path} is a folder. Give the dataset file itself.")
    if not path.exists():
        unfinished = partial_path(path).exists()
        hint = "An unfinished one is there: resume it (--resume)." if unfinished else "Check the path, or generate it."
        raise DatasetError(f"open_dataset: {path} does not exist. {hint}")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = str(error)
    if "truncated" in text:
        raise DatasetError(f"open_dataset: {path} is truncated: it is shorter than its header says. Copy it again.")
    if "signature" in text:
        raise DatasetError(f"open_dataset: {path} is not an HDF5 file.")
    raise DatasetError(f"open_dataset: {path} cannot be opened: {text}.")
