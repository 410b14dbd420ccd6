"""info, plot and validate on the command line."""

import importlib
import json

import pytest

from data_gen import DatasetSpec, generate
from data_gen.info import dataset_facts
from tests.sciml_cf.test_cli import call


@pytest.fixture(scope="module")
def fisher_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "fisher.h5"
    return generate(DatasetSpec(equation="fisher_kpp", samples=6, resolution=64), path, progress=False)


def test_info_prints_the_facts_as_text_or_json(capsys, fisher_file):
    status, out, _ = call(capsys, "info", fisher_file)
    assert status == 0 and "method      lawson7, tolerance 1e-10 relative to max |u|" in out
    status, out, _ = call(capsys, "info", fisher_file, "--json")
    assert status == 0 and json.loads(out) == dataset_facts(fisher_file)


def test_plot_writes_beside_the_file_and_keeps_what_is_there(capsys, fisher_file):
    figure = fisher_file.with_suffix(".png")
    status, out, _ = call(capsys, "plot", fisher_file, "--samples", 2)
    assert status == 0 and out.strip() == str(figure) and figure.read_bytes().startswith(b"\x89PNG")
    status, _, error = call(capsys, "plot", fisher_file)
    assert status == 2 and "--overwrite" in error
    out = fisher_file.with_name("other.pdf")
    assert call(capsys, "plot", fisher_file, "--out", out, "--fields", "u")[0] == 0 and out.exists()
    assert call(capsys, "plot", fisher_file.with_name("none.h5"))[0] == 1


def test_validate_says_what_self_convergence_does_not(capsys, fisher_file):
    status, out, _ = call(capsys, "validate", fisher_file, "--truth", "--truth-samples", 3)
    assert status == 0 and "this is self-convergence, not an exact solution, of samples 0, " in out
    assert "the other 3 are not checked" in out and "ten times the file's tolerance" in out


def test_validate_fails_on_an_error_above_the_tolerance(capsys, tmp_path, monkeypatch):
    module = importlib.import_module("data_gen.generate")
    solve = module.solve
    monkeypatch.setattr(module, "solve", lambda *words, **names: (1 + 1e-6) * solve(*words, **names))
    spec = DatasetSpec(equation="kdv", samples=2, resolution=64, times=(0.1,))
    generate(spec, tmp_path / "kdv.h5", progress=False)
    assert call(capsys, "validate", tmp_path / "kdv.h5")[0] == 0
    status, _, error = call(capsys, "validate", tmp_path / "kdv.h5", "--truth")
    assert status == 1 and "is sound but not accurate: sample" in error and "differs by 1e-06" in error
