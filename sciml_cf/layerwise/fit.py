"""All layers of a feed-forward network by least squares, and the cost of that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from sciml_cf.arrays import describe_type, tensor_of
from sciml_cf.errors import check_choice, check_count, check_positive
from sciml_cf.head.solve import check_strength
from sciml_cf.layerwise.batch_rows import Batch, Rows
from sciml_cf.layerwise.structure import Layer, layers_of, read_heads, write_heads
from sciml_cf.layerwise.sweep import LayerSolve, Part, Solves, SweepSettings, Targets, forward, sweep

Iterate = Literal["reweight", "misclassified", "proximal"]


@dataclass(frozen=True)
class LayerwiseReport:
    """What a layer-wise fit did.

    Attributes:
        weight_solves: solves of a layer's weights: layers (+ 1 with the top re-fit) a sweep, whatever the data.
        target_solves: pseudo-inverses of a layer's weights, to pass targets below it: layers - 1 a sweep.
        passes: how often the data were read: once a solve of weights, and once a sweep to measure accuracy.
        sweeps: sweeps made: one, and those of the iterations.
        solves: each solve of weights of the first sweep, in their order.
        accuracy: training accuracy after each sweep; empty without iterations.
        kept: which sweep's weights the network has, from 0: those of the highest training accuracy.
    """

    weight_solves: int
    target_solves: int
    passes: int
    sweeps: int
    solves: tuple[LayerSolve, ...]
    accuracy: tuple[float, ...] = ()
    kept: int = 0


@torch.no_grad()
def fit_least_squares(
    network: nn.Sequential,
    x: Any,
    y: Any = None,
    *,
    targets: Targets = "closest",
    top: bool = True,
    every: int = 1,
    strength: float = 1e-6,
    clip: float | None = None,
    relu: Literal["refuse", "pseudo-inverse"] = "refuse",
    iterations: int = 0,
    iterate: Iterate = "reweight",
    pull: float = 1e-2,
    conditions: bool = False,
) -> LayerwiseReport:
    """Solve every layer of a feed-forward network by least squares, in one sweep from the last to the first.

    The network is changed in place, once all has gone well; its weights before are the random features that the
    sweep starts from. See ``sweep`` for the formulas. Moments and solves are float64, features are in the network's own
    precision. Each solve reads the data once and keeps moments alone, so no more than a batch of rows is held.

    Args:
        network: nn.Linear and activations with an inverse (``INVERSES``) in turn; a Flatten may lead.
        x: ``(rows, F)`` with ``y``, a tensor, an array or nested lists of real numbers; or a loader of batches (x, y)
            or ``{"x": x, "y": y}`` that can be read several times.
        y: ``(rows, C)`` numbers, or ``(rows,)`` integer labels, which stand for rows of zeros with a one (of tanh, -1
            and 1).
        targets: what a layer below should give: "closest" to what it gives now among all that the layer above maps to
            its own targets, or "minnorm", the shortest (the paper's reading).
        top: solve the last layer once more at the end, on what the solved layers below it give.
        every: all solves but the top re-fit see every k-th row of each batch: passing targets down needs fewer
            rows than predicting does. A solve costs as much as it has rows.
        strength: ridge strength of every solve, on the mean loss.
        clip: targets of a bounded last activation stay so far from its ends, as a share of their distance; by default
            0.05 for labels and 1e-3 otherwise. Targets of hidden layers always stay 1e-3 away.
        relu: "pseudo-inverse" passes targets through ReLU as max(y, 0), which gives up the exactness of a sweep.
        iterations: further sweeps for labels; the network keeps the sweep of the highest training accuracy. They end
            early when every row is classified right. A loader must then give its rows in the same order each time, and
            one number a row is kept.
        iterate: what a further sweep does: "reweight" doubles the weight of the rows that are misclassified, again at
            each sweep, and starts from the same random features as the first one; "misclassified" goes on from the
            weights before and solves on those rows alone (the paper's reading); "proximal" does the same, pulled to the
            weights before.
        pull: strength of that pull, on the mean loss.
        conditions: also report the condition number of each solved system, which costs more than the solve.

    Returns:
        LayerwiseReport.

    Raises:
        TypeError, ValueError: the network, the data or a setting does not fit; the message names it.
        NotPositiveDefinite: a system could not be solved, even with the largest jitter.

    References:
        A closed-form solution for weight optimization in fully-connected feed-forward neural networks
        (arXiv:2401.06699).
    """
    _check_settings(targets, relu, iterations, iterate, pull, strength, clip)
    check_count("fit_least_squares", "every", every)
    if every > 1 and not top:
        raise ValueError(f"fit_least_squares: `every` must be 1 without the top re-fit; got {every}. Set top=True.")
    layers = layers_of(network, pseudo_inverse=relu == "pseudo-inverse")
    rows = Rows(_data(x, y), network, layers)
    heads, solves = read_heads(layers), Solves()
    labelled = _labelled(rows)
    if clip is None:
        clip = 0.05 if labelled else 1e-3
    settings = SweepSettings(targets, top, strength, clip, 1e-3, every, conditions=conditions)
    if iterations:
        _check_iterable(labelled, rows)
    new = sweep(layers, heads, _Parts(rows), settings, solves)
    first = tuple(solves.weights)
    accuracy, kept = [], 0
    if iterations:
        again = replace(settings, pull=pull if iterate == "proximal" else None, conditions=False)
        new, accuracy = _iterate(layers, (heads, new), rows, again, solves, iterations, iterate)
        kept = accuracy.index(max(accuracy))
    write_heads(layers, new)
    sweeps = max(len(accuracy), 1)
    return LayerwiseReport(
        len(solves.weights), solves.targets, solves.passes, sweeps, first, accuracy=tuple(accuracy), kept=kept
    )


class _Parts:
    """The rows as a sweep wants them: all of them with their weights, or some of them."""

    def __init__(self, rows: Rows, weights: Tensor | None = None, *, only: bool = False) -> None:
        self.rows, self.weights, self.only = rows, weights, only
        self._last: tuple[Batch, Part] | None = None

    def __iter__(self) -> Iterator[Part]:
        start = 0
        for batch in self.rows:
            if self.weights is None:
                if self._last is None or self._last[0] is not batch:  # the same batch again is the same part
                    self._last = batch, Part(batch.x, batch.y)
                yield self._last[1]
                continue
            own = self.weights[start : start + len(batch.x)]
            start += len(batch.x)
            if not self.only:
                yield Part(batch.x, batch.y, own)
            elif (some := own > 0).any():
                yield Part(batch.x[some], batch.y[some])


def _iterate(
    layers: list[Layer],
    start: tuple[list[Tensor], list[Tensor]],
    rows: Rows,
    settings: SweepSettings,
    solves: Solves,
    iterations: int,
    iterate: Iterate,
) -> tuple[list[Tensor], list[float]]:
    """The best heads and the training accuracy after each sweep, from the heads before and after the first one."""
    initial, heads = start
    best, accuracy = heads, []
    weights: Tensor | float = 1.0
    for number in range(iterations + 1):
        wrong = _misclassified(layers, heads, rows).double()
        solves.passes += 1
        accuracy.append(1 - wrong.mean().item())
        best = heads if accuracy[-1] > max(accuracy[:-1], default=-1.0) else best
        if number == iterations or not wrong.any():
            break
        if iterate == "reweight":
            weights = (1.0 + wrong) * weights
            heads = sweep(layers, initial, _Parts(rows, weights), settings, solves)
        else:
            heads = sweep(layers, heads, _Parts(rows, wrong, only=True), settings, solves)
    return best, accuracy


def _misclassified(layers: list[Layer], heads: list[Tensor], rows: Rows) -> Tensor:
    """``(rows,)``, whether the largest output is not that of the label."""
    return torch.cat([forward(layers, heads, batch.x)[-1].argmax(dim=1) != batch.labels for batch in rows])


def _labelled(rows: Rows) -> bool:
    return next(iter(rows)).labels is not None


def _data(x: Any, y: Any) -> tuple[Tensor, Tensor] | Iterable[Any]:
    where = "fit_least_squares"
    if y is None and isinstance(x, (Tensor, np.ndarray)):
        raise TypeError(f"{where}: `y` must be given with {describe_type(x)} as `x`; got None.")
    if y is None and not isinstance(x, Iterable):
        raise TypeError(f"{where}: `x` must be rows with `y`, or a loader of batches; got {describe_type(x)}.")
    if y is None:
        return x
    if isinstance(x, (DataLoader, Dataset, Iterator)):
        raise TypeError(f"{where}: `y` must be left out with a {type(x).__name__}, whose batches hold it; got one.")
    return tensor_of(where, "x", x), tensor_of(where, "y", y)


def _check_settings(
    targets: object, relu: object, iterations: object, iterate: object, pull: object, strength: object, clip: object
) -> None:
    where = "fit_least_squares"
    check_choice(where, "targets", targets, get_args(Targets))
    check_choice(where, "relu", relu, ("refuse", "pseudo-inverse"))
    check_choice(where, "iterate", iterate, get_args(Iterate))
    check_count(where, "iterations", iterations, minimum=0)
    check_strength(where, strength, allow_zero=True)
    check_positive(where, "pull", pull)
    if clip is not None:
        check_positive(where, "clip", clip)
        if not float(clip) < 0.5:  # type: ignore[arg-type]
            raise ValueError(f"{where}: `clip` must be below 0.5, a share of the interval from each end; got {clip}.")


def _check_iterable(labelled: bool, rows: Rows) -> None:
    if not labelled:
        raise ValueError(
            "fit_least_squares: `iterations` must be 0 for targets that are numbers, as no row is misclassified; "
            "give integer labels as `y`."
        )
    if rows.shuffled:
        raise ValueError(
            "fit_least_squares: `x` must give its rows in the same order each time with `iterations`; got a loader "
            "that shuffles. Make it with shuffle=False."
        )
