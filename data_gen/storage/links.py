"""The contents of an HDF5 file at every level, and the links in it to other files.

Soft links lead to places of the same file, which are walked themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import h5py


def objects_in(file: h5py.File) -> Iterable[tuple[str, h5py.Dataset | None]]:
    """All datasets with their paths, and None for each link that leads elsewhere."""
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    seen = set[Any]()
    while groups:
        parent, group = groups.pop()
        for name in group:
            path = f"{parent}{name}"
            try:
                link = group.get(name, getlink=True)
            except (TypeError, ValueError, KeyError):
                yield path, None  # a link of a kind that h5py does not know
                continue
            if isinstance(link, h5py.ExternalLink):
                yield path, None
            elif isinstance(link, h5py.HardLink):
                found = group[name]
                if isinstance(found, h5py.Dataset):
                    yield path, found
                elif isinstance(found, h5py.Group) and found not in seen:  # equal are those of one address
                    seen.add(found)
                    groups.append((f"{path}/", found))


def outside_of(file: h5py.File) -> str | None:
    """The path of the first thing that a file keeps elsewhere, fit for a message; None if there is none."""
    for path, found in objects_in(file):
        if found is None or leads_outside(file, found):
            return shown(path)
    return None


def shown(path: str) -> str:
    """A path in a file as part of a message of one line, whatever characters it has."""
    return path if path.isprintable() else repr(path)


def leads_outside(file: h5py.File, found: h5py.Dataset) -> bool:
    """Whether a dataset has its values elsewhere: in raw files, in other files, or in virtual datasets once more."""
    if found.external:
        return True
    if not found.is_virtual:
        return False
    return any(part.file_name != "." or not _is_store(file, part.dset_name) for part in found.virtual_sources())


def _is_store(file: h5py.File, name: str) -> bool:
    kind = file.get(name, getlink=True)
    found = file.get(name) if isinstance(kind, h5py.HardLink) else None
    return isinstance(found, h5py.Dataset) and not found.is_virtual
