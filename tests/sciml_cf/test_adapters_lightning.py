"""The same FNO, batches and head in four loops: a plain one, neuralop's Trainer, and Lightning's in two ways."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from data_gen import DatasetSpec, generate
from sciml_cf import ClosedFormHead, ClosedFormLoss, FieldDataset, FitConfig, FNOConfig, Moments, fit, proximal
from sciml_cf.head import find_head
from tests.loops import RULE, SMALL, backbone, neuralop_trainer, plain_loop

L = pytest.importorskip("lightning.pytorch")
pytestmark = [
    pytest.mark.filterwarnings("ignore:FNO.forward"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning"),  # Lightning 2.6 with torch 2.13
    pytest.mark.filterwarnings("ignore:Checkpoint directory"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step`"),
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
]


@pytest.fixture(scope="module")
def loader(burgers_file):
    return DataLoader(FieldDataset(burgers_file, "all", resolution=64), batch_size=8)


class Unaware(L.LightningModule):
    """Somebody's module: it knows nothing of heads, and gives its optimizer every parameter."""

    def __init__(self, model, epochs=None, weight_decay=0.0):
        super().__init__()
        self.model, self.epochs, self.weight_decay, self.values = model, epochs, weight_decay, []
        self.criterion = nn.MSELoss()

    def forward(self, x):
        return self.model(x)

    def training_step(self, batch, index):
        value = self.criterion(self(batch["x"]), batch["y"])
        self.values.append(value.item())
        return value

    def validation_step(self, batch, index):
        self.log("mse", self.criterion(self(batch["x"]), batch["y"]), batch_size=len(batch["y"]))

    def configure_optimizers(self):
        return self.scheduled(torch.optim.Adam(self.parameters(), lr=3e-3, weight_decay=self.weight_decay))

    def scheduled(self, optimizer):
        if self.epochs is None:
            return optimizer
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.epochs)]


class Aware(Unaware):
    """One's own module, with ClosedFormLoss in its training step."""

    def __init__(self, model, epochs=None):
        super().__init__(model, epochs)
        self.criterion = ClosedFormLoss(find_head(model), RULE)

    def configure_optimizers(self):
        return self.scheduled(torch.optim.Adam(backbone(self), lr=3e-3))

    def on_save_checkpoint(self, checkpoint):
        checkpoint["state_dict"].pop("_metadata")  # neuralop's, which its loading does not expect


def lightning_trainer(module, loader, epochs=4, *, validation=None, resume=None, callbacks=(), **settings):
    settings = {"enable_checkpointing": False, **settings}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )
    trainer.fit(module, loader, validation, ckpt_path=resume, weights_only=True)
    return trainer


def closed_form(**settings):
    from sciml_cf.adapters.lightning import ClosedFormCallback

    return ClosedFormCallback(RULE, **settings)


def test_lightning_takes_the_steps_of_a_plain_loop_and_of_neuralop(loader):
    expected = plain_loop(SMALL.build(seed=1), loader)
    theirs, _ = neuralop_trainer(SMALL.build(seed=1), loader)
    own, unaware = Aware(SMALL.build(seed=1)), Unaware(SMALL.build(seed=1))
    lightning_trainer(own, loader)
    lightning_trainer(unaware, loader, callbacks=[closed_form()])
    assert len(expected) == 20
    for values in (theirs, own.values, unaware.values):
        np.testing.assert_allclose(values, expected, rtol=1e-5)


def reference(model, loader, *, algorithm, group=1, steps=8):
    """ClosedFormHead in a loop of one's own, `group` batches a step."""
    head = ClosedFormHead(find_head(model), RULE)
    optimizer = torch.optim.Adam(backbone(model), lr=3e-3)
    batches = list(loader) * 8
    values = []
    for step in range(steps):
        optimizer.zero_grad()
        group_of_batches = batches[step * group : (step + 1) * group]
        for batch in group_of_batches:
            if algorithm == 2:
                with torch.no_grad():
                    head.update(batch["y"], prediction=model(batch["x"]))
            loss = nn.functional.mse_loss(model(batch["x"]), batch["y"])
            (loss / group).backward()
            values.append(loss.item())
        optimizer.step()
        if algorithm == 1:
            with torch.no_grad():
                for batch in group_of_batches:
                    head.accumulate(batch["y"], prediction=model(batch["x"]))
                head.update()
    return values


