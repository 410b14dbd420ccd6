"""Language models of the benchmark softmax: on a text, trained on from either start, and on made-up texts."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sciml_cf.layerwise import (
    Vocabulary,
    corpus_files,
    count_tokens,
    language_model,
    read_lines,
    unigram_perplexity,
    words,
)

_BLOCK = 200  # words that stay together where a text is split in blocks
_SKIP = 8  # first tokens left out, so that every context is measured on the same ones
_LAW_TOKENS, _LAW_VOCABULARY, _LAW_GROUPS = 50_000, 200, 10
Ids = NDArray[np.int64]


def load_text(settings: dict[str, Any]) -> dict[str, Ids]:
    """Token ids of the parts train, validation and test.

    Without a folder: the topics of Python's own help, split at random in eight, one and one tenths, by blocks of words
    or by whole documents. A folder has its own parts.
    """
    if settings["text"] is not None:
        parts = {
            name: list(words(read_lines(corpus_files(settings["text"], ending))))
            for name, ending in (("train", "train"), ("validation", "dev"), ("test", "test"))
        }
    else:
        from pydoc_data.topics import topics

        documents = [list(words(topic.splitlines())) for _, topic in sorted(topics.items())]
        if settings.get("split", "blocks") == "blocks":
            text = [word for document in documents for word in document]
            documents = [text[start : start + _BLOCK] for start in range(0, len(text), _BLOCK)]
        random.Random(settings["seed"]).shuffle(documents)
        first, second = int(0.8 * len(documents)), int(0.9 * len(documents))
        cuts = {"train": documents[:first], "validation": documents[first:second], "test": documents[second:]}
        parts = {name: [word for document in part for word in document] for name, part in cuts.items()}
    vocabulary = Vocabulary.of(parts["train"], size=settings["vocabulary"])
    return {name: np.concatenate(list(vocabulary.encode(part))) for name, part in parts.items()}


def text_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Perplexities of one language model, at each smoothing; the test's at the one that validation likes best."""
    parts, size = load_text(settings), settings["vocabulary"]
    rows = []
    for smoothing in settings["smoothings"]:
        model = language_model(
            parts["train"], vocabulary=size, context=settings["context"], aggregate=settings["aggregate"],
            smoothing=smoothing,
        )  # fmt: skip
        found = {name: model.perplexity(parts[name], skip=_SKIP) for name in ("validation", "test")}
        rows.append({"smoothing": smoothing, **found})
    best = min(rows, key=lambda row: row["validation"])
    unigram = unigram_perplexity(parts["train"], parts["test"][_SKIP:], vocabulary=size)
    sizes = {name: len(part) for name, part in parts.items()}
    return {"rows": rows, "smoothing": best["smoothing"], "test": best["test"], "unigram": unigram, "tokens": sizes}


def text_start_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """A summing language model trained by Adam, in batches of 256, from explicit or from random weights."""
    torch.set_num_threads(1)
    parts, context, size = load_text(settings), settings["context"], settings["vocabulary"]
    best = min(
        (language_model(parts["train"], vocabulary=size, context=context, smoothing=s) for s in settings["smoothings"]),
        key=lambda model: model.perplexity(parts["validation"], skip=_SKIP),
    )
    explicit = torch.tensor(best.weights())
    torch.manual_seed(settings["seed"])
    layer = nn.EmbeddingBag(size, size, mode="sum")
    layer.weight.data = explicit.float() if settings["start"] == "warm" else 0.01 * torch.randn(size, size)
    stepper = torch.optim.Adam(layer.parameters(), lr=settings["rate"])
    contexts, targets = _windows(parts["train"], context)
    generator = torch.Generator().manual_seed(settings["seed"])
    rows = []
    for epoch in range(settings["epochs"] + 1):
        found = {name: _perplexity(layer, parts[name], context) for name in ("validation", "test")}
        rows.append({"epoch": epoch, **found})
        if epoch == settings["epochs"]:
            break
        for some in torch.randperm(len(targets), generator=generator).split(256):
            stepper.zero_grad()
            nn.functional.cross_entropy(layer(contexts[some]), targets[some]).backward()
            stepper.step()
    return {"rows": rows}


