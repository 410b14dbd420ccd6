"""Validation: a sound file passes, and each kind of damage is found and named."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from data_gen import DatasetSpec, generate, validate
from tests.edits import edited


def test_validate_passes_a_sound_file_and_measures_its_error(small_file: Path) -> None:
    seen: list[int] = []
    report = validate(small_file, truth=True, progress=seen.append)
    assert report.ok and report.num_samples == 300 and seen == [128, 256, 300]
    assert 0 < report.median_error < report.max_error < 1e-4
    assert 0 <= report.worst_sample < 300
    assert validate(small_file).max_error is None


@pytest.mark.parametrize("name", ["a", "u"])
def test_validate_finds_a_flipped_byte(small_file: Path, tmp_path: Path, name: str) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "flipped.h5"))
    with h5py.File(path) as file:
        offset = file[name].id.get_offset() + 200 * 64 * 8 + 3
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))
    (problem,) = validate(path).problems
    assert problem == f"checksum of {name} differs in samples 128..255: its bytes changed"


def test_validate_names_the_sample_with_nan(small_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "nan.h5"))
    with edited(path) as file:
        file["u"][130, 7] = np.nan
    report = validate(path, truth=True)
    assert not report.ok and report.worst_sample == 130 and np.isnan(report.max_error)
    assert "u has NaN or infinity in sample 130 (1 of this block)" in report.problems


def test_validate_measures_a_wrong_sample(small_file: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(small_file, tmp_path / "wrong.h5"))
    with edited(path) as file:
        file["u"][201] *= 1.01
    report = validate(path, truth=True)
    assert report.worst_sample == 201 and report.max_error == pytest.approx(0.01, rel=0.01)


@pytest.mark.parametrize("equation", ["heat", "advection"])
@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-6)])
def test_validate_linear_equations_against_closed_forms(
    tmp_path: Path, equation: str, dtype: str, bound: float
) -> None:
    spec = DatasetSpec(equation=equation, samples=5, resolution=64, dtype=dtype)
    report = validate(generate(spec, tmp_path / "linear.h5", progress=False), truth=True)
    assert report.ok and report.max_error < bound
