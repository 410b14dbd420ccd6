"""`sciml-cf adapt` and `sciml-cf posterior`: from a run and a data file to a new run, or to a run's error bars."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from data_gen.cli.flags import parse
from data_gen.cli.override_flags import OverrideFlags
from data_gen.files.whole import new_folder, said
from data_gen.formats import Facts
from data_gen.terminal.outcome import Outcome, command_line
from sciml_cf.datasets.choices import Lazy, Split
from sciml_cf.errors import CheckpointError, check_count
from sciml_cf.evaluate.choices import Choice

if TYPE_CHECKING:
    from torch import nn

    from data_gen.executors.local import Runner
    from sciml_cf.datasets import FieldDataset
    from sciml_cf.evaluate.adaptation import Adaptation
    from sciml_cf.head.posterior import Posterior


@dataclass(frozen=True, kw_only=True)
class AdaptFlags(OverrideFlags):
    """Solve a run's head again for new data, held to the old one as hard as the data call for; writes a new run.

    One pass over the samples, no training. The head stays unchanged unless cross-validation over the samples speaks
    clearly against it. The new run can be evaluated, used and reported like any other.

    Args:
        runs: run folder to start from, or several; their best weights are taken.
        data: data file with the new samples.
        out: run folder to write; of several runs the existing folder in which each gets a run folder of its own name.
        split: which samples of the file; the others stay for `evaluate`.
        samples: take only the first so many of them.
        resolution: grid points to run the model at; by default those that it was trained at.
        strength: pull to the old head, instead of a choice by the data.
        choose: "cross-validation" over samples; "gcv" takes the points of a sample for independent, and is less safe.
        folds: folds of the cross-validation; with fewer samples each is a fold of its own.
        workers: processes on this machine that share out the samples, of one thread each.
        dask: a Dask scheduler's address, or "local", to share them out there; its workers must see `data`.
        overwrite: replace the run in `out`.
    """

    runs: Positional[tuple[Path, ...]]
    data: Path
    out: Path
    split: Split = "train"
    samples: int | None = None
    resolution: int | None = None
    strength: float | None = None
    choose: Choice = "cross-validation"
    folds: int = 8
    workers: int = 1
    dask: str | None = None
    overwrite: bool = False


@dataclass(frozen=True, kw_only=True)
class PosteriorFlags(OverrideFlags):
    """Make RUN/posterior.pt, the error bars of a run that has none, with one pass over its training data.

    Args:
        run: run folder; the error bars are those of its best weights.
        data: the data file that it was trained on.
        overwrite: replace those that are there.
    """

    run: Positional[Path]
    data: Path
    overwrite: bool = False


def adapt_command(argv: list[str]) -> str:
    """`sciml-cf adapt`."""
    flags = parse(AdaptFlags, argv, prog="sciml-cf adapt")
    places = _places(flags)
    if flags.samples is not None:
        check_count("adapt", "samples", flags.samples)
    check_count("adapt", "workers", flags.workers)
    text = _adapt_all(flags, places)
    evaluations = [
        command_line("evaluate", out, "--data", flags.data, *flags.metadata_words()) for out in places.values()
    ]
    return Outcome(text, following=" && ".join(evaluations) if text else "")


def _adapt_all(flags: AdaptFlags, places: Mapping[Path, Path]) -> str:
    """Adapt the runs one after another, each by the processes that share out the samples."""
    if flags.dask is None and flags.workers == 1:
        return "\n".join(filter(None, (_adapt(flags, run, out, None) for run, out in places.items())))
    from data_gen.executors.dask_cluster import dask_cluster
    from data_gen.executors.local import processes

    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(
            "adapt: `workers` and `dask` must be left out under torchrun, whose processes share the samples."
        )
    dask, workers = flags.dask, flags.workers
    with processes(workers) if dask is None else dask_cluster(dask, workers, function="adapt") as runner:
        return "\n".join(_adapt(flags, run, out, runner) for run, out in places.items())


def _adapt(flags: AdaptFlags, run: Path, out: Path, runner: Runner | None) -> str:
    """Adapt one run, and write the new one; what was done, or nothing in processes that do not write."""
    from torch.utils.data import Subset

    from sciml_cf.evaluate.adaptation import adapt, adapted_posterior
    from sciml_cf.evaluate.problem import Problem, as_trained, check_problem
    from sciml_cf.models.coordinates import positions
    from sciml_cf.training.distributed import is_first_process, join_processes
    from sciml_cf.training.run_folder import POSTERIOR_FILE, load, read_posterior, read_settings
    from sciml_cf.training.run_start import RUN_KIND

    settings = read_settings(run)
    facts = as_trained(flags.overrides(), settings)
    check_problem("adapt", Problem.of_file(flags.data, facts=facts), run, settings)
    model = load(run)
    data, description = _read(
        settings, flags.data, flags.split, flags.resolution, facts, lazy="auto" if runner is None else "yes"
    )
    if flags.samples is not None and flags.samples > len(data):
        raise ValueError(
            f"adapt: `samples` must be at most {len(data)}, the {flags.split} samples of {flags.data}; "
            f"got {flags.samples}."
        )
    chosen = Subset(data, range(len(data) if flags.samples is None else flags.samples))
    prior = read_posterior(run) if (run / POSTERIOR_FILE).exists() else None
    join_processes()
    writes = is_first_process()
    place = new_folder(out, who="adapt", kind=RUN_KIND, overwrite=flags.overwrite) if writes else nullcontext()
    with place as part:
        start = time.perf_counter()
        words: dict[str, Any] = {"prior": prior, "shared": True, "runner": runner}
        with positions(model, data.positions):
            result = adapt(model, chosen, strength=flags.strength, choose=flags.choose, folds=flags.folds, **words)
            seconds = time.perf_counter() - start
            known = adapted_posterior(model, chosen, result, **words) if len(chosen) > 1 else None
        if part is None:
            return ""
        description.update({"split": flags.split, "samples": len(chosen)})
        adapted = {"from": str(run), **_summary(result, flags.choose)}
        history = _history(result, seconds)
        _write_run(part, model, {**settings, "data": description, "adapted": adapted}, history, known)
    return _text(out, result, seconds, with_std=known is not None)


def _write_run(
    part: Path, model: nn.Module, content: dict[str, Any], history: list[dict[str, float]], known: Posterior | None
) -> None:
    """A run folder with the model's weights as best and as last, and its error bars if they are known."""
    from sciml_cf.training.checkpoints import save_tensors
    from sciml_cf.training.manifest import write_listed
    from sciml_cf.training.run_folder import (
        RUN_FILE,
        plain_state_dict,
        read_normalization,
        save_normalization,
        save_posterior,
        write_history,
    )
    from sciml_cf.training.versions import versions

    part.mkdir()
    write_listed(part / RUN_FILE, json.dumps({**content, "versions": versions()}, indent=2) + "\n")
    if (normalization := read_normalization(content)) is not None:
        save_normalization(normalization, part)
    write_history(part, history)
    for name in ("weights_best.pt", "weights_last.pt"):
        save_tensors(part / name, plain_state_dict(model))
    if known is not None:
        save_posterior(known, part)


