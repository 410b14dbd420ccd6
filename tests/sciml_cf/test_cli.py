"""The command line as a person meets it: what it prints, what it leaves, and one clear line for every bad input."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from scipy.io import savemat

from data_gen import open_dataset
from sciml_cf.evaluate.prediction import predict
from sciml_cf.training.run_folder import load, read_settings, read_tensors
from tests.cli_calls import call as called
from tests.edits import edited
from tests.signalled import command as signalled

ROOT = Path(__file__).parents[2]


def call(capsys, *words):
    """(exit status, standard output, the error line or nothing)."""
    status, out, err = called(capsys, *words)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    return status, out, errors[0] if errors else ""


SMALL = ("--width", 8, "--modes", 8, "--layers", 2, "--resolution", 64, "--batch-size", 8)


def test_from_data_to_report(capsys, tmp_path):
    data, run = tmp_path / "data.h5", tmp_path / "run"
    status, out, _ = call(capsys, "generate", "burgers", "--samples", 24, "--resolution", 256, "--out", data)
    assert status == 0 and "viscosity = 0.1" in out
    assert call(capsys, "validate", data, "--truth")[0] == 0
    status, out, _ = call(capsys, "info", data)
    assert status == 0 and "u_t + (u^2/2)_x" in out
    status, out, _ = call(capsys, "train", "--data", data, "--out", run, "--epochs", 2, *SMALL)
    assert status == 0 and "relative L2 error" in out
    status, out, _ = call(capsys, "evaluate", run, "--data", data, "--resolutions", 64, 256)
    assert status == 0 and "mse native" in out and "mse fourier to 256" in out and "linear part" in out
    status, out, _ = call(capsys, "report", run)
    assert status == 0
    written = {path.name for path in (run / "report").iterdir()}
    assert written >= {"index.html", "training.png", "transfer.png", "predictions.png", "spectrum.png", "tables.md"}
    assert all(str(run / "report" / name) in out for name in written)
    status, out, _ = call(capsys, "compare", run, run, "--out", tmp_path / "both")
    assert status == 0 and (tmp_path / "both" / "comparison.csv").exists()


def test_printed_figures_are_also_in_files(capsys, run_folder, burgers_file, tmp_path):
    call(capsys, "report", run_folder)
    evaluation = xr.load_dataset(run_folder / "evaluation.nc")
    table = (run_folder / "report" / "transfer.csv").read_text().splitlines()
    assert float(table[1].split(",")[1]) == float(evaluation["mse"].sel(resolution=64, output="native"))


@pytest.mark.slow
def test_study_runs_from_one_command(capsys, tmp_path):
    words = ["run", "burgers-fno", "--samples", 16, "--epochs", 1, "--stored-resolution", 256, "--resolution", 64]
    words += ["--resolutions", 64, 256, "--out", tmp_path / "study", "--batch-size", 4]
    status, out, error = call(capsys, *words)
    assert status == 0, error
    assert "Comparison of runs" in out and "proximal" in out and "l2" in out and "index.html" in out
    assert (tmp_path / "study" / "comparison" / "transfer.png").exists()
    status, out, error = call(capsys, *words)
    assert status == 2 and "--overwrite" in error
    assert call(capsys, *words, "--resume")[0] == 0


@pytest.mark.slow
def test_a_method_that_finds_its_own_strength_is_reported_like_others(capsys, burgers_file, tmp_path):
    run = tmp_path / "run"
    words = ("train", "--data", burgers_file, "--out", run, "--epochs", 1, "--method", "automatic", *SMALL)
    status, _, error = call(capsys, *words)
    assert status == 0, error
    assert call(capsys, "evaluate", run, "--data", burgers_file, "--resolutions", 64)[0] == 0
    status, out, error = call(capsys, "compare", run, "--out", tmp_path / "comparison")
    assert status == 0, error
    assert "automatic, Alg. 2" in out
    assert call(capsys, "report", run)[0] == 0


def test_predict_writes_what_python_predicts(capsys, run_folder, tmp_path):
    fields = np.random.default_rng(0).normal(size=(3, 64)).astype("float32")
    np.save(tmp_path / "in.npy", fields)
    words = ("predict", run_folder, "--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
    assert call(capsys, *words, "--resolution", 128)[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), predict(load(run_folder), fields, resolution=128))
    status, _, error = call(capsys, *words)
    assert status == 2 and "`output` must not exist yet" in error


def test_predict_interpolates_no_fields_that_are_not_periodic(capsys, run_folder, tmp_path):
    fields = np.random.default_rng(0).normal(size=(3, 64))
    np.save(tmp_path / "in.npy", fields)
    words = ("predict", run_folder, "--input", tmp_path / "in.npy", "--output", tmp_path / "out.npy")
    status, _, error = call(capsys, *words, "--resolution", 128, "--boundary", "open")
    assert status == 2 and "`resolution` must be that of the input, 64, where boundaries are not periodic" in error
    assert not (tmp_path / "out.npy").exists()
    assert call(capsys, *words, "--boundary", "open")[0] == 0
    np.save(tmp_path / "y.npy", fields)
    pair, wall = f"{tmp_path / 'in.npy'},{tmp_path / 'y.npy'}", tmp_path / "wall.h5"
    assert call(capsys, "convert", pair, wall, "--extent", 1, "--times", 0, 1, "--boundary", "wall")[0] == 0
    words = ("predict", run_folder, "--input", wall, "--output", tmp_path / "from_wall.npy")
    status, _, error = call(capsys, *words, "--resolution", 128)
    assert status == 2 and "got 128 and wall boundaries" in error


def test_a_run_remembers_that_its_data_were_not_periodic(capsys, tmp_path):
    fields = np.random.default_rng(0).normal(size=(24, 64))
    np.save(tmp_path / "x.npy", fields)
    pair, data, run = f"{tmp_path / 'x.npy'},{tmp_path / 'x.npy'}", tmp_path / "open.h5", tmp_path / "run"
    assert call(capsys, "convert", pair, data, "--extent", 1, "--times", 0, 1, "--boundary", "open")[0] == 0
    train = ("train", "--data", data, "--out", run, "--resolution", 64, "--epochs", 1, "--width", 4, "--modes", 4)
    status, _, error = call(capsys, *train, "--layers", 1)
    assert status == 0, error
    words = ("predict", run, "--input", tmp_path / "x.npy", "--output", tmp_path / "out.npy")
    status, _, error = call(capsys, *words, "--resolution", 32)
    assert status == 2 and "got 32 and open boundaries" in error and not (tmp_path / "out.npy").exists()
    with pytest.raises(ValueError, match="got 32 and open boundaries"):
        predict(run, fields, resolution=32)
    assert predict(run, fields, resolution=32, boundary="periodic").shape == (24, 32)
    assert call(capsys, *words)[0] == 0


def test_train_evaluate_and_predict_on_a_matlab_file(capsys, burgers_file, tmp_path):
    """From a file in the layout of FNO's, which has fields alone, without converting it first."""
    with open_dataset(burgers_file) as data:
        fields = {"a": data.read("a")[:, 0], "u": data.read("u")[:, 0]}
    savemat(tmp_path / "R10.mat", fields)
    words = ("train", "--data", tmp_path / "R10.mat", "--out", tmp_path / "run", "--epochs", 1, *SMALL)
    status, _, error = call(capsys, *words)
    assert status == 1 and "has no grid: give --extent, the length of the domain" in error
    said = ("--extent", 6.283185307179586, "--times", 0, 1, "--equation", "burgers", "--parameters", "viscosity=0.1")
    assert call(capsys, *words, *said)[0] == 0
    evaluate = ("evaluate", tmp_path / "run", "--resolutions", 64, "--data")
    status, out, error = call(capsys, *evaluate, tmp_path / "R10.mat", *said)
    assert status == 0 and "linear part" in out, error
    ours = call(capsys, *evaluate, burgers_file)[1]  # our own file also says how accurate it is
    assert out == ours.replace(" The data are exact up to rounding, so this error is the model's.", "") != ours
    predicted = ("predict", tmp_path / "run", "--output", tmp_path / "p.npy", "--input", tmp_path / "R10.mat", *said)
    assert call(capsys, *predicted)[0] == 0 and np.load(tmp_path / "p.npy").shape == (40, 1, 256)


