"""The initial conditions of a dataset's samples, and their solutions where these are known."""

from __future__ import annotations

import numpy as np

from data_gen.equation import SampleEquations
from data_gen.random_fields import INITIAL_CONDITIONS
from data_gen.spec import DatasetSpec


def initial_fields(spec: DatasetSpec, indices: np.ndarray) -> np.ndarray:
    """Initial conditions of some samples of a dataset, (B, C, *N), float64."""
    equation, name = spec.make_equation(), spec.initial_condition
    if name in equation.known:
        return known_solution(spec, indices, 0.0)
    draw, channels = INITIAL_CONDITIONS[name][0], len(spec.header.inputs)
    return draw(spec.grid, indices.tolist(), seed=spec.seed, channels=channels, **spec.initial_parameters)


def known_solution(spec: DatasetSpec, indices: np.ndarray, time: float) -> np.ndarray:
    """Solutions of some samples of a dataset whose initial condition has a known one, (B, C, *N), float64.

    Raises:
        ValueError: it is not known for this initial condition, on this box or for so long a time.
    """
    known, laws = spec.make_equation().known, spec.equations(indices)
    if spec.initial_condition not in known:
        names = ", ".join(known) or "none"
        raise ValueError(f"known_solution: `spec` must start from one of {names}; got {spec.initial_condition!r}.")
    if isinstance(laws, SampleEquations):
        parts = [(law.known, [index]) for law, index in zip(laws, indices.tolist(), strict=True)]
    else:
        parts = [(known, indices.tolist())]
    fields = [
        solutions[spec.initial_condition].fields(spec.grid, rows, time, seed=spec.seed, **spec.initial_parameters)
        for solutions, rows in parts
    ]
    return np.concatenate(fields)
