"""Names that settings of a head may take, importable without torch."""

from __future__ import annotations

from typing import Literal

Loss = Literal["mse", "relative"]
Initial = Literal["zeros", "keep", "lecun", "xavier", "he"]
