"""Fields in any units: trained on mean 0 and deviation 1, given and returned in the data's own units."""

import copy
import io
import itertools
import json
import logging

import numpy as np
import pytest
import torch
from torch import nn

from data_gen.formats import Facts
from sciml_cf import FitConfig, FNOConfig, adapt, fit, load, predict, read_posterior
from sciml_cf.datasets import FieldDataset
from sciml_cf.evaluate.prediction import apply_in_batches
from sciml_cf.normalization import (
    ChannelStatistics,
    Normalization,
    attach_normalization,
    core_units,
    detach_normalization,
    measure_normalization,
    normalization_of,
)
from sciml_cf.training.run_folder import plain_state_dict, read_settings

SHAPE = FNOConfig(width=8, modes=4, layers=2)
SCALES, OFFSETS = (1e-6, 1e-3, 1.0, 1e4), (0.0, 1e5)


class Fields(torch.utils.data.Dataset):
    """Random waves on 32 points and their shifted squares, float64, as a x + b and c y + d."""

    def __init__(self, samples, seed=0, x=(1.0, 0.0), y=(1.0, 0.0)):
        rng = np.random.default_rng(seed)
        points = 2 * np.pi * np.arange(32) / 32
        a, b = rng.normal(size=(2, samples, 1))
        u = a * np.sin(points) + b * np.cos(2 * points)
        v = np.roll(u, 3, axis=1) ** 2 + u
        self.x = torch.from_numpy(x[0] * u + x[1] * x[0])[:, None]
        self.y = torch.from_numpy(y[0] * v + y[1] * y[0])[:, None]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        return {"x": self.x[index], "y": self.y[index]}


def train(out, data=None, validation=None, model=None, **settings):
    model = model or SHAPE.build()
    arguments = {key: settings.pop(key) for key in ("resume", "overwrite", "describe", "until") if key in settings}
    config = FitConfig(**{"epochs": 3, "batch_size": 8, "accelerator": "cpu", **settings})
    data, validation = data or Fields(24), validation or Fields(8, seed=1)
    return model, fit(model, data, validation, config=config, out=out, progress=False, **arguments)


def convolutions():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv1d(1, 8, 3, padding=1, padding_mode="circular"), nn.Tanh(), nn.Conv1d(8, 1, 1))


def described():
    return {"model": {"builder": "fno", "arguments": SHAPE.to_dict()}}


@pytest.mark.parametrize("offset", [0.0, 1e5, -1e9])
def test_statistics_are_numpys_however_the_batches_fall(offset):
    values = np.random.default_rng(0).normal(size=(37, 3, 5, 4)) * np.array([1e-6, 1.0, 30.0])[:, None, None] + offset
    statistics = ChannelStatistics()
    for part in np.split(values, [1, 9, 20]):
        statistics.update(torch.from_numpy(part))
    rows = np.moveaxis(values, 1, 0).reshape(3, -1)
    np.testing.assert_allclose(statistics.mean, rows.mean(1), rtol=1e-12)
    keep = rows.std(1) > 1e-13 * np.abs(rows).max(1)
    np.testing.assert_allclose(statistics.std.numpy()[keep], rows.std(1)[keep], rtol=1e-5)
    np.testing.assert_allclose(statistics.low, rows.min(1))
    np.testing.assert_allclose(statistics.high, rows.max(1))


def test_normalized_tensors_are_the_same_in_all_units():
    plain = Fields(20)
    norm = measure_normalization(plain)
    x, y = norm.inputs(plain.x), norm.targets(plain.y)
    assert x.dtype == torch.float32 and abs(x.mean().item()) < 1e-6 and abs(x.std().item() - 0.5) < 1e-2
    for a, b, c, d in itertools.product(SCALES, OFFSETS, SCALES, OFFSETS):
        data = Fields(20, x=(a, b), y=(c, d))
        norm = measure_normalization(data)
        assert (norm.inputs(data.x) - x).abs().max() < 1e-5
        assert (norm.targets(data.y) - y).abs().max() < 1e-5