def test_convert_in_one_line(capsys, burgers_file, tmp_path):
    status, out, error = call(capsys, "convert", burgers_file, tmp_path / "b.mat", "--mat-version", "7.3")
    assert status == 0 and "40 samples on 256 points" in out, error
    status, out, error = call(
        capsys, "convert", tmp_path / "b.mat", tmp_path / "b.h5", "--from", "mat", "--to", "sciml_cf"
    )
    assert status == 0, error
    assert call(capsys, "validate", tmp_path / "b.h5", "--truth")[0] == 0
    status, _, error = call(capsys, "convert", tmp_path / "b.mat", tmp_path / "b.h5")
    assert status == 2 and "`out` must not exist yet" in error
    status, _, error = call(capsys, "convert", tmp_path / "b.mat", tmp_path / "c.h5", "--parameters", "nu")
    assert status == 2 and "must be words NAME=VALUE; got 'nu'" in error


def test_config_file_fills_flags_and_flags_win(capsys, burgers_file, tmp_path):
    config = tmp_path / "train.toml"
    config.write_text('epochs = 1\nlearning_rate = 0.002\noptimizer = "adam"\nwidth = 8\nmodes = 8\nlayers = 2\n')
    run = tmp_path / "run"
    words = ("train", "--data", burgers_file, "--out", run, "--config", config, "--resolution", 64)
    assert call(capsys, *words, "--learning-rate", 0.001)[0] == 0
    fit = json.loads((run / "run.json").read_text())["fit"]
    assert (fit["epochs"], fit["learning_rate"]) == (1, 0.001)
    config.write_text("epoch = 1\n")
    status, _, error = call(capsys, *words, "--overwrite")
    assert status == 2 and "--epoch" in error
    config.write_text("epochs = [")
    assert "must be a TOML file" in call(capsys, *words)[2]
    assert "must name a readable file" in call(capsys, "train", "--config", tmp_path / "no.toml")[2]


