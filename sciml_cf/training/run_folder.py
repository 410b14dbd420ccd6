"""The run folder: what a training leaves behind, and how to use it again.

    run.json           versions, the model's builder, the data, every setting of the training
    history.csv        one row an epoch
    last.pt            checkpoint to resume from (weights, head state, optimizer, counters)
    previous.pt        the checkpoint before it, used if last.pt is damaged
    weights_best.pt    plain state_dict at the lowest validation error, as it was validated
    weights_last.pt    plain state_dict after the last finished epoch, as it was validated
    tensorboard/       the same figures as history.csv for TensorBoard, if it was asked for
    posterior.pt       error bars of weights_best.pt (see sciml_cf.head.posterior), where its last layer is linear
    evaluation.nc      errors at several resolutions, written by `evaluate`

The .pt files hold tensors and plain values only and load with ``torch.load(path, weights_only=True)``.
"""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import xarray as xr
from filelock import BaseFileLock, FileLock, Timeout
from torch import Tensor, nn

from sciml_cf.errors import CheckpointError, check_choice
from sciml_cf.head.posterior import Posterior
from sciml_cf.models import build_from
from sciml_cf.training.checkpoints import (
    CHECKPOINT_FILE,
    DAMAGED_FILE,
    PREVIOUS_FILE,
    read_tensors,
    save_tensors,
    write_atomically,
)
from sciml_cf.training.choices import Which

RUN_FILE = "run.json"
HISTORY_FILE = "history.csv"
POSTERIOR_FILE = "posterior.pt"
EVALUATION_FILE = "evaluation.nc"
REPORT_FOLDER = "report"
TENSORBOARD_FOLDER = "tensorboard"
_OWN_FILES = (
    RUN_FILE,
    HISTORY_FILE,
    CHECKPOINT_FILE,
    PREVIOUS_FILE,
    DAMAGED_FILE,
    "weights_best.pt",
    "weights_last.pt",
    POSTERIOR_FILE,
    EVALUATION_FILE,
)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("sciml-cf", "torch", "neuraloperator", "lightning-fabric", "numpy", "scipy", "h5py", "xarray")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def start_run(out: Path, settings: dict[str, Any], *, resume: bool, overwrite: bool) -> bool:
    """Make the folder ready and write run.json; whether there is a checkpoint to resume from.

    Raises:
        FileNotFoundError: the folder that should hold ``out`` is missing.
        FileExistsError: ``out`` exists, and neither ``resume`` nor ``overwrite`` was asked for.
        CheckpointError: ``resume`` finds a run of other settings.
    """
    out = Path(out)
    if not out.parent.is_dir():
        raise FileNotFoundError(f"fit: `out` must lie in an existing folder; got {out}. Create {out.parent} first.")
    if out.exists() and not out.is_dir():
        raise FileExistsError(f"fit: `out` must be a folder for the run; got the file {out}. Choose another path.")
    if resume and overwrite:
        raise ValueError(
            "fit: `resume` and `overwrite` must not both be set; got both. Continue the run or replace it."
        )
    if resume and out.is_dir() and [entry.name for entry in out.iterdir()] == [RUN_FILE + ".part"]:
        (out / (RUN_FILE + ".part")).unlink()  # killed while it wrote its first file
    occupied = out.is_dir() and any(out.iterdir())
    if occupied and not (resume or overwrite):
        raise FileExistsError(
            f"fit: `out` must not exist yet; got {out}. Use --resume to continue it or --overwrite to replace it."
        )
    if resume and (out / RUN_FILE).exists():
        _check_same_settings(out, settings)
        found = (out / CHECKPOINT_FILE).exists() or (out / PREVIOUS_FILE).exists()
        if not found and (out / "weights_last.pt").exists():
            raise CheckpointError(
                f"fit: `resume` must find {CHECKPOINT_FILE} in {out}; it is missing. Use --overwrite."
            )
        return found
    if occupied and resume:
        raise CheckpointError(f"fit: `out` must be a run folder to resume; got {out}, which has no {RUN_FILE}.")
    if occupied:
        drop_run(replaced_run(out))
        if replaced_run(out).exists():
            raise FileExistsError(
                f"fit: `out` must be replaceable; {replaced_run(out)} is in the way. Move it elsewhere."
            )
        out.rename(replaced_run(out))
    out.mkdir(exist_ok=True)
    write_atomically(out / RUN_FILE, json.dumps({**settings, "versions": versions()}, indent=2) + "\n")
    return False


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


def finish_run(out: Path) -> None:
    """Training is done: the run that this one replaced, if any, is no longer needed."""
    drop_run(replaced_run(out))


def drop_run(folder: Path) -> None:
    """Delete a run folder's own files; the folder goes too unless it holds anything else."""
    if not (folder / RUN_FILE).is_file():
        return
    for name in (REPORT_FOLDER, TENSORBOARD_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in reversed(_OWN_FILES):  # run.json last: what a kill leaves is still known for a run
        (folder / name).unlink(missing_ok=True)
        (folder / (name + ".part")).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def drop_evaluation(run: Path) -> None:
    """Delete what was measured on weights that training is about to change."""
    for name in (EVALUATION_FILE, POSTERIOR_FILE):
        (run / name).unlink(missing_ok=True)
    shutil.rmtree(run / REPORT_FOLDER, ignore_errors=True)


def replaced_run(out: Path) -> Path:
    """Where a run waits until the one that replaces it is done."""
    return out.with_name(out.name + ".replaced")


def _check_same_settings(out: Path, settings: dict[str, Any]) -> None:
    stored = read_settings(out)
    wanted = json.loads(json.dumps(settings))
    for section in wanted:
        for key in sorted(set(wanted[section] or {}) | set(stored.get(section) or {})):
            old, new = (stored.get(section) or {}).get(key), (wanted[section] or {}).get(key)
            if old != new:
                raise CheckpointError(
                    f"fit: `resume` must continue the same run; got {section}.{key} = {new!r} where {out} has {old!r}. "
                    "Use the run's own settings, or another --out."
                )


def read_settings(run: Path | str) -> dict[str, Any]:
    """The contents of run.json.

    Raises:
        CheckpointError: the folder or its run.json is missing or unreadable.
    """
    path = Path(run) / RUN_FILE
    if not path.is_file():
        raise CheckpointError(f"load: `run` must be a folder made by training; got {run}, which has no {RUN_FILE}.")
    try:
        settings = json.loads(path.read_text())
    except ValueError as error:
        raise CheckpointError(f"load: `run` must hold a readable {RUN_FILE}; got {path} ({error}).") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("fit"), dict):
        raise CheckpointError(f"load: `run` must hold a {RUN_FILE} with the settings of a training; {path} has none.")
    return settings


