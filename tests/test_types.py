"""A user's script type-checks against the public names, and a wrong argument in it is an error."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = """\
from pathlib import Path

from data_gen import DatasetSpec, generate
from sciml_cf import FieldDataset, FitConfig, FNOConfig, Proximal, fit, load, predict

spec = DatasetSpec(equation="burgers", parameters={"viscosity": 0.1}, samples=64, resolution=256)
data: Path = generate(spec, "burgers.h5")
train, validation = (FieldDataset(data, split, resolution=64) for split in ("train", "validation"))
model = FNOConfig(in_channels=1, out_channels=1, modes=16).build()
history = fit(model, train, validation, out="run", config=FitConfig(method=Proximal(strength=1e-2), epochs=5))
solution = predict(load("run"), validation.x.numpy())
print(solution.shape, history)
"""
# Words of the script, words with a mistake in their place, and the rule of pyright that they break.
MISTAKES = {
    "argument": ("FitConfig(method=", "FitConfig(methods=", "reportCallIssue"),
    "type": ("Proximal(strength=1e-2)", 'Proximal(strength="weak")', "reportArgumentType"),
    "choice": ("epochs=5", 'optimizer="lbfgs"', "reportArgumentType"),
    "public name": ("fit, load, predict", "fit, load, prediction", "reportAttributeAccessIssue"),
    "data": ("samples=64", 'samples="many"', "reportArgumentType"),
    "result": ("history)", "history.no_such_entry)", "reportAttributeAccessIssue"),
}


@pytest.fixture(scope="module")
def rules_broken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What pyright reports of the script and of each mistake, in one call: it takes seconds to start."""
    pytest.importorskip("pyright")
    folder = tmp_path_factory.mktemp("types")
    (folder / "script.py").write_text(SCRIPT)
    for name, (right, wrong, _) in MISTAKES.items():
        assert SCRIPT.count(right) == 1, name
        (folder / f"{name}.py").write_text(SCRIPT.replace(right, wrong))
    settings = {"pythonVersion": "3.11", "typeCheckingMode": "standard", "extraPaths": [str(ROOT)]}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    words = ["-m", "pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(folder)]
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=folder)
    assert done.stdout.startswith("{"), done.stderr
    found: dict[str, list[str]] = {path.stem: [] for path in folder.glob("*.py")}
    for one in json.loads(done.stdout)["generalDiagnostics"]:
        found[Path(one["file"]).stem].append(f"{one.get('rule')}: {one['message']}")
    return found


def test_a_script_of_ten_lines_has_no_type_error(rules_broken: dict[str, list[str]]) -> None:
    assert rules_broken["script"] == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_a_type_error(mistake: str, rules_broken: dict[str, list[str]]) -> None:
    assert any(message.startswith(MISTAKES[mistake][2]) for message in rules_broken[mistake])
