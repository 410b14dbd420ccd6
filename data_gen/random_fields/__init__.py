"""Seeded random fields, initial conditions and coefficients: one stream a sample, the same in any batch.

A new law is one module here with its function and the check of its parameters, and its name in ``INITIAL_CONDITIONS``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from data_gen.random_fields.coefficients import check_log_normal, check_two_valued, log_normal, two_valued
from data_gen.random_fields.fourier import check_truncated, truncated_fourier
from data_gen.random_fields.gaussian import check_gaussian, gaussian_random_field
from data_gen.random_fields.pieces import check_pieces, piecewise_constant
from data_gen.random_fields.spots import check_spots, spots
from data_gen.random_fields.streams import sample_stream
from data_gen.random_fields.sums import check_sines, sines

__all__ = [
    "INITIAL_CONDITIONS",
    "ON_CELLS",
    "check_gaussian",
    "check_log_normal",
    "check_pieces",
    "check_sines",
    "check_spots",
    "check_truncated",
    "check_two_valued",
    "gaussian_random_field",
    "law_defaults",
    "log_normal",
    "piecewise_constant",
    "sample_stream",
    "sines",
    "spots",
    "truncated_fourier",
    "two_valued",
]

#: Name of an initial condition -> (its function, the check of its parameters).
INITIAL_CONDITIONS: Mapping[str, tuple[Callable[..., np.ndarray], Callable[..., None]]] = {
    "gaussian_random_field": (gaussian_random_field, check_gaussian),
    "truncated_fourier": (truncated_fourier, check_truncated),
    "sines": (sines, check_sines),
    "piecewise_constant": (piecewise_constant, check_pieces),
    "spots": (spots, check_spots),
    "log_normal": (log_normal, check_log_normal),
    "two_valued": (two_valued, check_two_valued),
}
#: Those of them that are drawn on cells between walls; the others are periodic.
ON_CELLS = ("log_normal", "two_valued")


def law_defaults(draw: Callable[..., np.ndarray]) -> dict[str, Any]:
    """The parameters of a law with their defaults, from the signature of its function."""
    parameters = inspect.signature(draw).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in ("seed", "channels")}
