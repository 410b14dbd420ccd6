"""Files of version 0.1.0 are read as they were, and go on as they would have; see tests/fixtures/make_v0_1.py.

Only public names and the command line are used, so that the code inside may move. What is read back has to be the
same to the last byte; what was computed, to rounding.
"""

import contextlib
import json
import math
import shutil
import zlib

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from data_gen import DatasetSpec, open_dataset, open_source
from sciml_cf import load, predict, read_evaluation, read_posterior
from sciml_cf.causal import InstrumentalData, StructuralData
from tests import old_files as old

EXPECTED = json.loads((old.FOLDER / "expected.json").read_text())
HASHES = json.loads((old.FOLDER / "config_hash.json").read_text())
PAGES = json.loads((old.FOLDER / "pages.json").read_text())
RESULTS = sorted(path.name.partition(".")[0] for path in (old.FOLDER / "results").iterdir())
RUNS = {**old.FINISHED, "adapted": old.ADAPT}


@pytest.fixture(scope="module")
def arrays():
    with np.load(old.FOLDER / "expected.npz") as file:
        return {name: file[name] for name in file.files}


def alike(found, expected, rtol=1e-5):
    """Differences are measured against the largest of the expected numbers."""
    found, expected = np.asarray(found, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    assert found.shape == expected.shape
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=0.0)
    np.testing.assert_allclose(found[finite], expected[finite], rtol=0, atol=rtol * scale)


def all_alike(found, expected, group, rtol=1e-5):
    names = {name.removeprefix(group) for name in expected if name.startswith(group)}
    assert {name for name in names if "/" not in name} == set(found)
    for name, array in found.items():  # error bars go through the inverse of an ill-conditioned matrix
        alike(array, expected[group + name], 5e-4 if name == "std" else rtol)


def same(found, expected):
    """Plain values, floating numbers to rounding; there may be new keys."""
    if isinstance(expected, dict):
        assert expected.keys() <= found.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-12, nan_ok=True)
    else:
        assert found == expected


# data


@pytest.mark.parametrize("name", old.DATASETS)
def test_a_dataset_is_read_to_the_same_bytes(name):
    path = old.DATA / f"{name}.h5"
    same(json.loads(json.dumps(old.stored(path))), EXPECTED["datasets"][name])
    assert "layout, checksums and values are sound" in old.command("validate", path)


@pytest.mark.parametrize("name", old.DATASETS)
def test_a_dataset_is_made_again_from_its_description(name, tmp_path):
    found, expected = old.regenerated(name, tmp_path), old.fields(old.DATA / f"{name}.h5")
    for one, other in zip(found, expected, strict=True):
        alike(one, other)


def test_descriptions_have_the_hash_they_had():
    assert len({key for _, key in HASHES}) > 100
    wrong = [given for given, expected in HASHES if DatasetSpec(**given).config_hash != expected]
    assert wrong == []


@pytest.mark.parametrize("name", old.CONVERTED)
def test_the_same_fields_in_another_format_are_the_same_bytes(name, tmp_path):
    (original, facts), place = old.CONVERTED[name], ",".join(str(old.DATA / part) for part in name.split(","))
    expected = old.fields(old.DATA / f"{original}.h5")
    for found, field in zip(old.fields(place, facts), expected, strict=True):
        np.testing.assert_array_equal(found, field)
    with open_source(place, facts=facts) as source, open_dataset(old.DATA / f"{original}.h5") as data:
        assert source.checksum == data.checksum
        np.testing.assert_allclose(source.times, facts.times or data.times)
        np.testing.assert_allclose(source.grid.points, data.grid.points, atol=1e-12)


@pytest.mark.parametrize("name", ["gzip", "shards"])
def test_a_repacked_dataset_keeps_its_checksum(name, tmp_path):
    out = tmp_path / "plain.h5"
    old.command("repack", old.DATA / f"{name}.h5", "--compression none --out", out)
    with open_dataset(out) as data:
        assert data.checksum == EXPECTED["datasets"][name]["checksum"]


