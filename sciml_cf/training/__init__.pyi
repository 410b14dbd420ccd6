from .config import FitConfig as FitConfig
from .fit import History as History
from .fit import fit as fit
from .run_folder import load as load
from .run_folder import read_evaluation as read_evaluation
from .run_folder import read_posterior as read_posterior
from .run_folder import save_evaluation as save_evaluation
from .run_folder import save_posterior as save_posterior
