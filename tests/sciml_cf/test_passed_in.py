"""User inputs: models that return tuples or dicts, arrays for tensors, other datasets, other layers."""

import copy
import pickle
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from sciml_cf import Algorithm1, ClosedFormHead, ClosedFormLoss, Proximal, adapt, posterior, predict
from sciml_cf.adapters.neuralop import NeuralopLoss
from sciml_cf.arrays import tensor_of
from sciml_cf.datasets.items import as_items, check_finite
from sciml_cf.export import plain_model
from sciml_cf.head import CrossEntropy, find_head
from sciml_cf.model_outputs import carry_entry, predicted, replaced
from sciml_cf.normalization import Normalization, attach_normalization, detach_normalization, measure_normalization
from tests.problems import Shifted


class Pair(NamedTuple):
    prediction: torch.Tensor
    penalty: float


@dataclass
class Returned:
    logits: torch.Tensor
    steps: int = 3


RETURNS = {
    "tensor": lambda out: out,
    "tuple": lambda out: (out, 0),
    "list": lambda out: [0, out],
    "dict": lambda out: {"y": out, "penalty": 0.0},
    "ordered": lambda out: OrderedDict(y=out),
    "named": lambda out: Pair(out, 0.0),
    "object": lambda out: Returned(out),
}
ENTRIES = [
    ("tuple", 0),
    ("list", -1),
    ("dict", "y"),
    ("ordered", "y"),
    ("named", "prediction"),
    ("named", 0),
    ("object", "logits"),
    ("dict", lambda returned: returned["y"]),
]


class Net(nn.Module):
    """A small convolutional network that returns its prediction in some form."""

    def __init__(self, kind="tensor", seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body, self.head = nn.Conv1d(1, 6, 3, padding=1), nn.Conv1d(6, 1, 1)
        self.kind = kind

    def forward(self, x):
        return RETURNS[self.kind](self.head(torch.tanh(self.body(x))))


DATA = Shifted(12, points=8)


def batch(samples=6):
    data = Shifted(samples, points=8)
    return data.x, data.y


# What a model returns.


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_predict_adapt_and_error_bars_find_the_prediction(kind, entry):
    x, _ = batch()
    plain, other = Net(), Net(kind)
    np.testing.assert_allclose(predict(other, x.numpy(), prediction=entry), predict(plain, x.numpy()), rtol=1e-6)
    known = posterior(plain, DATA, DATA), posterior(other, DATA, DATA, prediction=entry)
    torch.testing.assert_close(known[0].noise, known[1].noise)
    bars = predict(other, x.numpy(), std=known[1], prediction=entry)
    np.testing.assert_allclose(bars[1], predict(plain, x.numpy(), std=known[0])[1], rtol=1e-5)
    heads = adapt(plain, DATA).head, adapt(other, DATA, prediction=entry).head
    torch.testing.assert_close(*heads)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("tuple", r"a tuple of tensor \(6, 1, 8\), int; got None. For instance prediction=0"),
        ("dict", r"a dict of 'y': tensor \(6, 1, 8\), 'penalty': float; got None. For instance prediction='y'"),
        ("object", "a Returned; got None. Pass a function from it to the tensor"),
    ],
)
def test_a_model_whose_prediction_is_not_known_is_one_line(kind, message):
    x, _ = batch()
    with pytest.raises(TypeError, match=f"predict: `prediction` must say which entry .* {message}") as caught:
        predict(Net(kind), x.numpy())
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match="adapt: `prediction` must say which entry"):
        adapt(Net(kind), DATA)


def test_a_wrong_entry_is_one_line():
    out = torch.zeros(2, 1)
    for returned, entry, message in [
        ({"y": out}, "z", "'z'. For instance prediction='y'"),
        ((out, 0), 2, "got 2. For instance prediction=0"),
        ((out, 0), 1, "must lead to a tensor; got a int at 1 of a tuple"),
        (out, 0, "a tensor (2, 1); got 0. Leave `prediction` out"),
        (out, "y", "a tensor (2, 1); got 'y'. Leave `prediction` out"),
    ]:
        with pytest.raises(TypeError) as caught:
            predicted("fit", returned, entry)
        assert message in str(caught.value)


