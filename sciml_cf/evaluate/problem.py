"""The check that data are of the problem that a run was trained on: dimensions and channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from data_gen.formats import Facts, open_source
from data_gen.formats.overrides import CHOICES, STEPS
from data_gen.header import Header
from sciml_cf.datasets.conditions import condition_values
from sciml_cf.datasets.geometry import problem_of
from sciml_cf.training.run_folder import Which, load, read_settings

_UNKNOWN = "unknown"  # the equation of a file that does not say it
_WORDS = {"num_dims": "dimension", "in_channels": "input channel", "out_channels": "output channel"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The numbers that data and model must share.

    Args:
        num_dims: spatial dimensions.
        in_channels: channels of the inputs; None where they are not known.
        out_channels: channels of the targets; None where they are not known.
    """

    num_dims: int
    in_channels: int | None = None
    out_channels: int | None = None

    @classmethod
    def of_file(cls, path: str | Path, *, facts: Facts | None = None, format: str | None = None) -> Problem:
        """That of a data file's own input and target; only its header is read."""
        with open_source(Path(path), format=format, facts=facts) as data:
            header = data.header
            told = 0 if facts is None or not facts.condition else len(condition_values(data, facts.condition))
        given = len(header.inputs) + told + (facts is not None and facts.mask is not None)  # the channel of the mask
        return cls(num_dims=header.num_dims, in_channels=given, out_channels=len(header.channels))


def as_trained(facts: Facts | None, settings: Mapping[str, Any]) -> Facts | None:
    """What is said of a data file, with the windows and conditions that the run was trained on unless others are given.

    Args:
        facts: what is said.
        settings: what run.json says.
    """
    stored = settings.get("data") or {}
    given, told = facts or Facts(), {}
    if stored.get("conditions") and not given.condition:
        told["condition"] = tuple(stored["conditions"])
    if stored.get("windows") and all(getattr(given, name) is None for name in CHOICES):
        told |= {name: stored["windows"][name] for name in STEPS}
    return replace(given, **told) if told else facts


def check_problem(
    function: str, found: Problem, run: Path | str, settings: Mapping[str, Any], *, argument: str = "data"
) -> None:
    """Raise ValueError unless the data have the dimensions and channels that the run's model was made for.

    Args:
        function: the function that messages name.
        argument: its name for the data in messages.
        found: of the data.
        run: the run folder.
        settings: the contents of its run.json, which says nothing of a model that no builder of ``sciml_cf.models``
            made.
    """
    arguments = (settings.get("model") or {}).get("arguments") or {}
    given = {name: count for name, count in asdict(found).items() if count is not None and name in arguments}
    wanted = {name: arguments[name] for name in given}
    if given != wanted:
        raise ValueError(
            f"{function}: `{argument}` must have {_in_words(wanted)}, as the run {run} was trained with; got "
            f"{_in_words(given)}. Is it another problem's data?"
        )


def loaded_for(
    function: str, run: Path | str, path: str | Path, facts: Facts | None, format: str | None, which: Which
) -> tuple[nn.Module, dict[str, Any], Facts | None]:
    """The model of a run folder for a data file of its problem, the contents of run.json, and what is said of the file.

    Args:
        function: the function that messages name; its argument for the file is ``path``.
        run: the run folder.
        path: the file.
        facts: what is said of it, see FieldDataset; the run's own windows and conditions are added.
        format: its format, see FieldDataset.
        which: weights with the lowest validation error, or those of the last epoch.

    Raises:
        ValueError: the file has other dimensions or channels.
        CheckpointError: the run cannot be loaded.
    """
    settings = read_settings(run)
    facts = as_trained(facts, settings)
    found = Problem.of_file(path, facts=facts, format=format)
    check_problem(function, found, run, settings, argument="path")
    return load(run, which=which), settings, facts


def _in_words(counts: Mapping[str, int]) -> str:
    words = [f"{count} {_WORDS[name]}{'s' if count != 1 else ''}" for name, count in counts.items()]
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def differences(header: Header, settings: Mapping[str, Any]) -> list[str]:
    """What is another equation, domain or duration than the run was trained on, in words; nothing of unknown ones.

    Args:
        header: of the data.
        settings: the contents of run.json; older ones do not say what the run was trained on.
    """
    found = problem_of(header)
    stored = {**found, **((settings.get("data") or {}).get("problem") or {})}
    boundary = f"boundary {found['boundary']}, not {stored['boundary']}"
    words = [*_of_equation(found, stored), *([boundary] if found["boundary"] != stored["boundary"] else [])]
    slack = 1.5 / min(header.shape)  # nodes from end to end count as n / (n - 1) of their length
    for name in ("extents", "duration"):
        ours, theirs = (np.atleast_1d(one.get(name, ())).astype(float) for one in (found, stored))
        if ours.size and ours.shape == theirs.shape and not np.allclose(ours, theirs, rtol=slack, atol=0):
            words.append(f"{name.removesuffix('s')} {_numbers(ours)}, not {_numbers(theirs)}")
    return words


def _of_equation(found: Mapping[str, Any], stored: Mapping[str, Any]) -> list[str]:
    """Another equation, or other parameters of the same one."""
    names = (found["equation"], stored["equation"])
    if _UNKNOWN not in names and names[0] != names[1]:
        return ["equation {}, not {}".format(*names)]
    pairs = {name: (found["parameters"][name], old) for name, old in stored["parameters"].items()
             if name in found["parameters"]}  # fmt: skip
    return [f"{name} {new:g}, not {old:g}" for name, (new, old) in pairs.items() if not np.isclose(new, old, rtol=1e-9)]


def _numbers(values: np.ndarray) -> str:
    distinct = list(dict.fromkeys(f"{value:.4g}" for value in values))
    return distinct[0] if len(distinct) == 1 else " x ".join(f"{value:.4g}" for value in values)
