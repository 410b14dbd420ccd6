"""Training and test data of estimators."""

import numpy as np
import pytest
import torch

from sciml_cf.causal import InstrumentalData, StructuralData, demand, sine_test, sine_toy
from sciml_cf.errors import DatasetError


def given(**changes):
    values = {"treatment": np.zeros((4, 2, 3)), "instrument": np.ones((4, 2)), "outcome": np.arange(4.0)}
    return {**values, **changes}


def test_arrays_keep_their_precision_and_others_become_float64():
    data = InstrumentalData(
        **given(treatment=torch.zeros(4, 2, requires_grad=True), instrument=[0, 1, 1, 0], covariates=np.ones(4, bool))
    )
    assert len(data) == 4 and data.treatment.dtype == np.float32
    assert data.instrument.dtype == data.covariates.dtype == np.float64
    assert list(data.arrays) == ["treatment", "instrument", "outcome", "covariates"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"instrument": np.ones(3)}, "`instrument` must have 4 rows, as the treatment has; got 3"),
        ({"outcome": np.array([0, np.nan, np.inf, 1])}, "`outcome` must be finite; got NaN or Inf in 2 of 4 .* row 1"),
        ({"outcome": np.ones((4, 1, 1))}, r"`outcome` must be \(n,\) or \(n, outputs\); got \(4, 1, 1\)"),
        ({"structural": np.ones((4, 1))}, r"`structural` must be shaped as the outcome, \(4,\); got \(4, 1\)"),
        ({"treatment": np.ones((0, 2))}, r"`treatment` must have a row for each sample.* got shape \(0, 2\)"),
        ({"covariates": 3.0}, r"`covariates` must have a row for each sample.* got shape \(\)"),
    ],
)
def test_unusable_arrays_are_one_line(changes, words):
    with pytest.raises(ValueError, match=f"^InstrumentalData: {words}") as caught:
        InstrumentalData(**given(**changes))
    assert "\n" not in str(caught.value)


def test_words_are_no_numbers():
    with pytest.raises(TypeError, match="^StructuralData: `treatment` must be an array of numbers; got <U1"):
        StructuralData(treatment=["a", "b"], structural=[1, 2])
    with pytest.raises(TypeError, match="^InstrumentalData: `instrument` must be an array of numbers; got object"):
        InstrumentalData(**given(instrument=None))


def test_parts_are_disjoint_and_whole():
    data = demand(samples=50)
    first, rest = data.split(20, seed=1)
    assert (len(first), len(rest)) == (20, 30) and first.law == data.law
    rows = np.concatenate([first.outcome, rest.outcome])
    assert sorted(rows) == sorted(data.outcome) and not np.array_equal(first.outcome, data.split(20)[0].outcome)
    for part in (first, rest):
        at = np.searchsorted(np.sort(data.outcome), part.outcome)
        place = np.argsort(data.outcome)[at]
        assert np.array_equal(place, np.sort(place))
        assert np.array_equal(part.covariates, data.covariates[place])
    with pytest.raises(ValueError, match="^InstrumentalData.split: `first` must be below the 50 samples"):
        data.split(50)


@pytest.mark.parametrize("data", [demand(samples=6, seed=2), sine_toy(samples=3), sine_test(points=4)])
def test_a_file_brings_back_everything(tmp_path, data):
    found = type(data).load(data.save(tmp_path / "data.h5"))
    assert (found.law, dict(found.parameters), found.seed) == (data.law, dict(data.parameters), data.seed)
    assert found.arrays.keys() == data.arrays.keys()
    for name, values in data.arrays.items():
        assert found.arrays[name].dtype == values.dtype and np.array_equal(found.arrays[name], values)


def test_a_file_of_another_kind_is_one_line(tmp_path):
    path = sine_test().save(tmp_path / "data.h5")
    with pytest.raises(DatasetError, match="has structural data, not instrumental data. Load it as structural data"):
        InstrumentalData.load(path)
    data = sine_toy(samples=3)
    object.__setattr__(data, "kind", "structural data")
    with pytest.raises(DatasetError, match="^StructuralData.load: .* does not hold structural data .*instrument"):
        StructuralData.load(data.save(path))
