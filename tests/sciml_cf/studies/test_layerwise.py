"""The studies layerwise and softmax at the smallest size, through the command line."""

import json
import re
import statistics
from dataclasses import replace

import numpy as np
import pytest

from sciml_cf.cli import main
from sciml_cf.cli.study import study_command
from sciml_cf.layerwise import count_tokens, explicit_softmax
from sciml_cf.studies.harness.images import first_at, load_images, thinned
from sciml_cf.studies.harness.results import read_result
from sciml_cf.studies.layerwise import run as layerwise
from sciml_cf.studies.softmax import run as softmax
from sciml_cf.studies.softmax.run import distances
from sciml_cf.studies.softmax.text import load_text, made_up_text, premise
from tests.sciml_cf.test_idx import idx

TINY = replace(layerwise.PRESETS["small"], timed=(30,), widths=(20,), depths=(1, 2), epochs=1, seeds=(1, 2), toys=2)
FORMS = ("closest and top", "reweight")
TINY_SOFTMAX = replace(
    softmax.PRESETS["small"], vocabulary=60, contexts=(1, 2), text_epochs=0, epochs=2, norms=(1.0, 0.0)
)


def few(patch):
    patch.setitem(layerwise.PRESETS, "small", TINY)
    patch.setattr(layerwise, "FORMS", {name: layerwise.FORMS[name] for name in FORMS})
    patch.setattr(layerwise, "CANDIDATES", {name: own[1:4:2] for name, own in layerwise.CANDIDATES.items()})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "layerwise"
    with pytest.MonkeyPatch.context() as patch:
        few(patch)
        text = study_command(["layerwise", "--out", str(out), "--workers", "1"])
    return out, text


def test_every_arm_chooses_from_as_many_settings():
    assert {len(own) for own in layerwise.CANDIDATES.values()} == {24}


@pytest.mark.slow
def test_the_result_file_holds_every_run(finished):
    figures = read_result(finished[0] / "results.json")["figures"]
    assert [(one["form"], one["seed"]) for one in figures["forms"]] == [(f, s) for f in FORMS for s in (1, 2)]
    assert {one["weight_solves"] for one in figures["forms"] if one["form"] == FORMS[0]} == {3}
    solves = {(one["mode"] == "random features", one["depth"], one["weight_solves"]) for one in figures["depths"]}
    assert solves == {(False, 1, 3), (False, 2, 4), (True, 1, 1), (True, 2, 1)}
    assert all(solve["condition"] > 1 for one in figures["depths"] for solve in one["solves"])
    (time,) = figures["time"]
    order = [(run["seeds"], run["end"], run["arm"]) for run in time["runs"]]
    assert order == [([s], end, arm) for s in (1, 2) for end in ("time", "accuracy") for arm in layerwise.CANDIDATES]
    for run in time["runs"]:
        assert run["passed"] == (first_at(run["rows"], 0.95) < float("inf"))
        assert run["lost"] == pytest.approx(1 - run["rows"][-1]["accuracy"])
    chosen = time["chosen"]["accuracy"]["adam"]
    lost = {
        path.name: json.loads(path.read_text())["result"]["lost"]
        for path in (finished[0] / "trials").glob("select width 30 adam*")
    }
    best = min(lost, key=lambda name: lost[name])
    assert len(lost) == 2 and f"rate={chosen['rate']:g} batch={chosen['batch']}" in best


