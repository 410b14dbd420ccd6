"""Evaluation of a run folder on a data file, stored in the folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import xarray as xr

from data_gen.files.whole import said
from data_gen.formats import Facts, open_source
from sciml_cf.datasets import Split
from sciml_cf.datasets.choices import Sampling
from sciml_cf.datasets.stream import FIRST, of_one_law
from sciml_cf.evaluate.grids import default_resolutions
from sciml_cf.evaluate.odd_grids import warn_of_odd_grids
from sciml_cf.evaluate.parameters import warn_of_file
from sciml_cf.evaluate.problem import Problem, as_trained, check_problem, differences
from sciml_cf.evaluate.rollout import evaluate_rollout
from sciml_cf.evaluate.trajectories import fitting, opened_trajectories, steps_in
from sciml_cf.evaluate.transfer import evaluate_transfer
from sciml_cf.training.distributed import is_first_process, join_processes
from sciml_cf.training.run_folder import (
    EVALUATION_FILE,
    Which,
    load,
    read_evaluation,
    read_settings,
    save_evaluation,
    save_rollout,
)
from sciml_cf.training.run_start import only_writer

_LOG = logging.getLogger(__name__)


def evaluate_run(
    run: Path,
    data: Path,
    resolutions: Sequence[int] = (),
    *,
    sampling: Sampling = "strided",
    split: Split = "test",
    which: Which = "best",
    facts: Facts | None = None,
) -> xr.Dataset:
    """Measure a run on a data file and write RUN/evaluation.nc; ``facts`` as in ``train_on_file``.

    Where the run makes steps in time and the file has several, RUN/rollout.nc has its errors against time as well, see
    ``evaluate_rollout``.

    Without resolutions they are those of ``default_resolutions``.

    To what ``evaluate_transfer`` returns it adds the attributes which, trained_at, own_data (1 if the run was trained
    on this file, else 0; the baselines always are) and, for a run that ``adapt`` made, adapted_samples.

    Under torchrun each process measures its share of the samples, and the first one writes.

    Raises:
        ValueError: the data have other dimensions or channels than the run's; and as ``evaluate_transfer``.
        CheckpointError: another process writes into the run's folder, or the run cannot be read.
        OutputError: the file cannot be written.
    """
    settings = read_settings(run)
    facts = as_trained(facts, settings)
    join_processes()
    writer = only_writer(run, "evaluate", "run") if is_first_process() else nullcontext()
    with said("evaluate", run), writer:
        return _evaluate(run, data, resolutions, settings, sampling=sampling, split=split, which=which, facts=facts)


def _evaluate(
    run: Path,
    data: Path,
    resolutions: Sequence[int],
    settings: dict[str, Any],
    *,
    sampling: Sampling,
    split: Split,
    which: Which,
    facts: Facts | None,
) -> xr.Dataset:
    check_problem("evaluate", Problem.of_file(data, facts=facts), run, settings)
    warn_of_file("evaluate", data, facts, settings)
    other = _warn_of_differences(run, data, facts, settings)
    stored = settings.get("data") or {}
    if not resolutions:
        resolutions = _default_resolutions(data, facts, stored.get("resolution"))
    model = load(run, which=which)
    if len({n % 2 for n in resolutions}) == 1:  # of others evaluate_transfer warns
        warn_of_odd_grids("evaluate", model, {*resolutions, stored.get("resolution") or resolutions[0]})
    result = evaluate_transfer(
        model,
        data,
        resolutions=resolutions,
        sampling=sampling,
        split=split,
        split_seed=stored.get("split_seed", 0),
        facts=facts,
    )
    own = stored.get("checksum") == result.attrs["data_checksum"] or _generates(stored, data)
    if split != "all" and not other:
        _warn_of_samples(run, data, split, stored, own=own)
    result.attrs.update({"which": which, "trained_at": stored.get("resolution", 0)})
    if "checksum" in stored:
        result.attrs["own_data"] = int(own)
    if "samples" in stored:
        result.attrs["adapted_samples"] = stored["samples"]
    if not is_first_process():
        return result
    _say_what_is_replaced(run, result)
    save_evaluation(result, run)
    kept = {"split": split, "split_seed": stored.get("split_seed", 0), "facts": facts, "which": which}
    save_rollout(_rolled_out(run, data, stored, kept), run)
    return result


def _warn_of_samples(run: Path, data: Path, split: Split, stored: dict[str, Any], *, own: bool) -> None:
    """One line where samples may have been seen in training."""
    if stored and not own:
        _LOG.warning(
            "evaluate: %s is not the file that %s was trained on, so its %s split may hold samples seen in training "
            "(files of one law and seed share their first samples).", data, run, split,
        )  # fmt: skip
    elif stored.get("split") in ("all", split):
        _LOG.warning("evaluate: %s was adapted on samples of the %s split of %s.", run, split, data)


def _warn_of_differences(run: Path, data: Path, facts: Facts | None, settings: dict[str, Any]) -> bool:
    """Whether a file is of another problem than the run, which one line says."""
    with open_source(data, facts=facts) as source:
        other = differences(source.header, settings)
    if other:
        _LOG.warning(
            "evaluate: %s is of another problem than %s was trained on: %s. Expect large errors, which say nothing of "
            "the training.", data, run, "; ".join(other),
        )  # fmt: skip
    return bool(other)


def _say_what_is_replaced(run: Path, result: xr.Dataset) -> None:
    """One line where the evaluation on another file is replaced."""
    if not (run / EVALUATION_FILE).is_file():
        return
    before = read_evaluation(run).attrs
    if before.get("data_checksum") != result.attrs["data_checksum"]:
        _LOG.warning("evaluate: the evaluation of %s on %s is replaced.", run, before.get("data", "another file"))


def _generates(stored: dict[str, Any], data: Path) -> bool:
    """Whether a run was trained on samples straight from the solver, of the law and seed of a file, which shares none.

    The samples of training have numbers that no file of usual size reaches.
    """
    if "generated" not in stored:
        return False
    with open_source(data) as source:
        spec = getattr(source, "spec", None)
        return spec is not None and of_one_law(spec, stored["generated"]) and spec.samples <= FIRST["validation"]


def _rolled_out(run: Path, data: Path, stored: dict[str, Any], kept: dict[str, Any]) -> xr.Dataset | None:
    """The errors of the run against time, where it makes steps in time and the file has several of them."""
    step, facts = stored.get("time_step"), kept["facts"]
    inputs = (stored.get("windows") or {}).get("input_steps", 1)
    if step is None or (facts is not None and facts.mask is not None):
        return None
    with opened_trajectories(data, facts) as source:
        count, resolution = steps_in(source, step), fitting(stored.get("resolution"), source)
    return None if count < inputs + 2 else evaluate_rollout(run, data, resolution=resolution, **kept)


def _default_resolutions(data: Path, facts: Facts | None, trained: int | None) -> tuple[int, ...]:
    """Those of ``default_resolutions`` for a file; one line says which."""
    with open_source(data, facts=facts) as source:
        chosen = default_resolutions(source.header.shape, trained, source.header.placements)
    _LOG.info("evaluate: resolutions %s (--resolutions changes them)", ", ".join(map(str, chosen)))
    return chosen
