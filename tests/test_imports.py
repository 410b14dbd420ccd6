"""Which module may import which. This table is the place to add an arrow on purpose."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# A room is a top-level module or folder of a package; it may import itself and the rooms named here.
ARROWS = {
    "sciml_cf.errors": {"data_gen.errors"},
    "sciml_cf.head": {"sciml_cf.errors"},
    "sciml_cf.models": {"sciml_cf.errors", "sciml_cf.vision"},
    "sciml_cf.vision": set(),
    "sciml_cf.adapters": {"sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.layerwise": {"sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.metrics": set(),
    "sciml_cf.class_metrics": {"sciml_cf.errors"},
    "sciml_cf.classification": {"sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.estimators": {"sciml_cf.classification", "sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.datasets": {"data_gen.formats", "data_gen.grid", "sciml_cf.errors", "sciml_cf.vision"},
    "sciml_cf.adaptation": {"sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.causal": {
        "data_gen.formats",
        "sciml_cf.batches",
        "sciml_cf.checkpoints",
        "sciml_cf.errors",
        "sciml_cf.head",
    },
    "sciml_cf.adapt_command": {
        "data_gen.flags",
        "data_gen.formats",
        "sciml_cf.adaptation",
        "sciml_cf.checkpoints",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.head",
        "sciml_cf.runs",
    },
    "sciml_cf.averaging": set(),
    "sciml_cf.batches": set(),
    "sciml_cf.checkpoints": {"sciml_cf.errors"},
    "sciml_cf.losses": {"sciml_cf.processes"},
    "sciml_cf.processes": set(),
    "sciml_cf.scalars": set(),
    "sciml_cf.symmetry": set(),
    "sciml_cf.memory": set(),
    "sciml_cf.schedules": {"sciml_cf.fit_config"},
    "sciml_cf.runs": {"sciml_cf.checkpoints", "sciml_cf.models", "sciml_cf.head", "sciml_cf.errors"},
    "sciml_cf.prediction": {"data_gen.grid", "data_gen.header", "sciml_cf.errors", "sciml_cf.head", "sciml_cf.runs"},
    "sciml_cf.fit_config": {"sciml_cf.errors", "sciml_cf.head", "sciml_cf.losses"},
    "sciml_cf.gradients": set(),
    "sciml_cf.train": {
        "sciml_cf.errors",
        "sciml_cf.fit_config",
        "sciml_cf.head",
        "sciml_cf.loop",
        "sciml_cf.runs",
        "sciml_cf.scalars",
    },
    "sciml_cf.loop": {
        "sciml_cf.averaging",
        "sciml_cf.batches",
        "sciml_cf.checkpoints",
        "sciml_cf.errors",
        "sciml_cf.fit_config",
        "sciml_cf.gradients",
        "sciml_cf.head",
        "sciml_cf.losses",
        "sciml_cf.metrics",
        "sciml_cf.processes",
        "sciml_cf.runs",
        "sciml_cf.scalars",
        "sciml_cf.schedules",
    },
    "sciml_cf.evaluate": {
        "data_gen.formats",
        "data_gen.grid",
        "sciml_cf.datasets",
        "sciml_cf.metrics",
        "sciml_cf.prediction",
        "sciml_cf.runs",
        "sciml_cf.errors",
    },
    "sciml_cf.rollout": {
        "data_gen.formats",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.metrics",
        "sciml_cf.prediction",
        "sciml_cf.runs",
    },
    "sciml_cf.report": {"sciml_cf.errors", "sciml_cf.runs"},
    "sciml_cf.experiments": {
        "data_gen",
        "data_gen.formats",
        "data_gen.generate",
        "sciml_cf.batches",
        "sciml_cf.bench",
        "sciml_cf.causal",
        "sciml_cf.class_metrics",
        "sciml_cf.classification",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.evaluate",
        "sciml_cf.fit_config",
        "sciml_cf.head",
        "sciml_cf.models",
        "sciml_cf.processes",
        "sciml_cf.report",
        "sciml_cf.runs",
        "sciml_cf.theory",
        "sciml_cf.train",
    },
    "sciml_cf.theory": {"sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.commands": {
        "sciml_cf.memory",
        "data_gen.flags",
        "data_gen.formats",
        "data_gen.header",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.experiments",
        "sciml_cf.fit_config",
        "sciml_cf.processes",
        "sciml_cf.report",
        "sciml_cf.prediction",
        "sciml_cf.runs",
        "sciml_cf.scalars",
        "sciml_cf.train",
    },
    "sciml_cf.bench": {
        "sciml_cf.memory",
        "data_gen",
        "data_gen.dask_executor",
        "data_gen.executors",
        "data_gen.flags",
        "data_gen.generate",
        "sciml_cf.checkpoints",
        "sciml_cf.class_metrics",
        "sciml_cf.classification",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.evaluate",
        "sciml_cf.fit_config",
        "sciml_cf.head",
        "sciml_cf.layerwise",
        "sciml_cf.metrics",
        "sciml_cf.models",
        "sciml_cf.report",
        "sciml_cf.prediction",
        "sciml_cf.runs",
        "sciml_cf.train",
        "sciml_cf.symmetry",
    },
    "sciml_cf.cli": {"data_gen.flags", "sciml_cf", "sciml_cf.errors"},
}
# A library that only these files may import.
CONFINED = {
    "neuralop": ("sciml_cf/models/", "sciml_cf/adapters/neuralop.py", "sciml_cf/bench/neuralop_trainer.py"),
    "h5py": (
        "data_gen/store.py",
        "data_gen/layout.py",
        "data_gen/views.py",
        "data_gen/shards.py",
        "data_gen/repack.py",
        "data_gen/formats/",
    ),
    "dask": ("data_gen/dask_executor.py",),
    "distributed": ("data_gen/dask_executor.py",),
    "matplotlib": ("sciml_cf/report/", "data_gen/plot.py"),
    "lightning_fabric": ("sciml_cf/processes.py",),
    "sklearn": ("sciml_cf/estimators.py", "sciml_cf/datasets/digits.py"),
    "tensorboard": ("sciml_cf/scalars.py",),
    "torchvision": ("sciml_cf/vision.py",),
    "timm": ("sciml_cf/vision.py",),
    "lightning": ("sciml_cf/adapters/lightning.py",),
    "tyro": (
        "sciml_cf/commands.py",
        "sciml_cf/adapt_command.py",
        "data_gen/flags.py",
        "data_gen/commands.py",
        "data_gen/convert_command.py",
    ),
    "torch": ("sciml_cf/", "data_gen/device.py", "data_gen/formats/neuralop_pt.py"),
    "sciml_cf": ("sciml_cf/",),
    "wandb": (),
}


def sources(package):
    return sorted((ROOT / package).rglob("*.py"))


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module):
    parts = module.split(".")
    return ".".join(parts[:2]) if len(parts) > 1 and (ROOT / parts[0]).is_dir() else parts[0]


def is_module(name):
    path = ROOT / Path(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("path", sources("sciml_cf"), ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path):
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    if own == "sciml_cf":  # the package itself names everything, lazily
        return
    for name in imports(path):
        if name.split(".")[0] not in ("sciml_cf", "data_gen") or not is_module(name):
            continue
        target = room(name)
        assert target == own or target in ARROWS[own], f"{path}: {own} -> {target}"


@pytest.mark.parametrize("package", ["sciml_cf", "data_gen"])
def test_confined_libraries(package):
    for path in sources(package):
        place = str(path.relative_to(ROOT))
        for name in imports(path):
            allowed = CONFINED.get(name.split(".")[0])
            if allowed is not None:
                assert place.startswith(allowed), f"{place} imports {name}"


def loaded_after(code):
    script = f"import sys\ntry:\n    {code}\nexcept SystemExit:\n    pass\nprint(*sorted(sys.modules), file=sys.stderr)"
    return set(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT).stderr.split())


@pytest.mark.parametrize(
    "words",
    [["generate", "--help"], ["generate", "burgers", "--help"], ["info", "--help"], ["convert", "--help"], ["--help"]],
)
def test_data_commands_load_no_torch(words):
    modules = loaded_after(f"from sciml_cf.cli import main; main({words!r})")
    assert "data_gen" in modules
    assert not modules & {"torch", "neuralop", "matplotlib", "lightning_fabric", "wandb"}


def test_importing_the_package_loads_nothing_heavy():
    modules = loaded_after("import sciml_cf, data_gen")
    assert not modules & {"torch", "numpy", "h5py", "scipy", "xarray"}


def test_every_public_name_can_be_imported():
    import data_gen
    import sciml_cf

    for package in (data_gen, sciml_cf):
        for name in package.__all__:
            assert getattr(package, name).__doc__, f"{package.__name__}.{name}"


def test_a_foreign_data_gen_is_named(tmp_path):
    (tmp_path / "data_gen").mkdir()
    (tmp_path / "data_gen" / "__init__.py").write_text("")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.path.append({str(ROOT)!r}); import sciml_cf"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode and "the package `data_gen` must be its own" in result.stderr.splitlines()[-1]


def test_readme_shows_what_the_result_files_hold():
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.readme", "--check"], capture_output=True, text=True, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
