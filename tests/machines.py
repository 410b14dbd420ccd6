"""The fast tests as other machines would run them, one factor at a time: `make test-machines`.

    python -m tests.machines [--only FACTOR ...] [--all] [-- WORDS OF PYTEST]

Kernels of BLAS, FFT and convolution are chosen by variables that their libraries read; more threads, busy processes and
an odd path to the checkout are made. Logs are in build/machines. Factors that passed for this tree are left out unless
--all is given. Words after -- replace "-m not slow", for instance the files that failed.
"""

from __future__ import annotations

import argparse
import platform
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.matrix import ROOT, WORKERS, Runs, environment

_CORES = {"x86_64": ("Haswell", "Prescott"), "aarch64": ("ARMV8", "CORTEXA57")}
VARIABLES: dict[str, dict[str, str]] = {
    **{core.lower(): {"OPENBLAS_CORETYPE": core} for core in _CORES.get(platform.machine(), ())},
    "aten": {"ATEN_CPU_CAPABILITY": "default"},
    "mkl": {"MKL_CBWR": "COMPATIBLE"},
    "onednn": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "threads": {"TEST_THREADS": "2", "OMP_WAIT_POLICY": "passive"},  # as the command line has it: they do not spin
    "busy": {},
    "path": {},
}


def odd_checkout(folder: Path, tree: str) -> tuple[Path, Path]:
    """This tree and an environment with its command, in a path with a space and an umlaut: (checkout, Python)."""
    place = folder / "Prüfung mit Leerzeichen" / "checkout"
    shutil.rmtree(place.parent, ignore_errors=True)
    place.mkdir(parents=True)
    with subprocess.Popen(["git", "archive", tree], cwd=ROOT, stdout=subprocess.PIPE) as archive:
        subprocess.run(["tar", "-x", "-C", place], stdin=archive.stdout, check=True)
    python = environment(place.parent / "environment", "--no-deps", "-e", str(place))
    code = "import data_gen, sciml_cf; print(data_gen.__file__, sciml_cf.__file__, sep='\\n')"
    found = subprocess.run([python, "-c", code], cwd=folder, capture_output=True, text=True, check=True).stdout
    if any(Path(line).parent.parent != place for line in found.splitlines()):
        raise RuntimeError(f"odd_checkout: the packages must be those of {place}; got {found}")
    subprocess.run([python.with_name("sciml-cf"), "--version"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return place, python


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.machines", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=VARIABLES, default=list(VARIABLES), metavar="FACTOR")
    parser.add_argument("--all", action="store_true", help="also factors that passed for this tree")
    parser.add_argument("words", nargs="*", help='words of pytest instead of -m "not slow"')
    given = parser.parse_args()
    runs = Runs("machines", again=given.all or bool(given.words))
    words = ["-n", WORKERS, *(given.words or ["-m", "not slow"])]
    for name in given.only:
        if runs.done(name):
            continue
        with ExitStack() as stack:
            place, python, own = ROOT, Path(sys.executable), []
            if name == "path":
                place, python = odd_checkout(runs.folder, runs.tree)
                own = ["--basetemp", place.parent / "temporary files"]
            for _ in range(2 if name == "busy" else 0):
                process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
                stack.callback(process.wait)
                stack.callback(process.kill)
            runs.pytest(name, python, *own, *words, cwd=place, note=not given.words, **VARIABLES[name])
    return bool(runs.bad)


if __name__ == "__main__":
    sys.exit(main())
