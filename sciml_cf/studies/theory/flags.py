"""Flags of `sciml-cf study theory`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Theory:
    """The paper's theorems in numbers: Figure 1, equal gradients, critical points, wide networks, the Kalman view.

    About a minute of one core. Each statement is measured where its premise holds and where it does not.

    Args:
        out: folder for the result file, the figures and the page.
        preset: how many draws; small is for a look.
        seed: of all random problems.
    """

    out: Path = Path("theory")
    preset: Literal["small", "full"] = "full"
    seed: int = 0