@pytest.mark.parametrize("algorithm", [1, 2])
@pytest.mark.parametrize("group", [1, 5])
def test_callback_is_the_algorithm_also_under_accumulation(loader, algorithm, group):
    expected = reference(SMALL.build(seed=1), loader, algorithm=algorithm, group=group)
    module = Unaware(SMALL.build(seed=1))
    lightning_trainer(
        module, loader, 8, callbacks=[closed_form(algorithm=algorithm)], accumulate_grad_batches=group, max_steps=8
    )
    np.testing.assert_allclose(module.values, expected, rtol=1e-5)


def test_nothing_but_the_rule_changes_the_head(loader):
    module = Unaware(SMALL.build(seed=1), weight_decay=0.5)
    layer, solved = module.model.projection.fcs[-1], []
    callback = closed_form(head="model.projection.fcs.1")

    class Watch(L.Callback):
        def on_train_batch_end(self, *_):
            state = callback.head.state()["head"]
            solved.append(state)
            assert torch.equal(state.float(), torch.cat([layer.weight[0].detach(), layer.bias.detach()[:, None]]))

        on_validation_batch_end = on_train_batch_end

    settings = {"num_sanity_val_steps": 1, "gradient_clip_val": 0.1}
    lightning_trainer(module, loader, 1, validation=loader, callbacks=[callback, Watch()], **settings)
    assert len(solved) == 1 + 5 + 5
    assert not solved[0].any() and solved[1].any()  # the sanity check before training solves nothing
    assert all(torch.equal(state, solved[6]) for state in solved[7:])
    assert callback.head is None and layer.weight.requires_grad


def test_callback_evaluates_the_head_that_fits_the_backbone(loader):
    """After training: one more proximal step, on the last batch; the losses of training do not know of it."""
    module, model = Unaware(SMALL.build(seed=1)), SMALL.build(seed=1)
    expected, last = plain_loop(model, loader, return_head=True), list(loader)[-1]
    lightning_trainer(module, loader, validation=loader, callbacks=[closed_form()])
    np.testing.assert_allclose(module.values, expected[0], rtol=1e-5)
    seen = []
    model.projection.fcs[-1].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].detach()))
    model(last["x"])
    rows = torch.cat([seen[0], torch.ones_like(seen[0][:, :1])], dim=1).movedim(1, -1).flatten(0, 1)
    moments = Moments.from_batch(rows, last["y"].reshape(-1, 1))
    head = proximal(moments, expected[1], strength=RULE.strength)
    ours = module.model.projection.fcs[-1]
    torch.testing.assert_close(
        torch.cat([ours.weight[0].detach(), ours.bias.detach()[:, None]]), head.float(), rtol=1e-3, atol=1e-4
    )


def test_lightning_checkpoint_holds_the_model_that_was_evaluated(loader, tmp_path):
    module, best = Unaware(SMALL.build(seed=1)), L.callbacks.ModelCheckpoint(tmp_path, monitor="mse")
    settings = {"enable_checkpointing": True, "validation": loader}
    lightning_trainer(module, loader, 3, callbacks=[best, closed_form()], **settings)
    saved = Unaware(SMALL.build(seed=2))
    saved.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    with torch.no_grad():
        error = nn.functional.mse_loss(saved.eval()(loader.dataset.x), loader.dataset.y)
    assert error.item() == pytest.approx(best.best_model_score.item(), rel=1e-5)


