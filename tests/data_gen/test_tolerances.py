"""Samples of every equation on a line, each solved alone, meet the tolerance."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import DatasetSpec, Equation, solve
from data_gen.equations import OLDER_NAMES, equation_dims, equation_names
from data_gen.sample_fields import initial_fields
from data_gen.solvers.schemes import SCHEMES


def stepped(name: str) -> bool:
    """Whether it is marched in time on a line, with errors that stay small."""
    if name in OLDER_NAMES or 1 not in (equation_dims(name) or (DatasetSpec(name).header.num_dims,)):
        return False
    law: Equation = DatasetSpec(name, num_dims=1 if equation_dims(name) else None).make_equation()
    return law.nonlinear is not None and not law.chaotic and law.exact_method != "direct"


@pytest.mark.parametrize("name", [name for name in equation_names() if stepped(name)])
def test_a_sample_alone_meets_the_tolerance(name: str) -> None:
    """A chunk takes the grid and step of its hardest sample; the others must not depend on that.

    Five tolerances are allowed: the errors of steps add up, and ``validate`` allows ten.
    """
    spec = DatasetSpec(name, num_dims=1 if equation_dims(name) else None, samples=4, resolution=1024)
    law, tolerance = spec.make_equation(), max(spec.tolerance, 1e-8)
    method = spec.method if spec.method in SCHEMES else "lawson7"
    for u0 in initial_fields(spec, np.arange(4))[:, None]:
        u, truth = (
            solve(law, spec.periodic_grid, u0, spec.times, method=method, tolerance=t)
            for t in (tolerance, tolerance / 100)
        )
        assert np.abs(u - truth).max() < 5 * tolerance * np.abs(truth).max()
