"""Names of rules: where they come from, what may have one, and a user's own rule from training to resuming."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from sciml_cf import (
    ClosedFormClassifier,
    ClosedFormRegressor,
    FitConfig,
    Moments,
    Proximal,
    Rule,
    fit,
    load,
    register_rule,
)
from sciml_cf.causal import StageRules
from sciml_cf.classification import METHODS, classification_loss
from sciml_cf.cli import main
from sciml_cf.errors import CheckpointError
from sciml_cf.head import Every, Kalman, SampledGCV, registry, rules, solved_state
from sciml_cf.head.registry import describe_rule, name_of, rule_named, rule_names, rule_of, rule_summary
from sciml_cf.head.solve import check_strength
from sciml_cf.report.tables import method_label
from tests.problems import Points, mlp

ROOT = Path(__file__).parents[2]
SMALL = {"epochs": 2, "batch_size": 16, "accelerator": "cpu"}


@dataclass(frozen=True)
class PartWay(Rule):
    """A share of the way from the head before to the batch's own ridge solution."""

    strength: float = 1e-2
    share: float = 0.5

    def __post_init__(self):
        check_strength("PartWay", self.strength)

    def update(self, state, moments):
        own, new = solved_state(state, moments, self.strength, previous=None)
        head = state["head"] + self.share * (own - state["head"])
        return head, {**new, "head": head}


@pytest.fixture
def part_way(monkeypatch):
    """The rule above, registered for one test."""
    monkeypatch.setattr(registry, "_REGISTERED", {})
    register_rule("part-way", PartWay)


def train(out, *, resume=False, until=None, **settings):
    model = mlp(outputs=2)
    config = FitConfig(**{**SMALL, **settings})
    fit(model, Points(48), Points(16, seed=1), config=config, out=out, progress=False, resume=resume, until=until)
    return model


def stored(run):
    return json.loads((run / "run.json").read_text())["fit"]


# A rule of one's own.


def test_a_registered_rule_trains_and_is_stored_by_its_name(part_way, tmp_path):
    assert "part-way" in rule_names() and name_of(PartWay) == "part-way"
    assert rule_summary("part-way").startswith("A share of the way")
    assert FitConfig(method="part-way", strength=0.1).rule() == PartWay(0.1)
    model = train(tmp_path / "run", method="part-way")
    assert (stored(tmp_path / "run")["method"], stored(tmp_path / "run")["strength"]) == ("part-way", 1e-2)
    full = train(tmp_path / "full", method=PartWay(share=1.0))
    ridge = train(tmp_path / "ridge", method="ridge", strength=1e-2)
    torch.testing.assert_close(full[-1].weight, ridge[-1].weight)
    assert not torch.allclose(model[-1].weight, ridge[-1].weight)


def test_a_registered_rule_is_a_method_of_the_command_line(part_way, tmp_path, burgers_file, capsys):
    words = f"train --data {burgers_file} --out {tmp_path}/run --resolution 64 --width 8 --modes 8 --layers 2"
    main([*words.split(), "--epochs", "1", "--method", "part-way", "--strength", "0.05"])
    assert "relative L2 error" in capsys.readouterr().out
    assert (stored(tmp_path / "run")["method"], stored(tmp_path / "run")["strength"]) == ("part-way", 0.05)
    with pytest.raises(SystemExit) as refused:
        main([*words.split(), "--overwrite", "--method", "part-way", "--forgetting", "0.5"])
    assert refused.value.code == 2
    assert "`forgetting` must be left out with the rule 'part-way'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "part-way: A share of the way" in " ".join(capsys.readouterr().out.replace("│", "").split())


def test_a_registered_rule_is_a_method_of_classification_and_of_the_stages(part_way):
    x = np.random.default_rng(0).normal(size=(200, 4))
    labels = (x[:, 0] + x[:, 1] > 0).astype(int)
    settings = {"hidden": (16,), "epochs": 20, "random_state": 0}
    assert ClosedFormClassifier("part-way", **settings).fit(x, labels).score(x, labels) > 0.9
    assert ClosedFormRegressor("part-way", **settings).fit(x, x[:, 0]).score(x, x[:, 0]) > 0.9
    assert "part-way" in METHODS and len(METHODS) == len(list(METHODS))
    assert classification_loss(mlp()[-1], "part-way", strength=0.2).head.rule == PartWay(0.2)
    assert StageRules.named("part-way", 0.1, 0.2, share=0.3) == StageRules(
        PartWay(0.1, 0.3), PartWay(0.2, 0.3), PartWay(1e-2, 0.3)
    )


