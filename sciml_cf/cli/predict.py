"""`sciml-cf predict`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from data_gen.cli.flags import UsageError, parse
from data_gen.cli.override_flags import OverrideFlags
from data_gen.files.places import check_free, place_of, starts_with
from data_gen.files.stream import guarded
from data_gen.files.whole import new_files
from data_gen.formats import open_source
from data_gen.header import Boundary
from sciml_cf.datasets.missing import with_mask
from sciml_cf.errors import DatasetError
from sciml_cf.training.choices import Which

_KIND = starts_with("a .npy file", b"\x93NUMPY")


@dataclass(frozen=True, kw_only=True)
class PredictFlags(OverrideFlags):
    """Apply a trained run to input fields.

    Args:
        run: run folder.
        input: .npy file with fields (samples, points) or (samples, channels, points), in two dimensions with points
            along y and x, or a data file, whose inputs are taken.
        output: .npy file to write, float32, shaped like the input (with an axis of channels for `--mask`).
        resolution: grid points along each axis to run the model at (inputs are Fourier-interpolated); by default those
            of the input.
        which: weights with the lowest validation error, or those of the last epoch.
        overwrite: replace the output files.
        std: .npy file to write the predictive standard deviation to, shaped like the output (best weights only).
    """

    run: Positional[Path]
    input: Path
    output: Path
    resolution: int | None = None
    which: Which = "best"
    overwrite: bool = False
    std: Path | None = None


def predict_command(argv: list[str]) -> str:
    """`sciml-cf predict`."""
    flags = parse(PredictFlags, argv, prog="sciml-cf predict")
    outputs = {"output": flags.output, **({} if flags.std is None else {"std": flags.std})}
    for name, path in outputs.items():
        check_free(place_of(path, "predict", name), "predict", name, kind=_KIND, overwrite=flags.overwrite)
    if flags.std is not None and (flags.which != "best" or flags.std == flags.output):
        raise UsageError("sciml-cf predict: `std` must be another file than the output, for the best weights only.")
    with new_files(
        list(outputs.values()), who="predict", argument="output", kind=_KIND, overwrite=flags.overwrite
    ) as asides:
        results = _results(flags)
        for aside, values in zip(asides, results, strict=True):
            with guarded(aside) as file:
                np.save(file, values)  # type: ignore[arg-type]
    written = zip(outputs.values(), results, strict=True)
    return "\n".join(f"{path}: {values.shape} {values.dtype}" for path, values in written)


def _results(flags: PredictFlags) -> list[np.ndarray]:
    """The predictions, and their standard deviations if a file is named for them."""
    from sciml_cf.evaluate.prediction import predict
    from sciml_cf.training.run_folder import read_settings

    settings = read_settings(flags.run)  # a wrong folder is reported before a large input is read
    fields, boundary = _read_fields(flags, settings)
    how: dict[str, Any] = {"resolution": flags.resolution, "which": flags.which, "boundary": boundary}
    if flags.std is None:
        return [predict(flags.run, fields, **how)]
    return list(predict(flags.run, fields, std=True, **how))


def _read_fields(flags: PredictFlags, settings: dict[str, Any]) -> tuple[np.ndarray, Boundary | None]:
    """Input fields from a .npy file, or the inputs of a data file of any format, and its boundary, if known."""
    from sciml_cf.evaluate.problem import Problem, as_trained, check_problem

    path = flags.input
    pair = "," in str(path) and not path.exists()  # INPUT.npy,TARGET.npy
    if (path.suffix == ".npy" and not pair) or not (path.exists() or pair):
        kinds = set(flags.boundary)
        return _array(flags, settings), next(iter(kinds)) if len(kinds) == 1 else "open" if kinds else None

    facts = as_trained(flags.overrides(), settings)
    found = Problem.of_file(path, facts=facts)
    check_problem("predict", Problem(num_dims=found.num_dims, in_channels=found.in_channels), flags.run, settings,
                  argument="input")  # fmt: skip
    with open_source(path, overrides=facts) as source:
        fields = source.read(source.input_name)
        if flags.mask is not None:
            fields = with_mask(fields)
        return fields, source.header.boundary


def _array(flags: PredictFlags, settings: dict[str, Any]) -> np.ndarray:
    """Input fields from a .npy file, with a last channel that says where they are known for `--mask fill`."""
    fields = _read_npy(flags.input)
    if flags.mask is None:
        return fields
    if flags.mask != "fill":
        raise UsageError(f"sciml-cf predict: `mask` must be fill for a .npy file; got {flags.mask}.")
    num_dims = ((settings.get("model") or {}).get("arguments") or {}).get("num_dims", max(1, fields.ndim - 2))
    return with_mask(fields[:, None] if fields.ndim == num_dims + 1 else fields)


def _read_npy(path: Path) -> np.ndarray:
    if not path.is_file():
        raise DatasetError(f"predict: `input` must be a .npy file; got {path}, which does not exist.")
    try:
        return np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DatasetError(f"predict: `input` must be a whole .npy file; {path} cannot be read ({error}).") from error
