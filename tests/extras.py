"""The tests that need packages or programs which `make test` does without: `make test-extras`.

    python -m tests.extras [--only EXTRA ...] [--all]

Each extra has an environment of its own in build/extras, on top of the one that runs this, and the tests that need it
run there: none may be skipped. Extras that passed for this tree are left out unless --all is given.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from dataclasses import dataclass

from tests.browser import AXE, CHROMIUM
from tests.matrix import ROOT, WORKERS, Runs, environment

#: A torchvision is compiled for one torch, and the published ones do not import with the torch of constraints.txt.
TORCHVISION = {
    "x86_64": ("torch==2.14.1", "torchvision==0.29.1"),
    "aarch64": ("torch==2.9.1", "torchvision==0.24.1"),
}


def pinned(name: str) -> str:
    """The requirement of constraints.txt."""
    (found,) = re.findall(rf"^{name}==.*$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return found


@dataclass(frozen=True)
class Extra:
    """Words of `pip install`, words of pytest, and the reason why neither can be tried here."""

    packages: tuple[str, ...]
    tests: tuple[str, ...]
    missing: str = ""


EXTRAS = {
    "tensorboard": Extra(("tensorboard==2.20.0",), ("tests/sciml_cf/test_train_features.py", "-k", "tensorboard")),
    "the_well": Extra(("the_well==1.2.0",), ("tests/data_gen/test_official_readers.py", "-k", "well")),
    # It asks for a torch of 2022 and a Python before 3.11; its loader needs neither, nor the rest that it asks for.
    "pdebench": Extra(
        ("--no-deps", "--ignore-requires-python", "pdebench==0.1.0"),
        ("tests/data_gen/test_official_readers.py", "-k", "pdebench"),
    ),
    "vision": Extra(
        (*TORCHVISION.get(platform.machine(), ()), pinned("timm")),
        (
            "tests/sciml_cf/test_image_models.py",
            "tests/sciml_cf/test_class_images.py",
            "tests/sciml_cf/test_gradients.py",
            "tests/sciml_cf/studies/test_classification_study.py",
        ),
        "" if platform.machine() in TORCHVISION else f"no torchvision is known for {platform.machine()}",
    ),
    "soap": Extra(("pytorch_optimizer==4.1.0",), ("tests/sciml_cf/test_fit_optimizers.py",)),
    "onnx": Extra(
        ("onnx==1.23.2", "onnxscript==0.7.2", "onnxruntime==1.32.0"), ("tests/sciml_cf/test_export.py", "-k", "onnx")
    ),
    "frameworks": Extra(
        ("accelerate==1.15.0", "transformers==5.24.0", "skorch==1.4.0"), ("tests/sciml_cf/test_frameworks.py",)
    ),
    # The last version that is not compiled for one torch.
    "sphere": Extra(("torch-harmonics==0.6.5", "triton==3.9.0"), ("tests/sciml_cf/test_neuralop_models.py",)),
    "browser": Extra(
        ("-c", "constraints.txt", "-e", ".[docs]"),
        (
            "tests/test_site.py",
            "tests/sciml_cf/studies/test_figure2.py::test_a_browser_shows_every_figure_and_says_nothing",
            "tests/sciml_cf/studies/test_dfiv_studies.py::test_pages_fit_a_phone",
        ),
        "there is no Chromium; in Debian: apt-get install chromium"
        if CHROMIUM is None
        else ("" if AXE.exists() else f"there is no axe-core: npm install --prefix {AXE.parents[2]} axe-core"),
    ),
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.extras", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=EXTRAS, default=list(EXTRAS), metavar="EXTRA")
    parser.add_argument("--all", action="store_true", help="also extras that passed for this tree")
    given = parser.parse_args()
    runs = Runs("extras", again=given.all)
    for name in given.only:
        extra = EXTRAS[name]
        if runs.done(name):
            continue
        if extra.missing:
            runs.fail(name, extra.missing)
            continue
        try:
            python = environment(runs.folder / name, *extra.packages)
        except subprocess.CalledProcessError as error:
            reason = (error.stderr or str(error)).strip().splitlines()[-1]
            runs.fail(name, f"pip cannot install {' '.join(extra.packages)}: {reason}")
            continue
        runs.pytest(name, python, "-n", WORKERS, "--dist", "loadfile", *extra.tests, skips=False, PYTHONPATH=str(ROOT))
    return bool(runs.bad)


if __name__ == "__main__":
    sys.exit(main())
