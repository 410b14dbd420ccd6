"""Flags that studies share; importing them loads no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sciml_cf.studies.harness.grid import Workers


@dataclass(frozen=True, kw_only=True)
class GridFlags:
    """Where a study runs, the same for all of them.

    Args:
        workers: processes on this machine, of one thread each.
        dask: a Dask scheduler's address, or "local", to run the trials there; its workers must see `out`.
        shard: K N runs the K-th of N parts of the grid, as one task of a SLURM array; a last call without it collects.
    """

    workers: int = 2
    dask: str | None = None
    shard: tuple[int, int] | None = None

    def where(self) -> Workers:
        """The same, checked."""
        from sciml_cf.studies.harness.grid import Workers

        return Workers(self.workers, self.dask, self.shard)