def test_a_rule_given_as_an_object_is_stored_readably_and_resumed(tmp_path):
    rule = SampledGCV(dependent=4.0)
    whole = train(tmp_path / "whole", method=rule)
    train(tmp_path / "parts", method=rule, until=1)
    resumed = train(tmp_path / "parts", method=rule, resume=True)
    torch.testing.assert_close(resumed.state_dict(), whole.state_dict())
    expected = {"forgetting": 0.9, "dependent": 4.0, "strengths": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
    assert stored(tmp_path / "whole")["method"] == {"rule": "sampled-gcv", "settings": expected}
    assert method_label(stored(tmp_path / "whole")) == "sampled-gcv, Alg. 2"
    with pytest.raises(CheckpointError, match=r"must continue the same run; got fit.method = .*'dependent': 2"):
        train(tmp_path / "parts", method=SampledGCV(dependent=2.0), resume=True)


def test_a_run_of_a_class_that_is_gone_is_loaded(tmp_path):
    model = train(tmp_path / "run", method=PartWay(0.5))
    label = f"{PartWay.__module__}.PartWay"
    assert stored(tmp_path / "run")["method"] == {"rule": label, "settings": {"strength": 0.5, "share": 0.5}}
    path = tmp_path / "run" / "run.json"
    path.write_text(path.read_text().replace(label, "gone.module.PartWay"))
    (tmp_path / "run" / "manifest.json").unlink()
    again = load(tmp_path / "run", model=mlp(outputs=2), which="last")
    torch.testing.assert_close(again.state_dict(), model.state_dict())
    assert method_label(stored(tmp_path / "run")) == "PartWay s=0.5, Alg. 2"


def test_rules_within_rules_are_described():
    inner = {"rule": "kalman", "settings": {"forgetting": 0.5, "strength": 1e-4}}
    described = {"rule": "every", "settings": {"rule": inner, "steps": 3, "on": "all"}}
    assert describe_rule(Every(Kalman(0.5), 3)) == described
    assert FitConfig(method=Every(Kalman(0.5), 3)).to_dict()["method"] == described
    assert FitConfig(method=Every(Kalman(0.5), 3)).resolved().strength is None


# Where names come from.


def test_a_file_is_a_rule(tmp_path, monkeypatch):
    (tmp_path / "twice_proximal.py").write_text(
        "from dataclasses import dataclass\nfrom sciml_cf.head.rules.proximal import Proximal\n\n"
        '@dataclass(frozen=True)\nclass TwiceProximal(Proximal):\n    """Proximal at another default."""\n\n'
        "    strength: float = 0.5\n"
    )
    (tmp_path / "_helper.py").write_text("raise RuntimeError('not a rule')\n")
    (tmp_path / "empty.py").write_text("")
    monkeypatch.setattr(rules, "__path__", [*rules.__path__, str(tmp_path)])
    assert {"twice-proximal", "proximal"} <= set(rule_names()) and "-helper" not in rule_names()
    assert rule_summary("twice-proximal") == "Proximal at another default."
    assert "sciml_cf.head.rules.twice_proximal" not in sys.modules
    try:
        assert FitConfig(method="twice-proximal").rule().strength == 0.5
        assert name_of(rule_named("twice-proximal").kind) == "twice-proximal"
        with pytest.raises(TypeError, match="rules.empty: `empty` must be a frozen dataclass on Rule .* got None"):
            rule_named("empty")
    finally:
        for name in ("twice_proximal", "empty"):
            sys.modules.pop(f"sciml_cf.head.rules.{name}", None)


def install(folder, name, points):
    """A package on the path that offers rules."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = ["[sciml_cf.rules]", *(f"{key} = {value}" for key, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def offered():
    """Entry points are looked for anew in this test, and again after it."""
    registry._offered.cache_clear()
    yield
    registry._offered.cache_clear()


def test_an_installed_package_offers_rules(tmp_path, monkeypatch, offered, caplog):
    (tmp_path / "far_rules.py").write_text("from sciml_cf.head import Ridge as Far\nno_rule = 3\n")
    points = {"far": "far_rules:Far", "gone": "no_such_module:Gone", "wrong": "far_rules:no_rule"}
    install(tmp_path, "far-away", {**points, "proximal": "far_rules:Far"})
    monkeypatch.syspath_prepend(tmp_path)
    assert set(points) <= set(rule_names()) and "far_rules" not in sys.modules
    assert "rule 'proximal' of the package far-away is left out, because the name is taken" in caplog.text
    assert rule_summary("far") == "Of the package far-away."
    assert FitConfig(method="far", strength=0.3).rule().strength == 0.3
    assert rule_named("proximal").kind is Proximal
    with pytest.raises(ImportError, match="`gone` must be importable .* pip install --force-reinstall far-away"):
        rule_named("gone")
    with pytest.raises(TypeError, match="the package far-away: `wrong` must be a frozen dataclass on Rule"):
        rule_named("wrong")
    with pytest.raises(ValueError, match="`name` must not be taken yet; got 'far'"):
        register_rule("far", PartWay)


def test_names_need_neither_torch_nor_a_rule():
    code = (
        "import sys; from sciml_cf.head.registry import rule_names, rule_summary; "
        "from sciml_cf.training.config import FitConfig; FitConfig(method='l2'); "
        "[rule_summary(name) for name in rule_names()]; import tyro; tyro.cli(FitConfig, args=['--method', 'l2']); "
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    loaded = set(done.stdout.split())
    assert "sciml_cf.training.config" in loaded
    assert not loaded & {"torch", "numpy", "scipy", "lightning_fabric", "neuralop"}
    assert not any(name.startswith("sciml_cf.head.rules.") for name in loaded)


# What may have a name.


def named(**changes):
    """A class on ``Rule`` with these settings (None: without a default), frozen or not."""
    update, frozen = PartWay.update, changes.pop("frozen", True)
    body = {"__annotations__": {key: float for key in changes}, **{k: v for k, v in changes.items() if v is not None}}
    return dataclass(frozen=frozen)(type("Made", (Rule,), {**body, "update": update}))


@pytest.mark.parametrize(
    ("name", "kind", "error", "message"),
    [
        ("Part Way", PartWay, ValueError, "`name` must be lower-case words with dashes between them; got 'Part Way'"),
        (3, PartWay, ValueError, "`name` must be lower-case words"),
        ("l2", PartWay, ValueError, "`name` must not be taken yet; got 'l2'"),
        ("hybrid", PartWay, ValueError, "`name` must not be taken yet; got 'hybrid'"),
        ("proximal", PartWay, ValueError, "`name` must not be taken yet; got 'proximal'"),
        ("mine", PartWay(), TypeError, "`cls` must be a frozen dataclass on Rule with `update`; got PartWay"),
        ("mine", dict, TypeError, "`cls` must be a frozen dataclass on Rule with `update`; got <class 'dict'>"),
        ("mine", named(frozen=False), TypeError, "`cls` must be a frozen dataclass on Rule with `update`"),
        ("mine", Rule, TypeError, "`cls` must be a frozen dataclass on Rule with `update`"),
        (
            "mine",
            named(share=None),
            ValueError,
            "`cls` must have a default for .* without one for 'share'",
        ),
    ],
)
def test_what_may_not_have_a_name(name, kind, error, message, monkeypatch):
    monkeypatch.setattr(registry, "_REGISTERED", {})
    with pytest.raises(error, match=f"^register_rule: {message}"):
        register_rule(name, kind)
    assert not registry._REGISTERED


def test_a_class_may_be_registered_again_but_not_another_one(part_way):
    again = named(share=0.25)
    again.__module__, again.__qualname__ = PartWay.__module__, PartWay.__qualname__
    register_rule("part-way", again)
    assert rule_named("part-way").kind is again
    with pytest.raises(ValueError, match="`name` must not be taken yet; got 'part-way'"):
        register_rule("part-way", named(share=0.25))


def test_what_a_rule_does_not_have_is_refused():
    assert rule_of("f", "proximal", strength=0.3, forgetting=None) == Proximal(0.3)
    assert rule_of("f", Proximal(0.3), strength=None) == Proximal(0.3)
    with pytest.raises(ValueError, match="f: `strength` must be left out with a rule that has its settings, Proximal"):
        rule_of("f", Proximal(0.3), strength=0.1)
    with pytest.raises(TypeError, match=r"f: `method` must be the name of a rule, or a Rule \(a frozen dataclass\)"):
        rule_of("f", Proximal)
    with pytest.raises(TypeError, match="fit: `method` must be the name of a rule"):
        FitConfig(method=0.3)
    with pytest.raises(ValueError, match="f: `rule` must be one of 'automatic', 'kalman'"):
        rule_of("f", "newton", argument="rule")
    with pytest.raises(ValueError, match="StageRules: `strength` must be left out with the rule 'automatic'"):
        StageRules.named("automatic", 0.1)


def test_a_head_of_a_rule_that_is_not_registered_works():
    state = PartWay().init(3, 1)
    phi = torch.eye(3, dtype=torch.float64)
    head, _ = PartWay(1e-9).update(state, Moments.from_batch(phi, phi[:, :1]))
    torch.testing.assert_close(head, torch.tensor([[0.5], [0.0], [0.0]], dtype=torch.float64))
