"""Flags of `sciml-cf study optimizers`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sciml_cf.studies.harness.flags import GridFlags

# Name: arguments of DatasetSpec without samples and resolution.
PROBLEMS: dict[str, dict[str, Any]] = {
    "burgers": {"equation": "burgers", "parameters": {"viscosity": 0.1}},
    "darcy": {"equation": "darcy"},
    "navier_stokes": {"equation": "navier_stokes", "parameters": {"viscosity": 1e-3, "forcing": 0.1}, "times": (10.0,)},
}
OPTIMIZERS = ("adam", "adamw", "soap")
METHODS = ("l2", "proximal", "automatic")


@dataclass(frozen=True, kw_only=True)
class Optimizers(GridFlags):
    """Does a better optimizer replace the closed-form head, or do their gains multiply?

    Adam, AdamW and SOAP move the backbone; the head is trained with them, solved with a fixed strength (proximal), or
    solved with a strength that is chosen in training (automatic). The problems are Burgers in the paper's setting, and
    Darcy flow and forced Navier-Stokes flow at 32 x 32. Each combination chooses among three rates on the validation
    samples with a seed of its own, and up to two beyond where the best is at the edge. It is then trained for equal
    steps, and for the processor seconds of Adam with gradients alone. The test errors after the last layer is fitted to
    all training samples in closed form are shown too. SOAP needs the extra ``soap``. Interrupted, the same command goes
    on. The small preset takes about two minutes on two cores, the full one about two hours of one core for each
    problem.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        problems: which data to train on.
        optimizers: what moves the backbone.
        methods: how the head is trained.
    """

    out: Path = Path("optimizers")
    preset: Literal["small", "full"] = "small"
    problems: tuple[str, ...] = tuple(PROBLEMS)
    optimizers: tuple[str, ...] = OPTIMIZERS
    methods: tuple[str, ...] = METHODS