def test_an_interrupted_generation_is_finished(tmp_path):
    whole = old.fields(old.DATA / "shards.h5")
    first = whole[0][:128].tobytes()
    other = (2 * whole[0][:128]).tobytes()  # in the place of the block that is there: to see that it is kept
    content = (old.DATA / "unfinished.h5.partial").read_bytes()
    assert content.count(first) == 1
    (tmp_path / "unfinished.h5.partial").write_bytes(content.replace(first, other))
    journal = (old.DATA / "unfinished.h5.journal").read_text()
    journal = journal.replace(str(zlib.crc32(first)), str(zlib.crc32(other)))
    (tmp_path / "unfinished.h5.journal").write_text(journal)
    old.command("generate", old.UNFINISHED.removesuffix("unfinished.h5"), tmp_path / "unfinished.h5", "--resume")
    found = old.fields(tmp_path / "unfinished.h5")
    assert found[0][:128].tobytes() == other
    for one, field in zip(found, whole, strict=True):
        alike(one[128:], field[128:])


# runs


@pytest.mark.parametrize("name", RUNS)
def test_a_run_predicts_as_before(name, arrays):
    run, data = old.RUNS / name, old.data_of(RUNS[name])
    all_alike(old.predictions(run, data), arrays, f"{name}/")
    weights = torch.load(run / "weights_best.pt", weights_only=True)
    model = load(run).state_dict()
    assert all(torch.equal(weights[key], model[key]) for key in weights)


def test_a_run_of_an_own_model_predicts_as_before(arrays):
    alike(old.own_outputs(), arrays["own/best"])


def test_the_command_predicts_as_before(tmp_path, arrays):
    np.save(tmp_path / "in.npy", old.fields(old.DATA / "burgers.h5")[0][:2])
    given, found, bars = (tmp_path / f"{name}.npy" for name in ("in", "out", "std"))
    old.command("predict", old.RUNS / "fno", "--input", given, "--output", found, "--std", bars)
    alike(np.load(found), arrays["fno/best"])
    alike(np.load(bars), arrays["fno/std"], 5e-4)


@pytest.mark.parametrize("name", old.EVALUATED)
def test_an_evaluation_is_read_and_measured_again(name, tmp_path):
    assert old.evaluation_hash(old.RUNS / name) == EXPECTED["evaluations"][name]
    before, now = read_evaluation(old.RUNS / name), old.evaluation(name, tmp_path)
    assert set(before.variables) <= set(now.variables)
    now = now.sel(baseline=before["baseline"])  # later versions have more of them
    for key in before.variables:
        if before[key].dtype.kind == "f":
            alike(now[key].values, before[key].values, 1e-4)
        else:
            np.testing.assert_array_equal(now[key].values, before[key].values)


def test_error_bars_are_made_again(tmp_path, arrays):
    run = shutil.copytree(old.RUNS / "fno", tmp_path / "fno")
    before = read_posterior(run)
    (run / "posterior.pt").unlink()
    old.command("posterior", run, "--data", old.DATA / "burgers.h5")
    alike(read_posterior(run).gram, before.gram, 1e-4)
    alike(predict(run, old.fields(old.DATA / "burgers.h5")[0][:2], std=True)[1], arrays["fno/std"], 5e-4)


def test_a_run_is_adapted_as_before(tmp_path, arrays):
    out = tmp_path / "adapted"
    with contextlib.chdir(old.RUNS):
        old.command(old.ADAPT, "--out", out)
    all_alike(old.predictions(out, old.DATA / "gzip.h5"), arrays, "adapted/", 1e-4)


@pytest.mark.parametrize("name", old.STOPPED)
def test_a_stopped_run_goes_on_as_it_would_have(name, tmp_path, arrays):
    (before,), run = old.history(old.RUNS / "stopped" / name), old.resumed(name, tmp_path)
    first, *_ = rows = old.history(run)
    assert {key: first[key] for key in before} == before
    check_rows(rows, EXPECTED["histories"][name])
    all_alike(old.predictions(run, old.DATA / "burgers.h5"), arrays, f"resumed/{name}/", 1e-4)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(tmp_path, arrays):
    run = shutil.copytree(old.RUNS / "stopped" / "proximal", tmp_path / "proximal")
    (run / "last.pt").write_bytes((run / "last.pt").read_bytes()[:-900])
    old.train(old.STOPPED["proximal"], run, "--resume")
    check_rows(old.history(run), EXPECTED["histories"]["proximal"])


def test_a_finished_run_stays_as_it_is(tmp_path):
    run = shutil.copytree(old.RUNS / "fno", tmp_path / "fno")
    old.train(old.FINISHED["fno"], run, "--resume")
    assert old.history(run) == old.history(old.RUNS / "fno")
    for name in ("weights_best.pt", "weights_last.pt", "evaluation.nc"):
        assert (run / name).read_bytes() == (old.RUNS / "fno" / name).read_bytes()


