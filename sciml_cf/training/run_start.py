"""A run folder before and after training: made ready, held by one writer, replaced, dropped."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from data_gen.files.locks import Held, held
from data_gen.files.places import Kind, followed
from data_gen.files.whole import is_aside, sweep
from sciml_cf.errors import CheckpointError, NotPositiveDefinite, TrainingDiverged
from sciml_cf.plain import plain_json
from sciml_cf.training.checkpoints import CHECKPOINT_FILE, PREVIOUS_FILE
from sciml_cf.training.manifest import MANIFEST_FILE, write_listed
from sciml_cf.training.run_folder import (
    OWN_FILES,
    REPORT_FOLDER,
    RUN_FILE,
    TENSORBOARD_FOLDER,
    drop_report,
    read_settings,
)
from sciml_cf.training.run_place import already_there, check_place
from sciml_cf.training.versions import versions

# Settings that runs of version 0.1 do not name, and the values that do what they did.
ADDED_SINCE = {
    **{"normalize": "none", "residual": "no", "unroll": 1, "through_steps": False, "noise": 0.0},
    **{"weight_decay": None, "betas": None, "augment": "none"},
}


def start_run(out: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Make the folder ready and write run.json; whether there is a checkpoint to resume from.

    Raises:
        FileNotFoundError: the folder that should hold ``out`` is missing.
        FileExistsError: ``out`` exists, and neither ``resume`` nor ``overwrite`` was asked for; or it is to be
            replaced and is no run folder, or holds files of others.
        CheckpointError: ``resume`` finds a run of other settings.
        ValueError: the settings cannot be stored.
    """
    out, settings = Path(out), plain_json(settings, "fit: `describe`")
    check_place(out, resume=resume, overwrite=overwrite)
    _drop_first_part(out)
    occupied = out.is_dir() and any(out.iterdir())
    if occupied and not (resume or overwrite):
        raise already_there(out)
    if resume and (out / RUN_FILE).exists():
        return _resumed(out, settings)
    if occupied and resume:
        raise CheckpointError(f"fit: `out` must be a run folder to resume; got {out}, which has no {RUN_FILE}.")
    if occupied:
        _check_replaceable(out)
        _put_aside(out)
    out.mkdir(exist_ok=True)
    write_listed(out / RUN_FILE, json.dumps({**settings, "versions": versions()}, indent=2) + "\n")
    return False


def _check_replaceable(out: Path) -> None:
    if not is_run_folder(out):
        found = ", ".join(strangers(out)[:3]) or "no " + RUN_FILE
        raise FileExistsError(
            f"fit: `out` must be a run folder and hold nothing else to replace it; got {out}, which has {found}. "
            "Choose another path, or remove it by hand."
        )


def _drop_first_part(out: Path) -> None:
    """Delete what a kill during the very first write left."""
    if out.is_dir() and {entry.name for entry in out.iterdir()} == {MANIFEST_FILE}:
        (out / MANIFEST_FILE).unlink()


def strangers(folder: Path) -> list[str]:
    """Names of what a folder holds and no run has."""
    own = {*OWN_FILES, *(name + ".part" for name in OWN_FILES), REPORT_FOLDER, TENSORBOARD_FOLDER}
    return sorted(entry.name for entry in folder.iterdir() if entry.name not in own and not is_aside(entry.name))


def is_run_folder(folder: Path) -> bool:
    """Whether a folder is a run and holds nothing else; an empty one is too."""
    return not strangers(folder) and ((folder / RUN_FILE).is_file() or not any(folder.iterdir()))


#: What may be replaced by a new run.
RUN_KIND = Kind("a run folder that holds nothing else", is_run_folder)


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
def only_writer(out: Path, who: str = "fit", argument: str = "out") -> Iterator[None]:
    """Keep other trainings and commands that write into a run folder out of it inside this block.

    The lock is a file next to the folder, see ``data_gen.files.locks``; what killed writers left is removed.

    Args:
        out: the folder; a symbolic link stands for the folder that it points to.
        who: the function that messages name.
        argument: the argument that they name.

    Raises:
        CheckpointError: another process writes into the folder.
    """
    out = followed(out).absolute()
    if not out.parent.is_dir() or not out.name:  # `start_run` names such a place
        yield
        return
    with ExitStack() as stack:
        try:
            locked = stack.enter_context(held(out))
        except Held:
            what = "training at a time; got" if who == "fit" else "writer at a time; got"
            raise CheckpointError(
                f"{who}: `{argument}` must have one {what} {out}, which another one is writing. "
                "Wait until it is done, or choose another folder."
            ) from None
        if locked:
            sweep(out.parent, out.name)
            sweep(out)
        yield


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
    except (FileExistsError, FileNotFoundError):  # nothing was changed
        raise
    except (ValueError, TypeError, RuntimeError, OSError, NotPositiveDefinite) as error:
        if not has_learned(error):
            old = replaced_run(out)
            aside = before is not None and before == _identity(old)
            if empty or aside:
                drop_run(out)
                with suppress(OSError):  # a folder in which not even the first file could be written
                    out.rmdir()
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
    drop_report(folder)
    shutil.rmtree(folder / TENSORBOARD_FOLDER, ignore_errors=True)
    sweep(folder)
    for name in reversed(OWN_FILES):  # run.json last: what a kill leaves is still known for a run
        (folder / name).unlink(missing_ok=True)
        (folder / (name + ".part")).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def replaced_run(out: Path) -> Path:
    """Where a run waits until the one that replaces it is done."""
    out = out if out.name else out.absolute()  # the current folder
    return out.with_name(out.name + ".replaced")


def _check_same_settings(out: Path, settings: dict[str, Any]) -> None:
    stored = read_settings(out)
    wanted = copy.deepcopy(settings)
    wanted.pop("normalization", None)  # follows from the data, whose checksum is compared
    for name in ("time_step", "problem"):  # the same, and older runs have none
        (wanted.get("data") or {}).pop(name, None)
        (stored.get("data") or {}).pop(name, None)
    stored["fit"] = {**ADDED_SINCE, **stored["fit"]}
    if not stored.get("model"):  # unknown, as of a model of any origin in version 0.1
        wanted.pop("model", None)
    for section in wanted:
        for key in sorted(set(wanted[section] or {}) | set(stored.get(section) or {})):
            old, new = (stored.get(section) or {}).get(key), (wanted[section] or {}).get(key)
            if old != new:
                raise CheckpointError(
                    f"fit: `resume` must continue the same run; got {section}.{key} = {new!r} where {out} has {old!r}. "
                    "Use the run's own settings, or another --out."
                    + (" Learning rates follow from the number of epochs: a longer run is another." * (key == "epochs"))
                )


def diverged(out: Path, rate: float, step: int, epoch: int, what: str) -> TrainingDiverged:
    """The error of a training that left the finite range in a step of an epoch, counted from 0."""
    old = replaced_run(out)
    return TrainingDiverged(
        f"fit: `learning_rate` must keep the training stable; got {rate:g}, and by step {step + 1} (epoch "
        f"{epoch + 1}): {what.rstrip('.')}. Try a third of it. The checkpoint of epoch {epoch} is kept in {out}"
        + (f", the run before in {old}." if old.exists() else ".")
    )