@pytest.mark.slow
def test_the_tables_show_means_and_medians(finished):
    out, text = finished
    figures = read_result(out / "results.json")["figures"]
    test = statistics.fmean(one["test"] for one in figures["forms"][:2])
    assert re.search(rf"closest and top +20 .* {test:.3f} +3 +1 +1", text)
    page = (out / "layerwise.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "<script" not in page
    assert "of each solved system, closest targets" in page and str(out / "layerwise-time.png") in text


@pytest.mark.slow
def test_again_runs_nothing(finished, monkeypatch):
    out, _ = finished
    few(monkeypatch)
    for name in ("toy_trial", "form_trial", "depth_trial", "arm_trial"):
        monkeypatch.setattr(layerwise, name, None)
    before = read_result(out / "results.json")["figures"]
    study_command(["layerwise", "--out", str(out), "--workers", "1"])
    assert read_result(out / "results.json")["figures"] == before
    assert "done" in study_command(["layerwise", "--out", str(out), "--shard", "1", "3"])


@pytest.fixture(scope="module")
def finished_softmax(tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "softmax"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(softmax.PRESETS, "small", TINY_SOFTMAX)
        text = study_command(["softmax", "--out", str(out), "--workers", "1"])
    return out, text


def test_the_softmax_result_holds_each_part(finished_softmax):
    out, text = finished_softmax
    figures = read_result(out / "results.json")["figures"]
    assert set(figures) == {"priming", "start", "local", "text", "text start", "laws"}
    one, mean = (row for row in figures["priming"])
    images = load_images(None, 1)
    for row, norm in ((one, 1.0), (mean, "mean")):
        scores = images.x_test.double() @ explicit_softmax(images.x, images.labels, norm=norm, smoothing=1e-2)
        assert row["accuracy"] == (scores.argmax(dim=1) == images.labels_test).double().mean().item()
    warm, cold = figures["start"]
    assert warm["rows"][0]["accuracy"] == mean["accuracy"] > 0.85 > 0.3 > cold["rows"][0]["accuracy"]
    assert warm["rows"][0]["distance"] < 1e-5 and warm["rows"][0]["cosine"] > 1 - 1e-9
    for row in figures["text"]:
        best = min(row["rows"], key=lambda entry: entry["validation"])
        assert (row["smoothing"], row["test"]) == (best["smoothing"], best["test"])
    explicit = next(row for row in figures["text"] if (row["split"], row["context"]) == ("blocks", 1))
    start = next(row for row in figures["text start"] if (row["start"], row["context"]) == ("warm", 1))
    assert start["rows"][0]["test"] == pytest.approx(explicit["test"], rel=1e-4)  # the trained layer's own figure
    assert "least test cross-entropy" in text and (out / "softmax-starts.png").stat().st_size > 1000


def test_distances_do_not_see_what_softmax_does_not():
    weights = explicit_softmax(load_images(None, 1).x, load_images(None, 1).labels)
    assert distances(weights + 3 * weights[:, :1], weights) == pytest.approx({"distance": 0, "cosine": 1}, abs=1e-9)
    assert distances(2 * weights, weights)["distance"] == pytest.approx(1)


@pytest.mark.parametrize("law", ["zipf", "uniform"])
def test_made_up_texts_follow_their_law_and_keep_their_group(law):
    tokens, truth = made_up_text(law, 0.5, 0)
    assert np.allclose(truth.sum(axis=1), 1)
    share = 1 / np.arange(1, 201) if law == "zipf" else np.ones(200)
    share = share / share.sum()
    assert np.allclose(share @ truth, share)
    counts = np.bincount(tokens, minlength=200) / len(tokens)
    assert np.abs(counts - share).sum() < 0.1
    same = (tokens[1:] % 10 == tokens[:-1] % 10).mean()
    expected = 0.5 + 0.5 * (np.bincount(np.arange(200) % 10, share) ** 2).sum()
    assert abs(same - expected) < 0.02


def test_the_premise_holds_exactly_where_tokens_are_independent():
    """Counts of the form f_j f_i have a power mean in proportion to f_i."""
    share = np.arange(1, 21) ** 2
    tokens = np.repeat(np.arange(20), share)
    slope, determination = premise(np.outer(share, share) * 1.0, share * 10, tokens, 2)
    assert slope == pytest.approx(1, abs=0.01) and determination > 0.999
    chain, _ = made_up_text("zipf", 0.0, 0)
    found = count_tokens(chain, vocabulary=200, context=2)
    assert premise(found.counts.toarray(), found.following, chain, 2)[0] == pytest.approx(1, abs=0.1)


def test_a_text_is_split_into_three_parts():
    for split in ("blocks", "documents"):
        parts = load_text({"text": None, "split": split, "seed": 1, "vocabulary": 100})
        sizes = [len(part) for part in parts.values()]
        assert sum(sizes) > 100_000 and sizes[0] > 3 * max(sizes[1:]) and min(sizes) > 1000


def test_people_bring_their_own_files(tmp_path):
    random = np.random.default_rng(0)
    for name, rows in (("train", 40), ("t10k", 20)):
        labels = (np.arange(rows) % 3).astype(np.uint8)
        images = random.integers(0, 60, (rows, 4, 4)).astype(np.uint8) + 60 * labels[:, None, None]
        (tmp_path / f"{name}-images-idx3-ubyte").write_bytes(idx(images))
        (tmp_path / f"{name}-labels-idx1-ubyte").write_bytes(idx(labels))
    images = load_images(tmp_path, 1)
    assert (images.x.shape, images.x_test.shape, images.classes) == ((40, 16), (20, 16), 3)
    assert load_images(tmp_path, 1, validate=True).x.shape == (36, 16)
    for name, ending in (("train", "train"), ("dev", "dev"), ("test", "test")):
        (tmp_path / f"babylm_{name}").mkdir()
        (tmp_path / f"babylm_{name}" / f"a.{ending}").write_text("one two three four " * 10)
    parts = load_text({"text": str(tmp_path), "vocabulary": 10, "seed": 0})
    assert [len(part) for part in parts.values()] == [40, 40, 40]


def test_a_folder_without_files_gets_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["study", "softmax", "--images", str(tmp_path), "--workers", "1"])
    error = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 1 and "read_mnist: `folder` must hold one of train-images-idx3-ubyte" in error


@pytest.mark.slow
def test_a_sweep_is_at_the_mark_before_every_gradient_method(tmp_path):
    study_command(["layerwise", "--out", str(tmp_path / "out"), "--workers", "1"])
    (time,) = read_result(tmp_path / "out" / "results.json")["figures"]["time"]
    seconds = {
        arm: statistics.median(
            run["seconds_to_mark"] for run in time["runs"] if (run["arm"], run["end"]) == (arm, "time")
        )
        for arm in layerwise.CANDIDATES
    }
    assert min(seconds[arm] for arm in ("adam", "sgd", "nag", "adagrad")) > seconds["sweep"], seconds


def test_the_mark_is_passed_by_the_first_row_that_reaches_it():
    rows = [{"seconds": 0.0, "accuracy": 0.1}, {"seconds": 1.0, "accuracy": 0.9}, {"seconds": 2.0, "accuracy": 0.95}]
    assert [first_at(rows, mark) for mark in (0.5, 0.9, 0.91, 0.96)] == [1.0, 1.0, 2.0, float("inf")]


def test_a_thinned_curve_keeps_its_ends_and_the_mark():
    rows = [{"accuracy": index / 500, "seconds": float(index)} for index in range(500)]
    few = thinned(rows, 0.95)
    assert few[0] == rows[0] and few[-1] == rows[-1] and rows[475] in few and len(few) <= 42
    assert first_at(few, 0.95) == first_at(rows, 0.95) == 475
    assert thinned(rows[:3], 2.0) == rows[:3] and thinned(rows[:1], 0.0) == rows[:1]