def test_fit_leaves_a_model_of_physical_fields_and_load_gives_the_same(tmp_path):
    data = Fields(24, x=(1e-3, 1e5), y=(1e4, 1e5))
    model, history = train(tmp_path / "run", data, Fields(8, 1, x=(1e-3, 1e5), y=(1e4, 1e5)), describe=described())
    loaded = load(tmp_path / "run", which="last")
    norm = normalization_of(loaded)
    assert norm == normalization_of(model) == measure_normalization(data)
    outputs = loaded(data.x)
    assert outputs.dtype == torch.float64  # 1e9 + 1e4 w does not fit float32
    torch.testing.assert_close(outputs, model.eval()(data.x))
    by_hand = loaded.state_dict()
    core = SHAPE.build().eval()
    core.load_state_dict(by_hand)
    expected = core(norm.inputs(data.x)).double() * norm.target_scale[0] + norm.target_mean[0]
    torch.testing.assert_close(outputs, expected)
    assert history.rows[-1]["validation_mse"] < data.y.var().item()
    np.testing.assert_allclose(predict(tmp_path / "run", data.x.numpy(), which="last"), expected.detach().numpy())


def test_the_exported_weights_need_only_the_file_beside_them(tmp_path):
    data = Fields(24, x=(2.0, 3.0), y=(5.0, -1.0))
    train(tmp_path / "run", data, Fields(8, 1, x=(2.0, 3.0), y=(5.0, -1.0)), describe=described())
    numbers = json.loads((tmp_path / "run" / "normalization.json").read_text())
    core = SHAPE.build().eval()
    core.load_state_dict(torch.load(tmp_path / "run" / "weights_best.pt", weights_only=True))
    x = ((data.x - numbers["input_mean"][0]) / numbers["input_scale"][0]).float()
    by_hand = numbers["target_mean"][0] + numbers["target_scale"][0] * core(x)
    torch.testing.assert_close(load(tmp_path / "run")(data.x), by_hand)
    assert "target_mean + target_scale * model((x - input_mean) / input_scale)" in numbers["how"]


@pytest.mark.parametrize("settings", [{"method": "l2"}, {"method": "proximal"}, {"method": "ridge", "algorithm": 1}])
def test_errors_are_in_the_datas_units(settings, tmp_path):
    _, plain = train(tmp_path / "plain", **settings)
    _, scaled = train(tmp_path / "scaled", Fields(24, y=(1e-6, 1e3)), Fields(8, 1, y=(1e-6, 1e3)), **settings)
    for one, other in zip(plain.rows, scaled.rows, strict=True):
        for name in ("train_loss", "validation_mse"):
            assert other[name] == pytest.approx(1e-12 * one[name], rel=1e-2)


def test_scaling_targets_changes_heads_exactly(tmp_path):
    heads = []
    for scale in (1.0, 3.7e4):
        model = convolutions().double()
        train(tmp_path / f"{scale}", Fields(24, y=(scale, 2.0)), Fields(8, 1, y=(scale, 2.0)), model=model, epochs=1)
        heads.append(plain_state_dict(model)["2.weight"])
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-10, atol=1e-10)


def test_none_trains_on_the_fields_as_given(tmp_path):
    model, _ = train(tmp_path / "run", normalize="none", describe=described())
    assert normalization_of(model) is normalization_of(load(tmp_path / "run")) is None
    assert not (tmp_path / "run" / "normalization.json").exists()
    assert read_settings(tmp_path / "run")["normalization"] is None


def test_an_interrupted_run_goes_on_with_the_same_numbers(tmp_path):
    model, _ = train(tmp_path / "whole", describe=described(), epochs=4)
    train(tmp_path / "parts", describe=described(), epochs=4, until=2)
    again, _ = train(tmp_path / "parts", describe=described(), epochs=4, resume=True)
    for name, value in plain_state_dict(model).items():
        assert torch.equal(value, plain_state_dict(again)[name]), name
    assert normalization_of(again) == normalization_of(model)


def test_a_loaded_model_trained_further_keeps_its_normalization(tmp_path):
    train(tmp_path / "first", describe=described())
    model = load(tmp_path / "first")
    before, shifted = normalization_of(model), Fields(24, x=(2.0, 1.0))
    train(tmp_path / "second", shifted, model=model.train(), epochs=1)
    assert normalization_of(model) == before != measure_normalization(shifted)


