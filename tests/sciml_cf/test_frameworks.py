"""The loss in Accelerate, the Trainer of transformers, and skorch: each step against the same loop by hand."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sciml_cf.head import ClosedFormLoss, Proximal, find_head
from tests.dense import DenseLoop, close, dense_head, head_in
from tests.problems import mlp

STRENGTH, RATE = 0.05, 0.1
RULE = Proximal(STRENGTH)


def trainable(model):
    return [one for one in model.parameters() if one.requires_grad]


def arrays(rows=64, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, 3, dtype=torch.float64, generator=generator)
    y = torch.stack([torch.sin(x.sum(1)), x[:, 0] * x[:, 1] + 0.3], dim=1)
    return x.to(dtype), y.to(dtype)


class ByHand(DenseLoop):
    """One step of SGD after some micro-batches, each with a solve of its own."""

    def step(self, batches, *, share=1.0, autocast=None):
        total = 0.0
        for x, y in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast is not None):
                phi = self.solve(x, y)
            total = total + share * self.loss(phi, y)
        slopes = torch.autograd.grad(total, self.parameters())
        with torch.no_grad():
            for one, slope in zip(self.parameters(), slopes, strict=True):
                one -= RATE * slope


# Accelerate.


def accelerator_of(**settings):
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    return accelerate.Accelerator(cpu=True, **settings)


def accelerated(model, loss_of, accelerator, batches, *, each=None):
    optimizer = torch.optim.SGD(trainable(model), lr=RATE)
    loader = DataLoader(TensorDataset(*arrays()), batch_size=16)
    run, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    for _ in range(2):
        for index, (x, y) in enumerate(loader):
            with accelerator.accumulate(run):
                accelerator.backward(loss_of(run(x), y))
                optimizer.step()
                optimizer.zero_grad()
            batches.append((x, y))
            if each is not None:
                each(index)


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize(("precision", "rtol"), [("no", 2e-4), ("bf16", 2e-3)])
def test_accelerate_takes_the_steps_of_the_loop_by_hand(precision, rtol, parts):
    model = mlp().float()
    dense, batches = ByHand(model, STRENGTH), []
    loss_of = ClosedFormLoss(model[-1], RULE)
    accelerator = accelerator_of(mixed_precision=precision, gradient_accumulation_steps=parts)
    steps = []

    def compare(index):
        if (index + 1) % parts == 0:
            dense.step(batches[-parts:], share=1 / parts, autocast=None if precision == "no" else torch.bfloat16)
            dense.check(model[-1], model, rtol)
            steps.append(index)

    accelerated(model, loss_of, accelerator, batches, each=compare)
    assert len(steps) == 8 // parts


def test_accelerate_saves_and_loads_the_state_of_the_rule(tmp_path):
    ends = []
    for name in ("whole", "resumed"):
        model = mlp(seed=len(ends)).float()
        loss_of, accelerator = ClosedFormLoss(model[-1], RULE), accelerator_of()
        optimizer = accelerator.prepare(torch.optim.SGD(trainable(model), lr=RATE))
        run = accelerator.prepare(model)
        accelerator.register_for_checkpointing(loss_of)
        x, y = arrays()
        for step in range(6):
            if name == "resumed" and step < 3:
                continue
            if step == 3:
                (accelerator.save_state if name == "whole" else accelerator.load_state)(str(tmp_path / "state"))
            optimizer.zero_grad()
            accelerator.backward(loss_of(run(x[8 * step :][:16]), y[8 * step :][:16]))
            optimizer.step()
        ends.append(torch.cat([one.detach().flatten() for one in model.parameters()]))
    torch.testing.assert_close(*ends, rtol=0, atol=0)


# transformers.


class Labelled(nn.Module):
    """A model in the way of transformers: the loss is its own, from labels."""

    def __init__(self):
        super().__init__()
        self.net = mlp().float()
        self.loss_of = ClosedFormLoss(self.net[-1], RULE)

    def forward(self, inputs, labels=None):
        logits = self.net(inputs)
        return {"logits": logits} if labels is None else {"loss": self.loss_of(logits, labels), "logits": logits}


class Recorded:
    """A collator that remembers what it has put together."""

    def __init__(self):
        self.batches = []

    def __call__(self, items):
        found = {name: torch.stack([item[name] for item in items]) for name in items[0]}
        self.batches.append(found)
        return dict(found)


def trainer_of(model, items, tmp_path, collator, *, callback=None, **settings):
    transformers = pytest.importorskip("transformers")
    accelerator_of()
    functions = {name: settings.pop(name) for name in ("compute_loss_func",) if name in settings}
    settings = {"num_train_epochs": 2, "save_strategy": "no", **settings}
    arguments = transformers.TrainingArguments(
        str(tmp_path),
        use_cpu=True,
        report_to=[],
        per_device_train_batch_size=16,
        optim="sgd",
        learning_rate=RATE,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        weight_decay=0.0,
        disable_tqdm=True,
        dataloader_pin_memory=False,
        remove_unused_columns=False,
        **settings,
    )
    parts = {"model": model, "args": arguments, "train_dataset": items, "data_collator": collator, **functions}

    class Each(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **_):
            callback(state.global_step)

    return transformers.Trainer(**parts, callbacks=[] if callback is None else [Each()])


def labelled(names=("inputs", "labels")):
    return [dict(zip(names, pair, strict=True)) for pair in zip(*arrays(), strict=True)]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("bf16", "rtol"), [(False, 2e-4), (True, 2e-3)])
@pytest.mark.parametrize("parts", [1, 2])
def test_the_trainer_of_transformers_takes_the_steps_of_the_loop_by_hand(tmp_path, parts, bf16, rtol):
    model, collator, steps = Labelled(), Recorded(), []
    dense = ByHand(model.net, STRENGTH)

    def compare(step):
        batches = [(one["inputs"], one["labels"]) for one in collator.batches[parts * (step - 1) : parts * step]]
        dense.step(batches, share=1 / parts, autocast=torch.bfloat16 if bf16 else None)
        dense.check(model.net[-1], model.net, rtol)
        steps.append(step)

    settings = {"gradient_accumulation_steps": parts, "bf16": bf16}
    trainer_of(model, labelled(), tmp_path, collator, callback=compare, **settings).train()
    assert len(steps) == 8 // parts


@pytest.mark.filterwarnings("ignore")
def test_a_model_of_transformers_takes_the_loss_as_its_loss_function(tmp_path):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=20,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=8,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        num_labels=2,
    )
    model = transformers.BertForSequenceClassification(config)
    other = copy.deepcopy(model)
    ids = torch.randint(20, (64, 6), generator=torch.Generator().manual_seed(0))
    items = [{"input_ids": one, "labels": y} for one, y in zip(ids, arrays()[1], strict=True)]
    assert find_head(model) is model.classifier
    loss_of, collator, head = ClosedFormLoss(model.classifier, RULE), Recorded(), np.zeros((9, 2))

    def loss(outputs, labels, num_items_in_batch=None):
        return loss_of(outputs.logits, labels)

    def compare(step):
        nonlocal head
        batch = collator.batches[step - 1]
        phi = other.bert(batch["input_ids"]).pooler_output
        head = dense_head(phi, batch["labels"], STRENGTH, head)
        written = torch.from_numpy(head).float()
        (phi @ written[:-1] + written[-1] - batch["labels"]).square().mean().backward()
        with torch.no_grad():
            for one in other.bert.parameters():
                if one.grad is not None:
                    one -= RATE * one.grad
                    one.grad = None
        close(head_in(model.classifier), head, 1e-3)
        for found, expected in zip(model.bert.parameters(), other.bert.parameters(), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5)

    trainer_of(model, items, tmp_path, collator, callback=compare, compute_loss_func=loss).train()
    assert len(collator.batches) >= 8 and head.any()


@pytest.mark.filterwarnings("ignore")
def test_the_trainer_of_transformers_resumes_to_the_same_weights(tmp_path):
    whole, resumed = Labelled(), Labelled()
    trainer_of(whole, labelled(), tmp_path, Recorded(), save_strategy="epoch").train()
    (first,) = tmp_path.glob("checkpoint-4")
    trainer_of(resumed, labelled(), tmp_path, Recorded()).train(resume_from_checkpoint=str(first))
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, rtol=0, atol=0)


# skorch.


def net_of(**settings):
    skorch = pytest.importorskip("skorch")

    class Regressor(skorch.NeuralNetRegressor):
        """The loss is made with its module, whenever that is."""

        def initialize_criterion(self):
            self.criterion_ = ClosedFormLoss(find_head(self.module_), Proximal(self.strength))
            return self

        def __init__(self, *args, strength=STRENGTH, **others):
            super().__init__(*args, **others)
            self.strength = strength

    class Each(skorch.callbacks.Callback):
        def __init__(self, seen):
            self.seen = seen

        def on_batch_end(self, net, batch=None, training=False, **_):
            self.seen(net, *batch, training)

    seen = settings.pop("seen", None)
    own = settings.pop("kind", Regressor)
    settings = {"module": single, "train_split": None, **settings}
    callbacks = [] if seen is None else [("each", Each(seen))]
    return (own or skorch.NeuralNetRegressor)(
        optimizer=torch.optim.SGD, lr=RATE, max_epochs=2, batch_size=16, verbose=0, callbacks=callbacks, **settings
    )


def single(*args, **settings):
    return mlp(*args, **settings).float()


@pytest.mark.parametrize("kind", ["class", "instances"])
def test_skorch_takes_the_steps_of_the_loop_by_hand(kind):
    model = single()
    dense, steps, valid = ByHand(model, STRENGTH), [], []

    def compare(net, x, y, training):
        if not training:  # solves nothing
            valid.append(dense.loss(dense.body(x), y).item())
            dense.check(net.module_[-1], net.module_, 2e-4)
            return
        dense.step([(x, y)])
        dense.check(net.module_[-1], net.module_, 2e-4)
        steps.append(0)

    x, y = (one.numpy() for one in arrays())
    split = pytest.importorskip("skorch.helper").predefined_split(TensorDataset(*arrays(16)))
    settings = {"module": single} if kind == "class" else {"kind": None, "module": model}
    if kind == "instances":
        settings["criterion"] = ClosedFormLoss(model[-1], RULE)
    net = net_of(seen=compare, **{**settings, "train_split": split}).fit(x, y)
    assert len(steps) == 8 and len(valid) == 2
    np.testing.assert_allclose(net.history[:, "valid_loss"], valid, rtol=1e-3)


def test_skorch_goes_on_from_files_and_in_a_grid_search(tmp_path):
    x, y = (one.numpy() for one in arrays())
    whole = net_of(module=single).fit(x, y).partial_fit(x, y)
    first, second = net_of(module=single).fit(x, y), net_of(module=single).initialize()
    files = {f"f_{name}": tmp_path / name for name in ("params", "criterion", "optimizer")}
    first.save_params(**files)
    second.load_params(**files)
    second.partial_fit(x, y)
    np.testing.assert_allclose(second.predict(x), whole.predict(x), rtol=0, atol=0)

    search = GridSearchCV(net_of(module=single), {"strength": [1e-2, 1e3]}, cv=2).fit(x, y)
    assert search.best_params_ == {"strength": 1e-2} and search.best_score_ > 0.1


def test_skorch_that_copies_a_loss_without_its_model_is_one_line():
    model = single()
    net = clone(net_of(kind=None, module=model, criterion=ClosedFormLoss(model[-1], RULE)))
    with pytest.raises(RuntimeError, match="copied or loaded without its model belongs to a layer of its own"):
        net.fit(*(one.numpy() for one in arrays()))
