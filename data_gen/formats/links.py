"""Refusal of foreign HDF5 files that lead to other files: by links, external storage, or virtual datasets.

A virtual dataset may be over stored datasets of the same file, as those of the native layout are.
"""

from __future__ import annotations

import h5py

from data_gen.errors import DatasetError
from data_gen.storage.links import outside_of


def refuse_links(file: h5py.File) -> None:
    """Refuse a file that keeps anything in another file.

    Raises:
        DatasetError: it does, or its groups cannot be read.
    """
    try:
        place = outside_of(file)
    except (KeyError, RuntimeError, OSError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise DatasetError(f"open_source: {file.filename} cannot be read ({reason}). Is it damaged?") from None
    if place is not None:
        raise DatasetError(
            f"open_source: {file.filename} keeps {place} in another file, which is refused. Give --follow-links if the "
            f"other file is yours."
        )
