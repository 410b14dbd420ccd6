"""Forcings and sources that are fields of a file: their solutions, their checksum, and what is refused."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_gen import CellGrid, DatasetSpec, PeriodicGrid, generate, navier_stokes, open_dataset, solve, validate
from data_gen.cli.generate import generate_command
from data_gen.cli.inspect import info_command, validate_command
from data_gen.equations.kolmogorov_flow import kolmogorov_flow
from data_gen.errors import DatasetError, UnresolvedError
from data_gen.grids.fixed_field import FixedField
from data_gen.random_fields import truncated_fourier, two_valued
from data_gen.solvers.darcy import darcy_solve

PLANE = PeriodicGrid(32, 1.0, 2)
X, Y = PLANE.points, PLANE.points[:, None]
USUAL = 0.1 * (np.sin(2 * np.pi * (X + Y)) + np.cos(2 * np.pi * (X + Y)))


def spec_with(force: str | Path, **changes: object) -> DatasetSpec:
    settings = {"samples": 2, "resolution": 32, "times": (0.5,), "tolerance": 1e-7, **changes}
    return DatasetSpec("navier_stokes", {"viscosity": 0.01, "forcing": str(force)}, **settings)  # ty: ignore


def test_the_usual_forcing_as_a_field_gives_the_usual_flow() -> None:
    start = truncated_fourier(PLANE, [0, 1], seed=0)
    usual = solve(navier_stokes(viscosity=0.01), PLANE, start, [1.0], tolerance=1e-9)
    given = solve(navier_stokes(viscosity=0.01, forcing=FixedField(USUAL)), PLANE, start, [1.0], tolerance=1e-9)
    np.testing.assert_allclose(given, usual, atol=1e-10)
    q = 8 * np.pi
    shear = FixedField(-q * np.cos(q * Y) * np.ones_like(X))
    usual = solve(kolmogorov_flow(), PLANE, start, [0.2], tolerance=1e-9)
    given = solve(kolmogorov_flow(forcing=shear), PLANE, start, [0.2], tolerance=1e-9)
    np.testing.assert_allclose(given, usual, atol=1e-8 * np.abs(usual).max())


@pytest.mark.parametrize("mode", [5, 20, 40, 64])
def test_a_shear_force_of_any_mode_has_its_laminar_flow(mode: int) -> None:
    """From w = f, w_t = nu w_xx + f(x) is linear: w = f (e + (1 - e) / (nu q^2)), e = e^(-nu q^2 t). Mode 64 aliases to
    nothing on the first grids that are tried.
    """
    grid, nu = PeriodicGrid(160, 1.0, 2), 1e-3
    q = 2 * np.pi * mode
    f = 10 * np.sin(q * grid.points) * np.ones((160, 1))
    law = navier_stokes(viscosity=nu, forcing=FixedField(f))
    (w,) = solve(law, grid, 1.0 * f[None, None], [0.3], tolerance=1e-8)[:, 0, 0]
    decay = np.exp(-nu * q**2 * 0.3)
    np.testing.assert_allclose(w, f * (decay + (1 - decay) / (nu * q**2)), atol=1e-7 * np.abs(w).max())


@pytest.mark.parametrize("method", ["lawson7", "etdrk4", "adams6"])
def test_a_flow_starts_from_rest(method: str) -> None:
    """The force alone sets the scale of errors at u = 0; its one wave grows by itself."""
    grid, law = PeriodicGrid(32, 1.0, 2), navier_stokes(viscosity=1e-2, forcing=0.1)
    y, x = np.meshgrid(*grid.axis_points, indexing="ij")
    rate, phase = 1e-2 * 2 * (2 * np.pi) ** 2, 2 * np.pi * (x + y)
    known = 0.1 * (np.sin(phase) + np.cos(phase)) * -np.expm1(-rate) / rate
    starts = np.stack([np.zeros((1, 32, 32)), 1e-2 * np.cos(phase)[None]])
    found = solve(law, grid, starts, [0.5, 1.0], method=method, tolerance=1e-8)[:, -1, 0]
    np.testing.assert_allclose(found[0], known, atol=1e-9)
    np.testing.assert_allclose(found[1], known + np.exp(-rate) * 1e-2 * np.cos(phase), atol=1e-9)


def test_one_force_for_all_samples_and_one_for_each(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", USUAL)
    with h5py.File(tmp_path / "each.h5", "w") as file:
        file["f"] = np.stack([USUAL, 2 * USUAL])
        file["other"] = np.ones((2, 32, 32))
    flows = {}
    for name, words in {"one": "one.npy", "each": "each.h5:f"}.items():
        path = generate(spec_with(tmp_path / words), tmp_path / f"{name}_flow.h5", progress=False)
        assert validate(path, truth=True).ok
        with open_dataset(path) as data:
            flows[name] = data.read("u")[:, 0]
    start = DatasetSpec("navier_stokes", {"viscosity": 0.01}, samples=2, resolution=32, times=(0.5,), tolerance=1e-7)
    with open_dataset(generate(start, tmp_path / "usual.h5", progress=False)) as data:
        usual = data.read("u")[:, 0]
    np.testing.assert_allclose(flows["one"], usual, atol=1e-6 * np.abs(usual).max())
    np.testing.assert_allclose(flows["each"][0], usual[0], atol=1e-6 * np.abs(usual).max())
    assert np.abs(flows["each"][1] - usual[1]).max() > 1e-2


def test_the_command_line_takes_a_file_and_says_what_resampling_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rough = USUAL + 1e-3 * np.cos(2 * np.pi * 14 * X)
    np.save(tmp_path / "force.npy", rough.astype(np.float32))
    words = ["navier_stokes", "--forcing", str(tmp_path / "force.npy"), "--viscosity", "0.01", "--times", "0.5"]
    out = tmp_path / "flow.h5"
    text = generate_command([*words, "--resolution", "24", "--samples", "2", "--tolerance", "1e-6", "--out", str(out)])
    assert "force.npy has 32 points an axis; taking its fields to 24 changes them by" in caplog.text
    assert f"forcing = {tmp_path}/force.npy sha256:" in text and "forcing(x, y)" in text
    assert "self" not in validate_command([str(out)]) and "etdrk4" in validate_command([str(out), "--truth"])
    generate_command([*words, "--resolution", "24", "--samples", "2", "--tolerance", "1e-6", "--out", str(out),
                      "--resume"])  # fmt: skip


def test_a_file_that_changed_or_is_gone_is_refused_by_resume_and_truth(tmp_path: Path) -> None:
    force = tmp_path / "force.npy"
    np.save(force, USUAL)
    spec = spec_with(force)
    path = generate(spec, tmp_path / "flow.h5", progress=False)
    kept = DatasetSpec.from_dict(spec.to_dict())
    np.save(force, 2 * USUAL)
    assert kept == spec and spec_with(force).config_hash != spec.config_hash
    assert validate(path).ok
    for ask in (lambda: validate(path, truth=True), lambda: generate(kept, tmp_path / "b.h5", progress=False)):
        with pytest.raises(DatasetError, match="is not the file that the description names: its checksum differs"):
            ask()
    with pytest.raises(DatasetError, match="is a whole dataset of another configuration: parameters"):
        generate(spec_with(force), path, resume=True, progress=False)
    force.unlink()
    assert "forcing = " in info_command([str(path)])
    with pytest.raises(DatasetError, match="which the samples have as `forcing`, does not exist"):
        validate(path, truth=True)
    assert not (tmp_path / "b.h5.partial").exists()


def test_darcy_with_a_source_of_ones_own(tmp_path: Path) -> None:
    grid = CellGrid(16)
    source = np.random.default_rng(0).normal(size=(3, 8, 8))
    np.save(tmp_path / "f.npy", source)
    spec = DatasetSpec("darcy", {"source": str(tmp_path / "f.npy")}, samples=5, resolution=16)
    path = generate(spec, tmp_path / "darcy.h5", progress=False)
    with open_dataset(path) as data:
        u = data.read("u")[:, 0]
    a = two_valued(grid, range(5), seed=0)[:, 0]
    finer = source.repeat(2, axis=1).repeat(2, axis=2)
    np.testing.assert_allclose(u, darcy_solve(a, grid, source=finer[[0, 1, 2, 0, 1]]), rtol=1e-10)
    assert validate(path, truth=True).ok


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        (USUAL + 1, ValueError, r"`forcing` must have the mean 0, as the curl of a periodic force has; got 1 and"),
        (np.full((32, 32), np.nan), DatasetError, "must have finite values"),
        (np.ones((2, 2, 32, 32)), DatasetError, r"must have shape \(samples, n, n\)"),
        (np.ones((8, 4)), DatasetError, r"must have shape \(samples, n, n\)"),
        (np.ones(4), DatasetError, "with an axis of samples first"),
        (USUAL * 1j, DatasetError, "must have real numbers"),
    ],
)
def test_unusable_forces_are_refused_before_anything_is_written(
    tmp_path: Path, values: np.ndarray, kind: type[Exception], message: str
) -> None:
    np.save(tmp_path / "f.npy", values)
    with pytest.raises(kind, match=message):
        generate(spec_with(tmp_path / "f.npy"), tmp_path / "flow.h5", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["f.npy"]


def test_a_force_beside_the_start_in_one_file_is_looked_at_too(tmp_path: Path) -> None:
    with h5py.File(path := tmp_path / "both.h5", "w") as file:
        file["start"], file["force"] = np.stack([USUAL, USUAL]), np.full((32, 32), np.nan)
    spec = DatasetSpec("navier_stokes", {"forcing": f"{path}:force"}, 2, 32, initial_condition=f"{path}:start")
    with pytest.raises(DatasetError, match="must have finite values"):
        generate(spec, tmp_path / "flow.h5", progress=False)
    assert [path.name for path in tmp_path.iterdir()] == ["both.h5"]


def test_files_are_refused_where_a_field_is_no_use(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", USUAL)
    with pytest.raises(ValueError, match="`viscosity` must be a number, LOW:HIGH, log:LOW:HIGH or A,B,..."):
        DatasetSpec("navier_stokes", {"viscosity": str(tmp_path / "f.npy")})
    with pytest.raises(ValueError, match="`forcing` must be a file that exists"):
        spec_with(tmp_path / "none.npy")
    with pytest.raises(ValueError, match="`forcing` must be FILE.npy without a name after it"):
        spec_with(f"{tmp_path / 'f.npy'}:f")
    law = navier_stokes(
        viscosity=0.01, forcing=FixedField(np.cos(2 * np.pi * 300 * np.arange(1024) / 1024) + 0 * X[:1])
    )
    with pytest.raises(ValueError, match=r"`field` must have shape \(n, n\); got \(1024,\)"):
        solve(law, PLANE, np.zeros((1, 1, 32, 32)), [0.1])
    waves = np.cos(2 * np.pi * 300 * np.arange(1024) / 1024) * np.ones((1024, 1))
    law = navier_stokes(viscosity=0.01, forcing=FixedField(waves))
    with pytest.raises(
        UnresolvedError, match="must resolve the fields in the law of navier_stokes, with modes as high as 300"
    ):
        solve(law, PLANE, np.zeros((1, 1, 32, 32)), [0.1])
