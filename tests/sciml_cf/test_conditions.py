"""Scalars of samples as inputs: read from the file, stored in the run, and needed where it predicts."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate
from data_gen.errors import DatasetError
from data_gen.formats import Overrides, open_source
from data_gen.formats.every_time import EveryTime
from sciml_cf.cli.dispatch import main
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate.prediction import predict
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.training.config import FitConfig
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import load

SMALL = {"width": 8, "modes": 4, "layers": 2}
RATES = (0.05, 0.1, 0.2)
AUTO = Overrides(condition=("auto",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the heat equation at several diffusivities, as one dataset."""
    folder = tmp_path_factory.mktemp("rates") / "heat"
    folder.mkdir()
    for seed, rate in enumerate(RATES):
        spec = DatasetSpec(equation="heat", parameters={"diffusivity": rate}, samples=8, resolution=32, seed=seed)
        generate(spec, folder / f"{rate}.h5", progress=False)
    return folder


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    train_on_file(folder, out, FitConfig(epochs=2, batch_size=8), model=SMALL, facts=AUTO)
    return out


@pytest.fixture(scope="module")
def trajectories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = DatasetSpec(equation="heat", samples=9, resolution=32, times=(0.01, 0.02, 0.05))
    return generate(spec, tmp_path_factory.mktemp("heat") / "f.h5", progress=False)


@pytest.mark.parametrize("names", [("auto",), ("diffusivity",)])
def test_parameters_that_differ_are_constant_channels(folder: Path, names: tuple[str, ...]) -> None:
    data = FieldDataset(folder, "all", facts=Overrides(condition=names))
    plain = FieldDataset(folder, "all")
    rates = np.repeat(RATES, 8)
    assert data.x.shape == (24, 2, 32) and torch.equal(data.x[:, :1], plain.x) and torch.equal(data.y, plain.y)
    np.testing.assert_allclose(data.x[:, 1].numpy(), np.broadcast_to(rates[:, None], (24, 32)), rtol=1e-6)
    np.testing.assert_allclose(data.conditions["diffusivity"], rates)
    assert data.one_field and torch.equal(data.states, plain.x)


def test_a_parameter_that_all_share_may_be_named(trajectories: Path) -> None:
    data = FieldDataset(trajectories, "all", facts=Overrides(condition=("diffusivity", "time_step")))
    assert data.x.shape[1] == 3 and float(data.x[0, 2, 0]) == pytest.approx(0.05)


