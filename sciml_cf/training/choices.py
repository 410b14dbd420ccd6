"""Names that settings of a training and of its run folder may take, importable without torch."""

from __future__ import annotations

from typing import Literal

from sciml_cf.head.choices import Loss as Loss

Augment = Literal["none", "flips", "square"]
Optimizer = Literal["sgd", "adam", "adamw", "soap"]
Schedule = Literal["constant", "cosine", "step", "plateau"]
Which = Literal["best", "last"]
