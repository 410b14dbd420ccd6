"""Inputs of the whole-network solves in the place of tensors, and their errors for unusable ones."""

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf.layerwise import explicit_softmax, fit_least_squares, language_model, unigram_perplexity, warm_start

pytestmark = pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta")

ROWS = np.random.default_rng(0).random((20, 4))
LABELS = np.arange(20) % 3
WAYS = {
    "array": lambda values: values,
    "list": lambda values: values.tolist(),
    "tensor": torch.as_tensor,
    "fortran": np.asfortranarray,
    "big endian": lambda values: values.astype(values.dtype.newbyteorder(">")),
    "list of tensors": lambda values: [torch.as_tensor(row) for row in values],
}


def network(outputs=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.LeakyReLU(), nn.Linear(8, outputs)).double()


def solved(x, y=None, outputs=3):
    model = network(outputs)
    fit_least_squares(model, x, y)
    return model[-1].weight.detach()


@pytest.mark.parametrize("way", WAYS)
def test_least_squares_takes_arrays_lists_and_tensors(way):
    make = WAYS[way]
    expected = solved(torch.as_tensor(ROWS), torch.as_tensor(LABELS))
    torch.testing.assert_close(solved(make(ROWS), make(LABELS)), expected)
    torch.testing.assert_close(solved([(make(ROWS), make(LABELS))]), expected)
    torch.testing.assert_close(solved([{"x": make(ROWS), "y": make(LABELS)}]), expected)
    wanted = ROWS[:, :2]
    torch.testing.assert_close(solved(make(ROWS), make(wanted), 2), solved(ROWS, wanted, 2))


@pytest.mark.parametrize("dtype", ["?", "u1", "i2", "u4", "i8", "f2", "f4"])
def test_least_squares_takes_every_real_type(dtype):
    x, labels = (ROWS * 9).astype("i8"), (LABELS > 0).astype(dtype)
    if labels.dtype.kind == "f":
        assert torch.isfinite(solved(x.astype(dtype), labels[:, None], 1)).all()
    else:
        torch.testing.assert_close(solved(x.astype("u1"), labels, 2), solved(x, labels.astype("i8"), 2))


@pytest.mark.parametrize("way", WAYS)
def test_the_explicit_softmax_takes_arrays_lists_and_tensors(way):
    make = WAYS[way]
    expected = explicit_softmax(torch.as_tensor(ROWS), torch.as_tensor(LABELS))
    torch.testing.assert_close(explicit_softmax(make(ROWS), make(LABELS)), expected)
    torch.testing.assert_close(explicit_softmax([(make(ROWS), make(LABELS))], num_classes=3), expected)
    counts = (ROWS * 9).astype("u2")
    expected = explicit_softmax(torch.as_tensor(counts.astype("f8")), torch.as_tensor(LABELS))
    torch.testing.assert_close(explicit_softmax(counts, LABELS.astype("u1")), expected)
    for form in (sparse.csr_array, sparse.csc_matrix):
        torch.testing.assert_close(explicit_softmax(form(counts), LABELS), expected)
    torch.testing.assert_close(explicit_softmax(ROWS, LABELS > 0), explicit_softmax(ROWS, 1 * (LABELS > 0)))


def test_a_warm_start_takes_batches_of_arrays():
    model = nn.Sequential(nn.ReLU(), nn.Linear(4, 3)).double()
    given = DataLoader(TensorDataset(torch.as_tensor(ROWS), torch.as_tensor(LABELS)), 20)
    assert warm_start(model, [(ROWS, LABELS)]) == pytest.approx(warm_start(model, given))


