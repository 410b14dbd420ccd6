"""Language models of one softmax layer on the tokens before, from sparse counts: any vocabulary, no gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from torch import Tensor

from sciml_cf.errors import check_choice, check_count, check_positive

Aggregate = Literal["sum", "concat"]
TEXT_SMOOTHING = 0.1
_ROWS = 256  # positions whose scores are held at a time
_TOKENS = 2**20  # tokens that are counted at a time


@dataclass(frozen=True, eq=False)
class TokenCounts:
    """How often each token followed each token of its context, as a sparse matrix.

    Attributes:
        counts: ``(F, V)`` sparse; F is V where the context is summed, and context * V where each place has its own.
        following: ``(V,)``, how often each token had a whole context before it.
        context: K, tokens before the one to come.
    """

    counts: Any  # scipy.sparse.csr_array, whose types are incomplete
    following: NDArray[np.int64]
    context: int


@dataclass(frozen=True, eq=False)
class LanguageModel:
    """The explicit softmax layer on the last K tokens: sparse log counts above a constant.

    ::

        score_i = sum_k L[x_k, i] + base_i      L = log(1 + counts / s)      base_i = - (K - 1) log sum_d F_di

    with F = counts + s. A dense matrix of a vocabulary of 1e5 would be 80 GB; L has one entry for each pair that was
    seen. The constant K log s, the same for all tokens, is left out.

    Attributes:
        log_counts: L, ``(F, V)`` sparse, F as in TokenCounts.
        base: ``(V,)``.
        smoothing: s, absolute.
        context: as in ``language_model``.
        aggregate: as in ``language_model``.
    """

    log_counts: Any  # scipy.sparse.csr_array, whose types are incomplete
    base: NDArray[np.float64]
    smoothing: float
    context: int
    aggregate: Aggregate

    @property
    def vocabulary(self) -> int:
        """V."""
        return self.log_counts.shape[1]

    def weights(self) -> NDArray[np.float64]:
        """The layer as a dense head ``(F, V)``, for small vocabularies; scores are sums of its rows over a context."""
        features = self.log_counts.shape[0]
        return self.log_counts.toarray() + (math.log(self.smoothing) + self.base / self.context) * np.ones(
            (features, 1)
        )

    def log_probabilities(self, tokens: Any) -> NDArray[np.float64]:
        """log p(token | the K before it) for each token but the first K, (n - K,).

        No more than the pairs that were seen are visited; the rest of the vocabulary is one sum of constants.
        """
        tokens = _ids("LanguageModel", tokens, self.vocabulary)
        if len(tokens) <= self.context:
            raise ValueError(
                f"LanguageModel: `tokens` must be more than the context of {self.context}; got {len(tokens)}."
            )
        starts = range(self.context, len(tokens), _ROWS)
        return np.concatenate([self._part(tokens[start - self.context : start + _ROWS]) for start in starts])

    def perplexity(self, tokens: Any, *, skip: int | None = None) -> float:
        """exp of minus the mean log probability; ``skip`` leaves out so many first tokens (at least K, the default)."""
        skip = self.context if skip is None else skip
        check_count("LanguageModel.perplexity", "skip", skip, minimum=self.context)
        return math.exp(-self.log_probabilities(tokens[skip - self.context :]).mean())

    def _part(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        rows = len(tokens) - self.context
        places = _features(tokens, self.context, self.vocabulary, self.aggregate)
        starts = np.arange(rows + 1) * self.context
        picked: Any = sparse.csr_array(
            (np.ones(places.size), places.ravel(), starts), shape=(rows, self.log_counts.shape[0])
        )
        scores: Any = sparse.csr_array(picked @ self.log_counts)  # above the base; empty where no pair was seen
        raised = self.base[scores.indices] + scores.data
        most = np.maximum(_by_row(np.maximum, raised, scores.indptr, -np.inf), self.base.max())
        # All tokens at their base, and what the seen pairs add to it: terms of one sign, so nothing cancels.
        rest = np.exp(self.base.max() - most) * np.exp(self.base - self.base.max()).sum()
        shifted = np.exp(raised - np.repeat(most, np.diff(scores.indptr)))
        added = _by_row(np.add, -np.expm1(-scores.data) * shifted, scores.indptr, 0.0)
        targets = tokens[self.context :]
        hit = scores.indices == np.repeat(targets, np.diff(scores.indptr))
        own = self.base[targets] + _by_row(np.add, np.where(hit, scores.data, 0.0), scores.indptr, 0.0)
        return own - most - np.log(rest + added)


def count_tokens(
    chunks: Any,
    *,
    vocabulary: int,
    context: int = 1,
    aggregate: Aggregate = "sum",
) -> TokenCounts:
    """Co-occurrences of tokens with the ones to come, over a text in chunks: as if it had come in one piece.

    Args:
        chunks: integer ids from 0, as one array, tensor or list, or as several in order; each is read once.
        vocabulary: V, ids are below it.
        context: K, how many tokens before count.
        aggregate: "sum" adds the context's tokens up; "concat" counts each place by itself.

    Returns:
        TokenCounts.

    Raises:
        ValueError: an id is out of range, or the text is not longer than the context.
    """
    check_count("count_tokens", "vocabulary", vocabulary)
    check_count("count_tokens", "context", context)
    check_choice("count_tokens", "aggregate", aggregate, get_args(Aggregate))
    shape = (vocabulary * (context if aggregate == "concat" else 1), vocabulary)
    total: Any = sparse.csr_array(shape, dtype=np.int64)
    following = np.zeros(vocabulary, dtype=np.int64)
    for part in _parts(chunks, vocabulary, context):
        places = _features(part, context, vocabulary, aggregate)
        targets = np.repeat(part[context:], context)
        ones = np.ones(places.size, dtype=np.int64)
        total = total + sparse.coo_array((ones, (places.ravel(), targets)), shape=shape).tocsr()
        following += np.bincount(part[context:], minlength=vocabulary)
    if not following.any():
        raise ValueError(f"count_tokens: `chunks` must hold more tokens than the context of {context}.")
    return TokenCounts(total, following, context)


def language_model(
    chunks: Any,
    *,
    vocabulary: int,
    context: int = 1,
    aggregate: Aggregate = "sum",
    smoothing: float = TEXT_SMOOTHING,
) -> LanguageModel:
    """The explicit softmax layer that predicts the next token from the K before it.

    The rows of features are sums of K ones ("sum"), or K ones in K blocks ("concat"), of L1 norm K exactly.

    Args:
        chunks: see count_tokens.
        vocabulary: see count_tokens.
        context: see count_tokens.
        aggregate: see count_tokens.
        smoothing: above 0, in units of the mean count over all pairs of the vocabulary.

    Returns:
        LanguageModel.

    Raises:
        ValueError: as in count_tokens, or the smoothing is not above 0.

    References:
        arXiv:2311.07498, its sum and concatenation models.
    """
    check_positive("language_model", "smoothing", smoothing)
    found = count_tokens(chunks, vocabulary=vocabulary, context=context, aggregate=aggregate)
    features = found.counts.shape[0]
    total = float(context) * float(found.following.sum())
    shift = smoothing * total / (features * vocabulary)
    logs = found.counts.astype(np.float64)
    logs.data = np.log1p(logs.data / shift)
    column = context * found.following + features * shift
    return LanguageModel(logs, -(context - 1) * np.log(column), shift, context, aggregate)


def unigram_perplexity(train: Any, tokens: Any, *, vocabulary: int) -> float:
    """Perplexity of the training frequencies alone (each id counted once more than it was seen), the plain peer."""
    counts = np.bincount(_ids("unigram_perplexity", train, vocabulary), minlength=vocabulary) + 1.0
    return math.exp(-np.log(counts / counts.sum())[_ids("unigram_perplexity", tokens, vocabulary)].mean())


def _parts(chunks: Any, vocabulary: int, context: int) -> Iterator[NDArray[np.int64]]:
    """Pieces that overlap by the context, so that each token with a whole context is the target of one piece."""
    before = np.empty(0, dtype=np.int64)
    for chunk in _chunks(chunks):
        ids = _ids("count_tokens", chunk, vocabulary)
        for start in range(0, len(ids), _TOKENS):
            part = np.concatenate([before, ids[start : start + _TOKENS]])
            if len(part) > context:
                yield part
            before = part[-context:]


def _chunks(chunks: Any) -> Iterable[Any]:
    """The pieces of a text: one that holds ids itself, or several."""
    if isinstance(chunks, (str, bytes)) or not isinstance(chunks, Iterable):
        raise TypeError(
            f"count_tokens: `chunks` must be integer ids; got a {type(chunks).__name__}. Encode the text with a "
            "Vocabulary."
        )
    whole = hasattr(chunks, "ndim") or (isinstance(chunks, (list, tuple, range)) and len(chunks) and _is_id(chunks[0]))
    return [chunks] if whole else chunks


def _is_id(value: Any) -> bool:
    return np.ndim(value) == 0 and not isinstance(value, (str, bytes))


def _features(tokens: NDArray[np.int64], context: int, vocabulary: int, aggregate: Aggregate) -> NDArray[np.int64]:
    """(n - K, K): the features that are one for each token with a whole context, nearest first."""
    places = np.stack([tokens[context - k - 1 : len(tokens) - k - 1] for k in range(context)], axis=1)
    return places + vocabulary * np.arange(context) if aggregate == "concat" else places


def _by_row(
    reduce: np.ufunc, values: NDArray[np.float64], starts: NDArray[np.integer], empty: float
) -> NDArray[np.float64]:
    """A sum or maximum of the stored entries of each row of a sparse matrix."""
    result = np.full(len(starts) - 1, empty)
    filled = np.diff(starts) > 0
    if filled.any():
        result[filled] = reduce.reduceat(values, starts[:-1][filled])
    return result


def _ids(function: str, tokens: object, vocabulary: int) -> NDArray[np.int64]:
    ids = np.asarray(tokens.detach().cpu() if isinstance(tokens, Tensor) else tokens)
    if ids.ndim != 1 or ids.dtype.kind not in "iu":
        raise ValueError(f"{function}: `tokens` must be (n,) integer ids; got {ids.shape} {ids.dtype}.")
    if len(ids) and (ids.min() < 0 or ids.max() >= vocabulary):
        raise ValueError(
            f"{function}: `tokens` must be ids from 0 to {vocabulary - 1}; got {ids.min()} to {ids.max()}. "
            "Encode the text with the same vocabulary."
        )
    return ids.astype(np.int64, copy=False)
