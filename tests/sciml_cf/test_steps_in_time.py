"""Models of states in time: increments, noise, and several outputs in a row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, TensorDataset

from data_gen import DatasetSpec, generate
from data_gen.formats import Facts
from sciml_cf import ClosedFormLoss, FitConfig, Ridge, fit, load
from sciml_cf.cli.adapt import adapt_command
from sciml_cf.datasets import FieldDataset
from sciml_cf.datasets.items import as_items
from sciml_cf.datasets.steps import SingleSteps, Steps, steps_of
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.export import plain_model
from sciml_cf.model_outputs import Predict
from sciml_cf.models import FNOConfig
from sciml_cf.normalization import Normalization, attach_normalization, measure_normalization, normalization_of
from sciml_cf.training.on_file import train_on_file
from sciml_cf.training.run_folder import read_posterior
from sciml_cf.training.units import Units
from sciml_cf.training.unroll import Unroll

SMALL = {"width": 8, "modes": 4, "layers": 2}


@pytest.fixture(autouse=True)
def _double():
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


@pytest.fixture(scope="module")
def heat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = DatasetSpec(equation="heat", samples=12, resolution=32, times=tuple(0.01 * step for step in range(1, 6)))
    return generate(spec, tmp_path_factory.mktemp("heat") / "f.h5", progress=False)


def states(count: int = 12, *, offset: float = 0.0, channels: int = 2, steps: int = 1) -> TensorDataset:
    """x, and the states after it, whose increments are a small smooth function of it."""
    x = torch.randn(count, channels, 16, generator=torch.Generator().manual_seed(1)).double() + offset
    all_of = [x]
    for _ in range(steps):
        all_of.append(all_of[-1] + 0.01 * torch.tanh(all_of[-1] - offset) + 0.003)
    return TensorDataset(x, torch.cat(all_of[1:], dim=1))


def network(channels: int = 2, *, seed: int = 0, width: int = 24) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv1d(channels, width, 1), nn.Tanh(), nn.Conv1d(width, channels, 1))


@pytest.mark.parametrize(("normalize", "offset"), [("auto", 0.0), ("auto", 1e4), ("none", 0.0)])
@pytest.mark.parametrize("method", ["l2", "proximal"])
def test_a_model_of_increments_returns_states(
    tmp_path: Path, normalize: Literal["auto", "none"], method: str, offset: float
) -> None:
    data, model = states(offset=offset), network()
    config = FitConfig(method=method, normalize=normalize, residual="yes", epochs=60, batch_size=12, learning_rate=0.01)
    history = fit(model, data, data, config=config, out=tmp_path / "run", progress=False)
    x, y = data.tensors
    with torch.no_grad():
        found = model(x if normalize == "auto" else x.float())
    learned = normalize == "auto" or method == "proximal"  # gradients alone need more steps for increments this small
    assert history.rows[-1]["validation_mse"] < (0.2 * (y - x).square().mean() if learned else y.square().mean())
    np.testing.assert_allclose((found - y).double().square().mean(), history.rows[-1]["validation_mse"], rtol=0.02)
    stored = normalization_of(model)
    assert stored is not None and stored.residual == (0, 1)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["normalization"]["residual"] == [0, 1]
    torch.testing.assert_close(plain_model(model)(x), found.to(plain_model(model)(x).dtype), rtol=1e-5, atol=1e-6)


def test_increments_are_normalized_by_their_own_numbers() -> None:
    data = states(offset=5.0)
    x, y = data.tensors
    norm = measure_normalization(data, residual=(0, 1))
    np.testing.assert_allclose(norm.target_mean, (y - x).mean((0, 2)))
    np.testing.assert_allclose(norm.target_scale, (y - x).std((0, 2), unbiased=False))
    w = norm.targets(y, torch.float64, x=x)
    torch.testing.assert_close(norm.outputs(w, x), y)
    assert Normalization.from_dict(json.loads(json.dumps(norm.to_dict()))) == norm


@pytest.mark.parametrize("wrong", [(0,), (0, 2), (0, -1)])
def test_increments_of_no_such_channel_are_refused(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"`residual` must name one of 2 input channels.*got \("):
        Normalization((0.0, 0.0), (1.0, 1.0), (0.0, 0.0), (1.0, 1.0), residual=wrong)


def test_increments_need_their_inputs() -> None:
    norm = Normalization((0.0,), (1.0,), (0.0,), (1.0,), residual=(0,))
    for call in (norm.targets, norm.outputs):
        with pytest.raises(ValueError, match="`x` must be given"):
            call(torch.zeros(1, 1, 4))


def test_a_run_of_increments_is_loaded_evaluated_and_adapted(heat: Path, tmp_path: Path) -> None:
    facts = Facts(input_steps=2, output_steps=2)
    config = FitConfig(epochs=2, batch_size=8, residual="yes")
    train_on_file(heat, tmp_path / "run", config, model=SMALL, facts=facts)
    model = load(tmp_path / "run")
    norm = normalization_of(model)
    assert norm is not None and norm.residual == (1, 1)  # the later of two states, for both outputs
    test = FieldDataset(heat, "test", facts=facts)
    with torch.no_grad():
        error = (model(test.x) - test.y).double().square().mean()
    found = evaluate_run(tmp_path / "run", heat, [32])
    np.testing.assert_allclose(float(found["mse"].sel(output="native")[0]), error, rtol=1e-3)
    assert (read_posterior(tmp_path / "run").noise > 0).all()
    adapt_command([str(tmp_path / "run"), "--data", str(heat), "--out", str(tmp_path / "adapted")])
    adapted = normalization_of(load(tmp_path / "adapted"))
    assert adapted == norm


def test_increments_of_other_fields_are_refused(tmp_path: Path) -> None:
    data = TensorDataset(torch.randn(4, 1, 16), torch.randn(4, 2, 16))
    model = nn.Conv1d(1, 2, 1)
    with pytest.raises(ValueError, match="must map states to the same states later.*got 1 channels of x and 2 of y"):
        fit(model, data, data, config=FitConfig(residual="yes", epochs=1), out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_model_of_fields_is_not_trained_on_as_one_of_increments(tmp_path: Path) -> None:
    data, model = states(), network()
    attach_normalization(model, measure_normalization(data))
    with pytest.raises(ValueError, match="`residual` must be as the model was trained before"):
        fit(model, data, data, config=FitConfig(residual="yes", epochs=1), out=tmp_path / "run", progress=False)


# --- several outputs in a row -----------------------------------------------------------------------------------------


class Marked(Dataset[dict[str, Tensor]]):
    """States whose values are their times, beside a constant channel."""

    def __init__(self, steps: Steps, count: int) -> None:
        self.steps, self._count = steps, count

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        n, m, c = self.steps.inputs, self.steps.outputs, self.steps.components
        at = torch.arange(1 - n, self._count * m + 1, dtype=torch.float64) + 100 * index
        fields = (at[:, None] + 0.1 * torch.arange(c)).flatten()[:, None].expand(-1, 8)
        return {"x": torch.cat([fields[: n * c], torch.full((1, 8), -7.0)]), "y": fields[n * c :]}


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("m", [1, 2, 3])
@pytest.mark.parametrize("c", [1, 2])
def test_windows_move_on_by_their_outputs(n: int, m: int, c: int) -> None:
    steps, count = Steps(inputs=n, outputs=m, components=c), 3
    data = Marked(steps, count)
    singles = SingleSteps(data, steps, count)
    assert len(singles) == 9
    for index in range(len(singles)):
        item, sample, step = singles[index], index // count, index % count
        first = 100 * sample + step * m
        expected = torch.arange(first + 1 - n, first + m + 1, dtype=torch.float64)
        got = torch.cat([item["x"][: n * c], item["y"]])[:, 0].reshape(-1, c)
        torch.testing.assert_close(got[:, 0], expected)
        torch.testing.assert_close(item["x"][-1], torch.full((8,), -7.0).double())

    def true_model(x: Tensor) -> Tensor:  # the states after the last one of the input
        last = x[:, steps.states - c : steps.states]
        return torch.cat([last + k for k in range(1, m + 1)], dim=1)

    whole = torch.stack([data[index]["x"] for index in range(3)])
    rolled = steps.roll(true_model, whole, count)
    torch.testing.assert_close(rolled, torch.stack([data[index]["y"] for index in range(3)]))
    assert steps.residual == tuple(range((n - 1) * c, n * c)) * m


def unrolled(count: int, *, width: int = 24, **settings) -> tuple[Any, Unroll, Units, dict[str, Tensor]]:
    torch.set_default_dtype(torch.float64)
    data, model = states(steps=count), network(width=width).double()
    config = FitConfig(unroll=count, **settings)
    unroll = Unroll.of(data_items(data), config)
    single = unroll.single(data_items(data))
    norm = measure_normalization(single, residual=(0, 1) if config.residual == "yes" else ())
    x, y = data.tensors
    return model, unroll, Units.of(model, norm, "mse"), {"x": x, "y": y}


def data_items(data: TensorDataset) -> Dataset[dict[str, Tensor]]:
    return as_items("fit", "train", data)


@pytest.mark.parametrize("residual", ["no", "yes"])
@pytest.mark.parametrize("through", [False, True])
def test_the_head_of_an_unrolled_step_is_that_of_dense_least_squares(residual: Any, through: bool) -> None:
    model, unroll, units, items = unrolled(3, residual=residual, through_steps=through)
    head = model[-1]
    loss_of, strength = ClosedFormLoss(head, Ridge(strength=1e-3), initial="keep"), 1e-3
    before = torch.cat([head.weight[:, :, 0].T, head.bias[None]]).detach().numpy()

    # by hand: roll out by the head before, then one least-squares problem over the rows of all steps
    norm, x = units.normalization, items["x"].numpy()
    assert norm is not None
    inner, outer = np.array(norm.input_scale)[None, :, None], np.array(norm.target_scale)[None, :, None]
    shift, mean = np.array(norm.input_mean)[None, :, None], np.array(norm.target_mean)[None, :, None]
    first = model[0]
    weight, bias = first.weight[:, :, 0].detach().numpy(), first.bias.detach().numpy()
    rows, wanted = [], []
    for y in np.split(items["y"].numpy(), 3, axis=1):
        z = (x - shift) / inner
        phi = np.tanh(np.einsum("fc,scn->snf", weight, z) + bias)
        phi = np.concatenate([phi, np.ones((*phi.shape[:2], 1))], axis=2)
        base = x if residual == "yes" else 0.0
        rows.append(phi.reshape(-1, 25))
        wanted.append(np.moveaxis((y - base - mean) / outer, 1, 2).reshape(-1, 2))
        x = np.moveaxis(phi @ before, 2, 1) * outer + mean + base
    phi, targets = np.concatenate(rows), np.concatenate(wanted)
    dense = np.linalg.solve(phi.T @ phi / len(phi) + strength * np.eye(25), phi.T @ targets / len(phi))

    batch = units.batch(unroll.rows(items, Predict("fit", model), units))
    loss = loss_of(model(batch.x), batch.y)
    solved = torch.cat([head.weight[:, :, 0].T, head.bias[None]]).detach().numpy()
    assert np.abs(solved - dense).max() < 1e-10 * np.abs(dense).max()
    assert loss.item() == pytest.approx(((phi @ dense - targets) ** 2).mean(), rel=1e-9)


def gradients_at(model: nn.Sequential, loss: Tensor) -> Tensor:
    parts = torch.autograd.grad(loss, [p for p in model[0].parameters()])
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("strength", [1e-2, 1e-8])
def test_gradients_through_the_steps_are_those_at_the_solved_head(strength: float) -> None:
    """Autograd through the solve as well adds the change of the head, which is nothing at a least-squares solution."""
    model, unroll, units, items = unrolled(2, width=4, through_steps=True)
    head = model[-1]
    loss_of = ClosedFormLoss(head, Ridge(strength=strength), initial="keep")
    weight, bias = head.weight.detach().clone(), head.bias.detach().clone()
    batch = units.batch(unroll.rows(items, Predict("fit", model), units))
    ours = gradients_at(model, loss_of(model(batch.x), batch.y))

    def features(z: Tensor) -> Tensor:
        phi = model[1](model[0](z)).movedim(1, 2)
        return torch.cat([phi, torch.ones(*phi.shape[:2], 1)], dim=2)

    old = torch.cat([weight[:, :, 0].T, bias[None]])
    x = [items["x"]]
    x.append(units.physical((features(units.inputs(x[0])) @ old).movedim(2, 1), x[0]))
    phi = torch.cat([features(units.inputs(part)).reshape(-1, 5) for part in x])
    wanted = torch.cat(
        [
            units.batch({"x": a, "y": b}).y.movedim(1, 2).reshape(-1, 2)
            for a, b in zip(x, items["y"].chunk(2, 1), strict=True)
        ]
    )
    gram = phi.T @ phi / len(phi) + strength * torch.eye(5)
    solved = torch.linalg.solve(gram, phi.T @ wanted / len(phi))
    at_head = gradients_at(model, (phi @ solved.detach() - wanted).square().mean())
    # retained above: the graph is built anew for the derivative through the solve
    x[1] = units.physical((features(units.inputs(x[0])) @ old).movedim(2, 1), x[0])
    phi = torch.cat([features(units.inputs(part)).reshape(-1, 5) for part in x])
    solved = torch.linalg.solve(phi.T @ phi / len(phi) + strength * torch.eye(5), phi.T @ wanted.detach() / len(phi))
    through_solve = gradients_at(model, (phi @ solved - wanted.detach()).square().mean())
    assert (ours - at_head).norm() < 1e-8 * at_head.norm()
    difference = float((ours - through_solve).norm() / through_solve.norm())
    assert difference < 1e-4 if strength < 1e-6 else difference > 1e-3


def test_pushforward_takes_the_models_states_as_data() -> None:
    model, unroll, units, items = unrolled(3)
    rows = unroll.rows(items, Predict("fit", model), units)
    assert rows["x"].shape[0] == 3 * items["x"].shape[0] and not rows["x"].requires_grad
    torch.testing.assert_close(rows["x"][:12], items["x"])
    with torch.no_grad():
        torch.testing.assert_close(rows["x"][12:24], units.forward(Predict("fit", model), items["x"]))
    assert model.training
    through = Unroll(Steps(components=2), FitConfig(unroll=3, through_steps=True))
    assert through.rows(items, Predict("fit", model), units)["x"].requires_grad


def test_noise_has_its_deviation_and_leaves_constants(tmp_path: Path) -> None:
    x = torch.cat([3 * torch.randn(200, 1, 64), torch.full((200, 1, 64), 0.5)], dim=1)
    data = TensorDataset(x, x[:, :1])
    config = FitConfig(noise=0.1)
    unroll = Unroll.of(data_items(data), config)
    model = nn.Conv1d(2, 1, 1)
    units = Units.of(model, measure_normalization(data), "mse")
    rows = unroll.rows({"x": x, "y": x[:, :1]}, Predict("fit", model), units)
    difference = rows["x"] - x
    assert 0.29 < float(difference[:, 0].std()) < 0.31 and not difference[:, 1].any()


@pytest.mark.parametrize("settings", [{"unroll": 3}, {"unroll": 2, "through_steps": True}, {"noise": 0.1}])
@pytest.mark.parametrize("method", ["l2", "proximal"])
def test_unrolled_training_is_resumed_to_the_same_bits(heat: Path, tmp_path: Path, settings, method: str) -> None:
    config = FitConfig(epochs=3, batch_size=8, method=method, residual="yes", **settings)
    data = {name: FieldDataset(heat, name, unroll=config.unroll) for name in ("train", "validation")}
    if config.unroll == 1:
        data = {name: FieldDataset(heat, name, facts=Facts(stride=1)) for name in ("train", "validation")}
    whole, parts = (train_small(data, config, tmp_path / name) for name in ("whole", "parts"))
    whole()
    parts(until=1)
    parts(resume=True)
    for name in ("weights_last.pt", "weights_best.pt"):
        a, b = (torch.load(tmp_path / folder / name, weights_only=True) for folder in ("whole", "parts"))
        assert all(torch.equal(a[key], b[key]) for key in a)


def train_small(data, config: FitConfig, out: Path):
    def run(**given) -> None:
        model = FNOConfig(width=8, modes=4, layers=2).build(seed=0)
        fit(model, data["train"], data["validation"], config=config, out=out, progress=False, **given)

    return run


def test_a_run_that_is_unrolled_is_one_of_single_steps(heat: Path, tmp_path: Path) -> None:
    train_on_file(heat, tmp_path / "run", FitConfig(epochs=2, batch_size=8, unroll=3, residual="yes"), model=SMALL)
    stored = json.loads((tmp_path / "run" / "run.json").read_text())
    assert stored["model"]["arguments"]["out_channels"] == 1
    assert stored["data"]["windows"] == {"input_steps": 1, "output_steps": 1, "stride": 1}
    found = evaluate_run(tmp_path / "run", heat, [32])
    assert found.attrs["own_data"] == 1 and np.isfinite(found["mse"]).all()


def test_unrolling_over_more_steps_than_there_are_is_refused(heat: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="`unroll` must fit the trajectories; got 6 .*must together be at most 6"):
        train_on_file(heat, tmp_path / "run", FitConfig(epochs=1, unroll=6), model=SMALL)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unroll": 0}, "`unroll` must be"),
        ({"noise": -1.0}, "`noise` must be at least 0"),
        ({"noise": float("nan")}, "`noise` must be at least 0"),
        ({"through_steps": True}, "`through_steps` must go with `unroll`"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FitConfig(**settings)


def test_datasets_say_how_their_states_are_arranged(heat: Path) -> None:
    assert FieldDataset(heat, "all").steps == Steps(components=1)
    data = FieldDataset(heat, "all", facts=Facts(input_steps=3, output_steps=2))
    assert steps_of("fit", data) == data.steps == Steps(inputs=3, outputs=2, components=1)


@pytest.mark.parametrize(("times", "learned"), [((0.01, 0.02, 0.03), True), ((40.0, 80.0, 120.0), False)])
def test_increments_are_learned_where_they_are_small(tmp_path: Path, times, learned: bool, caplog) -> None:
    """Of windows alone, and one line says why; a run that was begun is resumed as it is."""
    generate(DatasetSpec(equation="heat", samples=12, resolution=32, times=times), tmp_path / "f.h5", progress=False)
    config = FitConfig(epochs=1, batch_size=8)
    with caplog.at_level("INFO"):
        train_on_file(tmp_path / "f.h5", tmp_path / "run", config, model=SMALL, facts=Facts(stride=1))
    norm = normalization_of(load(tmp_path / "run"))
    assert norm is not None and norm.residual == ((0,) if learned else ())
    assert ("increments are learned" in caplog.text) == learned and "of the states' variance" in caplog.text
    train_on_file(tmp_path / "f.h5", tmp_path / "pairs", config, model=SMALL)
    norm = normalization_of(load(tmp_path / "pairs"))
    assert norm is not None and norm.residual == ()
