"""The table of allowed imports between modules, the place to add one on purpose."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from data_gen.equations import equation_names
from sciml_cf.cli import COMMANDS
from sciml_cf.studies import study_names

ROOT = Path(__file__).parent.parent
# A room is a top-level module or folder of a package; it may import itself and the rooms named here.
ARROWS = {
    "data_gen.cli": {
        "data_gen.terminal",
        "data_gen.convert",
        "data_gen.equations",
        "data_gen.errors",
        "data_gen.formats",
        "data_gen.generate",
        "data_gen.info",
        "data_gen.initial",
        "data_gen.plot",
        "data_gen.spec",
        "data_gen.storage",
        "data_gen.validate",
    },
    "data_gen.convert": {
        "data_gen.errors",
        "data_gen.files",
        "data_gen.formats",
        "data_gen.header",
        "data_gen.storage",
    },
    "data_gen.equation": {"data_gen.errors", "data_gen.formulas", "data_gen.grids"},
    "data_gen.equations": {
        "data_gen.equation",
        "data_gen.errors",
        "data_gen.exact_solutions",
        "data_gen.formulas",
        "data_gen.grids",
        "data_gen.solvers",
    },
    "data_gen.exact_solutions": {"data_gen.equation", "data_gen.errors", "data_gen.grids", "data_gen.random_fields"},
    "data_gen.executors": {"data_gen.errors"},
    "data_gen.files": {"data_gen.errors"},
    "data_gen.formats": {
        "data_gen.equations",
        "data_gen.errors",
        "data_gen.files",
        "data_gen.header",
        "data_gen.storage",
    },
    "data_gen.formulas": {"data_gen.grids"},
    "data_gen.generate": {
        "data_gen.terminal",
        "data_gen.errors",
        "data_gen.equation",
        "data_gen.exact_solutions",
        "data_gen.executors",
        "data_gen.grids",
        "data_gen.random_fields",
        "data_gen.sample_fields",
        "data_gen.solvers",
        "data_gen.spec",
        "data_gen.storage",
    },
    "data_gen.grids": {"data_gen.errors"},
    "data_gen.header": {"data_gen.equation", "data_gen.equations", "data_gen.errors", "data_gen.grids"},
    "data_gen.info": {
        "data_gen.equation",
        "data_gen.errors",
        "data_gen.formats",
        "data_gen.grids",
        "data_gen.header",
        "data_gen.sample_fields",
        "data_gen.solvers",
        "data_gen.spec",
        "data_gen.storage",
    },
    "data_gen.initial": {"data_gen.equation", "data_gen.errors", "data_gen.random_fields"},
    "data_gen.plot": {"data_gen.files", "data_gen.grids", "data_gen.header", "data_gen.info", "data_gen.storage"},
    "data_gen.random_fields": {"data_gen.errors", "data_gen.grids"},
    "data_gen.sample_fields": {
        "data_gen.equation",
        "data_gen.errors",
        "data_gen.grids",
        "data_gen.random_fields",
        "data_gen.spec",
        "data_gen.storage",
    },
    "data_gen.self_convergence": {
        "data_gen.equation",
        "data_gen.errors",
        "data_gen.grids",
        "data_gen.solvers",
        "data_gen.storage",
    },
    "data_gen.solvers": {"data_gen.equation", "data_gen.errors", "data_gen.grids", "data_gen.stepping"},
    "data_gen.spec": {
        "data_gen.equation",
        "data_gen.equations",
        "data_gen.errors",
        "data_gen.grids",
        "data_gen.header",
        "data_gen.initial",
        "data_gen.random_fields",
        "data_gen.solvers",
    },
    "data_gen.stepping": {"data_gen.grids"},
    "data_gen.storage": {
        "data_gen.terminal",
        "data_gen.equation",
        "data_gen.equations",
        "data_gen.errors",
        "data_gen.files",
        "data_gen.grids",
        "data_gen.header",
        "data_gen.random_fields",
        "data_gen.spec",
    },
    "data_gen.terminal": set(),
    "data_gen.validate": {
        "data_gen.equation",
        "data_gen.errors",
        "data_gen.exact_solutions",
        "data_gen.info",
        "data_gen.sample_fields",
        "data_gen.self_convergence",
        "data_gen.storage",
    },
    "sciml_cf.adapters": {"sciml_cf.errors", "sciml_cf.head", "sciml_cf.model_outputs"},
    "sciml_cf.causal": {
        "data_gen.terminal",
        "data_gen.formats",
        "sciml_cf.errors",
        "sciml_cf.head",
        "sciml_cf.training",
    },
    "sciml_cf.classification": {"sciml_cf.normalization", "sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.cli": {
        "data_gen.terminal",
        "sciml_cf.models",
        "data_gen.cli",
        "data_gen.errors",
        "data_gen.executors",
        "data_gen.files",
        "data_gen.formats",
        "data_gen.header",
        "data_gen.spec",
        "sciml_cf",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.evaluate",
        "sciml_cf.head",
        "sciml_cf.report",
        "sciml_cf.studies",
        "sciml_cf.training",
    },
    "sciml_cf.datasets": {
        "data_gen.equation",
        "data_gen.formats",
        "data_gen.generate",
        "data_gen.grids",
        "data_gen.header",
        "data_gen.spec",
        "data_gen.storage",
        "sciml_cf.arrays",
        "sciml_cf.errors",
    },
    "sciml_cf.errors": {"data_gen.errors"},
    "sciml_cf.evaluate": {
        "data_gen.terminal",
        "sciml_cf.models",
        "sciml_cf.normalization",
        "data_gen.convert",
        "data_gen.executors",
        "data_gen.files",
        "data_gen.formats",
        "data_gen.grids",
        "data_gen.header",
        "data_gen.info",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.head",
        "sciml_cf.metrics",
        "sciml_cf.model_outputs",
        "sciml_cf.training",
    },
    "sciml_cf.export": {"sciml_cf.head", "sciml_cf.model_outputs", "sciml_cf.normalization"},
    "sciml_cf.head": {
        "sciml_cf.arrays",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.model_outputs",
        "sciml_cf.normalization",
        "sciml_cf.plain",
    },
    "sciml_cf.layerwise": {"sciml_cf.arrays", "sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.models": {"data_gen.grids", "sciml_cf.errors", "sciml_cf.plain"},
    "sciml_cf.plots": {"data_gen.plot"},
    "sciml_cf.report": {"data_gen.files", "sciml_cf.errors", "sciml_cf.plots", "sciml_cf.training"},
    "sciml_cf.studies": {
        "data_gen.terminal",
        "data_gen",
        "data_gen.executors",
        "data_gen.files",
        "data_gen.formats",
        "data_gen.generate",
        "sciml_cf.causal",
        "sciml_cf.classification",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.evaluate",
        "sciml_cf.head",
        "sciml_cf.layerwise",
        "sciml_cf.metrics",
        "sciml_cf.models",
        "sciml_cf.plots",
        "sciml_cf.report",
        "sciml_cf.theory",
        "sciml_cf.training",
    },
    "sciml_cf.theory": {"sciml_cf.errors", "sciml_cf.head"},
    "sciml_cf.training": {
        "data_gen.terminal",
        "data_gen.header",
        "data_gen.grids",
        "sciml_cf.normalization",
        "data_gen.errors",
        "data_gen.files",
        "data_gen.formats",
        "data_gen.spec",
        "sciml_cf.datasets",
        "sciml_cf.errors",
        "sciml_cf.head",
        "sciml_cf.metrics",
        "sciml_cf.model_outputs",
        "sciml_cf.models",
        "sciml_cf.plain",
        "sciml_cf.plots",
    },
    "sciml_cf.metrics": set(),
    "sciml_cf.arrays": set(),
    "sciml_cf.model_outputs": set(),
    "sciml_cf.plain": set(),
    "sciml_cf.channel_statistics": set(),
    "sciml_cf.normalization": {"sciml_cf.channel_statistics", "sciml_cf.datasets", "sciml_cf.model_outputs"},
    "data_gen.errors": set(),
}
# A library that only these files may import.
CONFINED = {
    "neuralop": (
        "sciml_cf/models/",
        "sciml_cf/adapters/neuralop.py",
        "sciml_cf/studies/harness/neuralop_trainer.py",
    ),
    "h5py": ("data_gen/storage/", "data_gen/formats/"),
    "dask": ("data_gen/executors/dask_cluster.py",),
    "distributed": ("data_gen/executors/dask_cluster.py",),
    "matplotlib": ("sciml_cf/plots/", "sciml_cf/report/", "sciml_cf/studies/", "data_gen/plot.py"),
    "lightning_fabric": ("sciml_cf/training/distributed.py",),
    "sklearn": ("sciml_cf/classification/estimator", "sciml_cf/classification/digits.py"),
    "tensorboard": ("sciml_cf/training/tensorboard.py",),
    "torchvision": ("sciml_cf/classification/vision.py",),
    "timm": ("sciml_cf/classification/vision.py",),
    "lightning": ("sciml_cf/adapters/lightning.py",),
    "tqdm": ("data_gen/terminal/",),
    "tyro": ("sciml_cf/cli/", "data_gen/cli/"),
    "torch": ("sciml_cf/", "data_gen/stepping/device.py", "data_gen/formats/neuralop_pt.py"),
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


SOURCES = [*sources("sciml_cf"), *sources("data_gen")]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_arrows(path):
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    if own in ("sciml_cf", "data_gen"):  # the package itself names everything, lazily
        return
    for name in imports(path):
        if name.split(".")[0] not in ("sciml_cf", "data_gen") or not is_module(name):
            continue
        target = room(name)
        assert target == own or target in ARROWS[own], f"{path}: {own} -> {target}"


def test_arrows_form_no_circle():
    def above(room, path=()):
        assert room not in path, f"a circle of imports: {' -> '.join([*path, room])}"
        for target in ARROWS.get(room, ()):
            above(target, (*path, room))

    for room in ARROWS:
        above(room)


@pytest.mark.parametrize(("package", "most"), [("sciml_cf", 8), ("data_gen", 12)])
def test_few_modules_at_the_root(package, most):
    assert len(list((ROOT / package).glob("*.py"))) - 1 <= most


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


HEAVY = {"torch", "neuralop", "lightning", "lightning_fabric", "matplotlib", "sklearn", "xarray", "pandas", "wandb"}


WORDS = [
    (),
    *((name,) for name in COMMANDS),
    *(("generate", name) for name in equation_names()),
    *(("study", name) for name in (*study_names(), "page")),
]


@pytest.fixture(scope="module")
def help_loads():
    """For each command its exit status, whether it says something, and what heavy its help loads, in one process.

    What is loaded, not how long it takes, is the same on every machine: torch alone takes seconds of processor time,
    and help without any of these takes less than one.
    """
    code = f"""
import contextlib, io, sys
from sciml_cf.cli import main
before = set()
for words in {WORDS!r}:
    status = 0
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            main([*words, "--help"])
        except SystemExit as stop:
            status = stop.code or 0
    new = {HEAVY!r} & set(sys.modules) - before
    before |= new
    print((words, (status, "usage" in said.getvalue(), new)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return dict(ast.literal_eval(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_help_loads_nothing_heavy(words, help_loads):
    assert help_loads[words] == (0, True, set())


def test_completion_loads_no_torch():
    modules = loaded_after("from sciml_cf.cli import main; main(['--completion', 'bash'])")
    assert "tyro" in modules and not modules & HEAVY


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
