"""A scheme that fails in a block gives way to the next one, and a chaotic run whose tolerance cannot hold is named."""

from __future__ import annotations

import importlib
import logging
import math
from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, generate, open_dataset, repack, validate
from data_gen.errors import SolverDiverged
from data_gen.info import dataset_facts
from data_gen.storage import journal


@pytest.fixture
def second_block_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """adams6 diverges in the second block."""
    module = importlib.import_module("data_gen.generate")
    whole = module.solve

    def solve(equation: object, grid: object, u0: np.ndarray, *args: object, **settings: object) -> np.ndarray:
        if settings["method"] == "adams6" and settings.get("first_sample") == 128:
            raise SolverDiverged("solve: no step is small enough")
        return whole(equation, grid, u0, *args, **settings)

    monkeypatch.setattr(module, "solve", solve)


def small(**changes: object) -> DatasetSpec:
    settings = {"samples": 130, "resolution": 64, "extent": 8 * math.pi, "times": (0.2,), "tolerance": 1e-5}
    initial = {"initial_condition": "truncated_fourier", "initial_parameters": {"max_mode": 3}}
    return DatasetSpec("kuramoto_sivashinsky", **{**settings, **initial, **changes})


@pytest.mark.slow
def test_the_usual_scheme_gives_way_where_it_finds_no_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A built-in law of initial conditions, on a short extent: its top modes are damped within a step."""
    spec = small(
        samples=128,
        resolution=256,
        extent=2 * math.pi,
        times=(1.0,),
        tolerance=1e-10,
        initial_condition="gaussian_random_field",
        initial_parameters={},
    )
    path = generate(spec, tmp_path / "rough.h5", progress=False)
    assert spec.method == "adams6" and "adams6 failed in block 0, which etdrk4 solved" in caplog.text
    assert validate(path, truth=True).ok


@pytest.mark.usefixtures("second_block_fails")
def test_a_block_that_falls_back_is_recorded(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = small()
    path = generate(spec, tmp_path / "a.h5", progress=False)
    assert "adams6 failed in block 1, which etdrk4 solved; the file says so" in caplog.text
    assert "etdrk4 in block 1" in dataset_facts(path)["method"]["error"]
    assert validate(path, truth=True).ok
    with open_dataset(path) as data:
        assert data.spec == spec and data.attributes["methods_of_blocks"] == '{"1": "etdrk4"}'
        u = data.read("u")
    other = generate(small(method="etdrk4"), tmp_path / "b.h5", progress=False)
    with open_dataset(other) as data:
        np.testing.assert_array_equal(data.read("u")[128:], u[128:])
    repack(path, tmp_path / "c.h5", progress=False)
    with open_dataset(tmp_path / "c.h5") as data:
        assert data.attributes["methods_of_blocks"] == '{"1": "etdrk4"}'


@pytest.mark.usefixtures("second_block_fails")
def test_a_resumed_file_that_fell_back_has_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small(samples=260)
    whole = generate(spec, tmp_path / "whole.h5", progress=False)
    append, listed = journal.append_journal, []

    def stop(path: Path, block: int, checksums: journal.Checksums) -> None:
        append(path, block, checksums)
        listed.append(block)
        if block == 1:
            raise KeyboardInterrupt

    resumed = tmp_path / "resumed.h5"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(journal, "append_journal", stop)
        generate(spec, resumed, progress=False)
    assert listed == [0, 1] and journal.read_methods(journal.journal_path(resumed)) == {1: "etdrk4"}
    generate(spec, resumed, resume=True, progress=False)
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.usefixtures("second_block_fails")
def test_shards_record_it_in_the_master(tmp_path: Path) -> None:
    path = generate(small(), tmp_path / "a.h5", shards=2, progress=False)
    with open_dataset(path) as data:
        assert data.attributes["methods_of_blocks"] == '{"1": "etdrk4"}'
        with open_dataset(data.shard_paths[1]) as part:
            assert part.attributes["methods_of_blocks"] == '{"0": "etdrk4"}'


@pytest.mark.slow
def test_a_solution_that_blows_up_is_still_an_error(tmp_path: Path) -> None:
    spec = DatasetSpec(
        "fisher_kpp",
        samples=1,
        resolution=32,
        times=(5.0,),
        initial_condition="truncated_fourier",
        initial_parameters={"offset": -2.0, "amplitude": 0.1},
        tolerance=1e-5,
        allow_unresolved=True,
    )
    with pytest.raises(SolverDiverged, match="solve: fisher_kpp diverged at t = "):
        generate(spec, tmp_path / "a.h5", progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("time", "warned"), [(2.0, False), pytest.param(60.0, True, marks=pytest.mark.slow)])
def test_a_chaotic_run_beyond_its_tolerance_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, time: float, warned: bool
) -> None:
    spec = DatasetSpec("kuramoto_sivashinsky", samples=1, resolution=256, times=(time,), tolerance=1e-6)
    with caplog.at_level(logging.WARNING):
        generate(spec, tmp_path / "a.h5", progress=False)
    assert ("kuramoto_sivashinsky is chaotic; at t = 60 errors of about" in caplog.text) == warned
