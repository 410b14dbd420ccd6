"""One point of Figure 2 with given settings: nothing is chosen, and it repeats the run of the whole study."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sciml_cf.cli.study import study_command
from sciml_cf.studies.figure2 import run as figure2
from sciml_cf.studies.figure2.flags import Figure2
from sciml_cf.studies.harness.results import read_result

TINY = replace(
    figure2.PRESETS["small"],
    samples=40, stored_resolution=128, resolution=64, width=6, modes=5, layers=1, batch_sizes=(8, 16), epochs=4,
    seeds=(1, 2), curve=(1, 2, 4), curve_samples=4,
)  # fmt: skip


def test_a_point_is_trained_with_the_given_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(figure2.PRESETS, "small", TINY)
    words = ["--methods", "proximal-1", "--batch-sizes", "8", "--learning-rate", "0.5", "--strength", "0.1"]
    out = tmp_path / "point"
    text = study_command(
        ["figure2", *words, "--epochs", "2", "--seeds", "1", "--workers", "1", "--out", str(out), "--quiet"]
    )
    result = read_result(out / "results.json")
    (cell,) = result["figures"].values()
    assert cell["chosen"] == {"learning_rate": 0.5, "strength": 0.1} and cell["selection"] == []
    (run,) = cell["runs"]
    assert run["seed"] == 1 and run["curve"]["epoch"] == [1, 2] and result["seeds"] == [1]
    assert "proximal-1" in text and "none was chosen" in (out / "figure2.html").read_text()
    assert text.following == f"open {out / 'figure2.html'} in a browser"  # type: ignore[attr-defined]
    whole = figure2._trial(TINY, "proximal-1", 8, cell["chosen"], 2, 1)
    assert (out / "trials" / f"{whole.name}.json").exists(), "the trial that the whole study would run"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": 0.1, "methods": ("ridge",)}, "`strength` must come with `learning_rate`"),
        ({"strength": 0.1, "learning_rate": 1.0, "methods": ("l2-SGD",)}, "`strength` must be left out for l2-SGD"),
        ({"forgetting": 0.9, "learning_rate": 1.0, "methods": ("ridge",)}, "`forgetting` must be left out for ridge"),
        ({"learning_rate": 1.0, "epochs": 0}, "`epochs` must be an integer of at least 1"),
        ({"methods": ("newton",)}, "`methods`"),
    ],
)
def test_settings_that_a_method_has_not_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        figure2.run(Figure2(out=tmp_path / "point", **settings))
    assert not (tmp_path / "point").exists()