def posterior_command(argv: list[str]) -> str:
    """`sciml-cf posterior`."""
    flags = parse(PosteriorFlags, argv, prog="sciml-cf posterior")
    from torch.utils.data import Subset

    from sciml_cf.datasets.items import calibration_samples
    from sciml_cf.evaluate.problem import Problem, as_trained, check_problem
    from sciml_cf.head.posterior import posterior
    from sciml_cf.models.coordinates import positions
    from sciml_cf.training.distributed import is_first_process, join_processes
    from sciml_cf.training.run_folder import POSTERIOR_FILE, load, read_settings, save_posterior
    from sciml_cf.training.run_start import only_writer

    settings = read_settings(flags.run)
    if (flags.run / POSTERIOR_FILE).exists() and not flags.overwrite:
        raise FileExistsError(f"posterior: `run` must have no error bars yet; got {flags.run}. Use --overwrite.")
    facts = as_trained(flags.overrides(), settings)
    check_problem("posterior", Problem.of_file(flags.data, facts=facts), flags.run, settings)
    train, validation = (_read(settings, flags.data, split, None, facts)[0] for split in ("train", "validation"))
    stored = (settings.get("data") or {}).get("checksum")
    if stored is not None and stored != train.checksum:
        raise CheckpointError(
            f"posterior: `data` must be the file that {flags.run} was trained on; got {flags.data}, which has others."
        )
    join_processes()
    writer = only_writer(flags.run, "posterior", "run") if is_first_process() else nullcontext()
    with said("posterior", flags.run), writer:
        model = load(flags.run)
        held_out = Subset(validation, calibration_samples(validation))
        with positions(model, train.positions):
            known = posterior(model, train, held_out, shared=True)
        if not is_first_process():
            return ""
        words = ("--input", flags.data, "--output", "prediction.npy", "--std", "error_bars.npy")
        following = command_line("predict", flags.run, *words, *flags.metadata_words())
        return Outcome(str(save_posterior(known, flags.run)), following=following)


