"""Contents of files of version 0.1.0, read by public names alone; `tests/fixtures/make_v0_1.py` made them."""

from __future__ import annotations

import contextlib
import csv
import gzip
import hashlib
import io
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import sciml_cf
from data_gen import Facts, generate, open_dataset, open_source
from sciml_cf import ClosedFormLoss, ClosedFormLosses, CrossEntropy, FitConfig, fit, load, predict
from sciml_cf.causal import DeepFeatureIV, InstrumentalData
from sciml_cf.cli import main

FOLDER = Path(__file__).parent / "fixtures" / "v0_1"
DATA, RUNS, CAUSAL = FOLDER / "data", FOLDER / "runs", FOLDER / "causal"

# Of every kind: pairs, compressed, linear, trajectories, in shards; two dimensions, cells, two channels.
DATASETS = ("burgers", "gzip", "heat", "kdv", "shards", "navier_stokes", "darcy", "gray_scott")
_LINE = Facts(extent=(2 * np.pi,), times=(0.0, 1.0))
# The same fields in other formats: file, the dataset that it was made from, and what the file does not say.
CONVERTED = {
    "darcy.pt": ("darcy", Facts(extent=(1.0,), times=(0.0,), boundary="wall")),
    "darcy.hdf5": ("darcy", Facts()),
    "heat.hdf5": ("heat", Facts()),
    "heat_5.mat": ("heat", Facts()),
    "heat_7.mat": ("heat", Facts()),
    "heat.npz": ("heat", _LINE),
    "heat_x.npy,heat_y.npy": ("heat", _LINE),
    "heat_well": ("heat", Facts()),
    "kdv.nc": ("kdv", Facts()),
}

_SHORT = "--epochs 3 --batch-size 4 --seed 1 --accelerator cpu"
_LINE_32, _CONV = f"--data burgers.h5 --resolution 32 {_SHORT}", "--model conv --width 4 --layers 1"
# Finished runs: the words of `sciml-cf train`.
FINISHED = {
    "fno": f"{_LINE_32} --width 4 --modes 4 --layers 2",
    "kalman": f"{_LINE_32} --width 4 --modes 4 --layers 2 --method kalman --algorithm 1 --optimizer sgd",
    "conv": f"{_LINE_32} {_CONV} --method l2",
    "uno": f"--data kdv.h5 --resolution 64 {_SHORT} --model uno --width 4 --modes 3 --layers 4 --method ridge",
    "tfno": f"--data gray_scott.h5 --resolution 20 {_SHORT} --model tfno --width 4 --modes 4 --layers 2",
    "darcy": f"--data darcy.h5 --resolution 6 {_SHORT} --width 4 --modes 3 --layers 2 --method streaming",
}
EVALUATED = {"fno": ("burgers", "32 64"), "darcy": ("darcy", "6 12")}
# Runs that stopped after one epoch, one for each method.
STOPPED = {
    "fno": "--width 4 --modes 4 --layers 2",
    "l2": f"{_CONV} --method l2 --average 0.9",
    "ridge": f"{_CONV} --method ridge --algorithm 1 --optimizer sgd --learning-rate 0.1 --warmup 0",
    "proximal": f"{_CONV} --method proximal --average 0.9",
    "per-feature": f"{_CONV} --method per-feature --optimizer sgd --learning-rate 0.1 --clip 1",
    "automatic": f"{_CONV} --method automatic",
    "sampled-gcv": f"{_CONV} --method sampled-gcv --optimizer sgd",
    "kalman": f"{_CONV} --method kalman --adaptive-clip 0.1",
    "random-walk": f"{_CONV} --method random-walk --schedule plateau --period 1",
    "streaming": f"{_CONV} --method streaming --loss relative",
    "moving-average": f"{_CONV} --method moving-average --patience 5 --schedule step --period 2",
}
STOPPED = {name: f"{_LINE_32} {words}" for name, words in STOPPED.items()}
# Rules whose state a loop of one's own saved; with several heads it is the state of each.
LOOPS = ("Automatic", "Kalman", "PerFeature", "Streaming", "heads")
# A dataset whose generation stopped after the first of two blocks; that of `shards` in one file.
UNFINISHED = (
    "heat --samples 132 --resolution 4 --initial-condition sines --initial-parameters max_mode=1 --out unfinished.h5"
)
ADAPT = "adapt fno --data ../data/gzip.h5 --resolution 32 --samples 8"
DEEP = ("proximal", "kalman", "covariates")
STUDY = "run dfiv-demand --methods constant --workers 1"
_NUMBER = re.compile(r"(?:(?<=[ |(])[+-])?\d+(?:\.\d+)?(?:e[+-]?\d+)?")