@pytest.mark.parametrize(
    "command", ["generate", "info", "validate", "convert", "train", "evaluate", "predict", "compare", "report"]
)
def test_help_reads_well(capsys, command):
    words = (command, "burgers", "--help") if command == "generate" else (command, "--help")
    status, out, _ = call(capsys, *words)
    assert status == 0 and "--config FILE.toml" in out and f"sciml-cf {command}" in out


def test_generate_trajectories_from_named_initial_conditions(capsys, tmp_path):
    words = ["generate", "fisher_kpp", "--samples", 4, "--resolution", 64, "--tolerance", 1e-6]
    chosen = ["--initial-condition", "truncated_fourier", "--initial-parameters", "max_mode=3", "amplitude=0.1"]
    path = tmp_path / "data.h5"
    status, out, _ = call(capsys, *words, "--times", 0.5, 1, 2, *chosen, "offset=0.6", "--out", path)
    assert status == 0 and re.search(r"^times +0, 0\.5, 1, 2$", out, re.M) and "max_mode = 3" in out
    with open_dataset(path) as data:
        assert data.read_trajectory().shape == (4, 4, 1, 64) and data.spec.initial_parameters["offset"] == 0.6
    status, out, _ = call(capsys, *words, "--times", 0.5, "--out", tmp_path / "one.h5")
    assert status == 0 and re.search(r"^times +0, 0\.5$", out, re.M) and "bounds = unit" in out
    times = np.arange(1, 16) / 20
    status, out, _ = call(capsys, *words, "--times", *times, "--out", tmp_path / "many.h5")
    assert status == 0 and "0, 0.05, 0.1, ..., 0.75 (16 times)" in out
    (tmp_path / "c.toml").write_text('times = [0.5, 1.0]\ninitial_parameters = ["waves=3"]\n')
    status, out, _ = call(capsys, *words, "--config", tmp_path / "c.toml", "--out", tmp_path / "toml.h5")
    assert status == 0 and "0, 0.5, 1" in out and "waves = 3" in out


def test_generate_help_lists_initial_conditions_and_equations(capsys):
    status, out, _ = call(capsys, "generate", "fisher_kpp", "--help")
    assert status == 0 and "--times" in out and "sines (usual): waves=2 max_mode=8 amplitude=1 bounds=unit" in out
    assert "gaussian_random_field: gamma=2 tau=5 sigma=25 laplacian=unit" in out and "piecewise_constant" in out
    assert "kuramoto_sivashinsky  Kuramoto-Sivashinsky equation" in call(capsys, "generate", "--help")[1]


def test_info_of_an_equation_without_parameters(capsys, tmp_path):
    words = ("--samples", 2, "--resolution", 512, "--times", 0.01, "--tolerance", 1e-4)
    status, out, _ = call(capsys, "generate", "kuramoto_sivashinsky", *words, "--out", tmp_path / "ks.h5")
    assert status == 0 and re.search("^parameters +none$", out, re.M)