def _read(
    settings: dict[str, Any],
    path: Path,
    split: Split,
    resolution: int | None,
    facts: Facts | None,
    *,
    lazy: Lazy = "auto",
) -> tuple[FieldDataset, dict[str, Any]]:
    """Samples of a file on the grid of the run, and what run.json says of them."""
    from sciml_cf.datasets import FieldDataset
    from sciml_cf.datasets.laziness import choose_lazy

    if facts is not None and facts.mask is not None:
        raise ValueError(
            "adapt: `mask` must be left out: heads are adapted, and error bars made, on whole fields only."
        )
    stored = settings.get("data") or {}
    sampling, split_seed = stored.get("sampling", "strided"), stored.get("split_seed", 0)
    resolution = stored.get("resolution") if resolution is None else resolution
    words: dict[str, Any] = {"resolution": resolution, "split_seed": split_seed, "facts": facts}
    read_later = choose_lazy("adapt", lazy, path, (split,), quiet=True, **words)
    data = FieldDataset(path, split, sampling=sampling, lazy=read_later, **words)
    return data, {
        "file": path.name,
        "checksum": data.checksum,
        "resolution": data.resolution,
        "sampling": sampling,
        "split_seed": split_seed,
        **data.ends,
        **data.windows,
    }


def _places(flags: AdaptFlags) -> dict[Path, Path]:
    """Where the new run of each run goes, checked before any work."""
    if len(flags.runs) == 1:
        _check_out(flags.runs[0], flags.out, flags.overwrite)
        return {flags.runs[0]: flags.out}
    if not flags.out.is_dir():
        raise FileNotFoundError(
            f"adapt: `out` must be an existing folder for several runs; got {flags.out}. Create it."
        )
    places = {run: flags.out / run.resolve().name for run in flags.runs}
    if len(set(places.values())) < len(flags.runs):
        names = ", ".join(str(run) for run in flags.runs)
        raise ValueError(f"adapt: `runs` must have different names, those of the new runs in `out`; got {names}.")
    for run, out in places.items():
        _check_out(run, out, flags.overwrite)
    return places


def _check_out(run: Path, out: Path, overwrite: bool) -> None:
    """Before any work: whether the new run may be put there."""
    from sciml_cf.training.run_start import is_run_folder

    if not out.parent.is_dir():
        raise FileNotFoundError(f"adapt: `out` must lie in an existing folder; got {out}. Create {out.parent} first.")
    if out.resolve() == run.resolve():
        raise FileExistsError(f"adapt: `out` must be another folder than the run; got {out} for both.")
    if out.exists() and not overwrite:
        raise FileExistsError(f"adapt: `out` must not exist yet; got {out}. Use --overwrite to replace it.")
    if out.exists() and not (out.is_dir() and is_run_folder(out)):
        raise FileExistsError(
            f"adapt: `out` must be a run folder to be replaced, and hold nothing else; got {out}. Choose another path."
        )


def _history(result: Adaptation, seconds: float) -> list[dict[str, float]]:
    """Epoch 0 is the old head, epoch 1 the new one; validation is by cross-validation over the samples."""
    before, after = result.error_before, result.error_after
    rows = [(0.0, result.training_error(result.previous), before, 0.0)]
    rows.append((1.0, result.training_error(result.head), after, seconds))
    names = ("epoch", "train_loss", "validation_mse", "seconds")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _summary(result: Adaptation, choose: str) -> dict[str, Any]:
    """What run.json says of an adaptation; the unchanged head has no strength."""
    return {
        "changed": result.changed,
        "strength": result.strength if result.changed else None,
        "choose": choose,
        "metric": "identity" if result.metric is None else "root of the training gram",
        "samples": result.samples,
        "folds": len(result.folds),
        "degrees_of_freedom": result.degrees_of_freedom,
        "error_before": result.error_before,
        "error_after": None if result.error_after != result.error_after else result.error_after,
        "candidates": [
            {key: value if abs(value) < float("inf") else None for key, value in vars(one).items()}
            for one in result.candidates
        ],
    }


def _text(out: Path, result: Adaptation, seconds: float, *, with_std: bool) -> str:
    what = (
        f"head moved with strength {result.strength:.3g}, {result.degrees_of_freedom:.1f} degrees of freedom"
        if result.changed
        else "head left as it was: no candidate was clearly better"
    )
    lines = [
        f"{out}: {what}",
        f"mse by cross-validation over {result.samples} samples: {result.error_before:.3g} before, "
        f"{result.error_after:.3g} after ({seconds:.2f} s)",
    ]
    return "\n".join(lines if with_std else [*lines, "no error bars: they need at least two samples"])