def test_other_settings_are_refused_by_name(tmp_path, capsys):
    run = shutil.copytree(old.RUNS / "stopped" / "kalman", tmp_path / "kalman")
    with pytest.raises(SystemExit):
        old.train(old.STOPPED["kalman"], run, "--resume --clip 2")
    assert "fit.clip = 2.0" in capsys.readouterr().err


def test_a_stopped_run_of_labels_goes_on_as_it_would_have(tmp_path, arrays):
    run = old.resumed_labels(tmp_path)
    check_rows(old.history(run), EXPECTED["histories"]["labels"])
    all_alike(old.labels_outputs(run), arrays, "resumed/labels/", 1e-4)


def check_rows(found, expected):
    """The same numbers each epoch; new ones may join them. Those about the head's solves are the less exact ones."""
    exact = {"epoch", "steps", "learning_rate", "train_loss", "validation_mse", "validation_loss", "head_change"}
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert other.keys() <= one.keys()
        for key, value in other.items():
            tolerance = {"rel": 1e-3} if key in exact else {"rel": 1e-2, "abs": 1e-4}
            assert one[key] == pytest.approx(value, nan_ok=True, **tolerance), key


@pytest.mark.parametrize("name", old.LOOPS)
def test_a_loop_of_ones_own_goes_on_from_its_state_dicts(name, arrays):
    alike(old.continued_loop(name), arrays[f"loops/{name}"], 1e-4)


# instrumental variables


@pytest.mark.parametrize("name", old.DEEP)
def test_an_estimator_is_loaded_and_goes_on(name, tmp_path, arrays):
    loaded = old.deep(name).load(old.CAUSAL / name)
    all_alike(old.deep_predictions(loaded, name), arrays, f"causal/{name}/")
    assert [row["iteration"] for row in loaded.history_] == [1, 2, 3, 4]
    all_alike(old.deep_predictions(old.longer(name, tmp_path), name), arrays, f"causal/{name}/longer/", 1e-4)


def test_samples_with_an_instrument_are_read():
    data = InstrumentalData.load(old.CAUSAL / "data.h5")
    points = StructuralData.load(old.CAUSAL / "structural.h5")
    np.testing.assert_array_equal(data.treatment, points.treatment)
    np.testing.assert_allclose(data.structural, data.treatment**2 / 4 + data.covariates, rtol=1e-12)
    assert (data.law, data.seed, len(data)) == ("y = x^2 / 4 + o + 2 u, x = z + u", 0, 48)
    assert dict(data.parameters) == dict(points.parameters) == {"confounding": 2.0}


# results and pages


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(Figure, "savefig", old.no_picture)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_file_makes_the_same_page(name, tmp_path, undrawn):
    check_page(name, old.page(name, tmp_path))


def test_a_run_makes_the_same_report_and_comparison(tmp_path, undrawn):
    for name, found in old.reports(tmp_path).items():
        check_page(name, found)


def check_page(name, found):
    """Numbers first: a few may differ by one in the last digit, where rounding on another machine turns them over."""
    expected = PAGES[name]
    assert [len(table.split()) for table in found["tables"]] == [len(table.split()) for table in expected["tables"]]
    pairs = list(zip(" ".join(found["tables"]).split(), " ".join(expected["tables"]).split(), strict=True))
    assert [pair for pair in pairs if not close(*pair)] == []
    assert sum(one != other for one, other in pairs) <= 2 + len(pairs) // 200
    words = {key: value for key, value in found.items() if key != "tables"}
    assert words.items() <= expected.items(), f"if the words of {name} were changed on purpose: {json.dumps(words)}"


def close(found, expected):
    mantissa, _, exponent = expected.partition("e")
    digit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    return found == expected or math.isclose(float(found), float(expected), rel_tol=0, abs_tol=1.01 * digit)


def test_a_study_takes_the_trials_that_it_finds(tmp_path, undrawn):
    out = shutil.copytree(old.FOLDER / "study", tmp_path / "study")
    before = json.loads((out / "results.json").read_text())["figures"]
    trial = out / "trials" / "constant noise 158 seed 2.json"
    content = json.loads(trial.read_text())
    content["result"]["test_current_mse"] = 4.0  # would be another if the trial were run
    trial.write_text(json.dumps(content))
    old.command(old.STUDY, "--out", out)
    now = json.loads((out / "results.json").read_text())["figures"]
    first, second = (figures["constant, noise 158"].pop("runs") for figures in (before, now))
    assert now == before and second[0] == first[0]
    assert second[1]["test_mse"] == 4.0 != first[1]["test_mse"]
