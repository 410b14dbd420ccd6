"""Sentences on a result of the suite: the verdicts, the most important one first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sciml_cf.studies.harness.intervals import Interval
from sciml_cf.studies.suite.flags import CHANGES
from sciml_cf.studies.suite.summary import CASE, Change, Comparison, ended, labels, overall, parted


def headline(found: Sequence[Comparison]) -> list[str]:
    """Paragraphs that say what came out, the most important one first."""
    usual, further = parted(found)
    others = [one for group in further for one in group]
    named = list(zip(usual, labels(usual), strict=True))
    by_refit = [name for one, name in named if (one.explained_by_refit or 0.0) > 0.5]
    linear = [name for one, name in named if _linear_wins(one)]
    every = [*named, *zip(others, labels(others, found), strict=True)]
    refit = f"A re-fitted last layer explains most of the gain on {_listed(by_refit)}: there it is the cheaper way to "
    optional = (
        (by_refit, f"{refit}the same."),
        (named, _counts(named)),
        (named, _means(usual)),
        (named, _pace(usual)),
        (named, _after_solving(usual)),
        (further, " ".join(filter(None, [_of_group(group, usual) for group in further]))),
        (linear, f"The best linear map has a lower error than both on {_listed(linear)}."),
        (every, _lost(every)),
    )
    return [words for names, words in optional if names and words]


def _lost(named: Sequence[tuple[Comparison, str]]) -> str:
    """On which problems runs diverged."""
    names = [name for one, name in named if "diverged" in one.ratio("closed")[1]]
    return f"Runs diverged on {_listed(names)}." if names else ""


def _judged(found: Sequence[Comparison]) -> list[Comparison]:
    """Those with a ratio of both methods."""
    return [one for one in found if not np.isnan(one.mean)]


def _counts(named: Sequence[tuple[Comparison, str]]) -> str:
    """On which problems the error is lower, higher, or not distinguishable."""
    verdicts: dict[str, list[str]] = {word: [] for word in _VERDICTS}
    for one, name in named:
        verdicts.setdefault(one.ratio("closed")[1], []).append(name)
    judged = sum(len(verdicts[word]) for word in _VERDICTS)
    for word, phrase in _VERDICTS.items():
        if len(verdicts[word]) == judged > 1:
            than = "from" if word == "not distinguishable" else "than"
            words = f"are {phrase} {than} those of gradients in all {judged} cases ({_listed(verdicts[word])})."
            return f"Test errors of the closed-form head {words}"
    if not judged:
        return "No problem has test errors of both methods."
    cases = "case" if judged == 1 else "cases"
    counts = ", ".join(
        f"{phrase} in {len(names)}" + (f" ({_listed(names)})" if names else "")
        for word, phrase in _VERDICTS.items()
        for names in [verdicts[word]]
    )
    return f"Test errors of the closed-form head, compared with gradients in {judged} {cases}: {counts}."


def _means(found: Sequence[Comparison]) -> str:
    """The geometric means over problems; nothing of one problem, or where none was run with both methods."""
    judged = _judged(found)
    mean, refit = overall(judged), overall(judged, "re-fit")
    problems = len({one.case[0] for one in judged})
    if mean is None or refit is None or problems == 1:
        return ""
    return (
        f"Geometric mean of the ratios over {problems} problems: {_short(mean)} for the "
        f"closed-form head, {_short(refit)} for a last layer re-fitted after gradients (95 % intervals by resampling "
        "the problems)."
    )


def _pace(found: Sequence[Comparison]) -> str:
    """After which share of the epochs the closed form is as good as gradients are in the end, and what a step costs."""
    run = [one for one in found if ended(one.gradients) and one.closed.get("runs")]
    shares = sorted(reached[0] for one in run if (reached := one.until_gradients()) is not None)
    costs = sorted(cost for one in run if (cost := one.cost()) is not None)
    if len(run) < 2:
        return ""
    cost = f"; its training takes {costs[0]:.2f} to {costs[-1]:.2f} times the processor time" if costs else ""
    goal = "The closed form reaches the final validation error of gradients"
    if not shares:
        return f"{goal} on none of {_number(run)}{cost}."
    often = f" on {len(shares)} of {_number(run)}" if len(shares) < len(run) else ""
    median = f"median {np.median(shares):.0%}"
    return f"{goal}{often} after {shares[0]:.0%} to {shares[-1]:.0%} of the epochs, {median}{cost}."


def _after_solving(found: Sequence[Comparison]) -> str:
    """Whether a last layer fitted again is better than the one that the closed form ended with."""
    run = [one for one in found if ended(one.closed)]
    words = [one.ratio("closed re-fit", "closed")[1] for one in run]
    better, worse = words.count("better"), words.count("worse")
    mean = overall(run, "closed re-fit", "closed")
    if mean is None or len(run) == 1 or not better + worse:
        return ""
    return (
        "After the closed-form training, fitting its last layer once more to all training samples lowers the error on "
        f"{better} of {_number(run)} and raises it on {worse}; geometric mean {mean.mean:.2f}: `sciml-cf adapt` does "
        "it."
    )


def _number(found: Sequence[Comparison]) -> str:
    """How many problems these are, or cases where a problem is there more than once."""
    return f"{len(found)} {'problems' if len({one.case[0] for one in found}) == len(found) else 'cases'}"


def _of_group(group: Sequence[Comparison], usual: Sequence[Comparison]) -> str:
    """How the ratios are with other samples, another model or optimizer, and as usual; of the problems with both."""
    as_usual = {one.case[0]: one for one in _judged(usual)}
    both = [one for one in _judged(group) if one.case[0] in as_usual]
    mean, same = overall(both), overall([as_usual[one.case[0]] for one in both])
    if mean is None or same is None:
        return ""
    differs = [place for place in range(1, len(CASE)) if group[0].case[place] != usual[0].case[place]]
    names = ", ".join(f"{group[0].case[place]}{' samples' if place == 1 else ''}" for place in differs)
    where = both[0].case[0] if len(both) == 1 else f"{len(both)} problems"
    return f"With {names}: {where}, mean ratio {mean.mean:.2f}, as usual {same.mean:.2f}."


def of_changes(changed: Sequence[Change]) -> list[str]:
    """A sentence on each change of the training that has errors with and without it."""
    found = []
    for one, label in zip(changed, labels([change.usual for change in changed]), strict=True):
        closed, gradients = (one.ratio(which)[0] for which in ("closed", "gradients"))
        if closed is None:
            continue
        own = gradients is not None and one.changed.gradients is not one.usual.gradients
        other = f", of gradients {_short(gradients)}" if own and gradients is not None else ""
        between, words = one.changed.ratio("closed")
        ratio = f"; closed form / gradients {_short(between)}, {words}" if between is not None else ""
        settings = ", ".join(f"`{name}` {value}" for name, value in CHANGES.get(one.name, {}).items())
        found.append(
            f"With {one.name} ({settings}) on {label}: the error of the closed form is {_short(closed)} times that "
            f"without{other}{ratio}."
        )
    return found


def sentence(file: str, one: Comparison, *, several: bool = False) -> str:
    """The verdict on one file in a sentence.

    Args:
        file: its name.
        one: both methods on it.
        several: whether to name model and optimizer.
    """
    interval, words = one.ratio("closed")
    if interval is None:
        return f"On {file} the methods cannot be compared: {words}."
    where = f" ({one.case[2]}, {one.case[3]})" if several else ""
    refit, _ = one.ratio("re-fit")
    most = ", most of the gain" if (one.explained_by_refit or 0.0) > 0.5 else ""
    after = "" if refit is None else f"; re-fitting the last layer after training gives {refit.mean:.2f}{most}"
    verdict = f"is {words}" if words in ("better", "worse") else f"is {words} from gradients"
    first = "cannot be judged" if words not in _VERDICTS else verdict
    why = f" ({words})" if words not in _VERDICTS else ""
    return (
        f"On {file}{where} the closed-form head {first}{why}: it reaches {_short(interval)} times the error of "
        f"gradients{after}."
    )


_VERDICTS = {"better": "lower", "worse": "higher", "not distinguishable": "not distinguishable"}


def _short(interval: Interval) -> str:
    return f"{interval.mean:.2f} ({interval.low:.2f}-{interval.high:.2f})"


def _linear_wins(one: Comparison) -> bool:
    errors = [one.mean_error(which) for which in ("gradients", "closed")]
    numbers = [error for error in errors if isinstance(error, float)]
    return (
        one.linear is not None
        and bool(one.gradients and one.closed and numbers)
        and one.linear["relative_l2"] < min(numbers)
    )


def _listed(names: Sequence[str]) -> str:
    return "".join(names) if len(names) < 2 else f"{', '.join(names[:-1])} and {names[-1]}"
