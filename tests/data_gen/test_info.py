"""The facts of a file: complete, true, and the same as text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_gen import DatasetSpec, generate, open_dataset
from data_gen.info import dataset_facts, facts_text, spread_rows
from tests.data_gen.test_layout import HEADERS, write


@pytest.mark.parametrize("name", HEADERS)
def test_facts_of_every_shape_are_what_the_fields_are(tmp_path: Path, name: str) -> None:
    header = HEADERS[name]
    write(tmp_path / "file.h5", header)
    facts = dataset_facts(tmp_path / "file.h5")
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    with open_dataset(tmp_path / "file.h5") as data:
        for entry in facts["fields"]:
            array = data.read(entry["name"])
            times = entry["dims"].get("time", 1)
            channels = len(entry["channels"])
            assert np.prod(list(entry["dims"].values())) == array.size * times and array.shape[1] == channels
            assert entry["stored"] == (entry["name"] in data.stored_names)
    assert facts["source"] == "test" and facts["initial"] is facts["method"] is facts["truth"] is None
    assert facts["blocks"] == {"samples": header.block_samples, "count": 5 // header.block_samples + 1}
    assert [axis["points"] for axis in facts["axes"]] == list(header.shape)
    text = facts_text(facts)
    assert "no truth" in text and "source      test" in text and facts["checksum"] in text


def test_facts_of_a_generated_file(small_file: Path, small_spec: DatasetSpec) -> None:
    facts = dataset_facts(small_file)
    assert facts["kind"] == "pairs" and facts["source"] == "generated" and facts["truth"] == "exact"
    assert facts["method"] == {"name": "etdrk4", "tolerance": 1e-4, "error": "tolerance 0.0001 relative to max |u|"}
    assert facts["initial"] == {"name": "gaussian_random_field", "parameters": dict(small_spec.initial_parameters)}
    assert facts["bytes"] == small_file.stat().st_size and facts["config_hash"] == small_spec.config_hash
    with open_dataset(small_file) as data:
        modes = np.abs(np.fft.rfft(data.read("a", np.array(spread_rows(300, 4)))[:, 0])) / 32
        largest = np.abs(data.read("a", np.array(spread_rows(300, 4)))[:, 0]).max(axis=1)
    assert facts["tail"]["share"]["a"] == pytest.approx((modes[:, 28:].sum(axis=1) / largest).max(), rel=1e-12)
    text = facts_text(facts)
    assert "equation    burgers: u_t + (u^2/2)_x = viscosity * u_xx" in text and "viscosity = 0.1" in text
    assert "target      u (u): sample 300, x 64; float64" in text and "3 of up to 128 samples" in text
    assert "initial     gaussian_random_field gamma = 2, laplacian = unit" in text


@pytest.mark.parametrize(("equation", "error"), [("heat", "exact in time"), ("burgers", "no time stepping")])
def test_exact_ways_name_no_tolerance(tmp_path: Path, equation: str, error: str) -> None:
    spec = DatasetSpec(equation=equation, samples=2, resolution=64)
    facts = dataset_facts(generate(spec, tmp_path / "file.h5", progress=False))
    assert facts["method"]["tolerance"] is None and error in facts["method"]["error"]


def test_spread_rows_begin_and_end_the_file() -> None:
    assert spread_rows(100, 4) == [0, 33, 66, 99]
    assert spread_rows(3, 4) == [0, 1, 2] and spread_rows(9, 1) == [0]
