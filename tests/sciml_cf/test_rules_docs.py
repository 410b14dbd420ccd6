"""docs/rules.md and docs/results_rules.md show the code and the result file."""

import json
import re
from dataclasses import replace

from benchmarks.common import RESULTS
from benchmarks.rules_docs import MEASURED, PAGE, burgers, filled
from sciml_cf import fit, head
from sciml_cf.head import registry
from sciml_cf.head.registry import rule_named, rule_names
from sciml_cf.training.config import FitConfig
from tests.problems import Points, mlp

TEXT, FOUND = PAGE.read_text(), MEASURED.read_text()


def test_the_tables_are_those_of_the_code_and_the_file():
    assert filled(TEXT) == TEXT and filled(FOUND) == FOUND, "run python -m benchmarks.rules_docs"


def test_a_changed_figure_is_seen():
    changed = re.sub(r"(\d)e-0", lambda match: f"{(int(match[1]) + 1) % 10}e-0", FOUND)
    assert filled(changed) != changed


def test_every_rule_that_is_exported_has_a_row_with_its_name():
    kinds = {name: rule_named(name).kind.__name__ for name in rule_names()}
    exported = {name: kind for name, kind in kinds.items() if kind in head.__all__}
    assert {"proximal", "kalman", "random-walk"} <= set(exported)
    for name, kind in exported.items():
        assert f"\n| `{kind}` | `{name}` |" in TEXT


def test_the_rule_of_the_page_trains_under_its_name(monkeypatch, tmp_path):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found = {"__name__": "page"}
    exec(code, found)
    assert found["config"].rule() == found["Damped"](strength=1e-3)
    errors = []
    for name in ("config", "other"):
        config = replace(found[name], epochs=3, batch_size=16, accelerator="cpu")
        out = tmp_path / name
        history = fit(mlp(outputs=2), Points(48), Points(16, seed=1), config=config, out=out, progress=False)
        errors.append(history.rows[-1]["validation_mse"])
    assert max(errors) < Points(16, seed=1).y.square().mean() and errors[0] != errors[1]


def test_the_default_of_fit_is_the_one_the_page_names():
    config = FitConfig().resolved()
    assert (config.method, config.strength) == ("proximal", 1e-2)
    assert "**Start with `Proximal(strength=1e-2)`**" in " ".join(TEXT.split())


def test_kalman_wins_in_no_table_as_the_page_says():
    figures = json.loads((RESULTS / "rules.json").read_text())["figures"]
    assert min(row["over_best"]["kalman"] for row in figures["scales"]) > 1
    sound = [row for row in figures["burgers"]["summary"] if "validation_mse" in row]
    assert min(sound, key=lambda row: row["validation_mse"])["method"] != "kalman"
    assert "It wins in [no table](results_rules.md)" in " ".join(TEXT.split())


def test_a_table_names_what_was_not_measured_and_what_diverged():
    row = {"method": "kalman", "strength": None, "runs": 2, "diverged": 1, "validation_mse": 1.0, "test_mse_8192": 2.0}
    lost = {"method": "l2", "strength": None, "runs": 1, "diverged": 1, "learning_rate": 1e-2}
    config = {"samples": 1, "epochs": 1, "batch_size": 1, "resolution": 8}
    text = burgers([{**row, "learning_rate": 1e-3}, lost], config)
    assert "| kalman | - | 2 (2, 1 diverged) | not measured |" in text
    assert "| l2 | - | not measured | diverged |" in text
