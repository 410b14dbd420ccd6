"""Names that arguments of a dataset may take, importable without torch."""

from __future__ import annotations

from typing import Literal

Split = Literal["train", "validation", "test", "all"]
Sampling = Literal["strided", "fourier"]
Lazy = Literal["auto", "yes", "no"]
