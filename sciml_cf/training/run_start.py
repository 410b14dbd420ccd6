"""A run folder before and after training: made ready, held by one writer, replaced, dropped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, FileLock, Timeout

from sciml_cf.errors import CheckpointError, NotPositiveDefinite, TrainingDiverged
from sciml_cf.training.checkpoints import CHECKPOINT_FILE, PREVIOUS_FILE
from sciml_cf.training.manifest import MANIFEST_FILE, write_listed
from sciml_cf.training.run_folder import OWN_FILES, REPORT_FOLDER, RUN_FILE, TENSORBOARD_FOLDER, read_settings, versions

# Settings that runs of version 0.1 do not name, and the values that do what they did.
ADDED_SINCE = {"normalize": "none"}


def start_run(out: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Make the folder ready and write run.json; whether there is a checkpoint to resume from.

    Raises:
        FileNotFoundError: the folder that should hold ``out`` is missing.
        FileExistsError: ``out`` exists, and neither ``resume`` nor ``overwrite`` was asked for.
        CheckpointError: ``resume`` finds a run of other settings.
    """
    out = Path(out)
    _check_place(out)
    if resume and overwrite:
        raise ValueError(
            "fit: `resume` and `overwrite` must not both be set; got both. Continue the run or replace it."
        )
    if resume:
        _drop_first_part(out)
    occupied = out.is_dir() and any(out.iterdir())
    if occupied and not (resume or overwrite):
        raise FileExistsError(
            f"fit: `out` must not exist yet; got {out}. Use --resume to continue it or --overwrite to replace it."
        )
    if resume and (out / RUN_FILE).exists():
        return _resumed(out, settings)
    if occupied and resume:
        raise CheckpointError(f"fit: `out` must be a run folder to resume; got {out}, which has no {RUN_FILE}.")
    if occupied:
        _put_aside(out)
    out.mkdir(exist_ok=True)
    write_listed(out / RUN_FILE, json.dumps({**settings, "versions": versions()}, indent=2) + "\n")
    return False


def _check_place(out: Path) -> None:
    if not out.parent.is_dir():
        raise FileNotFoundError(f"fit: `out` must lie in an existing folder; got {out}. Create {out.parent} first.")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"fit: `out` must be a folder for the run; got the file {out}. Choose another path.")


def _drop_first_part(out: Path) -> None:
    """Delete what a kill during the very first write left."""
    parts = {RUN_FILE + ".part", MANIFEST_FILE, MANIFEST_FILE + ".part"}
    if out.is_dir() and {entry.name for entry in out.iterdir()} <= parts:
        for name in parts:
            (out / name).unlink(missing_ok=True)


def _resumed(out: Path, settings: dict[str, Any]) -> bool:
    """Whether a run of the same settings has a checkpoint."""
    _check_same_settings(out, settings)
    found = (out / CHECKPOINT_FILE).exists() or (out / PREVIOUS_FILE).exists()
    if not found and (out / "weights_last.pt").exists():
        raise CheckpointError(f"fit: `resume` must find {CHECKPOINT_FILE} in {out}; it is missing. Use --overwrite.")
    return found


def _put_aside(out: Path) -> None:
    """Rename a run that is to be replaced; it is kept until the new one is done."""
    old = replaced_run(out)
    drop_run(old)
    if old.exists():
        raise FileExistsError(f"fit: `out` must be replaceable; {old} is in the way. Move it elsewhere.")
    out.rename(old)


@contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Keep other trainings, of this machine or of others on one file system, out of the folder inside this block.

    The lock is a file beside the folder and ends with the process that holds it, however that ends. A file system
    without locks, or a place where no file may be written, is used unlocked.

    Raises:
        CheckpointError: another training holds the folder.
    """
    lock = _lock(out.absolute())
    try:
        yield
    finally:
        if lock is not None:
            with suppress(OSError):
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def _lock(out: Path) -> BaseFileLock | None:
    """The lock of a folder, held; None where there can be none."""
    if not out.parent.is_dir() or not out.name:  # `start_run` tells of such a place; a lock would make it
        return None
    lock = FileLock(out.with_name(f".{out.name}.lock"), timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise CheckpointError(
            f"fit: `out` must have one training at a time; got {out}, which another one is writing. "
            "Wait until it is done, or choose another folder."
        ) from None
    except (OSError, NotImplementedError):
        return None
    return lock


@contextmanager
def undone_if_refused(out: Path, has_learned: Callable[[Exception], bool]) -> Iterator[None]:
    """Leave the place of a run as it was before, if the training in this block is refused before it has learned.

    A folder that was made is deleted, and a run that was to be replaced is put back.

    Args:
        out: the run folder.
        has_learned: of the error, whether the folder is worth keeping.
    """
    existed, before = out.is_dir(), _identity(out)
    empty = not existed or not any(out.iterdir())
    try:
        yield
    except (ValueError, TypeError, RuntimeError, NotPositiveDefinite) as error:
        if not has_learned(error):
            old = replaced_run(out)
            aside = before is not None and before == _identity(old)
            if empty or aside:
                drop_run(out)
            if aside and not out.exists():
                old.rename(out)
            elif existed:
                out.mkdir(exist_ok=True)
        raise


def _identity(run: Path) -> tuple[int, int] | None:
    """Device and number of a run's settings file, which a renamed folder keeps; None if there is none."""
    with suppress(OSError):
        found = (run / RUN_FILE).stat()
        return found.st_dev, found.st_ino
    return None


def finish_run(out: Path) -> None:
    """Training is done: the run that this one replaced, if any, is no longer needed."""
    drop_run(replaced_run(out))


def drop_run(folder: Path) -> None:
    """Delete a run folder's own files; the folder goes too unless it holds anything else."""
    if not (folder / RUN_FILE).is_file():
        return
    for name in (REPORT_FOLDER, TENSORBOARD_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in reversed(OWN_FILES):  # run.json last: what a kill leaves is still known for a run
        (folder / name).unlink(missing_ok=True)
        (folder / (name + ".part")).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def replaced_run(out: Path) -> Path:
    """Where a run waits until the one that replaces it is done."""
    return out.with_name(out.name + ".replaced")


def _check_same_settings(out: Path, settings: dict[str, Any]) -> None:
    stored = read_settings(out)
    wanted = json.loads(json.dumps(settings))
    wanted.pop("normalization", None)  # follows from the data, whose checksum is compared
    stored["fit"] = {**ADDED_SINCE, **stored["fit"]}
    for section in wanted:
        for key in sorted(set(wanted[section] or {}) | set(stored.get(section) or {})):
            old, new = (stored.get(section) or {}).get(key), (wanted[section] or {}).get(key)
            if old != new:
                raise CheckpointError(
                    f"fit: `resume` must continue the same run; got {section}.{key} = {new!r} where {out} has {old!r}. "
                    "Use the run's own settings, or another --out."
                )


def diverged(out: Path, rate: float, step: int, epoch: int, what: str) -> TrainingDiverged:
    """The error of a training that left the finite range in a step of an epoch, counted from 0."""
    old = replaced_run(out)
    return TrainingDiverged(
        f"fit: `learning_rate` must keep the training stable; got {rate:g}, and by step {step + 1} (epoch "
        f"{epoch + 1}): {what.rstrip('.')}. Try a third of it. The checkpoint of epoch {epoch} is kept in {out}"
        + (f", the run before in {old}." if old.exists() else ".")
    )
