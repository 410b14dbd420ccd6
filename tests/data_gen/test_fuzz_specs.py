"""Random descriptions of datasets: each ends well, or in one line with nothing written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from data_gen import DatasetSpec, generate
from tests.fuzz_specs import run

#: Longer ones are left to the script.
SECONDS = 30


@pytest.mark.slow
def test_random_descriptions_are_sound_or_refused() -> None:
    found = list(run(40, seed=1, seconds=SECONDS))
    assert [one for one in found if one["ended"].startswith("FAULT")] == []
    ends = [one["ended"].split(":")[0] for one in found]
    assert ends.count("sound") >= 10 and ends.count("refused") >= 5


def test_an_unusable_value_that_the_first_block_finds_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise ValueError("solve: `tolerance` must be at least 4e-13")

    monkeypatch.setattr(sys.modules["data_gen.generate"], "compute_block", refused)
    with pytest.raises(ValueError, match="`tolerance` must be at least"):
        generate(DatasetSpec("heat", samples=2, resolution=16), tmp_path / "a.h5", progress=False)
    assert os.listdir(tmp_path) == []


def test_an_error_after_the_first_block_loses_no_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["data_gen.generate"]
    compute = module.compute_block

    def refused(spec: DatasetSpec, block: int) -> object:
        if block:
            raise ValueError("no block of the description's is at fault")
        return compute(spec, block)

    spec = DatasetSpec("heat", samples=300, resolution=16)
    monkeypatch.setattr(module, "compute_block", refused)
    with pytest.raises(ValueError, match="is at fault"):
        generate(spec, tmp_path / "a.h5", progress=False)
    monkeypatch.setattr(module, "compute_block", compute)
    generate(spec, tmp_path / "a.h5", resume=True, progress=False)
    generate(spec, tmp_path / "b.h5", progress=False)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
