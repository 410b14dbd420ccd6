"""Names of version 0.1 of the formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data_gen import formats


def test_recognise_is_recognize_with_a_warning(tmp_path: Path) -> None:
    np.savez(tmp_path / "pair.npz", x=np.zeros((3, 8)), y=np.ones((3, 8)))
    with pytest.warns(DeprecationWarning, match="the name is now `recognize`"):
        assert formats.recognise(tmp_path / "pair.npz") is formats.recognize(tmp_path / "pair.npz")
