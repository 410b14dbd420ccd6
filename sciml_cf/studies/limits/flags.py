"""Flags of `sciml-cf study limits`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sciml_cf.studies.harness.flags import GridFlags

# Name: how the training differs from the first one. Every entry is an argument of FitConfig, or one of "data" (which
# samples to train on), "shifts" (by parts of a grid cell) and "epochs" (a factor). A wider model is not among them:
# longer trainings widen the gap between test and training errors, which a wider model would not close.
ROUTES: dict[str, dict[str, Any]] = {
    "recipe": {},
    "gradients": {"method": "l2", "learning_rate": 1e-3},
    "SOAP": {"optimizer": "soap"},
    "SOAP, rate 1e-2": {"optimizer": "soap", "learning_rate": 1e-2},
    "SOAP, rate 1e-3": {"optimizer": "soap", "learning_rate": 1e-3},
    "4096 samples": {"data": "more"},
    "infinite samples": {"data": "infinite"},
    "shifts": {"shifts": True},
    "weight decay 0.1": {"optimizer": "adamw", "weight_decay": 0.1},
    "3 times the epochs": {"epochs": 3.0},
}
# The routes whose models of all seeds are combined: with the head, without it, and with the best optimizer.
COMBINED = ("recipe", "gradients", "SOAP")


@dataclass(frozen=True, kw_only=True)
class Limits(GridFlags):
    """What limits the most accurate Burgers surrogate? Its training is changed in one respect at a time.

    The first training is that of `sciml-cf study recipe` at batch 16 and fewer epochs: a proximal head, Adam with a
    cosine schedule, the relative loss, random reflections, averaged weights. Each of the others differs from it in one
    respect: the optimizer, the number of samples, shifts by parts of a grid cell, weight decay, epochs. Every
    model is measured on the test samples and on its training samples, with its trained head and with one fitted to all
    training samples, and made symmetric under reflections. The models of all seeds are combined in three routes: by
    the mean of their predictions, and by one head over all their features. SOAP needs the extra ``soap``. Interrupted,
    the same command goes on. The small preset takes about three minutes on two cores, the full one about three hours of
    one core.

    Args:
        out: folder for the data, the trials, the result file and the page.
        preset: how large; see above.
        routes: which trainings; "recipe" is needed for the ratios.
    """

    out: Path = Path("limits")
    preset: Literal["small", "full"] = "small"
    routes: tuple[str, ...] = tuple(ROUTES)
