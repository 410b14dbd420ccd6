"""Random descriptions of datasets: each is generated and validated, or refused in one line with nothing written.

    python -m tests.fuzz_specs FOLDER --count 200 [--seed 0] [--seconds 60]      (results as JSON, in FOLDER/specs.json)

A fault is any other end: another kind of error, a message of several lines, a file that is left behind, or samples that
differ from their truth by more than the file allows, unless a warning of chaos has said so.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from data_gen import DatasetSpec, generate, validate
from data_gen.equations import equation_dims, equation_names, equation_parameters
from data_gen.errors import DatasetError, SolverDiverged, UnresolvedError
from data_gen.initial import initial_defaults, initial_names

REFUSALS = (ValueError, DatasetError, SolverDiverged, UnresolvedError, MemoryError)
TYPED = (
    "u_t = nu*u_xx - u*u_x",
    "u_t = nu*u_xx + a*sin(2*pi*m*x/L)",
    "u_t = nu*u_xx - (u^2/2)_x + a*exp(cos(2*pi*x/L))*u",
    "u_t = nu*lap(u) + a*u - u^3",
    "u_t = -a*u_x - nu*u_xxxx",
    "u_t = v; v_t = lap(u) - a*u^3",
    "u_t = nu*lap(u) + a*u*v; v_t = nu*lap(v) - a*u*v",
    "u_t = a*u^2 + nu*u_xx",
    "u_t = -u*u_x - a*u_xx - nu*u_xxxx",
    "u_t = i*u_xx",
    "u_t = nu*u_xy + a",
)
POINTS = {1: (16, 64, 100, 256), 2: (8, 24, 32, 48), 3: (8, 12, 16)}
NUMBERS = (0.003, 0.03, 0.1, 0.3, 1.0, 3.0, 0.0, -0.1, "0.05:0.2", "log:0.01:1", "0.1,0.5", "a:b", float("nan"))
USUAL = (0.55, 0.35)  # shares of parameters that are the usual ones, and of others that are near them


def described(rng: np.random.Generator) -> dict[str, Any]:
    """Random arguments of a description, most of them usable."""
    typed = rng.random() < 0.25
    name = str(rng.choice(TYPED if typed else equation_names()))
    dims = equation_dims(name) if not typed else (1, 2, 2, 3)
    num_dims = None if dims is None or rng.random() < 0.4 else int(rng.choice(dims))
    parameters = {p.name: _number(rng, p.default) for p in equation_parameters(name)}
    values: dict[str, Any] = {"equation": name, "num_dims": num_dims, "samples": int(rng.integers(1, 4))}
    values["parameters"] = {key: value for key, value in parameters.items() if value is not None}
    values["seed"] = int(rng.integers(1000))
    try:
        law = DatasetSpec(**values).make_equation()
    except ValueError:
        return values | {"resolution": 16}
    values["resolution"] = _axes(rng, POINTS[law.num_dims], law.num_dims)
    values["extent"] = None if rng.random() < 0.6 else _axes(rng, (0.5 * law.extent, law.extent, 1.0), law.num_dims)
    if not law.steady:
        last = min(law.time, 2.0) * float(rng.choice([0.01, 0.1, 0.5, 1.0]))
        values["times"] = tuple(last * np.array([[1.0], [0.5, 1.0], [0.2, 0.3, 1.0]][int(rng.integers(3))]))
    values |= _start(rng, law)
    values["tolerance"] = None if rng.random() < 0.6 else float(rng.choice([1e-4, 1e-6, 1e-8, 1e-13]))
    schemes = ["lawson7", "adams6", "etdrk4", "etdrk4", "direct"]
    values["method"] = "auto" if law.steady or rng.random() < 0.7 else str(rng.choice(schemes))
    values["dtype"] = str(rng.choice(["float64", "float64", "float32"]))
    odd = 0.5 if law.steady else 0.03
    values["placement"] = str(rng.choice(["cells", "nodes"])) if rng.random() < odd else None
    return values


def _number(rng: np.random.Generator, default: float | None) -> Any:
    """A parameter: none for the usual one, near it, or any."""
    kind = rng.random()
    if default is not None and kind < USUAL[0]:
        return None
    if kind < sum(USUAL):
        return float((default or 0.1) * rng.choice([0.5, 2.0]))
    return NUMBERS[int(rng.integers(len(NUMBERS)))]


def _axes(rng: np.random.Generator, choices: tuple[Any, ...], num_dims: int) -> Any:
    """One for all axes, or one for each."""
    chosen = tuple(choices[int(rng.integers(len(choices)))] for _ in range(num_dims))
    return chosen if num_dims > 1 and rng.random() < 0.4 else chosen[0]


def _start(rng: np.random.Generator, law: Any) -> dict[str, Any]:
    """An initial condition and some of its parameters."""
    if rng.random() < 0.4:
        return {}
    name = str(rng.choice(initial_names(law)))
    given = {}
    for key, value in initial_defaults(law, name).items():
        if not isinstance(value, str) and rng.random() < 0.3:
            given[key] = type(value)(value * float(rng.choice([0.5, 2.0, 2.0, -1.0])))
    return {"initial_condition": name, "initial_parameters": given}


def outcome(values: dict[str, Any], folder: Path) -> str:
    """What becomes of a description: "sound", "chaotic", "refused: ..." or "FAULT: ..."."""
    out, heard = folder / "a.h5", _Heard()
    logging.getLogger("data_gen").addHandler(heard)
    try:
        spec = DatasetSpec(**values)
        generate(spec, out, progress=False)
        report = validate(out, truth=True, truth_samples=2)
        if report.ok:
            return "sound"
        told = any("chaotic" in line for line in heard.lines)
        return "chaotic" if told and not report.problems else f"FAULT: {report.problems} {report.inaccurate}"
    except REFUSALS as error:
        left = [path.name for path in folder.iterdir()]
        if left:
            return f"FAULT: {left} left by {type(error).__name__}: {error}"
        if "\n" in str(error) or len(str(error)) < 20:
            return f"FAULT: {type(error).__name__}: {error!r}"
        return f"refused: {error}"
    except TimeoutError:
        return "slow"
    except Exception:
        return f"FAULT: {traceback.format_exc()}"
    finally:
        logging.getLogger("data_gen").removeHandler(heard)


class _Heard(logging.Handler):
    """What was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record."""
        self.lines.append(record.getMessage())


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError in this block after so many seconds; 0 for never."""

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def run(count: int, seed: int, seconds: int = 0) -> Iterator[dict[str, Any]]:
    """The descriptions of a seed, how each ended, and how long it took."""
    for index in range(count):
        values = described(np.random.default_rng([seed, index]))
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), at_most(seconds):
            warnings.simplefilter("error")
            ended = outcome(values, Path(folder))
        took = round(time.perf_counter() - start, 2)
        yield {"index": index, "values": values, "ended": ended, "seconds": took}


def main() -> None:
    """Run so many, and print how many ended how."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=60)
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    found = []
    for one in run(flags.count, flags.seed, flags.seconds):
        found.append(one)
        (flags.folder / "specs.json").write_text(json.dumps(found, indent=1, default=str))
        if one["ended"].startswith(("FAULT", "slow")):
            sys.stdout.write(f"{one['index']}\n    {one['values']}\n    {one['ended']}\n")
            sys.stdout.flush()
    kinds = [one["ended"].split(":")[0] for one in found]
    ends = {kind: kinds.count(kind) for kind in sorted(set(kinds))}
    sys.stdout.write(f"{ends} in {sum(one['seconds'] for one in found):.0f} s\n")


if __name__ == "__main__":
    main()
