from .adaptation import Adaptation as Adaptation
from .adaptation import adapt as adapt
from .adaptation import adapted_posterior as adapted_posterior
from .prediction import predict as predict
from .rollout import evaluate_rollout as evaluate_rollout
from .rollout import one_step_pairs as one_step_pairs
from .transfer import evaluate_transfer as evaluate_transfer
