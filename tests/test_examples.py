"""Every example runs, in a folder of its own, and says what it should."""

import multiprocessing
import os
import re
import runpy
import subprocess
import sys
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted((ROOT / "examples").glob("*.py"))


OWN_PROCESSES = {"two_processes"}  # starts processes that import it
# Ten seconds and more; what they show has quicker tests of its own too.
LONG = {"adapt", "lightning_trainer", "pdebench_file", "the_well_file", "two_processes"}


def run(path, out):
    """A script as if it were called, in a process that has imported what it needs already (seconds saved each)."""
    with open(out, "w") as file, redirect_stdout(file):
        runpy.run_path(str(path), run_name="__main__")


def output_of(name, folder, monkeypatch):
    if name.startswith("lightning") and find_spec("lightning") is None:
        pytest.skip("lightning is not installed")
    path = ROOT / "examples" / f"{name}.py"
    if name in OWN_PROCESSES:
        paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": paths}
        result = subprocess.run([sys.executable, path], cwd=folder, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout
    monkeypatch.chdir(folder)  # which the process inherits
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["sciml_cf.cli.train", "sciml_cf.evaluate.run", "sciml_cf.models", "neuralop"])
    process = context.Process(target=run, args=(path, folder / "printed"))
    process.start()
    process.join()
    assert process.exitcode == 0
    return (folder / "printed").read_text()


def numbers(text):
    return [float(word) for word in re.findall(r"\d\.\d+e[+-]\d+", text)]


def shares(text):
    """The plain decimals of each line."""
    return [[float(word) for word in re.findall(r"\d\.\d+", line)] for line in text.splitlines()]


def test_every_example_is_short_and_run_here():
    assert {path.stem for path in FILES} == set(CHECKS)
    assert all(len(path.read_text().splitlines()) < 60 for path in FILES)


CHECKS = {
    "adapt": lambda text: numbers(text)[1] < 0.8 * numbers(text)[0],
    "plain_loop": lambda text: numbers(text)[1] < 0.5 * numbers(text)[0],
    "physics_informed": lambda text: numbers(text)[1] < 0.2 * numbers(text)[0],
    "deeponet": lambda text: numbers(text)[1] < 0.5 * numbers(text)[0],
    "classification": lambda text: shares(text)[1][0] > 0.85 and shares(text)[1][1] < shares(text)[0][1],
    "instrumental_variables": lambda text: numbers(text)[2] < 0.6 * min(numbers(text)[:2]),
    "neuralop_trainer": lambda text: numbers(text)[0] < 5e-3,
    "lightning_trainer": lambda text: max(numbers(text)[1:]) < 0.5 * numbers(text)[0],
    "own_file": lambda text: "unconverted: True" in text and numbers(text)[0] < 0.1,
    "pdebench_file": lambda text: numbers(text)[0] < 0.1 * numbers(text)[1],
    "the_well_file": lambda text: numbers(text)[0] < 0.1 * numbers(text)[1],
    "several_heads": lambda text: len(numbers(text)) == 2 and max(numbers(text)) < 0.1,
    "resume": lambda text: "interrupted" in text and text.endswith("uninterrupted run's: True\n"),
    "two_processes": lambda text: numbers(text)[0] == 0 and numbers(text)[1] < 1e-6,
}


@pytest.mark.parametrize(
    "name", [pytest.param(path.stem, marks=[pytest.mark.slow] * (path.stem in LONG)) for path in FILES]
)
def test_example(name, tmp_path, monkeypatch):
    text = output_of(name, tmp_path, monkeypatch)
    assert CHECKS[name](text), text
