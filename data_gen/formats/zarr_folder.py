"""Zarr stores, opened by xarray with the package zarr: variables and dimensions as in ``netcdf``."""

from __future__ import annotations

import os
from pathlib import Path

from data_gen.errors import DatasetError
from data_gen.formats.format import Format
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Source
from data_gen.formats.xarray_fields import source_of_datasets

FORMAT = Format("zarr", (".zarr",), "Zarr with dimensions as netCDF, a folder (needs the package zarr)", order=15)

_MARKS = (".zgroup", ".zmetadata", "zarr.json", ".zattrs")


def recognizes(path: Path) -> bool:
    """Whether it is a folder with the metadata of a Zarr group."""
    return path.is_dir() and any((path / name).is_file() for name in _MARKS)


def open_file(path: Path, overrides: Overrides) -> Source:
    """The store open for reading.

    Raises:
        DatasetError: it cannot be read, has links to other places, or its variables and dimensions are not understood.
        ImportError: zarr is not installed.
    """
    if not recognizes(path):
        raise DatasetError(f"open_source: {path} is no Zarr group: a folder with {', '.join(_MARKS[:3])} is needed.")
    try:
        import zarr  # type: ignore[import-not-found]  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"open_source: {path} is Zarr, which needs the package zarr: pip install 'sciml-cf[zarr]'."
        ) from error
    if not overrides.follow_links:
        for folder, folders, files in os.walk(path):
            for name in (*folders, *files):
                if os.path.islink(os.path.join(folder, name)):
                    place = os.path.relpath(os.path.join(folder, name), path)
                    raise DatasetError(
                        f"open_source: {path} keeps {place} in another file, which is refused. Give --follow-links if "
                        f"the other file is yours."
                    )
    return source_of_datasets(path, "zarr", overrides, "Zarr")
