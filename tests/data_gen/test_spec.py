"""The description of a dataset: defaults filled in, a stable hash, and every bad value refused."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import data_gen
from data_gen import DatasetSpec
from data_gen.spec import preset


def test_spec_fills_in_the_defaults_of_the_equation() -> None:
    spec = DatasetSpec()
    assert dict(spec.parameters) == {"viscosity": 0.1}
    assert (spec.extent, spec.times, spec.initial_condition) == (2 * math.pi, (1.0,), "gaussian_random_field")
    assert dict(spec.initial_parameters) == {"gamma": 2.0, "tau": 5.0, "sigma": 25.0, "laplacian": "unit"}
    assert spec == DatasetSpec(parameters={"viscosity": 0.1}, times=(1.0,), initial_parameters={"tau": 5})


@pytest.mark.parametrize(
    ("equation", "method", "resolved"),
    [("burgers", "auto", "cole-hopf"), ("burgers", "etdrk4", "etdrk4"), ("heat", "auto", "etdrk4")],
)
def test_spec_resolves_the_method(equation: str, method: str, resolved: str) -> None:
    assert DatasetSpec(equation=equation, method=method).method == resolved


def test_spec_survives_json_and_pickle() -> None:
    spec = DatasetSpec(equation="advection", parameters={"speed": -0.3}, samples=3, dtype="float32", seed=9)
    assert DatasetSpec.from_dict(json.loads(spec.to_json())) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(DatasetSpec.from_dict(spec.to_dict()))


def test_spec_takes_the_usual_parameters_with_the_usual_initial_condition_only() -> None:
    spec = DatasetSpec(equation="fisher_kpp")
    assert spec.initial_condition == "sines" and spec.initial_parameters["bounds"] == "unit"
    assert spec == DatasetSpec(equation="fisher_kpp", initial_condition="sines", initial_parameters={"waves": 2})
    assert DatasetSpec(equation="fisher_kpp", initial_parameters={"bounds": "none"}) != spec
    assert DatasetSpec(equation="heat", initial_condition="sines").initial_parameters["bounds"] == "none"


def test_spec_keeps_the_kind_of_initial_parameters() -> None:
    given = {"max_mode": 3.0, "amplitude": 2}
    spec = DatasetSpec(initial_condition="truncated_fourier", initial_parameters=given)
    assert spec.initial_parameters["max_mode"] == 3 and isinstance(spec.initial_parameters["max_mode"], int)
    assert isinstance(spec.initial_parameters["amplitude"], float)
    assert DatasetSpec.from_dict(json.loads(spec.to_json())) == spec


def test_spec_of_several_times_survives_json() -> None:
    spec = DatasetSpec(times=(0.1, 0.5, 2))
    assert spec.times == (0.1, 0.5, 2.0) and DatasetSpec.from_dict(json.loads(spec.to_json())) == spec
    assert spec.header.stored_shapes == {"u": (4, 8192)}
    assert DatasetSpec().header.stored_shapes == {"a": (8192,), "u": (8192,)}


def test_spec_hash_tells_descriptions_apart_and_is_stable_over_processes() -> None:
    spec = preset("burgers_8192")
    changed = [{"samples": 2047}, {"seed": 1}, {"dtype": "float32"}, {"method": "etdrk4"}, {"times": (0.5,)}]
    assert len({preset("burgers_8192", **change).config_hash for change in changed} | {spec.config_hash}) == 6
    code = "from data_gen.spec import preset; import logging; logging.warning(preset('burgers_8192').config_hash)"
    root = Path(data_gen.__file__).parent.parent
    run = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert run.stderr.strip().endswith(spec.config_hash)


def test_preset_is_the_dataset_of_the_papers() -> None:
    spec = preset("burgers_8192", method="etdrk4")
    assert (spec.samples, spec.resolution, spec.seed, spec.method) == (2048, 8192, 0, "etdrk4")
    assert spec.grid == data_gen.PeriodicGrid(8192, 2 * math.pi)
    with pytest.raises(ValueError, match="`name` must be one of burgers_8192; got 'burgers'"):
        preset("burgers")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "`samples` must be an integer of at least 1; got 0"),
        ({"samples": 2.5}, "`samples` must be an integer"),
        ({"resolution": 3}, "`resolution` must be an integer of at least 4; got 3"),
        ({"seed": -1}, "`seed` must be an integer of at least 0"),
        ({"tolerance": 0.0}, "`tolerance` must be a finite number above 0"),
        ({"equation": "navier"}, "must be one of advection, .*burgers, .*; got 'navier'"),
        ({"parameters": {"viscosity": -0.1}}, "`viscosity` must be a finite number above 0; got -0.1"),
        ({"parameters": {"viscosity": float("nan")}}, "`viscosity` must be a finite number above 0; got nan"),
        ({"parameters": {"nu": 0.1}}, "`parameters` of burgers must be among viscosity; got nu"),
        ({"extent": 0.0}, "`extent` must be a finite number above 0; got 0.0"),
        ({"times": (0.0,)}, "`times` must be one time above 0"),
        ({"times": (0.5, 0.5)}, "`times` must be one time above 0 or several that increase"),
        ({"times": (1.0, 0.5)}, "several that increase"),
        ({"times": ()}, "`times` must be one time above 0 or several"),
        ({"times": (float("inf"),)}, "`times` must be a finite number"),
        ({"initial_condition": "waves"}, "`initial_condition` must be one of gaussian_random_field, .*; got 'waves'"),
        ({"initial_parameters": {"alpha": 1}}, "must be among gamma, tau, sigma, laplacian; got alpha"),
        ({"initial_parameters": {"laplacian": "x"}}, '`laplacian` must be "unit" or "domain"'),
        (
            {"initial_condition": "sines", "initial_parameters": {"max_mode": 2.5}},
            "sines: `max_mode` must be an integer of at least 1; got 2.5",
        ),
        ({"method": "euler"}, "`method` must be one of auto, lawson7, adams6, etdrk4, cole-hopf, direct; got 'euler'"),
        (
            {"equation": "heat", "method": "cole-hopf"},
            "`method` of heat must be auto or lawson7 or etdrk4 or adams6; got 'cole-hopf'",
        ),
        ({"dtype": "float16"}, "`dtype` must be one of float32, float64; got 'float16'"),
    ],
)
def test_spec_refuses_bad_values(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DatasetSpec(**changes)


def test_spec_from_dict_refuses_unknown_keys() -> None:
    with pytest.raises(ValueError, match="`values` must have known keys only; got color"):
        DatasetSpec.from_dict({"color": "blue"})
