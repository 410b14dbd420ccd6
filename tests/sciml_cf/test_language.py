"""Language models from sparse counts against the dense layer, and text files as token ids."""

import random
import tracemalloc
from pydoc_data.topics import topics

import numpy as np
import pytest
import torch

from sciml_cf.errors import DatasetError
from sciml_cf.layerwise import (
    Vocabulary,
    corpus_files,
    count_tokens,
    explicit_softmax,
    language_model,
    read_lines,
    unigram_perplexity,
    words,
)


def text(size=400, vocabulary=9, seed=0):
    """A Markov chain, in which some pairs never come."""
    generator = np.random.default_rng(seed)
    chain = generator.dirichlet(np.full(vocabulary - 1, 0.3), vocabulary)
    tokens = [0]
    for _ in range(size - 1):
        tokens.append(int(generator.choice(vocabulary - 1, p=chain[tokens[-1]])))
    return np.array(tokens)


def dense_features(tokens, context, vocabulary, aggregate):
    rows = np.zeros((len(tokens) - context, context, vocabulary))
    for k in range(context):
        rows[np.arange(len(rows)), k, tokens[context - k - 1 : len(tokens) - k - 1]] = 1
    return torch.tensor(rows.sum(axis=1) if aggregate == "sum" else rows.reshape(len(rows), -1))


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
@pytest.mark.parametrize("context", [1, 2, 5])
def test_sparse_counts_give_the_layer_that_dense_features_give(context, aggregate):
    tokens, unseen = text(), text(100, seed=1)
    model = language_model(tokens, vocabulary=9, context=context, aggregate=aggregate, smoothing=0.3)
    features = dense_features(tokens, context, 9, aggregate)
    reference = explicit_softmax(features, torch.tensor(tokens[context:]), num_classes=9, smoothing=0.3)
    assert np.abs(model.weights() - reference.numpy()).max() < 1e-10
    scores = (dense_features(unseen, context, 9, aggregate) @ reference).log_softmax(dim=1)
    expected = scores.gather(1, torch.tensor(unseen[context:])[:, None])[:, 0].numpy()
    assert np.abs(model.log_probabilities(unseen) - expected).max() < 1e-10
    assert model.perplexity(unseen, skip=20) == pytest.approx(np.exp(-expected[20 - context :].mean()), rel=1e-10)


def test_the_probabilities_of_all_tokens_sum_to_one():
    model = language_model(text(), vocabulary=9, context=3)
    start = text(30, seed=2)[:3]
    each = [model.log_probabilities(np.append(start, token))[0] for token in range(9)]
    assert np.exp(each).sum() == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize("sizes", [(1,), (7,), (2, 90)])
def test_a_text_in_chunks_is_counted_as_one(sizes):
    tokens = text()
    cuts = np.cumsum(np.resize(sizes, 400))
    chunks = np.split(tokens, cuts[cuts < 400])
    for aggregate in ("sum", "concat"):
        whole = count_tokens(tokens, vocabulary=9, context=4, aggregate=aggregate)
        parts = count_tokens(iter(chunks), vocabulary=9, context=4, aggregate=aggregate)
        assert (whole.counts != parts.counts).nnz == 0 and np.array_equal(whole.following, parts.following)
        assert whole.counts.sum() == 4 * 396 and whole.following.sum() == 396


def test_long_contexts_neither_overflow_nor_lose_digits():
    tokens = np.tile([0, 1, 2], 2000)
    model = language_model(tokens, vocabulary=50_000, context=60, smoothing=1e-9)
    found = model.log_probabilities(tokens[:300])
    assert np.isfinite(found).all() and (found <= 1e-12).all()
    strange = model.log_probabilities(np.arange(40_000, 40_200))
    assert np.isfinite(strange).all()


@pytest.mark.parametrize("aggregate", ["sum", "concat"])
def test_a_vocabulary_of_a_hundred_thousand_fits_in_bounded_memory(aggregate):
    generator = np.random.default_rng(0)
    tokens = np.minimum(generator.zipf(1.1, 100_000), 100_000) - 1
    tracemalloc.start()
    try:
        model = language_model(tokens, vocabulary=100_000, context=2, aggregate=aggregate)
        perplexity = model.perplexity(tokens[:2000])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 150e6, peak  # a dense matrix is 80e9 bytes
    assert 1 < perplexity < 100_000


def standard_library_text(seed):
    """Blocks of 200 words of the topics of Python's help, shuffled: ids to train on and to test on."""
    text = list(words(line for _, topic in sorted(topics.items()) for line in topic.splitlines()))
    blocks = [text[start : start + 200] for start in range(0, len(text), 200)]
    random.Random(seed).shuffle(blocks)
    cut = int(0.9 * len(blocks))
    train, test = ([word for block in part for word in block] for part in (blocks[:cut], blocks[cut:]))
    vocabulary = Vocabulary.of(train, size=1000)
    return [np.concatenate(list(vocabulary.encode(part))) for part in (train, test)]


