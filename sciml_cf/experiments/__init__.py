"""Whole studies, one file each: a frozen Config and ``run(config)``; choices and wiring, no formulas."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sciml_cf.experiments import burgers_fno, classification, dfiv_demand, dfiv_dsprites, theory

__all__ = ["STUDIES", "Study"]


@dataclass(frozen=True)
class Study:
    """A study's configuration class and the function that runs it and returns the text to print."""

    config: type[Any]
    run: Callable[[Any], str]


STUDIES: dict[str, Study] = {
    "burgers-fno": Study(burgers_fno.BurgersFNO, burgers_fno.run),
    "classification": Study(classification.Classification, classification.run),
    "dfiv-dsprites": Study(dfiv_dsprites.DFIVDsprites, dfiv_dsprites.run),
    "dfiv-demand": Study(dfiv_demand.DFIVDemand, dfiv_demand.run),
    "theory": Study(theory.Theory, theory.run),
}
