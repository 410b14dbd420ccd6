"""Parameters that vary by sample: their laws, the same bytes however they are computed, and each sample's own truth."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from data_gen import DatasetSpec, PeriodicGrid, burgers, generate, open_dataset, open_source, solve, validate
from data_gen.cli.generate import generate_command
from data_gen.convert import convert
from data_gen.equation import SampleEquations
from data_gen.equations import equation_dims, equation_names, equation_parameters
from data_gen.random_fields.parameters import Choice, Interval, parameter_law
from data_gen.storage.virtual_datasets import dataset_in

SMALL = {"samples": 5, "resolution": 64, "tolerance": 1e-6}
#: A law for each parameter of each equation, and settings that make its data small.
VARIED = {
    "advection": (
        {"speed": "-1.0:1.0", "speed_y": "-1.0:1.0", "speed_z": "0.5,1.0"},
        {"num_dims": 3, "samples": 2, "resolution": 16},
    ),
    "advection_diffusion": ({"speed": "-1.0:1.0", "diffusivity": "log:0.01:0.1"}, {}),
    "allen_cahn": ({"diffusivity": "0.05:0.1", "rate": "0.5,1.0,2.0"}, {"times": (1.0,), "resolution": 128}),
    "allen_cahn_2d": ({"diffusivity": "0.05:0.1", "rate": "0.5:1.0"}, {"samples": 2, "times": (0.2,)}),
    "burgers": ({"viscosity": "log:0.1:1.0"}, {"method": "lawson7"}),
    "burgers_2d": ({"viscosity": "0.1:0.2"}, {"samples": 2, "times": (0.1,), "resolution": 32}),
    "cahn_hilliard": ({"mobility": "0.5:1.0", "stiffness": "0.1:0.2"}, {"times": (0.1,), "resolution": 128}),
    "dispersion": ({"dispersion": "-1.0:1.0"}, {}),
    "fitzhugh_nagumo": (
        {"diffusivity_u": "0.001:0.002", "diffusivity_v": "0.005:0.01", "offset": "-0.1:0.1"},
        {"samples": 2, "times": (0.2,), "resolution": 96},
    ),
    "hyper_diffusion": ({"diffusivity": "0.01:0.1"}, {}),
    "kolmogorov_flow": (
        {"viscosity": "0.01:0.02", "forcing": "0.5:1.0", "drag": "0.0:0.1"},
        {"samples": 2, "times": (0.05,), "resolution": 64, "allow_unresolved": True},
    ),
    "wave": ({"speed": "0.5:1.0"}, {"times": (0.5,)}),
    "zakharov_kuznetsov": ({"nonlinearity": "1.0:2.0"}, {"samples": 2, "times": (0.05,), "resolution": 32}),
    "darcy": ({"source": "0.5:2.0"}, {"samples": 2, "resolution": 16}),
    "fisher_kpp": ({"diffusivity": "0.1:0.2", "rate": "1.0:2.0"}, {}),
    "gray_scott": (
        {"feed": "0.02:0.03", "kill": "0.055,0.06", "diffusivity_u": "2e-05:3e-05", "diffusivity_v": "1e-05:2e-05"},
        {"samples": 2, "times": (1.0,), "resolution": 128},
    ),
    "heat": ({"diffusivity": "0.01:0.1"}, {}),
    "heat_2d": ({"diffusivity": "0.01:0.1"}, {"samples": 2, "resolution": 16}),
    "kdv_burgers": ({"viscosity": "0.1:0.2", "dispersion": "-0.01:0.01"}, {"times": (0.2,), "resolution": 128}),
    "swift_hohenberg": ({"growth": "-0.1:0.3"}, {"times": (0.5,), "resolution": 256}),
    "navier_stokes_3d": (
        {"viscosity": "0.2:0.3"},
        {"samples": 2, "times": (0.05,), "resolution": 16, "tolerance": 1e-4},
    ),
    "kdv": ({"nonlinearity": "1.0:6.0", "dispersion": "0.5:1.0"}, {"times": (0.1,), "resolution": 128}),
    "navier_stokes": (
        {"viscosity": "0.001:0.01", "forcing": "0.0,0.1"},
        {"samples": 2, "times": (0.2,), "resolution": 32},
    ),
}


@pytest.mark.parametrize(
    ("text", "law"),
    [
        ("0.1", 0.1),
        ("-1e-3", -1e-3),
        ("0.01:0.1", Interval(0.01, 0.1)),
        ("log:0.01:0.1", Interval(0.01, 0.1, True)),
        ("0.01,0.03,0.1", Choice((0.01, 0.03, 0.1))),
    ],
)
def test_a_text_is_a_law(text: str, law: object) -> None:
    assert parameter_law("viscosity", text) == law
    assert parameter_law("viscosity", str(law)) == law


@pytest.mark.parametrize(
    "text",
    ["", "x", "0.1:", "0.1:0.1", "2:1", "1:2:3", "log:0:1", "log:1", "log:1,2", "1,", "1,1", "log:x", "nan:1", "0:inf"],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"DatasetSpec: `viscosity` must .*; got "):
        parameter_law("viscosity", text)


def test_values_follow_their_law() -> None:
    spec = DatasetSpec("kdv", {"nonlinearity": "log:0.01:100", "dispersion": "1,2,4"}, samples=4000)
    table = spec.parameter_table(range(4000))
    logs = np.log10(table["nonlinearity"])
    assert logs.min() > -2 and logs.max() < 2 and abs(logs.mean()) < 0.1 and abs(logs.std() - 4 / 12**0.5) < 0.05
    counts = [int((table["dispersion"] == value).sum()) for value in (1.0, 2.0, 4.0)]
    assert sum(counts) == 4000 and min(counts) > 1200
    assert abs(np.corrcoef(logs, table["dispersion"])[0, 1]) < 0.06
    alone = DatasetSpec("kdv", {"nonlinearity": "log:0.01:100"}, samples=9).parameter_table([7])
    assert alone["nonlinearity"][0] == table["nonlinearity"][7]


def test_a_description_with_laws_is_canonical() -> None:
    spec = DatasetSpec("burgers", {"viscosity": " 1e-2:.1"}, **SMALL)
    assert spec.parameters["viscosity"] == "0.01:0.1" and spec == DatasetSpec(
        "burgers", {"viscosity": "0.01:0.10"}, **SMALL
    )
    assert DatasetSpec.from_dict(spec.to_dict()) == spec
    assert DatasetSpec("burgers", {"viscosity": "0.1"}, **SMALL) == DatasetSpec("burgers", **SMALL)
    assert "viscosity" not in spec.header.parameters and spec.header.make_equation() is None


@pytest.mark.parametrize("text", ["0.0:1.0", "-1.0,1.0", "-2.0:-1.0"])
def test_a_law_that_leaves_the_equation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="burgers: `viscosity` must be a finite number above 0"):
        DatasetSpec("burgers", {"viscosity": text})


@pytest.mark.parametrize("equation", VARIED)
def test_every_parameter_may_vary(tmp_path: Path, equation: str) -> None:
    laws, changes = VARIED[equation]
    assert set(laws) == {parameter.name for parameter in equation_parameters(equation)}
    spec = DatasetSpec(equation, laws, **{**SMALL, **changes})
    path = generate(spec, tmp_path / "data.h5", progress=False)
    with open_dataset(path) as data:
        assert set(data.table) == set(laws) and dict(data.header.parameters) == {}
        assert all(values.shape == (spec.samples,) and values.dtype == np.float64 for values in data.table.values())
        own = spec.parameter_table(range(spec.samples))
        assert all((data.table[name] == own[name]).all() for name in laws)
    report = validate(path, truth=True)
    assert report.ok and report.truth and report.max_error is not None


def test_each_sample_is_that_of_a_fixed_run(tmp_path: Path) -> None:
    spec = DatasetSpec("burgers", {"viscosity": "0.05:0.5"}, method="lawson7", **SMALL)
    with open_dataset(generate(spec, tmp_path / "data.h5", progress=False)) as data:
        a, u, viscosities = data.read("a"), data.read("u"), data.table["viscosity"]
    for row, viscosity in enumerate(viscosities):
        alone = solve(burgers(viscosity=viscosity), spec.periodic_grid, a[row : row + 1], [1.0], tolerance=1e-9)[0, 0]
        assert np.abs(u[row] - alone).max() < 1e-6 * np.abs(alone).max()
    fixed = generate(DatasetSpec("burgers", {"viscosity": 0.1}, **SMALL), tmp_path / "fixed.h5", progress=False)
    with open_dataset(fixed) as data:
        np.testing.assert_array_equal(data.read("a"), a)


@pytest.mark.parametrize("method", ["lawson7", "cole-hopf"])
def test_bytes_do_not_depend_on_how_they_are_computed(tmp_path: Path, method: str) -> None:
    laws = {"viscosity": "log:0.1:1.0"}
    spec = DatasetSpec("burgers", laws, samples=140, resolution=64, tolerance=1e-5, method=method)
    one = generate(spec, tmp_path / "one.h5", progress=False)
    two = generate(spec, tmp_path / "two.h5", workers=2, progress=False)
    assert one.read_bytes() == two.read_bytes()
    again = generate(spec, two, resume=True, progress=False)
    assert again.read_bytes() == one.read_bytes()
    sharded = generate(spec, tmp_path / "parts.h5", shards=2, progress=False)
    with open_dataset(one) as whole, open_dataset(sharded) as parts:
        assert whole.checksum == parts.checksum
        np.testing.assert_array_equal(whole.table["viscosity"], parts.table["viscosity"])
        with open_dataset(parts.shard_paths[1]) as last:
            np.testing.assert_array_equal(last.table["viscosity"], whole.table["viscosity"][128:])


def test_a_changed_table_is_found(tmp_path: Path) -> None:
    path = generate(DatasetSpec("heat", {"diffusivity": "0.1:0.2"}, **SMALL), tmp_path / "a.h5", progress=False)
    changed = tmp_path / "b.h5"
    with h5py.File(path) as file, h5py.File(changed, "w") as copy:  # without the checksums of the whole file
        copy.attrs.update({name: value for name, value in file.attrs.items() if name != "seal"})
        for name in file:
            file.copy(name, copy)
        dataset_in(copy, "sample_parameters/diffusivity")[2] = 0.15
    report = validate(changed)
    assert report.problems == ("diffusivity of the samples differs from the file's description",)


@pytest.mark.parametrize("name", ["pdebench.hdf5", "well"])
def test_other_formats_keep_the_table(tmp_path: Path, name: str) -> None:
    path = generate(DatasetSpec("burgers", {"viscosity": "0.1:0.2"}, **SMALL), tmp_path / "a.h5", progress=False)
    out = tmp_path / name
    convert(path, out, to="pdebench" if name.endswith("5") else "the_well")
    with open_dataset(path) as ours, open_source(out) as theirs:
        np.testing.assert_array_equal(theirs.table["viscosity"], ours.table["viscosity"])
        assert "viscosity" not in theirs.header.parameters and "Nu" not in theirs.header.parameters


def test_laws_from_the_command_line(tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    words = ["advection", "--speed", "-1:1", "--samples", "3", "--resolution", "32", "--out", str(out)]
    assert "by sample   speed from " in generate_command(words)
    with open_dataset(out) as data:
        assert data.spec is not None and data.spec.parameters["speed"] == "-1.0:1.0"
    with pytest.raises(ValueError, match="`speed` must be LOW:HIGH with LOW below HIGH"):
        generate_command([*words[:2], "1:-1", *words[3:]])


def test_solve_takes_a_law_for_each_sample() -> None:
    grid = PeriodicGrid(64, 2 * np.pi)
    laws = SampleEquations(burgers, {"viscosity": np.array([0.2, 1.0])})
    with pytest.raises(ValueError, match="as many laws as `u0` has samples, 1; got 2"):
        solve(laws, grid, np.sin(grid.points)[None, None], [1.0])


@pytest.mark.parametrize("name", equation_names())
def test_a_file_of_each_equation_says_its_law(name: str) -> None:
    """In each number of dimensions, though some parameters belong to others only."""
    for num_dims in equation_dims(name) or ():
        header = DatasetSpec(name, samples=1, num_dims=num_dims).header
        law = header.make_equation()
        assert law is not None and law.num_dims == num_dims and dict(law.parameters) == dict(header.parameters)


def test_the_truth_of_samples_with_speeds_of_their_own_is_known(tmp_path: Path) -> None:
    spec = DatasetSpec("advection", {"speed": "0.5:2"}, samples=4, resolution=64)
    report = validate(generate(spec, tmp_path / "a.h5", progress=False), truth=True)
    assert report.ok and report.max_error is not None and report.max_error < 1e-9
