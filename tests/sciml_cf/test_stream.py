"""Training on samples straight from the solver."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, generate, open_dataset
from sciml_cf import StreamDataset
from sciml_cf.cli import main
from sciml_cf.datasets.stream import FIRST
from sciml_cf.evaluate.run import evaluate_run
from sciml_cf.models import FNOConfig
from sciml_cf.training.checkpoints import read_tensors
from sciml_cf.training.config import FitConfig
from sciml_cf.training.fit import fit
from sciml_cf.training.on_file import train_on_stream
from sciml_cf.training.run_folder import read_history, read_settings

BURGERS = DatasetSpec(parameters={"viscosity": 0.2}, samples=48, resolution=64, method="cole-hopf")
CONFIG = FitConfig(epochs=3, batch_size=8, accelerator="cpu")
SMALL = {"width": 8, "modes": 4, "layers": 2}
WORDS = ["--viscosity", "0.2", "--resolution", "64", "--samples", "48", "--method", "cole-hopf"]


@pytest.mark.parametrize("equation", ["burgers", "kuramoto_sivashinsky", "darcy"])
def test_samples_are_those_of_a_file_of_the_description(equation, tmp_path):
    times = None if equation == "darcy" else (0.5, 1.0)
    spec = DatasetSpec(equation=equation, samples=12, resolution=64, times=times, allow_unresolved=True)
    with open_dataset(generate(spec, tmp_path / "f.h5", progress=False)) as stored:
        x, y = stored.read(stored.input_name), stored.read(stored.target_name)
    data = StreamDataset(spec, "test", samples=12)
    np.testing.assert_array_equal(data.x, x.astype(np.float32))
    np.testing.assert_array_equal(data.y, y.astype(np.float32))
    assert torch.equal(data[3]["y"], data.y[3]) and len(data) == 12 and data.blocks is None


def test_training_samples_are_new_in_each_epoch_and_never_those_of_the_others():
    data = StreamDataset(BURGERS, resolution=32)
    first, length = data[5]["x"], -(-48 // data._size) * data._size
    assert data.indices_of(np.array([0])) == FIRST["train"] >= FIRST["validation"] + 2**19
    data.set_epoch(2)
    assert data.indices_of(np.array([0])) == FIRST["train"] + 2 * length and not torch.equal(data[5]["x"], first)
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy.batch(np.array([5, 1, 5]))["x"], data.batch(np.array([5, 1, 5]))["x"])
    data.set_epoch(0)
    assert torch.equal(data[5]["x"], first)
    held = StreamDataset(BURGERS, "validation")
    before = held[0]["x"]
    held.set_epoch(1)
    assert torch.equal(held[0]["x"], before) and len(held) == 7 and held.indices_of(np.array([0])) == 2**19


def test_coarser_grids_of_samples_from_the_solver():
    fine, strided = StreamDataset(BURGERS, "test"), StreamDataset(BURGERS, "test", resolution=16)
    assert torch.equal(strided.x, fine.x[..., ::4])
    cut = StreamDataset(BURGERS, "test", resolution=16, sampling="fourier")
    spectra = (torch.fft.rfft(part.y, norm="forward")[..., :8] for part in (cut, fine))
    torch.testing.assert_close(*spectra, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="`resolution` must divide the stored resolution 64; got 24"):
        StreamDataset(BURGERS, resolution=24)


def assert_same_run(a, b):
    first, second = (read_tensors(run / "weights_last.pt") for run in (a, b))
    assert all(torch.equal(first[name], second[name]) for name in first)
    rows = [[{k: v for k, v in row.items() if k != "seconds"} for row in read_history(run)] for run in (a, b)]
    assert rows[0] == rows[1]


def test_a_run_on_new_samples_resumes_to_the_same_bits(tmp_path):
    train_on_stream(BURGERS, tmp_path / "whole", CONFIG, model=SMALL)
    parts = [StreamDataset(BURGERS, part, resolution=64) for part in ("train", "validation")]
    for until, resume in ((1, False), (None, True)):
        model = FNOConfig(**SMALL).build(seed=0)
        fit(model, *parts, config=CONFIG, out=tmp_path / "parts", until=until, resume=resume, progress=False)
    assert_same_run(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.slow
def test_processes_make_the_same_samples(tmp_path):
    for workers in (0, 2):
        train_on_stream(BURGERS, tmp_path / str(workers), CONFIG, model=SMALL, loader_workers=workers)
    assert_same_run(tmp_path / "0", tmp_path / "2")


@pytest.mark.slow
def test_a_run_on_new_samples_is_measured_on_a_file_of_the_same_description(tmp_path, caplog):
    run = tmp_path / "run"
    train_on_stream(BURGERS, run, CONFIG, model=SMALL)
    assert read_settings(run)["data"]["generated"]["equation"] == "burgers"
    data = generate(replace(BURGERS, samples=20), tmp_path / "f.h5", progress=False)
    found = evaluate_run(run, data, (64,))
    assert found.attrs["own_data"] == 1 and "is not the file" not in caplog.text
    other = generate(replace(BURGERS, samples=20, seed=1), tmp_path / "g.h5", progress=False)
    assert evaluate_run(run, other, (64,)).attrs["own_data"] == 0 and "is not the file" in caplog.text


def test_the_command_trains_straight_from_the_solver(tmp_path, capsys):
    run = str(tmp_path / "run")
    small = ["--epochs", "2", "--width", "8", "--modes", "4", "--layers", "2", "--loader-workers", "0"]
    main(["train", "--out", run, *small, "--generate", "burgers", *WORDS])
    said = capsys.readouterr().err
    assert (
        f"Next: sciml-cf generate burgers {' '.join(WORDS)} --out data.h5 && sciml-cf evaluate {run} --data data.h5"
        in said
    )
    assert not list(tmp_path.glob("*.h5"))
    main(["train", "--out", run, *small, "--resume", "--generate", "burgers", *WORDS])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--data"),
        (["--generate"], "must be followed by an equation"),
        (["--data", "f.h5", "--generate", "burgers"], "got both"),
        (["--generate", "burger"], "unknown equation 'burger'"),
        (["--generate", "burgers", "--out", "x"], "--out must not come after --generate"),
        (["--generate", "burgers", "--viscosity", "thin"], "`viscosity` must be a number"),
        (["--extent", "2", "--generate", "burgers"], "must be left out with `--generate`"),
        (["--unroll", "2", "--generate", "burgers"], "`unroll` must be 1"),
    ],
)
def test_wrong_words_are_one_line(words, message, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--out", str(tmp_path / "run"), *words])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and message in error and error.strip().count("\n") == 0
