"""How good a trained model is at resolutions that it was not trained at, and where its error comes from."""

from sciml_cf.evaluate.transfer import evaluate_transfer

__all__ = ["evaluate_transfer"]
