"""Flags of `sciml-cf study rollouts`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sciml_cf.studies.harness.flags import GridFlags

# Name: arguments of DatasetSpec without samples and resolution, and the time of one step.
PROBLEMS: dict[str, dict[str, Any]] = {
    "kuramoto_sivashinsky": {"equation": "kuramoto_sivashinsky"},
    "navier_stokes": {"equation": "navier_stokes", "parameters": {"viscosity": 1e-3, "forcing": 0.0}},
}
METHODS = ("l2", "proximal")
ARMS = ("plain", "noise", "pushforward", "unrolled")


@dataclass(frozen=True, kw_only=True)
class Rollouts(GridFlags):
    """What makes a model of one step survive being rolled out: noise, pushforward, gradients through several steps.

    Each is trained with gradients alone and with the closed-form head (proximal, Algorithm 2), with Adam, on 512 pairs
    of states of the Kuramoto-Sivashinsky equation (128 points) and of decaying Navier-Stokes flow (32 x 32). Every
    variant gets as many candidates, chosen by the roll-out of the validation trajectories with a seed of its own, and
    as many passes of a state through the model. Interrupted, the same command goes on. The small preset takes about two
    minutes on two cores, the full one about an hour of one core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        problems: which data to train on.
        methods: how the head is trained.
        arms: what the states are that a step is trained on.
    """

    out: Path = Path("rollouts")
    preset: Literal["small", "full"] = "small"
    problems: tuple[str, ...] = tuple(PROBLEMS)
    methods: tuple[str, ...] = METHODS
    arms: tuple[str, ...] = ARMS