def test_each_later_time_is_a_target(trajectories: Path) -> None:
    data = FieldDataset(trajectories, "all", facts=Overrides(condition=("time",)))
    with open_source(trajectories) as source:
        fields, times = source.read_trajectory(), source.times
    assert len(data) == 9 * 3
    for index in range(len(data)):
        sample, k = index // 3, index % 3 + 1
        np.testing.assert_allclose(data.x[index, 0].numpy(), fields[sample, 0, 0], atol=1e-6)
        np.testing.assert_allclose(data.y[index, 0].numpy(), fields[sample, k, 0], atol=1e-6)
        assert float(data.x[index, 1, 0]) == pytest.approx(times[k], rel=1e-6)
    exact = data.linear_solution()  # of the heat equation, at each sample's own time
    assert exact is not None and float((exact - data.y).abs().max()) < 1e-4
    parts = [FieldDataset(trajectories, part, facts=Overrides(condition=("time",))) for part in ("train", "test")]
    seen, held = ({int(index) // 3 for index in part.indices} for part in parts)
    assert not seen & held


def test_the_run_tells_its_parameters_and_evaluation_finds_them(folder: Path, run: Path) -> None:
    stored = json.loads((run / "run.json").read_text())
    assert stored["data"]["conditions"] == {"diffusivity": [0.05, 0.2]}
    assert stored["model"]["arguments"]["in_channels"] == 2
    found = evaluate_run(run, folder, [32])
    test = FieldDataset(folder, "test", facts=AUTO)
    with torch.no_grad():
        error = (load(run)(test.x) - test.y).double().square().mean()
    np.testing.assert_allclose(float(found["mse"].sel(output="native")[0]), error, rtol=1e-4)
    assert "identity" in found["baseline"] and found.attrs["own_data"] == 1


def test_predict_needs_the_parameters(folder: Path, run: Path) -> None:
    data = FieldDataset(folder, "all", facts=AUTO)
    u, rates = data.x[:, 0].numpy(), data.conditions["diffusivity"]
    with torch.no_grad():
        expected = load(run)(data.x).numpy()[:, 0]
    np.testing.assert_allclose(predict(run, u, parameters={"diffusivity": rates}), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(predict(run, data.x.numpy())[:, 0], expected, rtol=1e-4, atol=1e-5)
    one = predict(run, u, parameters={"diffusivity": 0.1})
    np.testing.assert_allclose(one[8:16], expected[8:16], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (None, "`parameters` must give diffusivity, as the run was trained with; got none"),
        ({"viscosity": 0.1}, "`parameters` must give diffusivity.*got viscosity"),
        ({"diffusivity": [0.1, 0.2]}, r"one for each sample; got diffusivity of shape \(2,\)"),
        ({"diffusivity": float("nan")}, "must have a finite number"),
        ({"diffusivity": "thick"}, "must have a finite number"),
    ],
)
def test_predict_refuses_other_parameters(run: Path, parameters, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict(run, np.zeros((3, 32)), parameters=parameters)


def test_a_run_without_parameters_takes_none(run_folder: Path) -> None:
    with pytest.raises(ValueError, match="`parameters` must be left out for a run without them; got viscosity"):
        predict(run_folder, np.zeros((3, 64)), parameters={"viscosity": 0.1})


@pytest.mark.parametrize("how", ["csv", "npy", "words", "file's own"])
def test_the_command_takes_parameters(folder: Path, run: Path, tmp_path: Path, how: str, capsys) -> None:
    data = FieldDataset(folder, "all", facts=AUTO)
    u, rates = data.x[:, 0].numpy(), data.conditions["diffusivity"]
    if how == "words":
        rates = np.full(24, 0.1)
    np.save(tmp_path / "u.npy", u)
    np.save(tmp_path / "rates.npy", rates)
    (tmp_path / "rates.csv").write_text("diffusivity\n" + "\n".join(map(str, rates)) + "\n")
    source = str(folder) if how == "file's own" else str(tmp_path / "u.npy")
    words = {"csv": [str(tmp_path / "rates.csv")], "npy": [str(tmp_path / "rates.npy")], "words": ["diffusivity=0.1"]}
    flags = ["--parameters", *words[how]] if how in words else []
    main(["predict", str(run), "--input", source, "--output", str(tmp_path / "out.npy"), *flags])
    expected = predict(run, u, parameters={"diffusivity": rates})
    np.testing.assert_allclose(np.load(tmp_path / "out.npy").reshape(expected.shape), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("viscosity\n0.1\n", "must give diffusivity"),
        ("", "must be a table of diffusivity"),
        ("diffusivity\nthick\n", "must be a table of diffusivity"),
        ("diffusivity,other\n0.1\n", "must be a table of diffusivity"),
        (None, "must be a .csv"),
    ],
)
def test_the_command_refuses_other_tables(run: Path, tmp_path: Path, text, message: str, capsys) -> None:
    np.save(tmp_path / "u.npy", np.zeros((1, 32)))
    table = tmp_path / "table.csv"
    if text is not None:
        table.write_text(text)
    words = ["predict", str(run), "--input", str(tmp_path / "u.npy"), "--output", str(tmp_path / "out.npy")]
    with pytest.raises(SystemExit) as stopped:
        main([*words, "--parameters", str(table)])
    assert stopped.value.code in (1, 2)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out.npy").exists()


def test_values_outside_the_training_are_warned_of(run: Path, folder: Path, tmp_path: Path, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        predict(run, np.zeros((2, 32)), parameters={"diffusivity": 0.2})
        assert "diffusivity" not in caplog.text
        predict(run, np.zeros((2, 32)), parameters={"diffusivity": [0.1, 0.7]})
        assert (
            "`diffusivity` should lie in the range of the training, 0.05 to 0.2; it goes from 0.1 to 0.7" in caplog.text
        )
        caplog.clear()
        spec = DatasetSpec(equation="heat", parameters={"diffusivity": 0.4}, samples=8, resolution=32)
        generate(spec, tmp_path / "other.h5", progress=False)
        evaluate_run(run, tmp_path / "other.h5", [32])
        assert "evaluate: `diffusivity` should lie in the range" in caplog.text


def test_names_that_the_file_lacks_are_refused(folder: Path, trajectories: Path) -> None:
    with pytest.raises(ValueError, match="must name a parameter of the samples; got 'forcing', and .* has dif"):
        FieldDataset(folder, "all", facts=Overrides(condition=("forcing",)))
    with pytest.raises(ValueError, match="`condition` must find a parameter that differs"):
        FieldDataset(trajectories, "all", facts=AUTO)
    np.save(folder.parent / "a.npy", np.zeros((4, 3, 16)))
    pair = f"{folder.parent / 'a.npy'},{folder.parent / 'a.npy'}"
    said = Overrides(condition=("time",), times=(1.0,), extent=(1.0,), axes=("sample,channel,x", "sample,channel,x"))
    with pytest.raises(DatasetError, match="must hold trajectories for `condition` time"):
        FieldDataset(pair, "all", facts=said)


@pytest.mark.parametrize("names", [("a", "a"), ("auto", "a"), ("a,auto",)])
def test_names_are_given_once(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="`condition` must name each parameter once, or be auto"):
        Overrides(condition=names)


def test_a_parameter_that_is_not_finite_is_refused(folder: Path, tmp_path: Path) -> None:
    x = np.zeros((4, 16), dtype=np.float32)
    with h5py.File(tmp_path / "f.h5", "w") as file:
        file["x"], file["y"], file["nu"] = x, x, np.array([0.1, np.nan, 0.2, 0.3])
    facts = Overrides(condition=("nu",), input_name="x", target_name="y", extent=(1.0,), times=(0.0, 1.0))
    with pytest.raises((DatasetError, ValueError), match="condition"):
        FieldDataset(tmp_path / "f.h5", "all", facts=facts)


def test_pairs_of_every_time_say_what_they_hold(trajectories: Path) -> None:
    with open_source(trajectories) as source, EveryTime(source) as pairs:
        assert pairs.num_samples == 27 and pairs.checksum != source.checksum
        np.testing.assert_array_equal(pairs.groups, np.repeat(np.arange(9), 3))
        assert pairs.read("u0" if pairs.input_name == "u0" else pairs.input_name, slice(4, 11)).shape == (7, 1, 32)