def write_history(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write history.csv whole, so that it never holds half a row."""
    if not rows:
        return
    path = run / HISTORY_FILE
    temporary = path.with_suffix(".csv.part")
    with temporary.open("w", newline="") as file:
        names = dict.fromkeys(name for row in rows for name in row)  # a resumed run may be older than some figures
        writer = csv.DictWriter(file, fieldnames=list(names), restval=math.nan)
        writer.writeheader()
        writer.writerows(rows)
    os.replace(temporary, path)


def read_history(run: Path | str) -> list[dict[str, float]]:
    """The rows of history.csv, oldest first, values as numbers."""
    path = Path(run) / HISTORY_FILE
    if not path.is_file():
        raise CheckpointError(f"read_history: `run` must hold a {HISTORY_FILE}; got {run}. Did an epoch finish?")
    try:
        with path.open(newline="") as file:
            rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]
    except (ValueError, TypeError) as error:
        raise CheckpointError(
            f"read_history: {path} must hold numbers under a header; it does not ({error})."
        ) from error
    if not rows:
        raise CheckpointError(f"read_history: {path} must hold at least one epoch; it is empty. Did an epoch finish?")
    return rows


def save_evaluation(result: xr.Dataset, run: Path | str) -> Path:
    """Write RUN/evaluation.nc (netCDF-4), whole or not at all, and return its path.

    Args:
        result: what ``evaluate_transfer`` returned.
        run: the run folder.
    """
    path = Path(run) / EVALUATION_FILE
    temporary = path.with_suffix(".nc.part")
    result.to_netcdf(temporary, engine="h5netcdf")
    os.replace(temporary, path)
    return path


def read_evaluation(run: Path | str) -> xr.Dataset:
    """RUN/evaluation.nc in memory.

    Raises:
        CheckpointError: the run has not been evaluated, or the file is unreadable.
    """
    path = Path(run) / EVALUATION_FILE
    if not path.is_file():
        raise CheckpointError(
            f"read_evaluation: `run` must hold {EVALUATION_FILE}; got {run}. Run `sciml-cf evaluate` on it first."
        )
    try:
        result = xr.load_dataset(path, engine="h5netcdf")
        if "mse" not in result:
            raise KeyError("no variable mse")
        return result
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"read_evaluation: {path} must be a whole netCDF file; it cannot be read ({error})."
        ) from error


def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the tensors of the model's state_dict, on the CPU, without the extras that some libraries add."""
    state = model.state_dict().items()
    return {name: value.detach().to("cpu", copy=True) for name, value in state if isinstance(value, Tensor)}


def load(run: Path | str, *, model: nn.Module | None = None, which: Which = "best") -> nn.Module:
    """The trained model of a run folder, in evaluation mode, on the CPU.

    Args:
        run: the folder that training wrote.
        model: an untrained module of the same shape; needed only for models that were not made by a builder of
            ``sciml_cf.models``, which the folder cannot build again.
        which: "best" for the lowest validation error, "last" for the end of training.
    Raises:
        CheckpointError: the folder, or a file in it, is missing, truncated or of another shape.
    """
    check_choice("load", "which", which, ("best", "last"))
    run = Path(run)
    settings = read_settings(run)
    if model is None:
        if not settings.get("model"):
            raise CheckpointError(
                f"load: `model` must be given for {run}: its model was made outside sciml_cf, so only its weights "
                "are stored. Pass load(run, model=YourModel(...))."
            )
        model = build_from(settings["model"])
    weights = read_tensors(run / f"weights_{which}.pt")
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"load: `model` must have the shape of the run's; {run} does not fit it ({reason})."
        ) from error
    return model.eval()


def save_posterior(known: Posterior, run: Path | str) -> Path:
    """Write RUN/posterior.pt, whole or not at all, and return its path.

    Args:
        known: the posterior of the run's best weights.
        run: the run folder.
    """
    save_tensors(Path(run) / POSTERIOR_FILE, known.state())
    return Path(run) / POSTERIOR_FILE


def read_posterior(run: Path | str) -> Posterior:
    """The error bars of a run's best weights.

    Raises:
        CheckpointError: the run has none, or the file is unreadable.
    """
    path = Path(run) / POSTERIOR_FILE
    if not path.is_file():
        raise CheckpointError(
            f"read_posterior: `run` must hold {POSTERIOR_FILE} for error bars; got {run}, which has none. Make it with "
            f"`sciml-cf posterior RUN --data FILE` on the data that it was trained on."
        )
    try:
        return Posterior.from_state(read_tensors(path))
    except ValueError as error:
        raise CheckpointError(f"read_posterior: {path} must hold a posterior; it does not ({error}).") from error
