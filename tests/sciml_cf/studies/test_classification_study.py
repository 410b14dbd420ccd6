"""The study of classification: from flags to a page, on digits and on small files of CIFAR's and ImageNet's layouts."""

import csv
import importlib.util
import json
from dataclasses import replace

import pytest
import torch

from sciml_cf.cli import main
from sciml_cf.errors import DatasetError
from sciml_cf.head import CrossEntropy, OneHot
from sciml_cf.studies.classification.run import RECIPES, Classification, load_parts, measure, run, settings
from sciml_cf.studies.harness.folder import finish
from sciml_cf.training.run_folder import load
from tests.sciml_cf.test_class_images import batch, write

needs_vision = pytest.mark.skipif(importlib.util.find_spec("torchvision") is None, reason="needs the extra `vision`")
SHORT = Classification(epochs=2, accelerator="cpu")


@pytest.mark.parametrize(
    "method", ["l2", "ridge", "proximal", "kalman", "cross-entropy", "cross-entropy-closed-form", "hybrid"]
)
def test_each_method_learns_digits_and_leaves_a_run_that_loads(tmp_path, method):
    config = replace(SHORT, method=method, out=tmp_path / "out", epochs=3)
    path = run(config)
    assert path == tmp_path / "out" / "results.json"
    text = finish(path)
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    last = result["figures"]["rows"][-1]
    assert last["test_accuracy"] > (0.5 if method == "cross-entropy" else 0.8) and last["test_top5"] > 0.9
    assert ("test_calibration_error" in last) == method.startswith("cross-entropy")
    curve = result["figures"].get("reliability")
    assert (curve is not None) == method.startswith("cross-entropy")
    assert (tmp_path / "out" / "classification-reliability.png").is_file() == (curve is not None)
    if curve is not None:
        assert curve["ece"] == pytest.approx(last["test_calibration_error"], abs=1e-12)
        assert sum(curve["count"]) == len(load_parts(config).test)
    assert ("head_step" in last) == (method not in ("l2", "cross-entropy"))
    assert "classification.html" in text and (tmp_path / "out" / "classification.html").is_file()
    found = measure(load(tmp_path / "out" / "run", which="last"), load_parts(config).test, probabilities=False)
    assert found["test_accuracy"] == last["test_accuracy"]


@pytest.mark.parametrize("algorithm", [1, 2])
def test_a_run_resumes_to_the_same_bytes(tmp_path, algorithm, monkeypatch):
    config = replace(SHORT, epochs=4, algorithm=algorithm, method="cross-entropy-closed-form")
    run(replace(config, out=tmp_path / "whole"))
    calls = []

    def stops(*given, **named):
        calls.append(0)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return measure(*given, **named)

    monkeypatch.setattr("sciml_cf.studies.classification.run.measure", stops)
    with pytest.raises(KeyboardInterrupt):
        run(replace(config, out=tmp_path / "parts"))
    run(replace(config, out=tmp_path / "parts", resume=True))
    one, other = (
        torch.load(tmp_path / name / "run" / "weights_last.pt", weights_only=True) for name in ("whole", "parts")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)
    results = [json.loads((tmp_path / name / "results.json").read_text())["figures"] for name in ("whole", "parts")]
    assert results[0]["reliability"] == results[1]["reliability"]
    texts = [(tmp_path / name / "run" / "history.csv").read_text() for name in ("whole", "parts")]
    rows = [list(csv.DictReader(text.splitlines())) for text in texts]
    assert [{**row, "seconds": 0} for row in rows[0]] == [{**row, "seconds": 0} for row in rows[1]]


