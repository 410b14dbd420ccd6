"""Generate PDE datasets: spectral solvers, random fields, and one self-describing HDF5 file."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data_gen.convert import convert
    from data_gen.equations import Equation
    from data_gen.equations.advection import advection
    from data_gen.equations.advection_diffusion import advection_diffusion
    from data_gen.equations.allen_cahn import allen_cahn
    from data_gen.equations.burgers import burgers
    from data_gen.equations.fisher_kpp import fisher_kpp
    from data_gen.equations.heat import heat
    from data_gen.equations.kdv import kdv
    from data_gen.equations.kuramoto_sivashinsky import kuramoto_sivashinsky
    from data_gen.exact import cole_hopf
    from data_gen.formats import Facts, open_source
    from data_gen.generate import generate
    from data_gen.grid import PeriodicGrid, resample
    from data_gen.solve import solve
    from data_gen.spec import DatasetSpec
    from data_gen.store import open_dataset
    from data_gen.truths import fisher_front, kdv_solitons
    from data_gen.validate import validate

#: Tells this package from another folder of the same name.
__project__ = "sciml_cf"

__all__ = [
    "DatasetSpec",
    "Equation",
    "Facts",
    "PeriodicGrid",
    "advection",
    "advection_diffusion",
    "allen_cahn",
    "burgers",
    "cole_hopf",
    "convert",
    "fisher_front",
    "fisher_kpp",
    "generate",
    "heat",
    "kdv",
    "kdv_solitons",
    "kuramoto_sivashinsky",
    "open_dataset",
    "open_source",
    "resample",
    "solve",
    "validate",
]

_HOME = {
    "DatasetSpec": "spec",
    "Equation": "equations",
    "Facts": "formats",
    "PeriodicGrid": "grid",
    "advection": "equations.advection",
    "advection_diffusion": "equations.advection_diffusion",
    "allen_cahn": "equations.allen_cahn",
    "burgers": "equations.burgers",
    "cole_hopf": "exact",
    "convert": "convert",
    "fisher_front": "truths",
    "fisher_kpp": "equations.fisher_kpp",
    "generate": "generate",
    "heat": "equations.heat",
    "kdv": "equations.kdv",
    "kdv_solitons": "truths",
    "kuramoto_sivashinsky": "equations.kuramoto_sivashinsky",
    "open_dataset": "store",
    "open_source": "formats",
    "resample": "grid",
    "solve": "solve",
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
