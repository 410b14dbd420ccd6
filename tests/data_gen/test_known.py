"""Initial conditions whose solution is known: the solver reproduces it, and a file can be compared with it."""

from __future__ import annotations

import numpy as np
import pytest

from data_gen import DatasetSpec, solve
from data_gen.grids.periodic import spectral_tail
from data_gen.initial import initial_names
from data_gen.sample_fields import initial_fields, known_solution

SPECS = {
    "one soliton": DatasetSpec(
        equation="kdv", samples=2, resolution=256, times=(3.0,), initial_condition="solitons", tolerance=1e-8
    ),
    "two solitons that meet": DatasetSpec(
        equation="kdv",
        samples=2,
        resolution=256,
        extent=40.0,
        times=(14.0,),
        initial_condition="solitons",
        initial_parameters={"count": 2},
        tolerance=1e-6,
    ),
    "fronts": DatasetSpec(
        equation="fisher_kpp", samples=2, resolution=512, extent=80.0, times=(2.0,), initial_condition="fronts"
    ),
    "vortices": DatasetSpec(
        equation="navier_stokes",
        parameters={"forcing": 0.0, "viscosity": 0.01},
        samples=2,
        resolution=32,
        times=(1.0,),
        initial_condition="vortices",
    ),
}
# What may be left at the tolerances above.
ERRORS = {"one soliton": 1e-8, "two solitons that meet": 1e-6, "fronts": 1e-9, "vortices": 1e-10}


@pytest.mark.parametrize("name", SPECS)
def test_solver_reproduces_the_known_solution(name: str) -> None:
    spec = SPECS[name]
    indices = np.arange(2)
    u0, time = initial_fields(spec, indices), spec.times[-1]
    truth = known_solution(spec, indices, time)
    np.testing.assert_array_equal(u0, known_solution(spec, indices, 0.0))
    assert spectral_tail(truth, spec.header.num_dims).max() < 1e-9, "the grid must hold the case"
    assert np.abs(truth - u0).max() > 0.1 * np.abs(u0).max(), "the case must move"
    assert np.abs(u0[0] - u0[1]).max() > 0.1 * np.abs(u0).max(), "samples must differ"
    u = solve(spec.make_equation(), spec.periodic_grid, u0, [time], method=spec.method, tolerance=spec.tolerance)[:, 0]
    assert np.abs(u - truth).max() < ERRORS[name] * np.abs(truth).max()


def test_a_sample_of_a_known_solution_does_not_depend_on_its_batch() -> None:
    spec = SPECS["two solitons that meet"]
    alone = initial_fields(spec, np.array([1]))
    np.testing.assert_array_equal(alone[0], initial_fields(spec, np.arange(3))[1])


def test_known_solutions_are_named_by_their_equation_alone() -> None:
    assert "solitons" in initial_names(DatasetSpec(equation="kdv").make_equation())
    assert "solitons" not in initial_names(DatasetSpec().make_equation())
    assert "vortices" not in initial_names(DatasetSpec(equation="navier_stokes").make_equation()), "it is forced"
    assert initial_names(DatasetSpec(equation="darcy").make_equation()) == ("log_normal", "two_valued")
    with pytest.raises(ValueError, match="known_solution: `spec` must start from one of none; got 'gaussian_random"):
        known_solution(DatasetSpec(), np.arange(2), 1.0)


@pytest.mark.parametrize(
    ("equation", "extent", "time", "condition", "parameters", "message"),
    [
        ("kdv", 20.0, 1.0, "solitons", {}, "solitons: `extent` must leave room for 1 of speed 1 up to time 1; got 20"),
        ("kdv", 40.0, 40.0, "solitons", {"count": 2}, "`extent` must leave room for 2 of speed 1 up to time 40"),
        ("kdv", 40.0, 1.0, "solitons", {"count": 3}, "`count` must be 1 or 2 and `slowest` below `fastest`; got 3"),
        ("kdv", 40.0, 1.0, "solitons", {"slowest": -1.0}, "`slowest / dispersion` must be a finite number above 0"),
        ("fisher_kpp", 6.0, 1.0, "fronts", {}, "fronts: `extent` must keep the two fronts apart up to time 1; got 6"),
        ("fisher_kpp", 80.0, 1.0, "fronts", {"widest": 0.6}, "`narrowest` must be below `widest`, below 0.5"),
    ],
)
def test_a_solution_that_is_not_known_is_refused(
    equation: str, extent: float, time: float, condition: str, parameters: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        spec = DatasetSpec(
            equation=equation,
            samples=2,
            resolution=256,
            extent=extent,
            times=(time,),
            initial_condition=condition,
            initial_parameters=parameters,
        )
        known_solution(spec, np.arange(2), time)