def _windows(tokens: Ids, context: int) -> tuple[torch.Tensor, torch.Tensor]:
    windows = np.lib.stride_tricks.sliding_window_view(tokens, context + 1)
    return torch.tensor(windows[:, :-1]), torch.tensor(windows[:, -1])


@torch.no_grad()
def _perplexity(layer: nn.EmbeddingBag, tokens: Ids, context: int) -> float:
    contexts, targets = _windows(tokens[_SKIP - context :], context)
    losses = [
        nn.functional.cross_entropy(layer(some), labels, reduction="sum").item()
        for some, labels in zip(contexts.split(2048), targets.split(2048), strict=True)
    ]
    return math.exp(sum(losses) / len(targets))


def law_trial(settings: dict[str, Any], scratch: Path) -> dict[str, Any]:
    """Whether the premise of the explicit solution holds on a text of a known law, and what the layer loses there.

    The premise, for a context of K: the power mean, over contexts, of the geometric mean of the co-occurrences of its
    tokens with token i is in proportion to the count of i, ::

        ( mean_m prod_k F[x_mk, i] )^(1/K)  ~  f_i      which asks for a slope of 1 between their logarithms.
    """
    tokens, truth = made_up_text(settings["law"], settings["kept"], settings["seed"])
    train, test = tokens[:_LAW_TOKENS], tokens[_LAW_TOKENS:]
    context, size = settings["context"], _LAW_VOCABULARY
    found = count_tokens(train, vocabulary=size, context=context)
    slope, determination = premise(found.counts.toarray(), found.following, train, context)
    model = language_model(train, vocabulary=size, context=context)
    own = truth[test[_SKIP - 1 : -1], test[_SKIP:]]
    return {
        "slope": slope,
        "r_squared": determination,
        "perplexity": model.perplexity(test, skip=_SKIP),
        "true": math.exp(-np.log(own).mean()),
        "unigram": unigram_perplexity(train, test[_SKIP:], vocabulary=size),
    }


def made_up_text(law: str, kept: float, seed: int) -> tuple[Ids, NDArray[np.float64]]:
    """A chain whose tokens follow a law and keep their group with a probability, and its transition matrix.

    p(j | i) = (1 - kept) p_j + kept p_j [same group] / p(group)      whose stationary law is p
    """
    generator = np.random.default_rng(seed)
    size, count = _LAW_VOCABULARY, _LAW_TOKENS + 10_000
    share = 1 / np.arange(1, size + 1) if law == "zipf" else np.ones(size)
    share /= share.sum()
    group = np.arange(size) % _LAW_GROUPS
    weight = np.bincount(group, share)
    same = group[:, None] == group[None, :]
    truth = (1 - kept) * share + kept * share * same / weight[group][:, None]
    drawn = generator.choice(size, count, p=share)
    stays = generator.random(count) < kept
    stays[0] = False
    last = np.maximum.accumulate(np.where(stays, 0, np.arange(count)))  # where the present group was drawn
    tokens = drawn.copy()
    for number in range(_LAW_GROUPS):
        here = np.flatnonzero(stays & (group[drawn[last]] == number))
        tokens[here] = generator.choice(size, len(here), p=share * (group == number) / weight[number])
    return tokens, truth


def premise(counts: NDArray[Any], following: Ids, tokens: Ids, context: int) -> tuple[float, float]:
    """Slope and R^2 of the logarithm of the power mean of co-occurrences on that of the count, over frequent tokens."""
    logs = np.log(counts + 1e-3 * counts.mean())
    places = np.lib.stride_tricks.sliding_window_view(tokens[:-1], context)
    sums = [_log_sum(np.sum(logs[part], axis=1)) for part in np.array_split(places, max(1, len(places) // 2000))]
    power_mean = (_log_sum(np.array(sums)) - math.log(len(places))) / context
    often = following >= 10
    return _line(np.log(following[often]), power_mean[often])


def _log_sum(values: NDArray[np.float64]) -> NDArray[np.float64]:
    most = values.max(axis=0)
    return most + np.log(np.exp(values - most).sum(axis=0))


def _line(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float, float]:
    x, y = x - x.mean(), y - y.mean()
    products: Sequence[float] = [float(x @ y), float(x @ x), float(y @ y)]
    return products[0] / products[1], products[0] ** 2 / (products[1] * products[2])
