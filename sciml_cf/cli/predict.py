"""`sciml-cf predict`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tyro.conf import Positional

from data_gen.cli.flags import JsonFlags, UsageError, parse
from data_gen.cli.override_flags import OverrideFlags
from data_gen.files.places import check_free, place_of, starts_with
from data_gen.files.stream import guarded
from data_gen.files.whole import new_files
from data_gen.formats import Overrides, open_source
from data_gen.header import Boundary
from data_gen.terminal.outcome import Outcome, strict_json
from sciml_cf.datasets.missing import with_mask
from sciml_cf.errors import DatasetError
from sciml_cf.training.choices import Which

_KIND = starts_with("a .npy file", b"\x93NUMPY")


@dataclass(frozen=True, kw_only=True)
class PredictFlags(JsonFlags, OverrideFlags):
    """Apply a trained run to input fields.

    Args:
        run: run folder.
        input: .npy file with fields ``(samples, points)`` or ``(samples, channels, points)``, in two dimensions with
            points along y and x, or a data file, whose inputs are taken.
        output: .npy file to write, float32, shaped like the input (with an axis of channels for `--mask`).
        resolution: grid points along each axis to run the model at (inputs are Fourier-interpolated); by default those
            of the input.
        which: weights with the lowest validation error, or those of the last epoch.
        overwrite: replace the output files.
        parameters: of a run trained with `--condition` its scalars: a .csv file with a line of names, a .npy file, or
            words NAME=VALUE for all samples. By default those that the data file has.
        std: .npy file to write the predictive standard deviation to, shaped like the output (best weights only).
    """

    run: Positional[Path]
    input: Path
    output: Path
    resolution: int | None = None
    which: Which = "best"
    overwrite: bool = False
    std: Path | None = None

    @property
    def parameter_file(self) -> Path | None:
        """The file of the scalars of each sample, where one is given."""
        words = self.parameters
        return Path(words[0]) if len(words) == 1 and "=" not in words[0] else None

    def overrides(self) -> Overrides:
        """The metadata that the flags give, without the scalars of samples."""
        return super().overrides() if self.parameter_file is None else replace(self, parameters=()).overrides()


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
    following = f"numpy.load({str(flags.output)!r}) in Python"
    if flags.json:
        document = {name: _facts(path, values) for (name, path), values in zip(outputs.items(), results, strict=True)}
        return Outcome(strict_json({"run": flags.run, "input": flags.input, **document}), following=following)
    text = "\n".join(f"{path}: {values.shape} {values.dtype}" for path, values in written)
    return Outcome(text, following=following)


def _facts(path: Path, values: np.ndarray) -> dict[str, Any]:
    """A written array in numbers; its moments are of its finite values."""
    known = values[np.isfinite(values)].astype("float64")
    moments = {"min": known.min(), "max": known.max(), "mean": known.mean(), "std": known.std()} if known.size else {}
    kind = {"file": path, "shape": values.shape, "dtype": str(values.dtype)}
    return {**kind, "finite": known.size == values.size, **moments}


def _results(flags: PredictFlags) -> list[np.ndarray]:
    """The predictions, and their standard deviations if a file is named for them."""
    from sciml_cf.evaluate.prediction import predict
    from sciml_cf.training.run_folder import read_settings

    settings = read_settings(flags.run)  # a wrong folder is reported before a large input is read
    fields, parameters, boundary = _read_fields(flags, settings)
    how: dict[str, Any] = {"resolution": flags.resolution, "which": flags.which, "boundary": boundary}
    how["parameters"] = parameters
    if flags.std is None:
        return [predict(flags.run, fields, **how)]
    return list(predict(flags.run, fields, std=True, **how))


def _read_fields(
    flags: PredictFlags, settings: dict[str, Any]
) -> tuple[np.ndarray, Mapping[str, Any] | None, Boundary | None]:
    """Input fields from a .npy file, or the inputs of a data file of any format, their parameters, and the boundary."""
    from sciml_cf.datasets.conditions import condition_values
    from sciml_cf.evaluate.parameters import conditions_of
    from sciml_cf.evaluate.problem import Problem, as_trained, check_problem

    names = tuple(conditions_of(settings))
    parameters = _given_parameters(flags, names)

    path = flags.input
    pair = "," in str(path) and not path.exists()  # INPUT.npy,TARGET.npy
    if (path.suffix == ".npy" and not pair) or not (path.exists() or pair):
        return _array(flags, settings), parameters, _boundary(flags)

    facts = as_trained(flags.overrides(), settings)
    told = replace(facts or Overrides(), condition=()) if parameters is not None else facts
    found = Problem.of_file(path, facts=told)
    if parameters is not None and found.in_channels is not None:
        found = replace(found, in_channels=found.in_channels + len(names))
    check_problem("predict", Problem(num_dims=found.num_dims, in_channels=found.in_channels), flags.run, settings,
                  argument="input")  # fmt: skip
    with open_source(path, overrides=facts) as source:
        fields = source.read(source.input_name)
        parameters = condition_values(source, names) if names and parameters is None else parameters
        if flags.mask is not None:
            fields = with_mask(fields)
        return fields, parameters, source.header.boundary


def _boundary(flags: PredictFlags) -> Boundary | None:
    """What the flags say of the ends of an array."""
    kinds = set(flags.boundary)
    return next(iter(kinds)) if len(kinds) == 1 else "open" if kinds else None


def _given_parameters(flags: PredictFlags, names: tuple[str, ...]) -> Mapping[str, Any] | None:
    """The scalars of the samples that the flags give; None for those of the data file."""
    from sciml_cf.evaluate.parameters import read_parameters

    if flags.parameter_file is not None:
        return read_parameters(flags.parameter_file, names)
    given = flags.overrides().parameters
    return given if given and names else None


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