def test_perplexity_on_the_standard_librarys_own_text():
    unigrams, found = [], {name: [] for name in ("K=1", "sum", "concat")}
    for seed in range(2):
        train, test = standard_library_text(seed)
        unigrams.append(unigram_perplexity(train, test[4:], vocabulary=1000))
        for name, context, aggregate in (("K=1", 1, "sum"), ("sum", 4, "sum"), ("concat", 4, "concat")):
            model = language_model(train, vocabulary=1000, context=context, aggregate=aggregate)
            found[name].append(model.perplexity(test, skip=4))
    mean = {name: np.exp(np.mean(np.log(values))) for name, values in found.items()}
    assert mean["K=1"] <= 0.5 * np.exp(np.mean(np.log(unigrams))), (mean, unigrams)
    assert mean["sum"] >= 1.5 * mean["K=1"], mean
    assert mean["concat"] <= mean["sum"], mean


def test_the_unigram_is_the_training_frequencies():
    train, tokens = np.array([0, 0, 1, 2]), np.array([0, 1])
    expected = np.exp(-np.log([3 / 8, 2 / 8]).mean())
    assert unigram_perplexity(train, tokens, vocabulary=4) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: language_model(text(), vocabulary=5), "count_tokens: `tokens` must be ids from 0 to 4; got 0 to"),
        (
            lambda: language_model(text() / 2, vocabulary=9),
            "must be .n,. integer ids; got .400,. float64",
        ),
        (lambda: language_model(text(3), vocabulary=9, context=3), "must hold more tokens than the context of 3"),
        (lambda: language_model(text(), vocabulary=9, context=0), "`context` must be an integer of at least 1; got 0"),
        (lambda: language_model(text(), vocabulary=9, aggregate="mean"), "`aggregate` must be one of 'sum', 'concat'"),
        (lambda: language_model(text(), vocabulary=9, smoothing=0), "`smoothing` must be a finite number above 0"),
        (lambda: language_model(text(), vocabulary=9).perplexity(text(1)), "more than the context of 1; got 1"),
        (lambda: language_model(text(), vocabulary=9).perplexity(text(), skip=0), "`skip` must be an integer of at"),
        (lambda: Vocabulary.of(["a"], size=1), "`size` must be an integer of at least 2; got 1"),
    ],
)
def test_bad_arguments_get_one_line(call, message):
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# Text


@pytest.fixture
def babylm(tmp_path):
    """Folders and endings as BabyLM's."""
    for folder, ending in (("babylm_10M", "train"), ("babylm_dev", "dev"), ("babylm_test", "test")):
        (tmp_path / folder).mkdir()
        for name in ("switchboard", "childes"):
            (tmp_path / folder / f"{name}.{ending}").write_text(f"A {name}'s line,\nof {ending}.\n")
    (tmp_path / "README.md").write_text("not text of the corpus")
    return tmp_path


def test_a_split_is_the_files_of_its_ending_in_order(babylm):
    assert [path.name for path in corpus_files(babylm)] == ["childes.train", "switchboard.train"]
    assert [path.name for path in corpus_files(babylm / "babylm_dev", "dev")] == ["childes.dev", "switchboard.dev"]
    lines = list(read_lines(corpus_files(babylm, "test")))
    assert lines[:2] == ["A childes's line,\n", "of test.\n"] and len(lines) == 4
    assert list(words(lines[:1])) == ["a", "childes", "'", "s", "line", ","]
    one = corpus_files(babylm / "babylm_dev" / "childes.dev")
    assert [path.name for path in one] == ["childes.dev"]


def test_what_is_not_there_is_named(babylm):
    with pytest.raises(DatasetError, match=r"text files that end in \.valid; .* has \.dev, \.md, \.test, \.train"):
        corpus_files(babylm, "valid")
    (babylm / "babylm_100M").mkdir()
    (babylm / "babylm_100M" / "childes.train").write_text("more")
    with pytest.raises(DatasetError, match="one training set; .* has babylm_100M, babylm_10M. Name one"):
        corpus_files(babylm)
    assert len(corpus_files(babylm / "babylm_100M")) == 1


def test_bytes_that_are_no_text_do_not_stop_a_reading(tmp_path):
    (tmp_path / "a.train").write_bytes(b"good\n\xff\xfe bad\nend")
    assert list(words(read_lines(corpus_files(tmp_path))))[-1] == "end"


def test_a_vocabulary_is_the_most_frequent_words_and_the_rest_is_unknown():
    tokens = ["b", "a", "c", "a", "b", "d"]
    vocabulary = Vocabulary.of(iter(tokens), size=4)
    assert vocabulary.words == ("<unknown>", "a", "b", "c") and len(vocabulary) == 4
    parts = list(vocabulary.encode(iter(tokens), size=4))
    assert [part.tolist() for part in parts] == [[2, 1, 3, 1], [2, 0]]
    assert len(Vocabulary.of(tokens, size=100)) == 5
