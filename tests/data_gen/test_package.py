"""The package: cheap to import, never with torch, and its public names are functions however it is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import data_gen

ROOT = Path(data_gen.__file__).parent.parent


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def test_generating_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; import data_gen; assert 'numpy' not in sys.modules, 'import data_gen is not lazy'\n"
        "from data_gen import *\n"
        f"path = generate(DatasetSpec(samples=2, resolution=64), {str(tmp_path / 'a.h5')!r}, progress=False)\n"
        "validate(path, truth=True); solve\n"
        "found = {'torch', 'sciml_cf', 'matplotlib', 'pandas', 'xarray'} & set(sys.modules); assert not found, found"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("name", ["generate", "validate", "convert"])
def test_public_functions_are_not_hidden_by_their_modules(name: str) -> None:
    code = (
        f"import data_gen.{name}; from data_gen.{name} import {name} as direct\n"
        f"from data_gen import {name} as public; assert public is direct is data_gen.{name} and callable(public)"
    )
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_public_names_all_exist() -> None:
    assert data_gen.__project__ == "sciml_cf"
    for name in data_gen.__all__:
        assert callable(getattr(data_gen, name))
    assert set(data_gen.__all__) <= set(dir(data_gen))
    with pytest.raises(AttributeError, match="attribute nonsense"):
        _ = data_gen.nonsense
