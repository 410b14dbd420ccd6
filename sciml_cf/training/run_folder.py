"""The run folder: the files that a training leaves behind, and their readers.

::

    manifest.json      sizes and digests of the other files (see sciml_cf.training.manifest)
    run.json           versions, the model's builder, the data, every setting of the training
    history.csv        one row an epoch
    last.pt            checkpoint to resume from (weights, head state, optimizer, counters)
    previous.pt        the checkpoint before it, used if last.pt is damaged
    weights_best.pt    plain state_dict at the lowest validation error, as it was validated
    weights_last.pt    plain state_dict after the last finished epoch, as it was validated
    tensorboard/       the same figures as history.csv for TensorBoard, if it was asked for
    normalization.json what the model's inputs and outputs are divided by, if they are normalized, and how to apply it
    posterior.pt       error bars of weights_best.pt (see sciml_cf.head.posterior), where its last layer is linear
    evaluation.nc      errors at several resolutions, written by `evaluate`

The .pt files hold tensors and plain values only and load with ``torch.load(path, weights_only=True)``.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5netcdf
import xarray as xr
from torch import Tensor, nn
from xarray.backends import H5NetCDFStore

from data_gen.files.stream import guarded
from data_gen.files.whole import sweep
from data_gen.formats.hdf5 import check_file
from sciml_cf.errors import CheckpointError, DatasetError, check_choice
from sciml_cf.head.posterior import Posterior
from sciml_cf.model_outputs import carry_entry
from sciml_cf.models import build_from
from sciml_cf.normalization import Normalization, attach_normalization
from sciml_cf.training.checkpoints import (
    CHECKPOINT_FILE,
    DAMAGED_FILE,
    PREVIOUS_FILE,
    read_tensors,
    save_tensors,
)
from sciml_cf.training.choices import Which
from sciml_cf.training.manifest import MANIFEST_FILE, listed, read_verified, write_listed
from sciml_cf.training.run_place import RUN_FILE

HISTORY_FILE = "history.csv"
POSTERIOR_FILE = "posterior.pt"
EVALUATION_FILE = "evaluation.nc"
ROLLOUT_FILE = "rollout.nc"
NORMALIZATION_FILE = "normalization.json"
REPORT_FOLDER = "report"
TENSORBOARD_FOLDER = "tensorboard"
OWN_FILES = (
    RUN_FILE,
    MANIFEST_FILE,
    HISTORY_FILE,
    CHECKPOINT_FILE,
    PREVIOUS_FILE,
    DAMAGED_FILE,
    "weights_best.pt",
    "weights_last.pt",
    NORMALIZATION_FILE,
    POSTERIOR_FILE,
    EVALUATION_FILE,
    ROLLOUT_FILE,
)


def drop_evaluation(run: Path) -> None:
    """Delete what was measured on weights that training is about to change."""
    for name in (EVALUATION_FILE, ROLLOUT_FILE, POSTERIOR_FILE):
        (run / name).unlink(missing_ok=True)
    drop_report(run)


def drop_report(run: Path) -> None:
    """Delete RUN/report, but files that no report has, and the folder that holds them."""
    folder = run / REPORT_FOLDER
    if not folder.is_dir() or folder.is_symlink():
        return
    sweep(folder)
    for path in folder.iterdir():
        if path.suffix in (".html", ".png", ".md", ".csv") and path.is_file():
            path.unlink()
    with contextlib.suppress(OSError):  # it is not empty
        folder.rmdir()


def read_settings(run: Path | str) -> dict[str, Any]:
    """The contents of run.json.

    Raises:
        CheckpointError: the folder or its run.json is missing or unreadable.
    """
    path = Path(run) / RUN_FILE
    if not path.is_file():
        raise CheckpointError(f"load: `run` must be a folder made by training; got {run}, which has no {RUN_FILE}.")
    try:
        settings = json.loads(read_verified(path))
    except ValueError as error:
        raise CheckpointError(f"load: `run` must hold a readable {RUN_FILE}; got {path} ({error}).") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("fit"), dict):
        raise CheckpointError(f"load: `run` must hold a {RUN_FILE} with the settings of a training; {path} has none.")
    return settings


def write_history(run: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write history.csv whole, so that it never holds half a row."""
    if not rows:
        return
    text = io.StringIO(newline="")
    names = dict.fromkeys(name for row in rows for name in row)  # a resumed run may be older than some figures
    writer = csv.DictWriter(text, fieldnames=list(names), restval=math.nan)
    writer.writeheader()
    writer.writerows(rows)
    write_listed(run / HISTORY_FILE, text.getvalue())


