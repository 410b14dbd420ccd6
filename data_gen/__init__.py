"""Generation of PDE datasets: spectral solvers, random fields, and one self-describing HDF5 file.

The public names are those of ``__init__.pyi``; each is imported when it is first used.
"""

from __future__ import annotations

from typing import Any

import lazy_loader

#: Distinguishes this package from another folder of the same name.
__project__ = "sciml_cf"

_public, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__.remove("plot_dataset")  # public, but `from data_gen import *` must not load matplotlib


def __getattr__(name: str) -> Any:
    return _public("Overrides" if name == "Facts" else name)  # Facts is its name of version 0.1
