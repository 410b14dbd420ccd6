"""Whole networks in closed form: all layers by least squares, and the explicit softmax layer."""

from sciml_cf.layerwise.activations import INVERSES, Exp, Inverse
from sciml_cf.layerwise.fit import LayerwiseReport, fit_least_squares
from sciml_cf.layerwise.initial import draw_weights
from sciml_cf.layerwise.sweep import LayerSolve

__all__ = ["INVERSES", "Exp", "Inverse", "LayerSolve", "LayerwiseReport", "draw_weights", "fit_least_squares"]
