"""neuralop's tensor files, ``{"x": inputs, "y": targets}``; torch is imported when one is opened.

Tensors are ``(samples, *points)`` for one component, as neuralop's own files have them, or
``(samples, channels, *points)``; other axes are as in ``arrays``. They have no grid, times or parameters. A list of two
tensors is read as x and y, one tensor as trajectories. No code of the file is run.

References:
    Kossaifi et al. (2024), A Library for Learning Neural Operators; its datasets named ``NAME_{train,test}_RES.pt``.
"""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.errors import DatasetError
from data_gen.files.stream import guarded
from data_gen.formats.arrays import pair_of, source_of_arrays
from data_gen.formats.format import Format
from data_gen.formats.npz import chosen_pair
from data_gen.formats.overrides import Overrides
from data_gen.formats.source import Readable, Source, blocks
from data_gen.storage.memory import check_memory

FORMAT = Format("pt", (".pt", ".pth"), "neuralop: tensors x and y", order=50)


def recognizes(path: Path) -> bool:
    """Whether it is a zip file as torch writes them, or an older one with the usual suffix."""
    if not path.is_file():
        return False
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as zipped:
                return any(name.endswith("data.pkl") for name in zipped.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return path.suffix in (".pt", ".pth")
    return path.suffix in (".pt", ".pth")


def open_file(path: Path, overrides: Overrides) -> Source:
    """The file, read whole.

    Raises:
        DatasetError: it cannot be read, has no such tensors, or does not fit into memory.
    """
    content = _read(path)
    if len(content) == 1 and "" in content:
        names: tuple[str | None, str] = (None, "")
    else:
        names = chosen_pair(path, list(content), overrides, (("x", "y"), ("a", "u"), ("input", "target")), "tensor")
    given, target = (None if name is None else _array(path, content[name]) for name in names)
    return source_of_arrays(path, given, target, overrides, names=(names[0] or "", names[1] or "the tensor"))


def _read(path: Path) -> dict[str, Any]:
    """The tensors of the file by name; one or two without names are "", or x and y."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content: Any = torch.load(path, weights_only=True, map_location="cpu", mmap=_can_map(path))
    except MemoryError:
        raise
    except Exception as error:  # the unpickler raises a different kind for every way a file can be damaged
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        if zipfile.is_zipfile(path) and "weights only" in reason.lower():
            raise DatasetError(
                f"open_source: {path} has objects that are no tensors, which are not loaded. Save tensors alone: "
                f'torch.save({{"x": inputs, "y": targets}}, {str(path)!r})'
            ) from None
        raise DatasetError(f"open_source: {path} cannot be read as tensors ({reason}). Is it damaged?") from None
    return _named(content)


def _named(content: Any) -> dict[str, Any]:
    """The tensors of what a file has, by name."""
    import torch

    if torch.is_tensor(content):
        return {"": content}
    if isinstance(content, list | tuple) and len(content) == 2 and all(map(torch.is_tensor, content)):
        return dict(zip("xy", content, strict=True))
    found = content.items() if isinstance(content, dict) else ()
    return {name: value for name, value in found if isinstance(name, str) and torch.is_tensor(value)}


def _can_map(path: Path) -> bool:
    """Whether the tensors can stay in the file: not in that of torch before 1.6."""
    return zipfile.is_zipfile(path)


def _array(path: Path, tensor: Any) -> np.ndarray:
    import torch

    plain = tensor.detach()
    if plain.layout is not torch.strided or plain.is_quantized or plain.device.type == "meta":
        raise DatasetError(
            f"open_source: {path} has a tensor that is sparse, quantized or empty; dense ones are needed."
        )
    check_memory("open_source", path, [plain.numel() * plain.element_size()], "tensors")
    plain = plain.resolve_conj().resolve_neg()
    return (plain.float() if plain.dtype in (torch.bfloat16, torch.float16) else plain).numpy()


def write(source: Readable, path: Path) -> None:
    """{"x", "y"}, shaped as ``arrays.pair_of`` says."""
    import torch

    pairs = [pair_of(source.header, fields) for _, fields in blocks(source)]
    x, y = (torch.from_numpy(np.concatenate(parts)) for parts in zip(*pairs, strict=True))
    with guarded(path) as file:
        torch.save({"x": x, "y": y}, file)  # type: ignore[arg-type]
