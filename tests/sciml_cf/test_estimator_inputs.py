"""Inputs of the estimators with scikit-learn's interface, and their errors for unusable ones."""

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("sklearn")

from sciml_cf.classification.estimators import ClosedFormClassifier, ClosedFormRegressor

RNG = np.random.default_rng(0)
X = RNG.normal(size=(30, 3))
Y = np.argmax(X, axis=1)
FAST = {"epochs": 2, "random_state": 0}


@pytest.mark.parametrize("hidden", [8, np.int64(8), [8], (8,), np.array([8])])
def test_one_width_may_be_a_number(hidden):
    found = ClosedFormClassifier(hidden=hidden, **FAST).fit(X, Y).decision_function(X)
    np.testing.assert_allclose(found, ClosedFormClassifier(hidden=(8,), **FAST).fit(X, Y).decision_function(X))


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (X.tolist(), Y.tolist()),
        (torch.tensor(X), torch.tensor(Y)),
        (X.astype(object), Y),
        (X.astype(">f8"), Y.astype("u1")),
        (np.asfortranarray(X), Y[:, None][:, 0]),
    ],
)
def test_lists_tensors_and_arrays_of_other_types_are_the_same(x, y):
    expected = ClosedFormClassifier(hidden=8, **FAST).fit(X, Y).decision_function(X)
    np.testing.assert_allclose(ClosedFormClassifier(hidden=8, **FAST).fit(x, y).decision_function(x), expected)
    expected = ClosedFormRegressor(hidden=8, **FAST).fit(X, Y).predict(X)
    np.testing.assert_allclose(ClosedFormRegressor(hidden=8, **FAST).fit(x, y).predict(x), expected)


@pytest.mark.parametrize("dtype", [str, object])
def test_labels_may_be_text(dtype):
    names = np.array(["a", "b", "c"]).astype(dtype)
    model = ClosedFormClassifier(hidden=8, **FAST).fit(X, names[Y])
    assert list(model.classes_) == ["a", "b", "c"] and set(model.predict(X)) <= {"a", "b", "c"}


class Two(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"hidden": "8"}, TypeError, "`hidden` must be the widths of the layers, such as (128, 64); got '8'"),
        ({"hidden": None}, TypeError, "`hidden` must be the widths"),
        ({"hidden": 8.5}, TypeError, "`hidden` must be the widths"),
        ({"hidden": True}, TypeError, "`hidden` must be the widths"),
        ({"hidden": -1}, ValueError, "`hidden` must be an integer of at least 1; got -1"),
        ({"hidden": (8.5,)}, ValueError, "`hidden` must be an integer of at least 1; got 8.5"),
        ({"backbone": nn.Linear(5, 4)}, ValueError, "`backbone` must take samples (n, 3), those of `X`; got an error"),
        ({"backbone": nn.Conv2d(3, 4, 1)}, ValueError, "`backbone` must take samples (n, 3)"),
        ({"backbone": lambda columns: nn.Linear(columns + 1, 4)}, ValueError, "`backbone` must take samples (n, 3)"),
        ({"backbone": Two()}, ValueError, "`backbone` must return features (samples, features); got a tuple"),
        ({"backbone": nn.Flatten(0)}, ValueError, "`backbone` must return features (samples, features); got (6,)"),
        ({"backbone": "resnet18"}, TypeError, "`backbone` must be a torch module, or a function"),
        ({"backbone": lambda columns: columns}, TypeError, "`backbone` must make a torch module; got a function"),
    ],
)
@pytest.mark.parametrize("kind", [ClosedFormClassifier, ClosedFormRegressor])
def test_a_setting_that_cannot_be_is_one_line_and_leaves_the_estimator(kind, settings, error, message):
    model = kind(**{**FAST, **settings})
    with pytest.raises(error) as caught:
        model.fit(X, Y)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith(kind.__name__) and not hasattr(model, "model_")


def test_text_in_the_place_of_numbers_is_one_line():
    columns = X.astype(object)
    columns[0, 0] = "red"
    for kind, x, y in [
        (ClosedFormClassifier, columns, Y),
        (ClosedFormRegressor, columns, Y),
        (ClosedFormRegressor, X, np.array(["a", "b", "c"])[Y]),
    ]:
        with pytest.raises(ValueError, match=f"{kind.__name__}: `X`, and `y` of a regressor, must hold numbers") as one:
            kind(**FAST).fit(x, y)
        assert "\n" not in str(one.value)
