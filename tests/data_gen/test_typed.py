"""Equations typed as text: they agree with the named ones, and their files know them again."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen import DatasetSpec, Equation, PeriodicGrid, generate, open_dataset, solve, validate
from data_gen.cli.generate import generate_command
from data_gen.convert import convert
from data_gen.equation import SampleEquations
from data_gen.errors import UnresolvedError
from data_gen.info import dataset_facts, facts_text
from data_gen.sample_fields import initial_fields
from tests.data_gen.test_generate import Stop, stop_after

GRAY_SCOTT = "u_t = D*lap(u) - u*v^2 + feed*(1 - u); v_t = 1e-5*lap(v) + u*v^2 - (feed + kill)*v"
VELOCITY = "u_t = -u*u_x - v*u_y + 0.1*lap(u); v_t = -u*v_x - v*v_y + 0.1*(v_xx + v_yy)"
#: A text with its parameters, the named equation with its own, and settings of a small run.
SAME = [
    ("u_t = -u*u_x + 0.1*u_xx", {}, "burgers", {"viscosity": 0.1}, {"method": "lawson7"}),
    ("u_t = -(u^2/2)_x + nu*u_xx", {"nu": 0.1}, "burgers", {"viscosity": 0.1}, {}),
    ("u_t = -6*u*u_x - u_xxx", {}, "kdv", {}, {"extent": 32.0, "times": (0.5,)}),
    ("u_t = -u*u_x - u_xx - u_xxxx", {}, "kuramoto_sivashinsky", {}, {"extent": 100.0, "times": (5.0,)}),
    ("u_t = D*lap(u) + r*(u - u^3)", {"D": 0.01, "r": 1.0}, "allen_cahn", {}, {"times": (2.0,)}),
    ("u_t = D*lap(u) + r*(u - u^3)", {"D": 0.05, "r": 1.0}, "allen_cahn", {"diffusivity": 0.05}, {"num_dims": 2}),
    (VELOCITY, {}, "burgers", {"viscosity": 0.1}, {"num_dims": 2, "times": (0.2,)}),
    ("u_t = lap(u^3 - u - 0.05*lap(u))", {}, "cahn_hilliard", {}, {"times": (0.1,)}),
    (
        GRAY_SCOTT,
        {"D": 2e-5, "feed": 0.03, "kill": 0.062},
        "gray_scott",
        {},
        {
            "num_dims": 2,
            "times": (2.0,),
            "extent": 1.25,
            "initial_condition": "spots",
            "initial_parameters": {"width": 0.1},
        },
    ),
]


@pytest.mark.parametrize(("text", "parameters", "name", "of_name", "settings"), SAME, ids=lambda word: str(word)[:40])
def test_typed_equations_agree_with_the_named_ones(
    text: str, parameters: dict[str, float], name: str, of_name: dict[str, float], settings: dict[str, Any]
) -> None:
    plane = settings.get("num_dims") == 2
    shared = {
        "samples": 1 if plane else 3,
        "resolution": 64 if plane else 256,
        "tolerance": 1e-6 if plane else 1e-9,
        "initial_condition": "truncated_fourier",
        "initial_parameters": {"max_mode": 4, "amplitude": 0.5, "decay": 0.0},
        "times": (0.5,),
        **settings,
    }
    typed = DatasetSpec(text, parameters=parameters, **{**shared, "method": "auto"})
    named = DatasetSpec(name, parameters=of_name, **shared)
    rows = np.arange(typed.samples)
    start = initial_fields(named, rows)
    np.testing.assert_array_equal(initial_fields(typed, rows), start)
    ours, theirs = (
        solve(spec.equations(rows), spec.periodic_grid, start, spec.times, tolerance=spec.tolerance)
        for spec in (typed, named)
    )
    assert np.abs(ours - start[:, None]).max() > 1e-3
    assert np.abs(ours - theirs).max() <= 10 * typed.tolerance * np.abs(theirs).max()


def test_a_spec_is_its_text() -> None:
    spec = DatasetSpec(" u_t = nu*u_xx\n - u_x ", {"nu": "0.1:0.2"}, samples=3, resolution=64)
    again = DatasetSpec("u_t = nu*u_xx - u_x", {"nu": "0.1:0.2"}, samples=3, resolution=64)
    assert spec == again and spec.config_hash == again.config_hash and '"u_t = nu*u_xx - u_x"' in spec.to_json()
    assert spec.config_hash != DatasetSpec("u_t = nu*u_xx + u_x", {"nu": "0.1:0.2"}, samples=3).config_hash
    assert DatasetSpec.from_dict(spec.to_dict()) == pickle.loads(pickle.dumps(spec)) == spec
    assert isinstance(spec.equations([0, 1]), SampleEquations)
    plane = DatasetSpec("u_t = lap(u)", num_dims=2, resolution=16)
    assert plane.header.shape == (16, 16) and DatasetSpec.from_dict(plane.to_dict()) == plane
    with pytest.raises(ValueError, match=r"`parameters` of u_t = nu\*u_xx must be among nu; got mu"):
        DatasetSpec("u_t = nu*u_xx", {"mu": 1.0})
    with pytest.raises(ValueError, match=r"`num_dims` of u_t = u_yy must be one of 2, 3; got 1"):
        DatasetSpec("u_t = u_yy", num_dims=1)


def test_the_command_writes_a_file_that_knows_its_equation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "own.h5"
    words = ["u_t = -u*u_x + nu*u_xx; v_t = -(u*v)_x + 0.1*v_xx + cos(2*pi*x/L)", "--parameters", "nu=log:0.1:0.2"]
    said = generate_command(
        [*words, "--samples", "3", "--resolution", "64", "--out", str(path), "--tolerance", "1e-4", "--times", "0.1"]
    )
    assert f"equation    {words[0]}\n" in said and "solves a few samples again" in said
    with open_dataset(path) as data:
        assert data.spec is not None
        assert data.header.channels == ("u", "v") and data.header.formula == words[0] == data.spec.equation
        assert set(data.table) == {"nu"} and isinstance(data.equations(slice(0, 2)), SampleEquations)
        assert not data.spec.make_equation().homogeneous and not data.spec.header.parameters
    report = validate(path, truth=True)
    assert report.ok and report.truth == "self-convergence"
    convert(path, tmp_path / "own.nc")
    assert words[0] in facts_text(dataset_facts(tmp_path / "own.nc"))


def test_help_of_a_text_names_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        generate_command(["u_t = nu*u_xx", "--help"])
    said = capsys.readouterr().out
    assert "u_t = nu*u_xx, an equation of your own" in said and "--parameters" in said and "nu." in said


def test_workers_and_resuming_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = DatasetSpec(
        "u_t = -u*u_x + nu*u_xx + a*sin(x)",
        {"nu": "0.1:0.2", "a": 1.0},
        samples=140,
        resolution=32,
        times=(0.1,),
        tolerance=1e-4,
        initial_parameters={"max_mode": 2},
    )
    whole = generate(spec, tmp_path / "whole.h5", progress=False).read_bytes()
    assert generate(spec, tmp_path / "two.h5", workers=2, progress=False).read_bytes() == whole
    with monkeypatch.context() as patch, pytest.raises(Stop):
        stop_after(patch, 1, Stop)
        generate(spec, tmp_path / "part.h5", progress=False)
    assert not (tmp_path / "part.h5").exists()
    assert generate(spec, tmp_path / "part.h5", resume=True, progress=False).read_bytes() == whole


def test_functions_of_the_place_and_nested_products_on_torch() -> None:
    pytest.importorskip("torch")
    grid = PeriodicGrid(64, 2 * np.pi, 2)
    law = Equation.parse("u_t = -u*v_y + 0.1*lap(u) + sin(x+y); v_t = 0.1*lap(v) - u - u*(v^2/(2+cos(x)))_y")
    x, y = grid.points, grid.points[:, None]
    start = np.stack([np.sin(x + y), np.cos(x) + 0 * y])[None]
    host, device = (
        solve(law, grid, start, (0.2,), tolerance=1e-6, method="lawson7", device=d) for d in ("cpu", "torch")
    )
    np.testing.assert_allclose(host, device, atol=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("u_t = u - u^3 + 0.01*u_xx", False),
        ("u_t = -0.7*u - 2*u_xx - u_xxxx - u^3", False),
        ("u_t = lap(u^3 - u - 0.05*lap(u))", False),
        ("u_t = -u*u_x + 0.1*u_xx", False),
        ("u_t = -(u^2/2)_x - u_xxx", False),
        ("u_t = -u*u_x + 0.1*u_xx - u_x", False),
        ("u_t = 0.1*u_xx + sin(x)", False),
        ("u_t = -0.7*u - 2*u_xx - u_xxxx + u^2 - u^3", True),
        ("u_t = u_xx - u + u^3", True),
        ("u_t = lap(lap(u^3)) - lap(lap(u))", True),
        ("u_t = u_xx + sin(x)*u", True),
        ("u_t = u_xx - u*v^2; v_t = v_xx + u*v^2 - v", True),
        ("u_t = -u*u_x - u_xx - u_xxxx", True),
        ("u_t = -u*u_x + 0.1*u_xx + sin(x)", True),
        ("u_t = -u*u_x + 0.02*u_xx - 0.01*u_xxx", True),
    ],
)
def test_what_may_feed_damped_waves_is_known_from_the_text(text: str, expected: bool) -> None:
    assert Equation.parse(text).amplifies is expected


def test_reactions_in_the_plane_are_resolved_between_start_and_output(tmp_path) -> None:
    """Short waves are gone by the end; what they did to the long ones on the way is not."""
    spec = DatasetSpec(
        "u_t = 0.05*lap(u) + u - u^3", num_dims=2, samples=2, resolution=32, extent=2.0, tolerance=1e-8, seed=1
    )
    report = validate(generate(spec, tmp_path / "a.h5", progress=False), truth=True)
    assert report.ok and report.max_error < 1e-8


@pytest.mark.parametrize("mode", [3, 128, 256, 300])
def test_a_wave_in_the_text_is_resolved_from_the_start(mode: int) -> None:
    """Points of the first grids that are tried take cos(256 x) for 1; each wave decays towards its source by itself."""
    grid = PeriodicGrid(1024, 2 * np.pi)
    law = Equation.parse(f"u_t = nu*u_xx + cos({mode}*x)", {"nu": 1e-3})
    (u,) = solve(law, grid, np.cos(grid.points)[None, None], [1.0])[:, 0, 0]
    rates = 1e-3, 1e-3 * mode**2
    known = np.exp(-rates[0]) * np.cos(grid.points) - np.expm1(-rates[1]) / rates[1] * np.cos(mode * grid.points)
    np.testing.assert_allclose(u, known, atol=1e-9)


def test_a_wave_in_the_text_that_no_grid_resolves_is_refused() -> None:
    law, grid = Equation.parse("u_t = 0.1*u_xx + cos(4096*x)"), PeriodicGrid(64, 2 * np.pi)
    with pytest.raises(UnresolvedError, match="must resolve the fields in the law of .*, with modes as high as 2048"):
        solve(law, grid, np.cos(grid.points)[None, None], [1.0])