@pytest.mark.parametrize("kind", ["loss", "callback"])
def test_lightning_checkpoint_resumes_to_the_same_losses(loader, tmp_path, kind):
    def make(seed):
        model = SMALL.build(seed=seed)
        return (Aware(model), []) if kind == "loss" else (Unaware(model), [closed_form()])

    settings = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    whole, callbacks = make(1)
    lightning_trainer(whole, loader, 4, callbacks=callbacks)
    first, callbacks = make(1)
    lightning_trainer(first, loader, 2, callbacks=callbacks, **settings)
    (file,) = tmp_path.rglob("*.ckpt")
    second, callbacks = make(2)
    lightning_trainer(second, loader, 4, callbacks=callbacks, resume=file, **settings)
    np.testing.assert_array_equal(first.values + second.values, whole.values)


def test_callback_names_what_is_wrong(loader):
    with pytest.raises(ValueError, match="ClosedFormCallback: `algorithm` must be one of 1, 2; got 3"):
        closed_form(algorithm=3)
    with pytest.raises(
        ValueError, match="ClosedFormCallback: `head` must be one of .*'model.projection.fcs.1'; got 'readout'"
    ):
        lightning_trainer(Unaware(SMALL.build()), loader, callbacks=[closed_form(head="readout")])
    with pytest.raises(TypeError, match="ClosedFormCallback: `batch` must be .* got list. Pass pair="):
        lightning_trainer(Unaware(SMALL.build()), [torch.zeros(2, 1, 64)], callbacks=[closed_form()])
    with pytest.raises(ValueError, match=r"`targets` must be shaped like the prediction \(8, 1, 64\); got \(8, 64\)"):
        squeezed = closed_form(pair=lambda batch: (batch["x"], batch["y"][:, 0]))
        lightning_trainer(Unaware(SMALL.build()), loader, callbacks=[squeezed])


@pytest.mark.slow
def test_every_trainer_ends_where_fit_does(tmp_path):
    """Test error, mean of 3 seeds: within a quarter of fit's, whose batches and schedule differ."""
    spec = DatasetSpec(samples=128, resolution=256, method="cole-hopf")
    file = generate(spec, tmp_path / "burgers.h5", progress=False)
    train, validation, test = (FieldDataset(file, part, resolution=64) for part in ("train", "validation", "test"))
    config, epochs, rows = FNOConfig(width=16, modes=8, layers=2), 30, []
    for seed in range(3):

        def loader(seed=seed):
            order = torch.Generator().manual_seed(seed)
            return DataLoader(train, 8, shuffle=True, drop_last=True, generator=order)

        models = [config.build(seed=seed) for _ in range(4)]
        settings = FitConfig(epochs=epochs, batch_size=8, seed=seed, accelerator="cpu", normalize="none")
        fit(models[0], train, validation, config=settings, out=tmp_path / str(seed), progress=False)
        neuralop_trainer(models[1], loader(), epochs, cosine=True)
        lightning_trainer(Aware(models[2], epochs), loader(), epochs)
        lightning_trainer(Unaware(models[3], epochs=epochs), loader(), epochs, callbacks=[closed_form()])
        with torch.no_grad():
            rows.append([nn.functional.mse_loss(model.eval()(test.x), test.y).item() for model in models])
    ours, *theirs = np.mean(rows, axis=0)
    np.testing.assert_allclose(theirs, ours, rtol=0.25)


@pytest.mark.parametrize("algorithm", [1, 2])
def test_figures_of_the_head_are_logged_if_asked_for(algorithm, loader):
    trainer = lightning_trainer(
        Unaware(SMALL.build(seed=1)), loader, epochs=1, callbacks=[closed_form(algorithm=algorithm, log=True)]
    )
    logged = {name: value.item() for name, value in trainer.logged_metrics.items()}
    assert 0 < logged["head/degrees_of_freedom"] < 17 and logged["head/condition"] > 1
    assert 0 < logged["head/gain"] < 1
    silent = lightning_trainer(Unaware(SMALL.build(seed=1)), loader, epochs=1, callbacks=[closed_form()])
    assert not any(name.startswith("head/") for name in silent.logged_metrics)
