from .convert import convert as convert
from .equation import Equation as Equation
from .equations._older_names import allen_cahn_2d as allen_cahn_2d
from .equations._older_names import burgers_2d as burgers_2d
from .equations._older_names import heat_2d as heat_2d
from .equations.advection import advection as advection
from .equations.advection_diffusion import advection_diffusion as advection_diffusion
from .equations.allen_cahn import allen_cahn as allen_cahn
from .equations.burgers import burgers as burgers
from .equations.darcy import darcy as darcy
from .equations.fisher_kpp import fisher_kpp as fisher_kpp
from .equations.gray_scott import gray_scott as gray_scott
from .equations.heat import heat as heat
from .equations.kdv import kdv as kdv
from .equations.kuramoto_sivashinsky import kuramoto_sivashinsky as kuramoto_sivashinsky
from .equations.navier_stokes import navier_stokes as navier_stokes
from .exact_solutions.cole_hopf import cole_hopf as cole_hopf
from .exact_solutions.fronts import fisher_front as fisher_front
from .exact_solutions.solitons import kdv_solitons as kdv_solitons
from .exact_solutions.vortices import taylor_green as taylor_green
from .formats import Overrides as Overrides
from .formats import open_source as open_source
from .generate import generate as generate
from .grids.cells import CellGrid as CellGrid
from .grids.periodic import PeriodicGrid as PeriodicGrid
from .grids.periodic import resample as resample
from .plot import plot_dataset as plot_dataset
from .solvers.darcy import darcy_manufactured as darcy_manufactured
from .solvers.darcy import darcy_solve as darcy_solve
from .solvers.solve import solve as solve
from .spec import DatasetSpec as DatasetSpec
from .storage.dataset import open_dataset as open_dataset
from .storage.repack import repack as repack
from .validate import validate as validate

__project__: str
Facts = Overrides