def test_settings_are_the_paper_s_on_means():
    config = Classification(data="imagenet", method="proximal")
    fit, objective = settings(config, RECIPES["imagenet"], 1_281_167)
    assert fit.strength == pytest.approx(10000 / 4096) and fit.learning_rate == 1.6 and fit.schedule == "cosine"
    assert fit.warmup == 5 * (1_281_167 // 4096) and fit.adaptive_clip == 0.01
    assert objective == OneHot(smoothing=0.1)
    ridge, _ = settings(replace(config, method="ridge", batch_size=1024), RECIPES["imagenet"], 1_281_167)
    assert ridge.strength == pytest.approx(0.01 / 1024) and ridge.method == "ridge"
    plain, objective = settings(replace(config, method="cross-entropy"), RECIPES["imagenet"], 1_281_167)
    assert (plain.method, plain.strength, objective) == ("l2", None, CrossEntropy(smoothing=0.1))
    assert settings(replace(config, method="l2"), RECIPES["imagenet"], 10_000)[0].learning_rate == 1.0
    with pytest.raises(ValueError, match="`coefficient` must be left out with method 'l2'"):
        settings(replace(config, method="l2", coefficient=1.0), RECIPES["imagenet"], 10_000)


def test_a_fifth_of_the_training_images_validates_and_none_is_used_twice():
    parts = load_parts(SHORT)
    sizes = [len(part) for part in parts[:3]]
    assert sizes == [1150, 288, 359] and sum(sizes) == 1797
    images = torch.cat([part.images.flatten(1) for part in parts[:3]])
    from sciml_cf.classification import read_digits

    assert torch.equal(images.double().sort(0).values, read_digits()[0].double().sort(0).values)


@needs_vision
def test_cifar_batches_are_trained_on_by_a_resnet(tmp_path):
    for k in range(1, 6):
        write(tmp_path / "cifar-10-batches-py" / f"data_batch_{k}", batch(4, seed=k))
    write(tmp_path / "cifar-10-batches-py" / "test_batch", batch(3, seed=9))
    config = replace(SHORT, data="cifar10", folder=tmp_path, out=tmp_path / "out", epochs=1, batch_size=8)
    run(config)
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert result["figures"]["rows"][0]["steps"] == 2
    assert result["figures"]["fit"]["strength"] == 10 / 8
    parts = load_parts(config)
    assert [len(part) for part in parts[:3]] == [16, 4, 3] and parts.classes == 10


@needs_vision
def test_pictures_in_folders_need_the_same_classes_in_both_parts(tmp_path):
    from PIL import Image

    for name in ("train/a", "train/b", "val/a"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / name / "x.JPEG")
    with pytest.raises(DatasetError, match="the same classes in train and val; .* has 2 and 1"):
        load_parts(replace(SHORT, data="imagenet", folder=tmp_path))
    (tmp_path / "val/b").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "val/b/x.JPEG")
    parts = load_parts(replace(SHORT, data="imagenet", folder=tmp_path, image_size=24))
    assert parts.classes == 2 and parts.train[0]["x"].shape == (3, 24, 24)
    assert parts.test[0]["x"].shape == (3, 32, 32)


def test_the_command_line_tells_what_is_wrong_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["study", "classification", "--data", "cifar10", "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2
    assert "`folder` must be given for data 'cifar10'" in capsys.readouterr().err


def test_a_job_that_cannot_begin_leaves_nothing_behind(tmp_path, capsys, monkeypatch):
    words = ["study", "classification", "--data", "cifar10", "--folder", str(tmp_path / "none"), "--out"]
    for out, status, message in (("out", 1, "`folder` must hold whole python batches"), ("no/out", 1, "`out` must be")):
        with pytest.raises(SystemExit) as stopped:
            main([*words, str(tmp_path / out)])
        told = capsys.readouterr().err
        assert stopped.value.code == status and message in told and len(told.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_missing_extra_is_one_line_and_another_import_error_is_not_hidden(tmp_path, capsys, monkeypatch):
    def missing(config):
        raise ImportError(
            "sciml_cf.classification.vision: `torchvision` must be installed. Run: pip install 'sciml-cf[vision]'."
        )

    monkeypatch.setattr("sciml_cf.studies.classification.run.load_parts", missing)
    with pytest.raises(SystemExit) as stopped:
        main(["study", "classification", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert (
        stopped.value.code == 1
        and told.startswith("error: sciml_cf.classification.vision")
        and len(told.splitlines()) == 1
    )

    def broken(config):
        raise ImportError("cannot import name 'x'")

    monkeypatch.setattr("sciml_cf.studies.classification.run.load_parts", broken)
    with pytest.raises(ImportError, match="cannot import name"):
        main(["study", "classification", "--out", str(tmp_path / "out")])


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate"])
def test_settings_that_are_not_above_zero_are_refused_and_not_the_recipes(name, value):
    with pytest.raises(ValueError, match=f"^classification: `{name}` must be .*; got {value}"):
        settings(Classification(**{name: value}), RECIPES["digits"], 1000)
    fit, _ = settings(Classification(optimizer="adam", epochs=2, batch_size=5), RECIPES["digits"], 1000)
    assert (fit.epochs, fit.batch_size) == (2, 5) and fit.learning_rate != RECIPES["digits"].learning_rate
    fit, _ = settings(Classification(), RECIPES["digits"], 1000)
    assert (fit.epochs, fit.batch_size, fit.learning_rate) == (20, 128, 0.1)
