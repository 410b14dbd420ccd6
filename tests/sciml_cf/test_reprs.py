"""Objects in a notebook: a line that says what they are, reads nothing and never raises; the history as a table."""

from __future__ import annotations

import builtins
import pickle
from typing import Any

import numpy as np
import pytest
import torch

from data_gen import DatasetSpec, open_dataset, open_source
from data_gen.convert import convert
from data_gen.formats import Overrides
from data_gen.header import Header
from data_gen.storage.fields import FieldReader
from sciml_cf import FieldDataset, History, Moments, Posterior, StreamDataset
from sciml_cf.datasets.reading import SampleReader
from sciml_cf.datasets.views import View
from sciml_cf.training.run_folder import read_history, read_posterior

ROWS = (
    {"epoch": 1, "train_loss": 0.5, "validation_mse": 0.25, "validation_relative_l2": 0.5, "seconds": 1.5},
    {"epoch": 2, "train_loss": 0.4, "validation_mse": 0.01, "validation_relative_l2": 0.021, "seconds": 1.5},
    {
        "epoch": 3,
        "train_loss": 0.3,
        "validation_mse": 0.04,
        "validation_relative_l2": 0.04,
        "seconds": 1.5,
        "gain": 1.0,
    },
)


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a repr reads data")

    monkeypatch.setattr(FieldReader, "_gather", refuse)
    monkeypatch.setattr(SampleReader, "batch", refuse)


def test_history_is_one_short_line_and_a_table():
    history = History(ROWS, 8)
    assert repr(history) == (
        "History(3 epochs in 4.5 s; best epoch 2: validation mse 0.01 (relative L2 error 2.1 %); last: 0.04)"
    )
    assert repr(History(ROWS[:1])).startswith("History(1 epoch in")
    classes = History(({"epoch": 1, "train_loss": 1.0, "validation_loss": 0.5, "seconds": 1.0},))
    assert "best epoch 1: validation loss 0.5; last: 0.5" in repr(classes)
    table = history.to_dataframe()
    assert list(table.columns) == [*ROWS[0], "gain"] and list(table["epoch"]) == [1, 2, 3]
    assert np.isnan(table["gain"][0]) and table["gain"][2] == 1
    assert repr(History(())) == "History(no epochs)" and repr(History(({},))) == "History(incomplete)"


def test_history_stays_what_it_was():
    history = History(ROWS, 8)
    assert history == History(ROWS, 8) and history.rows is ROWS and history.best is ROWS[1]
    assert pickle.loads(pickle.dumps(history)) == history and history.validation_samples == 8


def test_history_without_pandas_says_what_to_install(monkeypatch):
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "pandas":
            raise ImportError("No module named 'pandas'")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match="`to_dataframe` must have pandas; .* Run pip install pandas, or use `rows`"):
        History(ROWS).to_dataframe()


def test_the_table_is_that_of_the_file(run_folder):
    import pandas

    expected = pandas.read_csv(run_folder / "history.csv")
    pandas.testing.assert_frame_equal(
        History(tuple(read_history(run_folder))).to_dataframe(), expected, check_dtype=False
    )


@pytest.mark.parametrize("lazy", [False, True])
def test_field_dataset_is_one_line(burgers_file, lazy, request):
    data = FieldDataset(burgers_file, "train", resolution=64, lazy=lazy)
    request.getfixturevalue("no_reading")
    where = "read when asked for" if lazy else "in memory"
    assert repr(data) == (
        f"FieldDataset(train, {len(data)} samples of burgers: x (1, 64), y (1, 64); a -> u, t = 0 to 1; "
        f"64 points (every 4. of 256), periodic; float32, {where}; from {burgers_file})"
    )
    if lazy:
        assert repr(data.x) == f"View(({len(data)}, 1, 64), float32, read when taken)"


def test_stream_is_one_line():
    data = StreamDataset(DatasetSpec("heat", samples=4, resolution=16, seed=3))
    assert repr(data) == (
        "StreamDataset(train, 4 samples an epoch of heat: x (1, 16), y (1, 16); a -> u, t = 0 to 1; "
        "16 points, periodic; float32; from the solver, seed 3)"
    )


def test_readers_are_one_line(burgers_file, tmp_path, no_reading):
    with open_dataset(burgers_file) as data:
        shown = repr(data)
    expected = f"(40 samples of burgers: a -> u, t = 0 to 1; 256 points, periodic; float32; from {burgers_file})"
    assert shown == f"Dataset{expected.replace('float32', data.header.dtype)}"
    assert repr(data) == shown  # closed


def test_readers_of_other_formats_are_one_line(burgers_file, tmp_path):
    path = tmp_path / "burgers.nc"
    convert(burgers_file, path)
    with open_source(path) as data, open_source(burgers_file, overrides=Overrides(input_time=0.0)) as pair:
        assert f"40 samples of burgers: a -> u, t = 0 to 1; 256 points, periodic; {data.header.dtype}" in repr(data)
        assert str(path) in repr(data) and repr(pair).startswith("ForeignSource(40 samples")


def test_fields_in_words():
    same = Header("x", 3, (8,), (1.0,), (0.0, 1.0))
    flow = Header("x", 3, (8, 8), (1.0, 1.0), (0.0, 1.0, 2.0), channels=("u", "v"))
    darcy = Header("x", 3, (8, 8), (1.0, 1.0), (0.0,), input_channels=("a",), channels=("pressure",))
    assert same.fields_in_words == "a -> u, t = 0 to 1"
    assert flow.fields_in_words == "a (u, v) -> u (u, v), t = 0 to 2 in 3 times"
    assert darcy.fields_in_words == "a -> u (pressure), steady"


def test_moments_and_posterior_are_one_line(run_folder):
    few, many = (Moments.from_batch(torch.randn(rows, 5), torch.randn(rows, 2)) for rows in (3, 400))
    assert repr(few) == "RowMoments(features=5, outputs=2, rows=3, float64, device=cpu)"
    assert repr(many).endswith("Moments(features=5, outputs=2, rows=400, float64, device=cpu)")
    far = Moments(*(part.to("meta") for part in (many.gram, many.cross, many.target_square, many.weight)))
    assert repr(far) == "Moments(features=5, outputs=2, float64, device=meta)"
    known = read_posterior(run_folder)
    features, outputs = known.head.shape
    assert repr(known).startswith(f"Posterior(features={features}, outputs={outputs}, rows=")


@pytest.mark.parametrize("kind", [FieldDataset, StreamDataset, View, Moments, Posterior, History])
def test_half_made_objects_have_a_repr(kind):
    assert repr(kind.__new__(kind)) == f"{kind.__name__}(incomplete)"
