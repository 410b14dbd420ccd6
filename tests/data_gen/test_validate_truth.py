"""Validation against a truth: by exact solutions, and by solving a few samples again."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, generate, open_dataset, validate
from data_gen.errors import SolverDiverged
from data_gen.validate import _chosen_rows
from tests.data_gen.test_layout import HEADERS, write
from tests.edits import edited

FISHER = DatasetSpec(equation="fisher_kpp", samples=6, resolution=64)
KDV = DatasetSpec(equation="kdv", samples=5, resolution=64, times=(0.1, 0.2), tolerance=1e-7)


@pytest.mark.parametrize(("spec", "method"), [(FISHER, "etdrk4"), (KDV, "etdrk4")])
def test_self_convergence_measures_a_few_samples_by_other_means(tmp_path: Path, spec: DatasetSpec, method: str) -> None:
    report = validate(generate(spec, tmp_path / "file.h5", progress=False), truth=True, truth_samples=3)
    assert report.ok and report.truth == "self-convergence" and len(report.compared) == 3
    assert (
        report.worst_sample in report.compared and 0 < report.max_error < 10 * spec.tolerance == report.allowed - 2**-52
    )
    assert f"the result of {method} at tolerance {spec.tolerance / 100:.3g} on 128 points" in report.how


def test_a_file_of_etdrk4_is_solved_again_by_another_scheme(tmp_path: Path) -> None:
    spec = dataclasses.replace(FISHER, method="etdrk4")
    report = validate(generate(spec, tmp_path / "file.h5", progress=False), truth=True)
    assert report.ok and "the result of lawson7" in report.how


@pytest.mark.parametrize("spec", [FISHER, DatasetSpec(samples=6, resolution=64, method="lawson7")])
def test_a_solver_that_misses_its_tolerance_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: DatasetSpec
) -> None:
    module = import_module("data_gen.generate")
    solve = module.solve
    monkeypatch.setattr(module, "solve", lambda *words, **names: (1 + 1e-7) * solve(*words, **names))
    path = generate(spec, tmp_path / "file.h5", progress=False)
    assert validate(path).ok
    report = validate(path, truth=True)
    assert not report.ok and report.problems == () and report.max_error == pytest.approx(1e-7, rel=1e-2)
    assert f"sample {report.worst_sample} differs by 1e-07 of its maximum from" in report.inaccurate
    assert "more than 1e-09: 10 times the file's tolerance" in report.inaccurate


def test_single_precision_is_judged_from_inputs_in_double_precision(tmp_path: Path) -> None:
    spec = DatasetSpec(samples=20, resolution=64, dtype="float32", equation="advection", times=(0.3,))
    path = generate(spec, tmp_path / "file.h5", progress=False)
    report = validate(path, truth=True)
    assert report.ok and 0 < report.max_error <= np.finfo(np.float32).eps / 2 * (1 + 1e-6)
    with edited(path) as file:
        file["a"][7] = file["a"][8]
    report = validate(path, truth=True)
    assert "a of sample 7 differs from the file's description" in report.problems


def test_a_tolerance_that_cannot_be_reached_is_loosened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = generate(FISHER, tmp_path / "file.h5", progress=False)
    module, asked = import_module("data_gen.self_convergence"), []
    solve = module.solve

    def fussy(*words, tolerance: float, **names):
        asked.append(tolerance)
        if tolerance < 0.5 * limit:
            raise SolverDiverged("solve: below rounding")
        return solve(*words, tolerance=tolerance, **names)

    monkeypatch.setattr(module, "solve", fussy)
    limit = 1e-11
    assert "at tolerance 1e-11" in validate(path, truth=True).how and asked == pytest.approx([1e-12, 1e-11])
    limit = 1.0
    with pytest.raises(SolverDiverged, match="below rounding"):
        validate(path, truth=True)


def test_a_known_solution_checks_every_sample_as_long_as_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = DatasetSpec(equation="kdv", samples=3, resolution=256, times=(0.2, 0.4), initial_condition="solitons")
    path = generate(spec, tmp_path / "file.h5", progress=False)
    report = validate(path, truth=True)
    assert report.ok and report.truth == "known" and report.compared == (0, 1, 2) and report.max_error < 1e-9
    with edited(path) as file:
        file["u"][1, 2] *= 1 + 1e-6
    assert "sample 1 differs by 1e-06 of its maximum from the known solution" in validate(path, truth=True).inaccurate

    def unknown(*words: object) -> None:
        raise ValueError("known_solution: not for so long")

    monkeypatch.setattr(import_module("data_gen.info"), "known_solution", unknown)
    assert validate(path, truth=True, truth_samples=1).truth == "self-convergence"


def test_flows_in_the_plane_are_solved_again(tmp_path: Path) -> None:
    spec = DatasetSpec(equation="navier_stokes", samples=2, resolution=32, times=(0.5,), tolerance=1e-6)
    report = validate(generate(spec, tmp_path / "file.h5", progress=False), truth=True, truth_samples=2)
    assert report.ok and report.truth == "self-convergence" and "on 64 points an axis" in report.how


def test_largest_samples_are_among_those_solved_again() -> None:
    amplitudes = np.ones(100)
    amplitudes[[41, 77]] = 2, 3
    assert _chosen_rows(amplitudes, 4).tolist() == [0, 33, 41, 77]
    assert _chosen_rows(amplitudes, 1).tolist() == [0] and _chosen_rows(amplitudes[:3], 9).tolist() == [0, 1, 2]


def test_an_input_of_another_kind_is_compared_at_the_targets_time(tmp_path: Path) -> None:
    """Times are matched to what is stored: the pair's own input is no solution at time 0 of a steady law."""
    module = import_module("data_gen.validate")
    write(tmp_path / "file.h5", HEADERS["another input"])
    with open_dataset(tmp_path / "file.h5") as data:
        _, solution, times, finite = module._samples(data, slice(0, 3), [])
    assert solution.shape == (3, 1, 2, 16) and times == (1.0,) and finite.all()


def test_truth_refuses_what_it_cannot_know(tmp_path: Path, small_file: Path) -> None:
    write(tmp_path / "file.h5", HEADERS["pairs"])
    with pytest.raises(ValueError, match="`truth` must be False for any; the file does not name a law known here"):
        validate(tmp_path / "file.h5", truth=True)
    with pytest.raises(ValueError, match="`truth_samples` must be an integer of at least 1; got 0"):
        validate(small_file, truth=True, truth_samples=0)
