"""neuralop's own Trainer, unmodified, with the closed-form head as its training loss."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from sciml_cf import FieldDataset, FNOConfig, Proximal
from sciml_cf.adapters.neuralop import NeuralopLoss
from tests.loops import RULE, SMALL, backbone, neuralop, neuralop_trainer, plain_loop

# Its Trainer hands its own FNO the targets too, and the FNO warns of them.
pytestmark = pytest.mark.filterwarnings("ignore:FNO.forward")


@pytest.fixture(scope="module")
def loader(burgers_file):
    return DataLoader(FieldDataset(burgers_file, "all", resolution=64), batch_size=8)


def test_neuralop_trainer_takes_the_steps_of_a_plain_loop(loader):
    expected = plain_loop(SMALL.build(seed=1), loader)
    values, _ = neuralop_trainer(SMALL.build(seed=1), loader)
    assert len(values) == 20 and values[-1] < 0.5 * values[0]
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_neuralop_trainer_reports_the_mean_squared_error(loader):
    model = SMALL.build(seed=1)
    data = loader.dataset
    uneven = DataLoader(data, batch_size=24)  # 24 and 16
    _, report = neuralop_trainer(model, loader, 1, tests={"test": uneven})
    model.eval()
    with torch.no_grad():
        expected = nn.functional.mse_loss(model(data.x), data.y)
    assert report["test_mse"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_neuralop_data_processor_has_the_head_solved_on_normalised_targets(loader):
    data, factor, shift = loader.dataset, 100.0, 7.0
    y = shift + factor * data.y
    scaled = DataLoader([{"x": data.x[i], "y": y[i]} for i in range(len(y))], batch_size=8)
    normaliser = neuralop.data.transforms.normalizers.UnitGaussianNormalizer(
        mean=torch.tensor(shift), std=torch.tensor(factor), eps=0.0
    )
    processor = neuralop.data.transforms.data_processors.DefaultDataProcessor(out_normalizer=normaliser)
    model = SMALL.build(seed=1)
    values, report = neuralop_trainer(model, scaled, processor=processor, tests={"test": scaled})
    np.testing.assert_allclose(values, plain_loop(SMALL.build(seed=1), loader), rtol=1e-4)
    model.eval()
    with torch.no_grad():
        expected = nn.functional.mse_loss(shift + factor * model(data.x), y)
    assert report["test_mse"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_neuralop_trainer_leaves_the_head_out_of_the_optimizer(loader):
    model = SMALL.build(seed=1)
    loss = NeuralopLoss(model, RULE)
    head = {id(parameter) for parameter in model.projection.fcs[-1].parameters()}
    assert head and not head & {id(parameter) for parameter in backbone(model)}
    neuralop_trainer(model, loader, 1, loss=loss)
    solved = loss.closed_form.head.state()["head"]
    torch.testing.assert_close(model.projection.fcs[-1].weight[0, :, 0].double(), solved[:-1, 0], rtol=1e-6, atol=1e-7)


def test_neuralop_trainer_resumes_to_the_same_losses(loader, tmp_path):
    stored_by_the_fno = [nn.functional.gelu, neuralop.layers.spectral_convolution.SpectralConv]
    expected, _ = neuralop_trainer(SMALL.build(seed=1), loader, 5)
    for seed, epochs, settings in (
        (1, 2, {"save_every": 1, "save_dir": tmp_path}),
        (2, 4, {"resume_from_dir": tmp_path}),
    ):
        model = SMALL.build(seed=seed)
        loss = NeuralopLoss(model, RULE)
        with torch.serialization.safe_globals(stored_by_the_fno):
            values, _ = neuralop_trainer(model, loader, epochs, loss=loss, regularizer=loss, **settings)
    # The Trainer counts the epoch that it had finished once more: 3 epochs after the first 2.
    np.testing.assert_array_equal(values, expected[10:])


@pytest.mark.parametrize("points", [(16, 12), (6, 4, 5)])
def test_neuralop_loss_solves_several_dimensions_and_two_outputs(points):
    config = FNOConfig(out_channels=2, width=8, modes=2, layers=1, num_dims=len(points))
    model, x = config.build(), torch.randn(3, 1, *points, generator=torch.Generator().manual_seed(0))
    y, seen = torch.cat([x.roll(1, -1), x.roll(2, -2)], dim=1), []
    loss = NeuralopLoss(model, Proximal(strength=1e-8))
    model.projection.fcs[-1].register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].detach()))
    value = loss(model(x), y=y, x=x)
    rows = torch.cat([seen[0], torch.ones_like(seen[0][:, :1])], dim=1).movedim(1, -1).flatten(0, 1).double()
    wanted = y.movedim(1, -1).reshape(-1, 2).double()
    best = rows @ torch.linalg.lstsq(rows, wanted).solution
    assert value.item() == pytest.approx((best - wanted).square().mean().item(), rel=1e-3)


def test_neuralop_processor_that_changes_the_prediction_in_training_is_refused(loader):
    class Scaled(neuralop.data.transforms.data_processors.DefaultDataProcessor):
        def postprocess(self, output, data_dict):
            return 2 * output, data_dict

    with pytest.raises(ValueError, match="the prediction must be the layer's own output"):
        neuralop_trainer(SMALL.build(seed=1), loader, processor=Scaled())


def test_neuralop_loss_refuses_targets_of_another_shape():
    model, x = SMALL.build(), torch.zeros(2, 1, 64)
    with pytest.raises(
        ValueError, match=r"NeuralopLoss: `y` must be shaped like the prediction \(2, 1, 64\); got \(2, 64"
    ):
        NeuralopLoss(model, RULE)(model(x), y=x[:, 0])


def test_neuralop_loss_names_a_head_that_is_not_there():
    with pytest.raises(ValueError, match="NeuralopLoss: `head` must be one of .*projection.fcs.1.*; got 'readout'"):
        NeuralopLoss(SMALL.build(), RULE, head="readout")
    with pytest.raises(TypeError, match="`layer` must be nn.Linear or a 1x1"):
        NeuralopLoss(SMALL.build(), RULE, head=nn.Identity())


# Which layer.


class Registered(nn.Module):
    """A field to a field, with a linear layer that is registered after the one that runs last: ``(B, 1, N)``."""

    def __init__(self, last):
        super().__init__()
        torch.manual_seed(0)
        self.readout, self.last = nn.Conv1d(8, 1, 1), last
        self.body, self.extra = nn.Conv1d(1, 8, 3, padding=1), nn.Conv1d(8, 1 if last == "unused" else 8, 1)

    def forward(self, x, y=None):
        phi = torch.tanh(self.body(x))
        return self.readout(phi if self.last == "unused" else torch.tanh(self.extra(phi)))


def ends(model, loader, epochs=2, **settings):
    values, _ = neuralop_trainer(model, loader, epochs, loss=NeuralopLoss(model, RULE, **settings))
    return values, {name: value.clone() for name, value in model.state_dict().items()}


def test_neuralop_loss_finds_the_layer_that_runs_last_at_the_first_forward_pass(loader):
    expected, state = ends(Registered("unused"), loader, head="readout")
    model = Registered("unused")
    before = model.extra.weight.detach().clone()
    found, own = ends(model, loader)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    for name, value in own.items():
        torch.testing.assert_close(value, state[name], rtol=1e-5, atol=1e-7)
    assert torch.equal(model.extra.weight, before) and before.any() and model.extra.weight.requires_grad
    assert not model.readout.weight.requires_grad and not model._forward_pre_hooks


@pytest.mark.parametrize("evaluated", [True, False])
def test_neuralop_loss_takes_an_example_or_says_which_layer_runs_last(loader, evaluated):
    expected, state = ends(Registered("inner"), loader, head="readout")
    found, own = ends(Registered("inner"), loader, example=loader.dataset.x[:1])
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert all(torch.allclose(value, state[name], rtol=1e-5, atol=1e-7) for name, value in own.items())
    model = Registered("inner")
    loss, before = NeuralopLoss(model, RULE), Registered("inner").state_dict()
    assert not model.extra.weight.any()
    model.train(not evaluated)
    with pytest.raises(ValueError, match=r"'readout', is not .* 'extra'. Pass head='readout', or example=x"):
        model(loader.dataset.x[:1])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert loss.closed_form.head.status == "detached"


def test_neuralop_loss_that_has_loaded_a_state_does_not_change_its_layer(loader):
    model = Registered("unused")
    loss = NeuralopLoss(model, RULE)
    loss.load_state_dict(loss.state_dict())
    with pytest.raises(ValueError, match="NeuralopLoss: `head` must be named"):
        model(loader.dataset.x[:1])


def test_a_model_with_a_loss_can_be_copied_and_fails_by_its_own_words_before_its_first_pass(loader):
    model = Registered("unused")
    loss = NeuralopLoss(model, RULE)
    other, _ = copy.deepcopy((model, loss))
    other(loader.dataset.x[:1])  # it looks for nothing, and works
    for _ in range(2):
        with pytest.raises(RuntimeError, match="expected input"):
            model(torch.zeros(1, 3, 8))
    model(loader.dataset.x[:1])
    assert loss.closed_form.head.layer is model.readout