def one_line(error, call, message):
    with pytest.raises(error) as caught:
        call()
    assert message in str(caught.value) and "\n" not in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (ROWS, LABELS[:-1], ValueError, "`y` must have a row for each of 20 of `x`; got 19"),
        (ROWS, LABELS - 1, ValueError, "labels from 0 to 2"),
        (ROWS, LABELS * 10**9, ValueError, "labels from 0 to 2"),
        (ROWS, LABELS.astype(str), TypeError, "`y` must hold numbers; got ndarray (20,) of <U21"),
        (ROWS.astype(object), LABELS, TypeError, "`x` must hold numbers; got ndarray (20, 4) of object"),
        (ROWS + 1j, LABELS, TypeError, "`x` must be real; got torch.complex128"),
        (ROWS, torch.as_tensor(LABELS + 1j), TypeError, "`y` must be real"),
        (ROWS[:0], LABELS[:0], ValueError, "`x` must hold at least one row"),
        (ROWS[:, :3], LABELS, ValueError, "`x` must be (rows, 4); got (20, 3)"),
        (ROWS[0], LABELS[0], ValueError, "`x` and `y` must have an axis of rows"),
        (ROWS, None, TypeError, "`y` must be given with ndarray (20, 4) as `x`"),
        (3, None, TypeError, "`x` must be rows with `y`, or a loader of batches; got int"),
        ([(ROWS[:0], LABELS[:0])], None, ValueError, "`x` must have a row in each batch"),
        ([(ROWS, LABELS, 0)], None, TypeError, "got a batch that is a tuple"),
        ([[1, 2], [3]], [0, 1], TypeError, "`x` must be an array of numbers"),
        (DataLoader(TensorDataset(torch.zeros(1))), LABELS, TypeError, "`y` must be left out with a DataLoader"),
        (np.where(ROWS > 0.5, np.nan, ROWS), LABELS, ValueError, "`x` must be finite"),
    ],
)
def test_least_squares_says_what_it_cannot_take(x, y, error, message):
    one_line(error, lambda: fit_least_squares(network(), x, y), message)


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (ROWS, LABELS * 10**9, ValueError, "`labels` must number the classes from 0; got labels up to 2000000000"),
        (ROWS, LABELS - 1, ValueError, "`labels` must be from 0 to 1; got -1 to 1"),
        (ROWS, -LABELS - 1, ValueError, "`labels` must be from 0 to 0; got -3 to -1"),
        (ROWS, LABELS[1:], ValueError, "`labels` must be (20,) integers; got (19,)"),
        (ROWS, LABELS + 0.5, ValueError, "`labels` must be (20,) integers; got (20,) torch.float64"),
        (ROWS, LABELS + 1j, TypeError, "`labels` must be real"),
        (ROWS, LABELS.astype(object), TypeError, "`labels` must hold numbers; got ndarray (20,) of object"),
        (ROWS + 1j, LABELS, TypeError, "`features` must be real"),
        (ROWS[:0], LABELS[:0], ValueError, "`features` must be floating (rows, F), at least one row; got (0, 4)"),
        (ROWS[0], LABELS, ValueError, "at least one row; got (4,)"),
        (-ROWS, LABELS, ValueError, "`features` must not be negative"),
        (ROWS, None, TypeError, "`labels` must be (rows,) with ndarray (20, 4)"),
        (3, None, TypeError, "`labels` must be (rows,) with int"),
    ],
)
def test_the_explicit_softmax_says_what_it_cannot_take(x, y, error, message):
    one_line(error, lambda: explicit_softmax(x, y), message)


def test_a_table_that_labels_with_gaps_may_ask_for_is_made():
    assert explicit_softmax(ROWS, [1000] * 20).shape == (4, 1001)
    assert explicit_softmax(ROWS, LABELS, num_classes=50).shape == (4, 50)


TOKENS = np.array([0, 1, 2, 1, 0, 1, 2, 0, 2])


@pytest.mark.parametrize("make", [np.ndarray.tolist, torch.as_tensor, lambda t: t.astype("u2"), lambda t: tuple(t)])
def test_the_language_model_takes_arrays_lists_and_tensors(make):
    model = language_model(TOKENS, vocabulary=3)
    for chunks in (make(TOKENS), [make(TOKENS[:4]), make(TOKENS[4:])], iter([make(TOKENS)])):
        np.testing.assert_allclose(language_model(chunks, vocabulary=3).weights(), model.weights())
    assert model.perplexity(make(TOKENS)) == pytest.approx(model.perplexity(TOKENS))
    expected = unigram_perplexity(TOKENS, TOKENS, vocabulary=3)
    assert unigram_perplexity(make(TOKENS), make(TOKENS), vocabulary=3) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("chunks", "error", "message"),
    [
        ("the text", TypeError, "`chunks` must be integer ids; got a str. Encode the text with a Vocabulary"),
        (3, TypeError, "`chunks` must be integer ids; got a int"),
        (["the", "text"], ValueError, "`tokens` must be (n,) integer ids"),
        (TOKENS / 2, ValueError, "`tokens` must be (n,) integer ids; got (9,) float64"),
        (TOKENS[None], ValueError, "`tokens` must be (n,) integer ids; got (1, 9)"),
        (TOKENS.astype(object), ValueError, "`tokens` must be (n,) integer ids; got (9,) object"),
        (TOKENS * 10**9, ValueError, "`tokens` must be ids from 0 to 2; got 0 to 2000000000"),
        (TOKENS - 1, ValueError, "`tokens` must be ids from 0 to 2; got -1 to 1"),
        (TOKENS[:1], ValueError, "must hold more tokens than the context"),
        ([], ValueError, "must hold more tokens than the context"),
    ],
)
def test_the_language_model_says_what_it_cannot_take(chunks, error, message):
    one_line(error, lambda: language_model(chunks, vocabulary=3), message)
