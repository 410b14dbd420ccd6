"""Small datasets that several tests read."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_gen import DatasetSpec, generate


@pytest.fixture(scope="session")
def small_spec() -> DatasetSpec:
    """Three blocks, the last one short, on a grid that is solved in milliseconds."""
    return DatasetSpec(samples=300, resolution=64, method="etdrk4", tolerance=1e-4)


@pytest.fixture(scope="session")
def small_file(tmp_path_factory: pytest.TempPathFactory, small_spec: DatasetSpec) -> Path:
    return generate(small_spec, tmp_path_factory.mktemp("data") / "small.h5", progress=False)
