"""Generate PDE datasets: spectral solvers, random fields, and one self-describing HDF5 file."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_gen.cells import CellGrid
    from data_gen.convert import convert
    from data_gen.darcy import darcy_manufactured, darcy_solve
    from data_gen.equations import Equation
    from data_gen.equations.advection import advection
    from data_gen.equations.advection_diffusion import advection_diffusion
    from data_gen.equations.allen_cahn import allen_cahn
    from data_gen.equations.allen_cahn_2d import allen_cahn_2d
    from data_gen.equations.burgers import burgers
    from data_gen.equations.burgers_2d import burgers_2d
    from data_gen.equations.darcy import darcy
    from data_gen.equations.fisher_kpp import fisher_kpp
    from data_gen.equations.gray_scott import gray_scott
    from data_gen.equations.heat import heat
    from data_gen.equations.heat_2d import heat_2d
    from data_gen.equations.kdv import kdv
    from data_gen.equations.kuramoto_sivashinsky import kuramoto_sivashinsky
    from data_gen.equations.navier_stokes import navier_stokes
    from data_gen.exact import cole_hopf
    from data_gen.formats import Facts, open_source
    from data_gen.generate import generate
    from data_gen.grid import PeriodicGrid, resample
    from data_gen.plot import plot_dataset as plot_dataset
    from data_gen.repack import repack
    from data_gen.solve import solve
    from data_gen.spec import DatasetSpec
    from data_gen.store import open_dataset
    from data_gen.truths import fisher_front, kdv_solitons, taylor_green
    from data_gen.validate import validate

#: Tells this package from another folder of the same name.
__project__ = "sciml_cf"

__all__ = [
    "CellGrid",
    "DatasetSpec",
    "Equation",
    "Facts",
    "PeriodicGrid",
    "advection",
    "advection_diffusion",
    "allen_cahn",
    "allen_cahn_2d",
    "burgers",
    "burgers_2d",
    "cole_hopf",
    "convert",
    "darcy",
    "darcy_manufactured",
    "darcy_solve",
    "fisher_front",
    "fisher_kpp",
    "generate",
    "gray_scott",
    "heat",
    "heat_2d",
    "kdv",
    "kdv_solitons",
    "kuramoto_sivashinsky",
    "navier_stokes",
    "open_dataset",
    "open_source",
    "repack",
    "resample",
    "solve",
    "taylor_green",
    "validate",
]

#: `plot_dataset` is public but not among __all__: `from data_gen import *` must not load matplotlib.
_HOME = {
    "CellGrid": "cells",
    "DatasetSpec": "spec",
    "Equation": "equations",
    "Facts": "formats",
    "PeriodicGrid": "grid",
    "advection": "equations.advection",
    "advection_diffusion": "equations.advection_diffusion",
    "allen_cahn": "equations.allen_cahn",
    "allen_cahn_2d": "equations.allen_cahn_2d",
    "burgers": "equations.burgers",
    "burgers_2d": "equations.burgers_2d",
    "cole_hopf": "exact",
    "darcy": "equations.darcy",
    "darcy_manufactured": "darcy",
    "darcy_solve": "darcy",
    "convert": "convert",
    "fisher_front": "truths",
    "fisher_kpp": "equations.fisher_kpp",
    "generate": "generate",
    "gray_scott": "equations.gray_scott",
    "heat": "equations.heat",
    "heat_2d": "equations.heat_2d",
    "kdv": "equations.kdv",
    "kdv_solitons": "truths",
    "kuramoto_sivashinsky": "equations.kuramoto_sivashinsky",
    "navier_stokes": "equations.navier_stokes",
    "open_dataset": "store",
    "plot_dataset": "plot",
    "repack": "repack",
    "open_source": "formats",
    "resample": "grid",
    "solve": "solve",
    "taylor_green": "truths",
    "validate": "validate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """This package: importing a submodule does not hide the public function of the same name (solve, generate)."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