def test_an_error_leaves_the_model_as_it_was(tmp_path):
    model = SHAPE.build()
    (tmp_path / "taken").write_text("")
    with pytest.raises(FileExistsError):
        train(tmp_path / "taken", model=model)
    assert normalization_of(model) is None
    norm = measure_normalization(Fields(4))
    attach_normalization(model, norm)
    with pytest.raises(FileExistsError):
        train(tmp_path / "taken", model=model)
    assert normalization_of(model) == norm and len(model._forward_hooks) == 1


def test_constant_channels_and_one_sample_are_one_line_each(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data = Fields(1, x=(0.0, 0.0))
    data.x += 7.0
    norm = measure_normalization(data)
    assert norm.input_mean == (7.0,) and norm.input_scale == (1.0,)
    lines = [line for line in caplog.messages if "constant" in line]
    assert len(lines) == 1 and "input channel 0 is constant (7)" in lines[0]
    train(tmp_path / "run", Fields(1), epochs=1, batch_size=1)


def test_rounding_is_no_deviation():
    values = torch.full((4, 1, 8), 1e5, dtype=torch.float64)
    values[0, 0, 0] += 1e-11
    statistics = ChannelStatistics()
    statistics.update(values)
    assert statistics.std.item() == 0


def test_inputs_far_outside_the_training_range_are_warned_of(tmp_path, caplog):
    train(tmp_path / "run", describe=described(), epochs=1)
    fields = Fields(4, seed=2).x.numpy()
    predict(tmp_path / "run", fields)
    assert not [line for line in caplog.messages if "training inputs" in line]
    predict(tmp_path / "run", 1000 * fields)
    (line,) = [line for line in caplog.messages if "training inputs" in line]
    assert "channel 0" in line and "units" in line


def test_a_copy_and_a_pickle_carry_it():
    model, data = SHAPE.build().eval(), Fields(4, x=(3.0, 1.0), y=(2.0, 5.0))
    attach_normalization(model, measure_normalization(data))
    expected = model(data.x)
    torch.testing.assert_close(copy.deepcopy(model)(data.x), expected)
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    torch.testing.assert_close(again(data.x), expected)
    detach_normalization(again)
    assert normalization_of(again) is None and not again._forward_hooks and not again._forward_pre_hooks
    with core_units(model) as norm:
        core = model(norm.inputs(data.x))
    torch.testing.assert_close(norm.outputs(core), expected)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"target_scale": (0.0,)}, "`target_scale` must be finite, a scale above 0"),
        ({"input_mean": (float("nan"),)}, "`input_mean` must be finite"),
        ({"input_mean": (1.0, 2.0)}, "`input_scale` must have an entry for each channel"),
    ],
)
def test_unusable_normalizations_are_refused(change, match):
    numbers = {"input_mean": (0.0,), "input_scale": (1.0,), "target_mean": (0.0,), "target_scale": (1.0,), **change}
    with pytest.raises(ValueError, match=match):
        Normalization(**numbers)


def test_fields_of_other_channels_complex_fields_and_nan_are_one_line(tmp_path):
    norm = measure_normalization(Fields(4))
    with pytest.raises(ValueError, match="`x` must have the 1 channels of the training data"):
        norm.inputs(torch.zeros(2, 3, 8))
    data = Fields(4)
    data.y = data.y.to(torch.complex128)
    with pytest.raises(ValueError, match="must hold real fields"):
        train(tmp_path / "complex", data)
    data = Fields(4)
    data.x[1, 0, 3] = torch.nan
    with pytest.raises(ValueError, match="finite numbers"):
        train(tmp_path / "nan", data)
    assert not list(tmp_path.iterdir())


