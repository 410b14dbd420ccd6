"""The examples of CONTRIBUTING.md: each file alone, put into a copy of the packages, is found and works."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", TEXT, re.DOTALL))


def size(code: str) -> int:
    """Lines of code, without docstrings, imports and empty lines."""
    bare = re.sub(r'""".*?"""', "", code, flags=re.DOTALL)
    return sum(1 for line in bare.splitlines() if line.strip() and not re.match(r"(from|import) ", line))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with every example in it."""
    folder = tmp_path_factory.mktemp("clone")
    for package in ("sciml_cf", "data_gen"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, code in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    ((name, code),) = re.findall(r"<!-- metric: (\w+) -->\n```python\n(.*?)```", TEXT, re.DOTALL)
    metrics = (folder / "sciml_cf/metrics.py").read_text()
    changed = metrics.replace("\n\n# Metrics of", f"\n\n{code}\n\n# Metrics of")
    changed = changed.replace("max_error)", f"max_error, {name})")
    assert changed.count(name) > metrics.count(name) + 2
    (folder / "sciml_cf/metrics.py").write_text(changed)
    return folder


def ran(place: Path, *words: str) -> str:
    env = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=place, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_examples_are_new_and_small() -> None:
    assert not any((ROOT / name).exists() for name in FILES)
    assert size(FILES["data_gen/equations/nikolaevskiy.py"]) <= 25
    assert len(FILES["sciml_cf/head/rules/per_output.py"].splitlines()) <= 45


@pytest.mark.slow
def test_each_example_works(place: Path) -> None:
    cli = ("-m", "sciml_cf.cli")
    ran(place, *cli, "generate", "nikolaevskiy", "--samples", "20", "--resolution", "32", "--out", "nik.h5")
    ran(place, *cli, "convert", "nik.h5", "nik.csv")
    said = ("--data", "nik.csv", "--extent", "50.26548245743669", "--times", "0", "1")
    ran(place, *cli, "train", *said, "--method", "per-output", "--epochs", "1", "--out", "run")
    ran(place, *cli, "evaluate", "run", *said, "--resolutions", "16", "32")
    check = "import sciml_cf; e = sciml_cf.read_evaluation('run'); print(sciml_cf.__file__, e.mean_absolute.shape)"
    assert ran(place, "-c", check).split() == [str(place / "sciml_cf/__init__.py"), "(2,", "3)"]
    assert "the error on the heat equation" in ran(place, *cli, "study")
    assert "Test error" in ran(place, *cli, "study", "samples", "--counts", "16", "--epochs", "1")


RULE = """
import torch
from sciml_cf import Moments, proximal
from sciml_cf.head.registry import rule_named

features, targets, before = torch.randn(50, 5), torch.randn(50, 3), torch.randn(5, 3).double()
moments, strengths = Moments.from_batch(features, targets), (0.1, 1.0, 3.0)
rule = rule_named("per-output").make("test", strengths=strengths)
head, _ = rule.update({**rule.init(5, 3), "head": before}, moments)
expected = torch.stack([proximal(moments, before, strength=s)[:, c] for c, s in enumerate(strengths)], dim=1)
torch.testing.assert_close(head, expected, rtol=1e-12, atol=1e-12)
"""


def test_the_rule_of_the_examples_is_proximal_for_each_output(place: Path) -> None:
    ran(place, "-c", RULE)
