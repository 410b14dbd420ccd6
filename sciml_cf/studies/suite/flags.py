"""Flags of `sciml-cf study suite`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sciml_cf.studies.harness.flags import GridFlags

# Name: arguments of DatasetSpec without samples and seed. Of two times the first is the input's: one step from a state
# that has developed, one pair a trajectory.
PROBLEMS: dict[str, dict[str, Any]] = {
    "burgers-0.1": {"equation": "burgers", "parameters": {"viscosity": 0.1}, "resolution": 1024},
    "burgers-0.01": {"equation": "burgers", "parameters": {"viscosity": 0.01}, "resolution": 2048},
    "advection": {
        "equation": "advection",
        "initial_condition": "piecewise_constant",
        "extent": 1.0,
        "times": (0.375,),  # 96 of 256 points: jumps stay sharp
        "resolution": 256,
    },
    "kdv": {"equation": "kdv", "resolution": 256, "tolerance": 1e-6},
    "kuramoto_sivashinsky": {
        "equation": "kuramoto_sivashinsky",
        "times": (50.0, 51.0),
        "resolution": 256,
        "tolerance": 1e-6,
    },
    "allen_cahn": {"equation": "allen_cahn", "resolution": 256, "tolerance": 1e-6},
    "darcy": {"equation": "darcy", "resolution": 32},
    "darcy-log-normal": {"equation": "darcy", "initial_condition": "log_normal", "resolution": 32},
    "navier_stokes": {
        "equation": "navier_stokes",
        "parameters": {"viscosity": 1e-3, "forcing": 0.1},
        "times": (10.0,),
        "resolution": 32,
        "tolerance": 1e-6,
    },
    "gray_scott": {
        "equation": "gray_scott",
        "extent": 0.25,  # 32 points resolve the edges of two spots
        "initial_parameters": {"count": 2, "width": 0.15},
        "times": (100.0, 110.0),
        "resolution": 32,
        "tolerance": 1e-5,
    },
    "burgers-2d": {
        "equation": "burgers",
        "num_dims": 2,
        "parameters": {"viscosity": 0.1},
        "resolution": 128,
        "tolerance": 1e-4,
    },
}
# Settings of publications: run alone, as their samples, loss and seeds are others.
PUBLISHED: dict[str, dict[str, Any]] = {
    # Every fifth of 421 nodes from wall to wall (arXiv:2010.08895, section 5.2).
    "darcy-85": {"equation": "darcy", "placement": "nodes", "resolution": 421},
}
MODELS = ("fno", "tfno", "uno", "conv", "unet", "deeponet")
OPTIMIZERS = ("adam", "adamw", "soap")
METHODS = ("l2", "proximal")
PEERS = ("neuralop-l2", "neuralop-h1")  # neuraloperator's Trainer and its FNO as shipped, with the relative loss
# Name: arguments of FitConfig in which a training differs from the usual one. Those of the head are not for gradients.
CHANGES: dict[str, dict[str, Any]] = {
    "none": {},
    "strength 0.1": {"strength": 0.1},
    "strength 1": {"strength": 1.0},
    "solve afterwards": {"algorithm": 1},
    "relative loss": {"loss": "relative"},
    "averaged weights": {"average": 0.98},
    "batch 64": {"batch_size": 64},
    "symmetries": {"augment": "square"},
}
OF_THE_HEAD = ("strength", "algorithm")


@dataclass(frozen=True, kw_only=True)
class Suite(GridFlags):
    """How good is the closed-form head, compared with gradients and with a last layer that is re-fitted afterwards?

    Six problems in one dimension (256 points) and five in two (32 x 32). Each method chooses among three rates on the
    validation samples with a seed of its own, in a quarter of the epochs, and up to two beyond the edge. The reported
    seeds are measured on test samples, before and after the last layer is fitted to all training samples. The best
    linear map is measured too. With `--data` it does so on a file of yours, and ends with a sentence on it.
    Changes of the training show why the methods tie, or what helps: each is tuned alike. Interrupted, the same command
    goes on. The small preset takes some minutes on two cores, the full one up to half an
    hour of one core a problem.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        data: instead of the problems, a data file that `sciml-cf train` takes, with its default split.
        problems: which data to train on; validation and test samples are the same for any number of training samples.
            darcy-85, alone, is in the setting of publications, with their errors: 85 nodes along each axis, the
            relative loss, and in the full preset 1000 samples, 50 epochs, three seeds, in some seven hours of one core.
        samples: numbers of training samples; by default 512, in the small preset 64; of darcy-85 1000, or 32.
        models: what is trained: fno, tfno, uno, conv, unet, deeponet.
        optimizers: what moves the backbone: adam, adamw, soap.
        methods: how the head is trained: l2 (gradients), proximal (in closed form); and as peers neuralop-l2 and
            neuralop-h1, neuraloperator's Trainer and its FNO as shipped, with AdamW and the relative L2 or H1 loss.
        changes: in which respect the training differs from the usual one: none, "strength 0.1" and "strength 1" of the
            proximal term, "solve afterwards" (Algorithm 1), "relative loss", "averaged weights", "batch 64", and
            "symmetries": mirror images of the samples, with axes exchanged too, where the law has them, which is
            allen_cahn, darcy, darcy-log-normal, darcy-85 and gray_scott.
    """

    out: Path = Path("suite")
    preset: Literal["small", "full"] = "small"
    data: Path | None = None
    problems: tuple[str, ...] = tuple(PROBLEMS)
    samples: tuple[int, ...] = ()
    models: tuple[str, ...] = ("fno",)
    optimizers: tuple[str, ...] = ("adam",)
    methods: tuple[str, ...] = METHODS
    changes: tuple[str, ...] = ("none",)