@pytest.mark.parametrize(("kind", "message"), [("tuple", r"prediction\[0\]"), ("dict", r"prediction\['y'\]")])
def test_a_loss_given_the_whole_return_value_says_what_to_pass(kind, message):
    x, y = batch()
    model = Net(kind)
    loss = ClosedFormLoss(model.head, Proximal())
    with pytest.raises(TypeError, match=f"ClosedFormLoss: `prediction` must be a tensor; got a {kind} of .*{message}"):
        loss(model(x), y)
    head = ClosedFormHead(model.head, Proximal())
    with pytest.raises(TypeError, match=f"ClosedFormHead: `prediction` must be a tensor; got a {kind}"):
        head.update(y, prediction=model(x))
    with pytest.raises(TypeError, match=f"ClosedFormHead: `prediction` must be a tensor; got a {kind}"):
        Algorithm1(model, ClosedFormLoss(model.head, Proximal())).step(x, y, descend=lambda loss: None)
    with pytest.raises(TypeError, match=f"NeuralopLoss: `prediction` must be a tensor; got a {kind}"):
        NeuralopLoss(model, Proximal())(model(x), y=y)


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_a_carried_normalization_replaces_the_entry_alone(kind, entry):
    x, _ = batch()
    plain, other = Net(), Net(kind)
    carry_entry(other, entry)
    for model in (plain, other):
        attach_normalization(model, Normalization((1.0,), (2.0,), (5.0,), (3.0,)))
    with torch.no_grad():
        returned = other(x)
        torch.testing.assert_close(predicted("test", returned, entry), plain(x))
    assert type(returned) is type(RETURNS[kind](x))
    np.testing.assert_allclose(predict(other, x.numpy()), predict(plain, x.numpy()), rtol=1e-6)
    carry_entry(other, None)
    with pytest.raises(TypeError, match="Net: `prediction` must say which entry"):
        other(x)


@pytest.mark.parametrize(("kind", "entry"), ENTRIES)
def test_a_plain_copy_returns_the_prediction_alone_in_physical_units(kind, entry):
    x, _ = batch()
    model = Net(kind)
    carry_entry(model, entry)
    attach_normalization(model, Normalization((1.0,), (2.0,), (5.0,), (3.0,)))
    with torch.no_grad():
        torch.testing.assert_close(plain_model(model)(x), predicted("test", model(x), entry))
    detach_normalization(model)
    assert type(plain_model(model)(x)) is type(model(x)) and "_sciml_cf_prediction" not in vars(plain_model(model))


def test_a_computed_prediction_cannot_be_replaced():
    out = torch.zeros(2, 1)
    with pytest.raises(TypeError, match="must lead to a tensor that the model returns"):
        replaced({"y": out}, out * 2, out)
    assert replaced({"a": (0, out)}, out, out + 1)["a"][1].sum() == 2


# Arrays, lists, and the loss.


@pytest.mark.parametrize("make", [np.asarray, torch.Tensor.tolist, lambda y: y.numpy()[..., ::-1].copy()[..., ::-1]])
def test_targets_and_weights_may_be_arrays(make):
    x, y = batch()
    values = []
    for convert in (lambda values: values, make):
        model = Net()
        loss = ClosedFormLoss(model.head, Proximal())
        value = loss(model(x), convert(y), convert(torch.linspace(0, 1, len(x))) if convert is make else None)
        value.backward()
        values.append(value.detach().float())
    model = Net()
    loss = ClosedFormLoss(model.head, Proximal())
    same = loss(model(x), y, torch.linspace(0, 1, len(x)))
    torch.testing.assert_close(values[1], same.detach())
    model = Net()
    head = ClosedFormHead(model.head, Proximal())
    model(x)
    head.update(make(y))
    total, weight = loss.sums(model.eval()(x), make(y))
    assert torch.isfinite(total) and weight == y.numel()


def test_labels_may_be_an_array():
    layer = nn.Linear(3, 4)
    loss = ClosedFormLoss(layer, Proximal(), objective=CrossEntropy())
    value = loss(layer(torch.randn(5, 3)), np.array([0, 1, 2, 3, 0]))
    assert torch.isfinite(value)


