"""User-supplied fields in a .npy or HDF5 file: the start of samples, or a parameter of their law."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.errors import DatasetError
from data_gen.grids.cells import CellGrid, NodeGrid
from data_gen.grids.periodic import PeriodicGrid, resample
from data_gen.random_fields.own import FILE, FieldFile, file_checksum
from data_gen.spec import DatasetSpec

logger = logging.getLogger(__name__)

#: Fields of a file whose resampling is checked before anything is written.
RESAMPLED = 64


def read_own(
    path: str, field: str, sha256: str, indices: np.ndarray, *, num_dims: int = 0, role: str = "the samples start from"
) -> np.ndarray:
    """Rows of the fields of a file, float64: sample i has row i, and after the last row the first one again.

    Args:
        path: the file.
        field: its field.
        sha256: its checksum.
        indices: numbers of samples.
        num_dims: a field of so many axes is one for all samples; 0 if each must have its own.
        role: of the fields, for messages.

    Raises:
        DatasetError: the file is missing, unreadable or another one than the checksum says, or it has no such field.
    """
    if not Path(path).is_file():
        raise DatasetError(f"generate: {path}, which {role}, does not exist. Put it back, or another.")
    if file_checksum(path) != sha256:
        raise DatasetError(f"generate: {path} is not the file that the description names: its checksum differs.")
    try:
        if path.endswith(".npy"):
            return _rows(np.load(path, mmap_mode="r", allow_pickle=False), path, indices, num_dims)
        with h5py.File(path, "r") as file:
            return _rows(_field_of(file, field, path), path, indices, num_dims)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"generate: {path} cannot be read as fields ({reason}).") from None


def _field_of(file: h5py.File, field: str, path: str) -> h5py.Dataset:
    found: dict[str, h5py.Dataset] = {}
    file.visititems(lambda name, item: found.update({name: item}) if _is_field(item) else None)
    if field in found:
        return found[field]
    if not field and len(found) == 1:
        return next(iter(found.values()))
    raise DatasetError(f"generate: {path} must be followed by :NAME, one of its fields: {', '.join(found) or 'none'}.")


def _is_field(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and item.dtype.kind in "fiu" and len(item.shape) > 1


def read_parameter(spec: DatasetSpec, file: FieldFile, index: int) -> np.ndarray:
    """``(*N)``, the field of a sample on the data's grid."""
    return fitted(_given(spec, file, np.array([index])), spec.grid, 1, file.path)[0, 0]


def _given(spec: DatasetSpec, file: FieldFile, indices: np.ndarray) -> np.ndarray:
    """``(B, *M)``, the fields of some samples as the file has them."""
    dims, role = spec.header.num_dims, f"the samples have as `{file.name}`"
    rows = read_own(file.path, file.field, file.sha256, indices, num_dims=dims, role=role)
    return rows[:, 0] if rows.ndim == dims + 2 and rows.shape[1] == 1 else rows


def equations_of(spec: DatasetSpec, indices: np.ndarray) -> Equation | SampleEquations:
    """The equation of some samples, with the parameters that are fields of files."""
    return spec.equations(indices, partial(read_parameter, spec))


def report_resampling(spec: DatasetSpec) -> None:
    """Say by how much fields of files change where they are taken to another periodic grid; refuse unusable ones."""
    indices = np.arange(min(spec.samples, RESAMPLED))
    given = [(file.path, _given(spec, file, indices), 1) for file in spec.field_files]
    if spec.initial_condition == FILE:
        start = read_own(**spec.initial_parameters, indices=indices)
        given.append((spec.initial_parameters["path"], start, len(spec.header.inputs)))
    for path, u, channels in given:
        fitted(u, spec.grid, channels, path)
        own, shape = u.shape[u.ndim - spec.num_dims :], spec.grid.shape
        if isinstance(spec.grid, PeriodicGrid) and own != shape:
            logger.warning(
                "generate: %s has %s points an axis; taking its fields to %s changes them by %.1e of their maximum.",
                path,
                _in_words(own),
                _in_words(shape),
                resampling_error(u, shape, spec.num_dims),
            )


def _in_words(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape if len(set(shape)) > 1 else shape[:1]))


def _rows(values: np.ndarray | h5py.Dataset, path: str, indices: np.ndarray, num_dims: int) -> np.ndarray:
    if values.ndim == num_dims and values.dtype.kind in "fiu":
        return np.broadcast_to(np.asarray(values[()], dtype=np.float64), (len(indices), *values.shape))
    if values.ndim < 2 or not len(values) or values.dtype.kind not in "fiu":
        raise DatasetError(
            f"generate: {path} must have real numbers with an axis of samples first; got {values.dtype} of shape "
            f"{values.shape}."
        )
    wanted = indices % len(values)
    rows, places = np.unique(wanted, return_inverse=True)
    return np.asarray(values[rows], dtype=np.float64)[places]


def fitted(u: np.ndarray, grid: PeriodicGrid | CellGrid | NodeGrid, channels: int, path: str) -> np.ndarray:
    """Fields ``(B, *M)`` or ``(B, C, *M)`` on a grid, ``(B, C, *N)``: by Fourier interpolation if they are periodic.

    Values of cells are repeated where the grid has a multiple of as many; of nodes, every k-th one is taken.

    Raises:
        DatasetError: their shape or values are unusable.
    """
    dims = grid.num_dims
    if channels == 1 and u.ndim == dims + 1:
        u = u[:, None]
    if u.ndim != dims + 2 or u.shape[1] != channels or (grid.alike and len(set(u.shape[2:])) > 1):
        wanted = ", ".join([*([str(channels)] if channels > 1 else []), *["n"] * dims])
        raise DatasetError(f"generate: {path} must have shape (samples, {wanted}); got samples of {u.shape[1:]}.")
    if not np.isfinite(u).all():
        raise DatasetError(f"generate: {path} must have finite values; got NaN or infinity.")
    if isinstance(grid, PeriodicGrid):
        return resample(u, grid.shape, dims)
    for axis, points in enumerate(grid.shape, 2):
        u = _on_walls(u, points, axis, path, nodes=isinstance(grid, NodeGrid))
    return u


def _on_walls(u: np.ndarray, points: int, axis: int, path: str, *, nodes: bool) -> np.ndarray:
    """Values repeated on cells, or every k-th one of nodes, along one axis."""
    own = u.shape[axis]
    if nodes:
        if own < 2 or (own - 1) % (points - 1):
            raise DatasetError(
                f"generate: {path} must have {points} nodes along each axis, or a multiple of {points - 1} plus 1; got "
                f"{own}."
            )
        return u[(slice(None),) * axis + (slice(None, None, (own - 1) // (points - 1)),)]
    if points % own:
        raise DatasetError(
            f"generate: {path} must have cells whose number divides {points} along each axis; got {own}."
        )
    return np.repeat(u, points // own, axis=axis)


def resampling_error(u: np.ndarray, num_points: int | tuple[int, ...], num_dims: int) -> float:
    """Largest change of fields that are taken to another number of points and back, of their maximum."""
    shape = u.shape[u.ndim - num_dims :]
    back = resample(resample(u, num_points, num_dims), shape, num_dims)
    return float(np.abs(back - u).max() / max(float(np.abs(u).max()), 1e-300))
