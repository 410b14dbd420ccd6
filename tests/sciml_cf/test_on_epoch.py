"""The function that gets each epoch: when it is called, with what, and what its errors leave behind."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from sciml_cf.training import EpochRecord, FitConfig, fit
from sciml_cf.training.run_folder import read_history
from tests.problems import Points, mlp

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "plot_and_log.md").read_text()
TRAIN, VALIDATION = Points(24), Points(8, seed=1)


def train(out, on_epoch, *, epochs=3, model=None, **options):
    config = FitConfig(epochs=epochs, batch_size=8, accelerator="cpu")
    model = model or mlp()
    return fit(model, TRAIN, VALIDATION, config=config, out=out, progress=False, on_epoch=on_epoch, **options)


def test_each_epoch_is_handed_on_as_it_is_stored(tmp_path):
    seen: list[EpochRecord] = []

    def keep(record):
        assert len(read_history(tmp_path / "run")) == record.epoch  # it is stored by then
        assert not record.model.training
        seen.append(record)
        return True  # stops nothing

    history = train(tmp_path / "run", keep)
    assert [record.epoch for record in seen] == [1, 2, 3]
    for record, row in zip(seen, history.rows, strict=True):
        assert {"epoch": record.epoch, "learning_rate": record.learning_rate, **record.metrics} == row
        assert all(type(value) is float for value in record.metrics.values())
        assert json.loads(json.dumps(record.metrics, allow_nan=True)).keys() == record.metrics.keys()
    assert "model" not in repr(seen[0])


@pytest.mark.parametrize("normalize", ["none", "auto"])
def test_the_model_of_a_record_is_the_validated_one(tmp_path, normalize):
    errors = []

    def measure(record):
        with torch.no_grad():
            each = [(record.model(item["x"][None]) - item["y"][None]).square().mean() for item in VALIDATION]
        errors.append((torch.stack(each).mean().item(), record.metrics["validation_mse"]))

    config = FitConfig(epochs=2, batch_size=8, accelerator="cpu", normalize=normalize, average=0.5)
    fit(mlp(), TRAIN, VALIDATION, config=config, out=tmp_path / "run", progress=False, on_epoch=measure)
    for again, error in errors:
        assert again == pytest.approx(error, rel=1e-6)


def test_it_changes_nothing_of_the_training(tmp_path):
    plain = train(tmp_path / "plain", None)
    watched = train(tmp_path / "watched", lambda record: torch.randn(3))
    assert [{**row, "seconds": 0} for row in plain.rows] == [{**row, "seconds": 0} for row in watched.rows]


def test_an_exception_stops_and_a_resumed_run_hands_on_new_epochs_only(tmp_path):
    class Stop(ValueError):
        pass

    def stop(record):
        seen.append(record.epoch)
        if record.epoch == 2:
            raise Stop("enough")

    seen: list[int] = []
    with pytest.raises(Stop, match="enough"):
        train(tmp_path / "run", stop, epochs=4)
    assert [row["epoch"] for row in read_history(tmp_path / "run")] == [1, 2]
    resumed = train(
        tmp_path / "run", lambda record: seen.append(record.epoch), epochs=4, model=mlp(seed=5), resume=True
    )
    assert seen == [1, 2, 3, 4]
    whole = train(tmp_path / "whole", None, epochs=4)
    assert [row["validation_mse"] for row in resumed.rows] == [row["validation_mse"] for row in whole.rows]
    train(tmp_path / "run", stop, epochs=4, resume=True)  # nothing is left to do
    assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_the_examples_of_the_guide_log_every_epoch(tmp_path, monkeypatch, name):
    """Run with a stand-in that keeps a list: nothing is installed or sent."""
    (code,) = re.findall(rf"<!-- file: log_to_{name}.py -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    logged: list[tuple[int, dict[str, float]]] = []

    def log(metrics, *, step):
        logged.append((step, metrics))

    class Run(types.SimpleNamespace):
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

    def init(*, project, mode):
        assert mode == "offline"
        return Run(log=log, finish=lambda: None)

    library = types.ModuleType(name)
    vars(library).update(init=init, log_metrics=log, start_run=Run, set_tracking_uri=lambda uri: None)
    monkeypatch.setitem(sys.modules, name, library)
    monkeypatch.chdir(tmp_path)
    config = FitConfig(epochs=2, batch_size=8, accelerator="cpu")
    found = {"fit": fit, "model": mlp(), "train": TRAIN, "validation": VALIDATION, "config": config}
    exec(code, found)
    assert [step for step, _ in logged] == [1, 2] and "validation_mse" in logged[0][1]


WORKER = """
import os, sys, torch
from sciml_cf.training import FitConfig, fit
from tests.problems import Points, mlp
torch.set_num_threads(1)
config = FitConfig(epochs=2, batch_size=8, accelerator="cpu")
def say(record):
    print("epoch", record.epoch, "rank", os.environ["RANK"], flush=True)
fit(mlp(), Points(16), Points(8, seed=1), config=config, out=sys.argv[1], progress=False, on_epoch=say)
"""


def test_under_torchrun_the_first_process_alone_calls_it(tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(tmp_path / "worker.py")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, *words, str(tmp_path / "run")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert [line for line in done.stdout.splitlines() if line.startswith("epoch")] == [
        "epoch 1 rank 0",
        "epoch 2 rank 0",
    ]