GENERATE = "generate burgers --out {tmp}/x.h5"


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ("fly", 2, "unknown command 'fly'; choose one of generate,"),
        ("generate", 2, "the equation is missing; choose one of advection,"),
        ("generate burger --out {tmp}/x.h5", 2, "unknown equation 'burger'"),
        ("generate burgers", 2, "--out"),
        (GENERATE + " --samples 0", 2, "`samples` must be an integer of at least 1"),
        (GENERATE + " --samples two", 2, "--samples"),
        (GENERATE + " --viscosity -1", 2, "`viscosity` must be a finite number"),
        (GENERATE + " --viscosity nan", 2, "`viscosity` must be a finite number"),
        (GENERATE + " --times 1 0.5", 2, "`times` must be one time above 0 or several that increase; got (1.0, 0.5)"),
        (GENERATE + " --times soon", 2, "--times"),
        (GENERATE + " --initial-condition waves", 2, "must be one of gaussian_random_field, truncated_fourier, sines,"),
        (GENERATE + " --initial-parameters tua=7", 2, "must be among gamma, tau, sigma, laplacian; got tua"),
        (GENERATE + " --initial-parameters tau", 2, "must be words NAME=VALUE, each name once; got 'tau'"),
        (GENERATE + " --initial-parameters tau=7 tau=8", 2, "each name once; got 'tau=8'"),
        (GENERATE + " --initial-parameters tau=long", 2, "`tau` must be a finite number above 0; got 'long'"),
        ("generate burgers --out {tmp}/no/x.h5", 1, "must lie in an existing folder"),
        ("generate burgers --out {data}", 2, "--overwrite"),
        (GENERATE + " --viscosity 1e-4 --samples 3", 2, "resol"),
        ("info {tmp}/no.h5", 1, "no.h5"),
        ("info {text}", 1, "not an HDF5 file"),
        ("validate {truncated}", 1, "{truncated}"),
        ("validate {flipped}", 1, "checksum"),
        ("validate {nan}", 1, "NaN"),
        ("train --data {nan} --out {tmp}/run --resolution 64", 1, "NaN"),
        ("train --data {tmp}/no.h5 --out {tmp}/run", 1, "no.h5"),
        ("train --data {truncated} --out {tmp}/run", 1, "{truncated}"),
        ("train --data {text} --out {tmp}/run", 1, "not an HDF5 file"),
        ("train --data {data} --out {tmp}/run --resolution 100", 2, "must divide the stored resolution"),
        ("train --data {data} --out {tmp}/run --epochs 0", 2, "`epochs` must be an integer of at least 1"),
        ("train --data {data} --out {tmp}/no/run --resolution 64", 1, "must lie in an existing folder"),
        ("train --data {data} --out {run} --resolution 64", 2, "--resume to continue it or --overwrite"),
        ("train --data {data} --out {run} --resolution 64 --resume", 1, "must continue the same run"),
        ("train --data {data} --out {tmp}/run --method newton", 2, "invalid choice 'newton'"),
        ("evaluate {tmp} --data {data}", 1, "must be a folder made by training"),
        ("evaluate {run} --data {data} --resolutions 96", 2, "`resolutions` must divide"),
        ("predict {run} --input {text} --output {tmp}/o.npy", 1, "not an HDF5 file, nor of another known format"),
        ("predict {run} --input {tmp}/no.npy --output {tmp}/o.npy", 1, "which does not exist"),
        ("compare", 2, "`runs` must name at least one"),
        ("compare {tmp}", 1, "evaluation.nc"),
        ("report {tmp}", 1, "must be a folder made by training"),
        ("run figure9", 2, "unknown study 'figure9'; choose one of ablations, burgers-fno"),
    ],
)
def test_bad_input_gives_one_clear_line(capsys, tmp_path, burgers_file, run_folder, words, status, message):
    places = {"tmp": tmp_path, "data": burgers_file, "run": run_folder, **broken_files(tmp_path, burgers_file)}
    before = sorted(tmp_path.rglob("*"))
    found, out, error = call(capsys, *(word.format(**places) for word in words.split()))
    assert found == status and message.format(**places) in error and not out
    assert sorted(tmp_path.rglob("*")) == before, "nothing is half written"