def read_history(run: Path | str) -> list[dict[str, float]]:
    """The rows of history.csv, oldest first, values as numbers."""
    path = Path(run) / HISTORY_FILE
    if not path.is_file():
        raise CheckpointError(f"read_history: `run` must hold a {HISTORY_FILE}; got {run}. Did an epoch finish?")
    try:
        text = io.StringIO(read_verified(path).decode(), newline="")
        rows = [{key: float(value) for key, value in row.items()} for row in csv.DictReader(text)]
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
    return _save_results(result, Path(run) / EVALUATION_FILE)


def save_rollout(result: xr.Dataset | None, run: Path | str) -> None:
    """Write RUN/rollout.nc, whole or not at all; None deletes that of an earlier evaluation."""
    path = Path(run) / ROLLOUT_FILE
    if result is None:
        path.unlink(missing_ok=True)
    else:
        _save_results(result, path)


def read_rollout(run: Path | str) -> xr.Dataset | None:
    """RUN/rollout.nc in memory; None where there is none.

    Raises:
        CheckpointError: the file is unreadable.
    """
    path = Path(run) / ROLLOUT_FILE
    return _read_results(path) if path.is_file() else None


def _save_results(result: xr.Dataset, path: Path) -> Path:
    with listed(path) as part:
        with guarded(part) as file, h5netcdf.File(file, "w") as stored:
            result.dump_to_store(H5NetCDFStore(stored))
        xr.load_dataset(part, engine="h5netcdf")
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
    return _read_results(path)


def _read_results(path: Path) -> xr.Dataset:
    try:
        read_verified(path)
        check_file(path)
        result = xr.load_dataset(path, engine="h5netcdf")
        if "mse" not in result:
            raise KeyError("no variable mse")
        return result
    except (OSError, ValueError, KeyError, DatasetError) as error:
        raise CheckpointError(
            f"read_evaluation: {path} must be a whole netCDF file; it cannot be read ({error})."
        ) from error


def plain_state_dict(model: nn.Module) -> dict[str, Tensor]:
    """Copies of the tensors of the model's state_dict, on the CPU, without the extras that some libraries add."""
    state = model.state_dict().items()
    return {name: value.detach().to("cpu", copy=True) for name, value in state if isinstance(value, Tensor)}


def load(run: Path | str, *, model: nn.Module | None = None, which: Which = "best") -> nn.Module:
    """The trained model of a run folder, in evaluation mode, on the CPU: physical fields to physical fields.

    A run trained on normalized fields has its normalization attached (see sciml_cf.normalization); the state_dict is
    that of the model alone. The entry of its return value that ``fit`` was given is carried too, unless by a function.

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
    normalization = read_normalization(settings)
    if normalization is not None:
        attach_normalization(model, normalization)
    carry_entry(model, (settings.get("prediction") or {}).get("entry"))
    return model.eval()


def read_normalization(settings: Mapping[str, Any]) -> Normalization | None:
    """The normalization in the contents of run.json; None for a run without one.

    Raises:
        CheckpointError: it cannot be read.
    """
    values = settings.get("normalization")
    if values is None:
        return None
    try:
        return Normalization.from_dict(values)
    except (TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"load: {RUN_FILE} must hold a usable normalization; it does not ({error}).") from error


def save_normalization(normalization: Normalization, run: Path) -> None:
    """Write RUN/normalization.json: the numbers, and in words how to apply them without this package."""
    added = " + x[residual]" if normalization.residual else ""
    content = {
        "how": f"y = target_mean + target_scale * model((x - input_mean) / input_scale){added}, one number for each "
        "channel, with the weights of weights_best.pt; subtract in float64, then cast to float32.",
        **normalization.to_dict(),
    }
    write_listed(run / NORMALIZATION_FILE, json.dumps(content, indent=2) + "\n")


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