def test_what_is_no_array_of_numbers_is_one_line():
    for values, message in [
        (np.array([1, "a"], dtype=object), "must hold numbers; got ndarray (2,) of object"),
        (["a", "b"], "must hold numbers; got list of <U1"),
        ([[1, 2], [3]], "must be an array of numbers; got a list that is none"),
        (np.ones(2) + 1j, "must be real; got torch.complex128"),
        (torch.ones(2) + 1j, "must be real; got torch.complex64"),
        ([torch.zeros(2), torch.zeros(3)], "must hold tensors of one shape; got (2,) and (3,)"),
        (None, "must hold numbers; got NoneType of object"),
    ]:
        with pytest.raises(TypeError) as caught:
            tensor_of("fit", "y", values)
        assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("dtype", ["?", "i1", "u2", "u4", "u8", "f2", ">f4", ">i8", "f8", "g"])
def test_every_real_type_becomes_a_tensor(dtype):
    given = np.array([0, 1, 1], dtype=dtype)
    given.flags.writeable = False
    assert tensor_of("fit", "y", given).double().tolist() == [0, 1, 1]


def test_the_loss_called_twice_on_one_prediction_says_so():
    x, y = batch()
    model = Net()
    loss = ClosedFormLoss(model.head, Proximal())
    prediction = model(x)
    loss(prediction, y)
    with pytest.raises(RuntimeError, match="the loss must be called once on a prediction; got one"):
        loss(prediction, y)
    loss(model(x), y)
    pickle.loads(pickle.dumps((model, loss)))


def test_a_frozen_backbone_leaves_backward_nothing_to_do():
    x, y = batch()
    model = Net()
    loss = ClosedFormLoss(model.head, Proximal())
    model.body.requires_grad_(False)
    before = loss(model(x), y)
    before.backward()
    assert loss(model(x), y) < before and all(one.grad is None for one in model.parameters())
    loss.head.frozen = True
    loss(model(x), y).backward()
    with torch.no_grad():
        assert not loss(model(x), y).requires_grad
    assert not loss(model.eval()(x), y).requires_grad


def test_predictions_of_narrow_models_are_float32():
    x, _ = batch()
    for dtype in (torch.bfloat16, torch.float16):
        found = predict(Net().to(dtype), x.numpy())
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, predict(Net(), x.numpy()), atol=0.05)


# Which layer is the head.