def test_a_file_that_float32_cannot_hold_is_read_in_float64(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    data = Fields(20, x=(1.0, 1e5))
    np.save(tmp_path / "x.npy", data.x[:, 0].numpy())
    np.save(tmp_path / "y.npy", data.y[:, 0].numpy())
    stored = FieldDataset(
        f"{tmp_path / 'x.npy'},{tmp_path / 'y.npy'}", "train", facts=Facts(extent=(1.0,), times=(0.0, 1.0))
    )
    assert stored.x.dtype == torch.float64 and stored.y.dtype == torch.float32
    assert [line for line in caplog.messages if "kept in float64" in line]


def test_a_run_of_channels_of_unlike_units(tmp_path):
    """Two channels, 1e5 and 1 in size: both are learned, and errors are those of the physical channels."""

    class Two(Fields):
        def __getitem__(self, index):
            x, y = self.x[index], self.y[index]
            return {"x": torch.cat([x, 1e5 + 1e-3 * x]), "y": torch.cat([y, 1e5 + 1e5 * y])}

    model, data = FNOConfig(in_channels=2, out_channels=2, width=8, modes=4, layers=2).build(), Two(24)
    _, history = train(tmp_path / "run", data, Two(8, 1), model=model, epochs=20)
    batch = [data[index] for index in range(len(data))]
    y = torch.stack([item["y"] for item in batch])
    outputs = apply_in_batches(model, torch.stack([item["x"] for item in batch]), batch_size=8)
    errors = (outputs - y).square().mean((0, 2)).sqrt() / y.std((0, 2))
    assert errors.max() < 0.5 and errors.max() / errors.min() < 2
    assert history.rows[-1]["train_loss"] == pytest.approx(history.rows[-1]["validation_mse"], rel=30)


@pytest.mark.slow
@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("method", ["l2", "proximal"])
def test_training_in_other_units_ends_within_the_seeds(method, optimizer, dims, tmp_path):
    """Inputs 1e-3 x + 1e5 spreads and targets 1e4 y + 1e5 spreads, against three seeds at order one."""

    class Grid(Fields):
        def __getitem__(self, index):
            x, y = self.x[index], self.y[index]
            return {"x": x, "y": y} if dims == 1 else {k: v.reshape(1, 4, 8) for k, v in (("x", x), ("y", y))}

    def error(name, seed, units):
        model = FNOConfig(width=8, modes=3, layers=2, num_dims=dims).build(seed=seed)
        settings = {"method": method, "optimizer": optimizer, "epochs": 15, "seed": seed}
        settings["learning_rate"] = 3e-3 if optimizer == "adam" else 0.03
        data, validation = Grid(64, 0, *units), Grid(32, 1, *units)
        _, history = train(tmp_path / name, data, validation, model=model, **settings)
        return (history.rows[-1]["validation_mse"] / validation.y.var(correction=0).item()) ** 0.5

    usual = [error(f"usual{seed}", seed, ((1.0, 0.0), (1.0, 0.0))) for seed in range(3)]
    other = error("other", 0, ((1e-3, 1e5), (1e4, 1e5)))
    assert min(usual) * 0.95 <= other <= max(usual) * 1.05


def test_a_head_that_is_no_nn_linear_projection_works_too(tmp_path):
    model, data = convolutions(), Fields(24, x=(1e4, 0.0), y=(1e-6, 1e5))
    _, history = train(tmp_path / "run", data, Fields(8, 1, x=(1e4, 0.0), y=(1e-6, 1e5)), model=model, epochs=10)
    assert history.rows[-1]["validation_mse"] < 0.5 * data.y.var().item()


def test_error_bars_and_adaptation_are_in_the_datas_units(tmp_path):
    """The same run in other units: deviations scale, and a new head is found for new physical targets."""
    results = []
    for scale, offset in ((1.0, 0.0), (1e3, 10.0)):
        units = {"y": (scale, offset)}
        out = tmp_path / f"{scale}"
        train(out, Fields(64, **units), Fields(24, 1, **units), describe=described(), epochs=10)
        fields = Fields(16, 2, **units)
        mean, std = predict(out, fields.x.numpy(), std=True)
        known, model = read_posterior(out), load(out)
        moved = adapt(model, Fields(16, 3, y=(2 * scale, offset / 2)), prior=known, strength=1e-6)
        after = apply_in_batches(model, fields.x, batch_size=8)
        wanted = Fields(16, 2, y=(2 * scale, offset / 2)).y
        results.append(
            (mean / scale - offset, std / scale, moved.error_before / scale**2, (after - wanted).std() / scale)
        )
        error = (after - wanted).square().mean().item()
        assert error < 0.5 * moved.error_before and moved.error_after < moved.error_before
    (mean, std, before, after), (mean_2, std_2, before_2, after_2) = results
    np.testing.assert_allclose(mean_2, mean, atol=2e-2)
    np.testing.assert_allclose(std_2, std, rtol=5e-2)
    assert before_2 == pytest.approx(before, rel=5e-2) and float(after_2) == pytest.approx(float(after), rel=5e-2)
