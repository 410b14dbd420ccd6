"""Files that are no data files: empty, packed, or text."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from data_gen import open_dataset
from data_gen.errors import DatasetError
from data_gen.formats import open_source
from data_gen.info import dataset_facts
from data_gen.storage.first_bytes import advice_on

NUMBERS = bytes(range(128, 256)) * 8


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("data.h5", NUMBERS)
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("data.h5")
        member.size = len(NUMBERS)
        archive.addfile(member, io.BytesIO(NUMBERS))
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "It is empty: copy it again"),
        (b"1,2\n3,4\n", "It is text"),
        ("é".encode() * 400, "It is text"),
        (("x" + "é" * 400).encode(), "It is text"),  # the first bytes end within a letter
        (gzip.compress(NUMBERS), "It is packed by gzip: unpack it first"),
        (bz2.compress(NUMBERS), "It is packed by bzip2"),
        (lzma.compress(NUMBERS), "It is packed by xz"),
        (zipped(), "It is packed by zip"),
        (tarred(), "It is packed by tar"),
    ],
)
@pytest.mark.parametrize("opened", [open_source, open_dataset, dataset_facts])
def test_the_message_says_what_to_do(tmp_path: Path, content: bytes, words: str, opened: Callable[..., object]) -> None:
    path = tmp_path / "data.h5"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=words) as caught:
        opened(path)
    assert "\n" not in str(caught.value)


def test_files_of_arrays_and_others_have_no_advice(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    torch.save({"x": torch.zeros(3)}, tmp_path / "a.pt")
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 4)
    os.mkfifo(tmp_path / "pipe")
    assert [advice_on(tmp_path / name) for name in ("a.npz", "a.pt", "noise", "pipe", "missing")] == [""] * 5


@pytest.mark.parametrize(("name", "converted"), [("a.npz", "a.h5"), ("a.h5", "a_converted.h5")])
def test_the_command_to_convert_has_another_name_for_its_output(tmp_path: Path, name: str, converted: str) -> None:
    with open(tmp_path / name, "wb") as file:
        np.savez(file, x=np.zeros((3, 8)), y=np.zeros((3, 8)))
    with pytest.raises(DatasetError, match=f"sciml-cf convert .*/{name} .*/{converted}$"):
        open_dataset(tmp_path / name)


@pytest.mark.parametrize("content", [{"x": np.zeros(3)}, torch.utils.data.TensorDataset(torch.zeros(3))])
def test_objects_in_a_torch_file_are_refused_with_the_fix(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "data.pt")
    with pytest.raises(DatasetError, match=r"objects that are no tensors, which are not loaded.* torch\.save\("):
        open_source(tmp_path / "data.pt")
