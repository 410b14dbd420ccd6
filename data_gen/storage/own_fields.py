"""Fields of one's own in a .npy or HDF5 file, as the start of samples."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from data_gen.errors import DatasetError
from data_gen.grids.cells import CellGrid
from data_gen.grids.periodic import PeriodicGrid, resample
from data_gen.random_fields.own import file_checksum


def read_own(path: str, field: str, sha256: str, indices: np.ndarray) -> np.ndarray:
    """Rows of the fields of a file, float64: sample i has row i, and after the last row the first one again.

    Raises:
        DatasetError: the file is missing, unreadable or another one than the checksum says, or it has no such field.
    """
    if not Path(path).is_file():
        raise DatasetError(f"generate: {path}, which the samples start from, does not exist. Put it back, or another.")
    if file_checksum(path) != sha256:
        raise DatasetError(f"generate: {path} is not the file that the description names: its checksum differs.")
    try:
        if path.endswith(".npy"):
            return _rows(np.load(path, mmap_mode="r", allow_pickle=False), path, indices)
        with h5py.File(path, "r") as file:
            return _rows(_field_of(file, field, path), path, indices)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"generate: {path} cannot be read as initial fields ({reason}).") from None


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


def _rows(values: np.ndarray | h5py.Dataset, path: str, indices: np.ndarray) -> np.ndarray:
    if values.ndim < 2 or not len(values) or values.dtype.kind not in "fiu":
        raise DatasetError(
            f"generate: {path} must have real numbers with an axis of samples first; got {values.dtype} of shape "
            f"{values.shape}."
        )
    wanted = indices % len(values)
    rows, places = np.unique(wanted, return_inverse=True)
    return np.asarray(values[rows], dtype=np.float64)[places]


def fitted(u: np.ndarray, grid: PeriodicGrid | CellGrid, channels: int, path: str) -> np.ndarray:
    """Fields (B, *M) or (B, C, *M) on a grid, (B, C, *N): by Fourier interpolation if they are periodic.

    Values of cells are repeated where the grid has a multiple of as many.

    Raises:
        DatasetError: their shape or values are unusable.
    """
    dims = grid.num_dims
    if channels == 1 and u.ndim == dims + 1:
        u = u[:, None]
    if u.ndim != dims + 2 or u.shape[1] != channels or len(set(u.shape[2:])) > 1:
        wanted = ", ".join([*([str(channels)] if channels > 1 else []), *["n"] * dims])
        raise DatasetError(f"generate: {path} must have shape (samples, {wanted}); got {(None, *u.shape[1:])}.")
    if not np.isfinite(u).all():
        raise DatasetError(f"generate: {path} must have finite values; got NaN or infinity.")
    points = u.shape[-1]
    if isinstance(grid, PeriodicGrid):
        return resample(u, grid.num_points, dims)
    if grid.num_points % points:
        raise DatasetError(
            f"generate: {path} must have cells whose number divides {grid.num_points} along each axis; got {points}."
        )
    for axis in range(2, 2 + dims):
        u = np.repeat(u, grid.num_points // points, axis=axis)
    return u


def resampling_error(u: np.ndarray, num_points: int, num_dims: int) -> float:
    """Largest change of fields that are taken to another number of points and back, of their maximum."""
    back = resample(resample(u, num_points, num_dims), u.shape[-1], num_dims)
    return float(np.abs(back - u).max() / max(float(np.abs(u).max()), 1e-300))
