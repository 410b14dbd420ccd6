"""Flags of `sciml-cf study transfer`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sciml_cf.studies.harness.flags import GridFlags

# Name: arguments of DatasetSpec, without samples and resolution.
PROBLEMS: dict[str, dict[str, Any]] = {
    "burgers-0.1": {"equation": "burgers", "parameters": {"viscosity": 0.1}},
    "burgers-0.01": {"equation": "burgers", "parameters": {"viscosity": 0.01}},
    "kuramoto_sivashinsky": {"equation": "kuramoto_sivashinsky", "times": (1.0,)},
    "navier_stokes": {"equation": "navier_stokes", "times": (1.0,)},
}
MODELS = ("fno", "tfno", "uno", "conv")


@dataclass(frozen=True, kw_only=True)
class Transfer(GridFlags):
    """Resolution transfer: models trained at several resolutions, each measured at many, up to the full grid.

    Every model gets the same four learning rates on every problem, chosen on the validation set at one resolution with
    a seed of its own; all are trained with the closed-form head (proximal, Algorithm 2, Adam, cosine). Interrupted, the
    same command goes on where it stopped; parts of the grid may be run one after another into the same folder. The
    small preset takes a few minutes on two cores; the full one about ten hours of one core: a training takes 30 to 65 s
    at 64 points, 70 to 150 s at 256, twice that at 512, and 3 to 6 minutes on 32 x 32 points.

    Args:
        out: folder for the data, the trials, the result file, its table and the page.
        preset: how large; see above.
        problems: which data to train on.
        models: which models to train.
        resolutions: which of the preset's resolutions to train at; by default all of them.
    """

    out: Path = Path("transfer")
    preset: Literal["small", "full"] = "small"
    problems: tuple[str, ...] = tuple(PROBLEMS)
    models: tuple[str, ...] = MODELS
    resolutions: tuple[int, ...] = ()
