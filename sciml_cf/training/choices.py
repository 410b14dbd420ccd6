"""Names that settings of a training and of its run folder may take, importable without torch."""

from __future__ import annotations

from typing import Literal

Schedule = Literal["constant", "cosine", "step", "plateau"]
Loss = Literal["mse", "relative"]
Which = Literal["best", "last"]
