"""Self-convergence: samples solved again by another scheme, more accurately, where there is no exact solution."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from data_gen.equation import Equation, SampleEquations
from data_gen.errors import SolverDiverged, UnresolvedError
from data_gen.grids.periodic import PeriodicGrid, resample
from data_gen.solvers.schemes import fastest_scheme
from data_gen.solvers.solve import DEFAULT_TOLERANCE, solve
from data_gen.storage.dataset import Dataset

#: A sample is solved again at so much smaller a tolerance, if that is attainable; if not, at one between.
SHARPER = (0.01, 0.1, 1.0)
#: Smallest tolerance requested: below it rounding dominates.
FLOOR = 1e-12


@dataclass(frozen=True)
class Recomputed:
    """Solutions ``(B, T, C, *N)``, and how they were found."""

    fields: np.ndarray
    method: str
    tolerance: float
    num_points: int


def recompute(
    data: Dataset, equation: Equation | SampleEquations, start: np.ndarray, times: tuple[float, ...]
) -> Recomputed:
    """Solutions from ``start`` at ``times`` by another scheme, at a smaller tolerance and on twice the points.

    The scheme is "etdrk4", or for a file made by it the fastest one proven for the equation. The tolerance is a
    hundredth of the file's, not below ``FLOOR``; where that is not attainable, a tenth of it, or its own.

    Args:
        data: the file, for its grid and the settings it was made with.
        equation: its law, of the samples of ``start``.
        start: ``(B, C, *N)``, float64, at time 0.
        times: T times above 0, counted from the start.

    Raises:
        SolverDiverged, UnresolvedError: no tolerance down from the file's own is attainable.
        ValueError: the fields are not periodic.
    """
    grid = data.grid
    if not isinstance(grid, PeriodicGrid):
        raise ValueError(f"recompute: `data` must be periodic to be marched in time; got {data.header.boundary}.")
    made_by = data.spec.method if data.spec is not None else ""
    method = (
        "etdrk4"
        if made_by != "etdrk4"
        else fastest_scheme(equation[0] if isinstance(equation, SampleEquations) else equation)
    )
    tolerance = data.spec.tolerance if data.spec is not None else DEFAULT_TOLERANCE
    fine = replace(grid, num_points=2 * grid.num_points)
    finer_start = resample(start, fine.shape, grid.num_dims)
    tolerances = sorted({max(share * tolerance, min(FLOOR, tolerance)) for share in SHARPER})
    for sharper in tolerances:
        try:
            found = solve(
                equation,
                fine,
                finer_start,
                times,
                method=method,
                tolerance=sharper,
                allow_unresolved=data.spec is not None and data.spec.allow_unresolved,
            )
        except (SolverDiverged, UnresolvedError):
            if sharper == tolerances[-1]:
                raise
            continue
        return Recomputed(found[(..., *(slice(None, None, 2),) * grid.num_dims)], method, sharper, fine.num_points)
    raise AssertionError("unreachable: the last tolerance returns or raises")
