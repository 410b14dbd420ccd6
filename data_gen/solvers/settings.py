"""Settings of an integration in time."""

from __future__ import annotations

from dataclasses import dataclass

from data_gen.solvers.schemes import Scheme


@dataclass(frozen=True)
class Settings:
    """Scheme and limits of an integration; see ``solve``."""

    scheme: Scheme
    tolerance: float
    max_step: float | None
    allow_unresolved: bool