class Registered(nn.Module):
    """A network whose last registered linear layer is not the last that runs."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(4, 1)
        self.norm, self.drop = nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.inner, self.unused = nn.Linear(2, 4), nn.Linear(4, 4)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return self.out(self.drop(self.norm(self.inner(x))))


def test_an_example_shows_which_layer_runs_last():
    model, x = Registered(), torch.randn(5, 2)
    model.norm.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    assert find_head(model) is model.unused
    assert find_head(model, x) is find_head(model, (x,)) is model.out
    assert model.training and not model.norm.training and torch.equal(torch.random.get_rng_state(), state)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert not any(module._forward_hooks for module in model.modules())


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.other = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(torch.tanh(self.layer(x)))


def test_an_example_that_shows_no_one_head_is_refused():
    with pytest.raises(ValueError, match="must run its last linear layer once .* 'layer', which runs 2 times"):
        find_head(Twice(), torch.zeros(1, 2))
    with pytest.raises(ValueError, match="must run an nn.Linear"):
        find_head(nn.Sequential(nn.ReLU()), torch.zeros(1, 2))
    model = Registered()
    with pytest.raises(ValueError, match=r"`x` must be a batch that the model takes; got \(5, 3\)") as caught:
        find_head(model, torch.zeros(5, 3))
    assert "\n" not in str(caught.value) and model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_adapt_and_error_bars_take_the_layer_that_runs_last():
    data = TensorDataset(torch.randn(20, 2), torch.randn(20, 1))
    model = Registered().eval()
    found = adapt(model, data, strength=1e-3)
    assert found.head.shape == (5, 1)
    assert posterior(model, data, data).head.shape == (5, 1)


def test_an_adapter_around_a_layer_is_named():
    class Linear(nn.Module):  # as PEFT calls its LoRA layer
        def __init__(self):
            super().__init__()
            self.base_layer = nn.Linear(2, 1)

    with pytest.raises(TypeError, match=r"Linear, an adapter around a Linear. Merge it into the layer first"):
        ClosedFormLoss(Linear(), Proximal())
    Linear.__init__ = nn.Module.__init__
    with pytest.raises(TypeError, match=r"test_passed_in.*Linear. Pass the model's own"):
        ClosedFormLoss(Linear(), Proximal())


# Datasets.


def test_items_of_any_usual_form_are_the_same():
    x, y = batch()
    mapping = [{"x": a, "y": b} for a, b in zip(x, y, strict=True)]
    assert as_items("fit", "train", mapping) is mapping
    assert as_items("fit", "train", DATA) is DATA
    for data in (
        TensorDataset(x, y),
        list(zip(x, y, strict=True)),
        [{"x": a.numpy(), "y": b.numpy()} for a, b in zip(x, y, strict=True)],
        [[a.tolist(), b.numpy()] for a, b in zip(x, y, strict=True)],
        torch.utils.data.Subset(TensorDataset(x, y), range(len(x))),
    ):
        items = as_items("fit", "train", data)
        assert len(items) == len(x)
        torch.testing.assert_close(items[2], mapping[2], check_dtype=False)
        torch.testing.assert_close(measure_normalization(data).target_mean, measure_normalization(mapping).target_mean)
        torch.testing.assert_close(adapt(Net(), data).head, adapt(Net(), mapping).head)
        torch.testing.assert_close(posterior(Net(), data, data).noise, posterior(Net(), mapping, mapping).noise)


class Stream(IterableDataset):
    def __iter__(self):
        yield from DATA


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([(1, 2, 3)], "must have items .* or \\(x, y\\); got a tuple of 3 as item 0"),
        ([{"input": 1, "y": 2}], "got a mapping of 'input', 'y' as item 0"),
        ([torch.zeros(2)], "got a Tensor \\(2,\\) as item 0"),
        (batch(), "got a pair of arrays. Use torch.utils.data.TensorDataset"),
        (np.zeros((2, 3)), "got ndarray \\(2, 3\\). Use torch.utils.data.TensorDataset"),
        (DataLoader(DATA), "got a DataLoader. Pass its .dataset"),
        (Stream(), "with a length and items by number; got Stream"),
        (iter([1]), "with a length and items by number; got list_iterator"),
        ({"x": 1, "y": 2}, "with a length and items by number; got dict"),
        ([("a", "b")], r"`data\[0\]` must hold numbers"),
    ],
)
def test_other_items_are_one_line(data, message):
    for call in (measure_normalization, lambda data: adapt(Net(), data)):
        with pytest.raises(TypeError, match=message) as caught:
            call(data)
        assert "\n" not in str(caught.value)


def test_samples_that_do_not_fit_together_are_named():
    x, y = batch(3)
    with pytest.raises(ValueError, match=r"one shape; got x \(1, 8\) in sample 0 and \(1, 4\) in sample 2"):
        measure_normalization([(x[0], y[0]), (x[1], y[1]), (x[2, :, :4], y[2])])
    with pytest.raises(ValueError, match=r"got a single number as y of sample 0. Use y\[:, None\]"):
        measure_normalization(TensorDataset(x, y[:, 0, 0].clone()))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_sample_that_is_not_finite_is_named(value):
    x, y = batch(70)
    y[66, 0, 3] = value
    data = TensorDataset(x, y)
    with pytest.raises(ValueError, match="`data` must hold finite numbers; got NaN or Inf in y of sample 66"):
        measure_normalization(data)
    with pytest.raises(ValueError, match="fit: `train` must .* in y of sample 66"):
        check_finite("fit", "train", as_items("fit", "train", data))
    with pytest.raises(ValueError, match="adapt: `data` must .* in y of sample 66"):
        adapt(Net(), data)
    x[65, 0, 0] = value
    with pytest.raises(ValueError, match="adapt: `data` must .* in x of sample 65"):
        adapt(Net(), TensorDataset(x, torch.zeros_like(y)))
