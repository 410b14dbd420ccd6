"""Versions of the packages that a result depends on; none of them is imported for it."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("sciml-cf", "torch", "neuraloperator", "lightning-fabric", "numpy", "scipy", "h5py", "xarray")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
