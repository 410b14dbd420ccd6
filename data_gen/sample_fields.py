"""The initial conditions of a dataset's samples, and their solutions where these are known."""

from __future__ import annotations

import numpy as np

from data_gen.equation import SampleEquations
from data_gen.errors import DatasetError
from data_gen.grids.vectors import solenoidal
from data_gen.random_fields import INITIAL_CONDITIONS, sample_stream
from data_gen.random_fields.own import FILE, FUNCTION
from data_gen.spec import DatasetSpec
from data_gen.storage.own_fields import fitted, read_own


def initial_fields(spec: DatasetSpec, indices: np.ndarray) -> np.ndarray:
    """Initial conditions of some samples of a dataset, ``(B, C, *N)``, float64."""
    equation, name = spec.make_equation(), spec.initial_condition
    if name in equation.known:
        return known_solution(spec, indices, 0.0)
    if name == FILE:
        rows = read_own(**spec.initial_parameters, indices=indices)
        return fitted(rows, spec.grid, len(spec.header.inputs), spec.initial_parameters["path"])
    if name == FUNCTION:
        return _by_function(spec, indices)
    draw, channels = INITIAL_CONDITIONS[name][0], len(spec.header.inputs)
    u0 = draw(spec.grid, indices.tolist(), seed=spec.seed, channels=channels, **spec.initial_parameters)
    if equation.divergence_free:
        grid = spec.periodic_grid
        u0 = grid.to_points(solenoidal(grid.to_modes(u0), grid))
    return u0


def _by_function(spec: DatasetSpec, indices: np.ndarray) -> np.ndarray:
    """What the user's function gives for the stream of each sample."""
    function, name = spec.initial_function, spec.initial_parameters["name"]
    if function is None:
        raise DatasetError(f"generate: the samples start from the Python function {name}, which a file cannot keep.")
    shape = (len(spec.header.inputs), *spec.grid.shape)
    result = np.empty((len(indices), *shape))
    for row, index in enumerate(indices.tolist()):
        u = np.asarray(function(sample_stream(spec.seed, index), spec.grid), dtype=np.float64)
        if u.shape not in (shape, shape[1:] if shape[0] == 1 else shape) or not np.isfinite(u).all():
            raise ValueError(
                f"generate: `initial_condition` {name} must return finite values of shape {shape}; got {u.shape}."
            )
        result[row] = u
    return result


def known_solution(spec: DatasetSpec, indices: np.ndarray, time: float) -> np.ndarray:
    """Solutions of some samples of a dataset whose initial condition has a known one, ``(B, C, *N)``, float64.

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
