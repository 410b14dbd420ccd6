"""Names that arguments of an evaluation and of an adaptation may take, importable without torch."""

from __future__ import annotations

from typing import Literal

Choice = Literal["cross-validation", "gcv"]