def command(*words: str | Path) -> str:
    """What `sciml-cf WORDS` prints; a path is one word."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main([part for word in words for part in ([str(word)] if isinstance(word, Path) else shlex.split(word))])
    return said.getvalue()


def sha256(array: np.ndarray) -> str:
    """Of the values as little-endian bytes, whatever the machine."""
    return hashlib.sha256(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).hexdigest()


def stored(path: Path) -> dict[str, Any]:
    """All that a dataset file says, and the checksums of its fields."""
    facts = json.loads(command("info", path, "--json"))
    (facts["method"] or {}).pop("error", None)  # words for a person
    with open_dataset(path) as data:
        fields = {name: data.read_stored(name) for name in data.stored_names}
        start = data.read(data.input_name)
        own = {"description": data.spec.to_dict(), "parameters": data.parameters, "dtype": str(data.dtype)}
    hashes = {name: [list(field.shape), sha256(field)] for name, field in {**fields, "input": start}.items()}
    return {**{key: facts[key] for key in facts if key not in ("file", "bytes")}, **own, "sha256": hashes}


def fields(path: Path | str, facts: Facts | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets at all times of a file of any format."""
    with open_source(path, facts=facts) as source:
        return source.read(source.input_name), source.read_trajectory()


def regenerated(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The fields of a dataset of the same description, made now."""
    with open_dataset(DATA / f"{name}.h5") as data:
        path = generate(data.spec, folder / f"{name}.h5", progress=False)
    return fields(path)


def data_of(words: str) -> Path:
    """The data file that the words of a command name."""
    parts = shlex.split(words)
    return DATA / Path(parts[parts.index("--data") + 1]).name


def predictions(run: Path, data: Path) -> dict[str, np.ndarray]:
    """Of two samples, by both weights of a run, with error bars where it has them."""
    inputs = fields(data)[0][:2]
    found = {which: predict(run, inputs, which=which) for which in ("best", "last")}
    if (run / "posterior.pt").exists():
        found["std"] = predict(run, inputs, std=True)[1]
    return found


def history(run: Path) -> list[dict[str, float]]:
    """The rows of history.csv, without the seconds."""
    with (run / "history.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def train(words: str, out: Path, *more: str) -> None:
    """`sciml-cf train`."""
    with contextlib.chdir(DATA):
        command("train", words, "--out", out, *more)


def resumed(name: str, folder: Path) -> Path:
    """A copy of a stopped run, trained to its end."""
    out = Path(shutil.copytree(RUNS / "stopped" / name, folder / name))
    train(STOPPED[name], out, "--resume")
    return out


def evaluation(name: str, folder: Path) -> Any:
    """A copy of a run, measured now: its evaluation."""
    out, (data, resolutions) = Path(shutil.copytree(RUNS / name, folder / name)), EVALUATED[name]
    (out / "evaluation.nc").unlink(missing_ok=True)
    command("evaluate", out, "--data", DATA / f"{data}.h5", f"--resolutions {resolutions}")
    return sciml_cf.read_evaluation(out)


def evaluation_hash(run: Path) -> dict[str, str]:
    """Checksums of the arrays of evaluation.nc, as it is read."""
    found = sciml_cf.read_evaluation(run)
    return {str(name): sha256(found[name].values) for name in found.variables if found[name].dtype.kind in "fi"}


class Own(nn.Sequential):
    """A model that no builder makes."""

    def __init__(self) -> None:
        super().__init__(nn.Conv1d(1, 6, 5, padding=2, padding_mode="circular"), nn.Tanh(), nn.Conv1d(6, 1, 1))


def own_outputs() -> np.ndarray:
    """What the run of one's own model makes of two inputs."""
    return predict(load(RUNS / "own", model=Own()), fields(DATA / "burgers.h5")[0][:2])


class Labels(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """Images of two by two points; which of three classes each has."""

    def __init__(self, first: int, count: int) -> None:
        numbers = np.random.default_rng(7).integers(0, 8, (first + count, 4))[first:]
        self.x = torch.tensor(numbers, dtype=torch.float32).reshape(-1, 1, 2, 2) / 8
        self.y = torch.tensor(numbers.sum(1) % 3)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"x": self.x[index], "y": self.y[index]}


def perceptron(seed: int = 0) -> nn.Module:
    """The model that the run `labels` describes."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def fit_labels(out: Path, **more: Any) -> None:
    """Train on labels, from the start or on."""
    model = {"builder": "perceptron", "arguments": {"classes": 3, "in_channels": 1, "image_size": 2, "hidden": [6]}}
    model["arguments"]["bias"] = True
    config = FitConfig(epochs=3, batch_size=8, accelerator="cpu", algorithm=1)
    given = {"describe": {"model": model, "data": {"name": "labels"}}, "progress": False, **more}
    fit(perceptron(), Labels(0, 32), Labels(32, 8), config=config, out=out, objective=CrossEntropy(), **given)


def labels_outputs(run: Path) -> dict[str, np.ndarray]:
    """What the run of labels makes of four images."""
    inputs = Labels(32, 4).x.numpy()
    return {which: predict(load(run, which=which), inputs, num_dims=2) for which in ("best", "last")}


def resumed_labels(folder: Path) -> Path:
    """A copy of the stopped run of labels, trained to its end."""
    out = Path(shutil.copytree(RUNS / "stopped" / "labels", folder / "labels"))
    fit_labels(out, resume=True)
    return out


def own_loop(name: str) -> tuple[nn.Module, nn.Module, torch.optim.Optimizer]:
    """A model, its loss in closed form and its optimizer, as a script would make them."""
    torch.manual_seed(0)
    if name == "heads":
        model = nn.ModuleDict({"body": nn.Linear(3, 5), "first": nn.Linear(5, 2), "second": nn.Linear(5, 2)})
        layers = {"first": model["first"], "second": model["second"]}
        loss: nn.Module = ClosedFormLosses(layers, sciml_cf.Kalman(), shares={"second": 0.5})
    else:
        model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))
        loss = ClosedFormLoss(model[-1], getattr(sciml_cf, name)())
    return model, loss, torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)


def own_steps(
    model: Any, loss: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> np.ndarray:
    """One step on each batch; the predictions for all of them."""
    for rows, targets in zip(x, y, strict=True):
        optimizer.zero_grad()
        if isinstance(loss, ClosedFormLosses):
            features = torch.tanh(model["body"](rows))
            outputs = {"first": model["first"](features), "second": model["second"](features)}
            loss(outputs, {"first": targets, "second": -targets}).backward()
        else:
            loss(model(rows), targets).backward()
        optimizer.step()
    with torch.no_grad():
        if isinstance(loss, ClosedFormLosses):
            features = torch.tanh(model["body"](x))
            return torch.cat([model["first"](features), model["second"](features)], -1).numpy()
        return model(x).numpy()


def continued_loop(name: str) -> np.ndarray:
    """The saved loop, one step on."""
    saved = torch.load(FOLDER / "loops" / f"{name}.pt", weights_only=True)
    model, loss, optimizer = own_loop(name)
    model.load_state_dict(saved["model"])
    loss.load_state_dict(saved["loss"])
    optimizer.load_state_dict(saved["optimizer"])
    return own_steps(model, loss, optimizer, saved["x"][-2:], saved["y"][-2:])


def deep(name: str, iterations: int = 4, **more: Any) -> DeepFeatureIV:
    """An estimator of small nets; that called "covariates" has a net for these too."""
    extra = name == "covariates"
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(inputs, 3), nn.Tanh()) for inputs in (1, 1 + extra, 1)]
    given = {"batch_size": 16, "updates": (2, 1), "optimizer": "adam", "progress": False, "save_every": 2, **more}
    rule = "proximal" if extra else name
    return DeepFeatureIV(*nets[:2], covariate_net=nets[2] if extra else None, rule=rule, iterations=iterations, **given)


def deep_data(name: str) -> dict[str, np.ndarray]:
    """What the estimator is fitted to, from its file."""
    data = InstrumentalData.load(CAUSAL / "data.h5")
    arrays = {"treatment": data.treatment, "instrument": data.instrument, "outcome": data.outcome}
    return {**arrays, "covariates": data.covariates} if name == "covariates" else arrays


def deep_predictions(estimator: DeepFeatureIV, name: str) -> dict[str, np.ndarray]:
    """At the treatments of the file, by both heads."""
    data = deep_data(name)
    given = (data["treatment"], data.get("covariates"))
    return {heads: np.asarray(estimator.predict(*given, heads=heads)) for heads in ("current", "refit")}


def longer(name: str, folder: Path) -> DeepFeatureIV:
    """The estimator fitted for two iterations more than its checkpoint has."""
    out = shutil.copytree(CAUSAL / name, folder / name)
    return deep(name, 6, out=out, resume=True).fit(**deep_data(name))


def unpacked(name: str, folder: Path) -> Path:
    """A result file of 0.1.0 in a folder of its own."""
    path = folder / "results.json"
    path.write_bytes(gzip.decompress((FOLDER / "results" / f"{name}.json.gz").read_bytes()))
    return path


def page(name: str, folder: Path) -> dict[str, Any]:
    """The page of a result file, see ``words_and_numbers``."""
    command("bench page", unpacked(name, folder))
    return words_and_numbers(*(next(folder.glob(f"*.{kind}")).read_text() for kind in ("md", "html")))


def reports(folder: Path) -> dict[str, dict[str, Any]]:
    """Report of a run, and its comparison with a copy."""
    for name in ("fno", "copy"):
        shutil.copytree(RUNS / "fno", folder / name)
    with contextlib.chdir(folder):
        command("report fno")
        command("compare fno copy --out both")
    texts = {
        "report": ("fno/report/tables.md", "fno/report/index.html"),
        "compare": ("both/comparison.md", "both/index.html"),
    }
    return {key: words_and_numbers(*((folder / p).read_text() for p in paths)) for key, paths in texts.items()}


def no_picture(figure: Any, file: Any, **_: Any) -> None:
    """In place of drawing, which takes most of a page's time and is not looked at here."""
    with contextlib.nullcontext(file) if hasattr(file, "write") else open(file, "wb") as opened:
        opened.write(b"none")


def words_and_numbers(markdown: str, html: str) -> dict[str, Any]:
    """The numbers of each table, and checksums of the words around them; pictures are left out.

    The words may be changed on purpose: the failing test then prints the checksums for pages.json. The numbers may not.
    """
    tables: list[list[str]] = []
    for before, line in zip(["", *markdown.splitlines()], markdown.splitlines(), strict=False):
        if line.startswith("|") and not before.startswith("|"):
            tables.append([])
        elif line.startswith("|") and not line.startswith("|--"):
            tables[-1] += _NUMBER.findall(line)
    html, pictures = re.subn(r'src="data:image/png;base64,[^"]*"', "", html)
    words = {kind: _NUMBER.sub("#", text) for kind, text in (("md", markdown), ("html", html))}
    hashes = {kind: hashlib.sha256(text.encode()).hexdigest()[:16] for kind, text in words.items()}
    return {"pictures": pictures, **hashes, "tables": [" ".join(table) for table in tables]}