def broken_files(folder, good):
    whole = good.read_bytes()
    paths = {name: folder / f"{name}.h5" for name in ("text", "truncated", "flipped", "nan")}
    paths["text"].write_text("sample,x\n0,1\n" * 500)
    paths["truncated"].write_bytes(whole[: len(whole) // 2])
    for name in ("flipped", "nan"):
        paths[name].write_bytes(whole)
        with edited(paths[name]) as file:
            file["u"][::1, 8] = np.nan if name == "nan" else file["u"][:, 8] + 1e-3
    return paths


def test_unresolved_viscosity_names_the_modes_and_can_be_overridden(capsys, tmp_path):
    words = (
        "generate",
        "burgers",
        "--samples",
        3,
        "--resolution",
        256,
        "--viscosity",
        1e-3,
        "--out",
        tmp_path / "x.h5",
    )
    status, _, error = call(capsys, *words)
    assert status == 2 and "--allow-unresolved" in error.replace("_", "-") and "modes" in error
    assert not list(tmp_path.iterdir())
    assert call(capsys, *words, "--allow-unresolved")[0] == 0


def test_diverging_training_says_so_and_keeps_a_checkpoint(capsys, burgers_file, tmp_path):
    words = ("train", "--data", burgers_file, "--out", tmp_path / "run", "--method", "l2", "--optimizer", "sgd")
    status, _, error = call(capsys, *words, "--learning-rate", 1e5, "--epochs", 30, *SMALL)
    assert status == 1 and "`learning_rate`" in error and "is kept in" in error
    assert read_tensors(tmp_path / "run" / "last.pt")["model"]


def interrupted(name, touches, *words):
    """Status and last line of a command that is sent Ctrl-C when it touches a file for the n-th time."""
    line = signalled(signal.SIGINT, name, touches, *words)
    done = subprocess.run(line, cwd=ROOT, start_new_session=True, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip().splitlines()[-1]


def test_interrupted_generate_resumes_to_the_same_bytes(capsys, tmp_path):
    words = ("generate", "burgers", "--samples", 1024, "--resolution", 512, "--method", "etdrk4", "--tolerance", 1e-4)
    status, error = interrupted(".journal", 4, *words, "--out", tmp_path / "x.h5")
    assert status == 1 and "--resume" in error
    assert not (tmp_path / "x.h5").exists() and list(tmp_path.iterdir())
    assert call(capsys, *words, "--out", tmp_path / "x.h5", "--resume")[0] == 0
    assert call(capsys, *words, "--out", tmp_path / "whole.h5")[0] == 0
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["whole.h5", "x.h5"]


@pytest.mark.slow
def test_interrupted_train_resumes_to_the_same_weights(capsys, burgers_file, tmp_path):
    words = ("train", "--data", burgers_file, *SMALL, "--epochs", 12)
    status, error = interrupted("weights_last.pt", 3, *words, "--out", tmp_path / "run")
    assert status == 1 and "--resume" in error
    assert 1 <= read_tensors(tmp_path / "run" / "last.pt")["epoch"] < 12
    assert call(capsys, *words, "--out", tmp_path / "run", "--resume")[0] == 0
    assert call(capsys, *words, "--out", tmp_path / "whole")[0] == 0
    a, b = (read_tensors(tmp_path / name / "weights_last.pt") for name in ("run", "whole"))
    assert all((a[name] == b[name]).all() for name in a)


def test_generated_file_opens_everywhere(burgers_file):
    for engine in ("h5netcdf", "netcdf4"):
        with xr.open_dataset(burgers_file, engine=engine) as data:
            assert data["u"].dims == ("sample", "x") and data["u"].attrs["units"] is not None
    with open_dataset(burgers_file) as data:
        assert data.parameters == {"viscosity": 0.1}


def test_train_takes_the_settings_of_fit_as_flags_and_from_a_file(capsys, burgers_file, tmp_path):
    config = tmp_path / "train.toml"
    config.write_text('schedule = "plateau"\nperiod = 3\npatience = 7\naverage = 0.5\nclip = 2.0\n')
    words = ("train", "--data", burgers_file, "--out", tmp_path / "run", *SMALL, "--epochs", 2, "--config", config)
    assert call(capsys, *words, "--factor", 0.25, "--average", 0.9)[0] == 0
    stored = read_settings(tmp_path / "run")["fit"]
    wanted = {"schedule": "plateau", "period": 3, "factor": 0.25, "patience": 7, "average": 0.9, "clip": 2.0}
    assert {key: stored[key] for key in wanted} == wanted


def test_missing_tensorboard_is_one_line(capsys, burgers_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    words = ("train", "--data", burgers_file, "--out", tmp_path / "run", *SMALL, "--tensorboard")
    status, _, error = call(capsys, *words)
    assert status == 2 and "pip install" in error and len(error.splitlines()) == 1


@pytest.mark.parametrize(("given", "taken"), [(None, "passive"), ("active", "active")])
def test_threads_of_a_command_sleep_while_they_wait_unless_told_otherwise(given, taken):
    """The policy must be in the environment before torch, and with it the OpenMP library, is loaded."""
    code = """
import os, sys
from sciml_cf.cli import main
try:
    main(["--version"])
except SystemExit:
    assert "torch" not in sys.modules
    print(os.environ["OMP_WAIT_POLICY"])
"""
    environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    if given is not None:
        environment["OMP_WAIT_POLICY"] = given
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.split()[-1] == taken
