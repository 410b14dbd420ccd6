"""neuralop's tensor files, {"x": inputs, "y": targets}; torch is imported when one is opened.

Tensors are (samples, *points) for one component, as neuralop's own files have them, or (samples, channels, *points).
They have no grid, times or parameters. No code of the file is run.
Source: Kossaifi et al. (2024), A Library for Learning Neural Operators; its datasets named NAME_{train,test}_RES.pt.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.formats.arrays import pair_of, source_of_pair
from data_gen.formats.format import Format
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Readable, Source, blocks

FORMAT = Format("pt", (".pt", ".pth"), "neuralop: tensors x and y", order=50)


def recognizes(path: Path) -> bool:
    """Whether it is a zip file as torch writes them, or an older one with the usual suffix."""
    if not path.is_file():
        return False
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as zipped:
            return any(name.endswith("data.pkl") for name in zipped.namelist())
    return path.suffix in (".pt", ".pth")


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file, read whole.

    Raises:
        DatasetError: it cannot be read, or has no such tensors.
    """
    content = _read(path)
    given, target = (
        _tensor(path, content, name) for name in (overrides.input_name or "x", overrides.target_name or "y")
    )
    return source_of_pair(path, given, target, overrides)


def _read(path: Path) -> dict[str, Any]:
    """The tensors of the file by name."""
    import torch

    try:
        content: Any = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # the unpickler raises a different kind for every way a file can be damaged
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DatasetError(f"open_source: {path} cannot be read as tensors ({reason}). Is it damaged?") from None
    return {k: v for k, v in content.items() if torch.is_tensor(v)} if isinstance(content, dict) else {}


def _tensor(path: Path, known: dict[str, Any], name: str) -> np.ndarray:
    import torch

    if name not in known:
        raise DatasetError(
            f"open_source: {path} has no tensor {name}; it has {', '.join(map(str, known)) or 'none by name'}. "
            f"Give --input-name and --target-name."
        )
    tensor = known[name]
    return (tensor.float() if tensor.dtype in (torch.bfloat16, torch.float16) else tensor).numpy()


def write(source: Readable, path: Path) -> None:
    """{"x", "y"}, shaped as ``arrays.pair_of`` says."""
    import torch

    pairs = [pair_of(source.header, fields) for _, fields in blocks(source)]
    x, y = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*pairs, strict=True))
    with open(path, "wb") as file:
        torch.save({"x": x, "y": y}, file)
