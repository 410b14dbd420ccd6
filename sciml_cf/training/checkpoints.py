"""Files of tensors that a kill cannot tear, and that run no code when they are read.

A run keeps its last two checkpoints, last.pt and previous.pt. Each is written next to its place, flushed to disk, and
renamed; should last.pt be damaged all the same (a full disk, a copy cut short), previous.pt takes its place and the
training repeats one epoch, to the same bits.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from data_gen.files.stream import guarded
from data_gen.files.whole import rewritten, write_bytes
from sciml_cf.errors import CheckpointError
from sciml_cf.training.manifest import digest_of, list_files, listed, present_digest, read_verified, remember

CHECKPOINT_FILE = "last.pt"
PREVIOUS_FILE = "previous.pt"
DAMAGED_FILE = "last.pt.damaged"
_LOG = logging.getLogger(__name__)


def save_checkpoint(run: Path, content: dict[str, Any]) -> None:
    """Write last.pt, keeping the one before as previous.pt; at every moment at least one of them is whole."""
    last, previous = run / CHECKPOINT_FILE, run / PREVIOUS_FILE
    with _interrupt_held():
        with rewritten(last) as part:
            _save(content, part)
            kept = {previous.name: present_digest(last)} if last.exists() else {}
            list_files(run, {last.name: digest_of(part), **kept})
            if kept:
                _keep(last, previous, part.with_name(PREVIOUS_FILE))
        remember(last)


def _keep(last: Path, previous: Path, link: Path) -> None:
    """Give last.pt the name previous.pt too."""
    try:
        os.link(last, link)  # two names for a moment, so that last.pt is never missing
    except OSError:  # a file system without hard links: a kill between the renames leaves previous.pt alone
        link = last
    os.replace(link, previous)


def choose_checkpoint(run: Path, keys: frozenset[str]) -> str:
    """The name of the newest checkpoint in ``run`` that is whole; a damaged last.pt is set aside, with a warning.

    Args:
        run: folder of a run.
        keys: entries that a checkpoint must have.

    Raises:
        CheckpointError: neither last.pt nor previous.pt can be used.
    """
    first: CheckpointError | None = None
    for name in (CHECKPOINT_FILE, PREVIOUS_FILE):
        try:
            missing = keys - set(read_tensors(run / name))
            if missing:
                raise CheckpointError(
                    f"fit: {run / name} must hold a checkpoint; it lacks {', '.join(sorted(missing))}."
                )
        except CheckpointError as error:
            first = first or error
            continue
        if first is not None:
            if (run / CHECKPOINT_FILE).exists():  # out of the way, or the next save would make it previous.pt
                os.replace(run / CHECKPOINT_FILE, run / DAMAGED_FILE)
            _LOG.warning("fit: goes on from %s, one epoch earlier, because last.pt cannot be used: %s", name, first)
        return name
    raise CheckpointError(f"{first} There is no whole {PREVIOUS_FILE} either. Use --overwrite to train anew.")


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """torch.save to a file next to it, read back, then rename: the old file stays until the new one is whole.

    Raises:
        OSError: it cannot be written.
    """
    with _interrupt_held(), listed(path) as part:
        _save(content, part)


def _save(content: dict[str, Any], path: Path) -> None:
    """``content`` on the disk, read back; a write that fails does not reach torch, which would not survive it."""
    with guarded(path) as file:
        torch.save(content, file)  # type: ignore[arg-type]


@contextlib.contextmanager
def _interrupt_held() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block: within torch.save it would come out as a RuntimeError."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: caught.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if caught:
        signal.raise_signal(signal.SIGINT)


def read_tensors(path: Path) -> dict[str, Any]:
    """What ``save_tensors`` wrote; runs no code from the file.

    Raises:
        CheckpointError: missing, truncated, or not a checkpoint.
    """
    if not path.is_file():
        raise CheckpointError(f"load: `run` must hold {path.name}; got {path.parent}. Did the first epoch finish?")
    try:
        data = io.BytesIO(read_verified(path))
    except OSError as error:
        raise CheckpointError(f"load: {path} cannot be read ({error.strerror}).") from error
    try:
        content = torch.load(data, weights_only=True, map_location="cpu")
        if not isinstance(content, dict):
            raise ValueError(f"holds a {type(content).__name__}")
        return content
    except Exception as error:  # torch.load meets damage with nearly every type there is
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CheckpointError(f"load: {path} must be a whole checkpoint; it cannot be read ({reason}).") from error


def write_atomically(path: Path, text: str) -> None:
    """Write a text file so that readers see the old or the new one, never half.

    Raises:
        OSError: it cannot be written; what is not a regular file is never replaced.
    """
    write_bytes(path, text.encode())
