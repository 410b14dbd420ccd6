"""Whole networks in closed form: all layers by least squares, and the explicit softmax layer."""

from sciml_cf.layerwise.activations import INVERSES, Exp, Inverse
from sciml_cf.layerwise.corpus import Vocabulary, corpus_files, read_lines, words
from sciml_cf.layerwise.explicit import (
    Cooccurrences,
    explicit_head,
    explicit_softmax,
    warm_start,
    warm_start_layers,
)
from sciml_cf.layerwise.fit import LayerwiseReport, fit_least_squares
from sciml_cf.layerwise.initial import draw_weights
from sciml_cf.layerwise.language import LanguageModel, TokenCounts, count_tokens, language_model, unigram_perplexity
from sciml_cf.layerwise.sweep import LayerSolve

__all__ = [
    "INVERSES",
    "Cooccurrences",
    "Exp",
    "Inverse",
    "LanguageModel",
    "LayerSolve",
    "LayerwiseReport",
    "TokenCounts",
    "Vocabulary",
    "corpus_files",
    "count_tokens",
    "draw_weights",
    "explicit_head",
    "explicit_softmax",
    "fit_least_squares",
    "language_model",
    "read_lines",
    "unigram_perplexity",
    "warm_start",
    "warm_start_layers",
    "words",
]
