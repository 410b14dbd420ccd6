"""The flags of studies, which are apart from what studies run, name all that is there to run."""

from __future__ import annotations

from importlib import import_module

import pytest

from sciml_cf.studies import study_named, study_names


@pytest.mark.parametrize("name", study_names())
def test_a_study_has_one_class_of_flags_that_its_run_takes(name: str) -> None:
    study = study_named(name)
    run = import_module(f"sciml_cf.studies.{name.replace('-', '_')}.run").run
    assert run.__annotations__["config"] == study.config.__name__
    assert study.config().out.name


@pytest.mark.parametrize("name", ["figure2", "dfiv_demand", "dfiv_dsprites"])
def test_a_study_compares_all_its_methods_by_default(name: str) -> None:
    module = import_module(f"sciml_cf.studies.{name}.run")
    extra = tuple(method for method in module.METHODS if "SOAP" in method)  # need a package that may be missing
    assert (*study_named(name.replace("_", "-")).config().methods, *extra) == tuple(module.METHODS)
